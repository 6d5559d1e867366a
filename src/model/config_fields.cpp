#include "model/config_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "base/json.h"

namespace fathom {
namespace {

using nlohmann::json;

/// Levenshtein distance.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substituted = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

void ConfigProblems::add(std::string_view field, std::string_view message) {
  if (fields_.insert(std::string(field)).second) messages_.emplace_back(message);
}

bool ConfigProblems::clean(std::initializer_list<std::string_view> fields) const {
  return std::none_of(fields.begin(), fields.end(), [&](std::string_view f) { return has(f); });
}

void ConfigProblems::throw_if_any(const std::string& source) const {
  if (messages_.empty()) return;
  constexpr size_t kShown = 20;
  std::string text = messages_.size() == 1
                         ? fmt::format("{}: {}", source, messages_[0])
                         : fmt::format("{}: {} problems", source, messages_.size());
  if (messages_.size() > 1) {
    for (size_t i = 0; i < std::min(kShown, messages_.size()); ++i) text += "\n  " + messages_[i];
  }
  if (messages_.size() > kShown) text += fmt::format("\n  and {} more", messages_.size() - kShown);
  throw Error(text, "correct what is listed, or start from a preset's configuration");
}

FieldReader::FieldReader(const json& object, std::string prefix, ConfigProblems& problems)
    : object_(object), prefix_(std::move(prefix)), problems_(problems) {}

const json* FieldReader::find(std::string_view name) {
  known_.emplace(name);
  const auto it = object_.find(name);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

void FieldReader::problem(std::string_view name, std::string_view message) {
  const std::string field = prefix_ + std::string(name);
  problems_.add(field, fmt::format("{} {}", field, message));
}

void FieldReader::report_missing(std::string_view name) {
  problem(name, "is missing: add it");  // a value of the wrong type was reported before this
}

void FieldReader::wrong_type(std::string_view name, const json& value, std::string_view expected) {
  problem(name, fmt::format("= {}: must be {}", brief(value), expected));
}

bool FieldReader::read(std::string_view name, int64_t& out) {
  const json* value = find(name);
  if (!value) return false;
  constexpr int64_t kLimit = int64_t{1} << 53;  // exact in a double; sums of a few cannot overflow
  const bool fits = value->is_number_unsigned()  ? value->get<uint64_t>() < uint64_t{kLimit}
                    : value->is_number_integer() ? value->get<int64_t>() > -kLimit
                                                 : false;
  if (!fits) wrong_type(name, *value, "an integer");
  if (fits) out = value->get<int64_t>();
  return fits;
}

bool FieldReader::read(std::string_view name, double& out) {
  const json* value = find(name);
  if (!value) return false;
  if (!value->is_number()) wrong_type(name, *value, "a number");
  if (value->is_number()) out = value->get<double>();
  return value->is_number();
}

bool FieldReader::read(std::string_view name, bool& out) {
  const json* value = find(name);
  if (!value) return false;
  if (!value->is_boolean()) wrong_type(name, *value, "true or false");
  if (value->is_boolean()) out = value->get<bool>();
  return value->is_boolean();
}

bool FieldReader::read(std::string_view name, std::string& out) {
  const json* value = find(name);
  if (!value) return false;
  if (!value->is_string()) wrong_type(name, *value, "a string");
  if (value->is_string()) out = value->get<std::string>();
  return value->is_string();
}

bool FieldReader::read(std::string_view name, std::optional<int64_t>& out) {
  int64_t value = 0;
  const bool found = read(name, value);
  if (found) out = value;
  return found;
}

void FieldReader::require_or_null(std::string_view name, int64_t& out) {
  read(name, out);
  if (!object_.contains(name)) report_missing(name);
}

void FieldReader::ignore(std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) known_.emplace(name);
}

std::string_view FieldReader::nearest_known(std::string_view name) const {
  constexpr size_t kLongestName = 64, kFarthest = 4;
  if (name.size() > kLongestName) return {};
  size_t best = std::min(kFarthest, name.size() / 2) + 1;
  std::string_view found;
  for (const std::string& candidate : known_) {
    const size_t distance = edit_distance(name, candidate);
    if (distance >= best) continue;
    best = distance;
    found = candidate;
  }
  return found;
}

void FieldReader::finish() {
  for (const auto& item : object_.items()) {
    if (known_.contains(item.key()) || item.value().is_null()) continue;  // null: as absent
    const std::string_view near = nearest_known(item.key());
    problems_.add(prefix_ + item.key(),
                  fmt::format("unknown field {}{}", brief(json(prefix_ + item.key())),
                              near.empty() ? std::string(": remove it")
                                           : fmt::format(": did you mean '{}'?", near)));
  }
}

}  // namespace fathom
