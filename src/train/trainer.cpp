#include "train/trainer.h"

#include <algorithm>
#include <chrono>

#include "base/process_memory.h"
#include "model/flops.h"
#include "model/rounding_observer.h"

namespace fathom::train {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Sequences [begin, begin + count) of a batch.
TokenWindows windows_of(const Batch& batch, int64_t begin, int64_t count) {
  const int64_t width = batch.seq_len + batch.lookahead;
  return {batch.tokens.data() + begin * width, count, batch.seq_len, batch.lookahead};
}

}  // namespace

PassOptions pass_options(const TrainConfig& config) {
  const bool fp32 = config.train.precision == Precision::kFp32;
  PassOptions options = fp32 ? kernels::GemmPrecision::kF32 : kernels::GemmPrecision::kBF16;
  if (config.train.precision == Precision::kFp8) options.fp8 = &config.fp8.recipe;
  options.recompute = config.train.recompute;
  return options;
}

Trainer::Trainer(Context& ctx, const TrainConfig& config, const Transformer& model,
                 ModelWeights& weights, Optimizer& optimizer, TokenDataset& data, double peak_flops,
                 Fp8Weights* fp8)
    : ctx_(ctx),
      config_(config),
      model_(model),
      weights_(weights),
      optimizer_(optimizer),
      data_(data),
      peak_flops_(peak_flops),
      fp8_(fp8) {
  if (fp8_) fp8_->refresh(ctx_);
}

ObjectiveScales Trainer::scales(const StepPlan& plan, const Batch& batch) const {
  const auto depth = static_cast<double>(model_.config().num_nextn_predict_layers);
  const auto tokens = static_cast<double>(batch.sequences * batch.seq_len);
  ObjectiveScales s;
  s.main = static_cast<float>(1 / tokens);
  if (plan.mtp_lambda > 0 && depth > 0)
    s.mtp.assign(static_cast<size_t>(depth),
                 static_cast<float>(plan.mtp_lambda / (depth * tokens)));
  s.balance.alpha = static_cast<float>(config_.moe.balance_alpha);
  return s;
}

ObjectiveLosses Trainer::accumulate(const StepPlan& plan, const Batch& batch,
                                    const PassOptions& options, ExpertLoads& loads) {
  ObjectiveScales s = scales(plan, batch);
  ObjectiveLosses total;
  for (int64_t begin = 0; begin < batch.sequences; begin += config_.train.micro_batch) {
    const int64_t count = std::min(config_.train.micro_batch, batch.sequences - begin);
    // Each micro-batch's balance loss is a mean over its own sequences.
    s.balance.scale = static_cast<float>(count) / static_cast<float>(batch.sequences);
    ObjectiveLosses part = objective_forward_backward(ctx_, model_, windows_of(batch, begin, count),
                                                      options, s, &loads);
    part.balance *= static_cast<double>(s.balance.scale);
    total += part;
  }
  return total;
}

StepMetrics Trainer::measure(const StepPlan& plan, const ObjectiveLosses& losses,
                             const ExpertLoads& loads, double gradient_norm, double seconds) const {
  const ModelConfig& c = model_.config();
  const auto tokens = static_cast<double>(losses.tokens);
  const bool mtp = plan.mtp_lambda > 0 && c.num_nextn_predict_layers > 0;
  const double flops = training_flops_per_token(c, config_.data.seq_len, true, mtp) * tokens;
  StepMetrics m;
  m.step = plan.step;
  m.tokens = plan.tokens_after;
  m.loss = losses.main / tokens;
  if (mtp) m.mtp_loss = losses.mtp / tokens / static_cast<double>(c.num_nextn_predict_layers);
  if (!loads.empty()) {
    m.balance_loss = losses.balance;
    m.max_violation = max_violation(loads);
    m.expert_loads = loads;
  }
  m.lr = plan.lr;
  m.grad_norm = gradient_norm;
  m.tokens_per_s = tokens / seconds;
  m.tflops = flops / seconds / 1e12;
  m.mfu = flops / seconds / peak_flops_;
  m.activation_bytes = static_cast<int64_t>(losses.kept_bytes);
  m.peak_rss_bytes = peak_rss_bytes();
  return m;
}

StepMetrics Trainer::step(const StepPlan& plan, const std::function<void(const Batch&)>& on_batch,
                          bool statistics) {
  const auto start = std::chrono::steady_clock::now();
  const Batch batch = data_.train_batch(plan.first_sample, plan.sequences);
  if (on_batch) on_batch(batch);
  ExpertLoads loads;
  optimizer_.zero_gradients(ctx_);
  PassOptions options = pass_options(config_);
  std::optional<RoundingObserver> observer;
  if (statistics) options.observer = &observer.emplace(model_.config(), model_.weights());
  const ObjectiveLosses losses = accumulate(plan, batch, options, loads);
  const double norm = optimizer_.gradient_norm(ctx_);
  optimizer_.step(ctx_, static_cast<float>(plan.lr), norm,
                  static_cast<float>(config_.optimizer.grad_clip));
  update_correction_bias(weights_, loads, static_cast<float>(plan.bias_update_speed));
  if (fp8_) fp8_->refresh(ctx_);
  StepMetrics metrics = measure(plan, losses, loads, norm, seconds_since(start));
  if (observer) metrics.fp8_stats = observer->take();
  return metrics;
}

std::optional<double> Trainer::evaluate() {
  const int64_t seq_len = config_.data.seq_len;
  int64_t windows = data_.valid_samples();
  if (config_.train.eval_tokens > 0)
    windows = std::min(windows, std::max<int64_t>(1, config_.train.eval_tokens / seq_len));
  if (windows == 0) return std::nullopt;
  ObjectiveLosses total;
  for (int64_t begin = 0; begin < windows; begin += config_.train.micro_batch) {
    const int64_t count = std::min(config_.train.micro_batch, windows - begin);
    const Batch batch = data_.valid_batch(begin, count);
    total += objective_forward(ctx_, model_, windows_of(batch, 0, count), pass_options(config_));
  }
  return total.main / static_cast<double>(total.tokens);
}

}  // namespace fathom::train
