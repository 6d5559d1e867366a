// The reference itself: its gradients against finite differences, its two forms of attention
// against each other.
#include <functional>

#include "kernels/kernel_test.h"
#include "kernels/ref/attention.h"

namespace fathom::kernels {
namespace {

Tensor random_f64(std::initializer_list<int64_t> shape, uint64_t seed) {
  Tensor t(DType::kF64, shape);
  const Philox rng(seed);
  for (int64_t i = 0; i < t.view().elements(); ++i) t.as<double>()[i] = rng.normal2(i)[0];
  return t;
}

double dot(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (int64_t i = 0; i < a.view().elements(); ++i) sum += a.as<double>()[i] * b.as<double>()[i];
  return sum;
}

// Central differences with step h = 1e-5 of a function whose third derivative is of order 1 err by
// h² ≈ 1e-10 plus rounding 1e-16 / h = 1e-11; 1e-7 leaves room for larger derivatives.
void expect_gradient(Tensor& x, const Tensor& gradient, const std::function<double()>& loss) {
  constexpr double kStep = 1e-5;
  for (int64_t i = 0; i < x.view().elements(); ++i) {
    double& value = x.as<double>()[i];
    const double kept = value;
    value = kept + kStep;
    const double above = loss();
    value = kept - kStep;
    const double below = loss();
    value = kept;
    EXPECT_NEAR(gradient.as<double>()[i], (above - below) / (2 * kStep), 1e-7) << "element " << i;
  }
}

TEST(AttentionReference, BackwardIsTheDerivativeOfForward) {
  const MlaShape shape{2, 3, 2, 4, 0.6f};
  const std::vector<int64_t> offsets = {0, 1, 6};
  const int64_t T = 6, H = shape.heads, D = 5, R = 2, V = 4;
  Tensor q = random_f64({T, H * D}, 1), kv = random_f64({T, H * (3 + V)}, 2);
  Tensor k_rope = random_f64({T, R}, 3), dout = random_f64({T, H * V}, 4);
  Tensor out(DType::kF64, {T, H * V}), lse(DType::kF64, {T, H});
  Tensor dq(DType::kF64, {T, H * D}), dkv(DType::kF64, {T, H * (3 + V)});
  Tensor dk_rope(DType::kF64, {T, R});
  const auto loss = [&] {
    ref::mla_attention_forward(shape, q, kv, k_rope, offsets, offsets, out, lse);
    return dot(out, dout);
  };
  ref::mla_attention_backward(shape, q, kv, k_rope, offsets, dout, dq, dkv, dk_rope);
  expect_gradient(q, dq, loss);
  expect_gradient(kv, dkv, loss);
  expect_gradient(k_rope, dk_rope, loss);
}

// Spec A.2: with q̃ = (W^UK)ᵀ q^C, attention over the latents c gives õ with W^UV õ = o.
TEST(AttentionReference, AbsorbedFormEqualsAttention) {
  const MlaShape shape{3, 6, 4, 5, 0.3f};
  const int64_t T = 7, H = shape.heads, N = 6, R = 4, V = 5, C = 8;
  const Tensor q = random_f64({T, H * (N + R)}, 1), cache = random_f64({T, C + R}, 2);
  const Tensor w = random_f64({H * (N + V), C}, 3);  // kv_b_proj: per head W^UK then W^UV
  Tensor kv(DType::kF64, {T, H * (N + V)}), q_latent(DType::kF64, {T, H, C});
  Tensor q_rope(DType::kF64, {T, H, R}), out(DType::kF64, {T, H * V}), lse(DType::kF64, {T, H});
  Tensor out_latent(DType::kF64, {T, H, C});
  std::vector<int32_t> position;
  for (int64_t t = 0; t < T; ++t) {
    position.push_back(static_cast<int32_t>(t));
    for (int64_t n = 0; n < H * (N + V); ++n)
      for (int64_t c = 0; c < C; ++c)
        kv.as<double>()[t * H * (N + V) + n] +=
            w.as<double>()[n * C + c] * cache.as<double>()[t * (C + R) + c];
    for (int64_t h = 0; h < H; ++h) {
      const double* head = q.as<double>() + (t * H + h) * (N + R);
      for (int64_t c = 0; c < C; ++c)
        for (int64_t n = 0; n < N; ++n)
          q_latent.as<double>()[(t * H + h) * C + c] +=
              head[n] * w.as<double>()[(h * (N + V) + n) * C + c];
      for (int64_t r = 0; r < R; ++r) q_rope.as<double>()[(t * H + h) * R + r] = head[N + r];
    }
  }
  const std::vector<int64_t> offsets = {0, T};
  ref::mla_attention_forward(shape, q, kv, cache.view().col_range(C, R), offsets, offsets, out,
                             lse);
  ref::mla_absorbed_decode(q_latent, q_rope, cache, position, shape.scale, out_latent);
  for (int64_t t = 0; t < T; ++t)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t v = 0; v < V; ++v) {
        double o = 0;
        for (int64_t c = 0; c < C; ++c)
          o += w.as<double>()[(h * (N + V) + N + v) * C + c] *
               out_latent.as<double>()[(t * H + h) * C + c];
        EXPECT_NEAR(out.as<double>()[(t * H + h) * V + v], o, 1e-12);
      }
}

}  // namespace
}  // namespace fathom::kernels
