#include <algorithm>
#include <limits>

#include "kernels/attention.h"
#include "kernels/checks.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_rows.h"
#include "kernels/cpu/block_gemm.h"

namespace fathom::kernels {
namespace {

using cpu::SoftmaxState;

/// Cache rows of one partial result: fixed, so that sums are taken in the same order whatever else
/// the call decodes and however many threads there are.
constexpr int64_t kChunk = 256;
/// (token, head) pairs decoded together: bounds the memory of scores and partial results.
constexpr int64_t kPairs = 512;
/// Heads are split over threads, when there are fewer chunks than threads, in multiples of this.
constexpr int64_t kHeadGroup = 16;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

struct Decode {
  ConstTensorView q_latent_THC, q_rope_THR, cache_SX;
  std::span<const int32_t> position_T;
  float scale;
  TensorView out_latent_THC;

  int64_t heads() const { return q_latent_THC.shape[1]; }
  int64_t latent() const { return q_latent_THC.shape[2]; }
  int64_t rope() const { return q_rope_THR.shape[2]; }
  /// Products are as precise as the cache.
  GemmPrecision precision() const {
    return cache_SX.dtype == DType::kBF16 ? GemmPrecision::kBF16 : GemmPrecision::kF32;
  }
};

void check(const Context& ctx, const Decode& d) {
  const char* name = "mla_absorbed_decode";
  const int64_t T = d.q_latent_THC.shape[0], H = d.heads(), C = d.latent(), R = d.rope();
  check_same_device(name, ctx, {d.q_latent_THC, d.q_rope_THR, d.cache_SX, d.out_latent_THC});
  check_dtype(name, "q_latent_THC", d.q_latent_THC, {DType::kF32});
  check_dtype(name, "q_rope_THR", d.q_rope_THR, {DType::kF32});
  check_dtype(name, "cache_SX", d.cache_SX, {DType::kF32, DType::kBF16});
  check_dtype(name, "out_latent_THC", d.out_latent_THC, {DType::kF32});
  check_shape(name, "q_rope_THR", d.q_rope_THR, {T, H, R});
  check_shape(name, "cache_SX", d.cache_SX, {d.cache_SX.rows(), C + R});
  check_shape(name, "out_latent_THC", d.out_latent_THC, {T, H, C});
  FATHOM_ASSERT(std::ssize(d.position_T) == T);
  for (int32_t p : d.position_T) FATHOM_ASSERT(p >= 0 && p < d.cache_SX.rows());
}

/// One head of one token of a [T, H, n] tensor, as a matrix of one row.
template <class View>
View head_row(const View& x_THN, int64_t t, int64_t h) {
  View row = x_THN.slice(0, t, 1).slice(1, h, 1);
  row.rank = 2;
  row.shape = {1, x_THN.shape[2]};
  row.stride = {x_THN.shape[2], 1};
  return row;
}

/// A batch of tokens. Its (token, head) pairs are rows of one matrix, ordered by group of heads,
/// token, head, so that a group's rows are contiguous. Chunks of the cache are computed in waves,
/// one partial result each, and merged in their order.
class Batch {
 public:
  Batch(Context& ctx, const Decode& d, int64_t t_begin, int64_t tokens)
      : ctx_(ctx), d_(d), t_begin_(t_begin), tokens_(tokens), rows_(cpu::attention_rows(ctx.isa)) {
    const auto positions = d.position_T.subspan(t_begin, tokens);
    end_ = *std::max_element(positions.begin(), positions.end()) + 1;
    chunks_ = ceil_div(end_, kChunk);
    wave_ = std::min<int64_t>(chunks_, 2 * ctx.pool.size());
    groups_ = std::clamp<int64_t>(ceil_div(2 * ctx.pool.size(), wave_), 1,
                                  ceil_div(d.heads(), kHeadGroup));
    allocate();
    gather_queries();
  }

  void run() {
    for (int64_t first = 0; first < chunks_; first += wave_) {
      const int64_t count = std::min(wave_, chunks_ - first);
      ctx_.pool.for_each(count * groups_, [&](int64_t i, int thread) {
        compute(first + i / groups_, i % groups_, parts_[i / groups_], thread);
      });
      ctx_.pool.for_range(pairs(), 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t part = 0; part < count; ++part) merge(first + part, begin, end);
      });
    }
    write();
  }

 private:
  int64_t pairs() const { return tokens_ * d_.heads(); }
  int64_t head_begin(int64_t group) const {
    return std::min(d_.heads(), ceil_div(d_.heads(), kHeadGroup) * group / groups_ * kHeadGroup);
  }
  int64_t seen(int64_t token, int64_t chunk) const {
    return std::clamp<int64_t>(d_.position_T[t_begin_ + token] + 1 - chunk * kChunk, 0, kChunk);
  }

  void allocate() {
    const int64_t C = d_.latent(), X = d_.cache_SX.cols();
    const auto state = [&] {
      return SoftmaxState{ctx_.arena.alloc_array<float>(pairs()),
                          ctx_.arena.alloc_array<float>(pairs()),
                          {ctx_.arena.alloc_array<float>(pairs() * C), pairs(), C, C}};
    };
    total_ = state();
    parts_ = ctx_.arena.alloc_array<SoftmaxState>(wave_);
    for (int64_t i = 0; i < wave_; ++i) parts_[i] = state();
    const DType dtype = d_.cache_SX.dtype;
    q_PX_ = ctx_.arena.alloc(dtype, {pairs(), X});
    workspaces_ = ctx_.arena.alloc_array<Workspace>(ctx_.pool.size());
    const size_t bytes =
        std::max(cpu::block_gemm_workspace(ctx_.isa, d_.precision(), pairs(), kChunk, X),
                 cpu::block_gemm_workspace(ctx_.isa, d_.precision(), pairs(), C, kChunk));
    for (int t = 0; t < ctx_.pool.size(); ++t)
      workspaces_[t] = {{ctx_.arena.alloc_array<float>(pairs() * kChunk), pairs(), kChunk, kChunk},
                        ctx_.arena.alloc(dtype, {pairs(), kChunk}),
                        ctx_.arena.alloc_bytes(bytes)};
  }

  /// body(row, token, head) for every pair.
  template <class F>
  void for_pairs(F&& body) const {
    int64_t row = 0;
    for (int64_t g = 0; g < groups_; ++g)
      for (int64_t t = 0; t < tokens_; ++t)
        for (int64_t h = head_begin(g); h < head_begin(g + 1); ++h) body(row++, t, h);
  }

  void gather_queries() {
    for_pairs([&](int64_t row, int64_t t, int64_t h) {
      cpu::convert_rows(ctx_.isa, head_row(d_.q_latent_THC, t_begin_ + t, h),
                        cpu::block(q_PX_, row, 1, 0, d_.latent()));
      cpu::convert_rows(ctx_.isa, head_row(d_.q_rope_THR, t_begin_ + t, h),
                        cpu::block(q_PX_, row, 1, d_.latent(), d_.rope()));
    });
  }

  void compute(int64_t chunk, int64_t group, const SoftmaxState& part, int thread) {
    const int64_t heads = head_begin(group + 1) - head_begin(group);
    const int64_t row = tokens_ * head_begin(group), count = tokens_ * heads;
    const int64_t keys = std::min(kChunk, end_ - chunk * kChunk);
    const Workspace& w = workspaces_[thread];
    const ConstTensorView cache = d_.cache_SX.row_range(chunk * kChunk, keys);
    const MatrixView<float> scores = {w.scores_PS.data, count, keys, kChunk};
    cpu::block_gemm(ctx_.isa, cpu::GemmLayout::kNT, d_.precision(), q_PX_.row_range(row, count),
                    cache, scores, false, w.gemm);
    const TensorView weights = cpu::block(w.weights_PS, 0, count, 0, keys);
    std::fill_n(part.highest + row, count, -std::numeric_limits<float>::infinity());
    std::fill_n(part.sum + row, count, 0.0f);
    for (int64_t t = 0; t < tokens_; ++t) {
      const int64_t at = t * heads;
      const SoftmaxState state = {part.highest + row + at, part.sum + row + at, {}};
      rows_.online_softmax({scores.row(at), cpu::rows_of(weights.row_range(at, heads)), kChunk,
                            heads, keys, seen(t, chunk), 0, d_.scale},
                           state);
    }
    cpu::block_gemm(ctx_.isa, cpu::GemmLayout::kNN, d_.precision(), weights,
                    cache.col_range(0, d_.latent()), cpu::row_range(part.acc, row, count), false,
                    w.gemm);
  }

  /// Adds a chunk's partial result to rows [begin, end) of the total.
  void merge(int64_t chunk, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const SoftmaxState total = state_of(total_, row), part = state_of(parts_[chunk % wave_], row);
      if (chunk == 0) {
        *total.highest = *part.highest;
        *total.sum = *part.sum;
        std::copy_n(part.acc.data, part.acc.cols, total.acc.data);
      } else if (*part.sum != 0) {  // zero: the whole chunk lies beyond the token's position
        rows_.merge(total, part);
      }
    }
  }

  static SoftmaxState state_of(const SoftmaxState& s, int64_t row) {
    return {s.highest + row, s.sum + row, cpu::row_range(s.acc, row, 1)};
  }

  void write() {
    for_pairs([&](int64_t row, int64_t t, int64_t h) {
      rows_.finish(state_of(total_, row),
                   cpu::rows_of(head_row(d_.out_latent_THC, t_begin_ + t, h)), nullptr, 0);
    });
  }

  struct Workspace {
    MatrixView<float> scores_PS;
    TensorView weights_PS;
    void* gemm;
  };

  Context& ctx_;
  const Decode& d_;
  int64_t t_begin_, tokens_;
  const cpu::AttentionRows& rows_;
  int64_t end_, chunks_, wave_, groups_;
  SoftmaxState total_;
  SoftmaxState* parts_;
  TensorView q_PX_;
  Workspace* workspaces_;
};

}  // namespace

void mla_absorbed_decode(Context& ctx, ConstTensorView q_latent_THC, ConstTensorView q_rope_THR,
                         ConstTensorView cache_SX, std::span<const int32_t> position_T, float scale,
                         TensorView out_latent_THC) {
  const Decode d{q_latent_THC, q_rope_THR, cache_SX, position_T, scale, out_latent_THC};
  check(ctx, d);
  const auto T = std::ssize(position_T);
  const int64_t tokens = std::max<int64_t>(1, kPairs / d.heads());
  for (int64_t t = 0; t < T; t += tokens) {
    const ArenaScope scope(ctx.arena);
    Batch(ctx, d, t, std::min(tokens, T - t)).run();
  }
}

}  // namespace fathom::kernels
