#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention.h"
#include "kernels/checks.h"
#include "kernels/cpu/attention.h"

namespace fathom::kernels {
namespace {

using cpu::DecodeArgs;
using cpu::DecodePartial;
using cpu::kDecodeChunk;
using cpu::kDecodeHeads;

/// Tokens processed together: what bounds the memory of partial results for a long prefill.
constexpr int64_t kTokens = 16;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

void check_inputs(const Context& ctx, const DecodeArgs& args, const TensorView& out) {
  const char* name = "mla_absorbed_decode";
  const int64_t T = args.q_latent_THC.shape[0], H = args.q_latent_THC.shape[1];
  const int64_t C = args.q_latent_THC.shape[2], R = args.q_rope_THR.shape[2];
  check_same_device(name, ctx, {args.q_latent_THC, args.q_rope_THR, args.cache_SX, out});
  check_dtype(name, "q_latent_THC", args.q_latent_THC, {DType::kF32});
  check_dtype(name, "q_rope_THR", args.q_rope_THR, {DType::kF32});
  check_dtype(name, "cache_SX", args.cache_SX, {DType::kF32, DType::kBF16});
  check_dtype(name, "out_latent_THC", out, {DType::kF32});
  check_shape(name, "q_rope_THR", args.q_rope_THR, {T, H, R});
  check_shape(name, "cache_SX", args.cache_SX, {args.cache_SX.rows(), C + R});
  check_shape(name, "out_latent_THC", out, {T, H, C});
  FATHOM_ASSERT(static_cast<int64_t>(args.position_T.size()) == T);
  for (int32_t p : args.position_T) FATHOM_ASSERT(p >= 0 && p < args.cache_SX.rows());
}

/// Memory for `count` partial results of `rows` (token, head) pairs each.
DecodePartial allocate(Arena& arena, int64_t count, int64_t rows, int64_t C) {
  return {arena.alloc_array<float>(count * rows), arena.alloc_array<float>(count * rows),
          arena.alloc_array<float>(count * rows * C)};
}

DecodePartial at(const DecodePartial& p, int64_t row, int64_t C) {
  return {p.highest + row, p.sum + row, p.acc_THC + row * C};
}

/// Adds one (token, head)'s partial result to what earlier chunks gave.
void merge(const DecodePartial& total, const DecodePartial& part, int64_t C) {
  // A NaN on either side stays: the comparison keeps total's, and e^(NaN) carries part's.
  const float highest = std::max(*total.highest, *part.highest);
  const float keep = std::exp(*total.highest - highest);
  const float take = std::exp(*part.highest - highest);
  *total.highest = highest;
  *total.sum = *total.sum * keep + *part.sum * take;
  for (int64_t i = 0; i < C; ++i)
    total.acc_THC[i] = total.acc_THC[i] * keep + part.acc_THC[i] * take;
}

/// Decodes tokens [t_begin, t_end). Chunks of the cache are computed in waves, one partial result
/// each, and merged in their order: the same sums whatever the number of threads.
class Wave {
 public:
  Wave(Context& ctx, const DecodeArgs& args, int64_t t_begin, int64_t t_end)
      : ctx_(ctx),
        args_(args),
        t_begin_(t_begin),
        t_end_(t_end),
        H_(args.q_latent_THC.shape[1]),
        C_(args.q_latent_THC.shape[2]),
        kernels_(cpu::attention_kernels(ctx.isa)) {
    const auto last =
        std::max_element(args.position_T.begin() + t_begin, args.position_T.begin() + t_end);
    chunks_ = ceil_div(int64_t{*last} + 1, kDecodeChunk);
    width_ = std::min<int64_t>(chunks_, 2 * ctx.pool.size());
    scratch_bytes_ = (kernels_.decode_scratch(args) + 63) / 64 * 64;
    scratch_ = static_cast<std::byte*>(
        ctx.arena.alloc_bytes(scratch_bytes_ * static_cast<size_t>(ctx.pool.size())));
    parts_ = allocate(ctx.arena, width_, rows(), C_);
    total_ = allocate(ctx.arena, 1, rows(), C_);
  }

  void run(const TensorView& out_THC) {
    for (int64_t chunk = 0; chunk < chunks_; chunk += width_) {
      const int64_t count = std::min(width_, chunks_ - chunk);
      compute(chunk, count);
      merge_all(chunk, count);
    }
    write(out_THC);
  }

 private:
  int64_t rows() const { return (t_end_ - t_begin_) * H_; }

  void compute(int64_t first_chunk, int64_t count) {
    // Heads are split only as far as it takes to give every thread work.
    const int64_t groups = ceil_div(H_, kDecodeHeads);
    const int64_t splits = std::clamp<int64_t>(ceil_div(2 * ctx_.pool.size(), count), 1, groups);
    ctx_.pool.for_each(count * splits, [&](int64_t i, int thread) {
      const int64_t part = i / splits, split = i % splits;
      const cpu::DecodeItem item{(first_chunk + part) * kDecodeChunk, t_begin_, t_end_,
                                 groups * split / splits * kDecodeHeads,
                                 std::min(H_, groups * (split + 1) / splits * kDecodeHeads)};
      kernels_.decode(args_, item, at(parts_, part * rows(), C_),
                      scratch_ + scratch_bytes_ * static_cast<size_t>(thread));
    });
  }

  void merge_all(int64_t first_chunk, int64_t count) {
    ctx_.pool.for_range(rows(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row)
        for (int64_t part = 0; part < count; ++part) {
          if ((first_chunk + part) * kDecodeChunk > args_.position_T[t_begin_ + row / H_]) break;
          const DecodePartial total = at(total_, row, C_);
          const DecodePartial from = at(parts_, part * rows() + row, C_);
          if (first_chunk + part == 0) {
            *total.highest = *from.highest;
            *total.sum = *from.sum;
            std::copy_n(from.acc_THC, C_, total.acc_THC);
          } else {
            merge(total, from, C_);
          }
        }
    });
  }

  void write(const TensorView& out_THC) {
    for (int64_t row = 0; row < rows(); ++row) {
      const DecodePartial total = at(total_, row, C_);
      float* out = out_THC.as<float>() + (t_begin_ + row / H_) * out_THC.stride[0] +
                   row % H_ * out_THC.stride[1];
      for (int64_t i = 0; i < C_; ++i) out[i] = total.acc_THC[i] / *total.sum;
    }
  }

  Context& ctx_;
  const DecodeArgs& args_;
  int64_t t_begin_, t_end_, H_, C_;
  const cpu::AttentionKernels& kernels_;
  int64_t chunks_, width_;
  size_t scratch_bytes_;
  std::byte* scratch_;
  DecodePartial parts_, total_;
};

}  // namespace

void mla_absorbed_decode(Context& ctx, ConstTensorView q_latent_THC, ConstTensorView q_rope_THR,
                         ConstTensorView cache_SX, std::span<const int32_t> position_T, float scale,
                         TensorView out_latent_THC) {
  const DecodeArgs args{q_latent_THC, q_rope_THR, cache_SX, position_T, scale};
  check_inputs(ctx, args, out_latent_THC);
  const auto T = static_cast<int64_t>(position_T.size());
  for (int64_t t = 0; t < T; t += kTokens) {
    const ArenaScope scope(ctx.arena);
    Wave(ctx, args, t, std::min(t + kTokens, T)).run(out_latent_THC);
  }
}

}  // namespace fathom::kernels
