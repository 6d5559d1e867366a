#include "kernels/cpu/vec_exp.h"
#include "kernels/cpu/vec_quantize.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

/// How many values ahead gate and up are prefetched, over the end of a row into the next: the
/// arithmetic between loads keeps hardware prefetchers from running far enough ahead.
constexpr int64_t kPrefetchAhead = 1024;

template <class Y, class X>
void swiglu_forward_rows(const X& gate_up, const float* weight, MutableRows y,
                         const QuantizedRows& q, int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; ++r) {
    const auto row = gate_up.row(r);
    const float w = weight ? weight[r] : 1;
    const auto value = [&](int64_t i, auto part) {
      row.prefetch(i + kPrefetchAhead);
      row.prefetch(width + i + kPrefetchAhead);
      return silu_vec(row.load_at(i, part)).silu * row.load_at(width + i, part) * w;
    };
    Y* out = static_cast<Y*>(y.data) + r * y.stride;
    if (q.codes.codes)
      quantize_row(q, r, width, [&](int64_t i, auto part) {
        const VecF v = value(i, part);
        if (y.data) store_flushed(out + i, v, part);
        return v;
      });
    else
      for_vectors(width,
                  [&](int64_t i, auto part) { store_flushed(out + i, value(i, part), part); });
  }
}

void swiglu_forward(const Source& gate_up, const float* weight, MutableRows y,
                    const QuantizedRows& q, int64_t rows, int64_t width) {
  with_source(gate_up, [&](auto x) {
    with_type(y.bf16,
              [&](auto ty) { swiglu_forward_rows<decltype(ty)>(x, weight, y, q, rows, width); });
  });
}

/// What a row's gradient is written to: dg at i, du at width + i.
template <class T>
struct GradientRow {
  T* data;
  float* scratch;
  int64_t width;

  template <class Part>
  void write(int64_t i, VecF dg, VecF du, Part part) const {
    if (data) {
      store_flushed(data + i, dg, part);
      store_flushed(data + width + i, du, part);
    }
    if (scratch) store(scratch + i, dg, part), store(scratch + width + i, du, part);
  }
};

/// With s = σ(g) and a = g·s: dg = dy·u·(s + a·(1 − s)), du = dy·a, where dy includes the weight.
/// Returns the gradient of the weight, Σ dy·a·u.
template <class X, class DY, class DX, class Act>
float swiglu_backward_row(const X& gate_up, const DY* dy, float weight, GradientRow<DX> out,
                          Act put_act) {
  const int64_t width = out.width;
  VecF sum = {};
  for_vectors(width, [&](int64_t i, auto part) {
    gate_up.prefetch(i + kPrefetchAhead);
    gate_up.prefetch(width + i + kPrefetchAhead);
    __builtin_prefetch(dy + i + kPrefetchAhead);
    const VecF g = gate_up.load_at(i, part), u = gate_up.load_at(width + i, part);
    const VecF d = load(dy + i, part);
    const auto [s, a] = silu_vec(g);
    const VecF act = a * u;
    put_act(i, act * weight, part);
    sum += d * act;
    const VecF dw = d * weight;
    out.write(i, dw * u * (s + a * (1.0f - s)), dw * a, part);
  });
  return reduce_add(sum);
}

template <class DX, class X, class DY>
void swiglu_backward_rows(const X& gate_up, const float* weight, const DY* dy, int64_t dy_stride,
                          const SwigluGradientRows& out, int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; ++r) {
    const auto put_act = [&](int64_t i, VecF v, auto part) {
      if (!out.act.data) return;
      const int64_t at = r * out.act.stride + i;
      out.act.bf16 ? store_flushed(static_cast<BF16*>(out.act.data) + at, v, part)
                   : store_flushed(static_cast<float*>(out.act.data) + at, v, part);
    };
    auto* dx = static_cast<DX*>(out.dgate_up.data);
    const GradientRow<DX> row = {dx ? dx + r * out.dgate_up.stride : nullptr, out.scratch, width};
    const float dweight = swiglu_backward_row(gate_up.row(r), dy + r * dy_stride,
                                              weight ? weight[r] : 1, row, put_act);
    if (out.dweight) out.dweight[r] = dweight;
    if (out.quantized.codes.codes)
      quantize_row(out.quantized, r, 2 * width,
                   [&](int64_t i, auto part) { return load(out.scratch + i, part); });
  }
}

void swiglu_backward(const Source& gate_up, const float* weight, Rows dy,
                     const SwigluGradientRows& out, int64_t rows, int64_t width) {
  with_source(gate_up, [&](auto x) {
    with_type(dy.bf16, [&](auto tdy) {
      with_type(out.dgate_up.bf16, [&](auto tdx) {
        swiglu_backward_rows<decltype(tdx)>(x, weight, static_cast<const decltype(tdy)*>(dy.data),
                                            dy.stride, out, rows, width);
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
