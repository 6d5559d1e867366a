#include "train/objective.h"

#include <algorithm>

#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"

namespace fathom::train {
namespace {

void count_loads(const TransformerSaved& saved, ExpertLoads& loads) {
  size_t layer = 0;
  saved.for_each_block([&](const BlockSaved& block) {
    if (!block.moe.plan.offset_E1) return;
    const TensorView& offsets = block.moe.plan.offset_E1;
    const auto experts = static_cast<size_t>(offsets.elements() - 1);
    if (layer == loads.size()) loads.emplace_back(experts);
    for (size_t e = 0; e < experts; ++e)
      loads[layer][e] += offsets.as<int64_t>()[e + 1] - offsets.as<int64_t>()[e];
    ++layer;
  });
}

double balance_of(const TransformerSaved& saved) {
  double loss = 0;
  saved.for_each_block([&](const BlockSaved& block) { loss += block.moe.balance_loss; });
  return loss;
}

// With the memory that layers share.
Pass training_pass(Context& ctx, const ModelConfig& config, const PassOptions& options,
                   std::span<const int32_t> positions, std::span<const int64_t> offsets) {
  Pass pass = make_pass(ctx, options, positions, offsets);
  const int64_t tokens = pass.tokens(), width = config.hidden_size;
  if (options.recompute) pass.normed_TD = pass.alloc_activation(tokens, width);
  if (pass.keeps_fp8()) pass.normed_fp8_TD = pass.alloc_e4m3(tokens, width);
  if (config.n_routed_experts > 0)
    pass.expert_out_SD = pass.alloc_activation(tokens * config.num_experts_per_tok, width);
  return pass;
}

// The MTP chain: forward through all depths, then backward from the last. dhidden_TD receives the
// part of the main representation's gradient that comes through depth 1.
void mtp_forward_backward(const Pass& pass, const Transformer& model, const TokenWindows& windows,
                          const ObjectiveScales& scales, ConstTensorView hidden_TD,
                          TensorView dhidden_TD, TransformerSaved& saved, ObjectiveLosses& losses) {
  const auto depth = static_cast<int64_t>(model.mtp().size());
  std::vector<TensorView> gradient = {dhidden_TD};
  std::vector<std::vector<int32_t>> inputs;
  ConstTensorView previous_TD = hidden_TD;
  for (int64_t k = 0; k < depth; ++k) {
    inputs.push_back(windows.inputs(k + 1));
    const TensorView next_TD =
        model.forward_mtp(pass, k, inputs.back(), previous_TD, scales.balance, saved);
    gradient.push_back(pass.alloc_f32(next_TD.rows(), next_TD.cols()));
    const Parameter& head = model.weights().lm_head;
    losses.mtp += kernels::head_loss_forward_backward(
        pass.ctx, next_TD, head.weight, windows.columns(k + 2), scales.mtp[static_cast<size_t>(k)],
        {}, gradient.back(), head.grad, pass.precision);
    previous_TD = next_TD;
  }
  losses.kept_bytes = pass.ctx.arena.used();
  for (int64_t k = depth; k-- > 0;) {
    const auto i = static_cast<size_t>(k);
    model.backward_mtp(pass, k, inputs[i], saved, gradient[i + 1], gradient[i]);
  }
}

}  // namespace

std::vector<int32_t> TokenWindows::columns(int64_t shift) const {
  std::vector<int32_t> out;
  out.reserve(static_cast<size_t>(count()));
  for (int64_t s = 0; s < sequences; ++s) {
    const int32_t* row = tokens + s * (seq_len + lookahead) + shift;
    out.insert(out.end(), row, row + seq_len);
  }
  return out;
}

std::vector<int32_t> TokenWindows::inputs(int64_t shift) const {
  std::vector<int32_t> out = columns(shift);
  std::replace(out.begin(), out.end(), kernels::kIgnoreTarget, 0);
  return out;
}

std::vector<int32_t> TokenWindows::positions() const {
  std::vector<int32_t> out(static_cast<size_t>(count()));
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<int32_t>(static_cast<int64_t>(i) % seq_len);
  return out;
}

std::vector<int64_t> TokenWindows::offsets() const {
  std::vector<int64_t> out(static_cast<size_t>(sequences + 1));
  for (size_t s = 0; s < out.size(); ++s) out[s] = static_cast<int64_t>(s) * seq_len;
  return out;
}

ObjectiveLosses& ObjectiveLosses::operator+=(const ObjectiveLosses& other) {
  main += other.main;
  mtp += other.mtp;
  balance += other.balance;
  tokens += other.tokens;
  kept_bytes = std::max(kept_bytes, other.kept_bytes);
  return *this;
}

ObjectiveLosses objective_forward_backward(Context& ctx, const Transformer& model,
                                           const TokenWindows& windows, const PassOptions& options,
                                           const ObjectiveScales& scales, ExpertLoads* loads) {
  ArenaScope scope(ctx.arena);
  const std::vector<int32_t> positions = windows.positions(), inputs = windows.inputs(0);
  const std::vector<int64_t> offsets = windows.offsets();
  const Pass pass = training_pass(ctx, model.config(), options, positions, offsets);
  TransformerSaved saved;
  ObjectiveLosses losses;
  losses.tokens = windows.count();
  const TensorView hidden_TD = model.forward(pass, inputs, scales.balance, saved);
  const TensorView dhidden_TD = pass.alloc_f32(hidden_TD.rows(), hidden_TD.cols());
  const Parameter& head = model.weights().lm_head;
  losses.main = kernels::head_loss_forward_backward(ctx, hidden_TD, head.weight, windows.columns(1),
                                                    scales.main, {}, dhidden_TD, head.grad,
                                                    options.precision);
  losses.kept_bytes = ctx.arena.used();
  if (!scales.mtp.empty())
    mtp_forward_backward(pass, model, windows, scales, hidden_TD, dhidden_TD, saved, losses);
  model.backward(pass, inputs, saved, dhidden_TD);
  losses.balance = balance_of(saved);
  if (loads) count_loads(saved, *loads);
  return losses;
}

ObjectiveLosses sequence_forward_backward(Context& ctx, const Transformer& model,
                                          std::span<const int32_t> token_T,
                                          const PassOptions& options, double mtp_lambda,
                                          double balance_alpha) {
  const auto tokens = static_cast<int64_t>(token_T.size());
  const int64_t depth = mtp_lambda > 0 ? model.config().num_nextn_predict_layers : 0;
  FATHOM_ASSERT(tokens >= 2 + depth);
  // One window; its last target and MTP's lookahead are padding.
  std::vector<int32_t> window(token_T.begin(), token_T.end());
  window.resize(token_T.size() + 1 + static_cast<size_t>(depth), kernels::kIgnoreTarget);
  ObjectiveScales scales;
  scales.main = 1.0f / static_cast<float>(tokens - 1);
  for (int64_t k = 1; k <= depth; ++k)
    scales.mtp.push_back(static_cast<float>(mtp_lambda / static_cast<double>(depth) /
                                            static_cast<double>(tokens - k - 1)));
  scales.balance.alpha = static_cast<float>(balance_alpha);
  return objective_forward_backward(ctx, model, {window.data(), 1, tokens, 1 + depth}, options,
                                    scales, nullptr);
}

ObjectiveLosses objective_forward(Context& ctx, const Transformer& model,
                                  const TokenWindows& windows, const PassOptions& options) {
  ArenaScope scope(ctx.arena);
  const std::vector<int32_t> positions = windows.positions(), inputs = windows.inputs(0);
  const std::vector<int64_t> offsets = windows.offsets();
  const Pass pass = training_pass(ctx, model.config(), options, positions, offsets);
  TransformerSaved saved;
  const TensorView hidden_TD = model.forward(pass, inputs, {}, saved);
  ObjectiveLosses losses;
  losses.tokens = windows.count();
  losses.main = kernels::head_loss_forward(ctx, hidden_TD, model.weights().lm_head.operand(),
                                           windows.columns(1), {}, options.precision);
  return losses;
}

}  // namespace fathom::train
