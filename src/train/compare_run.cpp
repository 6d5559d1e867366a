#include "train/compare_run.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace fathom::train {
namespace {

using Json = nlohmann::json;

/// The fields of one line; errors name `source`.
class Line {
 public:
  Line(const Json& json, std::string source) : json_(json), source_(std::move(source)) {
    if (!json.is_object()) throw Error(fmt::format("{} is no JSON object", source_));
  }

  int64_t count(const char* field) const {
    const auto it = json_.find(field);
    if (it == json_.end() || !it->is_number_integer()) refuse(field, it, "a whole number");
    return it->get<int64_t>();
  }

  std::optional<double> number(const char* field) const {
    const auto it = json_.find(field);
    if (it == json_.end() || it->is_null()) return {};
    if (!it->is_number()) refuse(field, it, "a number");
    return it->get<double>();
  }

  std::vector<QuantizationStatistics> fp8_stats() const {
    std::vector<QuantizationStatistics> out;
    const auto it = json_.find("fp8_stats");
    if (it == json_.end() || it->is_null()) return out;
    if (!it->is_object()) refuse("fp8_stats", it, "an object");
    for (const auto& [tensor, values] : it->items()) {
      const Line line(values, fmt::format("{}, fp8_stats '{}'", source_, tensor));
      out.push_back(
          {tensor, line.required("amax"), line.required("underflow"), line.required("saturation")});
    }
    return out;
  }

 private:
  double required(const char* field) const {
    const std::optional<double> value = number(field);
    if (!value) refuse(field, json_.end(), "a number");
    return *value;
  }

  [[noreturn]] void refuse(const char* field, Json::const_iterator it, const char* wanted) const {
    throw Error(fmt::format("{}: '{}' is {} instead of {}", source_, field,
                            it == json_.end() ? "missing" : brief(*it), wanted),
                "metrics.jsonl is what fathom train writes, one line a step");
  }

  const Json& json_;
  std::string source_;
};

RecordedStep step_of(const Line& line) {
  return {.step = line.count("step"),
          .tokens = line.count("tokens"),
          .loss = line.number("loss"),
          .valid_loss = line.number("valid_loss"),
          .tokens_per_s = line.number("tokens_per_s"),
          .max_violation = line.number("max_violation"),
          .peak_rss_bytes = line.number("peak_rss_bytes"),
          .activation_bytes = line.number("activation_bytes"),
          .activation_bytes_per_token = line.number("activation_bytes_per_token")};
}

void add_line(RecordedRun& run, std::string_view text, const std::string& source) {
  const Json json = parse_json(text, source);
  const Line line(json, source);
  const RecordedStep step = step_of(line);
  if (!run.steps.empty() && step.step <= run.steps.back().step)
    throw Error(
        fmt::format("{}: step {} follows step {}", source, step.step, run.steps.back().step),
        "two runs have written this file: keep the lines of one");
  run.steps.push_back(step);
  if (auto stats = line.fp8_stats(); !stats.empty()) run.fp8_stats = std::move(stats);
}

void read_metrics(RecordedRun& run, const std::filesystem::path& path) {
  const std::string file = read_text_file(path);
  const std::string_view text = file;
  size_t number = 1;
  for (size_t begin = 0; begin < text.size(); ++number) {
    const size_t end = text.find('\n', begin);
    const std::string_view line = text.substr(begin, end - begin);
    // Only a whole object parses, so that what parses was not cut short.
    run.last_line_unfinished = end == std::string_view::npos && !Json::accept(line);
    if (run.last_line_unfinished) break;
    add_line(run, line, fmt::format("{}, line {}", path.string(), number));
    begin = end == std::string_view::npos ? text.size() : end + 1;
  }
  if (run.steps.empty())
    throw Error(fmt::format("{} has no finished step", path.string()),
                "wait for the run's first step, or leave it out");
}

// toml++ prints a number of 0.9 as 0.90000000000000002.
std::string text_of(const toml::node& node) {
  if (const auto number = node.value_exact<double>()) return fmt::to_string(*number);
  std::ostringstream out;
  if (const toml::array* list = node.as_array()) {
    for (const toml::node& item : *list) out << (out.tellp() > 0 ? ", " : "[") << text_of(item);
    out << (list->empty() ? "[]" : "]");
  } else {
    node.visit([&](const auto& value) { out << value; });
  }
  return out.str();
}

void flatten(const toml::table& table, const std::string& prefix,
             std::map<std::string, std::string>& out) {
  for (const auto& [name, node] : table) {
    const std::string key = prefix + std::string(name.str());
    if (const toml::table* inner = node.as_table())
      flatten(*inner, key + ".", out);
    else
      out[key] = text_of(node);
  }
}

// Not through TrainConfig: a run of an older or newer build has other keys.
std::map<std::string, std::string> read_config(const std::filesystem::path& path) {
  std::map<std::string, std::string> out;
  try {
    flatten(toml::parse(read_text_file(path), path.string()), {}, out);
  } catch (const toml::parse_error& e) {
    throw Error(
        fmt::format("{}, line {}: {}", path.string(), e.source().begin.line, e.description()));
  }
  return out;
}

}  // namespace

std::optional<int64_t> RecordedRun::configured(const std::string& key) const {
  if (!config || !config->contains(key)) return {};
  const std::string& text = config->at(key);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return {};
  return value;
}

RecordedRun read_run(const std::filesystem::path& directory) {
  const auto metrics = directory / "metrics.jsonl", config = directory / "config.toml";
  if (!std::filesystem::exists(metrics))
    throw Error(fmt::format("{} is no run: it has no metrics.jsonl", directory.string()),
                "name directories that fathom train wrote with --out");
  RecordedRun run;
  run.name = directory.string();
  if (run.name.size() > 1 && run.name.back() == '/') run.name.pop_back();
  read_metrics(run, metrics);
  if (std::filesystem::exists(config)) run.config = read_config(config);
  return run;
}

}  // namespace fathom::train
