#include "kernels/cpu/gemm_driver.h"

#include <algorithm>
#include <cstring>

#include "numerics/bf16.h"

namespace fathom::kernels::cpu {
namespace {

// A strip of B of one K block is 256 KiB packed: a quarter of the smallest L2 of the processors
// with AVX-512, beside the rows of C that it meets.
constexpr int64_t kStripCols = 256;
constexpr int64_t kBlockRows = 512;
// Panels of A of one round. Rows beyond it wait for the next, for which B is packed again.
constexpr int64_t kPanelBudget = int64_t{32} << 20;
// All of K of a strip is kept packed for the next rows if it is no larger than this.
constexpr int64_t kKeptStripBytes = int64_t{2} << 20;
constexpr int64_t kTasksPerThread = 6;
constexpr int64_t kMinTaskRows = 128;
constexpr int64_t kMinTaskCols = 64;
constexpr int64_t kPackTaskRows = 64;
constexpr int64_t kDotTaskCols = 64;

int64_t div_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
int64_t round_up(int64_t a, int64_t b) {
  return div_up(a, b) * b;
}

bool is_small(const GemmProblem& p) {
  return p.m <= kSmallM && p.a.k_contiguous && p.b.k_contiguous;
}

/// A list in the arena, filled front to back.
template <class T>
struct List {
  List(Arena& arena, int64_t capacity) : data(arena.alloc_array<T>(capacity)) {}
  void push(const T& x) { data[count++] = x; }
  T* data;
  int64_t count = 0;
};

void round_rows(const GemmKernels& kernels, const float* from, int64_t from_stride,
                const GemmProblem& p, int64_t row, int64_t col, int64_t rows, int64_t cols) {
  BF16* to = static_cast<BF16*>(p.c) + row * p.c_stride + col;
  for (int64_t r = 0; r < rows; ++r)
    kernels.to_bf16(from + r * from_stride, to + r * p.c_stride, cols);
}

void clear(const GemmProblem& p) {
  for (int64_t r = 0; r < p.m; ++r)
    std::memset(
        static_cast<std::byte*>(p.c) + r * p.c_stride * static_cast<int64_t>(size_of(p.c_dtype)), 0,
        static_cast<size_t>(p.n) * size_of(p.c_dtype));
}

// ---- A few rows: dot products ----

struct DotTask {
  const GemmProblem* p;
  const std::byte* a;
  int64_t col, cols;
};

void run_dot(const GemmKernels& kernels, const DotTask& task, bool accumulate) {
  const GemmProblem& p = *task.p;
  float sum[kSmallM * kDotTaskCols];
  DotBlock block{task.a,      GemmKernels::dot_row_bytes(p.k), p.b, p.m, task.cols, p.k, sum,
                 kDotTaskCols};
  block.b.data = static_cast<const std::byte*>(p.b.data) +
                 task.col * p.b.stride * static_cast<int64_t>(size_of(p.b.dtype));
  kernels.dot(block);
  if (p.c_dtype == DType::kBF16)
    return round_rows(kernels, sum, kDotTaskCols, p, 0, task.col, p.m, task.cols);
  for (int64_t m = 0; m < p.m; ++m) {
    float* c = static_cast<float*>(p.c) + m * p.c_stride + task.col;
    const float* s = sum + m * kDotTaskCols;
    for (int64_t n = 0; n < task.cols; ++n) c[n] = accumulate ? c[n] + s[n] : s[n];
  }
}

void run_dots(Context& ctx, const GemmKernels& kernels,
              std::span<const GemmProblem* const> problems, bool accumulate) {
  if (problems.empty()) return;
  ArenaScope scope(ctx.arena);
  int64_t tasks_max = 0;
  for (const GemmProblem* p : problems) tasks_max += div_up(p->n, kDotTaskCols);
  List<DotTask> tasks(ctx.arena, tasks_max);
  for (const GemmProblem* p : problems) {
    const int64_t row_bytes = GemmKernels::dot_row_bytes(p->k);
    auto* a = ctx.arena.alloc_array<std::byte>(p->m * row_bytes);
    for (int64_t m = 0; m < p->m; ++m) kernels.pack_dot(p->a, m, p->k, a + m * row_bytes);
    for (int64_t n = 0; n < p->n; n += kDotTaskCols)
      tasks.push({p, a, n, std::min(kDotTaskCols, p->n - n)});
  }
  ctx.pool.for_each(tasks.count,
                    [&](int64_t i, int) { run_dot(kernels, tasks.data[i], accumulate); });
}

// ---- Many rows: packed panels ----

/// Rows of a problem whose A is packed in one round.
struct Chunk {
  const GemmProblem* p;
  int64_t row, rows;
  std::byte* panels;
};

/// Rows and columns of C within a chunk.
struct Tile {
  const Chunk* chunk;
  int64_t row, rows;  // from the chunk's first
  int64_t col, cols;
};

class BlockedGemm {
 public:
  BlockedGemm(Context& ctx, const GemmKernels& kernels, bool accumulate)
      : ctx_(ctx), kernels_(kernels), accumulate_(accumulate) {}

  /// Rounds of as many rows as the budget for panels allows.
  void run(std::span<const GemmProblem* const> problems) {
    const ArenaScope scope(ctx_.arena);
    int64_t chunks_max = 0;
    for (const GemmProblem* p : problems) chunks_max += div_up(p->m, chunk_rows(*p));
    List<Chunk> chunks(ctx_.arena, chunks_max);
    for (const GemmProblem* p : problems)
      for (int64_t row = 0, step = chunk_rows(*p); row < p->m; row += step)
        chunks.push({p, row, std::min(step, p->m - row), nullptr});
    for (int64_t begin = 0, end; begin < chunks.count; begin = end) {
      int64_t bytes = panel_bytes(chunks.data[begin]);
      for (end = begin + 1; end < chunks.count; ++end)
        if ((bytes += panel_bytes(chunks.data[end])) > kPanelBudget) break;
      run_round({chunks.data + begin, static_cast<size_t>(end - begin)});
    }
  }

 private:
  int64_t block_k() const { return kernels_.block_k(); }
  int64_t block_rows() const { return kBlockRows / kernels_.mr * kernels_.mr; }

  int64_t chunk_rows(const GemmProblem& p) const {
    const int64_t row_bytes = kernels_.a_panel_bytes(p.k) / kernels_.mr;
    return round_up(std::max(kPanelBudget / row_bytes, 2 * kMinTaskRows), kernels_.mr);
  }
  int64_t panel_bytes(const Chunk& chunk) const {
    return kernels_.a_panels(chunk.rows) * kernels_.a_panel_bytes(chunk.p->k);
  }

  void run_round(std::span<Chunk> chunks) {
    const ArenaScope scope(ctx_.arena);
    pack_a(chunks);
    const List<Tile> tiles = make_tiles(chunks);
    allocate_workspaces(chunks);
    ctx_.pool.for_each(tiles.count, [&](int64_t i, int t) { multiply(tiles.data[i], t); });
  }

  void pack_a(std::span<Chunk> chunks) {
    const int64_t step = round_up(kPackTaskRows, kernels_.mr);
    int64_t tasks_max = 0;
    for (const Chunk& c : chunks) tasks_max += div_up(c.rows, step);
    List<Tile> tasks(ctx_.arena, tasks_max);
    for (Chunk& c : chunks) {
      c.panels = ctx_.arena.alloc_array<std::byte>(panel_bytes(c));
      for (int64_t row = 0; row < c.rows; row += step)
        tasks.push({&c, row, std::min(step, c.rows - row), 0, 0});
    }
    ctx_.pool.for_each(tasks.count, [&](int64_t i, int) {
      const Tile& t = tasks.data[i];
      const GemmProblem& p = *t.chunk->p;
      const int64_t bytes = kernels_.a_panel_bytes(p.k);
      kernels_.pack_a(p.a, {t.chunk->row + t.row, t.rows}, {0, p.k},
                      t.chunk->panels + t.row / kernels_.mr * bytes, bytes);
    });
  }

  /// Strips of columns, cut into parts of rows (then narrower) where a strip would be more than a
  /// thread's fair share of all FLOPs.
  List<Tile> make_tiles(std::span<const Chunk> chunks) {
    double flops = 0;
    for (const Chunk& c : chunks) flops += flops_of(c, c.rows, c.p->n);
    const int threads = ctx_.pool.size();
    const double share =
        threads == 1 ? flops : flops / static_cast<double>(threads * kTasksPerThread);
    int64_t count = 0;
    for (const Chunk& c : chunks) {
      const TileShape s = tile_shape(c, share);
      count += div_up(c.rows, s.rows) * div_up(c.p->n, s.cols);
    }
    List<Tile> tiles(ctx_.arena, count);
    for (const Chunk& c : chunks) {
      const TileShape s = tile_shape(c, share);
      for (int64_t col = 0; col < c.p->n; col += s.cols)
        for (int64_t row = 0; row < c.rows; row += s.rows)
          tiles.push(
              {&c, row, std::min(s.rows, c.rows - row), col, std::min(s.cols, c.p->n - col)});
    }
    return tiles;
  }

  struct TileShape {
    int64_t rows, cols;
  };
  TileShape tile_shape(const Chunk& c, double share) const {
    const int64_t n = round_up(c.p->n, kernels_.tile_n);
    int64_t cols = std::min(kStripCols, n), parts = 1;
    const auto wanted = [&](int64_t width) {
      return static_cast<int64_t>(flops_of(c, c.rows, width) / share) + 1;
    };
    parts = std::clamp<int64_t>(wanted(cols), 1, std::max<int64_t>(1, c.rows / kMinTaskRows));
    if (wanted(cols) > 2 * parts)
      cols = std::clamp(cols * parts / wanted(cols), kMinTaskCols, cols);
    cols = div_up(n, div_up(n, cols));  // equal strips
    return {round_up(div_up(c.rows, parts), kernels_.mr), round_up(cols, kernels_.tile_n)};
  }
  static double flops_of(const Chunk& c, int64_t rows, int64_t cols) {
    return 2.0 * static_cast<double>(rows) * static_cast<double>(cols) *
           static_cast<double>(c.p->k);
  }

  void allocate_workspaces(std::span<const Chunk> chunks) {
    const int64_t strip_panels = kernels_.b_panels(round_up(kStripCols, kernels_.tile_n));
    int64_t strip = 0;
    bool round_c = false;
    for (const Chunk& c : chunks) {
      strip = std::max(strip, strip_panels * kernels_.b_panel_bytes(kept_k(*c.p)));
      round_c |= c.p->c_dtype == DType::kBF16;
    }
    const int64_t threads = ctx_.pool.size();
    strip_bytes_ = round_up(strip, 64);
    strips_ = ctx_.arena.alloc_array<std::byte>(threads * strip_bytes_);
    if (round_c) sums_ = ctx_.arena.alloc_array<float>(threads * kBlockRows * kStripCols);
  }

  /// How much of K of a strip stays packed: all, or one block.
  int64_t kept_k(const GemmProblem& p) const {
    const int64_t panels = kernels_.b_panels(kStripCols);
    const bool all = panels * kernels_.b_panel_bytes(p.k) <= kKeptStripBytes;
    return all ? p.k : std::min(p.k, block_k());
  }

  void multiply(const Tile& tile, int thread) {
    for (int64_t row = 0; row < tile.rows; row += block_rows()) {
      Tile part = tile;
      part.row += row;
      part.rows = std::min(block_rows(), tile.rows - row);
      multiply_rows(part, row == 0, thread);
    }
  }

  /// At most kBlockRows rows of a strip, over all of K.
  void multiply_rows(const Tile& t, bool first, int thread) {
    const Chunk& c = *t.chunk;
    const GemmProblem& p = *c.p;
    const int64_t c_row = c.row + t.row;
    const bool round_c = p.c_dtype == DType::kBF16;
    PackedBlock block;
    block.a_panel_bytes = kernels_.a_panel_bytes(p.k);
    block.rows = t.rows;
    block.cols = t.cols;
    block.c = round_c ? sums_ + thread * kBlockRows * kStripCols
                      : static_cast<float*>(p.c) + c_row * p.c_stride + t.col;
    block.c_stride = round_c ? kStripCols : p.c_stride;
    const std::byte* a = c.panels + t.row / kernels_.mr * block.a_panel_bytes;
    std::byte* strip = strips_ + thread * strip_bytes_;
    const bool keeps = kept_k(p) == p.k;
    for (int64_t k = 0; k < p.k; k += block_k()) {
      block.k = std::min(block_k(), p.k - k);
      block.a = a + k / kernels_.kr * kernels_.mr * kernels_.segment_bytes();
      block.b_panel_bytes = kernels_.b_panel_bytes(block.k);
      std::byte* b = strip + (keeps ? kernels_.b_panels(t.cols) * kernels_.b_panel_bytes(k) : 0);
      if (first || !keeps)
        kernels_.pack_b(p.b, {t.col, t.cols}, {k, block.k}, b, block.b_panel_bytes);
      block.b = b;
      block.accumulate = accumulate_ || k > 0;
      kernels_.multiply(block);
    }
    if (round_c) round_rows(kernels_, block.c, kStripCols, p, c_row, t.col, t.rows, t.cols);
  }

  Context& ctx_;
  const GemmKernels& kernels_;
  const bool accumulate_;
  std::byte* strips_ = nullptr;  // packed B, one a thread
  int64_t strip_bytes_ = 0;
  float* sums_ = nullptr;  // C before rounding, kBlockRows x kStripCols a thread
};

}  // namespace

void run_gemms(Context& ctx, const GemmKernels& kernels, std::span<const GemmProblem> problems,
               bool accumulate) {
  ArenaScope scope(ctx.arena);
  const auto count = static_cast<int64_t>(problems.size());
  List<const GemmProblem*> dots(ctx.arena, count), blocked(ctx.arena, count);
  for (const GemmProblem& p : problems) {
    if (p.m == 0 || p.n == 0) continue;
    if (p.k == 0) {
      if (!accumulate) clear(p);
    } else {
      (is_small(p) ? dots : blocked).push(&p);
    }
  }
  run_dots(ctx, kernels, {dots.data, static_cast<size_t>(dots.count)}, accumulate);
  if (blocked.count > 0)
    BlockedGemm(ctx, kernels, accumulate).run({blocked.data, static_cast<size_t>(blocked.count)});
}

}  // namespace fathom::kernels::cpu
