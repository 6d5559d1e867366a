#include "train/run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/progress.h"
#include "checkpoint/atomic_directory.h"
#include "checkpoint/model_io.h"
#include "kernels/cpu/roof.h"
#include "text/tokenizer.h"
#include "train/run_state.h"
#include "train/trainer.h"

namespace fathom::train {
namespace fs = std::filesystem;
namespace {

bool is_checkpoint(const std::string& model) {
  return fs::exists(fs::path(model) / "config.json");
}

ModelConfig model_config(const std::string& model) {
  if (is_checkpoint(model)) return ModelConfig::from_file(fs::path(model) / "config.json");
  if (model.ends_with(".json")) return ModelConfig::from_file(model);
  return ModelConfig::preset(model);
}

fs::path tokenizer_path(const TrainConfig& config) {
  if (!config.data.tokenizer.empty()) return config.data.tokenizer;
  if (is_checkpoint(config.model)) return config.model;
  throw Error("no tokenizer is given",
              "set data.tokenizer to a directory with tokenizer.json (fathom tokenizer train)");
}

void check_run_directory(const fs::path& directory, bool resume) {
  if (!resume && fs::exists(directory / "metrics.jsonl"))
    throw Error(fmt::format("{} already holds a run", directory.string()),
                "continue it with --resume, or choose another --out");
  make_directories(directory / "checkpoints");
  clean_checkpoints(directory / "checkpoints");
}

void check_lengths(const TrainConfig& config, const ModelConfig& model) {
  if (config.data.seq_len > model.max_position_embeddings)
    throw Error(fmt::format("data.seq_len = {} is past the model's max_position_embeddings = {}",
                            config.data.seq_len, model.max_position_embeddings),
                "choose a shorter seq_len");
}

// One line of batches.jsonl: what a step was trained on.
std::string batch_line(int64_t step, const Batch& batch) {
  const int64_t width = batch.seq_len + batch.lookahead;
  std::string line = fmt::format("{{\"step\":{},\"tokens\":[", step);
  for (int64_t s = 0; s < batch.sequences; ++s) {
    const auto begin = batch.tokens.begin() + s * width;
    line += fmt::format("{}[{}]", s ? "," : "", fmt::join(begin, begin + width, ","));
  }
  return line + "]}\n";
}

// One run, from the step it starts or resumes at to its last.
class Run {
 public:
  Run(Context& ctx, const TrainConfig& config, const fs::path& directory, bool resume)
      : ctx_(ctx),
        config_(config),
        directory_(directory),
        tokenizer_path_(tokenizer_path(config)),
        model_config_(model_config(config.model)),
        schedule_(config),
        tokenizer_(Tokenizer::load(tokenizer_path_)),
        data_(open_data()),
        storage_(model_config_, DType::kF32, true),
        optimizer_(model_config_, storage_.weights, optimizer_options(config)),
        fp8_(fp8_weights()),
        model_(model_config_, storage_.weights, config.data.seq_len) {
    start(resume);
  }

  RunResult train();

 private:
  static OptimizerOptions optimizer_options(const TrainConfig& config);
  TokenDataset open_data();
  std::optional<Fp8Weights> fp8_weights();
  void start(bool resume);
  bool restore_newest();
  void log_start() const;

  fs::path step_directory(int64_t step) const {
    return directory_ / "checkpoints" / fmt::format("step-{}", step);
  }
  void save(const fs::path& directory);
  void save_final();
  void save_step();
  bool evaluates_at(int64_t step) const;
  void after_step(StepMetrics& metrics, Trainer& trainer);
  [[noreturn]] void stop_on_spike(const std::string& reason) const;
  RunResult result(const StepMetrics& last, int64_t tokens, double seconds, bool finished) const;

  Context& ctx_;
  const TrainConfig& config_;
  fs::path directory_, tokenizer_path_;
  ModelConfig model_config_;
  Schedule schedule_;
  Tokenizer tokenizer_;
  TokenDataset data_;
  ModelStorage storage_;
  Optimizer optimizer_;
  std::optional<Fp8Weights> fp8_;  // attached to the weights before the model takes views of them
  Transformer model_;
  RunState state_;
};

OptimizerOptions Run::optimizer_options(const TrainConfig& config) {
  const TrainConfig::Optimizer& o = config.optimizer;
  return {static_cast<float>(o.betas[0]),
          static_cast<float>(o.betas[1]),
          static_cast<float>(o.eps),
          static_cast<float>(o.weight_decay),
          o.moments == Precision::kBf16 ? DType::kBF16 : DType::kF32,
          static_cast<float>(o.ema_decay)};
}

TokenDataset Run::open_data() {
  check_lengths(config_, model_config_);
  DatasetOptions options;
  options.data = config_.data;
  options.seed = static_cast<uint64_t>(config_.train.seed);
  options.mtp_depth = model_config_.num_nextn_predict_layers;
  options.vocab_size = model_config_.vocab_size;
  options.cache_dir =
      config_.data.cache_dir.empty() ? directory_ / "cache" : config_.data.cache_dir;
  return TokenDataset::open(options, text_encoder(tokenizer_), ctx_.pool);
}

std::optional<Fp8Weights> Run::fp8_weights() {
  if (config_.train.precision != Precision::kFp8) return std::nullopt;
  return Fp8Weights(model_config_, storage_.weights, config_.fp8.recipe);
}

void Run::start(bool resume) {
  if (resume && restore_newest()) return log_start();
  if (is_checkpoint(config_.model))
    copy_weights(ctx_, StoredModel::open(config_.model), storage_.weights);
  else
    initialize(model_config_, storage_.weights, static_cast<uint64_t>(config_.train.seed));
  log_start();
}

// A checkpoint that is whole but does not fit the configuration is an error: going on from an older
// one, or from nothing, would overwrite what the user wants to keep.
bool Run::restore_newest() {
  std::vector<fs::path> newest_first = list_checkpoints(directory_ / "checkpoints");
  if (fs::exists(directory_ / "final"))
    newest_first.insert(newest_first.begin(), directory_ / "final");
  const std::optional<fs::path> path = newest_whole(newest_first);
  if (!path) {
    log_info("no checkpoint to resume from, starting at step 0");
    return false;
  }
  state_ = load_checkpoint(*path, model_config_, storage_.weights, optimizer_);
  log_info("resuming", {{"checkpoint", path->string()}, {"step", fmt::to_string(state_.step)}});
  return true;
}

void Run::log_start() const {
  const std::string toml = config_.to_toml();
  log_info(fmt::format("effective configuration:\n{}", toml));
  write_text_file(directory_ / "config.toml", toml);
  log_info("training", {{"steps", fmt::to_string(schedule_.steps())},
                        {"tokens", fmt::to_string(schedule_.total_tokens())},
                        {"train_tokens", fmt::to_string(data_.train_tokens())},
                        {"threads", fmt::to_string(ctx_.pool.size())},
                        {"isa", name_of(ctx_.isa)}});
}

void Run::save(const fs::path& directory) {
  state_.config_toml = config_.to_toml();
  save_checkpoint(ctx_, directory, model_config_, storage_.weights, optimizer_, state_,
                  tokenizer_path_, config_.train.precision);
}

void Run::save_final() {
  save(directory_ / "final");
  if (config_.optimizer.ema_decay == 0 || optimizer_.steps_taken() == 0) return;
  ModelWeights averaged = optimizer_.averaged(model_config_, storage_.weights);
  AtomicDirectory out(directory_ / "final-ema");
  copy_tokenizer(tokenizer_path_, out.path());
  save_model(ctx_, out.path(), model_config_, averaged, storage_dtype(config_.train.precision));
  out.commit();
}

void Run::save_step() {
  const fs::path path = step_directory(state_.step);
  save(path);
  log_info("saved checkpoint", {{"path", path.string()}});
  if (config_.train.keep_checkpoints == 0) return;
  const std::vector<fs::path> all = list_checkpoints(directory_ / "checkpoints");
  for (size_t i = static_cast<size_t>(config_.train.keep_checkpoints); i < all.size(); ++i)
    remove_directory(all[i]);
}

void Run::stop_on_spike(const std::string& reason) const {
  const std::vector<fs::path> all = list_checkpoints(directory_ / "checkpoints");
  throw Error(reason, all.empty()
                          ? "no checkpoint was written yet; lower optimizer.lr"
                          : fmt::format("the last good checkpoint is {}; lower optimizer.lr "
                                        "and continue with --resume",
                                        all.front().string()));
}

bool Run::evaluates_at(int64_t step) const {
  const int64_t every = config_.train.eval_every;
  return step == schedule_.steps() || (every > 0 && step % every == 0);
}

void Run::after_step(StepMetrics& metrics, Trainer& trainer) {
  state_.step = metrics.step;
  state_.tokens = metrics.tokens;
  state_.loss = metrics.loss;
  if (!evaluates_at(state_.step)) return;
  state_.valid_loss = metrics.valid_loss = trainer.evaluate();
  if (metrics.valid_loss)
    log_info("evaluated", {{"step", fmt::to_string(state_.step)},
                           {"loss", fmt::format("{:.4f}", metrics.loss)},
                           {"valid_loss", fmt::format("{:.4f}", *metrics.valid_loss)}});
}

RunResult Run::result(const StepMetrics& last, int64_t tokens, double seconds,
                      bool finished) const {
  RunResult r;
  r.last = last;
  if (seconds > 0) {
    r.last.tflops *= static_cast<double>(tokens) / seconds / last.tokens_per_s;
    r.last.mfu *= static_cast<double>(tokens) / seconds / last.tokens_per_s;
    r.last.tokens_per_s = static_cast<double>(tokens) / seconds;
  }
  r.valid_loss = state_.valid_loss;
  r.seconds = state_.seconds;
  r.finished = finished;
  r.model = finished ? directory_ / "final" : step_directory(state_.step);
  return r;
}

RunResult Run::train() {
  const double peak = kernels::measure_peak_flops(ctx_, pass_options(config_).precision);
  Trainer trainer(ctx_, config_, model_, storage_.weights, optimizer_, data_, peak,
                  fp8_ ? &*fp8_ : nullptr);
  MetricsWriter metrics_writer(directory_, state_.step);
  std::optional<AppendFile> batches;
  if (config_.train.log_batches) {
    cut_back_lines(directory_ / "batches.jsonl", state_.step);
    batches.emplace(directory_ / "batches.jsonl");
  }
  SpikeDetector spikes({config_.train.loss_spike_factor, config_.train.loss_spike_sigmas,
                        config_.train.loss_spike_steps});
  spikes.restore(state_.spike);
  const InterruptGuard interrupt(
      "\nstopping after this step and saving a checkpoint; once more to quit without\n");
  Progress progress("training", static_cast<double>(schedule_.steps() - state_.step), "step");
  const int64_t first = state_.step;
  int64_t tokens = 0;
  double seconds = 0;
  StepMetrics last;
  last.step = state_.step;
  last.tokens = state_.tokens;
  last.loss = state_.loss;
  while (state_.step < schedule_.steps() && !interrupt.requested()) {
    const StepPlan plan = schedule_.at(state_.step + 1);
    const auto start = std::chrono::steady_clock::now();
    const bool statistics = config_.fp8.statistics && evaluates_at(plan.step);
    last = trainer.step(
        plan,
        [&](const Batch& batch) {
          if (batches) batches->append(batch_line(plan.step, batch));
        },
        statistics);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    seconds += took.count();
    state_.seconds += took.count();
    tokens += plan.tokens_after - plan.tokens_before;
    if (const auto reason = spikes.observe(plan.step, last.loss, last.grad_norm)) {
      metrics_writer.write(last);
      stop_on_spike(*reason);
    }
    state_.spike = spikes.state();
    after_step(last, trainer);
    metrics_writer.write(last);
    progress.update(static_cast<double>(state_.step - first), progress_note(last));
    if (config_.train.checkpoint_every > 0 && state_.step % config_.train.checkpoint_every == 0 &&
        state_.step < schedule_.steps())
      save_step();
  }
  const bool finished = state_.step >= schedule_.steps();
  if (!finished)
    save_step();
  else if (state_.step > first || !fs::exists(directory_ / "final"))
    save_final();
  return result(last, tokens, seconds, finished);
}

}  // namespace

RunResult run_training(Context& ctx, const TrainConfig& config, const fs::path& directory,
                       bool resume) {
  check_run_directory(directory, resume);
  return Run(ctx, config, directory, resume).train();
}

}  // namespace fathom::train
