#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "infer/cached_block.h"
#include "infer/hidden_queue.h"
#include "model/transformer.h"

namespace fathom {

/// The multi-token prediction modules beside the main model's cache (spec A.6). Module k takes, at
/// position i, the representation of depth k-1 and token i+k, and predicts token i+k+1. So when the
/// main model has read tokens 0..n-1, module 1 lacks the last position until token n is chosen;
/// module 2 lacks two, and so on. What they compute shapes drafts only, never the text.
class MtpDrafter {
 public:
  MtpDrafter(Context& ctx, const Transformer& model, kernels::GemmPrecision precision,
             int64_t max_length);

  int64_t depth() const { return static_cast<int64_t>(modules_.size()); }
  size_t cache_bytes() const;

  /// The main model's representations of the tokens from `position` on.
  void push(int64_t position, ConstTensorView hidden_TD);
  /// Runs every module as far as tokens (all that the main model has read) go.
  void catch_up(std::span<const int32_t> tokens);
  /// Positions waiting for module 1.
  int64_t waiting() const { return modules_.front().inputs.end() - modules_.front().done; }

  /// Logits [1, V] of the token that follows tokens and ahead; ahead starts with the token chosen
  /// after tokens, and continues with the drafts so far. Call with one token ahead, then two…, once
  /// after each push. Draft k comes from module k; beyond the last depth, from the last module fed
  /// its own representation. Valid until the next call.
  ConstTensorView draft(std::span<const int32_t> tokens, std::span<const int32_t> ahead);

  /// The main model forgot tokens from `length` on. Rows whose next token was forgotten stay as
  /// they are when their input is gone.
  void truncate(int64_t length);

 private:
  struct Module {
    const Mtp& mtp;
    CachedBlock block;
    HiddenQueue inputs;  ///< of the depth before, from position `done` on
    int64_t done = 0;    ///< positions computed from chosen tokens
  };

  void forget_drafts();
  /// Runs module k (from 1) on `next.size()` positions from `begin` on and hands its
  /// representations to the next depth.
  void run(int64_t k, int64_t begin, ConstTensorView hidden_TD, std::span<const int32_t> next_T);
  void advance(int64_t k, int64_t done);

  Context& ctx_;
  const Transformer& model_;
  kernels::GemmPrecision precision_;
  std::vector<Module> modules_;
  Tensor last_1D_;  ///< representation of the last position run
  Tensor logits_1V_;
};

}  // namespace fathom
