#pragma once

#include <span>
#include <vector>

#include "kernels/gemm.h"
#include "model/fp8_recipe.h"
#include "model/parameter.h"
#include "model/pass.h"

namespace fathom {

/// One matrix in one role, ready for products with several weights: as it is for weights of F32 or
/// BF16, rounded to FP8 for those in FP8, which happens once, into the arena, when a weight first
/// asks: use an operand within one ArenaScope. With an emulated accumulator the FP8 form has codes,
/// transposed in the roles for weight gradients, so that they lie along the contracted dimension.
class LinearOperand {
 public:
  /// x stays as it is if it is E4M3 in the tiles of the role already. power_of_two: as the recipe
  /// has it for some operands whatever its scale format.
  LinearOperand(const Pass& pass, OperandRole role, const kernels::GemmInput& x,
                bool power_of_two = false);

  const kernels::GemmInput& with(const Parameter& w);
  /// Some of the rows, rounded by themselves.
  LinearOperand row_range(int64_t begin, int64_t count) const;

 private:
  bool is_rounded() const;
  kernels::GemmInput rounded() const;
  kernels::GemmInput codes() const;

  const Pass& pass_;
  OperandRole role_;
  kernels::GemmInput x_, fp8_;
  kernels::Rounding rounding_;
};

/// Whether an operand of w in that role can be stored rounded, by whatever produces it: as E4M3 in
/// tiles of 1x128.
bool is_storable(const Pass& pass, const Parameter& w, OperandRole role);
/// Shows the pass's observer, if there is one, such an operand as it was before.
void observe_stored(const Pass& pass, const Parameter& w, OperandRole role,
                    const kernels::GemmInput& x, bool power_of_two = false);

/// y = x·Wᵀ; w is [N, K] as in the checkpoint. FLOPs 2·T·N·K each.
void linear_forward(const Pass& pass, const Parameter& w, LinearOperand& x_TK, TensorView y_TN,
                    bool accumulate = false);
/// The same for an input of one Linear alone.
void linear_forward(const Pass& pass, const Parameter& w, ConstTensorView x_TK, TensorView y_TN,
                    bool accumulate = false);
/// Several Linears of one input together.
struct LinearOutput {
  const Parameter* w;
  TensorView y_TN;
};
void linear_forward(const Pass& pass, std::span<const LinearOutput> outputs, LinearOperand& x_TK);
/// dx = dy·W.
void linear_backward_input(const Pass& pass, const Parameter& w, LinearOperand& dy_TN,
                           TensorView dx_TK, bool accumulate = false);
/// dW += dyᵀ·x.
void linear_backward_weight(const Pass& pass, const Parameter& w, LinearOperand& dy_TN,
                            LinearOperand& x_TK);

/// Several Linears of one shape, each with rows of its own, sorted: experts. All their weights have
/// the same format.
struct LinearGroups {
  std::vector<const Parameter*> weights;
  kernels::GroupOffsets offsets;

  const Parameter& front() const { return *weights.front(); }
  struct Operands {
    std::vector<kernels::GemmInput> weights;
    std::vector<int64_t> offsets;
  };
  /// Of the Linears that have rows: few of many experts, when few tokens are decoded.
  Operands operands() const;
};

void grouped_linear_forward(const Pass& pass, const LinearGroups& groups, LinearOperand& x_SK,
                            TensorView y_SN, bool accumulate = false);
void grouped_linear_backward_input(const Pass& pass, const LinearGroups& groups,
                                   LinearOperand& dy_SN, TensorView dx_SK, bool accumulate = false);
void grouped_linear_backward_weight(const Pass& pass, const LinearGroups& groups,
                                    LinearOperand& dy_SN, LinearOperand& x_SK);

/// Whether products with w go through the emulated accumulator.
bool is_emulated(const Pass& pass, const Parameter& w);

}  // namespace fathom
