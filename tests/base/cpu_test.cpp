#include "base/cpu.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"

namespace fathom {
namespace {

TEST(Cpu, ScalarIsAlwaysAvailableAndTheListAscends) {
  const auto& isas = available_isas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.front(), Isa::kScalar);
  EXPECT_TRUE(std::is_sorted(isas.begin(), isas.end()));
}

TEST(Cpu, NamesRoundTrip) {
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmx})
    EXPECT_EQ(parse_isa(name_of(isa)), isa);
}

TEST(Cpu, UnknownNameNamesTheChoices) {
  try {
    parse_isa("mmx");
    FAIL();
  } catch (const UsageError& e) {
    EXPECT_NE(std::string(e.what()).find("mmx"), std::string::npos);
    EXPECT_NE(e.hint().find("avx512_bf16"), std::string::npos);
  }
}

TEST(Cpu, ActiveIsOneOfTheAvailable) {
  const auto& isas = available_isas();
  EXPECT_NE(std::find(isas.begin(), isas.end(), active_isa()), isas.end());
}

}  // namespace
}  // namespace fathom
