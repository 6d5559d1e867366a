#include "kernels/latent_cache.h"

#include "kernels/checks.h"
#include "kernels/cpu/attention_latent.h"
#include "kernels/cpu/attention_tile.h"

namespace fathom::kernels {
namespace {

using cpu::MutableRows;
using cpu::RowOps;
using cpu::rows_of;

/// Tokens a thread writes at least.
constexpr int64_t kAppendGrain = 16;

void append_row(const RowOps& ops, const cpu::LatentRowWriter& writer,
                const ConstTensorView& latent, const ConstTensorView& rope,
                const LatentRowLayout& layout, float* scratch_C, std::byte* row) {
  const bool bf16 = layout.format != LatentCacheFormat::kF32;
  if (layout.format == LatentCacheFormat::kFP8) {
    ops.copy(rows_of(latent), {scratch_C, layout.latent, false}, layout.latent);
    writer.quantize(scratch_C, layout.latent, row, row + layout.scales_offset());
  } else {
    ops.copy(rows_of(latent), {row, layout.latent, bf16}, layout.latent);
  }
  ops.copy(rows_of(rope), {row + layout.rope_offset(), layout.rope, bf16}, layout.rope);
}

}  // namespace

int64_t LatentRowLayout::rope_offset() const {
  switch (format) {
    case LatentCacheFormat::kF32:
      return 4 * latent;
    case LatentCacheFormat::kBF16:
      return 2 * latent;
    case LatentCacheFormat::kFP8:
      break;
  }
  return scales_offset() + 4 * groups();
}

int64_t LatentRowLayout::row_bytes() const {
  switch (format) {
    case LatentCacheFormat::kF32:
      return 4 * (latent + rope);
    case LatentCacheFormat::kBF16:
      return 2 * (latent + rope);
    case LatentCacheFormat::kFP8:
      break;
  }
  return (rope_offset() + 2 * rope + 3) / 4 * 4;
}

LatentCacheView latent_cache_view(const ConstTensorView& cache_SX, int64_t latent) {
  check_dtype("latent_cache_view", "cache_SX", cache_SX, {DType::kF32, DType::kBF16});
  const auto format =
      cache_SX.dtype == DType::kF32 ? LatentCacheFormat::kF32 : LatentCacheFormat::kBF16;
  return {.layout = {format, latent, cache_SX.cols() - latent},
          .length = cache_SX.rows(),
          .rows = static_cast<const std::byte*>(cache_SX.data),
          .row_stride = cache_SX.stride[0] * static_cast<int64_t>(size_of(cache_SX.dtype)),
          .pages = {},
          .device = cache_SX.device};
}

void append_latent_rows(Context& ctx, ConstTensorView latent_TC, ConstTensorView k_rope_TR,
                        const LatentRowLayout& layout, std::byte* rows) {
  const char* name = "append_latent_rows";
  const int64_t T = latent_TC.rows();
  check_same_device(name, ctx, {latent_TC, k_rope_TR});
  check_dtype(name, "latent_TC", latent_TC, {DType::kF32, DType::kBF16});
  check_dtype(name, "k_rope_TR", k_rope_TR, {DType::kF32, DType::kBF16});
  check_shape(name, "latent_TC", latent_TC, {T, layout.latent});
  check_shape(name, "k_rope_TR", k_rope_TR, {T, layout.rope});
  const RowOps& ops = cpu::ops_table(ctx.isa).row;
  const cpu::LatentRowWriter& writer = cpu::latent_row_writer(ctx.isa);
  const ArenaScope scope(ctx.arena);
  auto* scratch = ctx.arena.alloc_array<float>(ctx.pool.size() * layout.latent);
  ctx.pool.for_range(T, kAppendGrain, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t t = begin; t < end; ++t)
      append_row(ops, writer, latent_TC.row_range(t, 1), k_rope_TR.row_range(t, 1), layout,
                 scratch + thread * layout.latent, rows + t * layout.row_bytes());
  });
}

void read_latent_rows(Context& ctx, const LatentCacheView& cache, TensorView rows_SX) {
  const char* name = "read_latent_rows";
  const LatentRowLayout& layout = cache.layout;
  const int64_t C = layout.latent, R = layout.rope;
  check_same_device(name, ctx, {rows_SX});
  check_dtype(name, "rows_SX", rows_SX, {DType::kF32, DType::kBF16});
  check_shape(name, "rows_SX", rows_SX, {cache.length, C + R});
  const auto precision =
      layout.format == LatentCacheFormat::kF32 ? GemmPrecision::kF32 : GemmPrecision::kBF16;
  const cpu::LatentKernels& kernels = cpu::latent_kernels(ctx.isa, precision);
  const RowOps& ops = cpu::ops_table(ctx.isa).row;
  const bool bf16 = kernels.dtype == DType::kBF16;
  const int64_t rope_bytes = kernels.pad_latent(C) * static_cast<int64_t>(size_of(kernels.dtype));
  const ArenaScope scope(ctx.arena);
  auto* scratch = ctx.arena.alloc_array<std::byte>(ctx.pool.size() * kernels.row_bytes(layout));
  ctx.pool.for_range(cache.length, kAppendGrain, [&](int64_t begin, int64_t end, int thread) {
    std::byte* row = scratch + thread * kernels.row_bytes(layout);
    for (int64_t s = begin; s < end; ++s) {
      kernels.load_rows(layout, cache.row(s), layout.row_bytes(), 1, row);
      ops.copy({row, C, bf16}, rows_of(rows_SX.row_range(s, 1).col_range(0, C)), C);
      ops.copy({row + rope_bytes, R, bf16}, rows_of(rows_SX.row_range(s, 1).col_range(C, R)), R);
    }
  });
}

}  // namespace fathom::kernels
