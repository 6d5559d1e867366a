#include <algorithm>
#include <cmath>

#include "kernels/cpu/gemm_driver.h"

namespace fathom::kernels::cpu {
namespace {

// A strip of B of one block of K is 256 KiB packed (with AVX-512): a quarter of the smallest L2
// beside it, which also holds the 512 KiB of C that it meets.
constexpr int64_t kStripCols = 256;
constexpr int64_t kBlockRows = 512;
// Panels of A of one round. Rows beyond it wait for the next, for which B is packed again.
constexpr int64_t kPanelBudget = int64_t{32} << 20;
// All of K of a strip is kept packed for the next rows if it is no larger than this.
constexpr int64_t kKeptStripBytes = int64_t{2} << 20;
// Work is cut so that a thread gets about this many pieces, none smaller than these.
constexpr int64_t kPiecesPerThread = 6;
constexpr int64_t kMinPieceRows = 128;
constexpr int64_t kMinPieceCols = 32;
constexpr int64_t kPackPieceRows = 64;
// Below this, a few microseconds' work, waking the other threads costs more than they give.
constexpr double kSerialFlops = 1e6;

int64_t div_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
int64_t round_up(int64_t a, int64_t b) {
  return div_up(a, b) * b;
}

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
    ArenaList<Chunk> chunks(ctx_.arena, chunks_max);
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
    return round_up(std::max(kPanelBudget / row_bytes, 2 * kMinPieceRows), kernels_.mr);
  }
  int64_t panel_bytes(const Chunk& chunk) const {
    return kernels_.a_panels(chunk.rows) * kernels_.a_panel_bytes(chunk.p->k);
  }

  void run_round(std::span<Chunk> chunks) {
    const ArenaScope scope(ctx_.arena);
    double flops = 0;
    for (const Chunk& c : chunks) flops += flops_of(c, c.rows, c.p->n);
    threads_ = flops < kSerialFlops ? 1 : ctx_.pool.size();
    pack_a(chunks);
    const ArenaList<Tile> tiles =
        make_tiles(chunks, threads_ == 1 ? flops : flops / (threads_ * kPiecesPerThread));
    allocate_workspaces(chunks);
    for_each(tiles.count, [&](int64_t i, int t) {
      // The tile that this thread is likely to take next.
      const int64_t after = i + threads_;
      multiply(tiles.data[i], after < tiles.count ? tiles.data + after : nullptr, t);
    });
  }

  template <class Body>
  void for_each(int64_t count, Body body) {
    if (threads_ > 1) return ctx_.pool.for_each(count, body);
    for (int64_t i = 0; i < count; ++i) body(i, 0);
  }

  void pack_a(std::span<Chunk> chunks) {
    const int64_t step = round_up(kPackPieceRows, kernels_.mr);
    int64_t tasks_max = 0;
    for (const Chunk& c : chunks) tasks_max += div_up(c.rows, step);
    ArenaList<Tile> tasks(ctx_.arena, tasks_max);
    for (Chunk& c : chunks) {
      c.panels = ctx_.arena.alloc_array<std::byte>(panel_bytes(c));
      for (int64_t row = 0; row < c.rows; row += step)
        tasks.push({&c, row, std::min(step, c.rows - row), 0, 0});
    }
    for_each(tasks.count, [&](int64_t i, int) {
      const Tile& t = tasks.data[i];
      const GemmProblem& p = *t.chunk->p;
      const int64_t bytes = kernels_.a_panel_bytes(p.k);
      kernels_.pack_a(p.a, {t.chunk->row + t.row, t.rows}, {0, p.k},
                      t.chunk->panels + t.row / kernels_.mr * bytes, bytes);
    });
  }

  ArenaList<Tile> make_tiles(std::span<const Chunk> chunks, double share) {
    int64_t count = 0;
    for (const Chunk& c : chunks) {
      const TileShape s = tile_shape(c, share);
      count += div_up(c.rows, s.rows) * div_up(c.p->n, s.cols);
    }
    ArenaList<Tile> tiles(ctx_.arena, count);
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
  /// Strips of about kStripCols columns. One that would be more than a share of the FLOPs is cut by
  /// rows and, if these are too few, made narrower.
  TileShape tile_shape(const Chunk& c, double share) const {
    const auto cuts = static_cast<int64_t>(std::ceil(flops_of(c, c.rows, kStripCols) / share));
    const int64_t parts = std::clamp<int64_t>(c.rows / kMinPieceRows, 1, cuts);
    const int64_t narrower = std::clamp<int64_t>(cuts / parts, 1, kStripCols / kMinPieceCols);
    const int64_t strips = div_up(c.p->n, kStripCols / narrower);
    return {round_up(div_up(c.rows, parts), kernels_.mr),
            round_up(div_up(c.p->n, strips), kernels_.tile_n)};
  }
  static double flops_of(const Chunk& c, int64_t rows, int64_t cols) {
    return 2.0 * static_cast<double>(rows) * static_cast<double>(cols) *
           static_cast<double>(c.p->k);
  }

  void allocate_workspaces(std::span<const Chunk> chunks) {
    const int64_t panels = kernels_.b_panels(kStripCols);
    int64_t strip = 0;
    bool round_c = false;
    for (const Chunk& c : chunks) {
      strip = std::max(strip, panels * kernels_.b_panel_bytes(kept_k(*c.p)));
      round_c |= c.p->c_dtype == DType::kBF16;
    }
    strip_bytes_ = round_up(strip, 64);
    strips_ = ctx_.arena.alloc_array<std::byte>(threads_ * strip_bytes_);
    if (round_c) sums_ = ctx_.arena.alloc_array<float>(threads_ * kBlockRows * kStripCols);
  }

  /// How much of K of a strip stays packed: all, or one block.
  int64_t kept_k(const GemmProblem& p) const {
    const int64_t panels = kernels_.b_panels(kStripCols);
    const bool all = panels * kernels_.b_panel_bytes(p.k) <= kKeptStripBytes;
    return all ? p.k : std::min(p.k, block_k());
  }

  void multiply(const Tile& tile, const Tile* after, int thread) {
    for (int64_t row = 0; row < tile.rows; row += block_rows()) {
      Tile part = tile;
      part.row += row;
      part.rows = std::min(block_rows(), tile.rows - row);
      multiply_rows(part, row == 0, after, thread);
    }
  }

  /// Where the block of B lies that packs K from `k` of a tile.
  MemoryRows source_of(const Tile& t, int64_t k) const {
    const GemmProblem& p = *t.chunk->p;
    const auto bytes = static_cast<int64_t>(size_of(p.b.dtype));
    const int64_t count = std::min(block_k(), p.k - k);
    const auto* data = static_cast<const std::byte*>(p.b.data);
    if (p.b.k_contiguous)
      return {data + (t.col * p.b.stride + k) * bytes, t.cols, count * bytes, p.b.stride * bytes};
    return {data + (k * p.b.stride + t.col) * bytes, count, t.cols * bytes, p.b.stride * bytes};
  }
  /// What is packed after block k of a tile.
  MemoryRows source_after(const Tile& t, int64_t k, bool packs, const Tile* after) const {
    if (k + block_k() < t.chunk->p->k) return packs ? source_of(t, k + block_k()) : MemoryRows{};
    return after ? source_of(*after, 0) : MemoryRows{};
  }

  /// At most kBlockRows rows of a strip, over all of K.
  void multiply_rows(const Tile& t, bool first, const Tile* after, int thread) {
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
      const bool packs = first || !keeps;
      if (packs) kernels_.pack_b(p.b, {t.col, t.cols}, {k, block.k}, b, block.b_panel_bytes);
      block.b = b;
      block.accumulate = accumulate_ || k > 0;
      block.next = source_after(t, k, packs, after);
      kernels_.multiply(block);
    }
    if (round_c) round_rows(kernels_, block.c, kStripCols, p, c_row, t.col, t.rows, t.cols);
  }

  Context& ctx_;
  const GemmKernels& kernels_;
  const bool accumulate_;
  int threads_ = 1;
  std::byte* strips_ = nullptr;  // packed B, one a thread
  int64_t strip_bytes_ = 0;
  float* sums_ = nullptr;  // C before rounding, kBlockRows x kStripCols a thread
};

}  // namespace

void run_blocked(Context& ctx, const GemmKernels& kernels,
                 std::span<const GemmProblem* const> problems, bool accumulate) {
  if (!problems.empty()) BlockedGemm(ctx, kernels, accumulate).run(problems);
}

}  // namespace fathom::kernels::cpu
