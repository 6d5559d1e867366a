#include "dist/expert_loads.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/json.h"

namespace fathom::dist {
namespace {

using nlohmann::json;

constexpr std::string_view kSpace = " \t\r\n";
constexpr const char* kKey = "expert_loads";

[[noreturn]] void fail(const std::string& where, const std::string& what) {
  throw Error(fmt::format("{}: {}", where, what),
              "give a list of layers, each a list of its experts' loads (0 or more), as JSON or "
              "CSV, or a metrics.jsonl with expert_loads");
}

double checked(double load, const std::string& where) {
  if (!std::isfinite(load) || load < 0) fail(where, fmt::format("{} is not a load", load));
  return load;
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

/// Calls f(line, number from 1) for every line that is not blank.
template <class F>
void for_each_line(std::string_view text, F f) {
  int64_t number = 1;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (const std::string_view line = trimmed(text.substr(0, end)); !line.empty()) f(line, number);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
  }
}

LayerLoads from_json(const json& layers, const std::string& source) {
  if (!layers.is_array()) fail(source, brief(layers) + " is not a list of layers");
  LayerLoads loads;
  for (const json& layer : layers) {
    const std::string where = fmt::format("{}: layer {}", source, loads.size());
    if (!layer.is_array()) fail(where, brief(layer) + " is not a list of loads");
    std::vector<double>& experts = loads.emplace_back();
    for (const json& load : layer) {
      if (!load.is_number()) fail(where, brief(load) + " is not a load");
      experts.push_back(checked(load.get<double>(), where));
    }
  }
  return loads;
}

void add(LayerLoads& sum, const LayerLoads& loads, const std::string& where) {
  if (sum.size() != loads.size()) fail(where, "another number of layers than before");
  for (size_t layer = 0; layer < sum.size(); ++layer) {
    if (sum[layer].size() != loads[layer].size())
      fail(where, "another number of experts than before");
    for (size_t e = 0; e < sum[layer].size(); ++e)
      sum[layer][e] = checked(sum[layer][e] + loads[layer][e], where);
  }
}

LayerLoads from_json_lines(std::string_view text, const std::string& source) {
  std::optional<LayerLoads> sum;
  for_each_line(text, [&](std::string_view line, int64_t number) {
    const std::string where = fmt::format("{}: line {}", source, number);
    const json object = parse_json(line, where);
    if (!object.is_object()) fail(where, "not an object");
    if (!object.contains(kKey)) return;
    const LayerLoads loads = from_json(object[kKey], where);
    sum ? add(*sum, loads, where) : void(sum = loads);
  });
  if (!sum) fail(source, fmt::format("no line has \"{}\"", kKey));
  return *sum;
}

/// One object over several lines, or one a line.
LayerLoads from_objects(std::string_view text, const std::string& source) {
  const std::string_view first = trimmed(text).substr(0, trimmed(text).find('\n'));
  if (json::accept(first.begin(), first.end())) return from_json_lines(text, source);
  const json object = parse_json(text, source);
  if (!object.contains(kKey)) fail(source, fmt::format("there is no \"{}\"", kKey));
  return from_json(object[kKey], source);
}

double parse_cell(std::string_view cell, const std::string& where) {
  double value = 0;
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (error != std::errc() || end != cell.data() + cell.size() || cell.empty())
    fail(where, brief(std::string(cell)) + " is not a number");
  return checked(value, where);
}

LayerLoads from_csv(std::string_view text, const std::string& source) {
  LayerLoads loads;
  for_each_line(text, [&](std::string_view line, int64_t number) {
    std::vector<double>& experts = loads.emplace_back();
    for (size_t begin = 0; begin <= line.size();) {
      const size_t end = std::min(line.find(',', begin), line.size());
      const std::string where =
          fmt::format("{}: line {}, column {}", source, number, experts.size() + 1);
      experts.push_back(parse_cell(trimmed(line.substr(begin, end - begin)), where));
      begin = end + 1;
    }
  });
  return loads;
}

void check_rectangular(const LayerLoads& loads, const std::string& source) {
  if (loads.empty() || loads.front().empty()) fail(source, "no loads");
  for (size_t layer = 0; layer < loads.size(); ++layer)
    if (loads[layer].size() != loads.front().size())
      fail(source, fmt::format("layer {} has {} experts, layer 0 has {}", layer,
                               loads[layer].size(), loads.front().size()));
}

}  // namespace

LayerLoads parse_expert_loads(std::string_view text, const std::string& source) {
  const std::string_view content = trimmed(text);
  if (content.empty()) fail(source, "the file is empty");
  LayerLoads loads = content.front() == '['   ? from_json(parse_json(text, source), source)
                     : content.front() == '{' ? from_objects(text, source)
                                              : from_csv(text, source);
  check_rectangular(loads, source);
  return loads;
}

}  // namespace fathom::dist
