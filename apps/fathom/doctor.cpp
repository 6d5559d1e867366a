#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/log.h"
#include "checkpoint/model_io.h"
#include "kernels/cpu/roof.h"
#include "model/flops.h"
#include "model/parameter_count.h"
#include "model_argument.h"
#include "options.h"
#include "report.h"
#include "session.h"

namespace fathom::app {
namespace {

// Bytes a weight takes: as stored, or BF16 for a shape without a checkpoint.
double bytes_per_weight(const std::string& model, const ModelConfig& config) {
  if (!std::filesystem::is_directory(model)) return 2;
  const ParameterCount n = count_parameters(config);
  const auto stored = static_cast<double>(StoredModel::open(model).bytes);
  const auto copies = static_cast<double>(2 * config.num_nextn_predict_layers * n.embedding);
  return stored / (static_cast<double>(n.total + n.mtp) + copies);
}

// One sequence, short context: the larger of the time to read the weights and to multiply them.
double predict_decode(const std::string& model, double read_gb_s, double tflops) {
  const ModelConfig config = config_of(model);
  const double bytes = decode_bytes_per_token(config, bytes_per_weight(model, config), 2, 0);
  const double memory_seconds = bytes / (read_gb_s * 1e9);
  const double compute_seconds = inference_flops_per_token(config, 0) / (tflops * 1e12);
  return 1 / std::max(memory_seconds, compute_seconds);
}

}  // namespace

int run_doctor(const GlobalOptions& global, const DoctorArguments& options) {
  Session session(global);
  log_info("measuring memory bandwidth and arithmetic peak");
  const double read_gb_s = kernels::measure_read_bandwidth(session.ctx) / 1e9;
  const double bf16 =
      kernels::measure_peak_flops(session.ctx, kernels::GemmPrecision::kBF16) / 1e12;
  const double fp32 = kernels::measure_peak_flops(session.ctx, kernels::GemmPrecision::kF32) / 1e12;
  Report report;
  report.add("cpu", cpu_model_name());
  report.add("threads", static_cast<int64_t>(session.pool.size()));
  report.add("isa_active", name_of(session.ctx.isa));
  report.add("read_gb_s", read_gb_s, fmt::format("{:.1f} GB/s", read_gb_s));
  report.add("bf16_tflops", bf16, fmt::format("{:.3f} TFLOP/s", bf16));
  report.add("fp32_tflops", fp32, fmt::format("{:.3f} TFLOP/s", fp32));
  if (!options.model.empty()) {
    const double rate = predict_decode(options.model, read_gb_s, bf16);
    report.add("predicted_decode_tokens_per_s", rate,
               fmt::format("{:.1f} (one sequence, short context, at full bandwidth)", rate));
  }
  report.print(global.json);
  return 0;
}

}  // namespace fathom::app
