#include "model/linear.h"

#include "model/emulated_linear.h"
#include "model/rounding_observer.h"

namespace fathom {
namespace {

using kernels::GemmInput;

kernels::Rounding rounding_of(const Pass& pass, OperandRole role, bool power_of_two) {
  kernels::Rounding rounding = pass.fp8->rounding(role);
  if (power_of_two) rounding.scale = kernels::ScaleFormat::kPowerOfTwo;
  return rounding;
}

bool for_weight(OperandRole role) {
  return role == OperandRole::kInputForWeight || role == OperandRole::kGradientForWeight;
}

/// Calls product(group, begin, rows) for the groups that have rows.
template <class Product>
void for_groups(const LinearGroups& groups, Product product) {
  for (size_t g = 0; g < groups.weights.size(); ++g)
    if (const int64_t begin = groups.offsets[g], rows = groups.offsets[g + 1] - begin; rows > 0)
      product(*groups.weights[g], begin, rows);
}

}  // namespace

LinearOperand::LinearOperand(const Pass& pass, OperandRole role, const GemmInput& x,
                             bool power_of_two)
    : pass_(pass), role_(role), x_(x) {
  if (pass.fp8) rounding_ = rounding_of(pass, role, power_of_two);
}

const GemmInput& LinearOperand::with(const Parameter& w) {
  if (!pass_.in_fp8(w)) return x_;
  if (pass_.observer && !is_rounded()) pass_.observer->observe(pass_.ctx, w, role_, x_, rounding_);
  if (!fp8_.values) fp8_ = is_emulated(pass_, w) ? codes() : rounded();
  return fp8_;
}

LinearOperand LinearOperand::row_range(int64_t begin, int64_t count) const {
  LinearOperand part = *this;
  part.x_ = x_.row_range(begin, count);
  part.fp8_ = {};
  return part;
}

bool LinearOperand::is_rounded() const {
  return x_.scale && x_.tile == rounding_.tile;
}

GemmInput LinearOperand::rounded() const {
  if (is_rounded()) return x_;
  const TensorView y = pass_.ctx.arena.alloc(DType::kBF16, {x_.rows(), x_.cols()});
  kernels::round_to_fp8(pass_.ctx, x_, rounding_, y);
  return y;
}

GemmInput LinearOperand::codes() const {
  if (for_weight(role_)) return transposed_codes(pass_, x_, rounding_.scale);
  if (is_rounded()) return x_;
  const kernels::QuantizedView q = pass_.alloc_e4m3(x_.rows(), x_.cols());
  kernels::quantize(pass_.ctx, x_.values, q, rounding_.scale);
  return q;
}

bool is_storable(const Pass& pass, const Parameter& w, OperandRole role) {
  if (!pass.in_fp8(w)) return false;
  const kernels::Rounding rounding = pass.fp8->rounding(role);
  return rounding.format == kernels::Float8::kE4M3 && rounding.tile == kernels::kTile1x128;
}

void observe_stored(const Pass& pass, const Parameter& w, OperandRole role, const GemmInput& x,
                    bool power_of_two) {
  if (!pass.observer) return;
  pass.observer->observe(pass.ctx, w, role, x, rounding_of(pass, role, power_of_two));
}

bool is_emulated(const Pass& pass, const Parameter& w) {
  return pass.in_fp8(w) && pass.fp8->accumulator.has_value();
}

void linear_forward(const Pass& pass, const Parameter& w, LinearOperand& x_TK, TensorView y_TN,
                    bool accumulate) {
  if (is_emulated(pass, w)) return emulated_nt(pass, x_TK.with(w), w.operand(), y_TN, accumulate);
  kernels::gemm_nt(pass.ctx, x_TK.with(w), w.operand(), y_TN, {pass.precision, accumulate});
}

void linear_forward(const Pass& pass, const Parameter& w, ConstTensorView x_TK, TensorView y_TN,
                    bool accumulate) {
  ArenaScope scope(pass.ctx.arena);
  LinearOperand x(pass, OperandRole::kInput, x_TK);
  linear_forward(pass, w, x, y_TN, accumulate);
}

void linear_forward(const Pass& pass, std::span<const LinearOutput> outputs, LinearOperand& x_TK) {
  std::vector<kernels::GemmNT> products;
  for (const auto& [w, y_TN] : outputs) {
    if (is_emulated(pass, *w))
      linear_forward(pass, *w, x_TK, y_TN);
    else
      products.push_back({x_TK.with(*w), w->operand(), y_TN});
  }
  kernels::batch_gemm_nt(pass.ctx, products, {pass.precision, false});
}

void linear_backward_input(const Pass& pass, const Parameter& w, LinearOperand& dy_TN,
                           TensorView dx_TK, bool accumulate) {
  if (is_emulated(pass, w)) return emulated_nn(pass, dy_TN.with(w), w.quantized, dx_TK, accumulate);
  kernels::gemm_nn(pass.ctx, dy_TN.with(w), w.operand(), dx_TK, {pass.precision, accumulate});
}

void linear_backward_weight(const Pass& pass, const Parameter& w, LinearOperand& dy_TN,
                            LinearOperand& x_TK) {
  if (is_emulated(pass, w)) return emulated_nt(pass, dy_TN.with(w), x_TK.with(w), w.grad, true);
  kernels::gemm_tn(pass.ctx, dy_TN.with(w), x_TK.with(w), w.grad, {pass.precision, true});
}

LinearGroups::Operands LinearGroups::operands() const {
  Operands with_rows{{}, {0}};
  for_groups(*this, [&](const Parameter& w, int64_t begin, int64_t rows) {
    with_rows.weights.push_back(w.operand());
    with_rows.offsets.push_back(begin + rows);
  });
  return with_rows;
}

void grouped_linear_forward(const Pass& pass, const LinearGroups& groups, LinearOperand& x_SK,
                            TensorView y_SN, bool accumulate) {
  if (!is_emulated(pass, groups.front())) {
    const auto [weights, offsets] = groups.operands();
    return kernels::grouped_gemm_nt(pass.ctx, x_SK.with(groups.front()), weights, y_SN, offsets,
                                    {pass.precision, accumulate});
  }
  for_groups(groups, [&](const Parameter& w, int64_t begin, int64_t rows) {
    LinearOperand x = x_SK.row_range(begin, rows);
    linear_forward(pass, w, x, y_SN.row_range(begin, rows), accumulate);
  });
}

void grouped_linear_backward_input(const Pass& pass, const LinearGroups& groups,
                                   LinearOperand& dy_SN, TensorView dx_SK, bool accumulate) {
  if (!is_emulated(pass, groups.front())) {
    const auto [weights, offsets] = groups.operands();
    return kernels::grouped_gemm_nn(pass.ctx, dy_SN.with(groups.front()), weights, dx_SK, offsets,
                                    {pass.precision, accumulate});
  }
  for_groups(groups, [&](const Parameter& w, int64_t begin, int64_t rows) {
    LinearOperand dy = dy_SN.row_range(begin, rows);
    linear_backward_input(pass, w, dy, dx_SK.row_range(begin, rows), accumulate);
  });
}

void grouped_linear_backward_weight(const Pass& pass, const LinearGroups& groups,
                                    LinearOperand& dy_SN, LinearOperand& x_SK) {
  const Parameter& first = groups.front();
  if (is_emulated(pass, first))
    return for_groups(groups, [&](const Parameter& w, int64_t begin, int64_t rows) {
      LinearOperand dy = dy_SN.row_range(begin, rows), x = x_SK.row_range(begin, rows);
      linear_backward_weight(pass, w, dy, x);
    });
  std::vector<TensorView> grads;
  grads.reserve(groups.weights.size());
  for (const Parameter* w : groups.weights) grads.push_back(w->grad);
  kernels::grouped_gemm_tn(pass.ctx, dy_SN.with(first), x_SK.with(first), grads, groups.offsets,
                           {pass.precision, true});
}

}  // namespace fathom
