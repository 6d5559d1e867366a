#include "train/number_formats.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/philox.h"
#include "numerics/bf16.h"
#include "numerics/e5m2.h"

namespace fathom::train {
namespace {

class NumberFormats : public testing::Test {
 protected:
  // Of columns first_col and after.
  FormatNoise noise_of(NumberFormat format, const Tensor& x, int64_t first_col = 0) {
    const int64_t rows = x.view().rows(), cols = x.view().cols();
    const Tensor sent(DType::kF32, {rows, cols});
    std::copy_n(x.as<float>(), rows * cols, sent.as<float>());
    round_trip(ctx_, format, sent);
    FormatNoise noise;
    noise.add(x.view().col_range(first_col, cols - first_col),
              sent.view().col_range(first_col, cols - first_col));
    return noise;
  }

  // Logarithms uniform over whole octaves up to `greatest`, either sign. Each row is a group; its
  // first columns are the greatest and least magnitude, which make its scale and its grid.
  static Tensor log_uniform(double octaves, double greatest) {
    constexpr int64_t kRows = 1024, kCols = 128;
    Tensor x(DType::kF32, {kRows, kCols});
    const Philox rng(3);
    for (int64_t i = 0; i < kRows * kCols; ++i) {
      const auto block = rng.block(static_cast<uint64_t>(i));
      const double down = i % 128 == 0 ? 0 : i % 128 == 1 ? octaves : octaves * block[0] * 0x1p-32;
      x.as<float>()[i] = static_cast<float>((block[1] & 1 ? -1 : 1) * greatest * std::exp2(-down));
    }
    return x;
  }

  ThreadPool pool_{2};
  Arena arena_;
  Context ctx_{Device{}, pool_, arena_};
};

// Rounding to steps of s makes an error of variance s²/12; the noise is its mean over the values,
// the signal their mean square. Every octave but for its scale is like the greatest one, [max/2,
// max], whose values have the density 1 / (x·ln 2). With max = 1.75·2^k that octave lies 19.3% in
// [7/8, 1)·2^k, with steps of 2^(k−1−m), m the mantissa's bits, and 80.7% in [1, 1.75)·2^k, with
// steps twice as large. So
//   signal = (1.75² − 0.875²) / (2·ln 2) = 1.657, noise = 4^−m·(0.193/4 + 0.807) / 12,
// which is 13.67 + 6.02·m dB. E4M3 and E5M2 have that max by their scale, 448 and 57344. 129,024
// values leave a tenth of a dB to chance.
TEST_F(NumberFormats, FloatsHaveTheNoiseOfTheirMantissa) {
  const Tensor x = log_uniform(4, 1.75);
  const double expected = 10 * std::log10(1.657 * 12 / (0.1926 / 4 + 0.8074));
  const double bit = 20 * std::log10(2);
  EXPECT_NEAR(noise_of(NumberFormat::kE4M3, x, 2).signal_to_noise_db(), expected + 3 * bit, 0.15);
  EXPECT_NEAR(noise_of(NumberFormat::kE5M2, x, 2).signal_to_noise_db(), expected + 2 * bit, 0.15);
  EXPECT_NEAR(noise_of(NumberFormat::kBF16, x, 2).signal_to_noise_db(), expected + 7 * bit, 0.15);
}

// Values lie 4 / (2^(n−1) − 2) octaves apart, a ratio of r; to the nearest in linear space is an
// error of variance ((r − 1)·x)²/12 but for terms of higher order in r − 1.
TEST_F(NumberFormats, LogFmtHasTheNoiseOfItsStep) {
  const Tensor x = log_uniform(4, 1.75);
  for (const auto& [format, codes] :
       {std::pair{NumberFormat::kLogFmt8, 126}, {NumberFormat::kLogFmt10, 510}}) {
    const double step = std::exp2(4.0 / codes) - 1;
    // LogFMT rounds to BF16 first: its noise, 7 bits of mantissa, adds to its own.
    const double own = step * step / 12, first = std::pow(10, -5.58);
    EXPECT_NEAR(noise_of(format, x, 2).signal_to_noise_db(), -10 * std::log10(own + first), 0.15)
        << name_of(format);
  }
}

TEST_F(NumberFormats, KeepWhatTheyRepresent) {
  const float values[] = {448, -256, 0, 1, 0.5, -224, 3, 0.015625};  // of E4M3, scale 1
  const Tensor x(DType::kF32, {1, 8});
  std::copy(std::begin(values), std::end(values), x.as<float>());
  for (const NumberFormat format : {NumberFormat::kE4M3, NumberFormat::kBF16}) {
    const FormatNoise noise = noise_of(format, x);
    EXPECT_EQ(noise.signal_to_noise_db(), std::numeric_limits<double>::infinity());
    EXPECT_EQ(noise.nonzero, 7);
    EXPECT_EQ(noise.zeroed, 0);
    EXPECT_EQ(noise.bias(), 0);
  }
  x.as<float>()[0] = kE5M2Max;  // the scale of E5M2 is 1, in which the others but 448 are exact
  EXPECT_EQ(noise_of(NumberFormat::kE5M2, x).noise, 0);
}

TEST_F(NumberFormats, CountWhatBecomesZero) {
  const Tensor x(DType::kF32, {1, 4});
  const float values[] = {448, 1e-5f, 0, -2};  // least of E4M3: 2^-9
  std::copy(std::begin(values), std::end(values), x.as<float>());
  const FormatNoise noise = noise_of(NumberFormat::kE4M3, x);
  EXPECT_EQ(noise.zeroed, 1);
  EXPECT_DOUBLE_EQ(noise.underflow(), 1.0 / 3);
  EXPECT_LT(noise.bias(), 0);
}

TEST_F(NumberFormats, TakeZerosOddWidthsAndBf16) {
  for (const NumberFormat format : kNumberFormats) {
    const Tensor x(DType::kBF16, {3, 200});
    std::fill_n(x.as<BF16>(), 600, to_bf16(0));
    x.as<BF16>()[199] = to_bf16(1.5f);  // alone in the second, shorter group of the first row
    round_trip(ctx_, format, x);
    for (int64_t i = 0; i < 600; ++i)
      EXPECT_EQ(to_float(x.as<BF16>()[i]), i == 199 ? 1.5f : 0.0f) << name_of(format) << " " << i;
  }
}

}  // namespace
}  // namespace fathom::train
