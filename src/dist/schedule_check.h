#pragma once

#include <string>
#include <vector>

#include "dist/schedule.h"

namespace fathom::dist {

/// Proves a schedule right, whatever made it, or says what is wrong; empty means proven:
///   every chunk has one F, one B (for the input) and one W, all on the same rank;
///   every message is sent once and received once, by the ranks that they name;
///   every rank ends in its only optimizer operation;
///   played in order, every operation finds its inputs made before it, so that no rank ever waits
///   for something that cannot come (sends do not block, receives do).
std::vector<std::string> check_schedule(const Schedule& schedule);

/// Throws Error when an operation names a chunk or a rank that does not exist.
void check_ranges(const Schedule& schedule);

}  // namespace fathom::dist
