#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace fathom {

/// Philox4x32-10 (Salmon et al., SC'11): counter-based random numbers. The same (seed, stream,
/// index) gives the same four words on any machine, in any order, from any thread.
class Philox {
 public:
  explicit Philox(uint64_t seed, uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  std::array<uint32_t, 4> block(uint64_t index) const {
    std::array<uint32_t, 4> c = {lo(index), hi(index), lo(stream_), hi(stream_)};
    uint32_t k0 = lo(seed_), k1 = hi(seed_);
    for (int round = 0; round < 10; ++round) {
      const uint64_t p0 = uint64_t{0xD2511F53} * c[0], p1 = uint64_t{0xCD9E8D57} * c[2];
      c = {hi(p1) ^ c[1] ^ k0, lo(p1), hi(p0) ^ c[3] ^ k1, lo(p0)};
      k0 += 0x9E3779B9;
      k1 += 0xBB67AE85;
    }
    return c;
  }

  /// Uniform in [0, 1) with 24 bits.
  float uniform(uint64_t index) const { return to_unit(block(index)[0]); }

  /// Uniform integer in [0, n), n > 0. (64-bit multiply; the bias is below n / 2^64.)
  uint64_t below(uint64_t index, uint64_t n) const {
    const auto b = block(index);
    const uint64_t word = (uint64_t{b[0]} << 32) | b[1];
    return static_cast<uint64_t>((static_cast<unsigned __int128>(word) * n) >> 64);
  }

  /// Standard normal (Box-Muller); two independent values an index.
  std::array<float, 2> normal2(uint64_t index) const {
    const auto b = block(index);
    const double u = (b[0] + 1.0) * 0x1p-32;  // in (0, 1]
    const double r = std::sqrt(-2.0 * std::log(u)), a = 6.283185307179586 * (b[1] * 0x1p-32);
    return {static_cast<float>(r * std::cos(a)), static_cast<float>(r * std::sin(a))};
  }

 private:
  static uint32_t lo(uint64_t x) { return static_cast<uint32_t>(x); }
  static uint32_t hi(uint64_t x) { return static_cast<uint32_t>(x >> 32); }
  static float to_unit(uint32_t w) { return static_cast<float>(w >> 8) * 0x1p-24f; }

  uint64_t seed_, stream_;
};

}  // namespace fathom
