#pragma once

#include <cstdint>

namespace fathom {
enum class Isa;
struct BF16;
struct E4M3;
}  // namespace fathom

/// The per-instruction-set parts of the small operations: loops over rows or ranges of one thread.
/// Argument checks and the split over threads are the callers', in kernels/*.cpp.
namespace fathom::kernels::cpu {

/// Rows of F32 or BF16; the stride counts elements.
struct Rows {
  const void* data;
  int64_t stride;
  bool bf16;
};
struct MutableRows {
  void* data;
  int64_t stride;
  bool bf16;
};

/// E4M3 codes with scales: value (r, c) is codes[r·stride + c] times
/// scale[(first_row + r) / tile_rows · scale_stride + c / tile_cols]; tile sides are 1 or 128.
struct ScaledCodes {
  E4M3* codes;
  int64_t stride;
  float* scale;
  int64_t scale_stride, tile_rows, tile_cols, first_row;
};

/// An input of either kind: codes with scales, or rows if there are none.
struct Source {
  Rows rows;
  ScaledCodes codes;
};

/// Where a quantized output goes, in tiles of 1x128; no codes: nowhere.
struct QuantizedRows {
  ScaledCodes codes;
  bool power_of_two;
};

struct NormOps {
  /// Of y and q at least one; rstd may be null.
  void (*forward)(Rows x, const float* w, float eps, MutableRows y, const QuantizedRows& q,
                  float* rstd, int64_t rows, int64_t cols);
  void (*backward_input)(Rows dy, Rows x, const float* w, const float* rstd, MutableRows dx,
                         bool accumulate, int64_t rows, int64_t cols);
  /// dw[c] += Σ_rows dy·x·rstd, rows in order.
  void (*backward_weight)(Rows dy, Rows x, const float* rstd, float* dw, int64_t rows,
                          int64_t cols);
};

/// What the backward pass of SwiGLU writes: of dgate_up and its quantized form at least one, what
/// else is not null.
struct SwigluGradientRows {
  MutableRows dgate_up;
  QuantizedRows quantized;
  MutableRows act;
  float* dweight;
  float* scratch;  ///< 2·width values, if quantized
};

struct ActivationOps {
  /// weight, one a row, may be null for ones; of y and q at least one.
  void (*swiglu_forward)(const Source& gate_up, const float* weight, MutableRows y,
                         const QuantizedRows& q, int64_t rows, int64_t width);
  void (*swiglu_backward)(const Source& gate_up, const float* weight, Rows dy,
                          const SwigluGradientRows& out, int64_t rows, int64_t width);
  void (*sigmoid)(const float* x, float* y, int64_t n);
  void (*softmax)(const float* x, float* y, int64_t n);
  /// e^x, sigmoid's and softmax's building block; here for its test.
  void (*exp)(const float* x, float* y, int64_t n);
  /// One token's heads, in place.
  void (*rope)(MutableRows heads, int64_t count, int64_t width, const float* cos, const float* sin,
               bool inverse);
};

struct LossOps {
  /// logsumexp(logits) − logits[target].
  float (*forward)(const float* logits, int64_t n, int64_t target);
  /// The same; the row becomes scale·(softmax − onehot(target)), as F32, or as BF16 packed at its
  /// beginning.
  float (*forward_backward)(float* logits, int64_t n, int64_t target, float scale, bool to_bf16);
};

struct RowOps {
  void (*fill)(MutableRows y, float value, int64_t n);
  void (*copy)(Rows x, MutableRows y, int64_t n);
  /// y += scale·x.
  void (*add_scaled)(Rows x, float scale, float* y, int64_t n);
  double (*sum)(Rows x, int64_t n);
  double (*sum_of_squares)(Rows x, int64_t n);
  /// out += Σ_k weight[k]·y[slot[k]]; weight may be null for ones.
  void (*gather_add)(Rows y, const int32_t* slot, const float* weight, int64_t count, float* out,
                     int64_t n);
};

/// The constants of one AdamW step: see adamw.cpp.
struct AdamWFactors {
  float decay, one_minus_beta1, beta2, one_minus_beta2, rsqrt_correction2, eps, step_size,
      grad_scale;
};

struct OptimizerOps {
  void (*adamw)(const AdamWFactors& factors, float* w, const float* g, MutableRows m, MutableRows v,
                int64_t n);
  /// average = decay·average + one_minus_decay·w.
  void (*ema)(float decay, float one_minus_decay, const float* w, MutableRows average, int64_t n);
};

/// kernels/emulated_gemm.h's accumulator; `block` products share a scale.
struct EmulatedUnit {
  int group, bits;
  int64_t promotion, block;
};
inline constexpr int64_t kEmulatedPanel = 16;  ///< columns of an emulated product side by side

/// kernels/quantize.h's Rounding of one piece of a matrix, cut at whole tiles. tile_rows 0: one
/// scale, of `amax`.
struct RoundingTile {
  bool e5m2, power_of_two;
  int64_t rows, cols;
  float amax;
};

struct QuantizeOps {
  /// Codes to value · scale, in F32 or rounded to BF16, and back: what vec_e4m3.h offers.
  void (*decode)(const E4M3* codes, float scale, float* y, int64_t n);
  void (*decode_bf16)(const E4M3* codes, float scale, BF16* y, int64_t n);
  void (*encode)(const float* x, E4M3* codes, bool saturate, int64_t n);
  /// Whole tiles of q, cut off only where its matrix ends.
  void (*quantize)(const Source& x, const ScaledCodes& q, bool power_of_two, int64_t rows,
                   int64_t cols);
  void (*dequantize)(const ScaledCodes& q, MutableRows y, int64_t rows, int64_t cols);
  /// y may be x.
  void (*round)(const Source& x, MutableRows y, const RoundingTile& tile, int64_t rows,
                int64_t cols);
  /// The largest magnitude; NaN does not count.
  float (*amax)(const Source& x, int64_t rows, int64_t cols);
  /// out[j] = Σ_k a[k]·b[k·kEmulatedPanel + j], values being those of codes; scales one a block.
  void (*emulated_dot)(const EmulatedUnit& unit, const float* a, const float* a_scale,
                       const float* b, const float* b_scale, int64_t depth, float* out);
};

/// One row each: kernels/e5m6.h and kernels/logfmt.h say how it is packed.
struct PackOps {
  void (*e5m6_pack)(Rows x, uint8_t* packed, uint8_t* scale, int64_t cols);
  void (*e5m6_unpack)(const uint8_t* packed, const uint8_t* scale, MutableRows x, int64_t cols);
  void (*logfmt_encode)(int bits, bool zeros_in_amin, Rows x, uint8_t* packed, int64_t cols);
  void (*logfmt_decode)(int bits, const uint8_t* packed, MutableRows x, int64_t cols);
};

struct OpsTable {
  const NormOps& norm;
  const ActivationOps& activation;
  const LossOps& loss;
  const RowOps& row;
  const OptimizerOps& optimizer;
  const PackOps& pack;
  const QuantizeOps& quantize;
};

const OpsTable& ops_table(Isa isa);

#define FATHOM_DECLARE_OPS(isa)              \
  namespace isa {                            \
  extern const NormOps kNormOps;             \
  extern const ActivationOps kActivationOps; \
  extern const LossOps kLossOps;             \
  extern const RowOps kRowOps;               \
  extern const OptimizerOps kOptimizerOps;   \
  extern const PackOps kPackOps;             \
  extern const QuantizeOps kQuantizeOps;     \
  }
FATHOM_DECLARE_OPS(scalar)
FATHOM_DECLARE_OPS(avx2)
FATHOM_DECLARE_OPS(avx512)
#undef FATHOM_DECLARE_OPS
namespace avx512_bf16 {  // what gains from BF16 conversions and byte permutes
extern const ActivationOps kActivationOps;
extern const QuantizeOps kQuantizeOps;
}  // namespace avx512_bf16

}  // namespace fathom::kernels::cpu
