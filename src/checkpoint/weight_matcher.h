#pragma once

#include <initializer_list>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/context.h"
#include "checkpoint/safetensors.h"
#include "model/weights.h"

namespace fathom {

/// A mapped file is read-only; inference never writes to weights.
TensorView as_mutable(const ConstTensorView& view);

/// Fits the tensors of a Hugging Face checkpoint to the parameters that its config.json asks for,
/// and collects every mismatch. Weights become views of the mapped files; what kernels cannot use
/// in place is widened to F32, AWQ matrices are turned, in memory of their own.
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
  /// Reads what take() postponed: scales, which must be positive and finite, and what is widened or
  /// turned. Of integers' scales, a tenth of the data, the first row alone. The parameters must
  /// still stand where take() found them.
  void read_values(std::vector<Tensor>& owned);
  /// One Error with all problems, if there are any.
  void throw_problems(const std::string& source) const;

 private:
  enum class Reading : uint8_t { kFp8Scale, kIntScale, kWiden, kAwq };
  struct Pending {
    Reading what;
    Parameter* parameter;
    ParameterInfo info;
    std::string name;  ///< of the tensor to read
    ConstTensorView stored;
    const CheckpointReader* reader;
  };
  /// A tensor wherever it stands; null when there is none.
  struct Found {
    const CheckpointReader* reader = nullptr;
    const TensorInfo* tensor = nullptr;
    explicit operator bool() const { return tensor != nullptr; }
    ConstTensorView view() const { return reader->get(tensor->name); }
  };

  void problem(std::string text) { problems_.push_back(std::move(text)); }
  Found find(const std::string& name) const;
  /// One of the tensors that a quantized matrix consists of; a problem when it is missing or has
  /// another shape or dtype.
  Found part(const std::string& name, const std::vector<int64_t>& shape,
             std::initializer_list<DType> dtypes);
  bool expects_codes(const ParameterInfo& info, const char* method);
  void take_plain(const ParameterInfo& info, const Found& found, Parameter& p);
  void take_fp8(const ParameterInfo& info, const Found& found, Parameter& p);
  void take_packed(const ParameterInfo& info, const Found& packed, Parameter& p);
  void take_int8(const ParameterInfo& info, const Found& codes, Parameter& p);
  void take_awq(const ParameterInfo& info, Parameter& p);
  /// Whether a matrix of integers has zero points: its tensors say so, or config.json.
  bool has_zero_point(const ParameterInfo& info) const;
  /// Elements under one of `groups` scales of a row; -1 and a problem when they fit no group.
  int64_t group_of(const std::string& scale, int64_t columns, int64_t groups);
  void check_scale(const Pending& pending, ConstTensorView scale, bool zero_allowed);
  void read_fp8_scale(const Pending& pending, std::vector<Tensor>& owned);
  void repack_awq(Context& ctx, const Pending& pending, std::vector<Tensor>& owned);

  const ModelConfig& config_;
  const std::vector<CheckpointReader>& readers_;
  std::unordered_set<std::string> expected_;
  std::vector<Pending> pending_;
  std::vector<std::string> problems_;
};

}  // namespace fathom
