#include "cluster/net/hardware.h"

#include <fmt/format.h>

#include "base/error.h"

namespace fathom::net {
namespace {

using cluster::Catalogue;
using cluster::Entry;
using Given = std::function<bool(std::string_view)>;

// The entry that a key names; an unknown name's Error says where it was given.
const Entry& named(const Catalogue& catalogue, std::string_view kind, const std::string& name,
                   const std::string& origin) {
  try {
    return catalogue.find(kind, name);
  } catch (const Error& e) {
    throw Error(fmt::format("{} = {}: {}", origin, name, e.what()), e.hint());
  }
}

/// Takes figures of one entry over into the scenario, except what is given.
class Taker {
 public:
  Taker(const Entry& entry, Scenario& scenario, const Given& given)
      : entry_(entry), scenario_(scenario), given_(given) {}

  template <class T>
  void take(std::string_view key, T& target, double value, const std::string& source) {
    if (given_(key)) return;
    target = static_cast<T>(value);
    scenario_.hardware_notes.push_back(
        fmt::format("{} = {:.6g}: {}, {}", key, value, entry_.id(), source));
    any_ = true;
  }

  /// The figure, if the entry has it, times what is reached of it.
  template <class T>
  void take_figure(std::string_view key, T& target, std::string_view figure, double share = 1,
                   const std::string& why = {}) {
    if (const cluster::Figure* f = entry_.find(figure))
      take(key, target, f->value * share, f->source + why);
  }

  void check_influence(const char* name) const {
    if (!any_)
      throw Error(fmt::format("{} = {} does not influence this result: all that it has is given",
                              name, entry_.id()),
                  "leave it out");
  }

 private:
  const Entry& entry_;
  Scenario& scenario_;
  const Given& given_;
  bool any_ = false;
};

void take_nvlink(const Entry& gpu, const Entry& h800, Taker& taker, double& gb_s) {
  if (gpu.has("nvlink_achieved_gb_s"))
    return taker.take_figure("node.nvlink_gb_s", gb_s, "nvlink_achieved_gb_s");
  const double share = h800.at("nvlink_achieved_gb_s") / h800.at("nvlink_gb_s");
  taker.take_figure("node.nvlink_gb_s", gb_s, "nvlink_gb_s", share,
                    fmt::format("; {:.4g} of it reached, as on the H800", share));
}

void apply_gpu(const Entry& gpu, const Entry& h800, Taker taker, Scenario& s) {
  NodeSpec& node = s.network.node;
  taker.take_figure("node.gpus", node.gpus,
                    gpu.has("nvlink_domain") ? "nvlink_domain" : "gpus_per_node");
  take_nvlink(gpu, h800, taker, node.nvlink_gb_s);
  taker.take_figure("node.pcie_gb_s", node.pcie_gb_s, "pcie_gb_s");
  if (gpu.has("nic_gb_s")) {
    taker.take("node.nics", node.nics, static_cast<double>(node.gpus), "a NIC for each GPU");
    taker.take_figure("node.nic_gb_s", node.nic_gb_s, "nic_gb_s");
  }
  if (gpu.has("nic_gb_s") && gpu.has("nic_achieved_gb_s"))
    taker.take_figure("fabric.efficiency", s.network.efficiency, "nic_achieved_gb_s",
                      1 / gpu.at("nic_gb_s"), ", over nic_gb_s");
  taker.check_influence("node.gpu");
}

void apply_nic(Taker taker, Scenario& s) {
  taker.take_figure("node.nic_gb_s", s.network.node.nic_gb_s, "gb_s");
  taker.take_figure("node.nic_ports", s.network.node.nic_ports, "ports");
  taker.check_influence("node.nic");
}

void apply_switch(const Entry& entry, Taker taker, Scenario& s) {
  taker.take_figure("fabric.radix", s.network.topology.radix, "ports");
  taker.check_influence("fabric.switch");
  const NodeSpec& node = s.network.node;
  const double nic_port = node.nic_gb_s / static_cast<double>(node.nic_ports);
  const double port = entry.at("port_gb_s");
  if (nic_port > port)
    throw Error(fmt::format("a NIC's port of {:.6g} GB/s on {}, whose ports have {:.6g} GB/s",
                            nic_port, entry.id(), port),
                fmt::format("the nearest is node.nic_gb_s = {:.6g}",
                            port * static_cast<double>(node.nic_ports)));
}

}  // namespace

Prices prices_of(const Catalogue& catalogue) {
  const Entry& leaf = catalogue.find("switch", "ndr-64");
  return {leaf.at("price_usd") / leaf.at("ports"),
          catalogue.find("link", "ndr-400g-fibre").at("price_usd"),
          catalogue.find("link", "ndr-400g-copper").at("price_usd")};
}

void apply_hardware(Scenario& s, const std::function<std::string(std::string_view)>& origin) {
  if (s.gpu.empty() && s.nic.empty() && s.switch_name.empty()) return;
  Catalogue catalogue = Catalogue::built_in();
  for (const std::string& file : s.hardware_files) catalogue.add_file(file);
  const Given given = [&](std::string_view key) { return !origin(key).empty(); };
  const Given given_or_nic = [&](std::string_view key) {
    return given(key) || (key == "node.nic_gb_s" && !s.nic.empty());
  };
  if (!s.gpu.empty()) {
    const Entry& gpu = named(catalogue, "gpu", s.gpu, origin("node.gpu"));
    apply_gpu(gpu, catalogue.gpu("h800"), Taker(gpu, s, given_or_nic), s);
  }
  if (!s.nic.empty())
    apply_nic(Taker(named(catalogue, "nic", s.nic, origin("node.nic")), s, given), s);
  if (s.switch_name.empty()) return;
  const Entry& entry = named(catalogue, "switch", s.switch_name, origin("fabric.switch"));
  apply_switch(entry, Taker(entry, s, given), s);
}

}  // namespace fathom::net
