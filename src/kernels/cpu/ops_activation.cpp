#include "kernels/cpu/ops_table.h"
#include "kernels/cpu/vec_exp.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

void swiglu_forward(Rows gate_up, MutableRows y, int64_t rows, int64_t width) {
  with_type(gate_up.bf16, [&](auto tx) {
    with_type(y.bf16, [&](auto ty) {
      for (int64_t r = 0; r < rows; ++r) {
        const auto* g = static_cast<const decltype(tx)*>(gate_up.data) + r * gate_up.stride;
        const auto* u = g + width;
        auto* out = static_cast<decltype(ty)*>(y.data) + r * y.stride;
        for_vectors(width, [&](int64_t i, auto part) {
          const VecF gate = load(g + i, part);
          store(out + i, gate / (1.0f + exp_vec(-gate)) * load(u + i, part), part);
        });
      }
    });
  });
}

template <class X, class DY, class DX>
void swiglu_backward_row(const X* gate_up, const DY* dy, DX* dgate_up, int64_t width) {
  for_vectors(width, [&](int64_t i, auto part) {
    const VecF g = load(gate_up + i, part), u = load(gate_up + width + i, part);
    const VecF d = load(dy + i, part), s = sigmoid_vec(g);
    store(dgate_up + i, d * u * (s * (1.0f + g * (1.0f - s))), part);
    store(dgate_up + width + i, d * (g * s), part);
  });
}

void swiglu_backward(Rows gate_up, Rows dy, MutableRows dgate_up, int64_t rows, int64_t width) {
  with_type(gate_up.bf16, [&](auto tx) {
    with_type(dy.bf16, [&](auto tdy) {
      with_type(dgate_up.bf16, [&](auto tdx) {
        for (int64_t r = 0; r < rows; ++r)
          swiglu_backward_row(static_cast<const decltype(tx)*>(gate_up.data) + r * gate_up.stride,
                              static_cast<const decltype(tdy)*>(dy.data) + r * dy.stride,
                              static_cast<decltype(tdx)*>(dgate_up.data) + r * dgate_up.stride,
                              width);
      });
    });
  });
}

void sigmoid(const float* x, float* y, int64_t n) {
  for_vectors(n, [&](int64_t i, auto part) { store(y + i, sigmoid_vec(load(x + i, part)), part); });
}

void exp(const float* x, float* y, int64_t n) {
  for_vectors(n, [&](int64_t i, auto part) { store(y + i, exp_vec(load(x + i, part)), part); });
}

void softmax(const float* x, float* y, int64_t n) {
  const float max = max_vectors(x, n);
  for_vectors(n,
              [&](int64_t i, auto part) { store(y + i, exp_vec(load(x + i, part) - max), part); });
  const float sum = sum_vectors(n, [&](int64_t i, auto part) { return load(y + i, part); });
  for_vectors(n, [&](int64_t i, auto part) { store(y + i, load(y + i, part) / sum, part); });
}

/// Pairs (a, b) to (b, a).
VecF swap_pairs(VecF x) {
  const VecU64 u = bit_cast_vec<VecU64>(x);
  return bit_cast_vec<VecF>((u >> 32) | (u << 32));
}

/// p[0], p[0], p[1], p[1], …
template <class Part>
VecF load_twice(const float* p, Part part) {
  const VecU64 u = __builtin_convertvector(load_bits<HalfU>(p, part), VecU64);
  return bit_cast_vec<VecF>(u | (u << 32));
}

Full half_of(Full) {
  return {};
}
Tail half_of(Tail part) {
  return {part.count / 2};
}

/// Asks for the cache lines of a head some way ahead: hardware prefetchers do not follow short runs
/// with gaps (without, BF16 queries of 192 a head took three times as long). May point beyond the
/// array.
template <class T>
void prefetch_head(const T* x, int64_t stride, int64_t width) {
  constexpr int64_t kAhead = 8, kLine = 64;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(x) + kAhead * stride * sizeof(T);
  for (uintptr_t p = begin; p < begin + width * sizeof(T); p += kLine)
    __builtin_prefetch(reinterpret_cast<const void*>(p), 1);
}

template <class T>
void rope_heads(T* heads, int64_t stride, int64_t count, int64_t width, const float* cos,
                const float* sin, VecF sign) {
  for (int64_t h = 0; h < count; ++h) {
    T* x = heads + h * stride;
    prefetch_head(x, stride, width);
    for_vectors(width, [&](int64_t i, auto part) {
      const auto half = half_of(part);
      const VecF v = load(x + i, part);
      const VecF c = load_twice(cos + i / 2, half), s = load_twice(sin + i / 2, half);
      store(x + i, v * c + swap_pairs(v) * (s * sign), part);
    });
  }
}

void rope(MutableRows heads, int64_t count, int64_t width, const float* cos, const float* sin,
          bool inverse) {
  VecF sign;  // (a, b) becomes (a·cos − b·sin, b·cos + a·sin)
  for (int64_t l = 0; l < kLanes; ++l) sign[l] = (l % 2 == 0) != inverse ? -1.0f : 1.0f;
  with_type(heads.bf16, [&](auto t) {
    rope_heads(static_cast<decltype(t)*>(heads.data), heads.stride, count, width, cos, sin, sign);
  });
}

}  // namespace

const ActivationOps kActivationOps = {swiglu_forward, swiglu_backward, sigmoid, softmax, exp, rope};

}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
