#include "cluster/picture.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/svg.h"

namespace fathom::cluster {
namespace {

constexpr double kGib = 1024.0 * 1024 * 1024;
constexpr double kWidth = 760, kHeight = 360, kLeft = 60, kTop = 40, kBottom = 320, kRight = 740;
constexpr const char* kColors[] = {"#4c78a8", "#f58518", "#54a24b",
                                   "#b279a2", "#e45756", "#72b7b2"};

struct Share {
  std::string name;
  double value;
};

// A legend above the plot.
void legend(Svg& svg, const std::vector<std::string>& names) {
  double x = kLeft;
  for (size_t i = 0; i < names.size(); ++i) {
    svg.rect(x, kTop - 14, 10, 10, kColors[i % std::size(kColors)]);
    svg.text(x + 14, kTop - 5, names[i], 11);
    x += 30 + 7.0 * static_cast<double>(names[i].size());
  }
}

void y_axis(Svg& svg, double largest, std::string_view unit) {
  for (int i = 0; i <= 4; ++i) {
    const double y = kBottom - (kBottom - kTop) * i / 4;
    svg.line(kLeft, y, kRight, y, "#dddddd");
    svg.text(kLeft - 6, y + 4, fmt::format("{:.3g}", largest * i / 4), 11, Svg::Anchor::kEnd);
  }
  svg.text(4, kTop - 5, unit, 11);
}

}  // namespace

std::string draw_memory(const std::vector<RankMemory>& ranks, double memory_gib,
                        std::string_view title) {
  Svg svg(kWidth, kHeight);
  double largest = memory_gib;
  for (const RankMemory& m : ranks) largest = std::max(largest, m.total() / kGib);
  svg.text(kLeft, 16, title, 14);
  y_axis(svg, largest, "GiB");
  legend(svg, {"weights", "gradients", "optimizer", "activations"});
  const double scale = (kBottom - kTop) / largest;
  const double step = (kRight - kLeft) / static_cast<double>(ranks.size());
  for (size_t r = 0; r < ranks.size(); ++r) {
    const RankMemory& m = ranks[r];
    const double parts[] = {m.weights, m.gradients, m.optimizer, m.activations};
    const double x = kLeft + step * static_cast<double>(r);
    double y = kBottom;
    for (size_t i = 0; i < std::size(parts); ++i) {
      const double height = parts[i] / kGib * scale;
      y -= height;
      svg.rect(x + 0.1 * step, y, 0.8 * step, height, kColors[i],
               fmt::format("rank {}: {:.2f} GiB", r, parts[i] / kGib));
    }
    svg.text(x + step / 2, kBottom + 16, fmt::to_string(r), 11, Svg::Anchor::kMiddle);
  }
  svg.line(kLeft, kBottom - memory_gib * scale, kRight, kBottom - memory_gib * scale, "#c00000", 2);
  return svg.str();
}

std::string draw_step(const TrainPlan& plan, std::string_view title) {
  Svg svg(kWidth, 140);
  const std::vector<Share> parts = {{"1F", plan.phases.forward}, {"1B", plan.phases.backward},
                                    {"1W", plan.phases.weight},  {"1F1B", plan.phases.overlapped},
                                    {"bubble", plan.bubble},     {"optimizer", plan.optimizer}};
  std::vector<std::string> names;
  double x = kLeft;
  for (size_t i = 0; i < parts.size(); ++i) {
    const double width = (kRight - kLeft) * parts[i].value / plan.step;
    svg.rect(x, 60, width, 40, kColors[i],
             fmt::format("{}: {:.3f} s", parts[i].name, parts[i].value));
    x += width;
    names.push_back(fmt::format("{} {:.2f} s", parts[i].name, parts[i].value));
  }
  svg.text(kLeft, 16, title, 14);
  legend(svg, names);
  svg.text(kRight, 118, fmt::format("{:.3f} s", plan.step), 12, Svg::Anchor::kEnd);
  return svg.str();
}

std::string draw_search(const SearchResult& result, std::string_view title) {
  Svg svg(kWidth, kHeight);
  double days = 0, memory = 0;
  for (const Candidate& c : result.candidates) {
    days = std::max(days, c.plan.days);
    memory = std::max(memory, c.plan.memory_gib);
  }
  svg.text(kLeft, 16, title, 14);
  y_axis(svg, memory, "GiB");
  const auto draw = [&](bool pareto) {
    for (const Candidate& c : result.candidates)
      if (c.pareto == pareto)
        svg.circle(kLeft + (kRight - kLeft) * c.plan.days / days,
                   kBottom - (kBottom - kTop) * c.plan.memory_gib / memory, pareto ? 5 : 3,
                   pareto ? "#e45756" : "#9ecae9",
                   fmt::format("{} GPUs {}: {:.4g} days, {:.4g} GiB, ${:.4g}", c.layout.gpus,
                               c.layout.name(), c.plan.days, c.plan.memory_gib, c.plan.cost));
  };
  draw(false);
  draw(true);
  for (int i = 0; i <= 4; ++i)
    svg.text(kLeft + (kRight - kLeft) * i / 4, kBottom + 16, fmt::format("{:.3g}", days * i / 4),
             11, Svg::Anchor::kMiddle);
  svg.text(kRight, kBottom + 32, "days", 11, Svg::Anchor::kEnd);
  return svg.str();
}

}  // namespace fathom::cluster
