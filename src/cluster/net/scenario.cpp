#include "cluster/net/scenario.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <sstream>

#include <toml++/toml.h>

#include "base/error.h"
#include "base/file.h"
#include "cluster/nearest.h"
#include "cluster/net/hardware.h"
#include "cluster/net/scenario_keys.h"

namespace fathom::net {
namespace {

std::string text_of(const toml::node& node) {
  std::ostringstream out;
  node.visit([&](const auto& n) { out << n; });
  return out.str();
}

/// "1GiB", "64 MB", "4096": bytes, or -1.
int64_t parse_bytes(const std::string& text) {
  constexpr std::array<std::pair<std::string_view, double>, 9> kUnits = {
      {{"", 1},
       {"B", 1},
       {"KB", 1e3},
       {"MB", 1e6},
       {"GB", 1e9},
       {"KiB", 1024},
       {"MiB", 1024. * 1024},
       {"GiB", 1024. * 1024 * 1024},
       {"TiB", 1024. * 1024 * 1024 * 1024}}};
  double number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  unit.remove_prefix(std::min(unit.find_first_not_of(' '), unit.size()));
  for (const auto& [name, factor] : kUnits)
    if (code == std::errc{} && unit == name && number > 0 && number * factor < 1e18)
      return static_cast<int64_t>(number * factor);
  return -1;
}

/// Puts a TOML value where a key's target is; throws naming origin, value and what is wanted.
class Assign {
 public:
  Assign(const toml::node& node, const std::string& origin) : node_(node), origin_(origin) {}

  void operator()(const Number& n) const {
    const auto x = node_.value<double>();
    if (!node_.is_number() || !(n.open ? *x > n.least : *x >= n.least) || !(*x < 1e15))
      fail(fmt::format("a number {} {}", n.open ? "above" : "of at least", n.least));
    *n.target = *x;
  }
  void operator()(const Integer& n) const {
    const auto x = node_.value<int64_t>();
    if (!node_.is_integer() || *x < n.least || *x > 1'000'000'000)
      fail(fmt::format("an integer of at least {}", n.least));
    *n.target = *x;
  }
  void operator()(const Bytes& b) const {
    const int64_t bytes = node_.is_integer()  ? node_.ref<int64_t>()
                          : node_.is_string() ? parse_bytes(node_.ref<std::string>())
                                              : -1;
    if (bytes < 1) fail("a number of bytes above 0, such as 1048576 or 1MiB");
    *b.target = bytes;
  }
  void operator()(const Word& w) const {
    const std::string given = node_.is_string() ? node_.ref<std::string>() : text_of(node_);
    const auto at = std::find(w.words.begin(), w.words.end(), given);
    if (at == w.words.end())
      fail(fmt::format("one of {}", fmt::join(w.words, ", ")),
           fmt::format("the nearest is {}",
                       cluster::nearest(given, {w.words.begin(), w.words.end()})));
    w.set(static_cast<size_t>(at - w.words.begin()));
  }
  void operator()(bool* target) const {
    if (!node_.is_boolean()) fail("true or false");
    *target = node_.ref<bool>();
  }
  void operator()(uint64_t* target) const {
    if (!node_.is_integer() || node_.ref<int64_t>() < 0) fail("an integer of at least 0");
    *target = static_cast<uint64_t>(node_.ref<int64_t>());
  }
  void operator()(std::string* target) const {
    *target = node_.is_string() ? node_.ref<std::string>() : text_of(node_);
  }
  void operator()(std::vector<std::string>* target) const {
    target->clear();
    if (node_.is_string()) return target->push_back(node_.ref<std::string>());
    if (!node_.is_array()) fail("a list of names");
    for (const toml::node& item : *node_.as_array()) {
      if (!item.is_string()) fail("a list of names");
      target->push_back(item.ref<std::string>());
    }
  }

 private:
  [[noreturn]] void fail(const std::string& wanted, const std::string& hint = {}) const {
    throw Error(fmt::format("{} = {}: must be {}", origin_, text_of(node_), wanted), hint);
  }
  const toml::node& node_;
  const std::string& origin_;
};

/// Fills a scenario and remembers what was given where.
class Binder {
 public:
  Scenario scenario;

  void bind_file(const toml::table& table, const std::string& source) {
    for (const auto& [name, node] : table) {
      const std::string key(name.str());
      if (key == "job")
        bind_jobs(node, source);
      else if (node.is_table())
        for (const auto& [inner, value] : *node.as_table())
          assign(key + "." + std::string(inner.str()), 0, value, source + ": ");
      else
        assign(key, 0, node, source + ": ");
    }
  }

  /// From a flag or --set: job keys without a number are for the only job.
  void bind_setting(const Setting& s) {
    std::string key = s.key;
    size_t job = 0;
    if (key.starts_with("job.")) {
      const auto [end, code] = std::from_chars(key.data() + 4, key.data() + key.size(), job);
      if (code == std::errc{} && *end == '.')
        key = "job" + std::string(end);
      else if (scenario.jobs.size() > 1)
        throw UsageError(
            fmt::format("{}: the scenario has {} jobs", s.origin, scenario.jobs.size()),
            fmt::format("name one: --set job.0.{}={}", key.substr(4), s.value));
      if (job >= scenario.jobs.size())
        throw UsageError(fmt::format("{}: there is no job {}", s.origin, job),
                         fmt::format("the last is {}", scenario.jobs.size() - 1));
    }
    toml::table parsed;
    try {
      parsed = toml::parse(fmt::format("value = {}", s.value), s.origin);
    } catch (const toml::parse_error&) {
      parsed.insert("value", s.value);
    }
    assign(key, job, *parsed.get("value"), s.origin, false);
  }

  void finish(const std::string& source) {
    require(given_.count({"cluster.nodes", 0}) > 0, source, "cluster.nodes", "nodes");
    apply_hardware(scenario, [&](std::string_view key) {
      const auto found = given_.find({std::string(key), 0});
      return found == given_.end() ? std::string() : found->second;
    });
    for (size_t j = 0; j < scenario.jobs.size(); ++j) {
      Job& job = scenario.jobs[j];
      require(given_.count({"job.kind", j}) > 0, source, "job.kind", "collective");
      const bool experts = job.kind == JobKind::kDispatch || job.kind == JobKind::kCombine;
      require(experts || job.bytes > 0, source, "job.bytes", "bytes");
      if (job.kind == JobKind::kCombine && given_.count({"job.payload", j}) == 0)
        job.payload = Payload::kBf16;
    }
    for (const auto& [what, origin] : given_) refuse_unused(what.first, what.second, origin);
  }

 private:
  static void require(bool given, const std::string& source, const char* key, const char* flag) {
    if (!given)
      throw Error(fmt::format("{}: {} is missing", source, key),
                  fmt::format("set it there or give --{}", flag));
  }

  void bind_jobs(const toml::node& node, const std::string& source) {
    const toml::array* list = node.as_array();
    if (!list || list->empty() || !list->is_homogeneous(toml::node_type::table))
      throw Error(source + ": job must be tables", "begin each with a line [[job]]");
    scenario.jobs.assign(list->size(), Job{});
    for (size_t j = 0; j < list->size(); ++j)
      for (const auto& [name, value] : *list->get(j)->as_table())
        assign("job." + std::string(name.str()), j, value, source + ": ");
  }

  /// origin: "file.toml: " before the key's name, or a flag.
  void assign(const std::string& name, size_t job, const toml::node& value, std::string origin,
              bool add_name = true) {
    const auto key = std::find_if(all_keys().begin(), all_keys().end(),
                                  [&](const Key& k) { return k.name == name; });
    if (key == all_keys().end()) fail_unknown(name, origin);
    if (add_name) origin += name;
    std::visit(Assign(value, origin), key->target(scenario, scenario.jobs[job]));
    given_[{name, job}] = origin;
  }

  [[noreturn]] static void fail_unknown(const std::string& name, const std::string& origin) {
    std::vector<std::string> names;
    for (const Key& k : all_keys()) names.emplace_back(k.name);
    throw Error(fmt::format("{}{}unknown key {}", origin, origin.ends_with(": ") ? "" : ": ", name),
                fmt::format("the nearest is {}", cluster::nearest(name, names)));
  }

  void refuse_unused(const std::string& name, size_t job, const std::string& origin) const {
    const auto key = std::find_if(all_keys().begin(), all_keys().end(),
                                  [&](const Key& k) { return k.name == name; });
    if (!key->unused) return;
    const std::string why = key->unused(scenario, scenario.jobs[job]);
    if (!why.empty())
      throw Error(fmt::format("{} does not influence this result: {}", origin, why),
                  "leave it out");
  }

  std::map<std::pair<std::string, size_t>, std::string> given_;
};

}  // namespace

Scenario parse_scenario(std::string_view text, const std::string& source,
                        std::span<const Setting> settings) {
  Binder binder;
  try {
    binder.bind_file(toml::parse(text, source), source);
  } catch (const toml::parse_error& e) {
    throw Error(fmt::format("{}:{}:{}: {}", source, e.source().begin.line, e.source().begin.column,
                            e.description()));
  }
  for (const Setting& s : settings) binder.bind_setting(s);
  binder.finish(source);
  return binder.scenario;
}

Scenario load_scenario(const std::filesystem::path& path, std::span<const Setting> settings) {
  if (path.empty()) return parse_scenario("", "the scenario", settings);
  return parse_scenario(read_text_file(path), path.string(), settings);
}

std::vector<ScenarioKey> scenario_keys() {
  std::vector<ScenarioKey> out;
  for (const Key& k : all_keys())
    out.push_back({std::string(k.name), std::string(k.flag), std::string(k.help)});
  return out;
}

std::string_view name_of(JobKind kind) {
  constexpr std::array<std::string_view, 8> kNames = {"all-to-all",  "dispatch",       "combine",
                                                      "all-gather",  "reduce-scatter", "all-reduce",
                                                      "permutation", "storage"};
  return kNames[static_cast<size_t>(kind)];
}

std::string_view name_of(RoutingPolicy policy) {
  constexpr std::array<std::string_view, 3> kNames = {"adaptive", "ECMP", "static"};
  return kNames[static_cast<size_t>(policy)];
}

std::string_view name_of(Payload payload) {
  constexpr std::array<std::string_view, 3> kNames = {"fp8", "bf16", "logfmt10"};
  return kNames[static_cast<size_t>(payload)];
}

}  // namespace fathom::net
