#pragma once

#include <span>
#include <vector>

#include "infer/sequence_cache.h"
#include "infer/token_form.h"
#include "model/pass.h"

namespace fathom {

/// Consecutive tokens of one sequence within a pass: rows [row, row + count) at positions from
/// `begin` on, for which the cache has room.
struct Segment {
  SequenceCache* cache;
  int64_t begin, row, count;

  int64_t end() const { return begin + count; }
};

/// A pass over tokens of several sequences, all read in one form: what a Pass points to.
class CachedPass {
 public:
  struct Part {
    SequenceCache* cache;
    int64_t begin, count;
  };
  /// ctx: with the form's product_form.
  CachedPass(Context& ctx, const PassOptions& options, TokenForm form, std::span<const Part> parts)
      : form_(form), pass_(make_pass(ctx, options, {}, {})) {
    for (const Part& p : parts) {
      segments_.push_back({p.cache, p.begin, offsets_.back(), p.count});
      for (int64_t i = 0; i < p.count; ++i)
        position_T_.push_back(static_cast<int32_t>(p.begin + i));
      offsets_.push_back(offsets_.back() + p.count);
    }
    pass_.position_T = position_T_;
    pass_.sequence_offsets = offsets_;
  }
  CachedPass(const CachedPass&) = delete;
  CachedPass& operator=(const CachedPass&) = delete;

  const Pass& pass() const { return pass_; }
  TokenForm form() const { return form_; }
  std::span<const Segment> segments() const { return segments_; }

 private:
  TokenForm form_;
  std::vector<Segment> segments_;
  std::vector<int32_t> position_T_;
  std::vector<int64_t> offsets_{0};
  Pass pass_;
};

}  // namespace fathom
