#include "cluster/net/draw.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numbers>

#include "base/svg.h"

namespace fathom::net {
namespace {

struct Point {
  double x, y;
};

constexpr double kWidth = 1200, kMargin = 40;
constexpr std::array<const char*, 5> kLayerColors = {"#3b7dd8", "#d8743b", "#7a4fbf", "#c0392b",
                                                     "#3b7dd8"};
constexpr std::array<const char*, 5> kLayerNames = {"leaves", "spines", "aggregation", "cores",
                                                    "switches"};

int row_of(Switch::Layer layer) {
  return layer == Switch::Layer::kLeaf ? 2 : layer == Switch::Layer::kCore ? 0 : 1;
}

/// Positions of the switches of one plane, by switch.
std::map<int, Point> layered(const SwitchGraph& g, int plane) {
  std::map<Switch::Layer, std::vector<int>> layers;
  for (size_t s = 0; s < g.switches.size(); ++s)
    if (g.switches[s].plane == plane) layers[g.switches[s].layer].push_back(static_cast<int>(s));
  std::map<int, Point> at;
  for (const auto& [layer, members] : layers)
    for (size_t i = 0; i < members.size(); ++i)
      at[members[i]] = {kMargin + (kWidth - 2 * kMargin) * (static_cast<double>(i) + 0.5) /
                                      static_cast<double>(members.size()),
                        120 + 190.0 * row_of(layer)};
  return at;
}

std::map<int, Point> on_circle(const SwitchGraph& g) {
  std::map<int, Point> at;
  const auto n = static_cast<double>(g.switches.size());
  for (size_t s = 0; s < g.switches.size(); ++s) {
    const double angle = 2 * std::numbers::pi * static_cast<double>(s) / n;
    at[static_cast<int>(s)] = {kWidth / 2 + 520 * std::sin(angle), 620 - 520 * std::cos(angle)};
  }
  return at;
}

void draw_switches(Svg& svg, const SwitchGraph& g, const std::map<int, Point>& at) {
  const double size = std::clamp(800.0 / static_cast<double>(at.size()), 2.0, 14.0);
  for (const Cable& c : g.cables)
    if (at.count(c.a) > 0 && at.count(c.b) > 0)
      svg.line(at.at(c.a).x, at.at(c.a).y, at.at(c.b).x, at.at(c.b).y, "#8899aa",
               at.size() > 60 ? 0.15 * c.parallel : 0.6 * c.parallel);
  for (const auto& [s, p] : at) {
    const Switch& w = g.switches[static_cast<size_t>(s)];
    svg.rect(p.x - size / 2, p.y - size / 2, size, size, kLayerColors[static_cast<size_t>(w.layer)],
             fmt::format("{}, {} endpoint ports", g.name(s), w.endpoint_ports));
  }
}

void draw_legend(Svg& svg, const SwitchGraph& g, int plane) {
  std::map<Switch::Layer, int> counts;
  for (const Switch& s : g.switches)
    if (s.plane == plane) ++counts[s.layer];
  double x = kMargin;
  for (const auto& [layer, count] : counts) {
    const auto i = static_cast<size_t>(layer);
    svg.rect(x, 56, 12, 12, kLayerColors[i]);
    svg.text(x + 18, 67, fmt::format("{} {}", count, kLayerNames[i]));
    x += 170;
  }
}

/// Everything that one owner's resources are: "node 0 (and 31 alike)", or a switch's cables.
struct Row {
  std::string name;
  std::vector<const LinkLoad*> cells;
};

std::vector<Row> rows_of(const SimulationResult& r) {
  std::vector<Row> rows;
  std::map<std::string, size_t> known;
  for (const LinkLoad& l : r.loads) {
    const bool cable = l.resource.kind == Resource::Kind::kCable;
    const std::string name =
        cable ? l.name.substr(0, l.name.find(" to ")) : fmt::format("group {}", l.resource.owner);
    const auto [at, is_new] = known.try_emplace(name, rows.size());
    if (is_new) rows.push_back({name, {}});
    rows[at->second].cells.push_back(&l);
  }
  for (Row& row : rows)
    if (row.name.starts_with("group ")) {
      const std::string& cell = row.cells[0]->name;
      const size_t node = cell.find("node ");
      row.name = cell.substr(node, cell.find(' ', node + 5) - node);
      if (const size_t more = cell.find(" ("); more != std::string::npos)
        row.name += cell.substr(more);
    }
  return rows;
}

void draw_histogram(Svg& svg, const SimulationResult& r) {
  double most = 1, all = 0;
  for (const double n : r.histogram) {
    most = std::max(most, n);
    all += n;
  }
  svg.text(kMargin, 60,
           fmt::format("Cables between switches by load, both directions ({:.0f})", all), 13);
  for (size_t i = 0; i < r.histogram.size(); ++i) {
    const double height = 100 * r.histogram[i] / most, x = kMargin + 60.0 * static_cast<double>(i);
    svg.rect(x, 180 - height, 50, height, heat_color(0.1 * static_cast<double>(i) + 0.05));
    svg.text(x + 25, 195, fmt::format("{}-{}%", 10 * i, 10 * i + 10), 10, Svg::Anchor::kMiddle);
    svg.text(x + 25, 175 - height, fmt::format("{:.0f}", r.histogram[i]), 10, Svg::Anchor::kMiddle);
  }
}

}  // namespace

std::string draw_topology(const SwitchGraph& g, const std::string& title) {
  const bool layers = g.switches[0].layer != Switch::Layer::kRouter;
  const int plane = g.switches[0].plane;
  Svg svg(kWidth, layers ? 600 : 1180);
  svg.text(kMargin, 36, title, 18);
  draw_legend(svg, g, plane);
  draw_switches(svg, g, layers ? layered(g, plane) : on_circle(g));
  if (g.leaves.size() > 1)
    svg.text(kMargin, 570,
             fmt::format("plane 0 of {}; the others are equal and joined only inside the nodes",
                         g.leaves.size()),
             14);
  return svg.str();
}

std::string draw_loads(const SimulationResult& r, const std::string& title) {
  constexpr size_t kMostRows = 220;
  const std::vector<Row> rows = rows_of(r);
  const size_t shown = std::min(rows.size(), kMostRows);
  const double cell_height = shown > 100 ? 6 : 12;
  Svg svg(kWidth, 260 + cell_height * static_cast<double>(shown));
  svg.text(kMargin, 30, title, 18);
  draw_histogram(svg, r);
  svg.text(
      kMargin, 225,
      shown == rows.size()
          ? std::string("Load of every NVLink, PCIe, NIC and cable; a row a node group or switch")
          : fmt::format("Load by node group and switch: the first {} of {} rows", shown,
                        rows.size()),
      13);
  for (size_t i = 0; i < shown; ++i) {
    const double y = 235 + cell_height * static_cast<double>(i);
    svg.text(kMargin, y + cell_height - 1, rows[i].name, std::min(10.0, cell_height));
    const double width =
        std::min(16.0, (kWidth - 260 - kMargin) / static_cast<double>(rows[i].cells.size()));
    for (size_t c = 0; c < rows[i].cells.size(); ++c) {
      const LinkLoad& l = *rows[i].cells[c];
      svg.rect(260 + width * static_cast<double>(c), y, width, cell_height, heat_color(l.load),
               fmt::format("{}: {:.1f}%", l.name, 100 * l.load));
    }
  }
  return svg.str();
}

std::string draw_bars(const std::vector<Bar>& bars, const std::string& title,
                      const std::string& unit, const std::string& reference_name) {
  double most = 1e-300;
  for (const Bar& b : bars) most = std::max({most, b.value, b.reference});
  const double scale = 640 / most;
  Svg svg(1000, 90 + 40.0 * static_cast<double>(bars.size()));
  svg.text(20, 30, title, 17);
  svg.rect(20, 46, 12, 12, "#3b7dd8");
  svg.text(38, 57, fmt::format("simulated, {}", unit));
  if (!reference_name.empty()) {
    svg.rect(230, 46, 12, 12, "#c7cdd6");
    svg.text(248, 57, reference_name);
  }
  double y = 76;
  for (const Bar& b : bars) {
    svg.text(230, y + 16, b.label, 12, Svg::Anchor::kEnd);
    svg.rect(240, y, b.value * scale, 14, "#3b7dd8");
    svg.text(246 + b.value * scale, y + 12, fmt::format("{:.4g}", b.value), 11);
    if (b.reference > 0) {
      svg.rect(240, y + 15, b.reference * scale, 10, "#c7cdd6");
      svg.text(246 + b.reference * scale, y + 24, fmt::format("{:.4g}", b.reference), 10);
    }
    y += 40;
  }
  return svg.str();
}

}  // namespace fathom::net
