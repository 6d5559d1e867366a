#pragma once

#include <optional>
#include <string>
#include <vector>

#include "infer/completion.h"
#include "infer/engine.h"

namespace fathom {

/// A request in an engine: what is known of its text, how much of it the caches hold, and what the
/// current step does with it.
struct Sequence {
  struct Draft {
    int32_t token;
    std::vector<float> q_V;  ///< what it was drawn from
  };

  Sequence(const Transformer& model, PagePool& pool, Engine::RequestId request_id, Request r,
           int64_t limit)
      : id(request_id),
        options(r.options),
        on_finish(std::move(r.on_finish)),
        sampler(options.sampler),
        completion(model.config(), r, limit),
        tokens(std::move(r.prompt)),
        prompt(std::ssize(tokens)),
        cache(pool) {}

  int64_t length() const { return std::ssize(tokens); }
  int64_t unread() const { return length() - cache.length(); }
  /// Still to be read in packed form.
  int64_t unread_blocks() const { return std::max<int64_t>(0, blocks_end - cache.length()); }
  bool greedy() const { return options.sampler.temperature == 0; }
  bool adaptive() const { return greedy() && options.adaptive_drafts; }
  bool invariant() const { return options.batch_invariant.value_or(greedy()); }
  /// Tokens not in the caches, of which the first was chosen and the rest, if any, is drafted.
  std::span<const int32_t> ahead() const {
    return std::span(tokens).subspan(static_cast<size_t>(cache.length()));
  }
  std::span<const int32_t> read() const {
    return std::span(tokens).first(static_cast<size_t>(cache.length()));
  }
  /// What a step that did not end left behind.
  void drop_drafts() {
    tokens.resize(tokens.size() - drafts.size());
    drafts.clear();
  }

  Engine::RequestId id;
  GenerateOptions options;
  OnFinish on_finish;
  Sampler sampler;
  Completion completion;
  std::vector<int32_t> tokens;  ///< prompt, chosen tokens and, within a step, drafts
  int64_t prompt;               ///< how many of them are the prompt
  int64_t blocks_end = 0;       ///< those before are read in packed form
  SequenceCache cache;
  std::optional<DraftState> draft_state;
  PrefixIndex::Node node = PrefixIndex::kRoot;  ///< of the last published page, pinned
  int64_t published = 0;                        ///< pages
  bool finished = false;

  // Of the current step.
  int64_t count = 0;   ///< tokens to read
  int64_t wanted = 0;  ///< drafts to make
  std::vector<Draft> drafts;
  int64_t logit_row = 0, logit_rows = 0;
  std::vector<int32_t> chosen;
  std::string error, error_hint;
};

}  // namespace fathom
