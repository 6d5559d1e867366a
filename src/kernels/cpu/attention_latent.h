#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"
#include "kernels/cpu/attention_rows.h"
#include "kernels/gemm.h"
#include "kernels/latent_cache.h"

/// The per-instruction-set parts of absorbed decode. All of one thread.
///
/// A (token, head) pair is a lane: scores are S = C·q̃ᵀ with rows of the cache, as they lie in
/// memory, on the left and queries, packed once, on the right. So the cache is never transposed,
/// the softmax runs down the lanes without reductions, and its weights come out in the order in
/// which õ = Sᵀ·C wants them.
namespace fathom::kernels::cpu {

/// Keys that lie one after the other.
struct LatentRun {
  const std::byte* rows;
  int64_t keys;
};

/// Memory to bring near, a little at a time, while the units are busy: what comes next.
class LatentFetch {
 public:
  void add(const std::byte* begin, int64_t bytes) {
    ranges_[count_++] = {begin, begin + bytes};
    lines_ += (bytes + kLine - 1) / kLine;
  }
  /// Spreads it over this many steps.
  void spread(int64_t steps) { lines_a_step_ = (lines_ + steps - 1) / steps; }
  void step() {
    for (int64_t i = 0; i < lines_a_step_ && at_ < count_; ++i) {
      Range& r = ranges_[at_];
      __builtin_prefetch(r.begin, 0, 2);
      r.begin += kLine;
      if (r.begin >= r.end) ++at_;
    }
  }

 private:
  static constexpr int64_t kLine = 64;
  struct Range {
    const std::byte *begin, *end;
  };
  static constexpr int64_t kMaxRanges = 4;
  Range ranges_[kMaxRanges];
  int64_t count_ = 0, at_ = 0, lines_ = 0, lines_a_step_ = 0;
};

/// Keys and pairs attended together. Rows are in the kernels' own dtype: `latent` values, then
/// `rope`, each padded with zeros to a multiple of LatentKernels::latent_step and rope_step.
/// Panels are LatentKernels::lanes pairs each.
struct LatentTile {
  static constexpr int64_t kMaxRuns = 4;  // a chunk of pages

  LatentRun runs[kMaxRuns];  ///< an even number of keys in all but the last
  int64_t row_bytes;         ///< from one row to the next
  int64_t keys;              ///< of all runs, at most LatentKernels::chunk
  int64_t latent, rope;
  const std::byte* q;      ///< panels as pack_queries writes them
  int64_t pairs;           ///< that exist; arrays of pairs are padded to whole panels
  const int32_t* visible;  ///< how many of the keys a pair sees
  float scale;
  bool first;          ///< state holds nothing yet
  LatentFetch* fetch;  ///< what the next tile reads
  std::byte* space;    ///< LatentKernels::space_bytes(pairs, latent), 64-byte aligned
  SoftmaxState state;
};

struct LatentKernels {
  const char* name;
  DType dtype;
  int64_t lanes;
  int64_t latent_step, rope_step;
  int64_t chunk;  ///< keys of a tile: what fits the second-level cache

  /// Packs `pairs` rows of `width` F32 values (padded as above), `stride` apart, into panels of
  /// query_panel_bytes(width).
  void (*pack_queries)(const float* q, int64_t stride, int64_t pairs, int64_t width, std::byte* to);
  /// Converts rows of the cache, row_stride bytes apart, to rows of the kernels' own.
  void (*load_rows)(const LatentRowLayout& layout, const std::byte* rows, int64_t row_stride,
                    int64_t count, std::byte* to);
  /// Adds the keys to the online softmax of every pair that sees any of them.
  void (*attend)(const LatentTile& tile);
  size_t (*space_bytes)(int64_t pairs, int64_t latent);

  int64_t pad_latent(int64_t n) const { return (n + latent_step - 1) / latent_step * latent_step; }
  int64_t pad_rope(int64_t n) const { return (n + rope_step - 1) / rope_step * rope_step; }
  int64_t panels(int64_t pairs) const { return (pairs + lanes - 1) / lanes; }
  int64_t query_panel_bytes(int64_t width) const {
    return width * static_cast<int64_t>(size_of(dtype)) * lanes;
  }
  int64_t row_bytes(const LatentRowLayout& layout) const {
    return (pad_latent(layout.latent) + pad_rope(layout.rope)) *
           static_cast<int64_t>(size_of(dtype));
  }
  /// Whether rows can be multiplied as they are stored.
  bool takes(const LatentRowLayout& layout) const {
    const bool same = layout.format == LatentCacheFormat::kF32    ? dtype == DType::kF32
                      : layout.format == LatentCacheFormat::kBF16 ? dtype == DType::kBF16
                                                                  : false;
    return same && row_bytes(layout) == layout.row_bytes() &&
           pad_latent(layout.latent) == layout.latent;
  }
};

/// Precision as kernels/attention.h states it for a cache: FP32 products for F32, else BF16.
const LatentKernels& latent_kernels(Isa isa, GemmPrecision precision);

/// The parts of append_latent_rows: one row each.
struct LatentRowWriter {
  /// F32 values of any magnitude to codes and scales; values beyond `count` are not read.
  void (*quantize)(const float* latent, int64_t count, std::byte* codes, std::byte* scales);
};

#define FATHOM_DECLARE_LATENT(isa)           \
  namespace isa {                            \
  extern const LatentKernels kLatentF32;     \
  extern const LatentKernels kLatentBF16;    \
  extern const LatentRowWriter kLatentWrite; \
  }
FATHOM_DECLARE_LATENT(scalar)
FATHOM_DECLARE_LATENT(avx2)
FATHOM_DECLARE_LATENT(avx512)
FATHOM_DECLARE_LATENT(avx512_bf16)
FATHOM_DECLARE_LATENT(amx)
FATHOM_DECLARE_LATENT(amx_emulated)  // tests only
#undef FATHOM_DECLARE_LATENT

const LatentRowWriter& latent_row_writer(Isa isa);

}  // namespace fathom::kernels::cpu
