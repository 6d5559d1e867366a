#include "generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>

#include "base/error.h"
#include "base/log.h"
#include "base/numa.h"
#include "base/process_memory.h"
#include "model_argument.h"
#include "prepare_weights.h"
#include "report.h"

namespace fathom::app {
namespace {

int64_t context_for(const SamplingArguments& sampling, const ModelConfig& config, int64_t needed) {
  const int64_t limit = config.max_position_embeddings;
  if (sampling.max_context > limit)
    throw UsageError(
        fmt::format("--max-context {} is past the model's limit", sampling.max_context),
        fmt::format("at most {}", limit));
  if (sampling.max_context > 0) return sampling.max_context;
  return needed > 0 ? std::min(needed, limit) : limit;
}

/// As many as are worth measuring: each is accepted less often than the one before.
constexpr int64_t kAdaptiveDrafts = 4;

int64_t drafts_for(const SamplingArguments& sampling, const ModelConfig& config) {
  if (sampling.speculate == "off") {
    if (sampling.drafts > 0)
      throw UsageError("--drafts has no meaning without --speculate mtp", "give both or neither");
    return 0;
  }
  if (config.num_nextn_predict_layers == 0)
    throw UsageError("--speculate mtp: this model has no MTP module",
                     "leave the option out, or train with num_nextn_predict_layers >= 1");
  if (sampling.drafts > 0) return sampling.drafts;
  const int64_t modules = config.num_nextn_predict_layers;
  return sampling.temperature == 0 ? std::max(modules, kAdaptiveDrafts) : modules;
}

/// Before any thread or memory that it should hold for.
void place_memory(const std::string& numa) {
  if (numa == "interleave" && interleave_memory() == 1)
    log_info("this machine has one NUMA node: --numa interleave changes nothing");
}

/// Reads the tokenizer while the weights are being opened: each takes some tenths of a second.
Tokenizer open_files(const std::string& model, const SamplingArguments& sampling,
                     StoredModel& stored) {
  place_memory(sampling.numa);
  auto loaded =
      std::async(std::launch::async, [&] { return load_tokenizer(model, sampling.tokenizer); });
  stored = StoredModel::open(model);
  return loaded.get();
}

}  // namespace

Generation::Generation(const GlobalOptions& global, const std::string& model,
                       const SamplingArguments& sampling, const NeededContext& context)
    : sampling_(sampling), tokenizer_(open_files(model, sampling, stored_)), pool_(global.threads) {
  prepare_weights(stored_, sampling.preload);
  const int64_t positions = context_for(sampling, stored_.config, context(tokenizer_));
  {
    Arena arena;
    Context ctx{Device{}, pool_, arena};
    precision_ =
        std::make_unique<ModelPrecision>(ctx, stored_.config, stored_.weights, sampling.precision);
  }
  model_ = std::make_unique<Transformer>(stored_.config, stored_.weights, positions);
  EngineOptions options;
  options.precision = precision_->options();
  options.cache_format = parse_cache_format(sampling.cache_dtype);
  options.mtp = drafts_for(sampling, stored_.config) > 0;
  engine_ = std::make_unique<Engine>(*model_, pool_, options);
}

GenerateOptions Generation::options() const {
  GenerateOptions o;
  o.sampler.temperature = static_cast<float>(sampling_.temperature);
  o.sampler.top_k = sampling_.top_k;
  o.sampler.top_p = static_cast<float>(sampling_.top_p);
  o.sampler.min_p = static_cast<float>(sampling_.min_p);
  o.sampler.repetition_penalty = static_cast<float>(sampling_.repetition_penalty);
  o.sampler.seed = sampling_.seed;
  o.more_eos_token_ids = stored_.generation_eos_ids;
  o.drafts = drafts_for(sampling_, stored_.config);
  o.adaptive_drafts = sampling_.drafts == 0;
  o.token_text = [this](int32_t id) {
    // A model's vocabulary may be padded beyond the tokenizer's; such a token has no text.
    return id < tokenizer_.vocab_size() && !tokenizer_.is_special(id)
               ? std::string(tokenizer_.token_bytes(id))
               : std::string();
  };
  return o;
}

Report Generation::memory() const {
  const EngineStats stats = engine_->stats();
  Report report;
  const auto add = [&](const char* name, int64_t bytes) {
    report.add(name, bytes, fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6));
  };
  add("weights_bytes", static_cast<int64_t>(stored_.bytes));
  add("cache_bytes", stats.cache_bytes);
  add("workspace_bytes", stats.workspace_bytes);
  add("peak_bytes", peak_rss_bytes());
  return report;
}

void add_speculation(Report& report, const SpeculationCounts& counts) {
  Report mtp;
  mtp.add("drafted", counts.drafted);
  mtp.add("accepted", counts.accepted);
  const double share = counts.drafted > 0 ? static_cast<double>(counts.accepted) /
                                                static_cast<double>(counts.drafted)
                                          : 0;
  mtp.add("acceptance", share, fmt::format("{:.1f}%", 100 * share));
  report.add("mtp", mtp);
}

}  // namespace fathom::app
