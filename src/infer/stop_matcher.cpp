#include "infer/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace fathom {

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const std::string& s : stops_)
    if (s.empty()) throw Error("a stop string is empty", "leave it out");
}

std::string StopMatcher::feed(std::string_view text) {
  FATHOM_ASSERT(!matched_);
  for (const char c : text) {
    held_ += c;
    const size_t length = match();
    if (length == 0) continue;
    matched_ = true;
    held_.resize(held_.size() - length);
    return std::exchange(held_, {});
  }
  const size_t sure = held_.size() - undecided();
  std::string out = held_.substr(0, sure);
  held_.erase(0, sure);
  return out;
}

std::string StopMatcher::flush() {
  return std::exchange(held_, {});
}

size_t StopMatcher::match() const {
  size_t longest = 0;
  for (const std::string& s : stops_)
    if (held_.ends_with(s)) longest = std::max(longest, s.size());
  return longest;
}

size_t StopMatcher::undecided() const {
  size_t longest = 0;
  const std::string_view held = held_;
  for (const std::string_view s : stops_)
    for (size_t n = std::min(held.size(), s.size() - 1); n > longest; --n)
      if (s.starts_with(held.substr(held.size() - n))) longest = n;
  return longest;
}

}  // namespace fathom
