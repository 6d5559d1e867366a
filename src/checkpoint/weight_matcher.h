#pragma once

#include <string>
#include <unordered_set>
#include <vector>

#include "checkpoint/safetensors.h"
#include "model/weights.h"

namespace fathom {

/// Fits the tensors of a Hugging Face checkpoint to the parameters that its config.json asks for,
/// and collects every mismatch. Weights become views of the mapped files; what kernels cannot use
/// in place is widened to F32 in memory of its own.
class WeightMatcher {
 public:
  WeightMatcher(const ModelConfig& config, const std::vector<CheckpointReader>& readers)
      : config_(config), readers_(readers) {}

  /// Points p at its tensors. Headers alone are read.
  void take(const ParameterInfo& info, Parameter& p);
  /// A tensor that may be there and is not used.
  void allow(const std::string& name) { expected_.insert(name); }
  /// Tensors that belong to nothing.
  void report_unknown();
  /// Reads what take() postponed: scales, which must be positive and finite, and what is widened.
  /// The parameters must still stand where take() found them.
  void read_values(std::vector<Tensor>& owned);
  /// One Error with all problems, if there are any.
  void throw_problems(const std::string& source) const;

 private:
  struct Pending {
    Parameter* parameter;
    std::string name;  ///< of the tensor to read: the weight, or its scales
    ConstTensorView stored;
    const CheckpointReader* reader;
    bool is_scale;
  };

  void problem(std::string text) { problems_.push_back(std::move(text)); }
  const CheckpointReader* reader_of(const std::string& name) const;
  void take_plain(const ParameterInfo& info, const CheckpointReader& reader, Parameter& p);
  void take_fp8(const ParameterInfo& info, const CheckpointReader& reader, Parameter& p);
  void read_scale(const Pending& pending, std::vector<Tensor>& owned);

  const ModelConfig& config_;
  const std::vector<CheckpointReader>& readers_;
  std::unordered_set<std::string> expected_;
  std::vector<Pending> pending_;
  std::vector<std::string> problems_;
};

}  // namespace fathom
