#include "cluster/catalogue.h"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "cluster/embedded.h"
#include "cluster/nearest.h"

namespace fathom::cluster {
namespace {

struct Kind {
  std::string_view name;
  std::vector<std::string> figures;
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = {
      {"gpu",
       {"bf16_tflops",
        "fp8_tflops",
        "memory_gib",
        "memory_gb_s",
        "nvlink_gb_s",
        "nvlink_domain",
        "pcie_gb_s",
        "nic_gb_s",
        "gpus_per_node",
        "price_per_gpu_hour",
        "sms",
        "comm_sms",
        "prefill_comm_sms",
        "memory_achieved_gb_s",
        "gemm_bf16_tflops",
        "gemm_fp8_tflops",
        "weight_read_gb_s",
        "nvlink_achieved_gb_s",
        "nic_achieved_gb_s",
        "nic_dispatch_gb_s",
        "nic_combine_gb_s",
        "nic_low_latency_gb_s",
        "profile_attention_forward_ms",
        "profile_mlp_forward_ms",
        "profile_attention_backward_ms",
        "profile_mlp_backward_ms",
        "profile_attention_weight_ms",
        "profile_mlp_weight_ms",
        "profile_dispatch_forward_ms",
        "profile_combine_forward_ms",
        "profile_dispatch_backward_ms",
        "profile_combine_backward_ms",
        "profile_overlapped_ms",
        "profile_attention_head_kernels",
        "profile_attention_tail_kernels",
        "profile_mlp_kernels",
        "profile_kernel_gap_us"}},
      {"nic", {"gb_s", "ports", "price_usd", "latency_us"}},
      {"switch", {"ports", "port_gb_s", "price_usd", "latency_us"}},
      {"link", {"gb_s", "price_usd", "latency_us", "length_m"}}};
  return all;
}

const Kind& kind_of(std::string_view name, const std::string& where) {
  std::vector<std::string> names;
  for (const Kind& kind : kinds()) {
    if (kind.name == name) return kind;
    names.emplace_back(kind.name);
  }
  throw Error(fmt::format("{}: unknown kind of hardware '{}'", where, name),
              choice_hint(name, names));
}

// What may not be zero either: rates, sizes and counts are divided by.
bool may_be_zero(std::string_view key) {
  return key.starts_with("price") || key.starts_with("latency") || key.ends_with("comm_sms");
}

void check_figure(const Kind& kind, std::string_view key, double value, const std::string& where) {
  if (std::find(kind.figures.begin(), kind.figures.end(), key) == kind.figures.end())
    throw Error(fmt::format("{}: a {} has no figure '{}'", where, kind.name, key),
                choice_hint(key, kind.figures));
  if (!std::isfinite(value) || value < 0 || (value == 0 && !may_be_zero(key)))
    throw Error(fmt::format("{}: {} = {} is out of range", where, key, value),
                may_be_zero(key) ? "the nearest valid value is 0" : "give a finite number above 0");
}

double number_of(const toml::node* node, const std::string& where) {
  const std::optional<double> value = node ? node->value<double>() : std::optional<double>();
  if (!value || node->is_boolean()) throw Error(where + ": value is not a number");
  return *value;
}

Figure figure_of(const toml::node& node, const std::string& where) {
  const toml::table* table = node.as_table();
  if (!table)
    throw Error(where + ": not a figure",
                "write { value = 50, source = \"where it is published\" }");
  for (const auto& [key, unused] : *table)
    if (key != "value" && key != "source")
      throw Error(fmt::format("{}: unknown field '{}'", where, key.str()), "value and source");
  const std::optional<std::string> source = (*table)["source"].value<std::string>();
  if (!source || source->empty())
    throw Error(where + ": has no source", "say where the figure is published or how measured");
  return {number_of(table->get("value"), where), *source};
}

Entry entry_of(const Kind& kind, const std::string& id, const toml::node& node,
               const std::string& where) {
  const toml::table* table = node.as_table();
  if (!table) throw Error(where + ": not a table of figures");
  Entry entry(id, (*table)["name"].value_or(id));
  for (const auto& [key, value] : *table) {
    if (key == "name") continue;
    const std::string place = fmt::format("{}.{}", where, key.str());
    Figure figure = figure_of(value, place);
    check_figure(kind, key.str(), figure.value, where);
    entry.set(key.str(), std::move(figure));
  }
  return entry;
}

toml::table parse(std::string_view text, const std::string& source) {
  try {
    return toml::parse(text, source);
  } catch (const toml::parse_error& e) {
    throw Error(fmt::format("{}, line {}: {}", source, e.source().begin.line, e.description()));
  }
}

struct Assignment {
  std::string id, key;
  double value = 0;
};

Assignment parse_assignment(std::string_view text) {
  const size_t equals = text.find('='), dot = text.rfind('.', equals);
  const std::string hint = "for example --set h800.nic_gb_s=100";
  if (equals == text.npos || dot == text.npos || dot == 0)
    throw UsageError(fmt::format("--set {}: not NAME.FIGURE=VALUE", text), hint);
  Assignment a{std::string(text.substr(0, dot)),
               std::string(text.substr(dot + 1, equals - dot - 1))};
  const std::string_view number = text.substr(equals + 1);
  const auto [end, failed] = std::from_chars(number.data(), number.data() + number.size(), a.value);
  if (failed != std::errc() || end != number.data() + number.size())
    throw UsageError(fmt::format("--set {}: '{}' is not a number", text, number), hint);
  return a;
}

}  // namespace

std::string unit_of_figure(std::string_view key) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kSuffixes = {
      {{"_tflops", "TFLOP/s"},
       {"gb_s", "GB/s"},
       {"_gib", "GiB"},
       {"_ms", "ms"},
       {"_us", "us"},
       {"_m", "m"}}};
  if (key.starts_with("price")) return "$";
  for (const auto& [suffix, unit] : kSuffixes)
    if (key.ends_with(suffix)) return std::string(unit);
  return {};
}

const Figure* Entry::find(std::string_view key) const {
  const auto found = figures_.find(key);
  if (found == figures_.end()) return nullptr;
  found->second.read.set();
  return &found->second.figure;
}

bool Entry::was_read(std::string_view key) const {
  const auto found = figures_.find(key);
  return found != figures_.end() && found->second.read.is_set();
}

double Entry::at(std::string_view key) const {
  if (const Figure* figure = find(key)) return figure->value;
  throw Error(fmt::format("hardware '{}' has no figure {}", id_, key),
              fmt::format("add it with --set {}.{}=VALUE, or in a --hardware file", id_, key));
}

double Entry::at(std::string_view key, Worksheet& sheet) const {
  const double value = at(key);
  sheet.assume(fmt::format("{}.{}", id_, key), value, unit_of_figure(key), find(key)->source);
  return value;
}

void Entry::set(std::string_view key, Figure figure) {
  figures_.insert_or_assign(std::string(key), Marked{std::move(figure), {}});
}

std::vector<std::string> Entry::keys() const {
  std::vector<std::string> keys;
  for (const auto& [key, marked] : figures_) keys.push_back(key);
  return keys;
}

Catalogue Catalogue::built_in() {
  Catalogue catalogue;
  catalogue.add_toml(kHardwareToml, "the built-in catalogue");
  return catalogue;
}

void Catalogue::put(const std::string& kind, Entry entry) {
  std::string id = entry.id();
  kinds_[kind].insert_or_assign(std::move(id), std::move(entry));
}

std::vector<std::string> Catalogue::add_toml(std::string_view text, const std::string& source) {
  std::vector<std::string> gpus;
  for (const auto& [kind_key, entries] : parse(text, source)) {
    const Kind& kind = kind_of(kind_key.str(), source);
    const toml::table* table = entries.as_table();
    if (!table) throw Error(fmt::format("{}: {} is not a table", source, kind.name));
    for (const auto& [id, node] : *table) {
      const std::string where = fmt::format("{}: {}.{}", source, kind.name, id.str());
      put(std::string(kind.name), entry_of(kind, std::string(id.str()), node, where));
      if (kind.name == "gpu") gpus.emplace_back(id.str());
    }
  }
  return gpus;
}

std::vector<std::string> Catalogue::add_file(const std::filesystem::path& path) {
  if (path.extension() == ".json") return {add_doctor(path)};
  return add_toml(read_text_file(path), path.string());
}

std::string Catalogue::add_doctor(const std::filesystem::path& path) {
  const nlohmann::json doctor = parse_json(read_text_file(path), path.string());
  const std::string id = path.stem().string(), source = "measured by fathom doctor";
  const auto figure = [&](const char* field) {
    if (!doctor.is_object() || !doctor.contains(field) || !doctor[field].is_number())
      throw Error(fmt::format("{}: has no number '{}'", path.string(), field),
                  "write it with: fathom doctor --json");
    return Figure{doctor[field].get<double>(), source};
  };
  const auto cpu = doctor.is_object() ? doctor.find("cpu") : doctor.end();
  Entry entry(id, cpu != doctor.end() && cpu->is_string() ? cpu->get<std::string>() : id);
  entry.set("bf16_tflops", figure("bf16_tflops"));
  entry.set("memory_gb_s", figure("read_gb_s"));
  entry.set("gpus_per_node", {1, "a machine counts as one device"});
  const Kind& kind = kind_of("gpu", path.string());
  for (const std::string& key : entry.keys()) check_figure(kind, key, entry.at(key), path.string());
  put("gpu", std::move(entry));
  return id;
}

const Entry& Catalogue::find(std::string_view kind, std::string_view id) const {
  const auto entries = kinds_.find(kind);
  if (entries != kinds_.end()) {
    const auto found = entries->second.find(id);
    if (found != entries->second.end()) return found->second;
  }
  throw Error(fmt::format("unknown {} '{}'", kind == "gpu" ? "hardware" : kind, id),
              choice_hint(id, names(kind)));
}

std::vector<std::string> Catalogue::names(std::string_view kind) const {
  std::vector<std::string> names;
  const auto entries = kinds_.find(kind);
  if (entries == kinds_.end()) return names;
  for (const auto& [id, entry] : entries->second) names.push_back(id);
  return names;
}

void Catalogue::set(std::string_view assignment) {
  const Assignment a = parse_assignment(assignment);
  std::vector<std::string> known;
  for (auto& [kind, entries] : kinds_) {
    const auto found = entries.find(a.id);
    if (found == entries.end()) {
      for (const auto& [id, entry] : entries) known.push_back(id);
      continue;
    }
    check_figure(kind_of(kind, "--set"), a.key, a.value, fmt::format("--set {}", assignment));
    found->second.set(a.key, {a.value, "--set"});
    overrides_.push_back({kind, a.id, a.key});
    return;
  }
  throw Error(fmt::format("--set {}: unknown hardware '{}'", assignment, a.id),
              choice_hint(a.id, known));
}

void Catalogue::check_overrides_used() const {
  for (const Override& o : overrides_)
    if (!find(o.kind, o.id).was_read(o.key))
      throw UsageError(fmt::format("--set {}.{} has no influence on this result", o.id, o.key),
                       "leave it out");
}

}  // namespace fathom::cluster
