#include "kernels/embedding.h"

#include "ops_test.h"

namespace fathom {
namespace {

using namespace kernels;

std::vector<int32_t> random_tokens(int64_t t, int64_t vocab, uint64_t seed) {
  std::vector<int32_t> token;
  for (int64_t i = 0; i < t; ++i)
    token.push_back(static_cast<int32_t>(Philox(seed).below(i, vocab)));
  return token;
}

TEST(Embedding, ForwardCopiesRows) {
  TestContext tc;
  for (const int64_t d : {1, 7, 64, 333})
    for (const DType tw : kFloatTypes)
      for (const DType ty : kFloatTypes) {
        const int64_t t = 9, vocab = 5;
        const Padded w(tw, vocab, d, 4, 1), out(ty, t, d, 2, 2);
        const auto token = random_tokens(t, vocab, 3);
        embedding_forward(tc.ctx, w.view, token, out.view);
        const Values table = values(w.view);
        Values expected;
        for (const int32_t v : token)
          expected.insert(expected.end(), &table[v * d], &table[v * d] + d);
        expect_values(out.view, expected, 0, ty == tw ? 0 : rounding_of(ty));
      }
}

// Sums of up to T terms, in the same order as here: equal to the last bit.
TEST(Embedding, BackwardAddsInTokenOrder) {
  for (const int threads : {1, 2, 3}) {
    TestContext tc(threads);
    for (const int64_t d : {1, 33, 500})
      for (const DType type : kFloatTypes) {
        const int64_t t = 200, vocab = 6;
        const Padded dout(type, t, d, 6, 1), dw(DType::kF32, vocab, d, 10, 2);
        const auto token = random_tokens(t, vocab, 3);
        std::vector<float> expected;
        for (const double v : values(dw.view)) expected.push_back(static_cast<float>(v));
        const Values g = values(dout.view);
        for (int64_t i = 0; i < t; ++i)
          for (int64_t c = 0; c < d; ++c)
            expected[token[i] * d + c] += static_cast<float>(g[i * d + c]);
        embedding_backward(tc.ctx, dout.view, token, dw.view);
        expect_values(dw.view, Values(expected.begin(), expected.end()), 0, 0);
      }
  }
}

}  // namespace
}  // namespace fathom
