#include "kernels/cpu/attention_rows.h"

#include <cmath>

#include "kernels/cpu/vec_exp.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

static_assert(kScoreAlignment % kLanes == 0);
constexpr float kInfinity = __builtin_inff();

VecU lane_numbers() {
  VecU v;
  for (uint32_t l = 0; l < kLanes; ++l) v[l] = l;
  return v;
}

/// body(i, seen) for each vector that covers [0, count): a predicate of its lanes below count.
template <class Body>
void for_seen(int64_t count, Body body) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(i, [](VecF v, VecF) { return v; });
  if (i == count) return;
  const VecU seen = lane_numbers() < static_cast<uint32_t>(count - i) + VecU{};
  body(i, [seen](VecF v, VecF otherwise) { return seen ? v : otherwise; });
}

int64_t seen_keys(const ScoreTile& tile, int64_t row) {
  const int64_t n = tile.visible + row * tile.step;
  return n < tile.keys ? n : tile.keys;
}

template <class T>
T* row_of(MutableRows x, int64_t row) {
  return static_cast<T*>(x.data) + row * x.stride;
}
template <class T>
const T* row_of(Rows x, int64_t row) {
  return static_cast<const T*>(x.data) + row * x.stride;
}

/// Zeroes whole vectors from the one after that which holds the last seen key.
template <class T>
void clear_unseen(T* row, int64_t seen, int64_t keys) {
  for (int64_t i = (seen + kLanes - 1) / kLanes * kLanes; i < keys; i += kLanes)
    store(row + i, VecF{}, Full{});
}

float exp_scalar(float x) {
  return exp_vec(splat(x))[0];
}

void scale_row(float* x, int64_t n, float factor) {
  for_vectors(n, [&](int64_t i, auto part) { store(x + i, load(x + i, part) * factor, part); });
}

template <class T>
void online_softmax_row(const ScoreTile& tile, int64_t row, const SoftmaxState& state) {
  const float* score = tile.scores + row * tile.stride;
  T* weight = row_of<T>(tile.weights, row);
  const int64_t seen = seen_keys(tile, row);
  VecF top = splat(-kInfinity);
  for_seen(seen, [&](int64_t i, auto select) {
    const VecF s = select(load(score + i, Full{}), splat(-kInfinity));
    top = s > top ? s : top;  // drops NaN, which the weights below bring back
  });
  const float before = state.highest[row], tile_top = reduce_max(top) * tile.scale;
  const float highest = tile_top > before ? tile_top : before;
  VecF sum = {};
  for_seen(seen, [&](int64_t i, auto select) {
    const VecF w = select(exp_vec(load(score + i, Full{}) * tile.scale - highest), VecF{});
    sum += w;
    store(weight + i, w, Full{});
  });
  clear_unseen(weight, seen, tile.keys);
  state.highest[row] = highest;
  if (highest == before) {
    state.sum[row] += reduce_add(sum);
    return;
  }
  const float keep = exp_scalar(before - highest);
  state.sum[row] = state.sum[row] * keep + reduce_add(sum);
  scale_row(state.acc.row(row), state.acc.cols, keep);
}

void online_softmax(const ScoreTile& tile, const SoftmaxState& state) {
  with_type(tile.weights.bf16, [&](auto t) {
    for (int64_t r = 0; r < tile.rows; ++r) online_softmax_row<decltype(t)>(tile, r, state);
  });
}

void finish(const SoftmaxState& state, MutableRows out, float* lse, int64_t lse_stride) {
  with_type(out.bf16, [&](auto t) {
    for (int64_t r = 0; r < state.acc.rows; ++r) {
      const float inverse = 1 / state.sum[r];
      const float* acc = state.acc.row(r);
      auto* y = row_of<decltype(t)>(out, r);
      for_vectors(state.acc.cols,
                  [&](int64_t i, auto part) { store(y + i, load(acc + i, part) * inverse, part); });
      if (lse) lse[r * lse_stride] = state.highest[r] + std::log(state.sum[r]);
    }
  });
}

void merge(const SoftmaxState& total, const SoftmaxState& part) {
  for (int64_t r = 0; r < total.acc.rows; ++r) {
    const float a = total.highest[r], b = part.highest[r], highest = a > b ? a : b;
    const float keep = exp_scalar(a - highest), take = exp_scalar(b - highest);
    total.highest[r] = highest;
    total.sum[r] = total.sum[r] * keep + part.sum[r] * take;
    float* to = total.acc.row(r);
    const float* from = part.acc.row(r);
    for_vectors(total.acc.cols, [&](int64_t i, auto p) {
      store(to + i, load(to + i, p) * keep + load(from + i, p) * take, p);
    });
  }
}

template <class T>
void softmax_backward_row(const ScoreTile& tile, int64_t row, float lse, float mean_dp,
                          const float* dp, T* ds) {
  const float* score = tile.scores + row * tile.stride;
  T* weight = row_of<T>(tile.weights, row);
  const int64_t seen = seen_keys(tile, row);
  for_seen(seen, [&](int64_t i, auto select) {
    const VecF p = select(exp_vec(load(score + i, Full{}) * tile.scale - lse), VecF{});
    const VecF g = select(p * (load(dp + i, Full{}) - mean_dp) * tile.scale, VecF{});
    store(weight + i, p, Full{});
    store(ds + i, g, Full{});
  });
  clear_unseen(weight, seen, tile.keys);
  clear_unseen(ds, seen, tile.keys);
}

void softmax_backward(const ScoreTile& tile, const float* lse, const float* mean_dp,
                      const float* dp, MutableRows ds) {
  with_type(ds.bf16, [&](auto t) {
    using T = decltype(t);
    for (int64_t r = 0; r < tile.rows; ++r)
      softmax_backward_row(tile, r, lse[r], mean_dp[r], dp + r * tile.stride, row_of<T>(ds, r));
  });
}

void dot(Rows a, Rows b, int64_t rows, int64_t cols, float* dot) {
  with_type(a.bf16, [&](auto ta) {
    with_type(b.bf16, [&](auto tb) {
      for (int64_t r = 0; r < rows; ++r) {
        const auto* x = row_of<decltype(ta)>(a, r);
        const auto* y = row_of<decltype(tb)>(b, r);
        dot[r] = sum_vectors(
            cols, [&](int64_t i, auto part) { return load(x + i, part) * load(y + i, part); });
      }
    });
  });
}

}  // namespace

const AttentionRows kAttentionRows = {online_softmax, finish, merge, softmax_backward, dot};

}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
