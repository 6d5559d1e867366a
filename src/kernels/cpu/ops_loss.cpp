#include "kernels/cpu/ops_table.h"
#include "kernels/cpu/vec_exp.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

constexpr int64_t kBlock = 4096;  // summed in FP32; blocks are summed in FP64

/// e^(x − max) over the vector; lanes beyond a tail are zero.
VecF exp_part(const float* x, float max, Full) {
  return exp_vec(load(x, Full{}) - max);
}
VecF exp_part(const float* x, float max, Tail part) {
  VecF e = exp_vec(load(x, part) - max);
  for (int64_t l = part.count; l < kLanes; ++l) e[l] = 0;
  return e;
}

template <bool kKeep>
double sum_exp(float* x, float max, int64_t n) {
  double sum = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    float* block = x + begin;
    sum += sum_vectors(n - begin < kBlock ? n - begin : kBlock, [&](int64_t i, auto part) {
      const VecF e = exp_part(block + i, max, part);
      if (kKeep) store(block + i, e, part);
      return e;
    });
  }
  return sum;
}

float loss_of(double sum, float max, float target_logit) {
  return static_cast<float>(__builtin_log(sum) + (static_cast<double>(max) - target_logit));
}

float forward(const float* logits, int64_t n, int64_t target) {
  const float max = max_vectors(logits, n);
  return loss_of(sum_exp<false>(const_cast<float*>(logits), max, n), max, logits[target]);
}

float forward_backward(float* logits, int64_t n, int64_t target, float scale, bool to_bf16) {
  const float max = max_vectors(logits, n), target_logit = logits[target];
  const double sum = sum_exp<true>(logits, max, n);
  const float factor = static_cast<float>(scale / sum);
  // The target's gradient, scale·(p − 1), without the cancellation of subtracting after rounding.
  const float at_target = static_cast<float>(scale * (logits[target] / sum - 1));
  with_type(to_bf16, [&](auto t) {
    using T = decltype(t);
    T* out = reinterpret_cast<T*>(logits);  // a BF16 is written behind the place it is read from
    for_vectors(
        n, [&](int64_t i, auto part) { store(out + i, load(logits + i, part) * factor, part); });
    store(out + target, splat(at_target), Tail{1});
  });
  return loss_of(sum, max, target_logit);
}

}  // namespace

const LossOps kLossOps = {forward, forward_backward};

}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
