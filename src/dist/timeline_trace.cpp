#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "dist/timeline.h"

namespace fathom::dist {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kMicrosecondsPerUnit = 1000;

std::string label_of(const Operation& o) {
  switch (o.kind) {
    case OperationKind::kForward:
      return fmt::format("F {}", o.forward.micro_batch);
    case OperationKind::kBackward:
      return fmt::format("B {}", o.backward.micro_batch);
    case OperationKind::kBackwardInput:
      return fmt::format("B input {}", o.backward.micro_batch);
    case OperationKind::kBackwardWeight:
      return fmt::format("W {}", o.backward.micro_batch);
    case OperationKind::kOverlapped:
      return fmt::format("F {} & B {}", o.forward.micro_batch, o.backward.micro_batch);
    default:
      return to_string(o);
  }
}

Json name_event(const char* what, size_t process, size_t thread, const std::string& name) {
  return {
      {"ph", "M"}, {"name", what}, {"pid", process}, {"tid", thread}, {"args", {{"name", name}}}};
}

Json chunk_json(const Chunk& c) {
  return {{"micro_batch", c.micro_batch}, {"stage", c.stage}};
}

Json slice(const Operation& o, const Span& span, size_t process, size_t rank) {
  Json args = Json::object();
  if (o.forward.stage >= 0) args["forward"] = chunk_json(o.forward);
  if (o.backward.stage >= 0) args["backward"] = chunk_json(o.backward);
  return {{"ph", "X"},
          {"name", label_of(o)},
          {"pid", process},
          {"tid", rank},
          {"ts", span.start * kMicrosecondsPerUnit},
          {"dur", (span.end - span.start) * kMicrosecondsPerUnit},
          {"args", std::move(args)}};
}

Json kept(int chunks, double time, size_t process, size_t rank) {
  return {{"ph", "C"},
          {"name", fmt::format("activations of rank {}", rank)},
          {"pid", process},
          {"ts", time * kMicrosecondsPerUnit},
          {"args", {{"chunks", chunks}}}};
}

void add_rank(Json& events, const Timeline& t, size_t process, size_t rank) {
  events.push_back(name_event("thread_name", process, rank, fmt::format("rank {}", rank)));
  int chunks = 0;
  for (size_t i = 0; i < t.simulation->spans[rank].size(); ++i) {
    const Operation& o = t.schedule->ranks[rank][i];
    const Span& span = t.simulation->spans[rank][i];
    if (span.end > span.start) events.push_back(slice(o, span, process, rank));
    if (runs_forward(o.kind)) events.push_back(kept(++chunks, span.start, process, rank));
    if (runs_backward_weight(o.kind)) events.push_back(kept(--chunks, span.end, process, rank));
  }
}

}  // namespace

std::string timeline_trace(std::span<const Timeline> timelines) {
  Json events = Json::array();
  for (size_t process = 0; process < timelines.size(); ++process) {
    const Timeline& t = timelines[process];
    events.push_back(name_event("process_name", process, 0, t.title));
    for (size_t rank = 0; rank < t.schedule->ranks.size(); ++rank)
      add_rank(events, t, process, rank);
  }
  return Json{{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}}.dump() + "\n";
}

}  // namespace fathom::dist
