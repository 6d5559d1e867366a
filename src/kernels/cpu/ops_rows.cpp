#include "kernels/cpu/ops_table.h"
#include "kernels/cpu/vec.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

void fill(MutableRows y, float value, int64_t n) {
  const VecF v = splat(value);
  with_type(y.bf16, [&](auto t) {
    auto* out = static_cast<decltype(t)*>(y.data);
    for_vectors(n, [&](int64_t i, auto part) { store(out + i, v, part); });
  });
}

void copy(Rows x, MutableRows y, int64_t n) {
  if (x.bf16 == y.bf16) {
    __builtin_memcpy(y.data, x.data, static_cast<size_t>(n) * (x.bf16 ? 2 : 4));
    return;
  }
  with_type(x.bf16, [&](auto tx) {
    with_type(y.bf16, [&](auto ty) {
      const auto* in = static_cast<const decltype(tx)*>(x.data);
      auto* out = static_cast<decltype(ty)*>(y.data);
      for_vectors(n, [&](int64_t i, auto part) { store(out + i, load(in + i, part), part); });
    });
  });
}

void add_scaled(Rows x, float scale, float* y, int64_t n) {
  with_type(x.bf16, [&](auto t) {
    const auto* in = static_cast<const decltype(t)*>(x.data);
    for_vectors(n, [&](int64_t i, auto part) {
      store(y + i, load(y + i, part) + load(in + i, part) * scale, part);
    });
  });
}

/// Σ term over the elements, term on FP64 vectors.
template <class Term>
double sum_fp64(Rows x, int64_t n, Term term) {
  VecD sum_low = {}, sum_high = {};
  with_type(x.bf16, [&](auto t) {
    const auto* in = static_cast<const decltype(t)*>(x.data);
    for_vectors(n, [&](int64_t i, auto part) {
      const VecF v = load(in + i, part);
      HalfF half[2];
      __builtin_memcpy(half, &v, sizeof v);
      sum_low += term(__builtin_convertvector(half[0], VecD));
      sum_high += term(__builtin_convertvector(half[1], VecD));
    });
  });
  const VecD both = sum_low + sum_high;
  double sum = 0;
  for (int64_t l = 0; l < kLanes / 2; ++l) sum += both[l];
  return sum;
}

double sum(Rows x, int64_t n) {
  return sum_fp64(x, n, [](VecD v) { return v; });
}

double sum_of_squares(Rows x, int64_t n) {
  return sum_fp64(x, n, [](VecD v) { return v * v; });
}

void gather_add(Rows y, const int32_t* slot, const float* weight, int64_t count, float* out,
                int64_t n) {
  with_type(y.bf16, [&](auto t) {
    const auto* in = static_cast<const decltype(t)*>(y.data);
    for_vectors(n, [&](int64_t i, auto part) {
      VecF sum = load(out + i, part);
      for (int64_t k = 0; k < count; ++k)
        sum += load(in + slot[k] * y.stride + i, part) * (weight ? weight[k] : 1.0f);
      store(out + i, sum, part);
    });
  });
}

}  // namespace

const RowOps kRowOps = {fill, copy, add_scaled, sum, sum_of_squares, gather_add};

}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
