#pragma once

#include <string>

#include "cluster/net/simulation.h"
#include "cluster/net/switch_graph.h"

namespace fathom::net {

/// The switches and cables as SVG: fat trees in layers, the others on a circle. Of several planes
/// the first is drawn whole and the others are named.
std::string draw_topology(const SwitchGraph& graph, const std::string& title);

/// How busy everything was: the histogram of the cables between switches, and a heat map with a row
/// for each node group and switch.
std::string draw_loads(const SimulationResult& result, const std::string& title);

/// Bars of labelled values, each beside its reference (0: none): experiments' pictures.
struct Bar {
  std::string label;
  double value = 0, reference = 0;
};
std::string draw_bars(const std::vector<Bar>& bars, const std::string& title,
                      const std::string& unit, const std::string& reference_name);

}  // namespace fathom::net
