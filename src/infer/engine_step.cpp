// What a step computes: prompts in blocks, drafts, the streamed pass, choice of tokens.
#include <algorithm>

#include "infer/engine_logits.h"
#include "kernels/elementwise.h"

namespace fathom {
namespace {

/// Tokens of a streamed pass beyond those of sequences that are being continued: absorbed attention
/// needs 2·H·C F32 values a token.
constexpr int64_t kStreamedTokens = 256;
/// Positions that may wait for the MTP modules: run one by one they would cost a layer each, and
/// unread representations take memory.
constexpr int64_t kWaiting = 64;

std::vector<MtpDrafter::Sequence> views(std::span<Sequence* const> sequences) {
  std::vector<MtpDrafter::Sequence> list;
  for (Sequence* s : sequences)
    list.push_back({&*s->draft_state, &s->cache, s->read(), s->ahead()});
  return list;
}

/// Chooses tokens from the logits as far as drafts are accepted, and one more.
void choose_tokens(Sequence& s, ConstTensorView logits_LV) {
  const int64_t base = s.length() - std::ssize(s.drafts);
  for (int64_t i = 0; i <= std::ssize(s.drafts); ++i) {
    const auto before = std::span(s.tokens).first(static_cast<size_t>(base + i));
    const auto p_V = s.sampler.distribution(logits_row(logits_LV, s.logit_row + i), before);
    if (i == std::ssize(s.drafts)) {
      s.chosen.push_back(s.sampler.draw(p_V, base + i, RandomStream::kToken));
      return;
    }
    const Sequence::Draft& draft = s.drafts[static_cast<size_t>(i)];
    const Verdict verdict = verify_draft(s.sampler, p_V, draft.q_V, draft.token, base + i);
    s.chosen.push_back(verdict.token);
    if (!verdict.accepted) return;
  }
}

/// A request's own failure must not end the others'.
template <class Body>
void guarded(Sequence& s, Body body) {
  try {
    body();
  } catch (const Error& e) {
    s.error = e.what();
    s.error_hint = e.hint();
  } catch (const std::exception& e) {
    s.error = e.what();
  }
}

/// Hands the chosen tokens on until one is the last; keeps those, and of the cache what belongs to
/// them.
void accept_tokens(Sequence& s, ConstTensorView logits_LV) {
  s.completion.result().mtp.drafted += std::ssize(s.drafts);
  s.completion.result().mtp.accepted += std::max<int64_t>(0, std::ssize(s.chosen) - 1);
  s.drop_drafts();
  for (size_t i = 0; i < s.chosen.size() && !s.finished && s.error.empty(); ++i) {
    s.tokens.push_back(s.chosen[i]);
    guarded(s, [&] {
      const int64_t row = s.logit_row + static_cast<int64_t>(i);
      s.finished = !s.completion.accept(s.chosen[i], logits_row(logits_LV, row));
    });
  }
  if (!s.error.empty()) {
    s.completion.end(FinishReason::kError, s.error, s.error_hint);
    s.finished = true;
  }
  s.cache.set_length(std::min(s.cache.length(), s.length() - 1));
}

}  // namespace

Engine::Logits::Logits(CachedModel& model, const Sequences& sequences) {
  int64_t room = 0;
  for (const auto& s : sequences) room += 1 + s->options.drafts;
  const ModelConfig& config = model.model().config();
  hidden_LD = model.arena().alloc(DType::kF32, {room, config.hidden_size});
  logits_LV = model.arena().alloc(DType::kF32, {room, config.vocab_size});
}

/// Whole blocks of prompts, the oldest first, as many tokens as a step may read.
int64_t Engine::read_blocks(Logits& logits, const StopRequested& stop) {
  const bool mixed =
      std::ranges::any_of(running_, [](const auto& s) { return s->unread_blocks() == 0; });
  const int64_t budget = mixed ? options_.mixed_step_tokens : options_.step_tokens;
  std::vector<Sequence*> list;
  int64_t total = 0;
  for (size_t i = 0; i < running_.size() && total < budget; ++i) {
    Sequence& s = *running_[i];
    s.count = std::min(s.unread_blocks(), budget - total);
    if (s.count == 0 || !make_room(s, s.cache.length() + s.count)) continue;
    total += s.count;
    list.push_back(&s);
  }
  if (!list.empty()) read(TokenForm::kPacked, list, logits, stop);
  return total;
}

/// The modules have followed drafts as if their tokens had been read: that pass is not given up.
void Engine::read_streamed(Logits& logits, std::span<Sequence* const> sequences,
                           const StopRequested& stop) {
  const bool drafted = std::ranges::any_of(sequences, [](auto* s) { return !s->drafts.empty(); });
  if (!sequences.empty())
    read(TokenForm::kStreamed, sequences, logits, drafted ? StopRequested() : stop);
}

/// Every sequence that is being continued, and what prompts have beyond their blocks.
std::vector<Sequence*> Engine::plan_streamed() {
  const auto continued =
      std::ranges::count_if(running_, [](const auto& s) { return s->unread() == 1; });
  const int64_t drafts_that_pay = policy_.drafts(continued, most_adaptive_drafts());
  std::vector<Sequence*> list;
  int64_t left = kStreamedTokens;
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& s = *running_[i];
    s.wanted = 0;
    s.count = std::min(s.unread(), std::max(left, int64_t{1}));
    if (s.finished || s.unread_blocks() > 0 || s.unread() == 0) continue;
    if (s.unread() == 1)
      s.wanted = wanted_drafts(s, drafts_that_pay);
    else if (left == 0)
      continue;
    if (!make_room(s, s.cache.length() + s.count + s.wanted)) continue;
    if (s.unread() > 1) left -= s.count;
    list.push_back(&s);
  }
  return list;
}

/// As many drafts as could be of use.
int64_t Engine::wanted_drafts(const Sequence& s, int64_t drafts_that_pay) const {
  if (s.completion.tokens() == 0) return 0;
  const int64_t most =
      s.adaptive() ? std::min(s.options.drafts, drafts_that_pay) : s.options.drafts;
  const int64_t room = std::min(max_context() - s.cache.length() - 1, s.completion.left() - 1);
  return std::clamp<int64_t>(room, 0, most);
}

int64_t Engine::most_adaptive_drafts() const {
  int64_t most = 0;
  for (const auto& s : running_)
    if (s->adaptive()) most = std::max(most, s->options.drafts);
  return most;
}

/// What a step in which every sequence was continued took, for the number of later drafts.
void Engine::record(std::span<Sequence* const> continued, double seconds) {
  std::vector<DraftPolicy::Outcome> outcomes;
  int64_t drafts = 0;
  for (const Sequence* s : continued) {
    outcomes.push_back({s->wanted, std::max<int64_t>(0, std::ssize(s->chosen) - 1)});
    drafts = std::max(drafts, s->wanted);
  }
  policy_.record(drafts, seconds, outcomes);
}

/// Drafts for the sequences that want them: a round for each draft, all sequences together.
void Engine::draft(std::span<Sequence* const> sequences) {
  for (int64_t round = 1;; ++round) {
    std::vector<Sequence*> list;
    for (Sequence* s : sequences)
      if (s->wanted >= round) list.push_back(s);
    if (list.empty()) return;
    draft_round(list);
  }
}

void Engine::draft_round(std::span<Sequence* const> sequences) {
  const ArenaScope scope(cached_.arena());
  const TensorView logits_SV =
      cached_.arena().alloc(DType::kF32, {std::ssize(sequences), model().config().vocab_size});
  drafter_->draft(views(sequences), logits_SV);
  cached_.pool().for_each(std::ssize(sequences), [&](int64_t i, int) {
    Sequence& s = *sequences[static_cast<size_t>(i)];
    guarded(s, [&] {
      auto q_V = s.sampler.distribution(logits_row(logits_SV, i), s.tokens);
      const int32_t token = s.sampler.draw(q_V, s.length(), RandomStream::kDraft);
      s.drafts.push_back({token, std::move(q_V)});
      s.tokens.push_back(token);
      ++s.count;
    });
    if (!s.error.empty()) s.wanted = 0;
  });
}

/// Reads `count` tokens of each; those read to the end want logits after the chosen token and each
/// draft.
void Engine::read(TokenForm form, std::span<Sequence* const> sequences, Logits& logits,
                  const StopRequested& stop) {
  const ArenaScope scope(cached_.arena());
  std::vector<CachedModel::Tokens> parts;
  for (Sequence* s : sequences)
    parts.push_back({&s->cache, s->ahead().first(static_cast<size_t>(s->count))});
  const ConstTensorView hidden_TD = cached_.forward(form, parts, stop);
  if (!hidden_TD) return;
  Context& ctx = cached_.context(form);
  int64_t row = 0;
  for (Sequence* s : sequences) {
    const ConstTensorView rows_TD = hidden_TD.row_range(row, s->count);
    row += s->count;
    if (s->draft_state) drafter_->push(*s->draft_state, s->cache.length() - s->count, rows_TD);
    if (s->completion.tokens() == 0) stats_.prompt_tokens += s->count;
    if (s->unread() > 0) continue;
    s->logit_row = logits.rows;
    s->logit_rows = 1 + std::ssize(s->drafts);
    kernels::copy(ctx, rows_TD.row_range(s->count - s->logit_rows, s->logit_rows),
                  logits.hidden_LD.row_range(logits.rows, s->logit_rows));
    logits.rows += s->logit_rows;
  }
}

/// Chooses the tokens that follow what has been read to the end.
void Engine::choose(Logits& logits) {
  if (logits.rows == 0) return;
  const ConstTensorView logits_LV = logits.logits_LV;
  cached_.logits(logits.hidden_LD.row_range(0, logits.rows),
                 logits.logits_LV.row_range(0, logits.rows));
  std::vector<Sequence*> list;
  for (const auto& s : running_)
    if (s->logit_rows > 0) list.push_back(s.get());
  cached_.pool().for_each(std::ssize(list), [&](int64_t i, int) {
    Sequence& s = *list[static_cast<size_t>(i)];
    s.chosen.clear();
    if (s.error.empty()) guarded(s, [&] { choose_tokens(s, logits_LV); });
  });
  for (Sequence* s : list) {
    accept_tokens(*s, logits_LV);
    if (s->draft_state) drafter_->truncate(*s->draft_state, s->cache.length());
    s->logit_rows = 0;
    stats_.generated_tokens += std::ssize(s->chosen);
  }
}

/// Lets the MTP modules read what has been waiting for them.
void Engine::catch_up() {
  std::vector<Sequence*> list;
  for (const auto& s : running_)
    if (!s->finished && s->draft_state->waiting() > kWaiting) list.push_back(s.get());
  if (!list.empty()) drafter_->catch_up(views(list));
}

}  // namespace fathom
