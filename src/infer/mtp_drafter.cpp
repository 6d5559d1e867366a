#include "infer/mtp_drafter.h"

#include <algorithm>

#include "kernels/elementwise.h"

namespace fathom {
namespace {

DraftState::Module& module_of(DraftState& state, int64_t k) {
  return state.modules[static_cast<size_t>(k - 1)];
}

}  // namespace

int64_t DraftState::settled() const {
  int64_t least = modules.front().done;
  for (const Module& m : modules) least = std::min(least, m.done);
  return least;
}

DraftState MtpDrafter::start(int64_t position) const {
  const int64_t width = model_.model().config().hidden_size;
  DraftState state;
  for (int64_t k = 0; k < depth(); ++k)
    state.modules.push_back({HiddenQueue(width, position), position});
  state.last_1D = Tensor(DType::kF32, {1, width});
  return state;
}

void MtpDrafter::push(DraftState& state, int64_t position, ConstTensorView hidden_TD) {
  state.modules.front().inputs.put(model_.context(TokenForm::kStreamed), position, hidden_TD);
}

void MtpDrafter::truncate(DraftState& state, int64_t length) const {
  for (DraftState::Module& m : state.modules) {
    m.done = std::min(m.done, length);
    m.inputs.truncate(length);
  }
}

/// Positions [begin, end) of a sequence for module k, whose queue holds them.
MtpDrafter::Job MtpDrafter::job(int64_t k, const Sequence& s, int64_t begin, int64_t end) const {
  const auto n = std::ssize(s.tokens);
  Job job{&s, begin, module_of(*s.state, k).inputs.front(end - begin), {}};
  for (int64_t i = begin + k; i < end + k; ++i)
    job.next.push_back(i < n ? s.tokens[static_cast<size_t>(i)]
                             : s.ahead[static_cast<size_t>(i - n)]);
  return job;
}

void MtpDrafter::catch_up(std::span<const Sequence> sequences) {
  for (int64_t k = 1; k <= depth(); ++k) {
    std::vector<Job> jobs;
    for (const Sequence& s : sequences) {
      const int64_t done = module_of(*s.state, k).done, end = std::ssize(s.tokens) - k;
      if (end > done) jobs.push_back(job(k, s, done, end));
    }
    run(k, jobs);
    for (const Job& j : jobs) advance(k, *j.sequence->state, j.begin + std::ssize(j.next));
  }
}

void MtpDrafter::advance(int64_t k, DraftState& state, int64_t done) const {
  DraftState::Module& m = module_of(state, k);
  m.done = std::max(m.done, done);
  m.inputs.drop_before(m.done);
}

void MtpDrafter::run(int64_t k, std::span<const Job> jobs) {
  std::vector<Job> few;
  for (const Job& j : jobs) {
    if (std::ssize(j.next) >= kBlockTokens)
      run_chunk(k, TokenForm::kPacked, {&j, 1});
    else
      few.push_back(j);
  }
  if (!few.empty()) run_chunk(k, TokenForm::kStreamed, few);
}

void MtpDrafter::run_chunk(int64_t k, TokenForm form, std::span<const Job> jobs) {
  const ArenaScope scope(model_.arena());
  Context& ctx = model_.context(form);
  const Transformer& model = model_.model();
  const int64_t layer = std::ssize(model.layers()) + k - 1;
  std::vector<CachedPass::Part> parts;
  std::vector<int32_t> next_T;
  for (const Job& j : jobs) {
    parts.push_back({j.sequence->cache, j.begin, std::ssize(j.next)});
    next_T.insert(next_T.end(), j.next.begin(), j.next.end());
  }
  const CachedPass cached(ctx, model_.precision(), form, parts);
  const Pass& pass = cached.pass();
  const TensorView hidden_TD = pass.alloc_f32(std::ssize(next_T), model.config().hidden_size);
  for (size_t i = 0; i < jobs.size(); ++i) {
    const Segment& s = cached.segments()[i];
    kernels::copy(ctx, jobs[i].hidden_TD, hidden_TD.row_range(s.row, s.count));
  }
  const Mtp& mtp = model.mtp()[static_cast<size_t>(k - 1)];
  MtpSaved saved;
  const TensorView residual_TD = mtp.merge(pass, model.embed(pass, next_T), hidden_TD, saved);
  model_.layer(cached, layer, residual_TD);
  const TensorView out_TD = mtp.head_norm(pass, residual_TD, saved);
  for (size_t i = 0; i < jobs.size(); ++i) {
    const Segment& s = cached.segments()[i];
    DraftState& state = *jobs[i].sequence->state;
    kernels::copy(ctx, out_TD.row_range(s.row + s.count - 1, 1), state.last_1D);
    if (k < depth())
      module_of(state, k + 1).inputs.put(ctx, s.begin, out_TD.row_range(s.row, s.count));
  }
}

void MtpDrafter::draft(std::span<const Sequence> sequences, TensorView logits_SV) {
  const auto step = std::ssize(sequences.front().ahead);
  const int64_t k = std::min(step, depth());
  std::vector<Job> jobs;
  for (const Sequence& s : sequences) {
    const auto n = std::ssize(s.tokens);
    FATHOM_ASSERT(n > 0 && std::ssize(s.ahead) == step);
    const int64_t done = module_of(*s.state, k).done;
    if (step > depth())
      jobs.push_back({&s, n - 1 + step - k, s.state->last_1D.view(), {s.ahead.back()}});
    else
      jobs.push_back(job(k, s, done, n));
  }
  run(k, jobs);
  const ArenaScope scope(model_.arena());
  Context& ctx = model_.context(TokenForm::kStreamed);
  const int64_t width = model_.model().config().hidden_size;
  const TensorView last_SD = ctx.arena.alloc(DType::kF32, {std::ssize(jobs), width});
  for (int64_t i = 0; i < std::ssize(jobs); ++i) {
    const Job& j = jobs[static_cast<size_t>(i)];
    if (step <= depth()) advance(k, *j.sequence->state, j.begin + std::ssize(j.next) - (k - 1));
    kernels::copy(ctx, j.sequence->state->last_1D, last_SD.row_range(i, 1));
  }
  model_.logits(last_SD, logits_SV);
}

}  // namespace fathom
