#include "infer/speculate.h"

#include <fmt/format.h>

#include <algorithm>

namespace fathom {

Verdict verify_draft(const Sampler& sampler, std::span<const float> target_V,
                     std::span<const float> draft_V, int32_t draft, int64_t position) {
  const auto d = static_cast<size_t>(draft);
  const double u = sampler.uniform(position, RandomStream::kAccept);
  if (u * draft_V[d] < target_V[d]) return {true, draft};
  std::vector<float> rest_V(target_V.size());
  bool any = false;
  for (size_t i = 0; i < rest_V.size(); ++i) {
    rest_V[i] = std::max(0.0f, target_V[i] - draft_V[i]);
    any |= rest_V[i] > 0;
  }
  // Nothing is left only where p and q differ by rounding.
  return {false, sampler.draw(any ? rest_V : target_V, position, RandomStream::kToken)};
}

Speculator::Speculator(Engine& engine, const Sampler& sampler, int64_t drafts)
    : engine_(engine), sampler_(sampler), drafts_(drafts) {
  if (drafts < 0 || drafts >= kernels::kSmallM)
    throw Error(fmt::format("{} drafts a step: must be 0 to {}", drafts, kernels::kSmallM - 1));
  if (drafts > 0 && engine.mtp_depth() == 0)
    throw Error("speculation needs MTP modules, which this engine was opened without",
                "generate without speculation");
}

/// Appends the drafts to sequence, which holds everything up to the last chosen token.
std::vector<Speculator::Draft> Speculator::make_drafts(std::vector<int32_t>& sequence) {
  const int64_t begin = engine_.position();
  const int64_t count = std::min(drafts_, engine_.max_context() - begin - 1);
  std::vector<Draft> drafts;
  for (int64_t k = 1; k <= count; ++k) {
    const auto ahead = std::span<const int32_t>(sequence).subspan(static_cast<size_t>(begin));
    std::vector<float> q_V = sampler_.distribution(logits_row(engine_.draft(ahead), 0), sequence);
    const int32_t token = sampler_.draw(q_V, begin + k, RandomStream::kDraft);
    drafts.push_back({token, std::move(q_V)});
    sequence.push_back(token);
  }
  return drafts;
}

/// Chooses the token that follows `before` from row `accepted` of the logits; true when that is the
/// draft for the place.
bool Speculator::choose(const std::vector<Draft>& drafts, size_t accepted,
                        std::span<const int32_t> before, Step& step) const {
  const auto position = static_cast<int64_t>(before.size());
  const auto p_V =
      sampler_.distribution(logits_row(step.logits_TV, static_cast<int64_t>(accepted)), before);
  if (accepted == drafts.size()) {
    step.tokens.push_back(sampler_.draw(p_V, position, RandomStream::kToken));
    return false;
  }
  const Draft& draft = drafts[accepted];
  const Verdict verdict = verify_draft(sampler_, p_V, draft.q_V, draft.token, position);
  step.tokens.push_back(verdict.token);
  return verdict.accepted;
}

Speculator::Step Speculator::next(int32_t token) {
  const auto begin = static_cast<size_t>(engine_.position());
  std::vector<int32_t> sequence(engine_.tokens().begin(), engine_.tokens().end());
  sequence.push_back(token);
  const std::vector<Draft> drafts = make_drafts(sequence);
  const std::span<const int32_t> all = sequence;
  Step step{{}, engine_.decode(all.subspan(begin))};
  size_t accepted = 0;
  while (choose(drafts, accepted, all.first(begin + 1 + accepted), step)) ++accepted;
  engine_.truncate(static_cast<int64_t>(begin + 1 + accepted));
  counts_.drafted += static_cast<int64_t>(drafts.size());
  counts_.accepted += static_cast<int64_t>(accepted);
  return step;
}

}  // namespace fathom
