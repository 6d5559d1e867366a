#include "precision.h"

#include "session.h"

namespace fathom::app {

ModelPrecision::ModelPrecision(Context& ctx, const ModelConfig& config, ModelWeights& weights,
                               const std::string& name)
    : name_(name) {
  if (name_ != "fp8") return;
  if (config.quantization && config.quantization->scale_fmt == "ue8m0")
    recipe_.scale = kernels::ScaleFormat::kPowerOfTwo;
  fp8_.emplace(config, weights, recipe_).refresh(ctx);
}

PassOptions ModelPrecision::options() const {
  PassOptions options = parse_precision(name_);
  if (fp8_) options.fp8 = &recipe_;
  return options;
}

}  // namespace fathom::app
