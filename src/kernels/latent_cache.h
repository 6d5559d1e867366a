#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/context.h"
#include "base/tensor.h"

namespace fathom::kernels {

/// What the values of a cached token are stored as.
enum class LatentCacheFormat : uint8_t { kF32, kBF16, kFP8 };

/// One token's row in the latent cache (spec A.2): the normed latent, C values, then the roped key,
/// R values.
///   kF32, kBF16  C + R values
///   kFP8         C codes E4M3; an F32 scale for each 128 of them (the last group may be shorter);
///                R values BF16; parts padded to 4 bytes. 656 bytes for 512 + 64 (spec I.2)
/// A value is its code times its group's scale. Scales are powers of two, so that values are exact
/// in BF16, or NaN, where the group held a NaN or an infinity.
struct LatentRowLayout {
  static constexpr int64_t kGroup = 128;

  LatentCacheFormat format = LatentCacheFormat::kBF16;
  int64_t latent = 0, rope = 0;

  bool operator==(const LatentRowLayout&) const = default;
  int64_t groups() const { return (latent + kGroup - 1) / kGroup; }
  /// Bytes from the start of a row.
  int64_t scales_offset() const { return (latent + 3) / 4 * 4; }
  int64_t rope_offset() const;
  int64_t row_bytes() const;
};

/// The cached rows of one sequence in one layer, not owning. Row s lies at rows + s·row_stride or,
/// where there are pages, is row s % kPageRows of page s / kPageRows, whose rows follow each other
/// directly, page_offset bytes from where the page begins (a page may hold several layers).
struct LatentCacheView {
  static constexpr int64_t kPageRows = 64;

  LatentRowLayout layout;
  int64_t length = 0;
  const std::byte* rows = nullptr;
  int64_t row_stride = 0;  ///< bytes
  std::span<const std::byte* const> pages;
  Device device;
  int64_t page_offset = 0;

  const std::byte* row(int64_t s) const {
    if (pages.empty()) return rows + s * row_stride;
    return pages[static_cast<size_t>(s / kPageRows)] + page_offset +
           s % kPageRows * layout.row_bytes();
  }
  /// How many of the rows from s on follow each other.
  int64_t run(int64_t s) const {
    const int64_t left = length - s;
    if (pages.empty()) return left;
    const int64_t of_page = kPageRows - s % kPageRows;
    return left < of_page ? left : of_page;
  }
};

/// A cache [S, C+R] of F32 or BF16 values whose first `latent` columns are the latent.
LatentCacheView latent_cache_view(const ConstTensorView& cache_SX, int64_t latent);

/// Writes tokens as consecutive rows of the layout: latent_TC [T, C] and k_rope_TR [T, R], each F32
/// or BF16 with any row stride, are rounded to what the format stores.
/// FP8: scale = the least power of two, from 2^-117, for which no code exceeds 448 (values beyond
/// 1.75·2^127 saturate), code = value / scale rounded to nearest even. So a value errs by at most
/// 2^-4 of itself or, where that is more, 2^-10·scale, below 2^-17 of the largest of its group.
void append_latent_rows(Context& ctx, ConstTensorView latent_TC, ConstTensorView k_rope_TR,
                        const LatentRowLayout& layout, std::byte* rows);

/// rows_SX [cache.length, C+R], F32 or BF16 with any row stride = the cached values: the latent,
/// then the roped key. Exact in BF16 unless the cache is F32.
void read_latent_rows(Context& ctx, const LatentCacheView& cache, TensorView rows_SX);

}  // namespace fathom::kernels
