#include "infer/mtp_drafter.h"

#include <algorithm>

#include "infer/token_range.h"
#include "kernels/elementwise.h"

namespace fathom {

MtpDrafter::MtpDrafter(Context& ctx, const Transformer& model, kernels::GemmPrecision precision,
                       int64_t max_length)
    : ctx_(ctx),
      model_(model),
      precision_(precision),
      last_1D_(DType::kF32, {1, model.config().hidden_size}),
      logits_1V_(DType::kF32, {1, model.config().vocab_size}) {
  modules_.reserve(model.mtp().size());
  for (const Mtp& mtp : model.mtp())
    modules_.push_back(
        {mtp, CachedBlock(ctx, model.config(), mtp.block(), cache_dtype(precision), max_length),
         HiddenQueue(model.config().hidden_size)});
}

size_t MtpDrafter::cache_bytes() const {
  size_t bytes = 0;
  for (const Module& m : modules_) bytes += m.block.cache().bytes();
  return bytes;
}

void MtpDrafter::push(int64_t position, ConstTensorView hidden_TD) {
  modules_.front().inputs.put(ctx_, position, hidden_TD);
}

void MtpDrafter::forget_drafts() {
  for (Module& m : modules_) m.block.cache().truncate(m.done);
}

void MtpDrafter::catch_up(std::span<const int32_t> tokens) {
  forget_drafts();
  const auto n = static_cast<int64_t>(tokens.size());
  for (int64_t k = 1; k <= depth(); ++k) {
    Module& m = modules_[static_cast<size_t>(k - 1)];
    const int64_t count = n - k - m.done;
    if (count <= 0) continue;
    run(k, m.done, m.inputs.front(count), tokens.subspan(static_cast<size_t>(m.done + k)));
    advance(k, n - k);
  }
}

void MtpDrafter::advance(int64_t k, int64_t done) {
  Module& m = modules_[static_cast<size_t>(k - 1)];
  m.done = std::max(m.done, done);
  m.inputs.drop_before(m.done);
}

void MtpDrafter::run(int64_t k, int64_t begin, ConstTensorView hidden_TD,
                     std::span<const int32_t> next_T) {
  ArenaScope scope(ctx_.arena);
  Module& m = modules_[static_cast<size_t>(k - 1)];
  const auto count = static_cast<int64_t>(next_T.size());
  const TokenRange range(begin, count);
  const Pass pass = range.pass(ctx_, precision_);
  MtpSaved saved;
  const TensorView residual_TD = m.mtp.merge(pass, model_.embed(pass, next_T), hidden_TD, saved);
  const bool long_start = begin == 0 && count > kernels::kSmallM;
  m.block.forward(pass, long_start ? CacheUse::kFill : CacheUse::kExtend, residual_TD);
  const TensorView out_TD = m.mtp.head_norm(pass, residual_TD, saved);
  kernels::copy(ctx_, out_TD.row_range(count - 1, 1), last_1D_);
  if (k < depth()) modules_[static_cast<size_t>(k)].inputs.put(ctx_, begin, out_TD);
}

ConstTensorView MtpDrafter::draft(std::span<const int32_t> tokens, std::span<const int32_t> ahead) {
  const auto n = static_cast<int64_t>(tokens.size()), step = static_cast<int64_t>(ahead.size());
  FATHOM_ASSERT(n > 0 && step > 0);
  if (step == 1) forget_drafts();
  if (step > depth()) {
    run(depth(), n - 1 + step - depth(), last_1D_, ahead.last(1));
  } else {
    Module& m = modules_[static_cast<size_t>(step - 1)];
    FATHOM_ASSERT(m.done < n && m.inputs.end() == n);
    std::vector<int32_t> next;
    for (int64_t i = m.done + step; i < n + step; ++i)
      next.push_back(i < n ? tokens[static_cast<size_t>(i)] : ahead[static_cast<size_t>(i - n)]);
    run(step, m.done, m.inputs.front(n - m.done), next);
    advance(step, n - step + 1);
  }
  const TokenRange last(n - 1, 1);
  model_.logits(last.pass(ctx_, precision_), last_1D_, logits_1V_);
  return logits_1V_;
}

void MtpDrafter::truncate(int64_t length) {
  for (Module& m : modules_) {
    m.done = std::min(m.done, length);
    m.inputs.truncate(length);
  }
  forget_drafts();
}

}  // namespace fathom
