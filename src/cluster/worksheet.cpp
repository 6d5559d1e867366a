#include "cluster/worksheet.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

namespace fathom::cluster {
namespace {

struct Scale {
  double from;
  const char* name;
};

// The largest scale that leaves at least one.
template <size_t N>
std::string scaled(double value, const Scale (&scales)[N]) {
  const double size = std::abs(value);
  const Scale* scale = std::find_if(std::begin(scales), std::end(scales),
                                    [&](const Scale& s) { return size >= s.from; });
  if (scale == std::end(scales)) scale = std::prev(std::end(scales));
  return fmt::format("{:.5g} {}", value / scale->from, scale->name);
}

constexpr Scale kSeconds[] = {{86400, "days"}, {3600, "h"},  {1, "s"},
                              {1e-3, "ms"},    {1e-6, "us"}, {1e-9, "ns"}};
constexpr Scale kBytes[] = {{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "KB"}, {1, "B"}};
constexpr Scale kFlops[] = {{1e15, "PFLOP"}, {1e12, "TFLOP"}, {1e9, "GFLOP"},
                            {1e6, "MFLOP"},  {1e3, "KFLOP"},  {1, "FLOP"}};
constexpr Scale kCounts[] = {{1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {1e5, "e5"}, {1, ""}};

std::string count(double value) {
  if (std::abs(value) < 1e6) return fmt::format("{:.6g}", value);
  return scaled(value, kCounts);
}

}  // namespace

std::string in_words(double value, std::string_view unit) {
  if (value == 0) return unit.empty() ? "0" : fmt::format("0 {}", unit);
  if (unit == "s") return scaled(value, kSeconds);
  if (unit == "bytes") return scaled(value, kBytes);
  if (unit == "FLOP") return scaled(value, kFlops);
  if (unit == "%") return fmt::format("{:.2f}%", 100 * value);
  if (unit == "$")
    return std::abs(value) < 1e6 ? fmt::format("${:.6g}", value)
                                 : fmt::format("${}", scaled(value, kCounts));
  return unit.empty() ? count(value) : fmt::format("{} {}", count(value), unit);
}

void Worksheet::assume(std::string name, std::string value, std::string source) {
  const bool known = std::any_of(assumptions_.begin(), assumptions_.end(),
                                 [&](const Assumption& a) { return a.name == name; });
  if (!known) assumptions_.push_back({std::move(name), std::move(value), std::move(source)});
}

void Worksheet::assume(std::string name, double value, std::string_view unit, std::string source) {
  assume(std::move(name), in_words(value, unit), std::move(source));
}

double Worksheet::result(std::string key, double value, std::string unit, std::string formula) {
  results_.push_back({std::move(key), value, std::move(unit), std::move(formula)});
  return value;
}

void Worksheet::fact(std::string key, std::string text) {
  facts_.emplace_back(std::move(key), std::move(text));
}

Worksheet::Table& Worksheet::table(std::string key, std::vector<Column> columns) {
  tables_.push_back({std::move(key), std::move(columns), {}});
  return tables_.back();
}

}  // namespace fathom::cluster
