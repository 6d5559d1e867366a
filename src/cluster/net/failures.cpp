// The part of Network that takes things away.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "cluster/net/network.h"

namespace fathom::net {
namespace {

int64_t number_in(std::string_view text, const std::string& failure, int64_t limit,
                  const char* what) {
  int64_t value = -1;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size() || value < 0 || value >= limit)
    throw Error(fmt::format("failure '{}': there is no {} '{}'", failure, what, text),
                limit == 0   ? fmt::format("it has none")
                : limit == 1 ? fmt::format("the only one is 0")
                             : fmt::format("they are 0 to {}", limit - 1));
  return value;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t at = 0;;) {
    const size_t end = text.find(separator, at);
    parts.push_back(text.substr(at, end - at));
    if (end == std::string_view::npos) return parts;
    at = end + 1;
  }
}

}  // namespace

int Network::switch_named(const std::string& name, const std::string& failure) const {
  for (size_t s = 0; s < graph_.switches.size(); ++s)
    if (graph_.name(static_cast<int>(s)) == name) return static_cast<int>(s);
  // The nearest is the last switch whose name has the same letters before its number.
  const std::string stem = name.substr(0, name.find_last_not_of("0123456789") + 1);
  std::string nearest = graph_.name(0);
  for (size_t s = 0; s < graph_.switches.size(); ++s)
    if (const std::string n = graph_.name(static_cast<int>(s));
        n.substr(0, n.find_last_not_of("0123456789") + 1) == stem)
      nearest = n;
  throw Error(fmt::format("failure '{}': there is no switch '{}'", failure, name),
              fmt::format("the nearest is '{}'", nearest));
}

void Network::fail_switch(int s) {
  for (Cable& c : cables_)
    if (c.a == s || c.b == s) c.parallel = 0;
  std::replace(attachments_.begin(), attachments_.end(), s, -1);
}

void Network::fail_cable(const std::string& names, const std::string& failure) {
  const size_t dash = names.find('-');
  if (dash == std::string::npos)
    throw Error(fmt::format("failure '{}': a link is named by its two switches", failure),
                fmt::format("for example 'link:{}-{}'", graph_.name(graph_.cables[0].a),
                            graph_.name(graph_.cables[0].b)));
  const int a = switch_named(names.substr(0, dash), failure);
  const int b = switch_named(names.substr(dash + 1), failure);
  for (Cable& c : cables_)
    if (((c.a == a && c.b == b) || (c.a == b && c.b == a)) && c.parallel > 0) {
      --c.parallel;
      return;
    }
  throw Error(fmt::format("failure '{}': no cable is left between these switches", failure));
}

void Network::fail_port(const std::string& place, const std::string& failure, bool whole_nic) {
  const auto parts = split(place, '.');
  if (parts.size() != (whole_nic ? 2u : 3u))
    throw Error(fmt::format("failure '{}' names {} numbers", failure, parts.size()),
                whole_nic ? "write nic:NODE.NIC, as in nic:17.3"
                          : "write port:NODE.NIC.PORT, as in port:17.3.0");
  const int64_t node = number_in(parts[0], failure, spec_.nodes, "node");
  const int64_t nic = number_in(parts[1], failure, nics(), "NIC");
  const int64_t ports = ports_of(nic);
  const int64_t first = whole_nic ? 0 : number_in(parts[2], failure, ports, "port");
  for (int64_t p = first; p < (whole_nic ? ports : first + 1); ++p)
    attachments_[index(node, nic, p)] = -1;
}

void Network::fail(const std::string& failure) {
  const size_t colon = failure.find(':');
  const std::string kind = failure.substr(0, colon);
  const std::string what = colon == std::string::npos ? "" : failure.substr(colon + 1);
  if (kind == "plane") {
    const bool planes = spec_.topology.kind == TopologyKind::kMultiPlane;
    const int64_t plane = number_in(what, failure, planes ? spec_.topology.planes : 0, "plane");
    for (size_t s = 0; s < graph_.switches.size(); ++s)
      if (graph_.switches[s].plane == plane) fail_switch(static_cast<int>(s));
  } else if (kind == "switch") {
    fail_switch(switch_named(what, failure));
  } else if (kind == "link") {
    fail_cable(what, failure);
  } else if (kind == "nic" || kind == "port") {
    fail_port(what, failure, kind == "nic");
  } else {
    throw Error(fmt::format("failure '{}': unknown kind '{}'", failure, kind),
                "known: plane:P, switch:NAME, link:NAME-NAME, nic:NODE.NIC, port:NODE.NIC.PORT");
  }
}

}  // namespace fathom::net
