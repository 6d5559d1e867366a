#pragma once

// C = A·Bᵀ for a few rows of A on AMX tiles, computed as Cᵀ = B·Aᵀ: 16 columns of B by 32 elements
// of K are a tile as they lie in memory, if they are BF16; others are converted 16 x 32 at a time
// into a buffer in L1. Aᵀ is packed once, a tile for each 32 of K: 16 pairs of k by 16 rows. One
// row costs as much as sixteen, 16 cycles a KiB of BF16 weights, and memory takes about 150. For
// files compiled once per instruction set.

#include "kernels/cpu/amx_tile.h"
#include "kernels/cpu/gemm_stream_source.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

constexpr int64_t kTileK = 32;
// Columns multiplied side by side, two tiles: their sums are two chains of dependent products.
constexpr int64_t kTwoTiles = 2 * kTileRows;
// How far ahead of its use a column is asked for.
constexpr int64_t kTileAheadBytes = 512;

inline int64_t tiled_bytes(int64_t, int64_t k) {
  return (k + kTileK - 1) / kTileK * kTileBytes;
}

/// Words [segment][pair of k][row of A].
inline void pack_tiles(const GemmOperand& a, const GemmOperand&, int64_t rows, int64_t k,
                       std::byte* to) {
  static_assert(kLanes == kTileRows);
  pack_b<WordPair>(a, {0, rows}, {0, k}, to, tiled_bytes(rows, k));
}

/// Tile C, which is [column][row of A], to columns from j.
template <int C>
void store_tile(const StreamBlock& x, int64_t j) {
  alignas(64) float tile[kTileRows][kTileRows];
  tile_store<C>(tile, kTileRowBytes);
  const int64_t cols = std::min(kTileRows, x.cols - j);
  for (int64_t m = 0; m < x.rows; ++m)
    for (int64_t c = 0; c < cols; ++c) x.sums[m * x.sums_stride + j + c] = tile[c][m];
}

template <class T>
class TileStream {
 public:
  explicit TileStream(const StreamBlock& x) : x_(x), tables_(reinterpret_cast<Table*>(x.tables)) {}

  void run() {
    if constexpr (std::is_same_v<T, E4M3>)
      for (int64_t k = 0; k < x_.k; k += kScaleSide)
        tables_[k / kScaleSide] = make_table<Table>(*x_.b.scale_at(x_.col, k));
    tile_configure();
    for (int64_t j = 0; j < x_.cols; j += kTwoTiles) two_tiles(j);
    tile_release();
  }

 private:
  using Source = AlongK<WordPair, T>;
  using Table = typename Source::Table;
  static constexpr int64_t kStep = Source::kStep;  // 32 or 64 elements of K

  const T* column(int64_t j) const {
    return static_cast<const T*>(x_.b.data) + (x_.col + j) * x_.b.stride;
  }

  void two_tiles(int64_t j) {
    tile_zero<0>();
    tile_zero<1>();
    for (int64_t k = 0; k < x_.k; k += kStep) {
      multiply<0>(j, k);
      if (j + kTileRows < x_.cols) multiply<1>(j + kTileRows, k);
    }
    store_tile<0>(x_, j);
    if (j + kTileRows < x_.cols) store_tile<1>(x_, j + kTileRows);
  }

  /// Tile C += columns [j, j + 16) of B by elements [k, k + kStep).
  template <int C>
  void multiply(int64_t j, int64_t k) {
    const int64_t cols = std::min(kTileRows, x_.cols - j), count = std::min(kStep, x_.k - k);
    for (int64_t c = 0; c < cols; ++c)
      __builtin_prefetch(reinterpret_cast<const std::byte*>(column(j + c) + k) + kTileAheadBytes);
    const bool as_stored = std::is_same_v<T, BF16> && cols == kTileRows && count == kStep;
    if (!as_stored) convert(j, k, cols, count);
    for (int64_t v = 0; v * kTileK < count; ++v) {
      if (as_stored)
        tile_load<2>(column(j) + k, x_.b.stride * static_cast<int64_t>(sizeof(T)));
      else
        tile_load<2>(tiles_ + v * kTileBytes, kTileRowBytes);
      tile_load<3>(x_.a + (k / kTileK + v) * kTileBytes, kTileRowBytes);
      tile_dpbf16<C, 2, 3>();
    }
  }

  /// The columns as tiles of BF16. Columns that do not exist keep what the buffer held: their sums
  /// are not read.
  void convert(int64_t j, int64_t k, int64_t cols, int64_t count) {
    const Table& table = tables_[std::is_same_v<T, E4M3> ? k / kScaleSide : 0];
    for (int64_t c = 0; c < cols; ++c) {
      VecF words[Source::kVectors];
      if (count == kStep)
        Source::load(column(j + c) + k, table, words);
      else
        load_tail<WordPair>(column(j + c) + k, count, table, words);
      for (int64_t v = 0; v < Source::kVectors; ++v)
        __builtin_memcpy(tiles_ + v * kTileBytes + c * kTileRowBytes, &words[v], kTileRowBytes);
    }
  }

  const StreamBlock& x_;
  Table* const tables_;
  alignas(64) std::byte tiles_[Source::kVectors * kTileBytes] = {};
};

/// The same for formats that are decoded first: 32 columns at a time, a piece of K after the other.
class DecodedTiles {
 public:
  explicit DecodedTiles(const StreamBlock& x) : x_(x) {}

  void run() {
    tile_configure();
    for (int64_t j = 0; j < x_.cols; j += kTwoTiles) two_tiles(j);
    tile_release();
  }

 private:
  static constexpr int64_t kPiece = 256, kStride = kPiece + 32, kAhead = 1024;

  void two_tiles(int64_t j) {
    const int64_t cols = std::min(kTwoTiles, x_.cols - j);
    tile_zero<0>();
    tile_zero<1>();
    for (int64_t k = 0; k < x_.k; k += kPiece) {
      const int64_t count = std::min(kPiece, x_.k - k);
      for (int64_t c = 0; c < cols; ++c) decode_column(j + c, k, count, piece_[c]);
      for (int64_t i = 0; i < count; i += kTileK) {
        tile_load<3>(x_.a + (k + i) / kTileK * kTileBytes, kTileRowBytes);
        multiply<0>(piece_[0] + i);
        if (cols > kTileRows) multiply<1>(piece_[kTileRows] + i);
      }
    }
    store_tile<0>(x_, j);
    if (cols > kTileRows) store_tile<1>(x_, j + kTileRows);
  }

  /// Padded with zeros to whole tiles.
  void decode_column(int64_t j, int64_t k, int64_t count, BF16* to) const {
    decode_to(x_.b, x_.col + j, {k, count}, kAhead, to);
    const int64_t padded = (count + kTileK - 1) / kTileK * kTileK;
    std::memset(to + count, 0, static_cast<size_t>(padded - count) * sizeof(BF16));
  }

  template <int C>
  static void multiply(const BF16* tile) {
    tile_load<2>(tile, kStride * static_cast<int64_t>(sizeof(BF16)));
    tile_dpbf16<C, 2, 3>();
  }

  const StreamBlock& x_;
  alignas(64) BF16 piece_[kTwoTiles][kStride] = {};
};

inline void stream_tiles(const StreamBlock& x) {
  if (is_decoded(x.b.format)) return DecodedTiles(x).run();
  with_element(x.b.format, [&](auto t) { TileStream<decltype(t)>(x).run(); });
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
