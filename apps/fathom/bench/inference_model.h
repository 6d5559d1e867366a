#pragma once

#include <cstdint>
#include <optional>

#include "bench/bench.h"
#include "checkpoint/model_io.h"
#include "kernels/gemm.h"
#include "model/transformer.h"

namespace fathom::app {

/// The model that prefill and decode measure, for sequences of up to `length` tokens: with its
/// weights as stored, or with random ones where only a shape is named.
class InferenceModel {
 public:
  InferenceModel(const BenchModelOptions& options, int64_t length);

  const ModelConfig config;
  const kernels::GemmPrecision precision;
  /// Bytes that so many tokens read of the weights, each once. A balanced router leaves an expert
  /// out with probability (1 - k/E)^tokens.
  double weight_bytes(int64_t tokens) const;
  /// Those of a pass that reads so many routed experts, of all layers together.
  double weight_bytes_of(double experts) const;
  const Transformer& model() const { return *model_; }

 private:
  void make_random();
  void count_bytes();
  double experts() const;  ///< of all layers

  std::optional<StoredModel> stored_;
  std::optional<ModelStorage> random_;
  std::optional<Transformer> model_;
  double common_bytes_ = 0, expert_bytes_ = 0;  ///< for every token; of all routed experts
};

}  // namespace fathom::app
