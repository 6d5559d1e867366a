#include "train/branch_formats.h"

#include <algorithm>
#include <cmath>

#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "train/objective.h"

namespace fathom::train {
namespace {

/// Runs `phases`, which add a branch's output to the residual stream, and lets that pass through
/// `visit`.
template <class Phases>
void through(const Pass& pass, TensorView residual_TD, int64_t layer, Branch branch,
             const BranchVisitor& visit, Phases&& phases) {
  const TensorView before_TD = pass.alloc_f32(residual_TD.rows(), residual_TD.cols());
  const TensorView output_TD = pass.alloc_f32(residual_TD.rows(), residual_TD.cols());
  kernels::copy(pass.ctx, residual_TD, before_TD);
  phases();
  kernels::copy(pass.ctx, residual_TD, output_TD);
  kernels::add_scaled(pass.ctx, -1, before_TD, output_TD);
  visit(layer, branch, output_TD);
  kernels::copy(pass.ctx, before_TD, residual_TD);
  kernels::add_scaled(pass.ctx, 1, output_TD, residual_TD);
}

void forward_layer(const Pass& pass, const Block& block, TensorView residual_TD, int64_t layer,
                   const BranchVisitor& visit) {
  ArenaScope scope(pass.ctx.arena);
  BlockSaved saved;
  through(pass, residual_TD, layer, Branch::kAttention, visit,
          [&] { block.attention(pass, residual_TD, saved); });
  through(pass, residual_TD, layer, Branch::kFfn, visit, [&] {
    block.dispatch(pass, residual_TD, {}, saved);
    block.experts(pass, residual_TD, saved);
    if (block.weights().moe) visit(layer, Branch::kExperts, saved.moe.expert_out_SD);
    block.combine(pass, residual_TD, saved);
  });
}

/// Appends the tokens' losses.
void read_window(const BranchStudy& study, const TokenWindows& window, const BranchVisitor& visit,
                 std::vector<float>& losses) {
  Context& ctx = study.ctx;
  const Transformer& model = study.model;
  ArenaScope scope(ctx.arena);
  const std::vector<int32_t> positions = window.positions(), inputs = window.inputs(0);
  const std::vector<int64_t> offsets = window.offsets();
  const Pass pass{ctx, study.precision, positions, offsets};
  const TensorView residual_TD = model.embed(pass, inputs);
  int64_t layer = 0;
  for (const Block& block : model.layers()) forward_layer(pass, block, residual_TD, layer++, visit);
  const TensorView hidden_TD = pass.alloc_f32(residual_TD.rows(), residual_TD.cols());
  norm_forward(pass, model.weights().norm, static_cast<float>(model.config().rms_norm_eps),
               residual_TD, hidden_TD);
  const TensorView loss_T = ctx.arena.alloc(DType::kF32, {pass.tokens()});
  kernels::head_loss_forward(ctx, hidden_TD, model.weights().lm_head.operand(), window.columns(1),
                             loss_T, study.precision);
  losses.insert(losses.end(), loss_T.as<float>(), loss_T.as<float>() + pass.tokens());
}

/// The entry of a layer's branch, made where it is missing.
BranchNoise& entry_of(std::vector<BranchNoise>& branches, int64_t layer, Branch branch) {
  const auto at = std::find_if(branches.begin(), branches.end(), [&](const BranchNoise& b) {
    return b.layer == layer && b.branch == branch;
  });
  if (at != branches.end()) return *at;
  branches.push_back({.layer = layer, .branch = branch});
  return branches.back();
}

void add_noise(Context& ctx, ConstTensorView values, BranchNoise& noise) {
  for (const NumberFormat format : kNumberFormats) {
    ArenaScope scope(ctx.arena);
    const TensorView sent = ctx.arena.alloc(DType::kF32, {values.rows(), values.cols()});
    kernels::copy(ctx, values, sent);
    round_trip(ctx, format, sent);
    noise.formats[static_cast<size_t>(format)].add(values, sent);
  }
}

}  // namespace

std::string_view name_of(Branch branch) {
  constexpr std::array<std::string_view, 3> kNames = {"attention", "experts", "ffn"};
  return kNames[static_cast<size_t>(branch)];
}

std::vector<float> BranchStudy::losses(const BranchVisitor& visit) const {
  const auto predicted = static_cast<int64_t>(ids.size()) - 1;
  FATHOM_ASSERT(predicted >= 1 && seq_len >= 1);
  std::vector<float> out;
  for (int64_t begin = 0; begin < predicted; begin += seq_len) {
    const int64_t length = std::min(seq_len, predicted - begin);
    read_window(*this, {ids.data() + begin, 1, length, 1}, visit, out);
  }
  return out;
}

double mean_loss(std::span<const float> losses) {
  double sum = 0;
  for (const float loss : losses) sum += loss;
  return sum / static_cast<double>(losses.size());
}

LossChange loss_change(std::span<const float> before, std::span<const float> after) {
  FATHOM_ASSERT(!before.empty() && before.size() == after.size());
  const auto n = static_cast<double>(before.size());
  double sum = 0, squares = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    const double change = static_cast<double>(after[i]) - before[i];
    sum += change;
    squares += change * change;
  }
  const double mean = sum / n, variance = std::max(0.0, squares / n - mean * mean);
  return {mean_loss(after), mean, std::sqrt(variance / n), std::sqrt(squares / n)};
}

BranchMeasurement measure_branches(const BranchStudy& study) {
  BranchMeasurement out;
  std::vector<int64_t> values;  // of each branch
  out.losses = study.losses([&](int64_t layer, Branch branch, TensorView x) {
    BranchNoise& noise = entry_of(out.branches, layer, branch);
    values.resize(out.branches.size());
    values[static_cast<size_t>(&noise - out.branches.data())] += x.elements();
    add_noise(study.ctx, x, noise);
  });
  for (size_t i = 0; i < out.branches.size(); ++i)
    out.branches[i].rms =
        std::sqrt(out.branches[i].formats[0].signal / static_cast<double>(values[i]));
  return out;
}

std::vector<float> compressed_losses(const BranchStudy& study, NumberFormat format,
                                     Compressed which) {
  return study.losses([&](int64_t, Branch branch, TensorView x) {
    if ((branch == Branch::kExperts) == (which == Compressed::kExperts))
      round_trip(study.ctx, format, x);
  });
}

}  // namespace fathom::train
