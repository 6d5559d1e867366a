#include <algorithm>
#include <limits>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_rows.h"
#include "kernels/cpu/block_gemm.h"

namespace fathom::kernels::cpu {
namespace {

struct Buffers {
  Buffers(const AttentionInputs& in, std::byte* scratch) {
    const int64_t D = in.qk_dim(), V = in.shape.v_dim;
    Carve carve(scratch);
    q_QD = carve.tensor(in.product_dtype(), kQueryBlock, D);
    k_KD = carve.tensor(in.product_dtype(), kKeyTile, D);
    scores_QK = carve.matrix(kQueryBlock, kKeyTile);
    weights_QK = carve.tensor(in.product_dtype(), kQueryBlock, kKeyTile);
    state = {carve.floats(kQueryBlock), carve.floats(kQueryBlock), carve.matrix(kQueryBlock, V)};
    workspace =
        carve.bytes(std::max(block_gemm_workspace(in.isa, in.precision, kQueryBlock, kKeyTile, D),
                             block_gemm_workspace(in.isa, in.precision, kQueryBlock, V, kKeyTile)));
    bytes = carve.used();
  }
  TensorView q_QD, k_KD;
  MatrixView<float> scores_QK;
  TensorView weights_QK;
  SoftmaxState state;
  void* workspace;
  size_t bytes;
};

/// Flash attention (Dao et al. 2022) over one block of queries: keys pass by in tiles.
class ForwardItem {
 public:
  ForwardItem(const AttentionForward& args, const AttentionItem& item, std::byte* scratch)
      : args_(args),
        in_(args.in),
        item_(item),
        queries_(item.q_end - item.q_begin),
        kv_col_(item.head * (in_.shape.nope_dim + in_.shape.v_dim)),
        rows_(attention_rows(in_.isa)),
        b_(in_, scratch) {}

  void run() {
    const int64_t D = in_.qk_dim();
    convert_rows(in_.isa, block(in_.q_TX, item_.q_begin, queries_, item_.head * D, D), b_.q_QD);
    std::fill_n(b_.state.highest, queries_, -std::numeric_limits<float>::infinity());
    std::fill_n(b_.state.sum, queries_, 0.0f);
    std::fill_n(b_.state.acc.data, queries_ * in_.shape.v_dim, 0.0f);
    for (int64_t k = item_.begin; k < item_.q_end; k += kKeyTile)
      key_tile(k, std::min(kKeyTile, item_.q_end - k));
    finish();
  }

 private:
  void key_tile(int64_t k, int64_t keys) {
    const MlaShape& s = in_.shape;
    const TensorView k_KD = b_.k_KD.row_range(0, keys);
    convert_rows(in_.isa, block(in_.kv_TX, k, keys, kv_col_, s.nope_dim),
                 k_KD.col_range(0, s.nope_dim));
    convert_rows(in_.isa, in_.k_rope_TR.row_range(k, keys), k_KD.col_range(s.nope_dim, s.rope_dim));

    // Queries before this tile see none of it.
    const int64_t first = std::max<int64_t>(0, k - item_.q_begin), count = queries_ - first;
    MatrixView<float> scores = row_range(b_.scores_QK, 0, count);
    scores.cols = keys;
    block_gemm(in_.isa, GemmLayout::kNT, in_.precision, b_.q_QD.row_range(first, count), k_KD,
               scores, false, b_.workspace);
    const SoftmaxState state = state_from(first);
    const TensorView weights = block(b_.weights_QK, 0, count, 0, keys);
    rows_.online_softmax({scores.data, rows_of(weights), scores.stride, count, keys,
                          item_.q_begin + first - k + 1, 1, s.scale},
                         state);
    block_gemm(in_.isa, GemmLayout::kNN, in_.precision, weights,
               block(in_.kv_TX, k, keys, kv_col_ + s.nope_dim, s.v_dim), state.acc, true,
               b_.workspace);
  }

  SoftmaxState state_from(int64_t first) const {
    return {b_.state.highest + first, b_.state.sum + first,
            row_range(b_.state.acc, first, queries_ - first)};
  }

  void finish() {
    const int64_t V = in_.shape.v_dim;
    const auto lse = args_.lse_TH.matrix<float>();
    rows_.finish(state_from(0),
                 rows_of(block(args_.out_TX, item_.q_begin, queries_, item_.head * V, V)),
                 lse.row(item_.q_begin) + item_.head, lse.stride);
  }

  const AttentionForward& args_;
  const AttentionInputs& in_;
  const AttentionItem& item_;
  int64_t queries_, kv_col_;
  const AttentionRows& rows_;
  Buffers b_;
};

}  // namespace

void convert_rows(Isa isa, const ConstTensorView& from, const TensorView& to) {
  const auto& copy = ops_table(isa).row.copy;
  for (int64_t r = 0; r < from.rows(); ++r)
    copy(rows_of(from.row_range(r, 1)), rows_of(to.row_range(r, 1)), from.cols());
}

size_t attention_forward_scratch(const AttentionInputs& in) {
  return Buffers(in, nullptr).bytes;
}

void attention_forward(const AttentionForward& args, const AttentionItem& item,
                       std::byte* scratch) {
  ForwardItem(args, item, scratch).run();
}

}  // namespace fathom::kernels::cpu
