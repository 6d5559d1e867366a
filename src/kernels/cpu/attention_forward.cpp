#include "kernels/cpu/attention_isa.h"

#include "kernels/cpu/attention_tile.h"

namespace fathom::kernels::FATHOM_ISA_NS {
namespace {

using cpu::AttentionItem;
using cpu::AttentionTensors;
using cpu::ForwardArgs;
constexpr int64_t kTile = cpu::kAttentionTile;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Buffers {
  Buffers(std::byte* scratch, const MlaShape& s, int64_t queries) {
    Carve carve(scratch);
    const int64_t D = s.nope_dim + s.rope_dim;
    q_QD = carve.take<float>(queries * D);
    k_KD = carve.take<float>(kTile * D);
    k_DK = carve.take<float>(kTile * D);
    v_KV = carve.take<float>(kTile * s.v_dim);
    scores_QK = carve.take<float>(kTile * kTile);
    out_QV = carve.take<float>(queries * s.v_dim);
    highest_Q = carve.take<float>(queries);
    sum_Q = carve.take<float>(queries);
    bytes = carve.used();
  }
  float *q_QD, *k_KD, *k_DK, *v_KV, *scores_QK, *out_QV, *highest_Q, *sum_Q;
  size_t bytes;
};

/// One row of the online softmax: scores become weights relative to the new maximum.
void update_row(float* score, int64_t keys, float scale, float* highest, float* sum, float* out,
                int64_t v_dim, GemmPrecision precision) {
  float top = *highest;
  for (int64_t j = 0; j < keys; ++j) top = std::max(top, score[j] *= scale);
  const float keep = std::exp(*highest - top);
  float total = 0;
  for (int64_t j = 0; j < keys; ++j) {
    const float p = std::exp(score[j] - top);
    total += p;
    score[j] = rounded(p, precision);
  }
  *sum = *sum * keep + total;
  *highest = top;
  for (int64_t i = 0; i < v_dim; ++i) out[i] *= keep;
}

class ForwardItem {
 public:
  ForwardItem(const ForwardArgs& args, const AttentionItem& item, std::byte* scratch)
      : args_(args),
        in_(args.in),
        s_(args.in.shape),
        item_(item),
        b_(scratch, s_, item.q_end - item.q_begin),
        D_(s_.nope_dim + s_.rope_dim) {}

  void run() {
    const int64_t queries = item_.q_end - item_.q_begin;
    load_rows(in_.q_TX, item_.q_begin, queries, item_.head * D_, D_, in_.precision, b_.q_QD, D_);
    std::fill_n(b_.highest_Q, queries, -kInfinity);
    std::fill_n(b_.sum_Q, queries, 0.f);
    std::fill_n(b_.out_QV, queries * s_.v_dim, 0.f);
    for (int64_t k = item_.begin; k < item_.q_end; k += kTile) key_tile(k);
    finish();
  }

 private:
  void key_tile(int64_t k) {
    const int64_t keys = std::min(kTile, item_.end - k);
    const int64_t col = item_.head * (s_.nope_dim + s_.v_dim);
    load_rows(in_.kv_TX, k, keys, col, s_.nope_dim, in_.precision, b_.k_KD, D_);
    load_rows(in_.k_rope_TR, k, keys, 0, s_.rope_dim, in_.precision, b_.k_KD + s_.nope_dim, D_);
    load_rows(in_.kv_TX, k, keys, col + s_.nope_dim, s_.v_dim, in_.precision, b_.v_KV, s_.v_dim);
    transpose(b_.k_KD, D_, b_.k_DK, kTile, keys, D_);
    for (int64_t q = std::max(item_.q_begin, k); q < item_.q_end; q += kTile) pair(q, k, keys);
  }

  void pair(int64_t q, int64_t k, int64_t keys) {
    const int64_t queries = std::min(kTile, item_.q_end - q), at = q - item_.q_begin;
    product(b_.q_QD + at * D_, D_, b_.k_DK, kTile, b_.scores_QK, kTile, queries, keys, D_, false);
    for (int64_t i = 0; i < queries; ++i) {
      float* score = b_.scores_QK + i * kTile;
      const int64_t visible = std::min(keys, q + i + 1 - k);
      update_row(score, visible, s_.scale, b_.highest_Q + at + i, b_.sum_Q + at + i,
                 b_.out_QV + (at + i) * s_.v_dim, s_.v_dim, in_.precision);
      std::fill(score + visible, score + keys, 0.f);
    }
    product(b_.scores_QK, kTile, b_.v_KV, s_.v_dim, b_.out_QV + at * s_.v_dim, s_.v_dim, queries,
            s_.v_dim, keys, true);
  }

  void finish() {
    for (int64_t i = 0; i < item_.q_end - item_.q_begin; ++i) {
      float* out = b_.out_QV + i * s_.v_dim;
      for (int64_t j = 0; j < s_.v_dim; ++j) out[j] /= b_.sum_Q[i];
      store_rows(out, 0, args_.out_TX, item_.q_begin + i, 1, item_.head * s_.v_dim, s_.v_dim);
      store(args_.lse_TH, (item_.q_begin + i) * args_.lse_TH.stride[0] + item_.head,
            b_.highest_Q[i] + std::log(b_.sum_Q[i]));
    }
  }

  const ForwardArgs& args_;
  const AttentionTensors& in_;
  const MlaShape& s_;
  const AttentionItem& item_;
  Buffers b_;
  int64_t D_;
};

}  // namespace

size_t attention_forward_scratch(const AttentionTensors& in, int64_t queries) {
  return Buffers(nullptr, in.shape, queries).bytes;
}

void attention_forward(const ForwardArgs& args, const AttentionItem& item, std::byte* scratch) {
  ForwardItem(args, item, scratch).run();
}

}  // namespace fathom::kernels::FATHOM_ISA_NS
