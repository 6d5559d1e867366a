#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "base/svg.h"
#include "dist/timeline.h"

namespace fathom::dist {
namespace {

constexpr size_t kMostOperations = 200'000;
constexpr double kPlotWidth = 1240, kMargin = 12, kLabelWidth = 56;
constexpr double kRow = 20, kGap = 2, kTitle = 26, kAxis = 34, kLegend = 30;
constexpr double kDigit = 5.6;  // width of a digit at the size of the numbers in chunks
constexpr const char* kIdle = "#efefef";

/// What a rectangle shows, and its colours on a rank's first and second stage.
struct Look {
  const char* name;
  std::array<const char*, 2> fill;
  const char* ink;
};
constexpr Look kForwardLook = {"forward", {"#f7d070", "#e0a526"}, "#222"};
constexpr Look kBackwardLook = {"backward", {"#7fb2e5", "#3f7fc1"}, "#fff"};
constexpr Look kInputLook = {"backward for the input", {"#9ad4c8", "#4fa596"}, "#222"};
constexpr Look kWeightLook = {"backward for the weights", {"#a5d46a", "#74a83a"}, "#222"};
constexpr Look kOptimizerLook = {"optimizer", {"#b9a5d6", "#b9a5d6"}, "#222"};
constexpr const Look* kLooks[] = {&kForwardLook, &kBackwardLook, &kInputLook, &kWeightLook,
                                  &kOptimizerLook};

/// Draws one rank's row.
class Row {
 public:
  Row(Svg& svg, double left, double top, double scale)
      : svg_(svg), left_(left), top_(top), scale_(scale) {}

  void draw(const std::vector<Operation>& list, const std::vector<Span>& spans, double total) {
    svg_.rect(left_, top_, total * scale_, kRow - kGap, kIdle);
    for (const Operation& o : list)
      if (runs_forward(o.kind)) first_stage_ = std::min(first_stage_, o.forward.stage);
    for (size_t i = 0; i < spans.size(); ++i)
      if (spans[i].end > spans[i].start) operation(list[i], spans[i]);
  }

 private:
  void operation(const Operation& o, const Span& span) {
    const std::string title = fmt::format("{} {:g} to {:g}", to_string(o), span.start, span.end);
    const double full = kRow - kGap, half = full / 2;
    switch (o.kind) {
      case OperationKind::kForward:
        return chunk(kForwardLook, o.forward, span, 0, full, title);
      case OperationKind::kBackward:
        return chunk(kBackwardLook, o.backward, span, 0, full, title);
      case OperationKind::kBackwardInput:
        return chunk(kInputLook, o.backward, span, 0, full, title);
      case OperationKind::kBackwardWeight:
        return chunk(kWeightLook, o.backward, span, 0, full, title);
      case OperationKind::kOverlapped:
        chunk(kForwardLook, o.forward, span, 0, half, title);
        return chunk(kBackwardLook, o.backward, span, half, half, title);
      case OperationKind::kOptimizer:
        return chunk(kOptimizerLook, {}, span, 0, full, title);
      default:
        return;  // messages: the wait shows as idle time
    }
  }

  void chunk(const Look& look, const Chunk& c, const Span& span, double y, double height,
             const std::string& title) {
    const double x = left_ + span.start * scale_;
    const double width = (span.end - span.start) * scale_;
    const double visible =
        std::max(width - 0.5, width / 2);  // a gap, so that chunks can be counted
    const size_t shade = c.stage > first_stage_ ? 1 : 0;
    svg_.rect(x, top_ + y, visible, height, look.fill[shade], title);
    const std::string number = c.micro_batch < 0 ? "" : fmt::to_string(c.micro_batch);
    const double size = height < 12 ? 8 : 10;
    if (static_cast<double>(number.size()) * kDigit + 2 <= width)
      svg_.text(x + width / 2, top_ + y + height / 2 + size * 0.36, number, size,
                Svg::Anchor::kMiddle, look.ink);
  }

  Svg& svg_;
  double left_, top_, scale_;
  int first_stage_ = 1 << 30;
};

size_t operations(std::span<const Timeline> timelines) {
  size_t count = 0;
  for (const Timeline& t : timelines)
    for (const auto& list : t.schedule->ranks) count += list.size();
  return count;
}

double height_of(const Timeline& t) {
  return kTitle + static_cast<double>(t.schedule->ranks.size()) * kRow + kAxis;
}

/// 1, 2 or 5 times a power of ten: about ten to the whole width.
double tick_of(double total) {
  const double power = std::pow(10, std::floor(std::log10(total / 10)));
  for (double factor : {1.0, 2.0, 5.0})
    if (total / (power * factor) <= 14) return power * factor;
  return 10 * power;
}

void draw_axis(Svg& svg, double y, double total, double scale) {
  const double left = kMargin + kLabelWidth;
  svg.line(left, y, left + total * scale, y, "#888");
  const double tick = tick_of(total);
  for (int i = 0; i * tick <= total; ++i) {
    const double x = left + i * tick * scale;
    svg.line(x, y, x, y + 4, "#888");
    svg.text(x, y + 15, fmt::format("{:.6g}", i * tick), 10, Svg::Anchor::kMiddle, "#555");
  }
}

void draw(Svg& svg, const Timeline& t, double top, double scale) {
  svg.text(kMargin, top + 16, t.title, 13);
  double y = top + kTitle;
  for (size_t rank = 0; rank < t.schedule->ranks.size(); ++rank, y += kRow) {
    svg.text(kMargin, y + 13, fmt::format("rank {}", rank), 11, Svg::Anchor::kStart, "#555");
    Row(svg, kMargin + kLabelWidth, y, scale)
        .draw(t.schedule->ranks[rank], t.simulation->spans[rank], t.simulation->total);
  }
  if (t.simulation->total > 0) draw_axis(svg, y + 2, t.simulation->total, scale);
}

void draw_legend(Svg& svg, double top) {
  double x = kMargin + kLabelWidth;
  for (const Look* look : kLooks) {
    svg.rect(x, top, 12, 12, look->fill[0]);
    svg.rect(x + 13, top, 12, 12, look->fill[1]);
    svg.text(x + 30, top + 10, look->name, 11);
    x += 44 + 6.0 * static_cast<double>(std::string_view(look->name).size());
  }
  svg.rect(x, top, 25, 12, kIdle);
  svg.text(x + 30, top + 10, "idle    (darker: the second of a rank's two stages)", 11);
}

}  // namespace

std::string timeline_svg(std::span<const Timeline> timelines) {
  const size_t count = operations(timelines);
  if (count > kMostOperations)
    throw Error(fmt::format("a picture of {} operations is too large to look at", count),
                fmt::format("draw at most {}: fewer micro-batches or stages, or write the Perfetto "
                            "trace, which can be zoomed",
                            kMostOperations));
  double height = kMargin + kLegend, longest = 0;
  for (const Timeline& t : timelines) {
    height += height_of(t);
    longest = std::max(longest, t.simulation->total);
  }
  Svg svg(kPlotWidth + kLabelWidth + 2 * kMargin, height);
  double top = kMargin;
  for (const Timeline& t : timelines) {
    draw(svg, t, top, longest > 0 ? kPlotWidth / longest : 1);
    top += height_of(t);
  }
  draw_legend(svg, top + 4);
  return svg.str();
}

}  // namespace fathom::dist
