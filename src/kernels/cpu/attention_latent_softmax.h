#pragma once

// The online softmax of absorbed decode: a lane is a (token, head) pair, keys follow each other
// down the rows. For files compiled once per instruction set.

#include <algorithm>

#include "kernels/cpu/attention_latent.h"
#include "kernels/cpu/attention_latent_unit.h"
#include "kernels/cpu/vec_exp.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

/// Arrays of a tile in its space, rows of whole panels.
struct LatentSpace {
  int64_t stride;      ///< of all: pairs, padded
  float* scores_KP;    ///< [keys][pairs]
  std::byte* weights;  ///< words: [keys / kElements][pairs]
};

/// One panel of pairs and how much each lane sees.
struct LatentPanel {
  const float* scores;
  int64_t stride;
  VecU visible;
  int64_t least, most;  ///< of `visible`
};

inline LatentPanel panel_of(const LatentTile& t, const LatentSpace& s, int64_t pair) {
  const int32_t* visible = t.visible + pair;
  const auto [least, most] = std::minmax_element(visible, visible + kLanes);
  return {s.scores_KP + pair, s.stride, load_bits<VecU>(visible, Full{}), *least, *most};
}

/// body(key, seen) for every key that any lane sees; seen(v, otherwise) keeps v in lanes that do.
template <class Body>
inline void for_keys(const LatentPanel& p, int64_t begin, int64_t end, Body body) {
  const int64_t whole = std::clamp(p.least, begin, end);
  for (int64_t k = begin; k < whole; ++k) body(k, [](VecF v, VecF) { return v; });
  for (int64_t k = whole; k < end; ++k) {
    const VecU seen = static_cast<uint32_t>(k) + VecU{} < p.visible;
    body(k, [seen](VecF v, VecF otherwise) { return seen ? v : otherwise; });
  }
}

inline VecF larger_lane(VecF a, VecF b) {
  return a > b ? a : b;  // drops a NaN in a
}

inline VecF highest_score(const LatentPanel& p) {
  VecF top = splat(-__builtin_inff());
  for_keys(p, 0, p.most, [&](int64_t k, auto seen) {
    top = larger_lane(seen(load(p.scores + k * p.stride, Full{}), splat(-__builtin_inff())), top);
  });
  return top;
}

/// Writes the weights of a panel as words and returns their sums, each taken in four interleaved
/// parts. A NaN score, which the maximum dropped, is NaN again here.
template <class Unit>
VecF write_weights(const LatentPanel& p, float scale, VecF highest, std::byte* words,
                   int64_t word_bytes) {
  constexpr int64_t kStep = 4;
  VecF sum[kStep] = {};
  for (int64_t k = 0; k < p.most; k += kStep) {
    VecF w[kStep] = {};
    for_keys(p, k, std::min(k + kStep, p.most), [&](int64_t at, auto seen) {
      const VecF s = load(p.scores + at * p.stride, Full{});
      w[at - k] = seen(exp_vec(s * scale - highest), VecF{});
      sum[at - k] += w[at - k];
    });
    for (int64_t i = 0; i < kStep; i += Unit::kElements, words += word_bytes) {
      if constexpr (Unit::kElements == 2) {
        const VecU pair = pair_words(w[i], w[i + 1]);
        __builtin_memcpy(words, &pair, sizeof pair);
      } else {
        store(reinterpret_cast<float*>(words), Unit::round(w[i]), Full{});
      }
    }
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

inline void scale_accumulator(float* acc, int64_t count, float factor) {
  for_vectors(count,
              [&](int64_t i, auto part) { store(acc + i, load(acc + i, part) * factor, part); });
}

/// The softmax of the panel that starts at `pair`: weights relative to the new maximum, and the
/// state rescaled to it.
template <class Unit>
void softmax_panel(const LatentTile& t, const LatentSpace& s, int64_t pair) {
  const LatentPanel p = panel_of(t, s, pair);
  float *highest = t.state.highest + pair, *sum = t.state.sum + pair;
  const VecF before = t.first ? splat(-__builtin_inff()) : load(highest, Full{});
  const VecF top = larger_lane(highest_score(p) * t.scale, before);
  // Equal: both may be −inf, when nothing has been seen yet.
  const VecF keep = top == before ? splat(1) : exp_vec(before - top);
  const VecF added = write_weights<Unit>(p, t.scale, top, s.weights + pair * 4, s.stride * 4);
  store(highest, top, Full{});
  store(sum, (t.first ? VecF{} : load(sum, Full{}) * keep) + added, Full{});
  if (t.first) return;
  for (int64_t l = 0; l < std::min(kLanes, t.pairs - pair); ++l)
    if (keep[l] != 1) scale_accumulator(t.state.acc.row(pair + l), t.state.acc.cols, keep[l]);
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
