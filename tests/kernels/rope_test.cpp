#include "kernels/rope.h"

#include "ops_test.h"

namespace fathom {
namespace {

using namespace kernels;

struct Tables {
  Tables(int64_t positions, int64_t pairs)
      : cos(DType::kF32, {positions, pairs}), sin(DType::kF32, {positions, pairs}) {
    for (int64_t p = 0; p < positions; ++p)
      for (int64_t i = 0; i < pairs; ++i) {
        const double angle = static_cast<double>(p) * std::pow(10000.0, -double(i) / double(pairs));
        cos.as<float>()[p * pairs + i] = static_cast<float>(std::cos(angle));
        sin.as<float>()[p * pairs + i] = static_cast<float>(std::sin(angle));
      }
  }
  Tensor cos, sin;
};

/// [T, H, R]: the last R of each head's `head_width` columns, as in q; the rest must not change.
TensorView roped_part(const Tensor& q, int64_t heads, int64_t head_width, int64_t r) {
  TensorView v = q.view().reshape({q.view().rows(), heads, head_width});
  return v.col_range(head_width - r, r);
}

// a·cos − b·sin: two products and a sum of terms at most √2·|x| large, then the store.
TEST(Rope, MatchesDefinition) {
  TestContext tc;
  for (const int64_t r : {2, 6, 10, 32, 64, 70})
    for (const DType type : kFloatTypes)
      for (const bool inverse : {false, true}) {
        const int64_t t = 5, heads = 3, width = r + 9;
        const std::vector<int32_t> position = {0, 7, 3, 3, 15};
        const Tables tables(16, r / 2);
        const Tensor q = random_tensor(type, {t, heads * width}, 1);
        const Tensor original = random_tensor(type, {t, heads * width}, 1);
        const TensorView x = roped_part(q, heads, width, r);
        const Values before = values(x);
        rope(tc.ctx, x, position, tables.cos, tables.sin, inverse);
        expect_values(
            x, ref::rope(before, position, values(tables.cos), values(tables.sin), r / 2, inverse),
            3 * kRoundF32 * max_abs(before), rounding_of(type));
        for (int64_t i = 0; i < q.view().elements(); ++i)
          if (i % width < width - r) {
            ASSERT_EQ(element(q, i), element(original, i));
          }
      }
}

TEST(Rope, InverseUndoes) {
  TestContext tc;
  const Tables tables(100, 32);
  const std::vector<int32_t> position = {99, 50, 1};
  const Tensor x = random_tensor(DType::kF32, {3, 4, 64}, 1);
  const Values before = values(x);
  rope(tc.ctx, x, position, tables.cos, tables.sin, false);
  rope(tc.ctx, x, position, tables.cos, tables.sin, true);
  // cos² + sin² of the rounded table is within 2 roundings of 1, each rotation adds 3.
  expect_values(x, before, 10 * kRoundF32 * max_abs(before), 0);
}

TEST(Rope, SameBitsForAnyTeam) {
  const int64_t t = 300, r = 64;
  const Tables tables(t, r / 2);
  std::vector<int32_t> position;
  for (int32_t i = 0; i < t; ++i) position.push_back(i);
  expect_same_for_threads([&](Context& ctx) {
    const Tensor x = random_tensor(DType::kF32, {t, 2, r}, 1);
    rope(ctx, x, position, tables.cos, tables.sin, false);
    return bits(x);
  });
}

// The rotation is orthogonal: its transpose, the backward, is the inverse rotation.
TEST(Rope, DefinitionAgreesWithFiniteDifferences) {
  const Tables tables(4, 3);
  const std::vector<int32_t> position = {3, 1};
  const Values cos = values(tables.cos), sin = values(tables.sin);
  const Values x = random_values(12, 1), dy = random_values(12, 2);
  expect_gradient(x, ref::rope(dy, position, cos, sin, 3, true), [&](const Values& v) {
    return dot(ref::rope(v, position, cos, sin, 3, false), dy);
  });
}

}  // namespace
}  // namespace fathom
