#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/tensor.h"
#include "model/transformer.h"

namespace fathom::train {

/// Token windows of a micro-batch: [sequences, seq_len + 1 + D] row-major, D the MTP depth. Inputs
/// are columns [0, seq_len), targets one to the right; depth k reads columns [k, k + seq_len) and
/// predicts the next, so that every position has a target at every depth. A window that ends early
/// is padded with kIgnoreTarget: such targets do not count.
struct TokenWindows {
  const int32_t* tokens = nullptr;
  int64_t sequences = 0, seq_len = 0, lookahead = 0;  ///< lookahead = 1 + D

  int64_t count() const { return sequences * seq_len; }
  /// All sequences' columns [shift, shift + seq_len), one after the other.
  std::vector<int32_t> columns(int64_t shift) const;
  /// The same as inputs: padding becomes token 0, which no earlier position sees.
  std::vector<int32_t> inputs(int64_t shift) const;
  std::vector<int32_t> positions() const;
  std::vector<int64_t> offsets() const;
};

/// What each term of the objective is multiplied by for its gradient. For a batch of N tokens in m
/// micro-batches: main = 1/N, mtp = λ/(D·N) for each depth, balance.scale = 1/m.
struct ObjectiveScales {
  float main = 0;
  std::vector<float> mtp;  ///< one a depth; empty switches the MTP loss off
  BalanceLoss balance;
};

/// Losses of one micro-batch, not scaled.
struct ObjectiveLosses {
  double main = 0;     ///< Σ over tokens of the next-token cross-entropy, nats
  double mtp = 0;      ///< Σ over tokens and depths
  double balance = 0;  ///< Σ over layers, mean over sequences
  int64_t tokens = 0;
  size_t kept_bytes = 0;  ///< for the backward, when the forward has ended; of the largest

  ObjectiveLosses& operator+=(const ObjectiveLosses& other);
};

/// Tokens routed to each expert, [mixture layer][expert], MTP's layers last. Accumulated over the
/// micro-batches of a step.
using ExpertLoads = std::vector<std::vector<int64_t>>;

/// The training objective on one micro-batch (TR eqs 17-25): next-token cross-entropy, MTP losses
/// and the sequence-wise balance loss; adds to the gradients of all weights. loads may be null.
ObjectiveLosses objective_forward_backward(Context& ctx, const Transformer& model,
                                           const TokenWindows& windows, const PassOptions& options,
                                           const ObjectiveScales& scales, ExpertLoads* loads);

/// The objective of one whole sequence (at least 2 + D tokens when mtp_lambda > 0), as its
/// definition reads: mean cross-entropy of tokens 1.. + mtp_lambda/D · Σ_k mean cross-entropy of
/// depth k + balance loss. A mean is over the targets that lie in the sequence. Adds to the
/// gradients of all weights; the losses are returned as objective_forward_backward's.
ObjectiveLosses sequence_forward_backward(Context& ctx, const Transformer& model,
                                          std::span<const int32_t> token_T,
                                          const PassOptions& options, double mtp_lambda,
                                          double balance_alpha);

/// Next-token loss only, without gradients: evaluation.
ObjectiveLosses objective_forward(Context& ctx, const Transformer& model,
                                  const TokenWindows& windows, const PassOptions& options);

}  // namespace fathom::train
