// fathom bench prefill, decode: the engine on random weights and tokens.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "bench/model.h"
#include "bench/runner.h"
#include "infer/engine.h"
#include "model/flops.h"
#include "model/parameter_count.h"
#include "model_argument.h"

namespace fathom::app {
namespace {

/// A random model with an engine for sequences of up to `length` tokens.
struct RandomModel {
  RandomModel(Session& session, const BenchModelOptions& o, int64_t length)
      : config(config_of(o.model)),
        precision(parse_precision(o.precision)),
        element(precision == kernels::GemmPrecision::kBF16 ? 2 : 4),
        storage(checked(), element == 2 ? DType::kBF16 : DType::kF32, false),
        model(config, storage.weights, length),
        engine(model, session.pool, {.precision = precision}) {
    initialize(config, storage.weights, 1);
  }

  const ModelConfig& checked() const {
    const ParameterCount n = count_parameters(config);
    require_memory(element * static_cast<double>(n.total + n.mtp));
    return config;
  }

  ModelConfig config;
  kernels::GemmPrecision precision;
  double element;  ///< bytes of a weight, and of a value in the cache
  ModelStorage storage;
  Transformer model;
  Engine engine;
};

// Every token's products, at half of the longest context on average; the head only for the last.
double prefill_flops(const ModelConfig& config, int64_t tokens) {
  const auto T = static_cast<double>(tokens);
  const auto head = static_cast<double>(count_parameters(config).embedding);
  return T * inference_flops_per_token(config, tokens / 2) - 2 * (T - 1) * head;
}

// Each weight once. A balanced router leaves an expert out with probability (1 - k/E)^tokens.
double prefill_bytes(const ModelConfig& config, int64_t tokens, double element) {
  const ParameterCount n = count_parameters(config);
  auto weights = static_cast<double>(n.active_no_embed);
  if (config.n_routed_experts > 0) {
    const auto E = static_cast<double>(config.n_routed_experts);
    const auto k = static_cast<double>(config.num_experts_per_tok);
    const double used = E * (1 - std::pow(1 - k / E, static_cast<double>(tokens)));
    int64_t layers = 0;
    for (int64_t i = 0; i < config.num_hidden_layers; ++i) layers += config.is_moe_layer(i);
    weights += (used - k) * static_cast<double>(layers * n.expert);
  }
  return element * weights;
}

}  // namespace

int run_bench_prefill(const GlobalOptions& global, const BenchModelOptions& o) {
  BenchRun run(global, o, o.tokens.size());
  RandomModel m(run.session(), o, *std::max_element(o.tokens.begin(), o.tokens.end()));
  for (const int64_t count : o.tokens) {
    if (run.stopped()) break;
    const std::vector<int32_t> tokens = random_tokens(m.config, count, 1);
    BenchCase row;
    row.name = "prefill " + o.model;
    row.shape = fmt::format("{} tokens, {}", count, o.precision);
    row.work = {prefill_flops(m.config, count), prefill_bytes(m.config, count, m.element),
                m.precision};
    row.run = [&](int64_t) {
      m.engine.truncate(0);
      m.engine.prefill(tokens);
    };
    row.details = [&](double seconds, Report& r) {
      add_parameters(r, m.config);
      r.add("tokens_per_s", static_cast<double>(count) / seconds);
    };
    run.measure(row);
  }
  return run.finish();
}

int run_bench_decode(const GlobalOptions& global, const BenchModelOptions& o) {
  BenchRun run(global, o, 1);
  RandomModel m(run.session(), o, o.prompt + o.new_tokens);
  m.engine.prefill(random_tokens(m.config, o.prompt, 1));
  // Random tokens, so that experts are visited as by a balanced router.
  const std::vector<int32_t> tokens = random_tokens(m.config, o.new_tokens, 2);
  const auto count = static_cast<double>(o.new_tokens);
  const double bytes =
      decode_bytes_per_token(m.config, m.element, m.element, o.prompt + o.new_tokens / 2);
  BenchCase row;
  row.name = "decode " + o.model;
  row.shape = fmt::format("{} tokens after {}, {}", o.new_tokens, o.prompt, o.precision);
  row.work = {0, count * bytes, m.precision};
  row.run = [&](int64_t) {
    m.engine.truncate(o.prompt);
    for (const int32_t token : tokens) m.engine.decode({&token, 1});
  };
  row.details = [&](double seconds, Report& r) {
    add_parameters(r, m.config);
    r.add("tokens_per_s", count / seconds);
    r.add("bytes_per_token", bytes, fmt::format("{:.1f} MB", bytes / 1e6));
  };
  run.measure(row);
  return run.finish();
}

}  // namespace fathom::app
