#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/attention.h"
#include "kernels/checks.h"
#include "kernels/cpu/attention_rows.h"
#include "kernels/cpu/attention_tile.h"

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
/// Floats a thread merges at least: less is not worth waking it.
constexpr int64_t kMergeGrain = 16384;

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
      : ctx_(ctx),
        d_(d),
        t_begin_(t_begin),
        tokens_(tokens),
        H_(d.heads()),
        C_(d.latent()),
        X_(d.cache_SX.cols()),
        rows_(cpu::attention_rows(ctx.isa)),
        products_(cpu::gemm_kernels(ctx.isa, d.precision())) {
    const auto positions = d.position_T.subspan(t_begin, tokens);
    end_ = *std::max_element(positions.begin(), positions.end()) + 1;
    chunks_ = ceil_div(end_, kChunk);
    wave_ = std::min<int64_t>(chunks_, 2 * ctx.pool.size());
    groups_ =
        std::clamp<int64_t>(ceil_div(2 * ctx.pool.size(), wave_), 1, ceil_div(H_, kHeadGroup));
    allocate();
    pack_queries();
  }

  void run() {
    for (int64_t first = 0; first < chunks_; first += wave_) {
      const int64_t count = std::min(wave_, chunks_ - first);
      ctx_.pool.for_each(count * groups_, [&](int64_t i, int thread) {
        compute(first + i / groups_, i % groups_, parts_[i / groups_], buffers_[thread]);
      });
      for_rows([&](int64_t row) {
        for (int64_t part = 0; part < count; ++part) merge(first + part, row);
      });
    }
    for_rows([&](int64_t row) { write(row); });
  }

 private:
  /// What one thread needs for one chunk.
  struct Buffers {
    Buffers(const Batch& batch, cpu::Carve& carve) {
      const int64_t rows = batch.pairs();
      cache_XS = batch.products_.carve_b(carve, kChunk, batch.X_);
      cache_SC = batch.products_.carve_b(carve, batch.C_, kChunk);
      scores_PS = carve.matrix(rows, kChunk);
      weights_PS = carve.tensor(batch.d_.cache_SX.dtype, rows, kChunk);
      packed_PS = batch.products_.carve_a(carve, rows, kChunk);
    }
    cpu::Packed cache_XS, cache_SC;
    MatrixView<float> scores_PS;
    TensorView weights_PS;
    cpu::Packed packed_PS;
  };

  int64_t pairs() const { return tokens_ * H_; }
  int64_t head_begin(int64_t group) const {
    return std::min(H_, ceil_div(H_, kHeadGroup) * group / groups_ * kHeadGroup);
  }
  /// The first row of a group.
  int64_t row_begin(int64_t group) const { return tokens_ * head_begin(group); }
  /// Rows of a chunk that a token attends to.
  int64_t seen(int64_t token, int64_t chunk) const {
    return std::clamp<int64_t>(d_.position_T[t_begin_ + token] + 1 - chunk * kChunk, 0, kChunk);
  }

  void allocate() {
    cpu::Carve count(nullptr);
    carve(count);
    cpu::Carve memory(static_cast<std::byte*>(ctx_.arena.alloc_bytes(count.used())));
    carve(memory);
  }

  void carve(cpu::Carve& carve) {
    const auto state = [&] {
      return SoftmaxState{carve.floats(pairs()), carve.floats(pairs()), carve.matrix(pairs(), C_)};
    };
    total_ = state();
    parts_.clear();
    for (int64_t i = 0; i < wave_; ++i) parts_.push_back(state());
    q_GPX_.clear();
    for (int64_t g = 0; g < groups_; ++g)
      q_GPX_.push_back(products_.carve_a(carve, row_begin(g + 1) - row_begin(g), X_));
    q_PX_ = carve.tensor(DType::kF32, pairs(), X_);
    buffers_.clear();
    for (int t = 0; t < ctx_.pool.size(); ++t) buffers_.push_back(Buffers(*this, carve));
  }

  /// body(row) for every pair, in parallel.
  template <class F>
  void for_rows(F&& body) const {
    ctx_.pool.for_range(pairs(), ceil_div(kMergeGrain, C_), [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) body(row);
    });
  }

  /// The token and head of a row: indices into the tensors of the call.
  struct Pair {
    int64_t t, h;
  };
  Pair pair_of(int64_t row) const {
    int64_t group = 0;
    while (row >= row_begin(group + 1)) ++group;
    const int64_t heads = head_begin(group + 1) - head_begin(group), at = row - row_begin(group);
    return {t_begin_ + at / heads, head_begin(group) + at % heads};
  }

  void pack_queries() {
    const cpu::RowOps& ops = cpu::ops_table(ctx_.isa).row;
    for_rows([&](int64_t row) {
      const auto [t, h] = pair_of(row);
      const TensorView q = q_PX_.row_range(row, 1);
      cpu::convert_rows(ops, head_row(d_.q_latent_THC, t, h), q.col_range(0, C_));
      cpu::convert_rows(ops, head_row(d_.q_rope_THR, t, h), q.col_range(C_, X_ - C_));
    });
    ctx_.pool.for_each(groups_, [&](int64_t g, int) {
      products_.pack_a(q_PX_.row_range(row_begin(g), row_begin(g + 1) - row_begin(g)), q_GPX_[g]);
    });
  }

  void compute(int64_t chunk, int64_t group, const SoftmaxState& part, const Buffers& b) {
    const int64_t row = row_begin(group), rows = row_begin(group + 1) - row;
    const int64_t keys = std::min(kChunk, end_ - chunk * kChunk);
    const ConstTensorView cache = d_.cache_SX.row_range(chunk * kChunk, keys);
    const MatrixView<float> scores = cpu::block(b.scores_PS, 0, rows, 0, keys);
    products_.pack_b_transposed(cache, b.cache_XS);
    products_.multiply(q_GPX_[group], b.cache_XS, X_, scores, false);
    const TensorView weights = cpu::block(b.weights_PS, 0, rows, 0, keys);
    softmax(chunk, scores, weights, {part.highest + row, part.sum + row, {}});
    products_.pack_a(weights, b.packed_PS);
    products_.pack_b(cache.col_range(0, C_), b.cache_SC);
    products_.multiply(b.packed_PS, b.cache_SC, keys, cpu::block(part.acc, row, rows, 0, C_),
                       false);
  }

  /// The softmax of a group's scores over one chunk, token by token.
  void softmax(int64_t chunk, const MatrixView<float>& scores, const TensorView& weights,
               const SoftmaxState& state) const {
    const int64_t heads = scores.rows / tokens_;
    std::fill_n(state.highest, scores.rows, -std::numeric_limits<float>::infinity());
    std::fill_n(state.sum, scores.rows, 0.0f);
    for (int64_t t = 0; t < tokens_; ++t) {
      const int64_t row = t * heads;
      rows_.online_softmax({.scores = scores.row(row),
                            .weights = cpu::rows_of(weights.row_range(row, heads)),
                            .stride = scores.stride,
                            .rows = heads,
                            .keys = scores.cols,
                            .visible = seen(t, chunk),
                            .step = 0,
                            .scale = d_.scale},
                           {state.highest + row, state.sum + row, {}});
    }
  }

  /// Adds a chunk's partial result for one row to the total.
  void merge(int64_t chunk, int64_t row) const {
    const SoftmaxState total = state_of(total_, row), part = state_of(parts_[chunk % wave_], row);
    if (chunk == 0) {
      *total.highest = *part.highest;
      *total.sum = *part.sum;
      std::copy_n(part.acc.data, C_, total.acc.data);
    } else if (*part.sum != 0) {  // zero: the whole chunk lies beyond the token's position
      rows_.merge(total, part);
    }
  }

  static SoftmaxState state_of(const SoftmaxState& s, int64_t row) {
    return {s.highest + row, s.sum + row, cpu::block(s.acc, row, 1, 0, s.acc.cols)};
  }

  void write(int64_t row) const {
    const auto [t, h] = pair_of(row);
    rows_.finish(state_of(total_, row), cpu::rows_of(head_row(d_.out_latent_THC, t, h)), nullptr,
                 0);
  }

  Context& ctx_;
  const Decode& d_;
  int64_t t_begin_, tokens_, H_, C_, X_;
  const cpu::AttentionRows& rows_;
  cpu::PackedProducts products_;
  int64_t end_, chunks_, wave_, groups_;
  SoftmaxState total_;
  std::vector<SoftmaxState> parts_;
  std::vector<cpu::Packed> q_GPX_;
  TensorView q_PX_;
  std::vector<Buffers> buffers_;
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
