#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/context.h"
#include "model/weights.h"

namespace fathom {

/// What quantizing did to the matrices of a model, by layer and kind of module: the root of
/// Σ(stored − value)² / Σ value², all experts of a layer taken together.
class QuantizationError {
 public:
  struct Entry {
    int64_t layer = 0;
    std::string module;  ///< "q_a_proj", "experts.gate_proj", …
    double relative_rms = 0;
  };

  /// info: of a Linear of a layer (is_quantizable); values F32, the matrix before.
  void add(Context& ctx, const ParameterInfo& info, ConstTensorView values,
           const Parameter& stored);
  /// By layer, modules by name.
  std::vector<Entry> entries() const;
  /// Of all matrices together.
  double total() const;

 private:
  struct Sums {
    double error = 0, value = 0;
  };
  std::map<std::pair<int64_t, std::string>, Sums> sums_;
};

}  // namespace fathom
