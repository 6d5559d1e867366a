#include "kernels/ref/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "numerics/bf16.h"
#include "numerics/e4m3.h"

namespace fathom::kernels::ref {
namespace {

double load(const ConstTensorView& x, int64_t index) {
  if (x.dtype == DType::kF64) return x.as<double>()[index];
  if (x.dtype == DType::kBF16) return to_float(x.as<BF16>()[index]);
  return x.as<float>()[index];
}

double load(const ConstTensorView& x, int64_t r, int64_t c) {
  return load(x, r * x.stride[0] + c);
}

void store(const TensorView& x, int64_t index, double value) {
  if (x.dtype == DType::kF64)
    x.as<double>()[index] = value;
  else if (x.dtype == DType::kBF16)
    x.as<BF16>()[index] = to_bf16(static_cast<float>(value));
  else
    x.as<float>()[index] = static_cast<float>(value);
}

void store(const TensorView& x, int64_t r, int64_t c, double value) {
  store(x, r * x.stride[0] + c, value);
}

void add(const TensorView& x, int64_t r, int64_t c, double value) {
  store(x, r, c, load(x, r, c) + value);
}

void clear(const TensorView& x) {
  for (int64_t r = 0; r < x.rows(); ++r)
    for (int64_t c = 0; c < x.cols(); ++c) store(x, r, c, 0);
}

template <class T>
T read(const std::byte* p) {
  T x;
  std::memcpy(&x, p, sizeof x);
  return x;
}

/// Turns scores into softmax weights in place; returns their log-sum-exp.
double softmax(std::vector<double>& x) {
  const double highest = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (double& v : x) sum += v = std::exp(v - highest);
  for (double& v : x) v /= sum;
  return highest + std::log(sum);
}

/// One head's columns of the packed activations, by name.
struct Head {
  const MlaShape& shape;
  int64_t h;

  int64_t q_nope(int64_t i) const { return h * (shape.nope_dim + shape.rope_dim) + i; }
  int64_t q_rope(int64_t i) const { return q_nope(shape.nope_dim + i); }
  int64_t k_nope(int64_t i) const { return h * (shape.nope_dim + shape.v_dim) + i; }
  int64_t v(int64_t i) const { return k_nope(shape.nope_dim + i); }
  int64_t out(int64_t i) const { return h * shape.v_dim + i; }
};

/// Softmax weights of query t over keys begin..position, and their log-sum-exp.
std::vector<double> weights(const Head& head, const ConstTensorView& q, const ConstTensorView& kv,
                            const ConstTensorView& k_rope, int64_t begin, int64_t t,
                            int64_t position, double* lse) {
  std::vector<double> p;
  for (int64_t j = begin; j <= position; ++j) {
    double score = 0;
    for (int64_t i = 0; i < head.shape.nope_dim; ++i)
      score += load(q, t, head.q_nope(i)) * load(kv, j, head.k_nope(i));
    for (int64_t i = 0; i < head.shape.rope_dim; ++i)
      score += load(q, t, head.q_rope(i)) * load(k_rope, j, i);
    p.push_back(score * head.shape.scale);
  }
  *lse = softmax(p);
  return p;
}

/// Calls body(head, t's sequence, t) for every head and token.
template <class F>
void for_each_query(const MlaShape& shape, std::span<const int64_t> offsets, F&& body) {
  for (int64_t h = 0; h < shape.heads; ++h)
    for (size_t s = 0; s + 1 < offsets.size(); ++s)
      for (int64_t t = offsets[s]; t < offsets[s + 1]; ++t) body(Head{shape, h}, s, t);
}

}  // namespace

void mla_attention_forward(const MlaShape& shape, ConstTensorView q_TX, ConstTensorView kv_SX,
                           ConstTensorView k_rope_SR, std::span<const int64_t> query_offsets,
                           std::span<const int64_t> key_offsets, TensorView out_TX,
                           TensorView lse_TH) {
  for_each_query(shape, query_offsets, [&](const Head& head, size_t s, int64_t t) {
    const int64_t begin = key_offsets[s], position = t + key_offsets[s + 1] - query_offsets[s + 1];
    double lse = 0;
    const auto p = weights(head, q_TX, kv_SX, k_rope_SR, begin, t, position, &lse);
    store(lse_TH, t, head.h, lse);
    for (int64_t i = 0; i < shape.v_dim; ++i) {
      double o = 0;
      for (int64_t j = begin; j <= position; ++j) o += p[j - begin] * load(kv_SX, j, head.v(i));
      store(out_TX, t, head.out(i), o);
    }
  });
}

void mla_attention_backward(const MlaShape& shape, ConstTensorView q_TX, ConstTensorView kv_TX,
                            ConstTensorView k_rope_TR, std::span<const int64_t> sequence_offsets,
                            ConstTensorView dout_TX, TensorView dq_TX, TensorView dkv_TX,
                            TensorView dk_rope_TR) {
  for (const TensorView& x : {dq_TX, dkv_TX, dk_rope_TR}) clear(x);
  for_each_query(shape, sequence_offsets, [&](const Head& head, size_t s, int64_t t) {
    const int64_t begin = sequence_offsets[s];
    double lse = 0;
    const auto p = weights(head, q_TX, kv_TX, k_rope_TR, begin, t, t, &lse);
    std::vector<double> dp(p.size());
    double mean_dp = 0;  // Σ_j p_j dp_j, what the softmax's backward subtracts
    for (int64_t j = begin; j <= t; ++j) {
      for (int64_t i = 0; i < shape.v_dim; ++i) {
        const double dout = load(dout_TX, t, head.out(i));
        dp[j - begin] += dout * load(kv_TX, j, head.v(i));
        add(dkv_TX, j, head.v(i), p[j - begin] * dout);
      }
      mean_dp += p[j - begin] * dp[j - begin];
    }
    for (int64_t j = begin; j <= t; ++j) {
      const double ds = p[j - begin] * (dp[j - begin] - mean_dp) * shape.scale;
      for (int64_t i = 0; i < shape.nope_dim; ++i) {
        add(dq_TX, t, head.q_nope(i), ds * load(kv_TX, j, head.k_nope(i)));
        add(dkv_TX, j, head.k_nope(i), ds * load(q_TX, t, head.q_nope(i)));
      }
      for (int64_t i = 0; i < shape.rope_dim; ++i) {
        add(dq_TX, t, head.q_rope(i), ds * load(k_rope_TR, j, i));
        add(dk_rope_TR, j, i, ds * load(q_TX, t, head.q_rope(i)));
      }
    }
  });
}

void mla_absorbed_decode(ConstTensorView q_latent_THC, ConstTensorView q_rope_THR,
                         ConstTensorView cache_SX, std::span<const int32_t> position_T, float scale,
                         TensorView out_latent_THC) {
  const int64_t T = q_latent_THC.shape[0], H = q_latent_THC.shape[1], C = q_latent_THC.shape[2];
  const int64_t R = q_rope_THR.shape[2];
  const auto at = [](const ConstTensorView& x, int64_t t, int64_t h, int64_t i) {
    return t * x.stride[0] + h * x.stride[1] + i;
  };
  for (int64_t t = 0; t < T; ++t)
    for (int64_t h = 0; h < H; ++h) {
      std::vector<double> p;
      for (int64_t j = 0; j <= position_T[t]; ++j) {
        double score = 0;
        for (int64_t i = 0; i < C; ++i)
          score += load(q_latent_THC, at(q_latent_THC, t, h, i)) * load(cache_SX, j, i);
        for (int64_t i = 0; i < R; ++i)
          score += load(q_rope_THR, at(q_rope_THR, t, h, i)) * load(cache_SX, j, C + i);
        p.push_back(score * scale);
      }
      softmax(p);
      for (int64_t i = 0; i < C; ++i) {
        double o = 0;
        for (int64_t j = 0; j <= position_T[t]; ++j) o += p[j] * load(cache_SX, j, i);
        store(out_latent_THC, at(out_latent_THC, t, h, i), o);
      }
    }
}

void load_latent_rows(const LatentCacheView& cache, TensorView values_SX) {
  const LatentRowLayout& layout = cache.layout;
  const int64_t C = layout.latent;
  for (int64_t s = 0; s < cache.length; ++s)
    for (int64_t i = 0; i < C + layout.rope; ++i) {
      const std::byte* row = cache.row(s);
      double value = 0;
      if (layout.format == LatentCacheFormat::kF32)
        value = read<float>(row + 4 * i);
      else if (layout.format == LatentCacheFormat::kBF16)
        value = to_float(read<BF16>(row + 2 * i));
      else if (i >= C)
        value = to_float(read<BF16>(row + layout.rope_offset() + 2 * (i - C)));
      else
        value = double{to_float(read<E4M3>(row + i))} *
                read<float>(row + layout.scales_offset() + i / LatentRowLayout::kGroup * 4);
      store(values_SX, s, i, value);
    }
}

}  // namespace fathom::kernels::ref
