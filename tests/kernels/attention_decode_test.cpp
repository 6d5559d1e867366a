// Absorbed decode against kernels/ref. Tolerances as in attention_test.cpp: the score of a latent
// of C + R dimensions with scale 1/√(C+R), an output that averages cache values of size up to 4.
#include <cstring>

#include "kernels/attention.h"
#include "kernels/kernel_test.h"
#include "kernels/ref/attention.h"

namespace fathom::kernels {
namespace {

struct Problem {
  Problem(int64_t heads, int64_t latent, int64_t rope, int64_t rows, std::vector<int32_t> positions,
          DType dtype)
      : H(heads), C(latent), R(rope), position(std::move(positions)) {
    const auto T = static_cast<int64_t>(position.size());
    scale = 1 / std::sqrt(static_cast<float>(C + R));
    q_latent = random_tensor(DType::kF32, {T, H, C}, 1);
    q = random_tensor(DType::kF32, {T, H, R + 3}, 2);
    cache = random_tensor(dtype, {rows, C + R}, 3);
    out = Tensor(DType::kF32, {T, H, C});
  }

  // A head's roped part is the end of its query, as the projection wrote it.
  TensorView q_rope() const { return q.view().slice(2, 3, R); }

  void run(int threads) {
    TestContext t(threads);
    mla_absorbed_decode(t.ctx, q_latent, q_rope(), cache, position, scale, out);
  }
  /// Token t in a call of its own.
  void run_alone(int64_t t, int threads) {
    TestContext context(threads);
    mla_absorbed_decode(context.ctx, q_latent.view().row_range(t, 1), q_rope().row_range(t, 1),
                        cache, std::span(position).subspan(static_cast<size_t>(t), 1), scale,
                        out.view().row_range(t, 1));
  }
  std::vector<float> result() const {
    return {out.as<float>(), out.as<float>() + out.view().elements()};
  }

  int64_t H, C, R;
  std::vector<int32_t> position;
  float scale;
  Tensor q_latent, q, cache, out;
};

std::vector<int32_t> consecutive(int32_t first, int32_t count) {
  std::vector<int32_t> p;
  for (int32_t i = 0; i < count; ++i) p.push_back(first + i);
  return p;
}

TEST(AbsorbedDecode, MatchesReference) {
  for (DType dtype : {DType::kF32, DType::kBF16}) {
    std::vector<Problem> list;
    list.emplace_back(3, 20, 4, 10, std::vector<int32_t>{0, 9, 4}, dtype);
    list.emplace_back(5, 13, 3, 700, consecutive(509, 5), dtype);
    list.emplace_back(18, 64, 16, 300, consecutive(254, 4), dtype);
    list.emplace_back(16, 512, 64, 600, std::vector<int32_t>{599}, dtype);
    list.emplace_back(2, 32, 8, 300, consecutive(250, 40), dtype);  // a prefill in chunks
    for (Problem& p : list) {
      SCOPED_TRACE(describe(p.q_latent) + " over " + describe(p.cache));
      Tensor expected(DType::kF32, {p.q_latent.view().shape[0], p.H, p.C});
      ref::mla_absorbed_decode(p.q_latent, p.q_rope(), p.cache, p.position, p.scale, expected);
      p.run(2);
      const double u = dtype == DType::kBF16 ? 0x1p-9 : 0x1p-24;
      expect_close(p.out, expected, 16 * u, 16 * 0x1p-24);
    }
  }
}

// What makes speculative decoding exact: verifying drafted tokens gives the bits that decoding them
// one by one would give, and rows that the cache holds beyond them do not matter.
TEST(AbsorbedDecode, BitsDoNotDependOnOtherTokensOrThreads) {
  for (DType dtype : {DType::kF32, DType::kBF16})
    for (int32_t first : {0, 17, 253, 254, 255, 510, 1021}) {
      Problem p(20, 40, 8, 1400, consecutive(first, 4), dtype);
      p.run(1);
      const auto together = p.result();
      for (int threads : {2, 3}) {
        p.run(threads);
        EXPECT_EQ(together, p.result()) << threads << " threads, position " << first;
      }
      for (int64_t t = 0; t < 4; ++t) p.run_alone(t, static_cast<int>(t));
      EXPECT_EQ(together, p.result()) << "alone, position " << first;
    }
}

TEST(AbsorbedDecode, RowsBeyondThePositionAreNotRead) {
  Problem p(4, 24, 8, 300, {100}, DType::kF32);
  p.run(2);
  const auto before = p.result();
  for (int64_t i = 101 * 32; i < 300 * 32; ++i) set_element(p.cache, i, NAN);
  p.run(2);
  EXPECT_EQ(before, p.result());
}

TEST(AbsorbedDecode, NanInTheCacheIsNotHidden) {
  Problem p(4, 24, 8, 600, {250, 290, 599}, DType::kF32);
  set_element(p.cache, 270 * 32 + 5, NAN);
  p.run(2);
  const auto out = p.result();
  const size_t token = 4 * 24;
  for (size_t i = 0; i < token; ++i) EXPECT_FALSE(std::isnan(out[i]));
  for (size_t i = token; i < 3 * token; ++i) EXPECT_TRUE(std::isnan(out[i])) << i;
}

}  // namespace
}  // namespace fathom::kernels
