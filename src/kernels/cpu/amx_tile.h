#pragma once

// The eight tile registers of AMX: 16 rows of 64 bytes. With FATHOM_AMX_EMULATED the same functions
// in plain C++, bit-exact after Intel's definition of TDPBF16PS, so that everything above them can
// be tested on any machine.

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(FATHOM_AMX_EMULATED)
#include <cmath>

#include "base/error.h"
#include "numerics/bf16.h"
#endif

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

constexpr int64_t kTileRows = 16;
constexpr int64_t kTileRowBytes = 64;
constexpr int64_t kTileBytes = kTileRows * kTileRowBytes;

#if defined(FATHOM_AMX_EMULATED)

struct TileFile {
  bool configured = false;
  float tile[8][kTileRows][kTileRowBytes / 4];
};
thread_local TileFile tile_file;

inline void tile_configure() {
  std::memset(tile_file.tile, 0, sizeof tile_file.tile);
  tile_file.configured = true;
}
inline void tile_release() {
  tile_file.configured = false;
}
inline float (&tile_at(int t))[kTileRows][kTileRowBytes / 4] {
  FATHOM_ASSERT(tile_file.configured);  // the hardware raises #UD
  return tile_file.tile[t];
}
template <int T>
inline void tile_zero() {
  std::memset(tile_at(T), 0, kTileBytes);
}
template <int T>
inline void tile_load(const void* from, int64_t stride_bytes) {
  for (int64_t r = 0; r < kTileRows; ++r)
    std::memcpy(tile_at(T)[r], static_cast<const std::byte*>(from) + r * stride_bytes,
                kTileRowBytes);
}
template <int T>
inline void tile_store(void* to, int64_t stride_bytes) {
  for (int64_t r = 0; r < kTileRows; ++r)
    std::memcpy(static_cast<std::byte*>(to) + r * stride_bytes, tile_at(T)[r], kTileRowBytes);
}

// TDPBF16PS treats subnormal inputs as zero and flushes subnormal results.
inline float flush(float x) {
  return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x;
}
inline float bf16_of_pair(float pair, int half) {
  uint32_t bits;
  std::memcpy(&bits, &pair, sizeof bits);
  return flush(to_float(BF16{static_cast<uint16_t>(half ? bits >> 16 : bits)}));
}
/// C += A·B: the even and the odd products of a row are summed apart, from zero, then together.
template <int C, int A, int B>
inline void tile_dpbf16() {
  for (int64_t m = 0; m < kTileRows; ++m)
    for (int64_t n = 0; n < kTileRowBytes / 4; ++n) {
      float sum[2] = {0, 0};
      for (int64_t k = 0; k < kTileRows; ++k)
        for (int half = 0; half < 2; ++half)
          sum[half] = flush(std::fma(bf16_of_pair(tile_at(A)[m][k], half),
                                     bf16_of_pair(tile_at(B)[k][n], half), sum[half]));
      tile_at(C)[m][n] = flush(tile_at(C)[m][n] + flush(sum[0] + sum[1]));
    }
}

#else

// Written as assembly: GCC 12's intrinsics take only literal tile numbers and do not say that they
// read memory.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

/// Sets all eight tiles to 16 x 64 bytes and zeroes them; each thread does so before using them.
inline void tile_configure() {
  TileConfig config;
  for (int t = 0; t < 8; ++t) {
    config.row_bytes[t] = kTileRowBytes;
    config.rows[t] = kTileRows;
  }
  asm volatile("ldtilecfg %0" : : "m"(config));
}
inline void tile_release() {
  asm volatile("tilerelease");
}
template <int T>
inline void tile_zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(T));
}
template <int T>
inline void tile_load(const void* from, int64_t stride_bytes) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride_bytes), "i"(T) : "memory");
}
template <int T>
inline void tile_store(void* to, int64_t stride_bytes) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride_bytes), "i"(T) : "memory");
}
/// C[16,16] F32 += A[16,32] · B, B as 16 pairs of k by 16 columns.
template <int C, int A, int B>
inline void tile_dpbf16() {
  asm volatile("tdpbf16ps %%tmm%c0, %%tmm%c1, %%tmm%c2" : : "i"(B), "i"(A), "i"(C));
}

#endif

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
