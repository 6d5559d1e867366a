// fathom bench train: whole training steps on random tokens.
#include <fmt/format.h>

#include "base/philox.h"
#include "bench/model.h"
#include "bench/runner.h"
#include "model/flops.h"
#include "model/fp8_weights.h"
#include "model/parameter_count.h"
#include "model_argument.h"
#include "train/balance.h"
#include "train/objective.h"
#include "train/optimizer.h"

namespace fathom::app {
namespace {

// Forward, backward with all MTP modules, clipping and AdamW.
class TrainingStep {
 public:
  TrainingStep(Session& session, const ModelConfig& config, const BenchModelOptions& options)
      : session_(session),
        options_(options),
        storage_(config, DType::kF32, true),
        optimizer_(config, storage_.weights, {}),
        fp8_(fp8_weights(config)),
        model_(config, storage_.weights, options.seq_len) {
    initialize(config, storage_.weights, 1);
    if (fp8_) fp8_->refresh(session.ctx);
  }

  void operator()() {
    const ModelConfig& c = model_.config();
    const int64_t depth = c.num_nextn_predict_layers, lookahead = 1 + depth;
    const int64_t sequences = options_.micro_batch;
    const std::vector<int32_t> tokens =
        random_tokens(c, sequences * (options_.seq_len + lookahead), ++steps_);
    const train::TokenWindows windows{tokens.data(), sequences, options_.seq_len, lookahead};
    const auto count = static_cast<float>(windows.count());
    train::ObjectiveScales scales;
    scales.main = 1 / count;
    scales.mtp.assign(static_cast<size_t>(depth), 0.3f / static_cast<float>(depth) / count);
    scales.balance.alpha = 1e-4f;
    train::ExpertLoads loads;
    optimizer_.zero_gradients(session_.ctx);
    kept_bytes_ = train::objective_forward_backward(session_.ctx, model_, windows, pass_options(),
                                                    scales, &loads)
                      .kept_bytes;
    optimizer_.step(session_.ctx, 1e-4f, optimizer_.gradient_norm(session_.ctx), 1);
    if (fp8_) fp8_->refresh(session_.ctx);
    train::update_correction_bias(storage_.weights, loads, 1e-3f);
  }

  /// Kept for the backward of a step.
  size_t kept_bytes() const { return kept_bytes_; }

 private:
  std::optional<Fp8Weights> fp8_weights(const ModelConfig& config) {
    if (options_.precision != "fp8") return std::nullopt;
    return Fp8Weights(config, storage_.weights, recipe_);
  }
  PassOptions pass_options() const {
    PassOptions pass = parse_precision(options_.precision);
    if (fp8_) pass.fp8 = &recipe_;
    pass.recompute = fp8_ || options_.recompute;
    return pass;
  }

  Session& session_;
  const BenchModelOptions& options_;
  Fp8Recipe recipe_;
  ModelStorage storage_;
  train::Optimizer optimizer_;
  std::optional<Fp8Weights> fp8_;
  Transformer model_;
  uint64_t steps_ = 0;
  size_t kept_bytes_ = 0;
};

}  // namespace

std::vector<int32_t> random_tokens(const ModelConfig& config, int64_t count, uint64_t seed) {
  const Philox rng(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<int32_t>(rng.below(i, static_cast<uint64_t>(config.vocab_size)));
  return tokens;
}

void add_parameters(Report& row, const ModelConfig& config) {
  const ParameterCount n = count_parameters(config);
  row.add("parameters", n.total + n.mtp);
  row.add("active_parameters", n.active);
}

int run_bench_train(const GlobalOptions& global, const BenchModelOptions& o) {
  const ModelConfig config = config_of(o.model);
  const ParameterCount n = count_parameters(config);
  require_memory(16 * static_cast<double>(n.total + n.mtp));  // weights, gradients, two moments
  BenchRun run(global, o, 1);
  TrainingStep step(run.session(), config, o);
  const auto tokens = static_cast<double>(o.micro_batch * o.seq_len);
  BenchCase row;
  row.name = "train " + o.model;
  row.shape = fmt::format("{} x {} tokens, {}", o.micro_batch, o.seq_len, o.precision) +
              (o.recompute ? ", recomputing" : "");
  row.work = {tokens * training_flops_per_token(config, o.seq_len, true, true), 0,
              parse_precision(o.precision)};
  row.run = [&](int64_t) { step(); };
  row.details = [&](double seconds, Report& r) {
    add_parameters(r, config);
    r.add("tokens_per_s", tokens / seconds);
    r.add("activation_bytes", static_cast<int64_t>(step.kept_bytes()));
    r.add("workspace_bytes", static_cast<int64_t>(run.session().arena.peak()));
  };
  run.measure(row);
  return run.finish();
}

}  // namespace fathom::app
