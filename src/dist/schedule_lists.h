#pragma once

#include "dist/schedule.h"

namespace fathom::dist {

/// The computations of one rank, in order, of a legal shape; messages and the optimizer are added
/// afterwards. What make_schedule is written with.
std::vector<Operation> list_1f1b(int rank, int stages, int micro_batches);
std::vector<Operation> list_zb1p(int rank, int stages, int micro_batches);
std::vector<Operation> list_dualpipe(int rank, int stages, int micro_batches);
std::vector<Operation> list_dualpipev(int rank, int stages, int micro_batches);

/// Puts a receive before each operation whose input another rank makes, and a send after each that
/// makes one: as early and as late as data allow.
void add_messages(Schedule& schedule);

}  // namespace fathom::dist
