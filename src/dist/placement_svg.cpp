#include "dist/placement_svg.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/svg.h"

namespace fathom::dist {
namespace {

constexpr size_t kMostCells = 200'000;
constexpr double kMargin = 12, kLabel = 56, kTitle = 26, kMapWidth = 560, kRow = 12;

/// One heat map; loads of a layer are shown as shares of `full`, one a layer.
void draw_map(Svg& svg, double left, const std::string& title,
              const std::vector<std::vector<double>>& loads, const std::vector<double>& full) {
  svg.text(left, kMargin + 14, title, 13);
  const double width = kMapWidth / static_cast<double>(loads.front().size());
  double y = kMargin + kTitle;
  for (size_t layer = 0; layer < loads.size(); ++layer, y += kRow)
    for (size_t gpu = 0; gpu < loads[layer].size(); ++gpu) {
      const double load = loads[layer][gpu];
      const double share = full[layer] > 0 ? load / full[layer] : 0;
      svg.rect(left + static_cast<double>(gpu) * width, y, width, kRow, heat_color(share),
               fmt::format("layer {} GPU {}: {:g}", layer, gpu, load));
    }
}

}  // namespace

std::string placement_svg(const LayerLoads& loads, const ExpertPlacement& placement, int gpus) {
  if (loads.size() * static_cast<size_t>(gpus) > kMostCells)
    throw Error(fmt::format("a picture of {} layers on {} GPUs is too large to look at",
                            loads.size(), gpus),
                fmt::format("draw at most {} of both multiplied", kMostCells));
  std::vector<std::vector<double>> in_order, placed;
  std::vector<double> full;
  for (size_t layer = 0; layer < loads.size(); ++layer) {
    in_order.push_back(gpu_loads_in_order(loads[layer], gpus));
    placed.push_back(gpu_loads(loads[layer], placement.layers[layer], gpus));
    full.push_back(*std::max_element(in_order.back().begin(), in_order.back().end()));
  }
  const double height = kMargin + kTitle + kRow * static_cast<double>(loads.size()) + kMargin;
  Svg svg(kLabel + 2 * kMapWidth + 4 * kMargin, height);
  for (size_t layer = 0; layer < loads.size(); layer += 5)
    svg.text(kMargin, kMargin + kTitle + kRow * static_cast<double>(layer) + 10,
             fmt::format("layer {}", layer), 10, Svg::Anchor::kStart, "#555");
  draw_map(svg, kMargin + kLabel, fmt::format("{} GPUs, experts in order", gpus), in_order, full);
  draw_map(svg, 3 * kMargin + kLabel + kMapWidth, "placed by load", placed, full);
  return svg.str();
}

}  // namespace fathom::dist
