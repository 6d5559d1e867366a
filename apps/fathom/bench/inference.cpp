// fathom bench prefill, decode: the engine on random tokens.
#include <fmt/format.h>

#include <algorithm>

#include "base/philox.h"
#include "base/process_memory.h"
#include "bench/inference_model.h"
#include "bench/model.h"
#include "bench/runner.h"
#include "infer/engine.h"
#include "model/flops.h"
#include "model/parameter_count.h"

namespace fathom::app {
namespace {

int64_t longest(const std::vector<int64_t>& list) {
  return *std::max_element(list.begin(), list.end());
}

/// The caches of all sequences, in BF16; throws where they exceed memory.
void require_cache(const ModelConfig& config, const BenchModelOptions& o, int64_t tokens) {
  require_memory(static_cast<double>(longest(o.batch)) * static_cast<double>(tokens) *
                 static_cast<double>(kv_bytes_per_token(config)));
}

// Every token's products, at half of the longest context on average; the head only for the last.
double prefill_flops(const ModelConfig& config, int64_t tokens) {
  const auto T = static_cast<double>(tokens);
  const auto head = static_cast<double>(count_parameters(config).embedding);
  return T * inference_flops_per_token(config, tokens / 2) - 2 * (T - 1) * head;
}

// One token after `context` others: its weights and, in every layer, absorbed attention (spec A.2).
double decode_flops(const ModelConfig& config, int64_t context) {
  const auto rows = static_cast<double>(config.num_hidden_layers * context);
  return inference_flops_per_token(config, 0) +
         2 * rows * static_cast<double>(config.num_attention_heads) *
             static_cast<double>(config.kv_lora_rank + config.cache_width());
}

/// What the process took for the first run of all, before the buffers of the roof came to it: known
/// for the first case alone.
class PeakMemory {
 public:
  explicit PeakMemory(const BenchRun& run) : wanted_(run.is_first()) {}
  void note() {
    if (wanted_) bytes_ = peak_rss_bytes();
    wanted_ = false;
  }
  int64_t bytes() const { return bytes_; }

 private:
  bool wanted_;
  int64_t bytes_ = 0;
};

void add_memory(Report& r, int64_t cache, int64_t workspace, const PeakMemory& peak) {
  const auto add = [&](const char* name, int64_t bytes) {
    r.add(name, bytes, fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6));
  };
  add("cache_bytes", cache);
  add("workspace_bytes", workspace);
  if (peak.bytes() > 0) add("peak_bytes", peak.bytes());
}

/// Prompts read together by an engine, a token chosen after each.
class PrefillBench {
 public:
  PrefillBench(BenchRun& run, const InferenceModel& m, const BenchModelOptions& o)
      : run_(run), m_(m), o_(o) {}

  void measure(int64_t batch, int64_t count) {
    Engine engine(m_.model(), run_.session().pool,
                  {.precision = m_.precision,
                   .cache_format = parse_cache_format(o_.cache_dtype),
                   .max_sequences = batch,
                   .cache_tokens = batch * (count + 2 * kPageTokens)});
    BenchCase row;
    row.name = "prefill " + o_.model;
    row.shape = fmt::format("{} x {} tokens, {}", batch, count, o_.precision);
    row.work = {static_cast<double>(batch) * prefill_flops(m_.config, count),
                m_.weight_bytes(batch * count), m_.precision};
    PeakMemory peak(run_);
    row.run = [&](int64_t) {
      read(engine, batch, count);
      peak.note();
    };
    row.details = [&](double seconds, Report& r) {
      add_parameters(r, m_.config);
      r.add("tokens_per_s", static_cast<double>(batch * count) / seconds);
      const EngineStats stats = engine.stats();
      add_memory(r, stats.cache_bytes, stats.workspace_bytes, peak);
    };
    run_.measure(row);
  }

 private:
  void read(Engine& engine, int64_t batch, int64_t count) const {
    const auto is_whole = [](const GenerateResult& r) { FATHOM_ASSERT(r.ids.size() == 1); };
    for (int64_t b = 0; b < batch; ++b)
      engine.submit({random_tokens(m_.config, count, static_cast<uint64_t>(b)),
                     {.max_new_tokens = 1, .ignore_eos = true, .reuse_cache = false},
                     {},
                     is_whole});
    while (engine.step()) {
    }
  }

  BenchRun& run_;
  const InferenceModel& m_;
  const BenchModelOptions& o_;
};

/// Sequences with caches of random rows, continued by random tokens, so that experts are visited as
/// by a balanced router.
class DecodeBench {
 public:
  DecodeBench(BenchRun& run, const InferenceModel& m, const BenchModelOptions& o, int64_t batch,
              int64_t context)
      : run_(run),
        m_(m),
        o_(o),
        context_(context),
        cached_(m.model(), run.session().pool,
                {.precision = m.precision,
                 .cache_format = parse_cache_format(o.cache_dtype),
                 .cache_tokens = batch * kPageTokens * pages_for(context + o.new_tokens)}) {
    for (int64_t b = 0; b < batch; ++b) {
      caches_.emplace_back(cached_.pages());
      tokens_.push_back(random_tokens(m.config, o.new_tokens, static_cast<uint64_t>(b) + 2));
    }
    for (size_t b = 0; b < caches_.size(); ++b) fill(caches_[b], b + 2);
  }

  void measure() {
    const auto batch = static_cast<double>(caches_.size());
    const auto steps = static_cast<double>(o_.new_tokens);
    const int64_t middle = context_ + o_.new_tokens / 2;
    const double cache = static_cast<double>(m_.config.num_hidden_layers * middle *
                                             cached_.pages().layout().row.row_bytes());
    const double experts = decode();
    const double bytes = m_.weight_bytes_of(experts) + batch * cache;
    BenchCase row;
    row.name = "decode " + o_.model;
    row.shape =
        fmt::format("{} x {} tokens after {}, {}{}", batch, o_.new_tokens, context_, o_.precision,
                    o_.cache_dtype.empty() ? "" : ", cache " + o_.cache_dtype);
    row.work = {steps * batch * decode_flops(m_.config, middle), steps * bytes, m_.precision};
    PeakMemory peak(run_);
    row.run = [&](int64_t) {
      decode();
      peak.note();
    };
    row.details = [&](double seconds, Report& r) {
      add_parameters(r, m_.config);
      r.add("tokens_per_s", steps * batch / seconds);
      r.add("experts_per_step", experts, fmt::format("{:.1f} in all layers", experts));
      r.add("bytes_per_step", bytes, fmt::format("{:.1f} MB", bytes / 1e6));
      r.add("bytes_per_token", bytes / batch, fmt::format("{:.1f} MB", bytes / batch / 1e6));
      add_memory(r, cached_.pages().allocated_bytes(),
                 static_cast<int64_t>(cached_.workspace_bytes()), peak);
    };
    run_.measure(row);
  }

 private:
  void fill(SequenceCache& cache, uint64_t seed) {
    Context& ctx = run_.ctx();
    const ArenaScope scope(ctx.arena);
    const TensorView rows_TX = ctx.arena.alloc(DType::kF32, {kPageTokens, m_.config.cache_width()});
    const Philox random(seed);
    for (int64_t i = 0; i < rows_TX.elements(); ++i)
      rows_TX.as<float>()[i] = random.uniform(static_cast<uint64_t>(i)) * 2 - 1;
    const int64_t latent = m_.config.kv_lora_rank;
    if (!cache.reserve(context_ + o_.new_tokens)) return;
    for (int64_t l = 0; l < m_.config.num_hidden_layers; ++l)
      for (int64_t begin = 0; begin < context_; begin += kPageTokens) {
        const TensorView part_TX = rows_TX.row_range(0, std::min(kPageTokens, context_ - begin));
        cache.write(ctx, l, begin, part_TX.col_range(0, latent),
                    part_TX.col_range(latent, m_.config.qk_rope_head_dim));
      }
  }

  /// Returns how many routed experts a step read, on average.
  double decode() {
    int64_t experts = 0;
    for (SequenceCache& cache : caches_) cache.set_length(context_);
    for (size_t t = 0; t < static_cast<size_t>(o_.new_tokens); ++t) {
      const ArenaScope scope(cached_.arena());
      std::vector<CachedModel::Tokens> parts;
      for (size_t b = 0; b < caches_.size(); ++b)
        parts.push_back({&caches_[b], std::span(tokens_[b]).subspan(t, 1)});
      const TensorView hidden_TD = cached_.forward(TokenForm::kStreamed, parts);
      experts += cached_.experts_read();
      cached_.logits(hidden_TD,
                     cached_.arena().alloc(DType::kF32, {hidden_TD.rows(), m_.config.vocab_size}));
    }
    return static_cast<double>(experts) / static_cast<double>(o_.new_tokens);
  }

  BenchRun& run_;
  const InferenceModel& m_;
  const BenchModelOptions& o_;
  int64_t context_;
  CachedModel cached_;
  std::vector<SequenceCache> caches_;
  std::vector<std::vector<int32_t>> tokens_;
};

}  // namespace

int run_bench_prefill(const GlobalOptions& global, const BenchModelOptions& o) {
  BenchRun run(global, o, o.tokens.size() * o.batch.size());
  const InferenceModel m(o, longest(o.tokens) + 1);
  require_cache(m.config, o, longest(o.tokens) + 1);
  for (const int64_t batch : o.batch)
    for (const int64_t count : o.tokens)
      if (!run.stopped()) PrefillBench(run, m, o).measure(batch, count);
  return run.finish();
}

int run_bench_decode(const GlobalOptions& global, const BenchModelOptions& o) {
  BenchRun run(global, o, o.prompt.size() * o.batch.size());
  const InferenceModel m(o, longest(o.prompt) + o.new_tokens);
  require_cache(m.config, o, longest(o.prompt) + o.new_tokens);
  for (const int64_t batch : o.batch)
    for (const int64_t context : o.prompt)
      if (!run.stopped()) DecodeBench(run, m, o, batch, context).measure();
  return run.finish();
}

}  // namespace fathom::app
