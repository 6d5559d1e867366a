#include "cluster/net/max_min.h"

#include <algorithm>
#include <limits>
#include <queue>

#include "base/error.h"

namespace fathom::net {

/// The level (rate a unit of share) at which a resource is full. Levels only rise while flows
/// freeze, so a stale entry is an underestimate and is corrected when it comes up.
struct MaxMin::Level {
  double level;
  int32_t resource;
  bool operator>(const Level& o) const {
    return level != o.level ? level > o.level : resource > o.resource;
  }
};

void FlowTable::add(std::span<const Use> flow_uses, double flow_share) {
  uses.insert(uses.end(), flow_uses.begin(), flow_uses.end());
  first.push_back(static_cast<int64_t>(uses.size()));
  share.push_back(flow_share);
}

MaxMin::MaxMin(const FlowTable& table)
    : table_(table),
      flow_first_(table.capacity.size() + 1),
      flow_of_(table.uses.size()),
      left_(table.capacity.size()),
      load_(table.capacity.size()),
      count_(table.capacity.size()),
      open_(static_cast<size_t>(table.flows())) {
  FATHOM_ASSERT(table.flows() < std::numeric_limits<int32_t>::max());
  for (const Use& u : table.uses) ++flow_first_[static_cast<size_t>(u.resource) + 1];
  for (size_t r = 1; r < flow_first_.size(); ++r) flow_first_[r] += flow_first_[r - 1];
  std::vector<int64_t> at(flow_first_.begin(), flow_first_.end() - 1);
  for (int64_t f = 0; f < table.flows(); ++f)
    for (const Use& u : table.uses_of(f))
      flow_of_[static_cast<size_t>(at[static_cast<size_t>(u.resource)]++)] =
          static_cast<int32_t>(f);
}

void MaxMin::fill(std::span<const uint8_t> active) {
  left_ = table_.capacity;
  std::fill(load_.begin(), load_.end(), 0.0);
  std::fill(count_.begin(), count_.end(), 0);
  for (int64_t f = 0; f < table_.flows(); ++f) {
    const auto i = static_cast<size_t>(f);
    open_[i] = active[i];
    if (!active[i]) continue;
    for (const Use& u : table_.uses_of(f)) {
      load_[static_cast<size_t>(u.resource)] += u.weight * table_.share[i];
      ++count_[static_cast<size_t>(u.resource)];
    }
  }
}

void MaxMin::freeze(int64_t flow, double level, std::span<double> rates) {
  const auto i = static_cast<size_t>(flow);
  open_[i] = 0;
  rates[i] = level * table_.share[i];
  for (const Use& u : table_.uses_of(flow)) {
    const auto r = static_cast<size_t>(u.resource);
    left_[r] -= u.weight * rates[i];
    load_[r] -= u.weight * table_.share[i];
    --count_[r];
  }
}

void MaxMin::solve(std::span<const uint8_t> active, std::span<double> rates) {
  fill(active);
  for (int64_t f = 0; f < table_.flows(); ++f)
    rates[static_cast<size_t>(f)] =
        active[static_cast<size_t>(f)] ? std::numeric_limits<double>::infinity() : 0;
  const auto level_of = [&](size_t r) { return std::max(left_[r], 0.0) / load_[r]; };
  std::priority_queue<Level, std::vector<Level>, std::greater<>> queue;
  for (size_t r = 0; r < left_.size(); ++r)
    if (count_[r] > 0) queue.push({level_of(r), static_cast<int32_t>(r)});
  while (!queue.empty()) {
    const Level top = queue.top();
    queue.pop();
    const auto r = static_cast<size_t>(top.resource);
    if (count_[r] == 0) continue;
    // Rounding may move a level by its last digits: only a real rise is put back.
    const double level = level_of(r);
    if (level > top.level * (1 + 1e-12)) {
      queue.push({level, top.resource});
      continue;
    }
    for (int64_t k = flow_first_[r]; k < flow_first_[r + 1]; ++k)
      if (const int32_t f = flow_of_[static_cast<size_t>(k)]; open_[static_cast<size_t>(f)])
        freeze(f, top.level, rates);
  }
}

}  // namespace fathom::net
