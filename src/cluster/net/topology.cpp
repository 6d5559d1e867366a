#include "cluster/net/topology.h"

#include <fmt/format.h>

#include <array>

#include "base/error.h"
#include "cluster/net/galois_field.h"

namespace fathom::net {
namespace {

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/// A fat tree splits a switch's ports into two equal halves.
void check_even_radix(int64_t radix) {
  if (radix >= 2 && radix % 2 == 0) return;
  throw Error(fmt::format("radix {} does not divide into equal halves of down and up ports", radix),
              radix < 2 ? "the smallest is 2"
                        : fmt::format("the nearest are {} and {}", radix - 1, radix + 1));
}

/// The radix of the smallest fat tree that holds so many endpoints, for a hint.
int64_t radix_for(int64_t endpoints, int64_t (*capacity)(int64_t)) {
  int64_t radix = 2;
  while (capacity(radix) < endpoints) radix += 2;
  return radix;
}

int64_t capacity_2(int64_t k) {
  return k * k / 2;
}
int64_t capacity_3(int64_t k) {
  return k * k * k / 4;
}

void check_endpoints(int64_t endpoints, int64_t radix, int64_t (*capacity)(int64_t),
                     std::string_view what) {
  if (endpoints < 0) throw Error(fmt::format("{} endpoints: must be at least 1", endpoints));
  if (endpoints <= capacity(radix)) return;
  throw Error(
      fmt::format("{} endpoints: {} of {}-port switches has {} ports for them", endpoints, what,
                  radix, capacity(radix)),
      fmt::format("at most {}, or radix {}", capacity(radix), radix_for(endpoints, capacity)));
}

/// The fewest upper switches, a divisor of `uplinks`, with enough ports for all lower ones.
int64_t upper_switches(int64_t lower, int64_t uplinks, int64_t radix) {
  for (int64_t n = 1; n < uplinks; ++n)
    if (uplinks % n == 0 && n * radix >= lower * uplinks) return n;
  return uplinks;
}

std::string bisection_note(const TopologySpec& spec, int64_t capacity) {
  if (spec.endpoints == 0 || spec.endpoints == capacity) return {};
  return fmt::format("{} of {} endpoint ports are used", spec.endpoints, capacity);
}

TopologySize size_of_fat_tree_2(const TopologySpec& spec) {
  const int64_t half = spec.radix / 2;
  const FatTree2Shape s = fat_tree_2_shape(spec.radix, spec.endpoints);
  const int64_t endpoints = spec.endpoints > 0 ? spec.endpoints : s.leaves * half;
  return {
      .endpoints = endpoints,
      .switches = s.leaves + s.spines,
      .links = s.leaves * half,
      .bisection = static_cast<double>(endpoints) / 2,
      .diameter = s.leaves > 1 ? 2 : 0,
      .formula = fmt::format("leaves {} x {} down = {} endpoints; {} leaves + {} spines; links "
                             "{} x {}",
                             s.leaves, half, s.leaves * half, s.leaves, s.spines, s.leaves, half),
      .note = bisection_note(spec, s.leaves * half)};
}

TopologySize size_of_fat_tree_3(const TopologySpec& spec) {
  const int64_t half = spec.radix / 2;
  const FatTree3Shape s = fat_tree_3_shape(spec.radix, spec.endpoints);
  const int64_t capacity = s.leaves * half;
  const int64_t endpoints = spec.endpoints > 0 ? spec.endpoints : capacity;
  const int64_t aggregation = s.pods * half, cores = half * s.cores_per_group;
  return {.endpoints = endpoints,
          .switches = s.leaves + aggregation + cores,
          .links = s.leaves * half + aggregation * half,
          .bisection = static_cast<double>(endpoints) / 2,
          .diameter = s.pods > 1 ? 4 : 2,
          .formula = fmt::format("leaves {} x {} down = {} endpoints; {} leaves + {} aggregation + "
                                 "{} cores; links {} x {} + {} x {}",
                                 s.leaves, half, capacity, s.leaves, aggregation, cores, s.leaves,
                                 half, aggregation, half),
          .note = bisection_note(spec, capacity)};
}

TopologySize size_of_multi_plane(const TopologySpec& spec) {
  if (spec.planes < 1) throw Error(fmt::format("{} planes: must be at least 1", spec.planes));
  if (spec.endpoints % spec.planes != 0)
    throw Error(
        fmt::format("{} endpoints do not divide over {} planes", spec.endpoints, spec.planes),
        fmt::format("the nearest are {} and {}", spec.endpoints / spec.planes * spec.planes,
                    ceil_div(spec.endpoints, spec.planes) * spec.planes));
  TopologySize size = size_of_fat_tree_2({.kind = TopologyKind::kFatTree2,
                                          .radix = spec.radix,
                                          .endpoints = spec.endpoints / spec.planes});
  size.endpoints *= spec.planes;
  size.switches *= spec.planes;
  size.links *= spec.planes;
  size.bisection *= static_cast<double>(spec.planes);
  size.formula = fmt::format("{} planes, each: {}", spec.planes, size.formula);
  size.note +=
      fmt::format("{}planes are joined only inside the nodes", size.note.empty() ? "" : "; ");
  return size;
}

TopologySize size_of_multi_rail(const TopologySpec& spec) {
  if (multi_rail_needs_three_layers(spec)) return size_of_fat_tree_3(spec);
  return size_of_fat_tree_2(spec);
}

/// Cables between halves of the switches are at least (degree - second eigenvalue) / 4 a switch;
/// for these graphs the difference is q.
TopologySize size_of_slim_fly(const TopologySpec& spec) {
  const SlimFlyShape s = slim_fly_shape(spec.radix, false);
  const int64_t switches = 2 * s.q * s.q;
  std::string note = "bisection is the spectral lower bound q^3/2";
  if (!is_prime_power(s.q))
    note += fmt::format(
        "; q = {} is no prime power, so the counts are the formula's: the graph "
        "that exists has q = {}",
        s.q, slim_fly_shape(spec.radix, true).q);
  return {.endpoints = switches * s.endpoints_per_switch,
          .switches = switches,
          .links = switches * s.degree / 2,
          .bisection = static_cast<double>(s.q * s.q * s.q) / 2,
          .diameter = 2,
          .formula = fmt::format(
              "q = {}: 2 x {}^2 = {} switches; each {} endpoints and (3q - ({})) "
              "/ 2 = {} links; links {} x {} / 2",
              s.q, s.q, switches, s.endpoints_per_switch, s.delta, s.degree, switches, s.degree),
          .note = note};
}

TopologySize size_of_dragonfly(const TopologySpec& spec) {
  const DragonflyShape s = dragonfly_shape(spec.radix, spec.groups);
  const int64_t switches = s.groups * s.switches;
  const int64_t local = s.groups * s.switches * (s.switches - 1) / 2;
  const int64_t global = switches * s.global / 2;
  const double lower = static_cast<double>(s.groups / 2);
  const double cables_a_pair =
      s.groups > 1 ? static_cast<double>(s.switches * s.global) / static_cast<double>(s.groups - 1)
                   : 0;
  return {.endpoints = switches * s.endpoints_per_switch,
          .switches = switches,
          .links = local + global,
          .bisection = lower * (static_cast<double>(s.groups) - lower) * cables_a_pair,
          .diameter = s.groups > 1 ? 3 : 1,
          .formula = fmt::format("{} groups of {} switches = {}; each {} endpoints and {} global "
                                 "links; links {} x {} x {} / 2 + {} x {} / 2",
                                 s.groups, s.switches, switches, s.endpoints_per_switch, s.global,
                                 s.groups, s.switches, s.switches - 1, switches, s.global),
          .note = "bisection counts the global links between halves of the groups"};
}

}  // namespace

FatTree2Shape fat_tree_2_shape(int64_t radix, int64_t endpoints) {
  check_even_radix(radix);
  check_endpoints(endpoints, radix, capacity_2, "a two-layer fat tree");
  const int64_t half = radix / 2;
  const int64_t leaves = endpoints > 0 ? ceil_div(endpoints, half) : radix;
  const int64_t spines = upper_switches(leaves, half, radix);
  return {leaves, spines, half / spines};
}

FatTree3Shape fat_tree_3_shape(int64_t radix, int64_t endpoints) {
  check_even_radix(radix);
  check_endpoints(endpoints, radix, capacity_3, "a three-layer fat tree");
  const int64_t half = radix / 2;
  const int64_t pods = endpoints > 0 ? ceil_div(endpoints, half * half) : radix;
  const int64_t cores = upper_switches(pods, half, radix);
  return {pods, pods * half, cores, half / cores};
}

SlimFlyShape slim_fly_shape(int64_t radix, bool buildable) {
  SlimFlyShape best = {};
  for (int64_t q = 3; q <= radix; ++q) {
    if (q % 4 == 2 || (buildable && !is_prime_power(q))) continue;
    const int64_t delta = q % 4 == 3 ? -1 : q % 4;
    const int64_t degree = (3 * q - delta) / 2, ports = ceil_div(degree, 2);
    if (degree + ports <= radix) best = {q, delta, degree, ports};
  }
  if (best.q == 0)
    throw Error(fmt::format("radix {} is too small for a Slim Fly", radix), "the smallest is 8");
  return best;
}

DragonflyShape dragonfly_shape(int64_t radix, int64_t groups) {
  const int64_t h = (radix + 1) / 4, a = 2 * h;
  if (h < 1)
    throw Error(fmt::format("radix {} is too small for a dragonfly", radix), "the smallest is 3");
  if (groups < 0 || groups == 1 || groups > a * h + 1)
    throw Error(fmt::format("{} groups: a balanced dragonfly of {}-port switches joins 2 to {} "
                            "groups of {} switches with {} global links each",
                            groups, radix, a * h + 1, a, h),
                fmt::format("the nearest is {}", groups <= 1 ? 2 : a * h + 1));
  return {groups > 0 ? groups : a * h + 1, a, h, h};
}

bool multi_rail_needs_three_layers(const TopologySpec& spec) {
  check_even_radix(spec.radix);
  if (spec.rails < 1) throw Error(fmt::format("{} rails: must be at least 1", spec.rails));
  if (spec.endpoints % spec.rails != 0)
    throw Error(fmt::format("{} endpoints do not divide over {} rails", spec.endpoints, spec.rails),
                fmt::format("the nearest are {} and {}", spec.endpoints / spec.rails * spec.rails,
                            ceil_div(spec.endpoints, spec.rails) * spec.rails));
  const int64_t half = spec.radix / 2;
  const int64_t leaves = spec.rails * ceil_div(spec.endpoints / spec.rails, half);
  return leaves > spec.radix;
}

TopologySize size_of(const TopologySpec& spec) {
  switch (spec.kind) {
    case TopologyKind::kFatTree2:
      return size_of_fat_tree_2(spec);
    case TopologyKind::kFatTree3:
      return size_of_fat_tree_3(spec);
    case TopologyKind::kMultiPlane:
      return size_of_multi_plane(spec);
    case TopologyKind::kMultiRail:
      return size_of_multi_rail(spec);
    case TopologyKind::kSlimFly:
      return size_of_slim_fly(spec);
    case TopologyKind::kDragonfly:
      return size_of_dragonfly(spec);
  }
  FATHOM_ASSERT(false);
}

std::string_view name_of(TopologyKind kind) {
  constexpr std::array<std::string_view, 6> kNames = {"fat-tree-2", "fat-tree-3", "multi-plane",
                                                      "multi-rail", "slim-fly",   "dragonfly"};
  return kNames[static_cast<size_t>(kind)];
}

}  // namespace fathom::net
