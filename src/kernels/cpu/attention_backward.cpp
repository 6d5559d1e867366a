#include <algorithm>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_rows.h"
#include "kernels/cpu/attention_tile.h"

namespace fathom::kernels::cpu {
namespace {

struct Buffers {
  Buffers(const AttentionInputs& in, const PackedProducts& products, int64_t tokens,
          std::byte* scratch) {
    const int64_t D = in.qk_dim(), V = in.shape.v_dim;
    Carve carve(scratch);
    q_DT = products.carve_b(carve, tokens, D);
    q_TD = products.carve_b(carve, D, tokens);
    dout_VT = products.carve_b(carve, tokens, V);
    dout_TV = products.carve_b(carve, V, tokens);
    dq_TD = carve.matrix(tokens, D);
    mean_dp_T = carve.floats(tokens + kScoreAlignment);
    lse_T = carve.floats(tokens + kScoreAlignment);
    k_rows_KD = carve.tensor(in.q_TX.dtype, kKeyTile, D);
    k_left_KD = products.carve_a(carve, kKeyTile, D);
    k_KD = products.carve_b(carve, D, kKeyTile);
    v_KV = products.carve_a(carve, kKeyTile, V);
    dk_KD = carve.matrix(kKeyTile, D);
    dv_KV = carve.matrix(kKeyTile, V);
    scores_KQ = carve.matrix(kKeyTile, kKeyTile);
    dp_KQ = carve.matrix(kKeyTile, kKeyTile);
    weights_KQ = carve.tensor(in.product_dtype(), kKeyTile, kKeyTile);
    ds_KQ = carve.tensor(in.product_dtype(), kKeyTile, kKeyTile);
    left_operand = products.carve_a(carve, kKeyTile, kKeyTile);
    bytes = carve.used();
  }
  // Of the whole sequence, as right operands of the products named by their shapes.
  Packed q_DT, q_TD, dout_VT, dout_TV;
  MatrixView<float> dq_TD;
  float *mean_dp_T, *lse_T;
  // Of a tile of keys.
  TensorView k_rows_KD;
  Packed k_left_KD, k_KD, v_KV;
  MatrixView<float> dk_KD, dv_KV;
  // Of these keys against some queries.
  MatrixView<float> scores_KQ, dp_KQ;
  TensorView weights_KQ, ds_KQ;
  Packed left_operand;
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
        ops_(ops_table(in_.isa).row),
        products_(gemm_kernels(in_.isa, in_.precision)),
        b_(in_, products_, item.end - item.begin, scratch) {}

  void run() {
    load_queries();
    for (int64_t k = item_.begin; k < item_.end; k += kKeyTile)
      key_tile(k, std::min(kKeyTile, item_.end - k));
    convert_rows(ops_, tensor_of(b_.dq_TD),
                 block(args_.dq_TX, item_.begin, item_.end - item_.begin, item_.head * D_, D_));
  }

 private:
  void load_queries() {
    const int64_t tokens = item_.end - item_.begin;
    const auto q = block(in_.q_TX, item_.begin, tokens, item_.head * D_, D_);
    const auto dout = block(args_.dout_TX, item_.begin, tokens, item_.head * V_, V_);
    const auto out = block(args_.out_TX, item_.begin, tokens, item_.head * V_, V_);
    products_.pack_b_transposed(q, b_.q_DT);
    products_.pack_b(q, b_.q_TD);
    products_.pack_b_transposed(dout, b_.dout_VT);
    products_.pack_b(dout, b_.dout_TV);
    // Σ_j p_j dp_j = dout · out: what the softmax's backward subtracts.
    rows_.dot(rows_of(dout), rows_of(out), tokens, V_, b_.mean_dp_T);
    const auto lse = args_.lse_TH.matrix<float>();
    for (int64_t t = 0; t < tokens; ++t) b_.lse_T[t] = lse(item_.begin + t, item_.head);
    std::fill_n(b_.dq_TD.data, tokens * D_, 0.0f);
  }

  void key_tile(int64_t k, int64_t keys) {
    pack_keys(k, keys);
    std::fill_n(b_.dk_KD.data, keys * D_, 0.0f);
    std::fill_n(b_.dv_KV.data, keys * V_, 0.0f);
    // On the diagonal in tiles of queries, each against the keys that it sees; then in blocks as
    // large as the key tile.
    for (int64_t q = k; q < item_.end;) {
      const int64_t queries = std::min(q < k + kKeyTile ? kQueryTile : kKeyTile, item_.end - q);
      pair(q, queries, k, std::min(keys, q + queries - k));
      q += queries;
    }
    store_key_gradients(k, keys);
  }

  void pack_keys(int64_t k, int64_t keys) {
    const TensorView k_KD = b_.k_rows_KD.row_range(0, keys);
    convert_rows(ops_, block(in_.kv_TX, k, keys, kv_col_, s_.nope_dim),
                 k_KD.col_range(0, s_.nope_dim));
    convert_rows(ops_, in_.k_rope_TR.row_range(k, keys), k_KD.col_range(s_.nope_dim, s_.rope_dim));
    products_.pack_a(k_KD, b_.k_left_KD);
    products_.pack_b(k_KD, b_.k_KD);
    products_.pack_a(block(in_.kv_TX, k, keys, kv_col_ + s_.nope_dim, V_), b_.v_KV);
  }

  // Scores are computed transposed, [keys, queries], so that weights and ds lie as the products for
  // dv and dk want them; only the product for dq transposes.
  void pair(int64_t q, int64_t queries, int64_t k, int64_t keys) {
    const int64_t at = q - item_.begin;
    const MatrixView<float> scores = block(b_.scores_KQ, 0, keys, 0, queries);
    const MatrixView<float> dp = block(b_.dp_KQ, 0, keys, 0, queries);
    const TensorView weights = block(b_.weights_KQ, 0, keys, 0, queries);
    const TensorView ds = block(b_.ds_KQ, 0, keys, 0, queries);
    products_.multiply(b_.k_left_KD, products_.b_from_column(b_.q_DT, at), D_, scores, false);
    products_.multiply(b_.v_KV, products_.b_from_column(b_.dout_VT, at), V_, dp, false);
    rows_.softmax_backward({.scores_KQ = scores.data,
                            .dp_KQ = dp.data,
                            .weights_KQ = rows_of(weights),
                            .ds_KQ = rows_of(ds),
                            .lse_Q = b_.lse_T + at,
                            .mean_dp_Q = b_.mean_dp_T + at,
                            .stride = scores.stride,
                            .keys = keys,
                            .queries = queries,
                            .visible = q - k + 1,
                            .scale = s_.scale});
    products_.pack_a(weights, b_.left_operand);
    products_.multiply(b_.left_operand, products_.b_from_k(b_.dout_TV, at), queries,
                       block(b_.dv_KV, 0, keys, 0, V_), true);
    products_.pack_a(ds, b_.left_operand);
    products_.multiply(b_.left_operand, products_.b_from_k(b_.q_TD, at), queries,
                       block(b_.dk_KD, 0, keys, 0, D_), true);
    products_.pack_a_transposed(ds, b_.left_operand);
    products_.multiply(b_.left_operand, b_.k_KD, keys, block(b_.dq_TD, at, queries, 0, D_), true);
  }

  void store_key_gradients(int64_t k, int64_t keys) {
    convert_rows(ops_, tensor_of(block(b_.dk_KD, 0, keys, 0, s_.nope_dim)),
                 block(args_.dkv_TX, k, keys, kv_col_, s_.nope_dim));
    convert_rows(ops_, tensor_of(block(b_.dv_KV, 0, keys, 0, V_)),
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
  const RowOps& ops_;
  PackedProducts products_;
  Buffers b_;
};

}  // namespace

size_t attention_backward_scratch(const AttentionInputs& in, int64_t tokens) {
  return Buffers(in, PackedProducts(gemm_kernels(in.isa, in.precision)), tokens, nullptr).bytes;
}

void attention_backward(const AttentionBackward& args, const AttentionItem& item,
                        std::byte* scratch) {
  BackwardItem(args, item, scratch).run();
}

}  // namespace fathom::kernels::cpu
