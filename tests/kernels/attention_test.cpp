// Attention forward and backward against kernels/ref.
//
// Tolerances. u is the unit roundoff of what the products see (2^-24, or 2^-9 for BF16). Inputs are
// N(0,1) and scale = 1/√D. Rounding q and k moves a scaled score by about u·N(0, 2): a softmax
// weight by a relative 5u at most in these few thousand samples; rounding the weight and v adds 2u;
// an output averages values of size up to 4 with errors of random sign: 16u covers it. FP32
// accumulation of D products, partial sums up to about √D, errs by √D·√D/2·2^-24, scaled by 1/√D:
// 2√D·2^-24 covers four deviations. A gradient sums up to T products of three factors of size about
// 1, so that its error scales with its own largest element: twice the forward's, of that.
#include <cstring>

#include "kernels/attention.h"
#include "kernels/kernel_test.h"
#include "kernels/ref/attention.h"

namespace fathom::kernels {
namespace {

struct Format {
  DType dtype;
  GemmPrecision precision;
  /// Unit roundoff of the product inputs and of what is stored.
  double products() const { return precision == GemmPrecision::kBF16 ? 0x1p-9 : 0x1p-24; }
  double storage() const { return dtype == DType::kBF16 ? 0x1p-9 : 0x1p-24; }
  double tolerance(const MlaShape& s) const {
    return 16 * products() + 2 * std::sqrt(s.nope_dim + s.rope_dim) * 0x1p-24;
  }
};

constexpr Format kFormats[] = {{DType::kF32, GemmPrecision::kF32},
                               {DType::kF32, GemmPrecision::kBF16},
                               {DType::kBF16, GemmPrecision::kF32},
                               {DType::kBF16, GemmPrecision::kBF16}};

/// Inputs, outputs and gradients of one problem.
struct Problem {
  Problem(MlaShape shape_in, std::vector<int64_t> lengths, Format format_in)
      : shape(shape_in), format(format_in) {
    shape.scale = 1 / std::sqrt(static_cast<float>(shape.nope_dim + shape.rope_dim));
    for (int64_t n : lengths) offsets.push_back(offsets.back() + n);
    const int64_t T = offsets.back(), H = shape.heads, R = shape.rope_dim;
    const int64_t X = H * (shape.nope_dim + R), Y = H * (shape.nope_dim + shape.v_dim);
    const DType d = format.dtype;
    q = random_tensor(d, {T, X}, 1);
    kv = random_tensor(d, {T, Y}, 2);
    latent = random_tensor(d, {T, R + 3}, 3);
    dout = random_tensor(d, {T, H * shape.v_dim}, 4);
    out = Tensor(d, {T, H * shape.v_dim});
    lse = Tensor(DType::kF32, {T, H});
    dq = Tensor(d, {T, X});
    dkv = Tensor(d, {T, Y});
    dlatent = Tensor(d, {T, R + 5});
  }

  // Roped keys as the model has them: the last columns of a wider projection.
  TensorView k_rope() const { return latent.view().col_range(3, shape.rope_dim); }
  TensorView dk_rope() const { return dlatent.view().col_range(5, shape.rope_dim); }

  void forward(int threads = 2) {
    TestContext t(threads);
    mla_attention_forward(t.ctx, shape, q, kv, k_rope(), offsets, out, lse, format.precision);
  }
  void backward(int threads = 2) {
    TestContext t(threads);
    mla_attention_backward(t.ctx, shape, q, kv, k_rope(), offsets, out, lse, dout, dq, dkv,
                           dk_rope(), format.precision);
  }

  MlaShape shape;
  Format format;
  std::vector<int64_t> offsets = {0};
  Tensor q, kv, latent, dout, out, lse, dq, dkv, dlatent;
};

std::vector<Problem> problems(Format format) {
  std::vector<Problem> list;
  list.emplace_back(MlaShape{3, 12, 4, 10}, std::vector<int64_t>{1, 5, 0, 70, 64, 129}, format);
  list.emplace_back(MlaShape{5, 7, 2, 3}, std::vector<int64_t>{65, 1, 1, 2}, format);
  list.emplace_back(MlaShape{1, 16, 8, 16}, std::vector<int64_t>{95, 97, 192, 193, 400}, format);
  list.emplace_back(MlaShape{2, 128, 64, 128}, std::vector<int64_t>{100, 37}, format);
  return list;
}

/// A copy as F32, contiguous.
Tensor widened(const ConstTensorView& x) {
  Tensor y(DType::kF32, {x.rows(), x.cols()});
  for (int64_t r = 0; r < x.rows(); ++r)
    for (int64_t c = 0; c < x.cols(); ++c)
      y.as<float>()[r * x.cols() + c] = element(x.row_range(r, 1), c);
  return y;
}

double largest(const ConstTensorView& x) {
  double m = 0;
  for (int64_t i = 0; i < x.elements(); ++i) m = std::max<double>(m, std::abs(element(x, i)));
  return m;
}

TEST(AttentionForward, MatchesReference) {
  for (const Format& format : kFormats)
    for (Problem& p : problems(format)) {
      SCOPED_TRACE(testing::Message()
                   << describe(p.q) << " precision " << static_cast<int>(format.precision));
      const int64_t T = p.offsets.back();
      Tensor out(DType::kF32, {T, p.out.view().cols()}), lse(DType::kF32, {T, p.shape.heads});
      ref::mla_attention_forward(p.shape, p.q, p.kv, p.k_rope(), p.offsets, p.offsets, out, lse);
      p.forward();
      expect_close(p.out, out, format.tolerance(p.shape), 2 * format.storage());
      expect_close(p.lse, lse, format.tolerance(p.shape), 4 * 0x1p-24);
    }
}

TEST(AttentionBackward, MatchesReference) {
  for (const Format& format : kFormats)
    for (Problem& p : problems(format)) {
      SCOPED_TRACE(testing::Message()
                   << describe(p.q) << " precision " << static_cast<int>(format.precision));
      const int64_t T = p.offsets.back();
      Tensor dq(DType::kF32, {T, p.q.view().cols()}), dkv(DType::kF32, {T, p.kv.view().cols()});
      Tensor dk_rope(DType::kF32, {T, p.shape.rope_dim});
      ref::mla_attention_backward(p.shape, p.q, p.kv, p.k_rope(), p.offsets, p.dout, dq, dkv,
                                  dk_rope);
      p.forward();
      p.backward();
      // out enters the backward as stored.
      const double u = 2 * format.tolerance(p.shape) + 4 * format.storage();
      expect_close(p.dq, dq, u * largest(dq), 2 * format.storage());
      expect_close(p.dkv, dkv, u * largest(dkv), 2 * format.storage());
      expect_close(widened(p.dk_rope()), dk_rope, u * largest(dk_rope), 2 * format.storage());
    }
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  return std::memcmp(a.view().data, b.view().data, a.view().bytes()) == 0;
}

/// Queries of sequence s at [first, last) of its tokens; the keys before them.
struct Chunk {
  size_t sequence;
  int64_t first, last;
};

/// The chunk's queries in a call of their own, after a sequence that is done.
void forward_chunk(const Problem& p, const Chunk& c, const Tensor& out, const Tensor& lse) {
  const int64_t begin = p.offsets[c.sequence], rows = c.last - c.first;
  const std::vector<int64_t> query_offsets = {0, 0, rows}, key_offsets = {0, begin, begin + c.last};
  const auto part = [&](const TensorView& x) { return x.row_range(begin + c.first, rows); };
  TestContext t;
  mla_attention_forward(t.ctx, p.shape, part(p.q), p.kv.view().row_range(0, begin + c.last),
                        p.k_rope().row_range(0, begin + c.last), query_offsets, key_offsets,
                        part(out), part(lse), p.format.precision);
}

TEST(AttentionForward, ChunksGiveTheBitsOfTheWhole) {
  for (const Format& format : {kFormats[0], kFormats[3]}) {
    Problem p(MlaShape{3, 20, 8, 12}, {60, 700}, format);
    p.forward();
    Tensor out(format.dtype, {760, 3 * 12}), lse(DType::kF32, {760, 3});
    int64_t first = 0;
    forward_chunk(p, {0, 0, 60}, out, lse);
    for (int64_t last : {1, 100, 101, 393, 550, 700}) {
      forward_chunk(p, {1, first, last}, out, lse);
      first = last;
    }
    EXPECT_TRUE(same_bytes(p.out, out) && same_bytes(p.lse, lse));
  }
}

TEST(AttentionForward, ChunkMatchesReference) {
  for (const Format& format : kFormats) {
    const Problem p(MlaShape{2, 12, 4, 10}, {80, 300}, format);
    const std::vector<int64_t> query_offsets = {0, 30, 187};  // the last 30 of 80, 157 of 300
    Tensor out(format.dtype, {187, 20}), lse(DType::kF32, {187, 2});
    Tensor expected(DType::kF32, {187, 20}), expected_lse(DType::kF32, {187, 2});
    const TensorView q = p.q.view().row_range(0, 187);
    TestContext t;
    mla_attention_forward(t.ctx, p.shape, q, p.kv, p.k_rope(), query_offsets, p.offsets, out, lse,
                          format.precision);
    ref::mla_attention_forward(p.shape, q, p.kv, p.k_rope(), query_offsets, p.offsets, expected,
                               expected_lse);
    expect_close(out, expected, format.tolerance(p.shape), 2 * format.storage());
    expect_close(lse, expected_lse, format.tolerance(p.shape), 4 * 0x1p-24);
  }
}

// Lengths of several tiles of keys: threads share a head, and wait for each other.
TEST(Attention, BitsDoNotDependOnThreads) {
  for (const Format& format : {kFormats[0], kFormats[3]}) {
    Problem one(MlaShape{3, 20, 8, 12}, {1000, 7, 90}, format);
    one.forward(1);
    one.backward(1);
    for (int threads : {2, 3, 7}) {
      Problem many(MlaShape{3, 20, 8, 12}, {1000, 7, 90}, format);
      many.forward(threads);
      many.backward(threads);
      EXPECT_TRUE(same_bytes(one.out, many.out) && same_bytes(one.lse, many.lse));
      EXPECT_TRUE(same_bytes(one.dq, many.dq) && same_bytes(one.dkv, many.dkv));
      EXPECT_TRUE(same_bytes(one.dlatent, many.dlatent));
    }
  }
}

bool any_nan(const ConstTensorView& x, int64_t row, int64_t rows) {
  for (int64_t i = row * x.cols(); i < (row + rows) * x.cols(); ++i)
    if (std::isnan(element(x, i))) return true;
  return false;
}

TEST(Attention, NanStaysInItsSequence) {
  for (const Format& format : {kFormats[0], kFormats[3]}) {
    Problem p(MlaShape{2, 12, 4, 10}, {40, 50, 33}, format);
    for (const Tensor* x : {&p.q, &p.kv, &p.latent})
      for (int64_t i = 0; i < x->view().cols(); ++i)
        set_element(*x, 60 * x->view().cols() + i, NAN);
    p.forward();
    p.backward();
    for (const Tensor* x : {&p.out, &p.lse, &p.dq, &p.dkv, &p.dlatent}) {
      EXPECT_FALSE(any_nan(*x, 0, 40));
      EXPECT_FALSE(any_nan(*x, 90, 33));
    }
    for (int64_t t = 60; t < 90; ++t) EXPECT_TRUE(any_nan(p.out, t, 1)) << t;
    EXPECT_TRUE(any_nan(p.dq, 60, 30));
  }
}

TEST(Attention, NoTokensIsNoWork) {
  Problem p(MlaShape{2, 12, 4, 10}, {0, 0}, kFormats[0]);
  p.forward();
  p.backward();
}

}  // namespace
}  // namespace fathom::kernels
