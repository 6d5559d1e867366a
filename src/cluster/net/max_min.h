#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace fathom::net {

/// How much of a resource one byte of a flow takes: the share of the flow's traffic that crosses
/// it, times the flows that one entry stands for, over the equal resources that one entry stands
/// for.
struct Use {
  int32_t resource;
  double weight;
};

/// Flows over resources of limited capacity, in compressed rows: flow f uses uses[first[f]] up to
/// uses[first[f + 1]].
struct FlowTable {
  std::vector<double> capacity;  ///< bytes/s, by resource; finite and above 0
  std::vector<double> share;     ///< by flow: its rate when everything else is equal; usually 1
  std::vector<int64_t> first = {0};
  std::vector<Use> uses;

  int64_t flows() const { return static_cast<int64_t>(first.size()) - 1; }
  std::span<const Use> uses_of(int64_t f) const {
    return {uses.data() + first[static_cast<size_t>(f)],
            uses.data() + first[static_cast<size_t>(f) + 1]};
  }
  void add(std::span<const Use> flow_uses, double flow_share = 1);
};

/// Max-min fair rates by progressive filling (Bertsekas and Gallager, Data Networks, 6.5.2): all
/// rates grow in proportion to their shares until a resource is full, whose flows then stay; and so
/// on. One instance serves one table, whose flows it lets go inactive one by one.
class MaxMin {
 public:
  explicit MaxMin(const FlowTable& table);

  /// Rates in bytes/s of the flows with active[f] != 0; others get 0. A flow without uses gets
  /// infinity.
  void solve(std::span<const uint8_t> active, std::span<double> rates);

 private:
  struct Level;
  void fill(std::span<const uint8_t> active);
  void freeze(int64_t flow, double level, std::span<double> rates);

  const FlowTable& table_;
  std::vector<int64_t> flow_first_;  // by resource, into flow_of_
  std::vector<int32_t> flow_of_;
  std::vector<double> left_, load_;
  std::vector<int32_t> count_;
  std::vector<uint8_t> open_;
};

}  // namespace fathom::net
