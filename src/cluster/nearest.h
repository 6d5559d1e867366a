#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::cluster {

/// The name that differs from `name` by the fewest letters; empty when there are none.
std::string nearest(std::string_view name, const std::vector<std::string>& names);

/// The multiple of `step` (at least `step`) nearest to `value`.
int64_t nearest_multiple(int64_t value, int64_t step);

/// The divisor of `whole` nearest to `value`.
int64_t nearest_divisor(int64_t value, int64_t whole);

/// "the nearest is 'h800'; known: a100, …"
std::string choice_hint(std::string_view name, const std::vector<std::string>& names);

}  // namespace fathom::cluster
