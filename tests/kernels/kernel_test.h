#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "base/context.h"
#include "base/philox.h"
#include "numerics/bf16.h"

namespace fathom {

/// A context for tests: a team of `threads`, an arena, and the instruction set FATHOM_ISA forces.
struct TestContext {
  explicit TestContext(int threads = 2) : pool(threads) {}
  ThreadPool pool;
  Arena arena;
  Context ctx{Device{}, pool, arena};
};

/// Element i of a contiguous F32 or BF16 tensor as float.
inline float element(const ConstTensorView& x, int64_t i) {
  return x.dtype == DType::kBF16 ? to_float(x.as<BF16>()[i]) : x.as<float>()[i];
}

inline void set_element(const TensorView& x, int64_t i, float value) {
  if (x.dtype == DType::kBF16)
    x.as<BF16>()[i] = to_bf16(value);
  else
    x.as<float>()[i] = value;
}

/// N(0, stddev²), reproducible from (seed).
inline void fill_normal(const TensorView& x, uint64_t seed, float stddev = 1) {
  const Philox rng(seed);
  for (int64_t i = 0; i < x.elements(); ++i) set_element(x, i, stddev * rng.normal2(i / 2)[i % 2]);
}

inline Tensor random_tensor(DType dtype, std::initializer_list<int64_t> shape, uint64_t seed,
                            float stddev = 1) {
  Tensor t(dtype, shape);
  fill_normal(t, seed, stddev);
  return t;
}

/// Checks every element: NaN where the reference has NaN, infinities equal, else
/// |actual - expected| <= absolute + relative·|expected|. Reports the worst place.
inline void expect_close(const ConstTensorView& actual, const ConstTensorView& expected,
                         double absolute, double relative) {
  ASSERT_EQ(actual.elements(), expected.elements());
  double worst = 0;
  int64_t where = -1;
  for (int64_t i = 0; i < actual.elements(); ++i) {
    const double a = element(actual, i), e = element(expected, i);
    if (std::isnan(e) || std::isnan(a)) {
      ASSERT_EQ(std::isnan(a), std::isnan(e)) << "NaN at " << i;
      continue;
    }
    if (a == e) continue;
    const double excess = std::abs(a - e) / (absolute + relative * std::abs(e));
    if (!(excess <= worst)) worst = excess, where = i;
  }
  if (where < 0) return;
  EXPECT_LE(worst, 1) << "at " << where << " of " << describe(actual) << ": "
                      << element(actual, where) << ", expected " << element(expected, where);
}

}  // namespace fathom
