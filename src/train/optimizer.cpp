#include "train/optimizer.h"

#include <cmath>

#include "kernels/elementwise.h"

namespace fathom::train {
namespace {

Tensor like(const TensorView& x, DType dtype) {
  return x.rank == 1 ? Tensor(dtype, {x.shape[0]}) : Tensor(dtype, {x.shape[0], x.shape[1]});
}

}  // namespace

Optimizer::Optimizer(const ModelConfig& config, ModelWeights& weights,
                     const OptimizerOptions& options)
    : options_(options) {
  for_each_parameter(config, weights, [&](const ParameterInfo& info, Parameter& p) {
    if (info.kind == ParameterKind::kCorrectionBias) return;
    Slot slot{info, p, like(p.weight, options.moments), like(p.weight, options.moments), {}};
    if (options.ema_decay > 0) slot.ema = like(p.weight, DType::kF32);
    slots_.push_back(std::move(slot));
  });
}

void Optimizer::zero_gradients(Context& ctx) {
  for (Slot& s : slots_) kernels::fill(ctx, s.parameter.grad, 0);
}

double Optimizer::gradient_norm(Context& ctx) const {
  double squares = 0;
  for (const Slot& s : slots_) squares += kernels::sum_of_squares(ctx, s.parameter.grad);
  return std::sqrt(squares);
}

void Optimizer::step(Context& ctx, float lr, double gradient_norm, float clip) {
  ++steps_;
  kernels::AdamWStep step{lr, options_.beta1, options_.beta2, options_.eps, 0, 1, steps_};
  if (clip > 0 && gradient_norm > clip)
    step.grad_scale = static_cast<float>(clip / (gradient_norm + 1e-6));  // as PyTorch's clip
  for (Slot& s : slots_) {
    step.weight_decay = s.info.kind == ParameterKind::kMatrix ? options_.weight_decay : 0;
    kernels::adamw(ctx, step, s.parameter.weight, s.parameter.grad, s.exp_avg, s.exp_avg_sq);
    if (!s.ema) continue;
    // The first average is the weights themselves, so that no bias correction is needed.
    if (steps_ == 1)
      kernels::copy(ctx, s.parameter.weight, s.ema);
    else
      kernels::ema_update(ctx, options_.ema_decay, s.parameter.weight, s.ema);
  }
}

ModelWeights Optimizer::averaged(const ModelConfig& config, const ModelWeights& weights) const {
  ModelWeights result = weights;
  size_t slot = 0;  // slots_ were made in the order of this traversal
  for_each_parameter(config, result, [&](const ParameterInfo& info, Parameter& p) {
    if (info.kind != ParameterKind::kCorrectionBias) p.weight = slots_[slot++].ema;
  });
  return result;
}

void Optimizer::for_each_state(
    const std::function<void(const std::string&, const TensorView&)>& visit) const {
  for (const Slot& s : slots_) visit("exp_avg." + s.info.name, s.exp_avg);
  for (const Slot& s : slots_) visit("exp_avg_sq." + s.info.name, s.exp_avg_sq);
  for (const Slot& s : slots_)
    if (s.ema) visit("ema." + s.info.name, s.ema);
}

}  // namespace fathom::train
