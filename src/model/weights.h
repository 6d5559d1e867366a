#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "model/mtp.h"

namespace fathom {

/// Every weight of a model. Views only: who owns the memory (a mapped checkpoint, or ModelStorage)
/// must outlive it.
struct ModelWeights {
  Parameter embed_tokens;  ///< [V, D]
  std::vector<BlockWeights> layers;
  Parameter norm;     ///< [D]
  Parameter lm_head;  ///< [V, D]; the embedding itself when tie_word_embeddings
  std::vector<MtpWeights> mtp;
};

enum class ParameterKind : uint8_t {
  kMatrix,          ///< initialised N(0, initializer_range²), decayed by AdamW
  kNorm,            ///< initialised 1, not decayed
  kCorrectionBias,  ///< F32, initialised 0, moved by the balance update and not by AdamW
};

struct ParameterInfo {
  std::string name;  ///< in a Hugging Face checkpoint
  std::vector<int64_t> shape;
  ParameterKind kind;
};

/// The one table of Hugging Face names (spec B.1): calls visit for every parameter of the
/// architecture in checkpoint order, sizing weights.layers and the like first. Reading, writing,
/// initialising and optimising a model all go through it.
void for_each_parameter(const ModelConfig& config, ModelWeights& weights,
                        const std::function<void(const ParameterInfo&, Parameter&)>& visit);

/// A parameter's name without the number of a routed expert: one for all experts of a layer
/// ("model.layers.3.mlp.experts.up_proj.weight").
std::string without_expert_number(std::string name);

/// Names under which a checkpoint repeats a parameter of the main model, and that parameter's name:
/// the embedding and head of MTP modules.
std::vector<std::pair<std::string, std::string>> duplicate_names(const ModelConfig& config);

/// Owns the memory of a model made from nothing or being trained.
class ModelStorage {
 public:
  /// Weights of dtype (correction biases always F32), zero; with gradients when asked for.
  ModelStorage(const ModelConfig& config, DType dtype, bool with_gradients);

  ModelWeights weights;

 private:
  std::vector<Tensor> tensors_;
};

/// N(0, initializer_range²) for matrices, 1 for norms, 0 for correction biases. A parameter's
/// values depend on the seed and its name alone.
void initialize(const ModelConfig& config, ModelWeights& weights, uint64_t seed);
/// One parameter as initialize() makes it, for streaming a checkpoint larger than memory.
void initialize_parameter(const ModelConfig& config, const ParameterInfo& info, TensorView weight,
                          uint64_t seed);

}  // namespace fathom
