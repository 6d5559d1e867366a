#pragma once

#include <functional>
#include <memory>

#include "checkpoint/model_io.h"
#include "infer/generate.h"
#include "options.h"
#include "precision.h"
#include "session.h"
#include "text/tokenizer.h"

namespace fathom::app {

class Report;

/// A model opened to generate with, as generate and chat need it.
class Generation {
 public:
  /// Tokens the request needs, which may depend on how its text is encoded; 0: the model's limit.
  using NeededContext = std::function<int64_t(const Tokenizer&)>;
  Generation(const GlobalOptions& global, const std::string& model,
             const SamplingArguments& sampling, const NeededContext& context);

  Engine& engine() { return *engine_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  const ModelConfig& config() const { return stored_.config; }
  int64_t max_context() const { return engine_->max_context(); }
  /// Sampler, speculation and token texts; the caller adds lengths and stop strings.
  GenerateOptions options() const;
  /// weights_bytes as stored, cache_bytes and workspace_bytes held now, and the largest resident
  /// size of the process so far.
  Report memory() const;

 private:
  const SamplingArguments& sampling_;
  StoredModel stored_;
  Tokenizer tokenizer_;
  ThreadPool pool_;
  std::unique_ptr<ModelPrecision> precision_;
  std::unique_ptr<Transformer> model_;
  std::unique_ptr<Engine> engine_;
};

/// Adds mtp{drafted, accepted, acceptance}.
void add_speculation(Report& report, const SpeculationCounts& counts);

}  // namespace fathom::app
