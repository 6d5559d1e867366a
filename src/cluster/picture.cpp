#include "cluster/picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/svg.h"
#include "cluster/flops.h"
#include "cluster/kv_cache.h"

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

struct Bar {
  std::string name;
  std::vector<double> parts;
  double total() const { return std::accumulate(parts.begin(), parts.end(), 0.0); }
};

// Lying bars from the top, each with its name before and its total behind.
std::string draw_bars(const std::vector<Bar>& bars, std::string_view title, std::string_view unit) {
  constexpr double kNames = 170, kValues = 90, kRow = 26;
  Svg svg(kWidth, kTop + 10 + kRow * static_cast<double>(bars.size()));
  double largest = 0;
  for (const Bar& bar : bars) largest = std::max(largest, bar.total());
  svg.text(kLeft, 16, title, 14);
  double y = kTop;
  for (const Bar& bar : bars) {
    double x = kNames;
    svg.text(kNames - 6, y + 14, bar.name, 12, Svg::Anchor::kEnd);
    for (size_t i = 0; i < bar.parts.size(); ++i) {
      const double width = (kWidth - kNames - kValues) * bar.parts[i] / largest;
      svg.rect(x, y, width, 18, kColors[i % std::size(kColors)], in_words(bar.parts[i], unit));
      x += width;
    }
    svg.text(x + 6, y + 14, in_words(bar.total(), unit), 12);
    y += kRow;
  }
  return svg.str();
}

}  // namespace

std::string draw_kv_cache(const std::vector<ModelShape>& shapes, double bits_per_value) {
  std::vector<Bar> bars;
  for (const ModelShape& shape : shapes)
    bars.push_back({shape.name, {kv_bytes_per_token(shape, bits_per_value)}});
  return draw_bars(bars, "KV cache of a token", "bytes");
}

std::string draw_flops(const std::vector<ModelShape>& shapes, double seq_len) {
  std::vector<Bar> bars;
  for (const ModelShape& shape : shapes) {
    const ForwardFlops f = forward_flops(shape, seq_len / 2);
    bars.push_back({shape.name, {3 * f.linear, 3 * f.attention, 3 * f.head}});
  }
  return draw_bars(bars, "training a token: linear layers, attention, output head", "FLOP");
}

std::string draw_layer(const LayerTimeline& layer, std::string_view title) {
  constexpr double kNames = 110, kLane = 60;
  Svg svg(kWidth, kTop + 2 * kLane + 20);
  const double scale = layer.end() > 0 ? (kRight - kNames) / layer.end() : 0;
  svg.text(kLeft, 16, title, 14);
  svg.text(kNames - 8, kTop + 28, "computation", 12, Svg::Anchor::kEnd);
  svg.text(kNames - 8, kTop + kLane + 28, "network", 12, Svg::Anchor::kEnd);
  for (const LayerSpan& span : layer.spans()) {
    const double x = kNames + scale * span.start, y = kTop + (span.exchange ? kLane : 0);
    const double width = scale * span.work.seconds;
    svg.rect(x, y, width, 46, span.work.micro_batch == 0 ? "#fdb462" : "#b3de69",
             fmt::format("{}, micro-batch {}: {}", span.work.name, span.work.micro_batch,
                         in_words(span.work.seconds, "s")));
    if (width > 6.5 * static_cast<double>(span.work.name.size()))
      svg.text(x + width / 2, y + 27, span.work.name, 11, Svg::Anchor::kMiddle);
  }
  svg.text(kRight, kTop + 2 * kLane + 10, in_words(layer.end(), "s"), 12, Svg::Anchor::kEnd);
  return svg.str();
}

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
