#pragma once

// Sources of panels in E4M3 with scales. Whole vectors under one scale are decoded by what was made
// of that scale once; vectors across scales, and the ends of rows, by a vector of scales. For files
// compiled once per instruction set.

#include <optional>
#include <utility>

#include "kernels/cpu/gemm_source.h"
#include "kernels/cpu/vec_e4m3.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

/// Codes, one for each element of a vector of words, to these words, under one scale.
template <class Word>
struct ScaledDecoder {
  using Codes = VecQ;
  VecF factor;
  explicit ScaledDecoder(float scale) : factor(decode_factor(scale)) {}
  VecU operator()(Codes codes) const {
    return bit_cast_vec<VecU>(Word::round(decode_e4m3(codes, factor)));
  }
};
template <>
struct ScaledDecoder<WordPair> {
  using Codes = HalfB;
  E4M3ToBF16 table;
  explicit ScaledDecoder(float scale) : table(e4m3_to_bf16(scale)) {}
  VecU operator()(Codes codes) const { return bit_cast_vec<VecU>(decode_words(codes, table)); }
};

/// a0 b0 a1 b1 …
template <size_t... L>
inline HalfB interleave(VecQ a, VecQ b, std::index_sequence<L...>) {
  return __builtin_shufflevector(a, b, static_cast<int>(L % 2 ? kLanes + L / 2 : L / 2)...);
}

template <class Word>
class ScaledSource {
 public:
  static constexpr int64_t kSegment = kLanes * Word::kElements;
  int64_t count = 0;  ///< as PanelSource's
  int64_t k = 0;

  void seek(const GemmOperand& x, GemmRange outer, GemmRange k_range) {
    x_ = x;
    count = outer.count;
    k = k_range.count;
    outer_ = outer.begin;
    k_ = k_range.begin;
  }

  VecU row(int64_t x, int64_t k0) {
    const int64_t r = outer_ + x, c = k_ + k0, left = k - k0;
    if (left >= kSegment && one_scale(c, kSegment))
      return decoder(*x_.scale_at(r, c))(load_bits<Codes>(codes(r, c), Full{}));
    if constexpr (Word::kElements == 1) {
      return bit_cast_vec<VecU>(Word::round(values(r, c, left)));
    } else {
      return round_pairs(values(r, c, left), values(r, c + kLanes, left - kLanes));
    }
  }

  VecU column(int64_t x, int64_t k0, int64_t w) {
    const int64_t r = k_ + k0 + w * Word::kElements, c = outer_ + x;
    const int64_t left = k_ + k - r, across = count - x;  // elements of K, of the other dimension
    if (left <= 0 || across <= 0) return VecU{};
    const bool whole = across >= kLanes && left >= Word::kElements && one_scale(c, kLanes);
    if constexpr (Word::kElements == 1) {
      if (whole) return decoder(*x_.scale_at(r, c))(load_bits<Codes>(codes(r, c), Full{}));
      return bit_cast_vec<VecU>(Word::round(values(r, c, across)));
    } else {
      if (whole && x_.scale_at(r, c) == x_.scale_at(r + 1, c))
        return decoder(*x_.scale_at(r, c))(interleave(
            load_bits<VecQ>(codes(r, c), Full{}), load_bits<VecQ>(codes(r + 1, c), Full{}),
            std::make_index_sequence<static_cast<size_t>(kSegment)>()));
      VecU out = extend(narrow(values(r, c, across)));
      if (left > 1) out |= extend(narrow(values(r + 1, c, across))) << 16;
      return out;
    }
  }

 private:
  using Codes = typename ScaledDecoder<Word>::Codes;

  const E4M3* codes(int64_t r, int64_t c) const {
    return static_cast<const E4M3*>(x_.data) + r * x_.stride + c;
  }
  bool one_scale(int64_t c, int64_t n) const {
    return x_.tile.cols != 1 && c / 128 == (c + n - 1) / 128;
  }
  const ScaledDecoder<Word>& decoder(float scale) {
    if (!decoder_ || scale != scale_) decoder_.emplace(scale_ = scale);
    return *decoder_;
  }
  /// Elements (r, c), (r, c + 1), … of which n exist; zero for the rest, whatever the scales.
  VecF values(int64_t r, int64_t c, int64_t n) const {
    VecF v = {};
    with_part(n, [&](auto part) {
      v = decode_e4m3(load_bits<VecQ>(codes(r, c), part), scales(r, c, part) * decode_factor(1));
    });
    return v;
  }
  VecF scales(int64_t r, int64_t c, Full) const {
    return x_.tile.cols == 1 ? load(x_.scale_at(r, c), Full{}) : scales(r, c, Tail{kLanes});
  }
  VecF scales(int64_t r, int64_t c, Tail part) const {
    if (x_.tile.cols == 1) return load(x_.scale_at(r, c), part);
    float lane[kLanes] = {};
    for (int64_t l = 0; l < part.count; ++l) lane[l] = *x_.scale_at(r, c + l);
    return load(lane, Full{});
  }

  GemmOperand x_;
  int64_t outer_ = 0, k_ = 0;
  float scale_ = 0;
  std::optional<ScaledDecoder<Word>> decoder_;
};

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
