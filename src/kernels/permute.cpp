#include "kernels/permute.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/ops_scaled.h"

namespace fathom::kernels {
namespace {

using namespace cpu;

int64_t tokens_of(const ExpertPlan& plan) {
  return plan.slot_TK.rows();
}
int64_t choices_of(const ExpertPlan& plan) {
  return plan.slot_TK.cols();
}
int64_t slots_of(const ExpertPlan& plan) {
  return plan.token_S.shape[0];
}

}  // namespace

ExpertPlan plan_experts(Context& ctx, ConstTensorView expert_TK, int64_t experts) {
  const auto expert = expert_TK.matrix<int32_t>();
  const int64_t t = expert.rows, k = expert.cols;
  const ExpertPlan plan = {ctx.arena.alloc(DType::kI64, {experts + 1}),
                           ctx.arena.alloc(DType::kI32, {t, k}),
                           ctx.arena.alloc(DType::kI32, {t * k})};
  int64_t* offset = plan.offset_E1.as<int64_t>();
  std::fill_n(offset, experts + 1, 0);
  for (int64_t i = 0; i < t; ++i)
    for (int64_t c = 0; c < k; ++c) {
      FATHOM_ASSERT(expert(i, c) >= 0 && expert(i, c) < experts);
      ++offset[expert(i, c) + 1];
    }
  for (int64_t e = 0; e < experts; ++e) offset[e + 1] += offset[e];

  const ArenaScope scope(ctx.arena);
  int64_t* next = ctx.arena.alloc_array<int64_t>(experts);
  std::copy_n(offset, experts, next);
  int32_t *slot = plan.slot_TK.as<int32_t>(), *token = plan.token_S.as<int32_t>();
  for (int64_t i = 0; i < t; ++i)
    for (int64_t c = 0; c < k; ++c) {
      const int64_t s = next[expert(i, c)]++;
      slot[i * k + c] = static_cast<int32_t>(s);
      token[s] = static_cast<int32_t>(i);
    }
  return plan;
}

void permute(Context& ctx, const ExpertPlan& plan, ConstTensorView x_TD, TensorView y_SD) {
  constexpr const char* kName = "permute";
  const int64_t s = slots_of(plan), d = x_TD.cols();
  check_same_device(kName, ctx, {plan.token_S, x_TD, y_SD});
  check_shape(kName, "x", x_TD, {tokens_of(plan), d});
  check_shape(kName, "y", y_SD, {s, d});
  const Rows x = rows_of(kName, "x", x_TD);
  const MutableRows y = mutable_rows_of(kName, "y", y_SD);
  const int32_t* token = plan.token_S.as<int32_t>();
  for_items(ctx, s, 8 * d, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ops(ctx).row.copy(at(x, token[i]), at(y, i), d);
  });
}

void permute(Context& ctx, const ExpertPlan& plan, const ConstQuantizedView& x_TD,
             const QuantizedView& y_SD) {
  constexpr const char* kName = "permute";
  const int64_t s = slots_of(plan), d = x_TD.cols(), tiles = scale_cols(d, kTile1x128);
  check_same_device(kName, ctx, {plan.token_S, x_TD.codes, y_SD.codes});
  check_shape(kName, "x", x_TD.codes, {tokens_of(plan), d});
  check_shape(kName, "y", y_SD.codes, {s, d});
  FATHOM_ASSERT(x_TD.tile == kTile1x128 && y_SD.tile == kTile1x128);
  const ScaledCodes x = scaled_codes_of(kName, x_TD), y = scaled_codes_of(kName, y_SD);
  const int32_t* token = plan.token_S.as<int32_t>();
  for_items(ctx, s, 2 * d, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const ScaledCodes from = at(x, token[i]), to = at(y, i);
      std::memcpy(to.codes, from.codes, static_cast<size_t>(d));
      std::copy_n(from.scale + from.first_row * from.scale_stride, tiles,
                  to.scale + to.first_row * to.scale_stride);
    }
  });
}

void permute_choices(Context& ctx, const ExpertPlan& plan, ConstTensorView x_TK, TensorView y_S) {
  constexpr const char* kName = "permute_choices";
  check_same_device(kName, ctx, {plan.slot_TK, x_TK, y_S});
  check_shape(kName, "x", x_TK, {tokens_of(plan), choices_of(plan)});
  check_shape(kName, "y", y_S, {slots_of(plan)});
  const auto slot = plan.slot_TK.matrix<int32_t>();
  const auto x = x_TK.matrix<float>();
  for (int64_t t = 0; t < x.rows; ++t)
    for (int64_t k = 0; k < x.cols; ++k) y_S.as<float>()[slot(t, k)] = x(t, k);
}

void unpermute_choices(Context& ctx, const ExpertPlan& plan, ConstTensorView x_S, TensorView y_TK) {
  constexpr const char* kName = "unpermute_choices";
  check_same_device(kName, ctx, {plan.slot_TK, x_S, y_TK});
  check_shape(kName, "x", x_S, {slots_of(plan)});
  check_shape(kName, "y", y_TK, {tokens_of(plan), choices_of(plan)});
  const auto slot = plan.slot_TK.matrix<int32_t>();
  const auto y = y_TK.matrix<float>();
  for (int64_t t = 0; t < y.rows; ++t)
    for (int64_t k = 0; k < y.cols; ++k) y(t, k) = x_S.as<float>()[slot(t, k)];
}

void unpermute(Context& ctx, const ExpertPlan& plan, ConstTensorView y_SD,
               ConstTensorView weight_TK, TensorView out_TD) {
  constexpr const char* kName = "unpermute";
  const int64_t t = tokens_of(plan), k = choices_of(plan), d = out_TD.cols();
  check_same_device(kName, ctx, {plan.slot_TK, y_SD, weight_TK, out_TD});
  check_shape(kName, "y", y_SD, {slots_of(plan), d});
  check_shape(kName, "out", out_TD, {t, d});
  if (weight_TK) check_shape(kName, "weight", weight_TK, {t, k});
  const Rows y = rows_of(kName, "y", y_SD);
  const auto out = out_TD.matrix<float>();
  const auto weight = weight_TK ? weight_TK.matrix<float>() : MatrixView<const float>{};
  const int32_t* slot = plan.slot_TK.as<int32_t>();
  for_items(ctx, t, 4 * d * (k + 2), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      ops(ctx).row.gather_add(y, slot + i * k, weight.data ? weight.row(i) : nullptr, k, out.row(i),
                              d);
  });
}

}  // namespace fathom::kernels
