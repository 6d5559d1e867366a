#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/numa.h"
#include "checkpoint/model_io.h"
#include "kernels/cpu/roof.h"
#include "kernels/measure.h"
#include "model/flops.h"
#include "model/parameter_count.h"
#include "model_argument.h"
#include "options.h"
#include "prepare_weights.h"
#include "report.h"
#include "session.h"

namespace fathom::app {
namespace {

using kernels::GemmPrecision;

// Bytes a weight takes: as stored, or BF16 for a shape without a checkpoint.
double bytes_per_weight(const std::string& model, const ModelConfig& config) {
  if (!is_stored(model)) return 2;
  const StoredModel stored = StoredModel::open(model, {.read_values = false});
  warn_if_too_large(stored);
  const ParameterCount n = count_parameters(config);
  const auto copies = static_cast<double>(2 * config.num_nextn_predict_layers * n.embedding);
  return static_cast<double>(stored.bytes) / (static_cast<double>(n.total + n.mtp) + copies);
}

// What a token of one sequence takes at a short context.
struct DecodeCost {
  double bytes = 0, flops = 0;

  explicit DecodeCost(const std::string& model) {
    const ModelConfig config = config_of(model);
    bytes = decode_bytes_per_token(config, bytes_per_weight(model, config), 2, 0);
    flops = inference_flops_per_token(config, 0);
  }
  // By the larger of the time to read the weights and to multiply them.
  double tokens_per_s(double read_gb_s, double tflops) const {
    return 1 / std::max(bytes / (read_gb_s * 1e9), flops / (tflops * 1e12));
  }
};

void add_machine(Report& report, const Session& session) {
  const Machine& m = machine();
  report.add("cpu", cpu_model_name());
  report.add("cpus", format_cpu_list(m.allowed));
  report.add("cpus_online", static_cast<int64_t>(m.online.size()));
  report.add("cores", static_cast<int64_t>(m.cores.size()));
  report.add("smt", m.cores.size() < m.allowed.size());
  if (m.cpu_quota) report.add("cpu_quota", *m.cpu_quota);
  report.add("local_ranks", static_cast<int64_t>(m.ranks.size));
  std::vector<std::string> nodes;
  for (const CpuList& node : m.nodes) nodes.push_back(format_cpu_list(node));
  report.add("numa_nodes", nodes);
  report.add("huge_pages", huge_page_mode());
  const auto gib = [](int64_t bytes) {
    return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1 << 30));
  };
  report.add("memory_available_bytes", available_memory(), gib(available_memory()));
  const int64_t cache = last_level_cache_bytes();
  report.add("last_level_cache_bytes", cache, fmt::format("{} MiB", cache >> 20));
  report.add("threads", static_cast<int64_t>(session.pool.size()));
  report.add("isa_active", name_of(session.ctx.isa));
}

double add_bandwidth(Report& report, Session& session) {
  ThreadPool one(1);
  Context single{Device{}, one, session.arena};
  const kernels::ReadBandwidth bandwidth(session.ctx);
  const double all = bandwidth.measure(session.ctx) / 1e9;
  const double alone = bandwidth.measure(single) / 1e9;
  report.add("read_gb_s", all, fmt::format("{:.1f} GB/s", all));
  report.add("read_gb_s_1_thread", alone, fmt::format("{:.1f} GB/s", alone));
  return all;
}

// Of an empty job, the workers awake: what every parallel region adds to its work.
double fork_join_seconds(ThreadPool& pool) {
  constexpr int kJobs = 100, kSamples = 101;
  std::vector<double> samples;
  for (int s = 0; s < kSamples; ++s)
    samples.push_back(kernels::seconds_of([&] {
      for (int job = 0; job < kJobs; ++job) pool.run([](int) {});
    }));
  return kernels::median(samples) / kJobs;
}

// The multiply-add rates of the kernels of each instruction set; returns the active one's in BF16.
double add_peaks(Report& report, Session& session) {
  std::vector<Report> peaks;
  double active = 0;
  for (const Isa isa : available_isas()) {
    Context ctx{Device{}, session.pool, session.arena, isa};
    const double bf16 = kernels::measure_peak_flops(ctx, GemmPrecision::kBF16) / 1e12;
    const double fp32 = kernels::measure_peak_flops(ctx, GemmPrecision::kF32) / 1e12;
    const auto add = [&](Report& to) {
      to.add("bf16_tflops", bf16, fmt::format("{:.3f} TFLOP/s", bf16));
      to.add("fp32_tflops", fp32, fmt::format("{:.3f} TFLOP/s", fp32));
    };
    peaks.emplace_back();
    peaks.back().add("isa", name_of(isa));
    add(peaks.back());
    if (isa != session.ctx.isa) continue;
    add(report);
    active = bf16;
  }
  report.add("peaks", peaks);
  return active;
}

}  // namespace

int run_doctor(const GlobalOptions& global, const DoctorArguments& options) {
  std::optional<DecodeCost> decode;  // before anything is measured: the model may be wrong
  if (!options.model.empty()) decode.emplace(options.model);
  Session session(global);
  log_info("measuring memory bandwidth and arithmetic peak");
  Report report;
  add_machine(report, session);
  const double fork_join = fork_join_seconds(session.pool);
  report.add("fork_join_seconds", fork_join, fmt::format("{:.2f} us", fork_join * 1e6));
  const double read_gb_s = add_bandwidth(report, session);
  const double bf16 = add_peaks(report, session);
  if (decode) {
    const double rate = decode->tokens_per_s(read_gb_s, bf16);
    report.add(
        "predicted_decode_tokens_per_s", rate,
        fmt::format("{:.1f} (one sequence, short context, in memory, at full bandwidth)", rate));
  }
  report.print(global.json);
  return 0;
}

}  // namespace fathom::app
