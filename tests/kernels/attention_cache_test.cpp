// The formats of latent cache rows: what append_latent_rows writes, byte for byte against the
// scalar definitions of numerics/.
#include <bit>
#include <cstring>

#include "kernels/attention_cache.h"
#include "kernels/elementwise.h"
#include "numerics/e4m3.h"

namespace fathom::attention_test {
namespace {

float scale_of(const Cache& cache, int64_t row, int64_t group) {
  float scale;
  std::memcpy(&scale,
              cache.view().row(row) + cache.layout.scales_offset() +
                  group * static_cast<int64_t>(sizeof scale),
              sizeof scale);
  return scale;
}

TEST(LatentRows, Fp8RowOfV3Is656Bytes) {
  const LatentRowLayout layout{LatentCacheFormat::kFP8, 512, 64};
  EXPECT_EQ(layout.groups(), 4);
  EXPECT_EQ(layout.scales_offset(), 512);
  EXPECT_EQ(layout.rope_offset(), 528);
  EXPECT_EQ(layout.row_bytes(), 656);
  EXPECT_EQ((LatentRowLayout{LatentCacheFormat::kBF16, 512, 64}.row_bytes()), 1152);
}

TEST(LatentRows, WideFormatsRoundOnly) {
  for (LatentCacheFormat f : {LatentCacheFormat::kF32, LatentCacheFormat::kBF16}) {
    const Cache cache({f, 75, 10}, 40);
    const Tensor values = cache.values();
    for (int64_t r = 0; r < 40; ++r)
      for (int64_t i = 0; i < 85; ++i) {
        const float x =
            i < 75 ? cache.latent.as<float>()[r * 75 + i] : cache.rope.as<float>()[r * 10 + i - 75];
        const float y = values.as<float>()[r * 85 + i];
        EXPECT_EQ(y, f == LatentCacheFormat::kF32 ? x : to_float(to_bf16(x)));
      }
  }
}

TEST(LatentRows, Fp8ScaleIsTheLeastPowerOfTwoThatFits) {
  for (int64_t latent : {512, 300, 13}) {
    Cache cache({LatentCacheFormat::kFP8, latent, 6}, 30);
    for (int64_t i = 0; i < 30 * latent; ++i)
      cache.latent.as<float>()[i] *= std::ldexp(1.0f, static_cast<int>(i / latent * 8 - 120));
    cache.append();
    for (int64_t r = 0; r < 30; ++r)
      for (int64_t g = 0; g < cache.layout.groups(); ++g) {
        const float* x = cache.latent.as<float>() + r * latent + g * LatentRowLayout::kGroup;
        const int64_t n = std::min(LatentRowLayout::kGroup, latent - g * LatentRowLayout::kGroup);
        float largest = 0;
        for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(x[i]));
        const float scale = scale_of(cache, r, g);
        EXPECT_EQ(std::bit_cast<uint32_t>(scale) & 0x7fffffu, 0u);
        EXPECT_LE(largest, kE4M3Max * scale);
        EXPECT_TRUE(scale == 0x1p-117f || largest > kE4M3Max * scale / 2) << scale;
        const auto* codes = cache.view().row(r) + g * LatentRowLayout::kGroup;
        for (int64_t i = 0; i < n; ++i)
          EXPECT_EQ(static_cast<uint8_t>(codes[i]), to_e4m3(x[i] / scale).bits);
      }
  }
}

TEST(LatentRows, Fp8ErrorIsBounded) {
  const Cache cache({LatentCacheFormat::kFP8, 300, 20}, 50);
  const Tensor values = cache.values();
  for (int64_t r = 0; r < 50; ++r)
    for (int64_t i = 0; i < 300; ++i) {
      const double x = cache.latent.as<float>()[r * 300 + i], y = values.as<float>()[r * 320 + i];
      const double scale = scale_of(cache, r, i / LatentRowLayout::kGroup);
      EXPECT_LE(std::abs(x - y), std::max(0x1p-4 * std::abs(x), 0x1p-10 * scale));
    }
}

TEST(LatentRows, NotANumberOrInfinityMakesItsGroupNan) {
  Cache cache({LatentCacheFormat::kFP8, 300, 20}, 4);
  cache.latent.as<float>()[0 * 300 + 200] = NAN;
  cache.latent.as<float>()[1 * 300 + 299] = -INFINITY;
  for (int64_t i = 0; i < 300; ++i) cache.latent.as<float>()[2 * 300 + i] = i % 2 ? 0.0f : -0.0f;
  cache.append();
  const Tensor values = cache.values();
  for (int64_t i = 0; i < 300; ++i) {
    EXPECT_EQ(std::isnan(values.as<float>()[0 * 320 + i]), i / 128 == 1) << i;
    EXPECT_EQ(std::isnan(values.as<float>()[1 * 320 + i]), i / 128 == 2) << i;
    EXPECT_EQ(values.as<float>()[2 * 320 + i], 0);
  }
}

TEST(LatentRows, TakesEitherDtypeAndAnyStride) {
  const LatentRowLayout layout{LatentCacheFormat::kFP8, 130, 6};
  const Tensor wide = random_tensor(DType::kBF16, {9, 150}, 7), same(DType::kF32, {9, 150});
  for (int64_t i = 0; i < 9 * 150; ++i) same.as<float>()[i] = element(wide, i);
  std::vector<std::byte> a(static_cast<size_t>(9 * layout.row_bytes())), b(a.size());
  TestContext t;
  const auto append = [&](const TensorView& x, std::byte* rows) {
    kernels::append_latent_rows(t.ctx, x.col_range(0, 130), x.col_range(140, 6), layout, rows);
  };
  append(wide, a.data());
  append(same, b.data());
  EXPECT_EQ(a, b);
}

TEST(LatentRows, AreReadAsTheyStand) {
  TestContext t;
  for (const LatentCacheFormat f : kCacheFormats)
    for (const int64_t latent : {75, 512}) {
      const Cache cache({f, latent, 10}, 150);
      const Tensor values = cache.values();
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        const Tensor wide(dtype, {150, latent + 13});
        const TensorView rows = wide.view().col_range(2, latent + 10);
        for (const LatentCacheView& view : {cache.view(), cache.paged_view()}) {
          kernels::fill(t.ctx, wide, 0);
          kernels::read_latent_rows(t.ctx, view, rows);
          for (int64_t r = 0; r < 150; ++r)
            for (int64_t i = 0; i < latent + 10; ++i) {
              const float x = values.as<float>()[r * (latent + 10) + i];
              ASSERT_EQ(element(wide, r * (latent + 13) + 2 + i),
                        dtype == DType::kF32 ? x : to_float(to_bf16(x)));
            }
        }
      }
    }
}

TEST(LatentRows, PagesMayHoldSeveralLayers) {
  const LatentRowLayout layout{LatentCacheFormat::kBF16, 64, 16};
  const Cache first(layout, 64), second(layout, 64);
  const auto bytes = 64 * layout.row_bytes();
  std::vector<std::byte> page(static_cast<size_t>(2 * bytes));
  std::copy_n(second.data(), bytes, page.data() + bytes);
  const std::byte* pages[] = {page.data()};
  const LatentCacheView view{layout, 64, nullptr, 0, pages, {}, bytes};
  EXPECT_EQ(
      std::memcmp(view.row(63), second.view().row(63), static_cast<size_t>(layout.row_bytes())), 0);
}

}  // namespace
}  // namespace fathom::attention_test
