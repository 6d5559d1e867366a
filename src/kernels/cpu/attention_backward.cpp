#include "kernels/cpu/attention_isa.h"
#include "kernels/cpu/attention_tile.h"

namespace fathom::kernels::FATHOM_ISA_NS {
namespace {

using cpu::AttentionItem;
using cpu::AttentionTensors;
using cpu::BackwardArgs;
constexpr int64_t kTile = cpu::kAttentionTile;

struct Buffers {
  Buffers(std::byte* scratch, const MlaShape& s, int64_t tokens) {
    Carve carve(scratch);
    const int64_t D = s.nope_dim + s.rope_dim, V = s.v_dim;
    q_QD = carve.take<float>(kTile * D);
    dout_QV = carve.take<float>(kTile * V);
    k_KD = carve.take<float>(kTile * D);
    k_DK = carve.take<float>(kTile * D);
    v_KV = carve.take<float>(kTile * V);
    v_VK = carve.take<float>(kTile * V);
    p_QK = carve.take<float>(kTile * kTile);
    ds_QK = carve.take<float>(kTile * kTile);
    transposed_KQ = carve.take<float>(kTile * kTile);
    dk_KD = carve.take<float>(kTile * D);
    dv_KV = carve.take<float>(kTile * V);
    dq_TD = carve.take<float>(tokens * D);
    mean_dp_T = carve.take<float>(tokens);
    bytes = carve.used();
  }
  float *q_QD, *dout_QV, *k_KD, *k_DK, *v_KV, *v_VK, *p_QK, *ds_QK, *transposed_KQ, *dk_KD, *dv_KV,
      *dq_TD, *mean_dp_T;
  size_t bytes;
};

class BackwardItem {
 public:
  BackwardItem(const BackwardArgs& args, const AttentionItem& item, std::byte* scratch)
      : args_(args),
        in_(args.in),
        s_(args.in.shape),
        item_(item),
        b_(scratch, s_, item.end - item.begin),
        D_(s_.nope_dim + s_.rope_dim),
        V_(s_.v_dim) {}

  void run() {
    const int64_t tokens = item_.end - item_.begin;
    std::fill_n(b_.dq_TD, tokens * D_, 0.f);
    for (int64_t i = 0; i < tokens; ++i) b_.mean_dp_T[i] = mean_dp(item_.begin + i);
    for (int64_t k = item_.begin; k < item_.end; k += kTile) key_tile(k);
    store_rows(b_.dq_TD, D_, args_.dq_TX, item_.begin, tokens, item_.head * D_, D_);
  }

 private:
  // Σ_j p_j dp_j = dout · out: what the softmax's backward subtracts.
  float mean_dp(int64_t t) const {
    float sum = 0;
    for (int64_t i = item_.head * V_; i < (item_.head + 1) * V_; ++i)
      sum += load(args_.dout_TX, t * args_.dout_TX.stride[0] + i) *
             load(args_.out_TX, t * args_.out_TX.stride[0] + i);
    return sum;
  }

  void key_tile(int64_t k) {
    const int64_t keys = std::min(kTile, item_.end - k);
    const int64_t col = item_.head * (s_.nope_dim + V_);
    load_rows(in_.kv_TX, k, keys, col, s_.nope_dim, in_.precision, b_.k_KD, D_);
    load_rows(in_.k_rope_TR, k, keys, 0, s_.rope_dim, in_.precision, b_.k_KD + s_.nope_dim, D_);
    load_rows(in_.kv_TX, k, keys, col + s_.nope_dim, V_, in_.precision, b_.v_KV, V_);
    transpose(b_.k_KD, D_, b_.k_DK, kTile, keys, D_);
    transpose(b_.v_KV, V_, b_.v_VK, kTile, keys, V_);
    std::fill_n(b_.dk_KD, kTile * D_, 0.f);
    std::fill_n(b_.dv_KV, kTile * V_, 0.f);
    for (int64_t q = k; q < item_.end; q += kTile) pair(q, k, keys);
    store_rows(b_.dk_KD, D_, args_.dkv_TX, k, keys, col, s_.nope_dim);
    store_rows(b_.dv_KV, V_, args_.dkv_TX, k, keys, col + s_.nope_dim, V_);
    for (int64_t j = 0; j < keys; ++j)
      std::copy_n(b_.dk_KD + j * D_ + s_.nope_dim, s_.rope_dim,
                  args_.dk_rope_THR + ((k + j) * s_.heads + item_.head) * s_.rope_dim);
  }

  void pair(int64_t q, int64_t k, int64_t keys) {
    const int64_t queries = std::min(kTile, item_.end - q);
    load_rows(in_.q_TX, q, queries, item_.head * D_, D_, in_.precision, b_.q_QD, D_);
    load_rows(args_.dout_TX, q, queries, item_.head * V_, V_, in_.precision, b_.dout_QV, V_);
    product(b_.q_QD, D_, b_.k_DK, kTile, b_.p_QK, kTile, queries, keys, D_, false);
    product(b_.dout_QV, V_, b_.v_VK, kTile, b_.ds_QK, kTile, queries, keys, V_, false);
    for (int64_t i = 0; i < queries; ++i)
      row(q + i, b_.p_QK + i * kTile, b_.ds_QK + i * kTile, k, keys);
    transpose(b_.p_QK, kTile, b_.transposed_KQ, kTile, queries, keys);
    product(b_.transposed_KQ, kTile, b_.dout_QV, V_, b_.dv_KV, V_, keys, V_, queries, true);
    transpose(b_.ds_QK, kTile, b_.transposed_KQ, kTile, queries, keys);
    product(b_.transposed_KQ, kTile, b_.q_QD, D_, b_.dk_KD, D_, keys, D_, queries, true);
    product(b_.ds_QK, kTile, b_.k_KD, D_, b_.dq_TD + (q - item_.begin) * D_, D_, queries, D_, keys,
            true);
  }

  // Scores become p = e^(scale·s − lse), dp becomes ds = scale · p · (dp − mean_dp).
  void row(int64_t t, float* p, float* ds, int64_t k, int64_t keys) {
    const int64_t visible = std::min(keys, t + 1 - k);
    const float lse = load(args_.lse_TH, t * args_.lse_TH.stride[0] + item_.head);
    const float mean = b_.mean_dp_T[t - item_.begin];
    for (int64_t j = 0; j < visible; ++j) {
      const float weight = std::exp(s_.scale * p[j] - lse);
      ds[j] = rounded(s_.scale * weight * (ds[j] - mean), in_.precision);
      p[j] = rounded(weight, in_.precision);
    }
    std::fill(p + visible, p + keys, 0.f);
    std::fill(ds + visible, ds + keys, 0.f);
  }

  const BackwardArgs& args_;
  const AttentionTensors& in_;
  const MlaShape& s_;
  const AttentionItem& item_;
  Buffers b_;
  int64_t D_, V_;
};

}  // namespace

size_t attention_backward_scratch(const AttentionTensors& in, int64_t tokens) {
  return Buffers(nullptr, in.shape, tokens).bytes;
}

void attention_backward(const BackwardArgs& args, const AttentionItem& item, std::byte* scratch) {
  BackwardItem(args, item, scratch).run();
}

}  // namespace fathom::kernels::FATHOM_ISA_NS
