#include "kernels/cpu/ops_table.h"
#include "kernels/cpu/vec.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

template <class M, class V>
void adamw_range(const AdamWFactors& f, float* w, const float* g, M* m, V* v, int64_t n) {
  for_vectors(n, [&](int64_t i, auto part) {
    const VecF grad = load(g + i, part) * f.grad_scale;
    const VecF old_m = load(m + i, part);
    const VecF new_m = old_m + (grad - old_m) * f.one_minus_beta1;
    const VecF new_v = load(v + i, part) * f.beta2 + grad * grad * f.one_minus_beta2;
    const VecF denominator = sqrt_vec(new_v) * f.rsqrt_correction2 + f.eps;
    store(m + i, new_m, part);
    store(v + i, new_v, part);
    store(w + i, load(w + i, part) * f.decay - new_m / denominator * f.step_size, part);
  });
}

void adamw(const AdamWFactors& factors, float* w, const float* g, MutableRows m, MutableRows v,
           int64_t n) {
  with_type(m.bf16, [&](auto tm) {
    with_type(v.bf16, [&](auto tv) {
      adamw_range(factors, w, g, static_cast<decltype(tm)*>(m.data),
                  static_cast<decltype(tv)*>(v.data), n);
    });
  });
}

void ema(float decay, float one_minus_decay, const float* w, MutableRows average, int64_t n) {
  with_type(average.bf16, [&](auto t) {
    auto* a = static_cast<decltype(t)*>(average.data);
    for_vectors(n, [&](int64_t i, auto part) {
      store(a + i, load(a + i, part) * decay + load(w + i, part) * one_minus_decay, part);
    });
  });
}

}  // namespace

const OptimizerOps kOptimizerOps = {adamw, ema};

}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
