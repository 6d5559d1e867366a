#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "numerics/f16.h"
#include "numerics/gguf_blocks.h"
#include "numerics/group_int.h"

// Against the gguf package and numpy: tests/oracle/make_weight_fixtures.py says what was hashed.

namespace fathom {
namespace {

constexpr int kBlocks = 64;

template <class T>
std::string fnv1a(const std::vector<T>& data) {
  uint64_t h = 0xcbf29ce484222325u;
  const auto* bytes = reinterpret_cast<const uint8_t*>(data.data());
  for (size_t i = 0; i < data.size() * sizeof(T); ++i) h = (h ^ bytes[i]) * 0x100000001b3u;
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(h));
  return text;
}

std::map<std::string, std::string> fixture() {
  std::ifstream file(FATHOM_SOURCE_DIR "/tests/fixtures/numerics/weights.txt");
  std::map<std::string, std::string> hashes;
  for (std::string what, kind, hash; file >> what >> kind >> hash;)
    hashes[what + " " + kind] = hash;
  EXPECT_EQ(hashes.size(), 11u);
  return hashes;
}

uint32_t scattered(uint32_t i) {
  return i * 2654435761u;
}
float value(uint32_t i) {
  return static_cast<float>(scattered(i) >> 9) * 0x1p-22f - 1;
}

std::vector<uint8_t> blocks(StorageFormat format) {
  const auto size = static_cast<size_t>(info_of(format).block_bytes);
  std::vector<uint8_t> data(kBlocks * size);
  for (size_t i = 0; i < data.size(); ++i)
    data[i] = static_cast<uint8_t>(scattered(static_cast<uint32_t>(i)) >> 24);
  for (size_t at = 0; at < data.size(); at += size) {
    data[at + (format == StorageFormat::kQ6_K ? 209 : 1)] &= 0xbf;
    if (format == StorageFormat::kQ4_K || format == StorageFormat::kQ5_K) data[at + 3] &= 0xbf;
  }
  return data;
}

TEST(WeightFormats, GgufBlocksAreThoseOfTheGgufPackage) {
  auto hashes = fixture();
  for (const StorageFormat format :
       {StorageFormat::kQ8_0, StorageFormat::kQ4_0, StorageFormat::kQ4_K, StorageFormat::kQ5_K,
        StorageFormat::kQ6_K}) {
    const FormatInfo info = info_of(format);
    const std::vector<uint8_t> data = blocks(format);
    std::vector<float> x(static_cast<size_t>(kBlocks * info.block));
    for (int64_t b = 0; b < kBlocks; ++b)
      gguf::decode_block(format, data.data() + b * info.block_bytes, x.data() + b * info.block);
    EXPECT_EQ(fnv1a(x), hashes[std::string(info.name) + " decoded"]) << info.name;
  }
}

TEST(WeightFormats, GgufEncodersAreThoseOfTheGgufPackage) {
  auto hashes = fixture();
  std::vector<float> x(kBlocks * 32);
  for (size_t i = 0; i < x.size(); ++i) x[i] = value(static_cast<uint32_t>(i));
  std::vector<uint8_t> q8(kBlocks * 34), q4(kBlocks * 18);
  for (size_t b = 0; b < kBlocks; ++b) {
    gguf::encode_q8_0(x.data() + 32 * b, q8.data() + 34 * b);
    gguf::encode_q4_0(x.data() + 32 * b, q4.data() + 18 * b);
  }
  EXPECT_EQ(fnv1a(q8), hashes["Q8_0 encoded"]);
  EXPECT_EQ(fnv1a(q4), hashes["Q4_0 encoded"]);
}

TEST(WeightFormats, PackedIntegersAreThoseOfNumpy) {
  auto hashes = fixture();
  constexpr int64_t kRows = 16, kCols = 256, kGroup = 64, kGroups = kCols / kGroup;
  for (const int bits : {4, 8})
    for (const bool zeros : {false, true}) {
      const int64_t a_word = 32 / bits, zero_words = kRows / a_word * kGroups;
      std::vector<float> x;
      for (int64_t r = 0; r < kRows; ++r)
        for (int64_t c = 0; c < kCols; ++c) {
          const int64_t group = c / kGroup, zero_at = r / a_word * kGroups + group;
          const auto word = scattered(static_cast<uint32_t>((r * kCols + c) / a_word));
          const auto zero_word = scattered(static_cast<uint32_t>(zero_words - 1 - zero_at));
          const IntGroup g{value(static_cast<uint32_t>(r * kGroups + group)),
                           zeros ? packed_int(zero_word, bits, r) : 0};
          x.push_back(decode_int(g, packed_int(word, bits, c)));
        }
      const std::string kind = zeros ? " asymmetric" : " symmetric";
      EXPECT_EQ(fnv1a(x), hashes["INT" + std::to_string(bits) + kind]);
    }
}

/// A binary16 as float, from the definition.
float half_to_float(uint32_t h) {
  const float sign = h >> 15 ? -1.0f : 1.0f;
  const uint32_t exponent = (h >> 10) & 31;
  const auto mantissa = static_cast<float>(h & 1023);
  if (exponent == 31) return h & 1023 ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(mantissa + 1024, static_cast<int>(exponent) - 25);
}

TEST(WeightFormats, HalvesAreExactAndComeBack) {
  for (uint32_t bits = 0; bits < 1u << 16; ++bits) {
    const float x = to_float(F16{static_cast<uint16_t>(bits)});
    const float expected = half_to_float(bits);
    ASSERT_EQ(std::isnan(x), std::isnan(expected)) << bits;
    if (std::isnan(x)) continue;
    ASSERT_EQ(std::bit_cast<uint32_t>(x), std::bit_cast<uint32_t>(expected)) << bits;
    ASSERT_EQ(to_f16(x).bits, bits);
  }
}

TEST(WeightFormats, HalvesRoundToNearestEven) {
  EXPECT_EQ(to_float(to_f16(1 + 0x1p-11f)), 1.0f);
  EXPECT_EQ(to_float(to_f16(1 + 0x3p-11f)), 1 + 0x1p-9f);
  EXPECT_EQ(to_float(to_f16(65519.0f)), 65504.0f);
  EXPECT_EQ(to_float(to_f16(65520.0f)), std::numeric_limits<float>::infinity());
  EXPECT_EQ(to_float(to_f16(0x1p-25f)), 0.0f);
  EXPECT_EQ(to_float(to_f16(-0x3p-26f)), -0x1p-24f);
  EXPECT_TRUE(std::isnan(to_float(to_f16(NAN))));
}

// The extremes of a group are codes at the ends of the range, as compressed-tensors has it.
TEST(WeightFormats, ScalesSpanTheRangeOfAGroup) {
  const std::vector<float> x = {-3, 0.5f, 6};
  const IntGroup symmetric = int_group_of(x, 4, true), shifted = int_group_of(x, 4, false);
  EXPECT_EQ(symmetric.scale, 6 / 7.5f);
  EXPECT_EQ(symmetric.zero, 0);
  EXPECT_EQ(encode_int(symmetric, 4, 6), 7);
  EXPECT_EQ(encode_int(symmetric, 4, -6), -8);
  EXPECT_EQ(shifted.scale, 9 / 15.0f);
  EXPECT_EQ(shifted.zero, -3);
  EXPECT_EQ(encode_int(shifted, 4, -3), -8);
  EXPECT_EQ(encode_int(shifted, 4, 6), 7);
  EXPECT_EQ(decode_int(shifted, shifted.zero), 0.0f);
}

TEST(WeightFormats, WordsOfAwqHoldEvenColumnsFirst) {
  uint32_t word = 0;
  for (uint32_t nibble = 0; nibble < 8; ++nibble)
    word |= static_cast<uint32_t>(kAwqOrder[nibble]) << (4 * nibble);
  for (int64_t i = 0; i < 8; ++i) EXPECT_EQ(awq_int(word, i), static_cast<int>(i) - 8);
}

}  // namespace
}  // namespace fathom
