// Weights to storage formats and back, and AWQ turned.
#include "kernels/stored_weights.h"

#include "stored_matrix.h"

namespace fathom::gemm_test {
namespace {

using kernels::GroupedIntOutput;

/// Memory for integers of N x K.
struct IntWeights {
  IntWeights(const Storage& s, int64_t n, int64_t k) {
    const int64_t group = s.group > 0 ? s.group : k, groups = (k + group - 1) / group;
    const bool four = s.format == StorageFormat::kInt4, eight = s.format == StorageFormat::kInt8;
    codes = Tensor(four    ? DType::kI32
                   : eight ? DType::kI8
                           : DType::kU8,
                   {n, four ? (k + 7) / 8 : k});
    scale = Tensor(s.scale, {n, groups});
    if (s.zeros && eight) zero = Tensor(DType::kI8, {n, groups});
    if (s.zeros && !eight) zero = Tensor(DType::kI32, {(n + 3) / (four ? 8 : 4) + 1, groups});
    output = {s.format, codes, scale, zero ? zero.view() : TensorView{}, s.group};
  }
  Tensor codes, scale, zero;
  GroupedIntOutput output;
};

// Codes are the nearest: a value inside the range of its group is off by at most half a step, plus
// the rounding of the scale to its type and of the zero point, which clips up to half a step at the
// ends (and as much in the value that is clipped).
TEST(StoredWeights, IntegersAreWithinAStep) {
  TestContext t(3);
  const int64_t n = 21, k = 300;
  for (const Storage& s : kStorages) {
    if (!is_grouped_int(s.format)) continue;
    SCOPED_TRACE(describe(s));
    const Tensor w = random_tensor(DType::kF32, {n, k}, 1);
    const IntWeights to(s, n, k);
    kernels::quantize_grouped_int(t.ctx, w, to.output);
    const Tensor back(DType::kF32, {n, k});
    kernels::decode_weights(t.ctx, to.output.input(k), back);
    const int64_t group = s.group > 0 ? s.group : k;
    const float steps = s.format == StorageFormat::kInt4 ? 15 : 255;
    for (int64_t r = 0; r < n; ++r)
      for (int64_t g = 0; g < k; g += group) {
        float low = 0, high = 0;
        for (int64_t i = g; i < std::min(k, g + group); ++i) {
          low = std::min(low, w.as<float>()[r * k + i]);
          high = std::max(high, w.as<float>()[r * k + i]);
        }
        const float range = s.zeros ? high - low : 2 * std::max(high, -low);
        // BF16 scales are off by 2^-9, so the largest values by that share of half the range.
        const float bound = range / steps * 1.01f + range * 0x1p-9f;
        for (int64_t i = g; i < std::min(k, g + group); ++i)
          ASSERT_NEAR(back.as<float>()[r * k + i], w.as<float>()[r * k + i], bound)
              << r << " " << i;
      }
  }
}

TEST(StoredWeights, ZerosStayZeros) {
  TestContext t;
  for (const Storage& s : kStorages) {
    if (!is_grouped_int(s.format)) continue;
    const Tensor w(DType::kBF16, {9, 64}), back(DType::kF32, {9, 64});
    const IntWeights to(s, 9, 64);
    kernels::quantize_grouped_int(t.ctx, w, to.output);
    kernels::decode_weights(t.ctx, to.output.input(64), back);
    for (int64_t i = 0; i < 9 * 64; ++i) ASSERT_EQ(back.as<float>()[i], 0) << describe(s);
  }
}

// Q8_0: half a step of amax / 127, and the scale's rounding to F16. Q4_0: a step of amax / 8, for
// the largest code is 7.
TEST(StoredWeights, GgufBlocksAreWithinAStep) {
  TestContext t;
  const int64_t n = 11, k = 96;
  for (const StorageFormat format : {StorageFormat::kQ8_0, StorageFormat::kQ4_0}) {
    const Tensor w = random_tensor(DType::kF32, {n, k}, 1), back(DType::kF32, {n, k});
    const Tensor bytes(DType::kU8, {n, stored_bytes(format, k)});
    kernels::quantize_gguf(t.ctx, w, format, bytes);
    kernels::decode_weights(t.ctx, GemmInput::gguf(format, bytes, k), back);
    for (int64_t b = 0; b < n * k; b += 32) {
      float amax = 0;
      for (int64_t i = b; i < b + 32; ++i) amax = std::max(amax, std::abs(w.as<float>()[i]));
      const float step = format == StorageFormat::kQ8_0 ? amax / 254 : amax / 8;
      for (int64_t i = b; i < b + 32; ++i)
        ASSERT_NEAR(back.as<float>()[i], w.as<float>()[i], step + amax * 0x1p-11f) << i;
    }
  }
}

// AWQ's definition: element (k, n) is (code − zero) · scale, with codes and zeros of columns in the
// order 0 2 4 6 1 3 5 7 within a word.
TEST(StoredWeights, AwqTurnedHasTheSameValues) {
  TestContext t(3);
  const int64_t k = 320, n = 200, group = 64, groups = k / group;
  constexpr int kNibbleOf[8] = {0, 4, 1, 5, 2, 6, 3, 7};
  for (bool zeros : {true, false}) {
    const Philox rng(5);
    const Tensor qweight(DType::kI32, {k, n / 8}), qzeros(DType::kI32, {groups, n / 8});
    const Tensor scales(DType::kF16, {groups, n});
    for (int64_t i = 0; i < k * n / 8; ++i)
      qweight.as<int32_t>()[i] = static_cast<int32_t>(rng.block(static_cast<uint64_t>(i))[0]);
    for (int64_t i = 0; i < groups * n / 8; ++i)
      qzeros.as<int32_t>()[i] = static_cast<int32_t>(rng.block(static_cast<uint64_t>(i))[1]);
    for (int64_t i = 0; i < groups * n; ++i)
      static_cast<F16*>(scales.view().data)[i] = to_f16(rng.uniform(static_cast<uint64_t>(i)));
    const IntWeights to({StorageFormat::kInt4, group, DType::kF16, zeros}, n, k);
    kernels::repack_awq(t.ctx, qweight, zeros ? qzeros.view() : TensorView{}, scales, to.output);
    const GemmInput w = to.output.input(k);
    for (int64_t r = 0; r < n; ++r)
      for (int64_t c = 0; c < k; ++c) {
        const auto code = [&](const Tensor& x, int64_t row) {
          const auto word = static_cast<uint32_t>(x.as<int32_t>()[row * (n / 8) + r / 8]);
          return static_cast<int>(word >> (4 * kNibbleOf[r % 8]) & 15);
        };
        const int zero = zeros ? code(qzeros, c / group) : 8;
        const float scale = to_float(static_cast<F16*>(scales.view().data)[c / group * n + r]);
        ASSERT_EQ(kernels::ref::weight_at(w, r, c),
                  scale * static_cast<float>(code(qweight, c) - zero))
            << r << ", " << c;
      }
  }
}

}  // namespace
}  // namespace fathom::gemm_test
