#pragma once

#include <algorithm>
#include <vector>

#include "kernels/kernel_test.h"
#include "kernels/latent_cache.h"
#include "kernels/ref/attention.h"

namespace fathom::attention_test {

using kernels::LatentCacheFormat;
using kernels::LatentCacheView;
using kernels::LatentRowLayout;

inline constexpr LatentCacheFormat kCacheFormats[] = {
    LatentCacheFormat::kF32, LatentCacheFormat::kBF16, LatentCacheFormat::kFP8};

/// Rows of random latents and keys, N(0, 1), appended in a format: contiguous and, the same rows,
/// in pages that lie in reverse order.
struct Cache {
  Cache(LatentRowLayout layout_in, int64_t rows_in) : layout(layout_in), rows(rows_in) {
    latent = random_tensor(DType::kF32, {rows, layout.latent}, 3);
    rope = random_tensor(DType::kF32, {rows, layout.rope}, 4);
    append();
  }

  /// Stores `latent` and `rope` (again).
  void append() {
    const int64_t bytes = layout.row_bytes(), page_bytes = LatentCacheView::kPageRows * bytes;
    const int64_t count = (rows + LatentCacheView::kPageRows - 1) / LatentCacheView::kPageRows;
    memory = Tensor(DType::kU8, {rows, bytes});
    TestContext t;
    kernels::append_latent_rows(t.ctx, latent, rope, layout, data());
    paged = Tensor(DType::kU8, {count, page_bytes});
    pages.clear();
    for (int64_t p = 0; p < count; ++p) {
      auto* page = reinterpret_cast<std::byte*>(paged.as<uint8_t>()) + (count - 1 - p) * page_bytes;
      std::copy_n(data() + p * page_bytes, std::min(page_bytes, rows * bytes - p * page_bytes),
                  page);
      pages.push_back(page);
    }
  }

  std::byte* data() const { return reinterpret_cast<std::byte*>(memory.as<uint8_t>()); }
  LatentCacheView view() const { return {layout, rows, data(), layout.row_bytes(), {}, {}}; }
  LatentCacheView paged_view() const { return {layout, rows, nullptr, 0, pages, {}}; }
  /// What the rows stand for, F32 [rows, C+R].
  Tensor values() const {
    Tensor values_SX(DType::kF32, {rows, layout.latent + layout.rope});
    kernels::ref::load_latent_rows(view(), values_SX);
    return values_SX;
  }

  LatentRowLayout layout;
  int64_t rows;
  Tensor latent, rope, memory, paged;
  std::vector<const std::byte*> pages;
};

/// A call of absorbed decode over a cache.
struct DecodeProblem {
  DecodeProblem(int64_t heads, LatentRowLayout layout, int64_t rows, std::vector<int32_t> positions)
      : cache(layout, rows), H(heads), C(layout.latent), R(layout.rope) {
    position = std::move(positions);
    const auto T = static_cast<int64_t>(position.size());
    scale = 1 / std::sqrt(static_cast<float>(C + R));
    q_latent = random_tensor(DType::kF32, {T, H, C}, 1);
    q = random_tensor(DType::kF32, {T, H, R + 3}, 2);
    out = Tensor(DType::kF32, {T, H, C});
  }

  /// A head's roped part is the end of its query, as the projection wrote it.
  TensorView q_rope() const { return q.view().slice(2, 3, R); }
  std::vector<float> result() const {
    return {out.as<float>(), out.as<float>() + out.view().elements()};
  }
  Tensor expected() const {
    Tensor y(DType::kF32, {out.view().shape[0], H, C});
    kernels::ref::mla_absorbed_decode(q_latent, q_rope(), cache.values(), position, scale, y);
    return y;
  }
  /// See attention_decode_test.cpp.
  void expect_correct() const {
    const double u = cache.layout.format == LatentCacheFormat::kF32 ? 0x1p-24 : 0x1p-9;
    expect_close(out, expected(), 16 * u, 16 * 0x1p-24);
  }

  Cache cache;
  int64_t H, C, R;
  std::vector<int32_t> position;
  float scale;
  Tensor q_latent, q, out;
};

inline std::vector<int32_t> consecutive(int32_t first, int32_t count) {
  std::vector<int32_t> p;
  for (int32_t i = 0; i < count; ++i) p.push_back(first + i);
  return p;
}

}  // namespace fathom::attention_test
