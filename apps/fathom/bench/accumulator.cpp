// fathom bench accumulator: the error of an FP8 tensor core's sum against FP64, by the interval N_C
// after which it is promoted to FP32 (report section 3.3.2).
#include "bench/accumulator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "base/file.h"
#include "base/philox.h"
#include "bench/bench.h"
#include "bench/runner.h"
#include "kernels/emulated_gemm.h"
#include "kernels/gemm.h"
#include "kernels/measure.h"

namespace fathom::app {
namespace {

using kernels::ScaleTile;

/// Value i of a kind of inputs.
float random_value(const std::string& inputs, const Philox& rng, uint64_t i) {
  if (inputs == "normal") return rng.normal2(i / 2)[i % 2];
  if (inputs == "uniform") return rng.uniform(i);
  FATHOM_ASSERT(inputs == "symmetric");
  return 2 * rng.uniform(i) - 1;
}

/// Inputs and their FP8 values, with powers of two for scales so that these are exact in FP32.
struct Operand {
  Operand(Context& ctx, const std::string& inputs, uint64_t stream, int64_t rows, int64_t depth,
          ScaleTile tile)
      : original(DType::kF32, {rows, depth}),
        rounded(DType::kF32, {rows, depth}),
        codes(DType::kE4M3, {rows, depth}),
        scale(DType::kF32, {kernels::scale_rows(rows, tile), kernels::scale_cols(depth, tile)}),
        quantized(codes.view(), scale.view(), tile) {
    const Philox rng(1, stream);
    auto* values = original.as<float>();
    for (int64_t i = 0; i < rows * depth; ++i)
      values[i] = random_value(inputs, rng, static_cast<uint64_t>(i));
    kernels::quantize(ctx, original, quantized, kernels::ScaleFormat::kPowerOfTwo);
    kernels::dequantize(ctx, quantized, rounded);
  }
  Tensor original, rounded, codes, scale;
  kernels::QuantizedView quantized;
};

/// a · bᵀ in FP64, row-major.
std::vector<double> exact_product(Context& ctx, const Tensor& a_MK, const Tensor& b_NK) {
  const int64_t m = a_MK.view().rows(), n = b_NK.view().rows(), depth = a_MK.view().cols();
  const auto *a = a_MK.as<float>(), *b = b_NK.as<float>();
  std::vector<double> out(static_cast<size_t>(m * n));
  ctx.pool.for_each(m, [&](int64_t i, int) {
    for (int64_t j = 0; j < n; ++j) {
      double sums[8] = {};  // independent, so that additions overlap
      for (int64_t k = 0; k < depth; ++k)
        sums[k % 8] += static_cast<double>(a[i * depth + k]) * b[j * depth + k];
      double total = 0;
      for (const double s : sums) total += s;
      out[static_cast<size_t>(i * n + j)] = total;
    }
  });
  return out;
}

AccumulatorError error_of(const Tensor& c, const std::vector<double>& exact) {
  const auto* results = c.as<float>();
  double squares = 0, error_squares = 0, magnitudes = 0, growth = 0;
  AccumulatorError out;
  std::vector<double> relative;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double magnitude = std::abs(exact[i]), error = std::abs(results[i] - exact[i]);
    squares += exact[i] * exact[i];
    error_squares += error * error;
    magnitudes += magnitude;
    growth += std::abs(results[i]) - magnitude;
    out.max = std::max(out.max, error);
    if (magnitude > 0) relative.push_back(error / magnitude);
  }
  if (relative.empty()) return out;
  out.max /= std::sqrt(squares / static_cast<double>(exact.size()));
  out.rms = std::sqrt(error_squares / squares);
  out.bias = growth / magnitudes;
  out.max_relative = *std::max_element(relative.begin(), relative.end());
  out.median_relative = kernels::median(std::move(relative));
  return out;
}

void check(const BenchAccumulatorOptions& o) {
  if (128 % o.group != 0)
    throw UsageError(fmt::format("--group {} does not divide 128, the values of a scale", o.group),
                     "give a power of two up to 128");
  for (const int64_t interval : o.intervals)
    if (interval % o.group != 0 || (interval > 0 && interval < 128 && 128 % interval != 0))
      throw UsageError(
          fmt::format("--intervals {}: no promotion can follow so many products", interval),
          fmt::format("give 0 (never), multiples of {} that divide 128, or multiples above",
                      o.group));
}

std::string sum_name(const AccumulatorCase& c) {
  if (c.fp32) return "FP32";
  return c.interval == 0 ? "emulated, never promoted" : fmt::format("emulated, N_C {}", c.interval);
}

void print_head(const BenchAccumulatorOptions& o) {
  fmt::print(
      "{}x{}x{}; accumulator of {} bits, groups of {}. Errors against FP64, in percent:\n"
      "of the sum alone (max and rms over the results' rms; relative to each result; bias), and "
      "with the rounding to FP8\n{:<10} {:<26}{:>10}{:>10}{:>12}{:>12}{:>11}{:>11}{:>10}\n",
      o.m, o.n, o.k, o.bits, o.group, "inputs", "sum", "max", "rms", "relative", "its median",
      "bias", "FP8 max", "FP8 rms");
}

void print_row(const AccumulatorCase& c) {
  const AccumulatorError &e = c.error, &q = c.with_quantization;
  fmt::print("{:<10} {:<26}{:>10.3g}{:>10.3g}{:>12.3g}{:>12.3g}{:>+11.3g}{:>11.3g}{:>10.3g}\n",
             c.inputs, sum_name(c), 100 * e.max, 100 * e.rms, 100 * e.max_relative,
             100 * e.median_relative, 100 * e.bias, 100 * q.max, 100 * q.rms);
}

void print_table(const std::vector<AccumulatorCase>& cases, const BenchAccumulatorOptions& o) {
  print_head(o);
  for (const AccumulatorCase& c : cases) print_row(c);
  if (std::fflush(stdout) != 0) throw_errno("cannot write to standard output");
}

Report report_of(const AccumulatorError& e) {
  Report out;
  out.add("max_error", e.max);
  out.add("rms_error", e.rms);
  out.add("max_relative_error", e.max_relative);
  out.add("median_relative_error", e.median_relative);
  out.add("bias", e.bias);
  return out;
}

Report report_of(const AccumulatorCase& c, const BenchAccumulatorOptions& o) {
  Report out;
  out.add("name", sum_name(c));
  out.add("shape", fmt::format("{}x{}x{}", o.m, o.n, o.k));
  out.add("inputs", c.inputs);
  out.add("accumulator", c.fp32 ? "fp32" : "emulated");
  if (!c.fp32) out.add("promotion_interval", c.interval);
  out.add("seconds", c.seconds);
  out.add("accumulation", report_of(c.error));
  out.add("with_quantization", report_of(c.with_quantization));
  return out;
}

void print_json(const std::vector<AccumulatorCase>& cases, const BenchAccumulatorOptions& o,
                const Session& session) {
  Report report;
  report.add("threads", static_cast<int64_t>(session.pool.size()));
  report.add("isa", name_of(session.ctx.isa));
  report.add("bits", o.bits);
  report.add("group", o.group);
  std::vector<Report> rows;
  for (const AccumulatorCase& c : cases) rows.push_back(report_of(c, o));
  report.add("cases", rows);
  report.print(true);
}

/// All ways of summing one product.
class Study {
 public:
  Study(Context& ctx, const BenchAccumulatorOptions& o, const std::string& inputs)
      : ctx_(ctx),
        options_(o),
        inputs_(inputs),
        a_(ctx, inputs, 1, o.m, o.k, kernels::kTile1x128),
        b_(ctx, inputs, 2, o.n, o.k, kernels::kBlock128x128),
        c_(DType::kF32, {o.m, o.n}),
        rounded_(exact_product(ctx, a_.rounded, b_.rounded)),
        original_(exact_product(ctx, a_.original, b_.original)) {}

  AccumulatorCase fp32() {
    AccumulatorCase out = measure([&] {
      kernels::gemm_nt(ctx_, a_.rounded, b_.rounded, c_, {kernels::GemmPrecision::kF32});
    });
    out.fp32 = true;
    return out;
  }

  AccumulatorCase emulated(int64_t interval) {
    AccumulatorCase out = measure([&] {
      kernels::emulated_gemm(
          ctx_, a_.quantized, b_.quantized, c_,
          {static_cast<int>(options_.group), static_cast<int>(options_.bits), interval});
    });
    out.interval = interval;
    return out;
  }

 private:
  AccumulatorCase measure(const std::function<void()>& product) {
    AccumulatorCase out;
    out.inputs = inputs_;
    out.seconds = kernels::seconds_of(product);
    out.error = error_of(c_, rounded_);
    out.with_quantization = error_of(c_, original_);
    return out;
  }

  Context& ctx_;
  const BenchAccumulatorOptions& options_;
  std::string inputs_;
  Operand a_, b_;
  Tensor c_;
  std::vector<double> rounded_, original_;
};

}  // namespace

int run_bench_accumulator(const GlobalOptions& global, const BenchAccumulatorOptions& o) {
  check(o);
  require_memory(static_cast<double>(o.m + o.n) * static_cast<double>(o.k) * 9 +
                 static_cast<double>(o.m) * static_cast<double>(o.n) * 36);
  Session session(global);
  std::vector<AccumulatorCase> cases;
  for (const std::string& inputs : o.inputs) {
    Study study(session.ctx, o, inputs);
    cases.push_back(study.fp32());
    for (const int64_t interval : o.intervals) cases.push_back(study.emulated(interval));
  }
  if (!o.svg.empty()) write_text_file(o.svg, draw_accumulator(cases, o.k));
  if (global.json)
    print_json(cases, o, session);
  else
    print_table(cases, o);
  return 0;
}

}  // namespace fathom::app
