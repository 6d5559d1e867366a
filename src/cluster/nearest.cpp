#include "cluster/nearest.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>

namespace fathom::cluster {
namespace {

// Letters to insert, delete or replace (Levenshtein).
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string nearest(std::string_view name, const std::vector<std::string>& names) {
  const auto closest = std::min_element(
      names.begin(), names.end(),
      [&](const auto& a, const auto& b) { return distance(name, a) < distance(name, b); });
  return closest == names.end() ? std::string() : *closest;
}

int64_t nearest_multiple(int64_t value, int64_t step) {
  return std::max(step, (value + step / 2) / step * step);
}

int64_t nearest_divisor(int64_t value, int64_t whole) {
  int64_t best = 1;
  for (int64_t d = 1; d <= whole / d; ++d) {
    if (whole % d != 0) continue;
    for (const int64_t divisor : {d, whole / d})
      if (std::abs(divisor - value) < std::abs(best - value)) best = divisor;
  }
  return best;
}

std::string choice_hint(std::string_view name, const std::vector<std::string>& names) {
  return fmt::format("the nearest is '{}'; known: {}", nearest(name, names),
                     fmt::join(names, ", "));
}

}  // namespace fathom::cluster
