#include "cluster/net/cost.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "base/error.h"

namespace fathom::net {
namespace {

void check_price(const char* name, double usd) {
  if (usd < 0 || !std::isfinite(usd))
    throw Error(fmt::format("{} = {} is no price", name, usd), "give dollars, 0 or more");
}

}  // namespace

Cost cost_of(const TopologySize& size, int64_t radix, const Prices& prices) {
  check_price("switch_port_usd", prices.switch_port_usd);
  check_price("fabric_link_usd", prices.fabric_link_usd);
  check_price("endpoint_link_usd", prices.endpoint_link_usd);
  return {static_cast<double>(size.switches * radix) * prices.switch_port_usd,
          static_cast<double>(size.links) * prices.fabric_link_usd,
          static_cast<double>(size.endpoints) * prices.endpoint_link_usd};
}

std::span<const NamedTopology> isca_table_3() {
  static constexpr std::array<NamedTopology, 5> kColumns = {{
      {"FT2", {.kind = TopologyKind::kFatTree2}},
      {"MPFT", {.kind = TopologyKind::kMultiPlane, .planes = 8}},
      {"FT3", {.kind = TopologyKind::kFatTree3}},
      {"SF", {.kind = TopologyKind::kSlimFly}},
      {"DF", {.kind = TopologyKind::kDragonfly, .groups = 511}},
  }};
  return kColumns;
}

}  // namespace fathom::net
