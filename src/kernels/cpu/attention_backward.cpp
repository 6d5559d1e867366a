#include <algorithm>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_rows.h"
#include "kernels/cpu/block_gemm.h"

namespace fathom::kernels::cpu {
namespace {

struct Buffers {
  Buffers(const AttentionInputs& in, int64_t tokens, std::byte* scratch) {
    const int64_t D = in.qk_dim(), V = in.shape.v_dim;
    const DType dtype = in.product_dtype();
    Carve carve(scratch);
    q_TD = carve.tensor(dtype, tokens, D);
    dout_TV = carve.tensor(dtype, tokens, V);
    dq_TD = carve.matrix(tokens, D);
    mean_dp_T = carve.floats(tokens);
    lse_T = carve.floats(tokens);
    k_KD = carve.tensor(dtype, kKeyTile, D);
    dk_KD = carve.matrix(kKeyTile, D);
    dv_KV = carve.matrix(kKeyTile, V);
    scores_QK = carve.matrix(kQueryBlock, kKeyTile);
    dp_QK = carve.matrix(kQueryBlock, kKeyTile);
    weights_QK = carve.tensor(dtype, kQueryBlock, kKeyTile);
    ds_QK = carve.tensor(dtype, kQueryBlock, kKeyTile);
    // The products' m, n and k: queries or keys, keys or D or V, whichever is largest.
    const int64_t widest = std::max({D, V, kKeyTile});
    workspace = carve.bytes(block_gemm_workspace(in.isa, in.precision, kQueryBlock, widest,
                                                 std::max(widest, kQueryBlock)));
    bytes = carve.used();
  }
  TensorView q_TD, dout_TV;
  MatrixView<float> dq_TD;
  float *mean_dp_T, *lse_T;
  TensorView k_KD;
  MatrixView<float> dk_KD, dv_KV, scores_QK, dp_QK;
  TensorView weights_QK, ds_QK;
  void* workspace;
  size_t bytes;
};

/// One head of one sequence. Key tiles outside, query blocks inside: dk and dv of a tile are
/// complete when it has passed; dq gathers in FP32.
class BackwardItem {
 public:
  BackwardItem(const AttentionBackward& args, const AttentionItem& item, std::byte* scratch)
      : args_(args),
        in_(args.in),
        s_(in_.shape),
        item_(item),
        D_(in_.qk_dim()),
        V_(s_.v_dim),
        kv_col_(item.head * (s_.nope_dim + s_.v_dim)),
        rows_(attention_rows(in_.isa)),
        b_(in_, item.end - item.begin, scratch) {}

  void run() {
    load_queries();
    for (int64_t k = item_.begin; k < item_.end; k += kKeyTile)
      key_tile(k, std::min(kKeyTile, item_.end - k));
    convert_rows(in_.isa, tensor_of(b_.dq_TD),
                 block(args_.dq_TX, item_.begin, item_.end - item_.begin, item_.head * D_, D_));
  }

 private:
  void load_queries() {
    const int64_t tokens = item_.end - item_.begin;
    const auto dout = block(args_.dout_TX, item_.begin, tokens, item_.head * V_, V_);
    const auto out = block(args_.out_TX, item_.begin, tokens, item_.head * V_, V_);
    convert_rows(in_.isa, block(in_.q_TX, item_.begin, tokens, item_.head * D_, D_), b_.q_TD);
    convert_rows(in_.isa, dout, b_.dout_TV);
    // Σ_j p_j dp_j = dout · out: what the softmax's backward subtracts.
    rows_.dot(rows_of(dout), rows_of(out), tokens, V_, b_.mean_dp_T);
    const auto lse = args_.lse_TH.matrix<float>();
    for (int64_t t = 0; t < tokens; ++t) b_.lse_T[t] = lse(item_.begin + t, item_.head);
    std::fill_n(b_.dq_TD.data, tokens * D_, 0.0f);
  }

  void key_tile(int64_t k, int64_t keys) {
    const TensorView k_KD = b_.k_KD.row_range(0, keys);
    convert_rows(in_.isa, block(in_.kv_TX, k, keys, kv_col_, s_.nope_dim),
                 k_KD.col_range(0, s_.nope_dim));
    convert_rows(in_.isa, in_.k_rope_TR.row_range(k, keys),
                 k_KD.col_range(s_.nope_dim, s_.rope_dim));
    std::fill_n(b_.dk_KD.data, keys * D_, 0.0f);
    std::fill_n(b_.dv_KV.data, keys * V_, 0.0f);
    for (int64_t q = k; q < item_.end; q += kQueryBlock)
      pair(q, std::min(kQueryBlock, item_.end - q), k, keys);
    store_key_gradients(k, keys);
  }

  void pair(int64_t q, int64_t queries, int64_t k, int64_t keys) {
    const int64_t at = q - item_.begin;
    const TensorView q_QD = b_.q_TD.row_range(at, queries), k_KD = b_.k_KD.row_range(0, keys);
    const TensorView dout_QV = b_.dout_TV.row_range(at, queries);
    const ConstTensorView v_KV = block(in_.kv_TX, k, keys, kv_col_ + s_.nope_dim, V_);
    MatrixView<float> scores = row_range(b_.scores_QK, 0, queries), dp = b_.dp_QK;
    scores.cols = keys;
    dp = {dp.data, queries, keys, dp.stride};
    const TensorView weights = block(b_.weights_QK, 0, queries, 0, keys);
    const TensorView ds = block(b_.ds_QK, 0, queries, 0, keys);

    product(GemmLayout::kNT, q_QD, k_KD, scores, false);
    product(GemmLayout::kNT, dout_QV, v_KV, dp, false);
    rows_.softmax_backward(
        {scores.data, rows_of(weights), scores.stride, queries, keys, q - k + 1, 1, s_.scale},
        b_.lse_T + at, b_.mean_dp_T + at, dp.data, rows_of(ds));
    product(GemmLayout::kTN, weights, dout_QV, row_range(b_.dv_KV, 0, keys), true);
    product(GemmLayout::kTN, ds, q_QD, row_range(b_.dk_KD, 0, keys), true);
    product(GemmLayout::kNN, ds, k_KD, row_range(b_.dq_TD, at, queries), true);
  }

  void product(GemmLayout layout, const ConstTensorView& a, const ConstTensorView& b,
               const MatrixView<float>& c, bool accumulate) {
    block_gemm(in_.isa, layout, in_.precision, a, b, c, accumulate, b_.workspace);
  }

  void store_key_gradients(int64_t k, int64_t keys) {
    const auto dk = tensor_of(row_range(b_.dk_KD, 0, keys));
    convert_rows(in_.isa, dk.col_range(0, s_.nope_dim),
                 block(args_.dkv_TX, k, keys, kv_col_, s_.nope_dim));
    convert_rows(in_.isa, tensor_of(row_range(b_.dv_KV, 0, keys)),
                 block(args_.dkv_TX, k, keys, kv_col_ + s_.nope_dim, V_));
    for (int64_t j = 0; j < keys; ++j)
      std::copy_n(b_.dk_KD.row(j) + s_.nope_dim, s_.rope_dim,
                  args_.dk_rope_THR + ((k + j) * s_.heads + item_.head) * s_.rope_dim);
  }

  const AttentionBackward& args_;
  const AttentionInputs& in_;
  const MlaShape& s_;
  const AttentionItem& item_;
  int64_t D_, V_, kv_col_;
  const AttentionRows& rows_;
  Buffers b_;
};

}  // namespace

size_t attention_backward_scratch(const AttentionInputs& in, int64_t tokens) {
  return Buffers(in, tokens, nullptr).bytes;
}

void attention_backward(const AttentionBackward& args, const AttentionItem& item,
                        std::byte* scratch) {
  BackwardItem(args, item, scratch).run();
}

}  // namespace fathom::kernels::cpu
