#include <fmt/format.h>

#include <cstdio>

#include "base/error.h"
#include "base/file.h"
#include "cluster/net/draw.h"
#include "cluster/net/hardware.h"
#include "net.h"
#include "report.h"

namespace fathom::app {
namespace {

using net::TopologyKind;

/// An option that cannot matter for the chosen network is refused, not ignored.
void refuse_unused(const NetTopologyArguments& o) {
  const TopologyKind kind = o.spec.kind;
  const auto refuse = [&](const char* option, bool given, bool used, const char* where) {
    if (given && !used)
      throw UsageError(fmt::format("{} does not influence {}", option,
                                   o.topology.empty() ? "the published comparison" : o.topology),
                       fmt::format("it is for {}", where));
  };
  const bool one = !o.topology.empty();
  const bool sized = kind != TopologyKind::kSlimFly && kind != TopologyKind::kDragonfly;
  refuse("--planes", o.spec.planes != 1, one && kind == TopologyKind::kMultiPlane, "multi-plane");
  refuse("--rails", o.spec.rails != 1, one && kind == TopologyKind::kMultiRail, "multi-rail");
  refuse("--groups", o.spec.groups != 0, one && kind == TopologyKind::kDragonfly, "dragonfly");
  refuse("--endpoints", o.spec.endpoints != 0, one && sized, "fat trees, multi-plane, multi-rail");
  refuse("--radix", o.spec.radix != 64, one, "one --topology");
}

bool equal(const net::Prices& a, const net::Prices& b) {
  return a.switch_port_usd == b.switch_port_usd && a.fabric_link_usd == b.fabric_link_usd &&
         a.endpoint_link_usd == b.endpoint_link_usd;
}

/// The catalogue's, less what files and options replace.
net::Prices prices_of(const NetTopologyArguments& o) {
  const auto with_options = [&](net::Prices p) {
    return net::Prices{o.switch_port_usd.value_or(p.switch_port_usd),
                       o.fabric_link_usd.value_or(p.fabric_link_usd),
                       o.endpoint_link_usd.value_or(p.endpoint_link_usd)};
  };
  cluster::Catalogue catalogue = cluster::Catalogue::built_in();
  const net::Prices before = with_options(net::prices_of(catalogue));
  for (const std::string& file : o.hardware) catalogue.add_file(file);
  const net::Prices prices = with_options(net::prices_of(catalogue));
  if (!o.hardware.empty() && equal(before, prices))
    throw UsageError("--hardware changes no price",
                     "prices are those of switch.ndr-64, link.ndr-400g-fibre, -copper");
  return prices;
}

std::string in_k(double usd) {
  return fmt::format("{:.2f}", usd / 1e3);
}

struct Row {
  std::string name;
  net::TopologySpec spec;
  net::TopologySize size;
  net::Cost cost;
  double per_endpoint() const { return cost.total() / static_cast<double>(size.endpoints); }
};

Row row_of(std::string name, const net::TopologySpec& spec, const net::Prices& prices) {
  const net::TopologySize size = net::size_of(spec);
  return {std::move(name), spec, size, net::cost_of(size, spec.radix, prices)};
}

Report report_of(const Row& r) {
  Report report;
  report.add("name", r.name);
  report.add("topology", net::name_of(r.spec.kind));
  report.add("radix", r.spec.radix);
  report.add("endpoints", r.size.endpoints);
  report.add("switches", r.size.switches);
  report.add("links", r.size.links);
  report.add("cost_usd", r.cost.total());
  report.add("cost_per_endpoint_usd", r.per_endpoint());
  report.add("switches_usd", r.cost.switches_usd);
  report.add("fabric_links_usd", r.cost.fabric_links_usd);
  report.add("endpoint_links_usd", r.cost.endpoint_links_usd);
  report.add("bisection_links", r.size.bisection);
  report.add("diameter_hops", r.size.diameter);
  report.add("formula", r.size.formula);
  if (!r.size.note.empty()) report.add("note", r.size.note);
  return report;
}

void print_table(const std::vector<Row>& rows, const net::Prices& p, bool explain) {
  fmt::print("{:<12} {:>9} {:>9} {:>9} {:>10} {:>13} {:>15} {:>9}\n", "network", "endpoints",
             "switches", "links", "cost M$", "k$/endpoint", "bisection links", "diameter");
  for (const Row& r : rows)
    fmt::print("{:<12} {:>9} {:>9} {:>9} {:>10.2f} {:>13} {:>15.6g} {:>9}\n", r.name,
               r.size.endpoints, r.size.switches, r.size.links, r.cost.total() / 1e6,
               in_k(r.per_endpoint()), r.size.bisection, r.size.diameter);
  for (const Row& r : rows)
    if (!r.size.note.empty()) fmt::print("{}: {}\n", r.name, r.size.note);
  fmt::print(
      "prices: {:.6g} $ a switch port, {:.6g} $ a cable between switches, {:.6g} $ a cable "
      "to a NIC\n",
      p.switch_port_usd, p.fabric_link_usd, p.endpoint_link_usd);
  for (const Row& r : rows)
    if (explain)
      fmt::print("{}: {}\n  cost = {} x {} ports x {:.6g} + {} x {:.6g} + {} x {:.6g} = {:.6g} $\n",
                 r.name, r.size.formula, r.size.switches, r.spec.radix, p.switch_port_usd,
                 r.size.links, p.fabric_link_usd, r.size.endpoints, p.endpoint_link_usd,
                 r.cost.total());
}

std::string picture_of(const std::vector<Row>& rows) {
  if (rows.size() == 1)
    return net::draw_topology(
        net::build_switches(rows[0].spec),
        fmt::format("{} of {}-port switches", rows[0].name, rows[0].spec.radix));
  std::vector<net::Bar> bars;
  for (const Row& r : rows) bars.push_back({r.name, r.per_endpoint() / 1e3, 0});
  return net::draw_bars(bars, "Cost per endpoint", "thousand dollars", "");
}

}  // namespace

net::TopologyKind topology_named(const std::string& name) {
  for (int k = 0; k <= static_cast<int>(TopologyKind::kDragonfly); ++k)
    if (net::name_of(static_cast<TopologyKind>(k)) == name) return static_cast<TopologyKind>(k);
  throw UsageError(fmt::format("unknown topology '{}'", name), "see --help");
}

int run_net_cost(const GlobalOptions& global, const NetTopologyArguments& given) {
  NetTopologyArguments o = given;
  if (!o.topology.empty()) o.spec.kind = topology_named(o.topology);
  refuse_unused(o);
  const net::Prices prices = prices_of(o);
  std::vector<Row> rows;
  if (o.topology.empty())
    for (const net::NamedTopology& t : net::isca_table_3())
      rows.push_back(row_of(t.name, t.spec, prices));
  else
    rows.push_back(row_of(o.topology, o.spec, prices));
  if (!o.svg.empty()) write_text_file(o.svg, picture_of(rows));
  if (!global.json) {
    print_table(rows, prices, o.explain);
    return 0;
  }
  std::vector<Report> list;
  for (const Row& r : rows) list.push_back(report_of(r));
  Report report;
  report.add("networks", list);
  report.add("switch_port_usd", prices.switch_port_usd);
  report.add("fabric_link_usd", prices.fabric_link_usd);
  report.add("endpoint_link_usd", prices.endpoint_link_usd);
  report.print(true);
  return 0;
}

int run_net_show(const GlobalOptions& global, const NetTopologyArguments& given) {
  NetTopologyArguments o = given;
  o.spec.kind = topology_named(o.topology);
  refuse_unused(o);
  const net::SwitchGraph graph = net::build_switches(o.spec);
  write_text_file(o.svg, net::draw_topology(graph, fmt::format("{} of {}-port switches", o.topology,
                                                               o.spec.radix)));
  int64_t ports = 0, cables = 0;
  for (const net::Switch& s : graph.switches) ports += s.endpoint_ports;
  for (const net::Cable& c : graph.cables) cables += c.parallel;
  Report report;
  report.add("topology", o.topology);
  report.add("radix", o.spec.radix);
  report.add("endpoint_ports", ports);
  report.add("switches", static_cast<int64_t>(graph.switches.size()));
  report.add("links", cables);
  if (o.explain) report.add("formula", net::size_of(o.spec).formula);
  report.add("svg", o.svg);
  report.print(global.json);
  return 0;
}

}  // namespace fathom::app
