#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace fathom::cluster {

/// A number with its unit as a person reads it: ("s", 1.2e-4) is "120 us", "bytes" are scaled to
/// KB, MB, GB of 1e3 and "GiB" is kept. Other units follow the number.
std::string in_words(double value, std::string_view unit);

/// How a plan arises: what was assumed and from where, each result with the formula that gave it
/// and the numbers put in, and tables of results that belong together. Planners write it beside
/// the plain structs they return; the command line prints it.
class Worksheet {
 public:
  struct Assumption {
    std::string name, value, source;
  };
  struct Result {
    std::string key;      ///< of the JSON document
    double value = 0;     ///< in `unit`
    std::string unit;     ///< "s", "bytes", "GiB", "$", …; empty for a bare number
    std::string formula;  ///< with the numbers put in; empty when it is no formula's result
  };
  using Cell = std::variant<std::string, double>;
  struct Column {
    std::string key;   ///< of the JSON document
    std::string unit;  ///< of its numbers, as in Result
  };
  struct Table {
    std::string key;
    std::vector<Column> columns;
    std::vector<std::vector<Cell>> rows;
  };

  /// Later mentions of the same name are dropped.
  void assume(std::string name, std::string value, std::string source);
  void assume(std::string name, double value, std::string_view unit, std::string source);
  /// Records a result and hands its value back.
  double result(std::string key, double value, std::string unit, std::string formula = {});
  void fact(std::string key, std::string text);
  /// The reference holds until the next table is added.
  Table& table(std::string key, std::vector<Column> columns);

  const std::vector<Assumption>& assumptions() const { return assumptions_; }
  const std::vector<Result>& results() const { return results_; }
  const std::vector<std::pair<std::string, std::string>>& facts() const { return facts_; }
  const std::vector<Table>& tables() const { return tables_; }

 private:
  std::vector<Assumption> assumptions_;
  std::vector<Result> results_;
  std::vector<std::pair<std::string, std::string>> facts_;
  std::vector<Table> tables_;
};

}  // namespace fathom::cluster
