#include <algorithm>

#include "kernels/cpu/gemm_driver.h"
#include "kernels/cpu/gemm_stream.h"

namespace fathom::kernels::cpu {
namespace {

// Work is handed out in pieces of a share of the bytes of B: small enough for threads to end
// together, large enough for streams to be worth starting.
constexpr int64_t kPiecesPerThread = 8;
constexpr int64_t kMinPieceBytes = 64 << 10;
constexpr int64_t kMaxPieceBytes = 1 << 20;
// Columns of a piece, in multiples that waste no part of a vector or tile. Rows of B as [K, N] are
// read piece by piece: narrow ones would be too short to stream.
constexpr int64_t kColumnUnit = 64;
// The same of a matrix too narrow to give each thread such a piece: a router's.
constexpr int64_t kNarrowUnit = 32;
constexpr int64_t kMinRowPieceCols = 256;
// Less than this, a microsecond or two, is done before another thread would have started.
constexpr int64_t kSerialBytes = 64 << 10;

// Between what two threads write, so that neither prefetches the other's lines.
constexpr int64_t kApartBytes = 4096 + 512;

int64_t div_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
int64_t round_up(int64_t a, int64_t b) {
  return div_up(a, b) * b;
}

/// The rows of A from `row` on.
GemmOperand row_range(GemmOperand a, int64_t row) {
  a.data = a.row(row);
  a.first_row += row;
  return a;
}

int64_t rows_of_group(const GemmProblem& p, int64_t group) {
  return std::min(kSmallM, p.m - group * kSmallM);
}

/// Columns of one problem; a points to the rows of A as packed, in groups of kSmallM.
struct Piece {
  const GemmProblem* p;
  const std::byte* a;
  int64_t col, cols;
};

class FewRows {
 public:
  FewRows(Context& ctx, const GemmKernels& kernels, bool accumulate)
      : ctx_(ctx), kernels_(kernels), accumulate_(accumulate) {}

  void run(std::span<const GemmProblem* const> problems) {
    const ArenaScope scope(ctx_.arena);
    int64_t bytes = 0, k_max = 0, sums = 0;
    for (const GemmProblem* p : problems) {
      bytes += bytes_of(*p);
      k_max = std::max({k_max, p->k, kernel_of(*p).max_cols});
      sums = std::max(sums, std::min(p->m, kSmallM) * kernel_of(*p).max_cols);
    }
    threads_ = bytes <= kSerialBytes ? 1 : ctx_.pool.size();
    const ArenaList<Piece> pieces = cut(problems, bytes);
    sums_floats_ = round_up(sums, 16) + kApartBytes / 4;
    sums_ = ctx_.arena.alloc_array<float>(threads_ * sums_floats_);
    table_bytes_ = scale_table_bytes(k_max) + kApartBytes;
    tables_ = ctx_.arena.alloc_array<std::byte>(threads_ * table_bytes_);
    for_each(pieces.count, [&](int64_t i, int t) { multiply(pieces.data[i], t); });
  }

 private:
  const StreamKernel& kernel_of(const GemmProblem& p) const {
    return p.b.k_contiguous ? kernels_.stream->nt : kernels_.stream->nn;
  }
  static int64_t bytes_of(const GemmProblem& p) { return p.b.bytes(p.n * p.k); }

  template <class Body>
  void for_each(int64_t count, Body body) {
    if (threads_ > 1) return ctx_.pool.for_each(count, body);
    for (int64_t i = 0; i < count; ++i) body(i, 0);
  }

  ArenaList<Piece> cut(std::span<const GemmProblem* const> problems, int64_t bytes) {
    const int64_t share =
        std::clamp(bytes / (threads_ * kPiecesPerThread), kMinPieceBytes, kMaxPieceBytes);
    int64_t count = 0;
    for (const GemmProblem* p : problems) count += div_up(p->n, piece_cols(*p, share));
    ArenaList<Piece> pieces(ctx_.arena, count);
    const GemmProblem* before = nullptr;
    const std::byte* a = nullptr;
    for (const GemmProblem* p : problems) {
      if (!before || !same_rows(*before, *p)) a = pack(*p);
      before = p;
      const int64_t cols = piece_cols(*p, share);
      for (int64_t n = 0; n < p->n; n += cols) pieces.push({p, a, n, std::min(cols, p->n - n)});
    }
    return pieces;
  }

  /// Products that follow each other with the same A (gate and up) share its packed rows.
  bool same_rows(const GemmProblem& x, const GemmProblem& y) const {
    return x.a.data == y.a.data && x.m == y.m && x.k == y.k && x.a.stride == y.a.stride &&
           x.a.format == y.a.format && x.a.scale.data == y.a.scale.data &&
           x.a.first_row == y.a.first_row && kernel_of(x).pack == kernel_of(y).pack &&
           x.b.format == y.b.format && !x.b.zero.data == !y.b.zero.data;
  }

  /// Bytes between groups of kSmallM packed rows.
  int64_t group_bytes(const GemmProblem& p) const {
    return round_up(kernel_of(p).packed_bytes(kSmallM, p.k), 64);
  }

  const std::byte* pack(const GemmProblem& p) {
    const StreamKernel& kernel = kernel_of(p);
    const int64_t groups = div_up(p.m, kSmallM);
    auto* a = ctx_.arena.alloc_array<std::byte>(groups == 1 ? kernel.packed_bytes(p.m, p.k)
                                                            : groups * group_bytes(p));
    ctx_.pool.for_range(groups, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t g = begin; g < end; ++g)
        kernel.pack(row_range(p.a, g * kSmallM), p.b, rows_of_group(p, g), p.k,
                    a + g * group_bytes(p));
    });
    return a;
  }

  int64_t piece_cols(const GemmProblem& p, int64_t share) const {
    const int64_t pieces = std::max<int64_t>(bytes_of(p) / share, 1);
    if (p.b.k_contiguous)
      return round_up(div_up(p.n, pieces),
                      p.n < kColumnUnit * threads_ ? kNarrowUnit : kColumnUnit);
    const int64_t cols =
        std::clamp(div_up(p.n, pieces), kMinRowPieceCols, kernels_.stream->nn.max_cols);
    // As many for each thread, if there are enough.
    const int64_t even = round_up(div_up(p.n, cols), threads_);
    return round_up(std::max(div_up(p.n, even), std::min(kMinRowPieceCols, cols)), kColumnUnit);
  }

  void multiply(const Piece& piece, int thread) {
    const GemmProblem& p = *piece.p;
    const StreamKernel& kernel = kernel_of(p);
    StreamBlock block{.k = p.k, .b = p.b};
    block.sums = sums_ + thread * sums_floats_;
    block.sums_stride = kernel.max_cols;
    block.tables = tables_ + thread * table_bytes_;
    for (int64_t col = piece.col, end = piece.col + piece.cols; col < end; col += block.cols) {
      block.col = col;
      block.cols = std::min(kernel.max_cols, end - col);
      if (p.b.k_contiguous)  // not beyond a row of scales
        block.cols = std::min(block.cols, kScaleSide - (p.b.first_row + col) % kScaleSide);
      for (int64_t g = 0; g * kSmallM < p.m; ++g) {
        block.a = piece.a + g * group_bytes(p);
        block.rows = rows_of_group(p, g);
        kernel.run(block);
        write(block, p, g * kSmallM);
      }
    }
  }

  void write(const StreamBlock& block, const GemmProblem& p, int64_t row) const {
    if (p.c_dtype == DType::kBF16)
      return round_rows(kernels_, block.sums, block.sums_stride, p, row, block.col, block.rows,
                        block.cols);
    for (int64_t m = 0; m < block.rows; ++m) {
      float* c = static_cast<float*>(p.c) + (row + m) * p.c_stride + block.col;
      const float* s = block.sums + m * block.sums_stride;
      for (int64_t n = 0; n < block.cols; ++n) c[n] = accumulate_ ? c[n] + s[n] : s[n];
    }
  }

  Context& ctx_;
  const GemmKernels& kernels_;
  const bool accumulate_;
  int threads_ = 1;
  float* sums_ = nullptr;  // of one block, one a thread
  int64_t sums_floats_ = 0;
  std::byte* tables_ = nullptr;  // of scales, one set a thread
  int64_t table_bytes_ = 0;
};

}  // namespace

void run_few_rows(Context& ctx, const GemmKernels& kernels,
                  std::span<const GemmProblem* const> problems, bool accumulate) {
  if (!problems.empty()) FewRows(ctx, kernels, accumulate).run(problems);
}

}  // namespace fathom::kernels::cpu
