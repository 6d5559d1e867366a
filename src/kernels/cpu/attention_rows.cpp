#include "kernels/cpu/attention_rows.h"

#include <algorithm>
#include <cmath>
#include <utility>

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

/// body(i, select) for each vector that covers [0, count): select(v, otherwise) keeps v in the
/// lanes below count.
template <class Body>
void for_seen(int64_t count, Body body) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(i, [](VecF v, VecF) { return v; });
  if (i == count) return;
  const VecU seen = lane_numbers() < static_cast<uint32_t>(count - i) + VecU{};
  body(i, [seen](VecF v, VecF otherwise) { return seen ? v : otherwise; });
}

int64_t seen_keys(const ScoreTile& tile, int64_t row) {
  return std::clamp<int64_t>(tile.visible + row * tile.step, 0, tile.keys);
}

template <class T>
T* row_of(MutableRows x, int64_t row) {
  return static_cast<T*>(x.data) + row * x.stride;
}
template <class T>
const T* row_of(Rows x, int64_t row) {
  return static_cast<const T*>(x.data) + row * x.stride;
}

void scale_row(float* x, int64_t n, float factor) {
  for_vectors(n, [&](int64_t i, auto part) { store(x + i, load(x + i, part) * factor, part); });
}

/// Lanes l and l ^ S of a combined and of b combined: the former where bit S of l is clear.
template <int64_t S, class Op, size_t... L>
VecF combine(VecF a, VecF b, Op op, std::index_sequence<L...>) {
  constexpr int64_t n = kLanes;
  return op(__builtin_shufflevector(
                a, b, static_cast<int>(int64_t{L} & S ? n + int64_t{L} - S : int64_t{L})...),
            __builtin_shufflevector(
                a, b, static_cast<int>(int64_t{L} & S ? n + int64_t{L} : int64_t{L} + S)...));
}

/// Lane r of the result is the combination of all lanes of v[r].
template <int64_t S = 1, class Op>
VecF fold_rows(VecF (&v)[kLanes], Op op) {
  for (int64_t i = 0; i < kLanes; i += 2 * S)
    v[i] = combine<S>(v[i], v[i + S], op, std::make_index_sequence<kLanes>());
  if constexpr (2 * S < kLanes) return fold_rows<2 * S>(v, op);
  return v[0];
}

VecF larger(VecF a, VecF b) {
  return a > b ? a : b;  // drops a NaN in a
}

VecF row_maximum(const ScoreTile& tile, int64_t row) {
  const float* score = tile.scores + row * tile.stride;
  VecF top = splat(-kInfinity);
  for_seen(seen_keys(tile, row), [&](int64_t i, auto select) {
    top = larger(select(load(score + i, Full{}), splat(-kInfinity)), top);
  });
  return top;
}

/// Writes a row of weights; the lanes of the result sum to their sum. A NaN score, which the
/// maximum dropped, is NaN again here.
template <class T>
VecF row_weights(const ScoreTile& tile, int64_t row, float highest) {
  const float* score = tile.scores + row * tile.stride;
  T* weight = row_of<T>(tile.weights, row);
  const int64_t seen = seen_keys(tile, row);
  VecF sum = {};
  for_seen(seen, [&](int64_t i, auto select) {
    const VecF w = select(exp_vec(load(score + i, Full{}) * tile.scale - highest), VecF{});
    sum += w;
    store(weight + i, w, Full{});
  });
  for (int64_t i = (seen + kLanes - 1) / kLanes * kLanes; i < tile.keys; i += kLanes)
    store(weight + i, VecF{}, Full{});
  return sum;
}

/// Rows [row, row + count), count at most kLanes: their states are one vector.
template <class T, class Part>
void online_softmax_rows(const ScoreTile& tile, int64_t row, int64_t count, Part part,
                         const SoftmaxState& state) {
  VecF v[kLanes];
  for (int64_t r = 0; r < kLanes; ++r) v[r] = r < count ? row_maximum(tile, row + r) : VecF{};
  const VecF before = load(state.highest + row, part);
  const VecF highest = larger(fold_rows(v, larger) * tile.scale, before);
  // Equal: both may be −inf, when nothing has been seen yet.
  const VecF keep = highest == before ? splat(1) : exp_vec(before - highest);
  store(state.highest + row, highest, part);
  for (int64_t r = 0; r < kLanes; ++r)
    v[r] = r < count ? row_weights<T>(tile, row + r, state.highest[row + r]) : VecF{};
  const VecF sum = fold_rows(v, [](VecF a, VecF b) { return a + b; });
  store(state.sum + row, load(state.sum + row, part) * keep + sum, part);
  for (int64_t r = 0; r < count; ++r)
    if (keep[r] != 1) scale_row(state.acc.row(row + r), state.acc.cols, keep[r]);
}

void online_softmax(const ScoreTile& tile, const SoftmaxState& state) {
  with_type(tile.weights.bf16, [&](auto t) {
    using T = decltype(t);
    int64_t r = 0;
    for (; r + kLanes <= tile.rows; r += kLanes)
      online_softmax_rows<T>(tile, r, kLanes, Full{}, state);
    const int64_t left = tile.rows - r;
    if (left > 0) online_softmax_rows<T>(tile, r, left, Tail{left}, state);
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
    const float keep = exp_vec(splat(a - highest))[0], take = exp_vec(splat(b - highest))[0];
    total.highest[r] = highest;
    total.sum[r] = total.sum[r] * keep + part.sum[r] * take;
    float* to = total.acc.row(r);
    const float* from = part.acc.row(r);
    for_vectors(total.acc.cols, [&](int64_t i, auto p) {
      store(to + i, load(to + i, p) * keep + load(from + i, p) * take, p);
    });
  }
}

/// One key against all queries of a tile; those before `first` do not see it.
template <class T>
void softmax_backward_key(const GradientTile& tile, int64_t key) {
  const float* score = tile.scores_KQ + key * tile.stride;
  const float* dp = tile.dp_KQ + key * tile.stride;
  T* weight = row_of<T>(tile.weights_KQ, key);
  T* ds = row_of<T>(tile.ds_KQ, key);
  const int64_t first = std::clamp<int64_t>(key + 1 - tile.visible, 0, tile.queries);
  int64_t i = 0;
  for (; i + kLanes <= first; i += kLanes) {
    store(weight + i, VecF{}, Full{});
    store(ds + i, VecF{}, Full{});
  }
  const VecU lane = lane_numbers();
  for (; i < tile.queries; i += kLanes) {
    VecF p = exp_vec(load(score + i, Full{}) * tile.scale - load(tile.lse_Q + i, Full{}));
    VecF g = p * (load(dp + i, Full{}) - load(tile.mean_dp_Q + i, Full{})) * tile.scale;
    if (i < first) {
      const auto seen = lane + static_cast<uint32_t>(i) >= static_cast<uint32_t>(first) + VecU{};
      p = seen ? p : VecF{};
      g = seen ? g : VecF{};
    }
    store(weight + i, p, Full{});
    store(ds + i, g, Full{});
  }
}

void softmax_backward(const GradientTile& tile) {
  with_type(tile.weights_KQ.bf16, [&](auto t) {
    for (int64_t j = 0; j < tile.keys; ++j) softmax_backward_key<decltype(t)>(tile, j);
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
