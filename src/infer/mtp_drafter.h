#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "infer/cached_model.h"
#include "infer/hidden_queue.h"

namespace fathom {

/// How far the MTP modules are with one sequence. Their cached rows lie in the sequence's pages, in
/// the layers after the main model's.
struct DraftState {
  struct Module {
    HiddenQueue inputs;  ///< representations of the depth before, from position `done` on
    int64_t done = 0;    ///< positions computed from chosen tokens
  };
  std::vector<Module> modules;
  Tensor last_1D;  ///< representation of the last position run

  /// Positions before this are settled: their rows will not be written again.
  int64_t settled() const;
  /// Positions waiting for the first module.
  int64_t waiting() const { return modules.front().inputs.end() - modules.front().done; }
};

/// The multi-token prediction modules beside the main model's caches (spec A.6). Module k takes, at
/// position i, the representation of depth k-1 and token i+k, and predicts token i+k+1. So when the
/// main model has read tokens 0..n-1, module 1 lacks the last position until token n is chosen;
/// module 2 lacks two, and so on. What they compute shapes drafts only, never what is accepted.
class MtpDrafter {
 public:
  /// model: with room for the modules' layers.
  explicit MtpDrafter(CachedModel& model) : model_(model) {}

  int64_t depth() const { return std::ssize(model_.model().mtp()); }
  /// For a sequence whose pages hold `position` tokens of the main model and the modules already.
  DraftState start(int64_t position) const;
  /// The main model's representations of the tokens from `position` on.
  void push(DraftState& state, int64_t position, ConstTensorView hidden_TD);
  /// The main model forgot tokens from `length` on. Rows whose next token was forgotten stay as
  /// they are when their input is gone.
  void truncate(DraftState& state, int64_t length) const;

  struct Sequence {
    DraftState* state;
    SequenceCache* cache;
    std::span<const int32_t> tokens;  ///< all that the main model has read
    std::span<const int32_t> ahead;   ///< the token chosen after them, then the drafts so far
  };
  /// Runs every module as far as tokens go.
  void catch_up(std::span<const Sequence> sequences);
  /// logits_SV, F32: of what follows `ahead`, as long for all sequences. One token ahead first,
  /// then two…, once after each push. Draft k comes from module k; beyond the last depth, from the
  /// last module fed its own representation. Caches need room for tokens and ahead.
  void draft(std::span<const Sequence> sequences, TensorView logits_SV);

 private:
  /// Positions of one sequence for a module.
  struct Job {
    const Sequence* sequence;
    int64_t begin;
    ConstTensorView hidden_TD;
    std::vector<int32_t> next;  ///< token after each position, as many places on as the depth
  };
  Job job(int64_t k, const Sequence& s, int64_t begin, int64_t end) const;
  /// Runs module k (from 1) and hands its representations to the next depth.
  void run(int64_t k, std::span<const Job> jobs);
  void run_chunk(int64_t k, TokenForm form, std::span<const Job> jobs);
  void advance(int64_t k, DraftState& state, int64_t done) const;

  CachedModel& model_;
};

}  // namespace fathom
