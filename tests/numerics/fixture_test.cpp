#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "numerics/bf16.h"
#include "numerics/e4m3.h"
#include "numerics/e5m2.h"
#include "numerics/ue8m0.h"

// Against PyTorch and ml_dtypes: tests/oracle/make_numerics_fixtures.py says what was hashed.

namespace fathom {
namespace {

std::string fnv1a(const void* data, size_t bytes) {
  uint64_t h = 0xcbf29ce484222325u;
  for (size_t i = 0; i < bytes; ++i)
    h = (h ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001b3u;
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(h));
  return text;
}

std::map<std::string, std::string> fixture() {
  std::ifstream file(FATHOM_SOURCE_DIR "/tests/fixtures/numerics/float8.txt");
  std::map<std::string, std::string> hashes;
  for (std::string what, kind, hash; file >> what >> kind >> hash;)
    hashes[what + " " + kind] = hash;
  EXPECT_EQ(hashes.size(), 12u);
  return hashes;
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

std::vector<float> inputs(const std::string& kind) {
  std::vector<float> x;
  for (uint32_t i = 0; i < (kind == "f32" ? 1u << 20 : 1u << 16); ++i)
    x.push_back(kind == "bf16"  ? to_float(BF16{static_cast<uint16_t>(i)})
                : kind == "f16" ? half_to_float(i)
                                : std::bit_cast<float>(i * 2654435761u));
  return x;
}

template <class T>
std::string hash_of_codes(const std::vector<float>& x, T (*encode)(float)) {
  std::vector<uint8_t> codes;
  for (const float v : x) codes.push_back(std::isnan(to_float(encode(v))) ? 0x7f : encode(v).bits);
  return fnv1a(codes.data(), codes.size());
}

template <class T>
std::string hash_of_values() {
  std::vector<float> values;
  for (uint32_t i = 0; i < 256; ++i) {
    const float v = to_float(T{static_cast<uint8_t>(i)});
    values.push_back(std::isnan(v) ? std::bit_cast<float>(0x7fc00000u) : v);
  }
  return fnv1a(values.data(), values.size() * sizeof(float));
}

TEST(NumericsFixture, CodesAreThoseOfPyTorchAndMlDtypes) {
  auto hashes = fixture();
  for (const std::string kind : {"bf16", "f16", "f32"}) {
    const std::vector<float> x = inputs(kind);
    EXPECT_EQ(hash_of_codes(x, to_e4m3), hashes["e4m3 " + kind]);
    EXPECT_EQ(hash_of_codes(x, to_e4m3_or_nan), hashes["e4m3_or_nan " + kind]);
    EXPECT_EQ(hash_of_codes(x, to_e5m2_or_inf), hashes["e5m2_or_inf " + kind]);
  }
}

TEST(NumericsFixture, ValuesAreThoseOfPyTorchAndMlDtypes) {
  auto hashes = fixture();
  EXPECT_EQ(hash_of_values<E4M3>(), hashes["e4m3 values"]);
  EXPECT_EQ(hash_of_values<E5M2>(), hashes["e5m2 values"]);
  EXPECT_EQ(hash_of_values<UE8M0>(), hashes["ue8m0 values"]);
}

}  // namespace
}  // namespace fathom
