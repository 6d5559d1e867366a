#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "cluster/catalogue.h"
#include "cluster/net/cost.h"
#include "cluster/net/scenario.h"

namespace fathom::net {

/// Of the switch "ndr-64" and the links "ndr-400g-fibre" and "ndr-400g-copper".
Prices prices_of(const cluster::Catalogue& catalogue);

/// Fills in what the scenario's gpu, nic and switch_name say in the catalogue (and in its files),
/// except for keys that are given: origin(key) then names the place ("file.toml: node.gpu", or a
/// flag), else it is empty. A GPU brings its NVLink domain, a NIC for each GPU, and what is reached
/// of their rates; where that is not known, NVLink reaches as much as on the H800. Throws Error for
/// unknown names, for a name that changes nothing, and where a NIC's port is faster than the
/// switch's.
void apply_hardware(Scenario& scenario, const std::function<std::string(std::string_view)>& origin);

}  // namespace fathom::net
