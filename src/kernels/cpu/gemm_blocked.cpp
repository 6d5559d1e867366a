#include <algorithm>
#include <cmath>

#include "kernels/cpu/gemm_swiglu.h"

namespace fathom::kernels::cpu {
namespace {

// A strip of B of one block of K is 256 KiB packed (with AVX-512): a quarter of the smallest L2
// beside it, which also holds the 512 KiB of C that it meets.
constexpr int64_t kStripCols = 256;
constexpr int64_t kPairCols = kStripCols / 2;  // of gate and of up
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

/// Matrices that a problem multiplies A with: B alone, or gate and up.
int64_t sides(const GemmProblem& p) {
  return p.swiglu ? 2 : 1;
}
const GemmOperand& side_of(const GemmProblem& p, int64_t side) {
  return side == 0 ? p.b : p.swiglu->up;
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
    if (c.p->swiglu) return {paired_rows(c, share), kPairCols};
    const auto cuts = static_cast<int64_t>(std::ceil(flops_of(c, c.rows, kStripCols) / share));
    const int64_t parts = std::clamp<int64_t>(c.rows / kMinPieceRows, 1, cuts);
    const int64_t narrower = std::clamp<int64_t>(cuts / parts, 1, kStripCols / kMinPieceCols);
    const int64_t strips = div_up(c.p->n, kStripCols / narrower);
    return {round_up(div_up(c.rows, parts), kernels_.mr),
            round_up(div_up(c.p->n, strips), kernels_.tile_n)};
  }
  /// Strips of a pair are always as wide as a quantized tile: cut by rows alone.
  int64_t paired_rows(const Chunk& c, double share) const {
    const auto cuts = static_cast<int64_t>(std::ceil(flops_of(c, c.rows, kPairCols) / share));
    const int64_t parts = std::clamp<int64_t>(c.rows / kMinPieceRows, 1, cuts);
    return round_up(div_up(c.rows, parts), kernels_.mr);
  }
  static double flops_of(const Chunk& c, int64_t rows, int64_t cols) {
    return 2.0 * static_cast<double>(sides(*c.p) * rows) * static_cast<double>(cols) *
           static_cast<double>(c.p->k);
  }

  void allocate_workspaces(std::span<const Chunk> chunks) {
    const int64_t panels = kernels_.b_panels(kStripCols);
    int64_t strip = 0;
    bool round_c = false;
    for (const Chunk& c : chunks) {
      strip = std::max(strip, panels * kernels_.b_panel_bytes(kept_k(*c.p)));
      round_c |= c.p->c_dtype == DType::kBF16 || c.p->swiglu;
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

  /// A block of B: elements of K from k, one side of a tile.
  struct Step {
    int64_t k, side;
  };
  /// Where it lies.
  MemoryRows source_of(const Tile& t, Step step) const {
    const GemmProblem& p = *t.chunk->p;
    const GemmOperand& b = side_of(p, step.side);
    const int64_t count = std::min(block_k(), p.k - step.k), stride = b.row(1) - b.row(0);
    if (b.k_contiguous) return {b.row(t.col) + b.bytes(step.k), t.cols, b.bytes(count), stride};
    return {b.row(step.k) + b.bytes(t.col), count, b.bytes(t.cols), stride};
  }
  /// What is packed after a step of a tile.
  MemoryRows source_after(const Tile& t, Step step, bool packs, const Tile* after) const {
    const GemmProblem& p = *t.chunk->p;
    Step next{step.k, step.side + 1};
    if (next.side == sides(p)) next = {step.k + block_k(), 0};
    if (next.k < p.k) return packs ? source_of(t, next) : MemoryRows{};
    return after ? source_of(*after, {0, 0}) : MemoryRows{};
  }

  /// At most kBlockRows rows of a strip, over all of K.
  void multiply_rows(const Tile& t, bool first, const Tile* after, int thread) {
    const GemmProblem& p = *t.chunk->p;
    const int64_t c_row = t.chunk->row + t.row;
    const bool in_place = p.c_dtype == DType::kF32 && !p.swiglu;
    float* c = in_place ? static_cast<float*>(p.c) + c_row * p.c_stride + t.col
                        : sums_ + thread * kBlockRows * kStripCols;
    const int64_t c_stride = in_place ? p.c_stride : kStripCols;
    const bool packs = first || kept_k(p) < p.k;
    for (Step step{0, 0}; step.k < p.k; step.k += block_k())
      for (step.side = 0; step.side < sides(p); ++step.side) {
        PackedBlock block = packed_block(t, step, packs, thread);
        block.c = c + step.side * t.cols;
        block.c_stride = c_stride;
        block.next = source_after(t, step, packs, after);
        kernels_.multiply(block);
      }
    if (p.swiglu)
      finish_swiglu(ctx_, kernels_, p, {c, c_stride, c_row, t.rows, t.col, t.cols});
    else if (!in_place)
      round_rows(kernels_, c, c_stride, p, c_row, t.col, t.rows, t.cols);
  }

  /// Both packed inputs of a step, B packed now unless that was done for rows before.
  PackedBlock packed_block(const Tile& t, Step step, bool packs, int thread) const {
    const Chunk& chunk = *t.chunk;
    const GemmProblem& p = *chunk.p;
    PackedBlock block;
    block.a_panel_bytes = kernels_.a_panel_bytes(p.k);
    block.a = chunk.panels + t.row / kernels_.mr * block.a_panel_bytes +
              step.k / kernels_.kr * kernels_.mr * kernels_.segment_bytes();
    block.rows = t.rows;
    block.cols = t.cols;
    block.k = std::min(block_k(), p.k - step.k);
    block.accumulate = accumulate_ || step.k > 0;
    block.b_panel_bytes = kernels_.b_panel_bytes(block.k);
    const int64_t panels = kernels_.b_panels(t.cols);
    std::byte* b = strips_ + thread * strip_bytes_ + step.side * panels * block.b_panel_bytes;
    if (kept_k(p) == p.k) b += sides(p) * panels * kernels_.b_panel_bytes(step.k);
    if (packs)
      kernels_.pack_b(side_of(p, step.side), {t.col, t.cols}, {step.k, block.k}, b,
                      block.b_panel_bytes);
    block.b = b;
    return block;
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
