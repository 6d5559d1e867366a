#include <algorithm>
#include <thread>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_rows.h"
#include "kernels/cpu/attention_tile.h"

namespace fathom::kernels::cpu {
namespace {

/// What the threads that work on a head share.
struct HeadBuffers {
  HeadBuffers(const AttentionInputs& in, const PackedProducts& products, int64_t tokens,
              std::byte* memory) {
    const int64_t D = in.qk_dim(), V = in.shape.v_dim;
    Carve carve(memory);
    q_DT = products.carve_b(carve, tokens, D);
    q_TD = products.carve_b(carve, D, tokens);
    dout_VT = products.carve_b(carve, tokens, V);
    dout_TV = products.carve_b(carve, V, tokens);
    dq_TD = carve.matrix(tokens, D);
    mean_dp_T = carve.floats(tokens + kScoreAlignment);
    lse_T = carve.floats(tokens + kScoreAlignment);
    bytes = carve.used();
  }
  // Right operands of the products named by their shapes.
  Packed q_DT, q_TD, dout_VT, dout_TV;
  MatrixView<float> dq_TD;
  float *mean_dp_T, *lse_T;
  size_t bytes;
};

/// What a thread needs for a tile of keys.
struct TileBuffers {
  TileBuffers(const AttentionInputs& in, const PackedProducts& products, std::byte* scratch) {
    const int64_t D = in.qk_dim(), V = in.shape.v_dim;
    Carve carve(scratch);
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
  TensorView k_rows_KD;
  Packed k_left_KD, k_KD, v_KV;
  MatrixView<float> dk_KD, dv_KV;
  // Of these keys against some queries.
  MatrixView<float> scores_KQ, dp_KQ;
  TensorView weights_KQ, ds_KQ;
  Packed left_operand;
  size_t bytes;
};

/// Waits until the counter has reached `value`. Its owner is running: brief, unless preempted.
void wait_for(const std::atomic<int64_t>& counter, int64_t value) {
  constexpr int kPolls = 1000;
  for (int polls = 0; counter.load(std::memory_order_acquire) < value; ++polls)
    if (polls >= kPolls) std::this_thread::yield();
}

/// One tile of keys against the queries that see it, in blocks as large as the tile. dk and dv are
/// complete when it has passed; dq gathers in FP32, tile after tile. The first tile, which passes
/// all queries, packs them as it goes; a block's dq is complete after its own tile.
class BackwardTile {
 public:
  BackwardTile(const AttentionBackward& args, const AttentionHead& head, int64_t tile,
               std::byte* scratch)
      : args_(args),
        in_(args.in),
        s_(in_.shape),
        head_(head),
        tile_(tile),
        k_(head.begin + tile * kKeyTile),
        keys_(std::min(kKeyTile, head.end - k_)),
        D_(in_.qk_dim()),
        V_(s_.v_dim),
        kv_col_(head.head * (s_.nope_dim + s_.v_dim)),
        rows_(attention_rows(in_.isa)),
        ops_(ops_table(in_.isa).row),
        products_(gemm_kernels(in_.isa, in_.precision)),
        h_(in_, products_, head.end - head.begin, head.memory),
        b_(in_, products_, scratch) {}

  void run() {
    pack_keys(k_, keys_);
    std::fill_n(b_.dk_KD.data, keys_ * D_, 0.0f);
    std::fill_n(b_.dv_KV.data, keys_ * V_, 0.0f);
    for (int64_t block = tile_; block < head_.tiles(); ++block) {
      if (tile_ == 0)
        load_queries(block);
      else
        wait_for(head_.blocks[tile_ - 1], block + 1);
      query_block(block);
      head_.blocks[tile_].store(block + 1, std::memory_order_release);
    }
    store_key_gradients(k_, keys_);
  }

 private:
  int64_t block_begin(int64_t block) const { return head_.begin + block * kKeyTile; }
  int64_t block_end(int64_t block) const { return std::min(head_.end, block_begin(block + 1)); }

  void query_block(int64_t index) {
    const int64_t begin = block_begin(index), end = block_end(index), queries = end - begin;
    if (index != tile_) return pair(begin, queries, k_, keys_);
    // On the diagonal in smaller tiles of queries, each against the keys that it sees.
    for (int64_t q = begin; q < end; q += kQueryTile) {
      const int64_t n = std::min(kQueryTile, end - q);
      pair(q, n, k_, std::min(keys_, q + n - k_));
    }
    convert_rows(ops_, tensor_of(block(h_.dq_TD, begin - head_.begin, queries, 0, D_)),
                 block(args_.dq_TX, begin, queries, head_.head * D_, D_));
  }

  void load_queries(int64_t index) {
    const int64_t begin = block_begin(index), tokens = block_end(index) - begin;
    const int64_t at = begin - head_.begin;
    const auto q = block(in_.q_TX, begin, tokens, head_.head * D_, D_);
    const auto dout = block(args_.dout_TX, begin, tokens, head_.head * V_, V_);
    const auto out = block(args_.out_TX, begin, tokens, head_.head * V_, V_);
    products_.pack_b_transposed(q, products_.b_from_column(h_.q_DT, at));
    products_.pack_b(q, products_.b_from_k(h_.q_TD, at));
    products_.pack_b_transposed(dout, products_.b_from_column(h_.dout_VT, at));
    products_.pack_b(dout, products_.b_from_k(h_.dout_TV, at));
    // Σ_j p_j dp_j = dout · out: what the softmax's backward subtracts.
    rows_.dot(rows_of(dout), rows_of(out), tokens, V_, h_.mean_dp_T + at);
    const auto lse = args_.lse_TH.matrix<float>();
    for (int64_t t = 0; t < tokens; ++t) h_.lse_T[at + t] = lse(begin + t, head_.head);
  }

  void pack_keys(int64_t k, int64_t keys) {
    const TensorView k_KD = b_.k_rows_KD.row_range(0, keys);
    convert_rows(ops_, block(in_.kv_SX, k, keys, kv_col_, s_.nope_dim),
                 k_KD.col_range(0, s_.nope_dim));
    convert_rows(ops_, in_.k_rope_SR.row_range(k, keys), k_KD.col_range(s_.nope_dim, s_.rope_dim));
    products_.pack_a(k_KD, b_.k_left_KD);
    products_.pack_b(k_KD, b_.k_KD);
    products_.pack_a(block(in_.kv_SX, k, keys, kv_col_ + s_.nope_dim, V_), b_.v_KV);
  }

  // Scores are computed transposed, [keys, queries], so that weights and ds lie as the products for
  // dv and dk want them; only the product for dq transposes.
  void pair(int64_t q, int64_t queries, int64_t k, int64_t keys) {
    const int64_t at = q - head_.begin;
    const MatrixView<float> scores = block(b_.scores_KQ, 0, keys, 0, queries);
    const MatrixView<float> dp = block(b_.dp_KQ, 0, keys, 0, queries);
    const TensorView weights = block(b_.weights_KQ, 0, keys, 0, queries);
    const TensorView ds = block(b_.ds_KQ, 0, keys, 0, queries);
    products_.multiply(b_.k_left_KD, products_.b_from_column(h_.q_DT, at), D_, scores, false);
    products_.multiply(b_.v_KV, products_.b_from_column(h_.dout_VT, at), V_, dp, false);
    rows_.softmax_backward({.scores_KQ = scores.data,
                            .dp_KQ = dp.data,
                            .weights_KQ = rows_of(weights),
                            .ds_KQ = rows_of(ds),
                            .lse_Q = h_.lse_T + at,
                            .mean_dp_Q = h_.mean_dp_T + at,
                            .stride = scores.stride,
                            .keys = keys,
                            .queries = queries,
                            .visible = q - k + 1,
                            .scale = s_.scale});
    products_.pack_a(weights, b_.left_operand);
    products_.multiply(b_.left_operand, products_.b_from_k(h_.dout_TV, at), queries,
                       block(b_.dv_KV, 0, keys, 0, V_), true);
    products_.pack_a(ds, b_.left_operand);
    products_.multiply(b_.left_operand, products_.b_from_k(h_.q_TD, at), queries,
                       block(b_.dk_KD, 0, keys, 0, D_), true);
    products_.pack_a_transposed(ds, b_.left_operand);
    products_.multiply(b_.left_operand, b_.k_KD, keys, block(h_.dq_TD, at, queries, 0, D_),
                       tile_ > 0);
  }

  void store_key_gradients(int64_t k, int64_t keys) {
    convert_rows(ops_, tensor_of(block(b_.dk_KD, 0, keys, 0, s_.nope_dim)),
                 block(args_.dkv_TX, k, keys, kv_col_, s_.nope_dim));
    convert_rows(ops_, tensor_of(block(b_.dv_KV, 0, keys, 0, V_)),
                 block(args_.dkv_TX, k, keys, kv_col_ + s_.nope_dim, V_));
    for (int64_t j = 0; j < keys; ++j)
      std::copy_n(b_.dk_KD.row(j) + s_.nope_dim, s_.rope_dim,
                  args_.dk_rope_THR + ((k + j) * s_.heads + head_.head) * s_.rope_dim);
  }

  const AttentionBackward& args_;
  const AttentionInputs& in_;
  const MlaShape& s_;
  const AttentionHead& head_;
  int64_t tile_, k_, keys_, D_, V_, kv_col_;
  const AttentionRows& rows_;
  const RowOps& ops_;
  PackedProducts products_;
  HeadBuffers h_;
  TileBuffers b_;
};

}  // namespace

size_t attention_backward_head_bytes(const AttentionInputs& in, int64_t tokens) {
  return HeadBuffers(in, PackedProducts(gemm_kernels(in.isa, in.precision)), tokens, nullptr).bytes;
}

size_t attention_backward_scratch(const AttentionInputs& in) {
  return TileBuffers(in, PackedProducts(gemm_kernels(in.isa, in.precision)), nullptr).bytes;
}

void attention_backward(const AttentionBackward& args, const AttentionHead& head, int64_t tile,
                        std::byte* scratch) {
  BackwardTile(args, head, tile, scratch).run();
}

}  // namespace fathom::kernels::cpu
