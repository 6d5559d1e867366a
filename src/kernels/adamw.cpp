#include "kernels/adamw.h"

#include <cmath>

#include "kernels/cpu/ops_common.h"

namespace fathom::kernels {
namespace {

using namespace cpu;

constexpr int64_t kRange = 4096;  ///< elements a thread takes at a time, a multiple of vectors

/// PyTorch computes these in double and rounds them once.
AdamWFactors factors_of(const AdamWStep& s) {
  FATHOM_ASSERT(s.step >= 1);
  const double correction1 = 1 - std::pow(s.beta1, static_cast<double>(s.step));
  const double correction2 = 1 - std::pow(s.beta2, static_cast<double>(s.step));
  const auto f = [](double x) { return static_cast<float>(x); };
  return {f(1 - s.lr * s.weight_decay),
          f(1 - s.beta1),
          f(s.beta2),
          f(1 - s.beta2),
          f(1 / std::sqrt(correction2)),
          f(s.eps),
          f(s.lr / correction1),
          f(s.grad_scale)};
}

MutableRows flat(const char* kernel, const char* argument, const TensorView& x, int64_t n) {
  check_dtype(kernel, argument, x, {DType::kF32, DType::kBF16});
  FATHOM_ASSERT(x.contiguous() && x.elements() == n);
  return {x.data, n, x.dtype == DType::kBF16};
}

}  // namespace

void adamw(Context& ctx, const AdamWStep& step, TensorView w, ConstTensorView g, TensorView m,
           TensorView v) {
  constexpr const char* kName = "adamw";
  const int64_t n = w.elements();
  check_same_device(kName, ctx, {w, g, m, v});
  FATHOM_ASSERT(w.contiguous() && g.contiguous() && g.elements() == n);
  const MutableRows m_rows = flat(kName, "m", m, n), v_rows = flat(kName, "v", v, n);
  float* wp = w.as<float>();
  const float* gp = g.as<float>();
  const AdamWFactors factors = factors_of(step);
  for_items(ctx, (n + kRange - 1) / kRange, 28 * kRange, [&](int64_t first, int64_t last) {
    const int64_t begin = first * kRange, end = std::min(last * kRange, n);
    ops(ctx).optimizer.adamw(factors, wp + begin, gp + begin, at(m_rows, 0, begin),
                             at(v_rows, 0, begin), end - begin);
  });
}

void ema_update(Context& ctx, float decay, ConstTensorView w, TensorView average) {
  constexpr const char* kName = "ema_update";
  const int64_t n = w.elements();
  check_same_device(kName, ctx, {w, average});
  FATHOM_ASSERT(w.contiguous());
  const float* wp = w.as<float>();
  const MutableRows a = flat(kName, "average", average, n);
  for_items(ctx, (n + kRange - 1) / kRange, 12 * kRange, [&](int64_t first, int64_t last) {
    const int64_t begin = first * kRange, end = std::min(last * kRange, n);
    ops(ctx).optimizer.ema(decay, 1 - decay, wp + begin, at(a, 0, begin), end - begin);
  });
}

}  // namespace fathom::kernels
