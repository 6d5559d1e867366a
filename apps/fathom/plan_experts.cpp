#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "dist/expert_loads.h"
#include "dist/placement_svg.h"
#include "plan.h"
#include "plan_schedule.h"

namespace fathom::app {
namespace {

using Json = nlohmann::ordered_json;
using namespace dist;

/// Largest over mean load of a layer's GPUs (and nodes), before and after.
struct LayerBalance {
  double before, after, nodes_before, nodes_after;
  int most_copies;
};

struct Planned {
  LayerLoads loads;
  PlacementShape shape;
  ExpertPlacement placement;
  std::vector<LayerBalance> layers;

  double mean(double LayerBalance::*value) const {
    double sum = 0;
    for (const LayerBalance& layer : layers) sum += layer.*value;
    return sum / static_cast<double>(layers.size());
  }
  double worst(double LayerBalance::*value) const {
    double worst = 0;
    for (const LayerBalance& layer : layers) worst = std::max(worst, layer.*value);
    return worst;
  }
};

PlacementShape shape_of(const PlanExpertsArguments& o) {
  PlacementShape shape{o.replicas, o.gpus};
  if (!o.nodes) return shape;
  shape.nodes = *o.nodes;
  shape.groups = *o.groups;
  if (shape.nodes > 0 && shape.groups % shape.nodes != 0)
    throw UsageError(
        fmt::format("{} nodes do not divide {} groups: groups cannot stay within a node",
                    shape.nodes, shape.groups),
        "choose nodes that divide the groups, or leave out --groups and --nodes to balance over "
        "all GPUs");
  return shape;
}

LayerBalance balance_of(const std::vector<double>& loads_E, const LayerPlacement& placement,
                        const PlacementShape& shape) {
  const std::vector<double> before = gpu_loads_in_order(loads_E, shape.gpus);
  const std::vector<double> after = gpu_loads(loads_E, placement, shape.gpus);
  return {imbalance(before), imbalance(after), imbalance(node_loads(before, shape.nodes)),
          imbalance(node_loads(after, shape.nodes)),
          *std::max_element(placement.logcnt.begin(), placement.logcnt.end())};
}

Planned plan(const PlanExpertsArguments& o) {
  Planned planned;
  planned.shape = shape_of(o);
  planned.loads = parse_expert_loads(read_text_file(o.load), o.load);
  try {
    planned.placement = place_experts(planned.loads, planned.shape);
  } catch (const Error& e) {  // the file is right: what remains is the shape
    throw UsageError(e.what(), e.hint());
  }
  for (size_t layer = 0; layer < planned.loads.size(); ++layer)
    planned.layers.push_back(
        balance_of(planned.loads[layer], planned.placement.layers[layer], planned.shape));
  return planned;
}

void add_layer_table(cluster::Worksheet& sheet, const Planned& p) {
  std::vector<cluster::Worksheet::Column> columns = {
      {"layer", ""}, {"before", ""}, {"after", ""}, {"most_copies", ""}};
  const bool nodes = p.shape.nodes > 1;
  if (nodes) columns.insert(columns.end(), {{"nodes_before", ""}, {"nodes_after", ""}});
  auto& table = sheet.table("balance", std::move(columns));
  double layer = 0;
  for (const LayerBalance& b : p.layers) {
    table.rows.push_back({layer++, b.before, b.after, double(b.most_copies)});
    if (nodes) table.rows.back().insert(table.rows.back().end(), {b.nodes_before, b.nodes_after});
  }
}

cluster::Worksheet sheet_of(const Planned& p, bool hierarchical) {
  const PlacementShape& s = p.shape;
  cluster::Worksheet sheet;
  sheet.fact("policy", hierarchical ? "hierarchical" : "global");
  sheet.result("layers", double(p.loads.size()), "");
  sheet.result("experts", double(p.loads.front().size()), "");
  sheet.result("replicas", s.replicas, "");
  sheet.result("gpus", s.gpus, "");
  sheet.result("replicas_per_gpu", s.replicas / s.gpus, "",
               fmt::format("{} / {}", s.replicas, s.gpus));
  const double before = p.mean(&LayerBalance::before), after = p.mean(&LayerBalance::after);
  const char* mean = "largest / mean load of a layer's GPUs, averaged over layers";
  sheet.result("imbalance_before", before, "", mean);
  sheet.result("imbalance_after", after, "", mean);
  const char* worst = "largest / mean load of the layer where it is largest";
  sheet.result("worst_before", p.worst(&LayerBalance::before), "", worst);
  sheet.result("worst_after", p.worst(&LayerBalance::after), "", worst);
  sheet.result("speedup", before / after, "",
               fmt::format("{:.4g} / {:.4g}: the busiest GPU sets the pace", before, after));
  sheet.assume("before", "one copy of each expert, in order over the GPUs", "for comparison");
  sheet.assume("copies", "take equal shares of their expert's load", "as the dispatch must do");
  add_layer_table(sheet, p);
  return sheet;
}

/// The maps that an inference engine loads.
Json maps_of(const ExpertPlacement& placement) {
  Json maps = {{"phy2log", Json::array()}, {"log2phy", Json::array()}, {"logcnt", Json::array()}};
  for (const LayerPlacement& layer : placement.layers) {
    maps["phy2log"].push_back(layer.phy2log);
    maps["log2phy"].push_back(layer.log2phy);
    maps["logcnt"].push_back(layer.logcnt);
  }
  return maps;
}

}  // namespace

int run_plan_experts(const GlobalOptions& global, const PlanExpertsArguments& o) {
  const Planned planned = plan(o);
  if (!o.svg.empty())
    write_text_file(o.svg, placement_svg(planned.loads, planned.placement, planned.shape.gpus));
  const Json maps = maps_of(planned.placement);
  print(sheet_of(planned, o.nodes.has_value()), global, o.explain, &maps);
  return 0;
}

}  // namespace fathom::app
