#pragma once

#include <span>
#include <string>

#include "dist/simulate.h"

namespace fathom::dist {

/// A simulated schedule to draw, with the line of text above it.
struct Timeline {
  std::string title;
  const Schedule* schedule;
  const Simulation* simulation;
};

/// The schedules one below the other on one scale of time, a row a rank: forwards, backwards,
/// weight gradients and idle time in their colours, the number of the micro-batch where it fits.
/// The second of a rank's two stages is darker. Throws Error above 200,000 operations.
std::string timeline_svg(std::span<const Timeline> timelines);

/// Chrome trace events, which Perfetto (ui.perfetto.dev) opens: a process a schedule, a thread a
/// rank, and counters of the activations kept. A unit of time is shown as a millisecond.
std::string timeline_trace(std::span<const Timeline> timelines);

}  // namespace fathom::dist
