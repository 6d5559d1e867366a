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
        rows_(attention_rows(in_.isa)),
        products_(gemm_kernels(in_.isa, in_.precision)),
        b_(in_, products_, scratch) {}

  void run() {
    const int64_t D = in_.qk_dim();
    products_.pack_a(block(in_.q_TX, item_.q_begin, queries_, item_.head * D, D), b_.q_QD);
    std::fill_n(b_.state.highest, queries_, -std::numeric_limits<float>::infinity());
    std::fill_n(b_.state.sum, queries_, 0.0f);
    std::fill_n(b_.state.acc.data, queries_ * s_.v_dim, 0.0f);
    for (int64_t k = item_.begin; k < item_.q_end; k += kKeyTile) {
      pack_keys(k, std::min(kKeyTile, item_.q_end - k));
      for (int64_t q = std::max(item_.q_begin, k); q < item_.q_end; q += kQueryTile)
        query_tile(q, std::min(kQueryTile, item_.q_end - q), k);
    }
    finish();
  }

 private:
  void pack_keys(int64_t k, int64_t keys) {
    const RowOps& ops = ops_table(in_.isa).row;
    const TensorView k_KD = b_.k_KD.row_range(0, keys);
    const int64_t col = item_.head * (s_.nope_dim + s_.v_dim);
    convert_rows(ops, block(in_.kv_TX, k, keys, col, s_.nope_dim), k_KD.col_range(0, s_.nope_dim));
    convert_rows(ops, in_.k_rope_TR.row_range(k, keys), k_KD.col_range(s_.nope_dim, s_.rope_dim));
    products_.pack_b_transposed(k_KD, b_.k_DK);
    products_.pack_b(block(in_.kv_TX, k, keys, col + s_.nope_dim, s_.v_dim), b_.v_KV);
  }

  void query_tile(int64_t q, int64_t queries, int64_t k) {
    const int64_t at = q - item_.q_begin, keys = std::min(kKeyTile, q + queries - k);
    const MatrixView<float> scores = block(b_.scores_QK, 0, queries, 0, keys);
    const TensorView weights = block(b_.weights_QK, 0, queries, 0, keys);
    const SoftmaxState state = state_from(at, queries);
    products_.multiply(products_.a_from_row(b_.q_QD, at), b_.k_DK, in_.qk_dim(), scores, false);
    rows_.online_softmax({.scores = scores.data,
                          .weights = rows_of(weights),
                          .stride = scores.stride,
                          .rows = queries,
                          .keys = keys,
                          .visible = q - k + 1,
                          .step = 1,
                          .scale = s_.scale},
                         state);
    products_.pack_a(weights, b_.packed_weights_QK);
    products_.multiply(b_.packed_weights_QK, b_.v_KV, keys, state.acc, true);
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
  int64_t queries_;
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
