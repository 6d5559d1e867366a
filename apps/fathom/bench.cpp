#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>

#include "base/philox.h"
#include "infer/engine.h"
#include "kernels/cpu/roof.h"
#include "model/flops.h"
#include "model/parameter_count.h"
#include "model_argument.h"
#include "options.h"
#include "report.h"
#include "session.h"
#include "train/balance.h"
#include "train/objective.h"
#include "train/optimizer.h"

namespace fathom::app {
namespace {

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// One warm-up, then as many runs as fit into `budget` seconds, at least three.
std::vector<double> measure(double budget, const std::function<void()>& work) {
  work();
  std::vector<double> times;
  for (double spent = 0; times.size() < 3 || spent < budget; spent += times.back())
    times.push_back(seconds_of(work));
  return times;
}

std::vector<int32_t> random_tokens(const ModelConfig& config, int64_t count, uint64_t seed) {
  const Philox rng(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<int32_t>(rng.below(i, static_cast<uint64_t>(config.vocab_size)));
  return tokens;
}

void add_shape(Report& c, const std::string& name, const ModelConfig& config,
               const std::string& what) {
  c.add("name", name);
  c.add("shape", what);
  const ParameterCount n = count_parameters(config);
  c.add("parameters", n.total + n.mtp);
  c.add("active_parameters", n.active);
}

void print_case(const GlobalOptions& global, Report c) {
  std::vector<Report> cases;
  cases.push_back(std::move(c));
  Report report;
  report.add("cases", cases);
  report.print(global.json);
}

// A training step on random tokens: forward, backward with all MTP modules, clipping and AdamW.
class TrainingStep {
 public:
  TrainingStep(Session& session, const ModelConfig& config, const BenchArguments& arguments)
      : session_(session),
        arguments_(arguments),
        storage_(config, DType::kF32, true),
        optimizer_(config, storage_.weights, {}),
        model_(config, storage_.weights, arguments.seq_len) {
    initialize(config, storage_.weights, 1);
  }

  void operator()() {
    const ModelConfig& c = model_.config();
    const int64_t depth = c.num_nextn_predict_layers, lookahead = 1 + depth;
    const int64_t sequences = arguments_.micro_batch;
    const std::vector<int32_t> tokens =
        random_tokens(c, sequences * (arguments_.seq_len + lookahead), ++steps_);
    const train::TokenWindows windows{tokens.data(), sequences, arguments_.seq_len, lookahead};
    const auto count = static_cast<float>(windows.count());
    train::ObjectiveScales scales;
    scales.main = 1 / count;
    scales.mtp.assign(static_cast<size_t>(depth), 0.3f / static_cast<float>(depth) / count);
    scales.balance.alpha = 1e-4f;
    train::ExpertLoads loads;
    optimizer_.zero_gradients(session_.ctx);
    train::objective_forward_backward(session_.ctx, model_, windows,
                                      parse_precision(arguments_.precision), scales, &loads);
    optimizer_.step(session_.ctx, 1e-4f, optimizer_.gradient_norm(session_.ctx), 1);
    train::update_correction_bias(storage_.weights, loads, 1e-3f);
  }

 private:
  Session& session_;
  const BenchArguments& arguments_;
  ModelStorage storage_;
  train::Optimizer optimizer_;
  Transformer model_;
  uint64_t steps_ = 0;
};

}  // namespace

int run_bench_train(const GlobalOptions& global, const BenchArguments& arguments) {
  const ModelConfig config = config_of(arguments.model);
  const auto precision = parse_precision(arguments.precision);
  Session session(global);
  TrainingStep step(session, config, arguments);
  const double before = kernels::measure_peak_flops(session.ctx, precision);
  const double seconds = median(measure(arguments.seconds, [&] { step(); }));
  const double roof = (before + kernels::measure_peak_flops(session.ctx, precision)) / 2;
  const auto tokens = static_cast<double>(arguments.micro_batch * arguments.seq_len);
  const double flops = tokens * training_flops_per_token(config, arguments.seq_len, true, true);
  Report c;
  add_shape(c, "train " + arguments.model, config,
            fmt::format("{} x {} tokens, {}", arguments.micro_batch, arguments.seq_len,
                        arguments.precision));
  c.add("seconds", seconds);
  c.add("tokens_per_s", tokens / seconds);
  c.add("tflops", flops / seconds / 1e12, fmt::format("{:.4f} (causal)", flops / seconds / 1e12));
  c.add("roof", roof / 1e12, fmt::format("{:.4f} TFLOP/s measured before and after", roof / 1e12));
  c.add("share_of_roof", flops / seconds / roof,
        fmt::format("{:.1f}% (MFU)", 100 * flops / seconds / roof));
  c.add("activation_bytes", static_cast<int64_t>(session.arena.capacity()));
  print_case(global, std::move(c));
  return 0;
}

int run_bench_decode(const GlobalOptions& global, const BenchArguments& arguments) {
  const ModelConfig config = config_of(arguments.model);
  const auto precision = parse_precision(arguments.precision);
  const bool bf16 = precision == kernels::GemmPrecision::kBF16;
  Session session(global);
  ModelStorage storage(config, bf16 ? DType::kBF16 : DType::kF32, false);
  initialize(config, storage.weights, 1);
  const int64_t length = arguments.prompt + arguments.new_tokens;
  const Transformer model(config, storage.weights, length);
  EngineOptions options;
  options.precision = precision;
  Engine engine(model, session.pool, options);
  engine.prefill(random_tokens(config, arguments.prompt, 1));

  // Random tokens, so that experts are visited as by a balanced router.
  const std::vector<int32_t> tokens = random_tokens(config, arguments.new_tokens, 2);
  const double before = kernels::measure_read_bandwidth(session.ctx);
  const double seconds = median(measure(arguments.seconds, [&] {
    engine.truncate(arguments.prompt);
    for (const int32_t token : tokens) engine.decode({&token, 1});
  }));
  const double roof = (before + kernels::measure_read_bandwidth(session.ctx)) / 2;
  const double rate = static_cast<double>(arguments.new_tokens) / seconds;
  const double bytes = decode_bytes_per_token(config, bf16 ? 2 : 4, bf16 ? 2 : 4,
                                              arguments.prompt + arguments.new_tokens / 2);
  Report c;
  add_shape(c, "decode " + arguments.model, config,
            fmt::format("{} tokens after {}, {}", arguments.new_tokens, arguments.prompt,
                        arguments.precision));
  c.add("seconds", seconds);
  c.add("tokens_per_s", rate);
  c.add("bytes_per_token", bytes, fmt::format("{:.1f} MB", bytes / 1e6));
  c.add("gb_s", rate * bytes / 1e9);
  c.add("roof", roof / 1e9, fmt::format("{:.1f} GB/s measured before and after", roof / 1e9));
  c.add("share_of_roof", rate * bytes / roof, fmt::format("{:.1f}%", 100 * rate * bytes / roof));
  c.add("predicted_tokens_per_s", roof / bytes);
  print_case(global, std::move(c));
  return 0;
}

}  // namespace fathom::app
