#pragma once

// The product of packed BF16 panels on AMX tiles. A panel of A is 32 rows, two tiles a segment
// (16 rows x 32 k); a panel of B is 16 columns, one tile a segment (16 pairs of k x 16). Tiles 0 to
// 3 hold C (2 x 2 tiles = 32 x 32), 4 and 5 hold A, 6 and 7 hold B: four products for four loads a
// segment. For files compiled once per instruction set.

#include <algorithm>

#include "kernels/cpu/amx_tile.h"
#include "kernels/cpu/gemm_prefetch.h"
#include "kernels/cpu/gemm_table.h"
#include "kernels/cpu/vec.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

constexpr int64_t kAmxRows = 2 * kTileRows;
constexpr int64_t kAmxTileCols = 16;
constexpr int64_t kAmxCols = 2 * kAmxTileCols;
constexpr int64_t kAmxSegment = 32;  // elements of K in a tile

struct AmxTile {
  const std::byte* a;
  const std::byte* b;
  int64_t b_panel_bytes;
  int64_t segments;
};

/// C, 16·MT rows by 16·NT columns with the stride given, (+)= A·B.
template <int MT, int NT>
inline void amx_tiles(const AmxTile& t, float* c, int64_t c_stride, bool accumulate) {
  const int64_t stride = c_stride * static_cast<int64_t>(sizeof(float));
  float* c_low = c + kTileRows * c_stride;
  if (accumulate) {
    tile_load<0>(c, stride);
    if constexpr (NT == 2) tile_load<1>(c + kAmxTileCols, stride);
    if constexpr (MT == 2) tile_load<2>(c_low, stride);
    if constexpr (MT == 2 && NT == 2) tile_load<3>(c_low + kAmxTileCols, stride);
  } else {
    tile_zero<0>();
    if constexpr (NT == 2) tile_zero<1>();
    if constexpr (MT == 2) tile_zero<2>();
    if constexpr (MT == 2 && NT == 2) tile_zero<3>();
  }
  for (int64_t s = 0; s < t.segments; ++s) {
    const std::byte* a = t.a + s * 2 * kTileBytes;
    const std::byte* b = t.b + s * kTileBytes;
    tile_load<6>(b, kTileRowBytes);
    tile_load<4>(a, kTileRowBytes);
    tile_dpbf16<0, 4, 6>();
    if constexpr (NT == 2) {
      tile_load<7>(b + t.b_panel_bytes, kTileRowBytes);
      tile_dpbf16<1, 4, 7>();
    }
    if constexpr (MT == 2) {
      tile_load<5>(a + kTileBytes, kTileRowBytes);
      tile_dpbf16<2, 5, 6>();
    }
    if constexpr (MT == 2 && NT == 2) tile_dpbf16<3, 5, 7>();
  }
  tile_store<0>(c, stride);
  if constexpr (NT == 2) tile_store<1>(c + kAmxTileCols, stride);
  if constexpr (MT == 2) tile_store<2>(c_low, stride);
  if constexpr (MT == 2 && NT == 2) tile_store<3>(c_low + kAmxTileCols, stride);
}

inline void copy_corner(const float* from, int64_t from_stride, float* to, int64_t to_stride,
                        int64_t rows, int64_t cols) {
  for (int64_t r = 0; r < rows; ++r)
    for_vectors(cols, [&](int64_t i, auto part) {
      store(to + r * to_stride + i, load(from + r * from_stride + i, part), part);
    });
}

/// The same where fewer rows or columns of C exist than the tiles hold: through a copy, so that
/// the order of the sum stays that of whole tiles.
template <int MT, int NT>
void amx_corner(const AmxTile& t, float* c, int64_t c_stride, int64_t rows, int64_t cols,
                bool accumulate) {
  alignas(64) float whole[kAmxRows * kAmxCols] = {};
  if (accumulate) copy_corner(c, c_stride, whole, kAmxCols, rows, cols);
  amx_tiles<MT, NT>(t, whole, kAmxCols, accumulate);
  copy_corner(whole, kAmxCols, c, c_stride, rows, cols);
}

inline void amx_block(const AmxTile& t, float* c, int64_t c_stride, int64_t rows, int64_t cols,
                      bool accumulate) {
  if (rows == kAmxRows && cols == kAmxCols) return amx_tiles<2, 2>(t, c, c_stride, accumulate);
  const bool tall = rows > kTileRows, wide = cols > kAmxTileCols;
  const auto corner = tall ? (wide ? amx_corner<2, 2> : amx_corner<2, 1>)
                           : (wide ? amx_corner<1, 2> : amx_corner<1, 1>);
  corner(t, c, c_stride, rows, cols, accumulate);
}

inline void amx_multiply(const PackedBlock& block) {
  tile_configure();
  const int64_t segments = (block.k + kAmxSegment - 1) / kAmxSegment;
  const std::byte* a = block.a;
  NextSource source(block.next, tiles_of(block, kAmxRows, kAmxCols));
  for (int64_t m = 0; m < block.rows; m += kAmxRows, a += block.a_panel_bytes) {
    const std::byte* b = block.b;
    NextPanel next(a + block.a_panel_bytes, 2 * segments * kTileBytes, block.cols / kAmxCols);
    for (int64_t n = 0; n < block.cols; n += kAmxCols, b += 2 * block.b_panel_bytes) {
      next.prefetch();
      source.prefetch();
      amx_block({a, b, block.b_panel_bytes, segments}, block.c + m * block.c_stride + n,
                block.c_stride, std::min(kAmxRows, block.rows - m),
                std::min(kAmxCols, block.cols - n), block.accumulate);
    }
  }
  tile_release();
}

/// 2 x 2 tiles fed from L1, the micro-kernel when memory costs nothing.
inline double amx_burst(int64_t repetitions) {
  constexpr int64_t kSegments = 8;
  alignas(64) std::byte panels[2 * kSegments * kTileBytes];
  std::memset(panels, 0x3d, sizeof panels);  // BF16 0.046: the power drawn depends on the data
  alignas(64) float c[kAmxRows * kAmxCols];
  tile_configure();
  for (int64_t i = 0; i < repetitions; ++i)
    amx_tiles<2, 2>({panels, panels, kSegments * kTileBytes, kSegments}, c, kAmxCols, false);
  tile_release();
  return 2.0 * static_cast<double>(repetitions * kAmxRows * kAmxCols * kSegments * kAmxSegment);
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
