#include <algorithm>
#include <limits>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_rows.h"
#include "kernels/cpu/attention_tile.h"

namespace fathom::kernels::cpu {
namespace {

struct Buffers {
  Buffers(const AttentionInputs& in, const PackedProducts& products, std::byte* scratch) {
    const int64_t D = in.qk_dim(), V = in.shape.v_dim;
    Carve carve(scratch);
    q_QD = products.carve_a(carve, kQueryBlock, D);
    k_KD = carve.tensor(in.q_TX.dtype, kKeyTile, D);
    k_DK = products.carve_b(carve, kKeyTile, D);
    v_KV = products.carve_b(carve, V, kKeyTile);
    scores_QK = carve.matrix(kQueryTile, kKeyTile);
    weights_QK = carve.tensor(in.product_dtype(), kQueryTile, kKeyTile);
    packed_weights_QK = products.carve_a(carve, kQueryTile, kKeyTile);
    state = {carve.floats(kQueryBlock), carve.floats(kQueryBlock), carve.matrix(kQueryBlock, V)};
    bytes = carve.used();
  }
  Packed q_QD;
  TensorView k_KD;
  Packed k_DK, v_KV;
  MatrixView<float> scores_QK;
  TensorView weights_QK;
  Packed packed_weights_QK;
  SoftmaxState state;
  size_t bytes;
};

/// Flash attention (Dao et al. 2022): the item's queries are packed, keys pass by in tiles, each
/// packed once for all queries.
class ForwardItem {
 public:
  ForwardItem(const AttentionForward& args, const AttentionItem& item, std::byte* scratch)
      : args_(args),
        in_(args.in),
        s_(in_.shape),
        item_(item),
        queries_(item.q_end - item.q_begin),
        position_(item.q_begin + item.shift),
        rows_(attention_rows(in_.isa)),
        products_(gemm_kernels(in_.isa, in_.precision)),
        b_(in_, products_, scratch) {}

  void run() {
    const int64_t D = in_.qk_dim();
    products_.pack_a(block(in_.q_TX, item_.q_begin, queries_, item_.head * D, D), b_.q_QD);
    std::fill_n(b_.state.highest, queries_, -std::numeric_limits<float>::infinity());
    std::fill_n(b_.state.sum, queries_, 0.0f);
    std::fill_n(b_.state.acc.data, queries_ * s_.v_dim, 0.0f);
    const int64_t end = position_ + queries_;
    for (int64_t k = item_.key_begin; k < end; k += kKeyTile) {
      pack_keys(k, std::min(kKeyTile, end - k));
      const int64_t hidden = std::max<int64_t>(0, k - position_) / kQueryTile * kQueryTile;
      for (int64_t at = hidden; at < queries_; at += kQueryTile)
        query_tile(at, std::min(kQueryTile, queries_ - at), k);
    }
    finish();
  }

 private:
  void pack_keys(int64_t k, int64_t keys) {
    const RowOps& ops = ops_table(in_.isa).row;
    const TensorView k_KD = b_.k_KD.row_range(0, keys);
    const int64_t col = item_.head * (s_.nope_dim + s_.v_dim);
    convert_rows(ops, block(in_.kv_SX, k, keys, col, s_.nope_dim), k_KD.col_range(0, s_.nope_dim));
    convert_rows(ops, in_.k_rope_SR.row_range(k, keys), k_KD.col_range(s_.nope_dim, s_.rope_dim));
    products_.pack_b_transposed(k_KD, b_.k_DK);
    products_.pack_b(block(in_.kv_SX, k, keys, col + s_.nope_dim, s_.v_dim), b_.v_KV);
  }

  /// Queries from the item's number `at` on, against keys from k on.
  void query_tile(int64_t at, int64_t queries, int64_t k) {
    const int64_t position = position_ + at, keys = std::min(kKeyTile, position + queries - k);
    const MatrixView<float> scores = block(b_.scores_QK, 0, queries, 0, keys);
    const TensorView weights = block(b_.weights_QK, 0, queries, 0, keys);
    const SoftmaxState state = state_from(at, queries);
    for_strips(position - k, queries, keys, [&](int64_t row, int64_t rows, int64_t seen) {
      products_.multiply(products_.a_from_row(b_.q_QD, at + row), b_.k_DK, in_.qk_dim(),
                         block(scores, row, rows, 0, seen), false);
    });
    rows_.online_softmax({.scores = scores.data,
                          .weights = rows_of(weights),
                          .stride = scores.stride,
                          .rows = queries,
                          .keys = keys,
                          .visible = position - k + 1,
                          .step = 1,
                          .scale = s_.scale},
                         state);
    products_.pack_a(weights, b_.packed_weights_QK);
    for_strips(position - k, queries, keys, [&](int64_t row, int64_t rows, int64_t seen) {
      products_.multiply(products_.a_from_row(b_.packed_weights_QK, row), b_.v_KV, seen,
                         block(state.acc, row, rows, 0, s_.v_dim), true);
    });
  }

  /// body(row, rows, keys that any of them sees) over a tile whose first query sits `offset` after
  /// the first key: on the diagonal in strips, so that little is multiplied in vain.
  template <class Body>
  void for_strips(int64_t offset, int64_t queries, int64_t keys, Body body) const {
    const int64_t step = offset + 1 < keys ? products_.strip_rows() : queries;
    for (int64_t row = 0; row < queries; row += step) {
      const int64_t rows = std::min(step, queries - row);
      const int64_t seen = std::min(keys, offset + row + rows);
      if (seen > 0) body(row, rows, seen);
    }
  }

  SoftmaxState state_from(int64_t row, int64_t rows) const {
    return {b_.state.highest + row, b_.state.sum + row,
            block(b_.state.acc, row, rows, 0, s_.v_dim)};
  }

  void finish() {
    const auto lse = args_.lse_TH.matrix<float>();
    const auto out = block(args_.out_TX, item_.q_begin, queries_, item_.head * s_.v_dim, s_.v_dim);
    rows_.finish(state_from(0, queries_), rows_of(out), lse.row(item_.q_begin) + item_.head,
                 lse.stride);
  }

  const AttentionForward& args_;
  const AttentionInputs& in_;
  const MlaShape& s_;
  const AttentionItem& item_;
  int64_t queries_, position_;  ///< how many, and the key that the first sits at
  const AttentionRows& rows_;
  PackedProducts products_;
  Buffers b_;
};

}  // namespace

size_t attention_forward_scratch(const AttentionInputs& in) {
  return Buffers(in, PackedProducts(gemm_kernels(in.isa, in.precision)), nullptr).bytes;
}

void attention_forward(const AttentionForward& args, const AttentionItem& item,
                       std::byte* scratch) {
  ForwardItem(args, item, scratch).run();
}

}  // namespace fathom::kernels::cpu
