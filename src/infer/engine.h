#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "infer/cached_model.h"
#include "infer/mtp_drafter.h"
#include "infer/prefix_index.h"
#include "infer/request.h"
#include "infer/speculate.h"

namespace fathom {

struct EngineOptions {
  PassOptions precision = {};
  /// What cached values are stored as; by default F32 in FP32 precision and BF16 in BF16.
  std::optional<kernels::LatentCacheFormat> cache_format = {};
  int64_t max_context = 0;    ///< tokens of a sequence; 0: as many as the model's RoPE table
  int64_t max_sequences = 1;  ///< that run at a time; others wait
  int64_t cache_tokens = 0;   ///< of all sequences together; 0: max_sequences · max_context
  bool mtp = false;           ///< keep the MTP modules in step, so that requests may draft
  /// Prompt tokens a step reads in packed form: alone, and while other sequences are generating.
  int64_t step_tokens = 2048, mixed_step_tokens = 512;
};

struct EngineStats {
  int64_t running = 0, waiting = 0;
  int64_t steps = 0, prompt_tokens = 0, reused_tokens = 0, generated_tokens = 0, preemptions = 0;
  int64_t pages_in_use = 0, page_capacity = 0;
  int64_t cache_bytes = 0, workspace_bytes = 0;  ///< held from the system
  SpeculationCounts mtp;
};

struct Sequence;  // sequence.h

/// Row t of logits [T, V].
inline std::span<const float> logits_row(ConstTensorView logits_TV, int64_t t) {
  const auto matrix = logits_TV.matrix<float>();
  return {matrix.row(t), static_cast<size_t>(matrix.cols)};
}

/// Continuous batching: every step() reads a piece of the prompts that are being read and one token
/// (or several drafted ones) of every sequence that is being continued. Weights meet all tokens of
/// a form together, experts all tokens that chose them. Full pages of the latent cache are shared
/// by sequences that begin alike. Sequences run in the order of their submission; where pages are
/// short the youngest gives its own back and is read again later, to the same bits.
/// Not thread-safe. The model must outlive it.
class Engine {
 public:
  using RequestId = int64_t;

  /// Throws when max_context exceeds the model's RoPE table, or mtp is asked of a model that has no
  /// module.
  Engine(const Transformer& model, ThreadPool& pool, EngineOptions options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const Transformer& model() const { return cached_.model(); }
  int64_t max_context() const { return options_.max_context; }
  EngineStats stats() const;

  /// Queues a request. Throws when it cannot be served: no tokens, foreign tokens, a prompt that
  /// leaves no room in the context or the cache, options that make no sense.
  RequestId submit(Request request);
  /// Ends a request with what it has; nothing happens if it has ended. Not during step(): there
  /// on_token ends its request by returning false.
  void cancel(RequestId id);
  /// Does a step's work. False when there was nothing to do. Once `stop` says true it returns as
  /// soon as it can: within a layer of a prompt or token being read, but not before drafts are
  /// verified. What was read before stays; another step() goes on from there.
  bool step(const StopRequested& stop = {});

 private:
  using Sequences = std::vector<std::unique_ptr<Sequence>>;
  struct Logits;

  void check(const Request& request) const;
  void admit();
  void find_prefix(Sequence& s);
  bool fits(const Sequence& s) const;
  bool make_room(Sequence& s, int64_t tokens);
  void preempt(Sequence& s);

  int64_t read_blocks(Logits& logits, const StopRequested& stop);
  void read_streamed(Logits& logits, std::span<Sequence* const> sequences,
                     const StopRequested& stop);
  std::vector<Sequence*> plan_streamed();
  int64_t wanted_drafts(const Sequence& s, int64_t drafts_that_pay) const;
  int64_t most_adaptive_drafts() const;
  void record(std::span<Sequence* const> continued, double seconds);
  void draft(std::span<Sequence* const> sequences);
  void draft_round(std::span<Sequence* const> sequences);
  void read(TokenForm form, std::span<Sequence* const> sequences, Logits& logits,
            const StopRequested& stop);
  void choose(Logits& logits);
  void catch_up();
  void settle();
  void publish(Sequence& s);
  void remove_finished();

  EngineOptions options_;
  CachedModel cached_;
  PrefixIndex prefixes_;
  std::optional<MtpDrafter> drafter_;
  DraftPolicy policy_;
  Sequences running_;  ///< oldest first
  std::deque<std::unique_ptr<Sequence>> waiting_;
  RequestId next_id_ = 0;
  EngineStats stats_;
};

}  // namespace fathom
