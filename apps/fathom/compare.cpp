// fathom compare: runs of `fathom train` against the first of them.
#include "compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "train/compare_svg.h"

namespace fathom::app {
namespace {

using train::ComparedRun;
using train::Comparison;
using train::QuantizationStatistics;
using train::RecordedRun;
using Json = nlohmann::ordered_json;
using Table = std::vector<std::vector<std::string>>;  // the first row is the head

std::vector<RecordedRun> read_runs(const std::vector<std::string>& directories) {
  std::vector<RecordedRun> runs;
  for (const std::string& directory : directories) {
    runs.push_back(train::read_run(directory));
    const RecordedRun& run = runs.back();
    if (run.last_line_unfinished)
      log_warning("the last line of metrics.jsonl is unfinished and left out", {{"run", run.name}});
    if (!run.config)
      log_warning("no config.toml: the configurations are not compared", {{"run", run.name}});
  }
  return runs;
}

// --- text ---

std::string percent(double share) {
  return fmt::format("{:+.3f}%", 100 * share);
}

template <class Format>
std::string words(const std::optional<double>& value, Format format) {
  return value ? format(*value) : "-";
}

std::string gib(double bytes) {
  return fmt::format("{:.3f} GiB", bytes / (1 << 30));
}

std::string steps_words(const RecordedRun& run) {
  const std::optional<int64_t> planned = run.configured("train.steps");
  const int64_t done = run.steps.back().step;
  return planned && *planned != done ? fmt::format("{} of {}", done, *planned)
                                     : fmt::to_string(done);
}

std::vector<std::string> loss_row(const RecordedRun& run, const ComparedRun& r) {
  const auto nats = [](double x) { return fmt::format("{:.4f}", x); };
  std::vector<std::string> row = {run.name, steps_words(run),
                                  r.loss.empty() ? "-" : nats(r.loss.back()),
                                  words(r.valid_loss, nats)};
  if (r.errors) {
    row.push_back(fmt::format("{} at {}", percent(r.errors->largest), r.errors->largest_step));
    row.push_back(percent(r.errors->last));
    row.push_back(percent(r.errors->mean));
    row.push_back(fmt::format("{:.3f}%", 100 * r.errors->mean_absolute));
  } else {
    row.insert(row.end(), 4, "-");
  }
  row.push_back(words(r.valid_error, percent));
  row.push_back(r.violation.empty() ? "-" : fmt::format("{:.3f}", r.violation.back()));
  row.push_back(r.diverged ? "yes" : "no");
  return row;
}

std::vector<std::string> cost_row(const RecordedRun& run, const ComparedRun& r) {
  return {run.name,
          words(r.tokens_per_s, [](double x) { return fmt::format("{:.0f}", x); }),
          words(r.speed_ratio, [](double x) { return fmt::format("{:.3f}x", x); }),
          words(r.peak_rss_bytes, gib),
          words(r.activation_bytes, gib),
          words(r.activation_bytes_per_token, [](double x) { return fmt::format("{:.0f} B", x); })};
}

Table differences_table(const Comparison& c, const std::vector<RecordedRun>& runs) {
  Table table = {{"key"}};
  for (const RecordedRun& run : runs) table[0].push_back(run.name);
  for (const auto& d : c.differences) {
    table.push_back({d.key});
    for (const auto& value : d.values) table.back().push_back(value.value_or("-"));
  }
  return table;
}

/// The tensor where a statistic is greatest.
using Statistic = double QuantizationStatistics::*;
const QuantizationStatistics& worst(const RecordedRun& run, Statistic statistic) {
  return *std::max_element(
      run.fp8_stats.begin(), run.fp8_stats.end(),
      [&](const auto& a, const auto& b) { return a.*statistic < b.*statistic; });
}

Table quantization_table(const std::vector<RecordedRun>& runs) {
  Table table = {{"run", "greatest amax", "greatest underflow", "greatest saturation"}};
  for (const RecordedRun& run : runs) {
    if (run.fp8_stats.empty()) continue;
    const auto cell = [&](Statistic statistic, double factor, const char* unit) {
      const auto& w = worst(run, statistic);
      return fmt::format("{:.4g}{} {}", factor * w.*statistic, unit, w.tensor);
    };
    table.push_back({run.name, cell(&QuantizationStatistics::amax, 1, ""),
                     cell(&QuantizationStatistics::underflow, 100, "%"),
                     cell(&QuantizationStatistics::saturation, 100, "%")});
  }
  return table;
}

// Columns as wide as their longest cell; all but the first to the right.
std::string text_of(const Table& table) {
  std::vector<size_t> width(table[0].size());
  for (const auto& row : table)
    for (size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], row[i].size());
  std::string out;
  for (const auto& row : table) {
    for (size_t i = 0; i < row.size(); ++i)
      out += i == 0 ? fmt::format("{:<{}}", row[i], width[i])
                    : fmt::format("  {:>{}}", row[i], width[i]);
    out += "\n";
  }
  return out;
}

std::string text_of(const Comparison& c, const std::vector<RecordedRun>& runs) {
  Table losses = {{"run", "steps", "loss", "valid_loss", "largest error", "final error",
                   "mean error", "mean |error|", "valid error", "max_violation", "diverged"}};
  Table costs = {{"run", "tokens/s", "ratio", "peak memory", "activations", "a token"}};
  for (size_t i = 0; i < runs.size(); ++i) {
    losses.push_back(loss_row(runs[i], c.runs[i]));
    costs.push_back(cost_row(runs[i], c.runs[i]));
  }
  std::string out = text_of(losses) + "\n" + text_of(costs);
  if (!c.differences.empty()) out += "\n" + text_of(differences_table(c, runs));
  if (const Table table = quantization_table(runs); table.size() > 1) out += "\n" + text_of(table);
  return out + fmt::format(
                   "\nLosses and max_violation are moving averages ({}); errors are relative to "
                   "{}, after step {}.\n",
                   c.ema, runs[0].name, c.warmup_steps);
}

// --- JSON ---

Json json_of(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

void add_errors(Json& json, const std::optional<ComparedRun::Errors>& e) {
  json["largest_relative_error"] = e ? Json(e->largest) : Json(nullptr);
  json["largest_relative_error_step"] = e ? Json(e->largest_step) : Json(nullptr);
  json["final_relative_error"] = e ? Json(e->last) : Json(nullptr);
  json["final_relative_error_step"] = e ? Json(e->last_step) : Json(nullptr);
  json["mean_relative_error"] = e ? Json(e->mean) : Json(nullptr);
  json["mean_absolute_relative_error"] = e ? Json(e->mean_absolute) : Json(nullptr);
}

Json json_of(const std::vector<QuantizationStatistics>& stats) {
  Json out = Json::object();
  for (const auto& s : stats)
    out[s.tensor] = {{"amax", s.amax}, {"underflow", s.underflow}, {"saturation", s.saturation}};
  return out;
}

Json json_of(const RecordedRun& run, const ComparedRun& r, bool curves) {
  const std::optional<int64_t> planned = run.configured("train.steps");
  Json json = {{"run", run.name},
               {"steps", run.steps.back().step},
               {"planned_steps", planned ? Json(*planned) : Json(nullptr)},
               {"tokens", run.steps.back().tokens},
               {"last_line_unfinished", run.last_line_unfinished},
               {"diverged", r.diverged},
               {"loss", r.loss.empty() ? Json(nullptr) : Json(r.loss.back())},
               {"valid_loss", json_of(r.valid_loss)}};
  add_errors(json, r.errors);
  json["valid_loss_relative_error"] = json_of(r.valid_error);
  json["max_violation"] = r.violation.empty() ? Json(nullptr) : Json(r.violation.back());
  json["tokens_per_s"] = json_of(r.tokens_per_s);
  json["tokens_per_s_ratio"] = json_of(r.speed_ratio);
  json["peak_rss_bytes"] = json_of(r.peak_rss_bytes);
  json["activation_bytes"] = json_of(r.activation_bytes);
  json["activation_bytes_per_token"] = json_of(r.activation_bytes_per_token);
  if (!run.fp8_stats.empty()) json["fp8_stats"] = json_of(run.fp8_stats);
  if (curves)
    json["curves"] = {{"steps", r.steps},
                      {"loss", r.loss},
                      {"max_violation_steps", r.violation_steps},
                      {"max_violation", r.violation},
                      {"error_steps", r.error_steps},
                      {"relative_error", r.error}};
  return json;
}

Json json_of(const Comparison& c, const std::vector<RecordedRun>& runs, bool curves) {
  Json json = {{"baseline", runs[0].name}, {"ema", c.ema}, {"warmup_steps", c.warmup_steps}};
  json["runs"] = Json::array();
  for (size_t i = 0; i < runs.size(); ++i)
    json["runs"].push_back(json_of(runs[i], c.runs[i], curves));
  json["config_differences"] = Json::array();
  for (const auto& d : c.differences) {
    Json values = Json::array();
    for (const auto& v : d.values) values.push_back(v ? Json(*v) : Json(nullptr));
    json["config_differences"].push_back({{"key", d.key}, {"values", std::move(values)}});
  }
  return json;
}

void print(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) == EOF || std::fflush(stdout) != 0)
    throw_errno("cannot write to standard output");
}

}  // namespace

int run_compare(const GlobalOptions& global, const CompareArguments& o) {
  if (o.runs.size() < 2)
    throw UsageError("one run is nothing to compare",
                     "name two or more directories, the baseline first");
  if (o.curves && !global.json)
    throw UsageError("--curves has no influence on the table", "add --json, or draw with --svg");
  const std::vector<RecordedRun> runs = read_runs(o.runs);
  const Comparison comparison = train::compare_runs(runs, {o.ema, o.warmup});
  if (!o.svg.empty()) {
    std::vector<std::string> names;
    for (const RecordedRun& run : runs) names.push_back(run.name);
    write_text_file(o.svg, train::draw_comparison(comparison, names));
  }
  print(global.json ? json_of(comparison, runs, o.curves).dump(2) + "\n"
                    : text_of(comparison, runs));
  return 0;
}

}  // namespace fathom::app
