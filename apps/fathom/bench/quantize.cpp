// fathom bench quantize: E4M3 with tile scales, and back. Bytes count inputs and outputs once.
#include "kernels/quantize.h"

#include <fmt/format.h>

#include "bench/runner.h"
#include "kernels/measure.h"

namespace fathom::app {
namespace {

using kernels::ScaleFormat;
using kernels::ScaleTile;

/// A matrix and its quantized forms by tiles of 1x128, 128x1 and 128x128.
struct Set {
  struct Quantized {
    Quantized(int64_t rows, int64_t cols, ScaleTile tile)
        : codes(DType::kE4M3, {rows, cols}),
          scale(DType::kF32, {kernels::scale_rows(rows, tile), kernels::scale_cols(cols, tile)}),
          view(codes.view(), scale.view(), tile) {}
    double bytes() const {
      return static_cast<double>(codes.view().bytes() + scale.view().bytes());
    }
    Tensor codes, scale;
    kernels::QuantizedView view;
  };

  Set(Context& ctx, const BenchQuantizeOptions& o)
      : x(kernels::random_tensor(ctx, dtype_of(o.dtype), {o.rows, o.cols})),
        rows(o.rows, o.cols, kernels::kTile1x128),
        columns(o.rows, o.cols, kernels::kTile128x1),
        blocks(o.rows, o.cols, kernels::kBlock128x128) {
    kernels::quantize(ctx, x, rows.view, ScaleFormat::kPowerOfTwo);
  }
  double x_bytes() const { return static_cast<double>(x.view().bytes()); }

  Tensor x;
  Quantized rows, columns, blocks;
};

struct Operation {
  const char* name;
  double bytes;
  std::function<void(const Set&)> run;
};

std::vector<Operation> operations(Context& ctx, const Set& s) {
  const auto quantize = [&ctx](Set::Quantized Set::*form) {
    return [&ctx, form](const Set& set) {
      kernels::quantize(ctx, set.x, (set.*form).view, ScaleFormat::kPowerOfTwo);
    };
  };
  return {{"quantize 1x128", s.x_bytes() + s.rows.bytes(), quantize(&Set::rows)},
          {"quantize 128x1", s.x_bytes() + s.columns.bytes(), quantize(&Set::columns)},
          {"quantize 128x128", s.x_bytes() + s.blocks.bytes(), quantize(&Set::blocks)},
          {"dequantize 1x128", s.x_bytes() + s.rows.bytes(),
           [&ctx](const Set& set) { kernels::dequantize(ctx, set.rows.view, set.x); }},
          {"requantize to 128x1", s.rows.bytes() + s.columns.bytes(), [&ctx](const Set& set) {
             kernels::requantize(ctx, set.rows.view, set.columns.view, ScaleFormat::kPowerOfTwo);
           }}};
}

}  // namespace

int run_bench_quantize(const GlobalOptions& global, const BenchQuantizeOptions& o) {
  BenchRun run(global, o, 5);
  std::vector<Set> sets;
  sets.emplace_back(run.ctx(), o);
  const auto count = static_cast<size_t>(sets_beyond_caches(sets[0].x_bytes()));
  require_memory(static_cast<double>(count) * 3 * sets[0].x_bytes());
  while (sets.size() < count) sets.emplace_back(run.ctx(), o);
  for (const Operation& op : operations(run.ctx(), sets[0])) {
    BenchCase row;
    row.name = op.name;
    row.shape = fmt::format("{}x{} {}", o.rows, o.cols, o.dtype);
    row.work = {0, op.bytes, precision_of(o.dtype)};
    row.run = [&](int64_t i) { op.run(sets[static_cast<size_t>(i) % count]); };
    run.measure(row);
  }
  return run.finish();
}

}  // namespace fathom::app
