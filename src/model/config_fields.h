#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

/// What is wrong with a configuration, gathered so that the user sees everything at once. The first
/// problem of a field hides its later ones, which would only follow from it.
class ConfigProblems {
 public:
  void add(std::string_view field, std::string_view message);
  bool empty() const { return messages_.empty(); }
  bool has(std::string_view field) const { return fields_.contains(std::string(field)); }
  /// True when none of the fields has a problem, so that a rule that joins them makes sense.
  bool clean(std::initializer_list<std::string_view> fields) const;
  /// One Error with all of them, if there are any.
  void throw_if_any(const std::string& source) const;

 private:
  std::set<std::string> fields_;
  std::vector<std::string> messages_;
};

/// Reads the members of one JSON object by name and type. Null means absent, as Hugging Face writes
/// it. Every name asked for is known; finish() reports the others.
class FieldReader {
 public:
  /// prefix: "" for the document, "rope_scaling." for an object inside it.
  FieldReader(const nlohmann::json& object, std::string prefix, ConfigProblems& problems);

  /// Leaves `out` as it is when the field is absent or has a problem; returns whether it was read.
  bool read(std::string_view name, int64_t& out);
  bool read(std::string_view name, double& out);
  bool read(std::string_view name, bool& out);
  bool read(std::string_view name, std::string& out);
  bool read(std::string_view name, std::optional<int64_t>& out);
  /// As read, but an absent field is a problem.
  template <class T>
  void require(std::string_view name, T& out) {
    if (!read(name, out)) report_missing(name);
  }
  /// As require, but null is an answer too: `out` keeps its value.
  void require_or_null(std::string_view name, int64_t& out);
  /// The raw value, or null when absent.
  const nlohmann::json* find(std::string_view name);
  void problem(std::string_view name, std::string_view message);
  /// Names that may be present and have no effect.
  void ignore(std::initializer_list<std::string_view> names);
  void finish();

 private:
  void report_missing(std::string_view name);
  void wrong_type(std::string_view name, const nlohmann::json& value, std::string_view expected);
  std::string_view nearest_known(std::string_view name) const;

  const nlohmann::json& object_;
  std::string prefix_;
  ConfigProblems& problems_;
  std::set<std::string, std::less<>> known_;
};

}  // namespace fathom
