#include "command_line.h"
#include "net.h"

namespace fathom::app {
namespace {

const std::vector<std::string> kTopologies = {"fat-tree-2", "fat-tree-3", "multi-plane",
                                              "multi-rail", "slim-fly",   "dragonfly"};

void add_topology(CLI::App* sub, NetTopologyArguments& o) {
  sub->add_option("--radix", o.spec.radix, "Ports of a switch")
      ->check(CLI::Range(2, 100000))
      ->capture_default_str();
  sub->add_option("--planes", o.spec.planes, "Planes of a multi-plane network")
      ->check(CLI::Range(1, 1024));
  sub->add_option("--rails", o.spec.rails, "NICs of a node of a multi-rail network")
      ->check(CLI::Range(1, 1024));
  sub->add_option("--endpoints", o.spec.endpoints, "NIC ports needed (default: all there are)")
      ->check(above_zero());
  sub->add_option("--groups", o.spec.groups, "Groups of a dragonfly");
  sub->add_option("--svg", o.svg, "Picture to write");
  sub->add_flag("--explain", o.explain, "Show the formulas with the numbers put in");
}

void add_cost(CommandLine& c, CLI::App* parent) {
  CLI::App* sub = command(*parent, "cost", "Endpoints, switches, links and cost of a network");
  NetTopologyArguments& o = options_of(c, sub, run_net_cost);
  sub->add_option("--topology", o.topology, "Network (default: the five of ISCA Table 3)")
      ->check(CLI::IsMember(kTopologies));
  add_topology(sub, o);
  sub->add_option("--switch-port-usd", o.switch_port_usd, "Price of a switch, by the port");
  sub->add_option("--fabric-link-usd", o.fabric_link_usd, "Price of a switch-switch cable");
  sub->add_option("--endpoint-link-usd", o.endpoint_link_usd, "Price of a NIC-switch cable");
  sub->add_option("--hardware", o.hardware,
                  "File with other prices for switch.ndr-64, link.ndr-400g-fibre, -copper");
}

void add_show(CommandLine& c, CLI::App* parent) {
  CLI::App* sub = command(*parent, "show", "Draw a network");
  NetTopologyArguments& o = options_of(c, sub, run_net_show);
  sub->add_option("--topology", o.topology, "Network")
      ->required()
      ->check(CLI::IsMember(kTopologies));
  add_topology(sub, o);
  sub->get_option("--svg")->required();
}

void add_simulate(CommandLine& c, CLI::App* parent) {
  CLI::App* sub = command(*parent, "simulate", "Time of collectives and expert traffic");
  auto o = std::make_shared<NetSimulateArguments>();
  sub->add_option("scenario", o->scenario, "Scenario (TOML)");
  sub->add_option("--set", o->set, "Override a key: --set job.0.bytes=1GiB")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
  for (const net::ScenarioKey& key : net::scenario_keys())
    sub->add_option_function<std::vector<std::string>>(
           "--" + key.flag,
           [o, name = key.key](const std::vector<std::string>& v) {
             o->flags.emplace_back(name, v);
           },
           key.help)
        ->take_all()
        ->expected(1)
        ->allow_extra_args(false);
  sub->add_option("--sweep", o->sweep, "Run for several values: --sweep cluster.nodes=4,8,16")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
  sub->add_option("--svg", o->svg, "Heat map to write; of a sweep: bars");
  sub->add_flag("--explain", o->explain, "Show the formulas with the numbers put in");
  on_parse(c, sub, run_net_simulate, o);
}

}  // namespace

void add_net(CommandLine& c) {
  CLI::App* sub = command(c.app, "net", "Price, draw and simulate the network of a cluster");
  sub->require_subcommand(1);
  add_cost(c, sub);
  add_show(c, sub);
  add_simulate(c, sub);
}

}  // namespace fathom::app
