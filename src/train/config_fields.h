#pragma once

#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "train/config.h"

namespace fathom::train {

/// The values a number may have.
struct Range {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool open_min = false, open_max = false;

  bool contains(double x) const;
  std::string text() const;  ///< "at least 1", "in [0, 1)"
};

/// One of a few names, stored as an enum.
struct Choice {
  std::vector<std::string_view> names;
  std::function<size_t()> get;
  std::function<void(size_t)> set;
};

/// A key of the TOML file and where its value lives.
struct Field {
  using Target = std::variant<std::string*, std::filesystem::path*,
                              std::vector<std::filesystem::path>*, std::vector<std::string>*,
                              int64_t*, double*, bool*, std::array<double, 2>*, Choice>;
  std::string_view key;  ///< "optimizer.schedule.type"
  Target target;
  Range range = {};
  bool required = false;
};

/// The one table that parsing, checking and printing are driven by, in the order of printing.
std::vector<Field> fields_of(TrainConfig& config);

/// The known key a misspelt one was meant to be, or empty.
std::string_view closest_key(const std::vector<Field>& fields, std::string_view key);

/// The value of a field in TOML syntax.
std::string toml_value(const Field& field);

}  // namespace fathom::train
