// A worksheet as text or as one JSON document.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "plan.h"

namespace fathom::app {
namespace {

using cluster::in_words;
using cluster::Worksheet;
using Json = nlohmann::ordered_json;

std::string words(const Worksheet::Cell& cell, const std::string& unit) {
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  return in_words(std::get<double>(cell), unit);
}

Json value_of(const Worksheet::Cell& cell) {
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  return std::get<double>(cell);
}

// Columns as wide as their longest cell; numbers to the right.
std::string text_of(const Worksheet::Table& table) {
  std::vector<std::vector<std::string>> lines(1);
  for (const auto& column : table.columns) lines[0].push_back(column.key);
  for (const auto& row : table.rows) {
    lines.emplace_back();
    for (size_t i = 0; i < row.size(); ++i)
      lines.back().push_back(words(row[i], table.columns[i].unit));
  }
  std::vector<size_t> width(table.columns.size());
  for (const auto& line : lines)
    for (size_t i = 0; i < line.size(); ++i) width[i] = std::max(width[i], line[i].size());
  std::string out = fmt::format("\n{}:\n", table.key);
  for (const auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i)
      out += i == 0 ? fmt::format("  {:<{}}", line[i], width[i])
                    : fmt::format("  {:>{}}", line[i], width[i]);
    out += "\n";
  }
  return out;
}

std::string results_text(const Worksheet& sheet, bool explain) {
  size_t width = 0;
  for (const auto& [key, text] : sheet.facts()) width = std::max(width, key.size());
  for (const auto& r : sheet.results()) width = std::max(width, r.key.size());
  std::string out;
  for (const auto& [key, text] : sheet.facts())
    out += fmt::format("{:<{}}  {}\n", key, width, text);
  for (const auto& r : sheet.results()) {
    out += fmt::format("{:<{}}  {}\n", r.key, width, in_words(r.value, r.unit));
    if (explain && !r.formula.empty()) out += fmt::format("{:<{}}    = {}\n", "", width, r.formula);
  }
  return out;
}

std::string assumptions_text(const Worksheet& sheet) {
  std::string out = sheet.assumptions().empty() ? "" : "\nassumptions:\n";
  for (const auto& a : sheet.assumptions())
    out += fmt::format("  {}: {} ({})\n", a.name, a.value, a.source);
  return out;
}

Json json_of(const Worksheet::Table& table) {
  Json rows = Json::array();
  for (const auto& row : table.rows) {
    Json object = Json::object();
    for (size_t i = 0; i < row.size(); ++i) object[table.columns[i].key] = value_of(row[i]);
    rows.push_back(std::move(object));
  }
  return rows;
}

Json json_of(const Worksheet& sheet, bool explain) {
  Json document = Json::object();
  for (const auto& [key, text] : sheet.facts()) document[key] = text;
  for (const auto& r : sheet.results()) document[r.key] = r.value;
  for (const auto& table : sheet.tables()) document[table.key] = json_of(table);
  document["assumptions"] = Json::array();
  for (const auto& a : sheet.assumptions())
    document["assumptions"].push_back({{"name", a.name}, {"value", a.value}, {"source", a.source}});
  if (!explain) return document;
  document["formulas"] = Json::object();
  for (const auto& r : sheet.results())
    if (!r.formula.empty()) document["formulas"][r.key] = r.formula;
  return document;
}

// Members of `more` follow those of the document, each on a line: arrays of numbers are long.
std::string joined(const Json& document, const Json& more) {
  std::string text = document.dump(2);
  text.resize(text.size() - 2);  // the end of the object
  for (const auto& [key, value] : more.items())
    text += fmt::format(",\n  \"{}\": {}", key, value.dump());
  return text + "\n}\n";
}

}  // namespace

void draw(const std::string& path, const std::string& svg) {
  if (!path.empty()) write_text_file(path, svg);
}

void print(const Worksheet& sheet, const GlobalOptions& global, bool explain, const Json* more) {
  const bool formulas = std::any_of(sheet.results().begin(), sheet.results().end(),
                                    [](const auto& r) { return !r.formula.empty(); });
  if (explain && !formulas)
    throw UsageError("--explain has no influence here: a comparison has no formulas",
                     "explain one --model at a time");
  std::string text;
  if (global.json) {
    text = joined(json_of(sheet, explain), more == nullptr ? Json::object() : *more);
  } else {
    text = results_text(sheet, explain);
    for (const auto& table : sheet.tables()) text += text_of(table);
    text += assumptions_text(sheet);
  }
  if (std::fputs(text.c_str(), stdout) == EOF || std::fflush(stdout) != 0)
    throw_errno("cannot write to standard output");
}

}  // namespace fathom::app
