#include "infer/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "infer/engine_logits.h"
#include "infer/sequence.h"

namespace fathom {
namespace {

EngineOptions checked(const Transformer& model, EngineOptions o) {
  const int64_t positions = model.rope().positions();
  if (o.max_context == 0) o.max_context = positions;
  if (o.max_context < 1 || o.max_context > positions)
    throw Error(fmt::format("a context of {} tokens is asked for; the model was opened for {}",
                            o.max_context, positions),
                fmt::format("ask for 1 to {} tokens", positions));
  if (o.mtp && model.mtp().empty())
    throw Error("the model has no multi-token prediction module (num_nextn_predict_layers = 0)",
                "generate without speculation");
  FATHOM_ASSERT(o.max_sequences > 0 && o.step_tokens > 0 && o.mixed_step_tokens > 0);
  if (o.cache_tokens == 0)
    o.cache_tokens = o.max_sequences * kPageTokens * pages_for(o.max_context);
  return o;
}

CacheOptions cache_options(const EngineOptions& o) {
  return {o.precision, o.cache_format, o.cache_tokens, o.mtp};
}

}  // namespace

Engine::Engine(const Transformer& model, ThreadPool& pool, EngineOptions options)
    : options_(checked(model, options)),
      cached_(model, pool, cache_options(options_)),
      prefixes_(cached_.pages()) {
  if (options_.mtp) drafter_.emplace(cached_);
}

Engine::~Engine() = default;

EngineStats Engine::stats() const {
  EngineStats s = stats_;
  const PagePool& pages = cached_.pages();
  s.running = std::ssize(running_);
  s.waiting = std::ssize(waiting_);
  s.pages_in_use = pages.in_use();
  s.page_capacity = pages.capacity();
  s.cache_bytes = pages.allocated_bytes();
  s.workspace_bytes = static_cast<int64_t>(cached_.workspace_bytes());
  return s;
}

void Engine::check(const Request& request) const {
  const auto prompt = std::ssize(request.prompt);
  const int64_t vocab = model().config().vocab_size, drafts = request.options.drafts;
  const int64_t room = std::min(max_context(), options_.cache_tokens);
  if (prompt == 0) throw Error("the prompt has no tokens", "give it at least one");
  for (const int32_t id : request.prompt)
    if (id < 0 || id >= vocab)
      throw Error(fmt::format("token {} is not in the vocabulary of {}", id, vocab),
                  "ids begin at 0; a tokenizer that gives others is not this model's");
  if (prompt >= room)
    throw Error(fmt::format("the prompt has {} tokens and the {} holds {}: no room for an answer",
                            prompt, room < max_context() ? "cache" : "context", room),
                room < max_context()
                    ? "shorten the prompt, or give the cache more memory"
                    : "shorten the prompt, or open the model with a longer context");
  if (drafts < 0 || drafts >= kernels::kSmallM)
    throw Error(fmt::format("{} drafts a step: must be 0 to {}", drafts, kernels::kSmallM - 1));
  if (drafts > 0 && !drafter_)
    throw Error("speculation needs MTP modules, which this engine was opened without",
                "generate without speculation");
}

Engine::RequestId Engine::submit(Request request) {
  check(request);
  const int64_t room = max_context() - std::ssize(request.prompt);
  waiting_.push_back(
      std::make_unique<Sequence>(model(), cached_.pages(), next_id_, std::move(request), room));
  return next_id_++;
}

void Engine::cancel(RequestId id) {
  const auto is_it = [id](const auto& s) { return s->id == id; };
  if (const auto at = std::ranges::find_if(running_, is_it); at != running_.end()) {
    (*at)->completion.end(FinishReason::kInterrupted);
    (*at)->finished = true;
    remove_finished();
  } else if (const auto w = std::ranges::find_if(waiting_, is_it); w != waiting_.end()) {
    const std::unique_ptr<Sequence> s = std::move(*w);
    waiting_.erase(w);
    s->completion.end(FinishReason::kInterrupted);
    if (s->on_finish) s->on_finish(s->completion.take());
  }
}

bool Engine::step(const StopRequested& stop) {
  for (const auto& s : running_) s->drop_drafts();
  admit();
  if (running_.empty()) return false;
  ++stats_.steps;
  const ArenaScope scope(cached_.arena());
  const auto start = std::chrono::steady_clock::now();
  Logits logits(cached_, running_);
  const bool read_prompts = read_blocks(logits, stop) > 0;
  const std::vector<Sequence*> streamed = plan_streamed();
  const auto continued = std::ranges::count_if(streamed, [](auto* s) { return s->count == 1; });
  draft(streamed);
  read_streamed(logits, streamed, stop);
  choose(logits);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  if (!read_prompts && continued == std::ssize(streamed) && logits.rows > 0)
    record(streamed, seconds.count());
  settle();
  return true;
}

void Engine::admit() {
  while (!waiting_.empty() && std::ssize(running_) < options_.max_sequences) {
    if (!running_.empty() && !fits(*waiting_.front())) return;
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
    running_.back()->completion.begin();
    find_prefix(*running_.back());
  }
}

/// Whether what there is of the sequence and a token more could be cached now, with a page left for
/// each that is running: or it would soon be put out again.
bool Engine::fits(const Sequence& s) const {
  return pages_for(s.length() + 1) + std::ssize(running_) <=
         cached_.pages().available() + prefixes_.evictable();
}

/// Shares pages of the cache that begin as the sequence does; its last token at least is read, for
/// its logits.
void Engine::find_prefix(Sequence& s) {
  using enum TokenForm;
  s.blocks_end = packed_end(s.prompt);
  for (int64_t end = kPageTokens; s.options.reuse_cache && end < s.length(); end += kPageTokens) {
    const auto tokens = std::span(s.tokens).subspan(static_cast<size_t>(end - kPageTokens),
                                                    static_cast<size_t>(kPageTokens));
    const TokenForm form = end <= s.blocks_end ? kPacked : kStreamed;
    auto node = prefixes_.find(s.node, tokens, form);
    if (!node && !s.invariant())
      node = prefixes_.find(s.node, tokens, form == kPacked ? kStreamed : kPacked);
    if (!node) break;
    s.cache.share(prefixes_.page(*node));
    s.node = *node;
    ++s.published;
  }
  prefixes_.pin(s.node);
  // Few tokens after many cached ones: rebuilding keys and values would cost more than it saves.
  if (!s.invariant() && s.prompt - s.cache.length() < kBlockTokens) s.blocks_end = 0;
  if (drafter_) s.draft_state = drafter_->start(s.cache.length());
  if (s.completion.tokens() == 0) s.completion.result().reused_tokens = s.cache.length();
  stats_.reused_tokens += s.cache.length();
}

/// Room in the sequence's cache for so many tokens, if need be at the expense of what is kept for
/// others, then of younger sequences. False when that does not suffice: then it is out of the
/// batch.
bool Engine::make_room(Sequence& s, int64_t tokens) {
  while (!s.cache.reserve(tokens)) {
    if (prefixes_.evict()) continue;
    Sequence& youngest = *running_.back();
    if (&youngest == &s && running_.size() == 1) {
      s.completion.end(FinishReason::kLength);
      s.finished = true;
      return false;
    }
    preempt(youngest);
    if (&youngest == &s) return false;
  }
  return true;
}

/// Gives the pages of the youngest sequence back and puts it at the head of the queue.
void Engine::preempt(Sequence& s) {
  FATHOM_ASSERT(running_.back().get() == &s);
  prefixes_.unpin(s.node);
  s.node = PrefixIndex::kRoot;
  s.published = 0;
  s.cache.clear();
  s.logit_rows = 0;
  ++s.completion.result().preemptions;
  ++stats_.preemptions;
  waiting_.push_front(std::move(running_.back()));
  running_.pop_back();
}

/// After a step: what it read is offered to others, what ended is handed over.
void Engine::settle() {
  if (drafter_) catch_up();
  for (const auto& s : running_)
    if (!s->finished || s->error.empty()) publish(*s);
  remove_finished();
}

void Engine::publish(Sequence& s) {
  const int64_t settled = s.draft_state ? s.draft_state->settled() : s.cache.length();
  const int64_t pages = std::min(settled, s.cache.length()) / kPageTokens;
  for (; s.published < pages; ++s.published) {
    const int64_t begin = s.published * kPageTokens, end = begin + kPageTokens;
    const int32_t own = s.cache.pages()[static_cast<size_t>(s.published)];
    const auto next = prefixes_.insert(
        s.node, std::span(s.tokens).subspan(static_cast<size_t>(begin), kPageTokens),
        end <= s.blocks_end ? TokenForm::kPacked : TokenForm::kStreamed, own);
    // Where another sequence read the same before, its page is kept alone.
    if (const int32_t page = prefixes_.page(next); page != own) s.cache.replace(s.published, page);
    prefixes_.pin(next);
    prefixes_.unpin(s.node);
    s.node = next;
  }
}

void Engine::remove_finished() {
  Sequences ended;
  for (auto& s : running_)
    if (s->finished) ended.push_back(std::move(s));
  std::erase_if(running_, [](const auto& s) { return !s; });
  for (const auto& s : ended) {
    prefixes_.unpin(s->node);
    s->cache.clear();
    stats_.mtp.drafted += s->completion.result().mtp.drafted;
    stats_.mtp.accepted += s->completion.result().mtp.accepted;
    if (s->on_finish) s->on_finish(s->completion.take());
  }
}

}  // namespace fathom
