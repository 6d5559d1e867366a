#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace fathom {

/// A value in a JSON document and the way to it, for messages: what is read wrongly throws an Error
/// naming file, field and value.
class JsonField {
 public:
  /// The document must outlive the field.
  JsonField(const nlohmann::json& value, std::string source, std::string path)
      : value_(value), source_(std::move(source)), path_(std::move(path)) {}

  [[noreturn]] void fail(std::string_view what, std::string hint = {}) const;
  [[noreturn]] void unsupported(std::string hint = {}) const;
  /// The value as JSON, shortened.
  std::string shown() const;

  const nlohmann::json& json() const { return value_; }
  bool is_null() const;
  bool is_object() const;
  bool is_string() const;
  bool is_array() const;
  size_t size() const;

  JsonField operator[](size_t index) const;
  bool has(const char* key) const;
  JsonField at(const char* key) const;
  /// An absent field reads as null.
  JsonField get(const char* key) const;

  const JsonField& object() const;
  const JsonField& array() const;
  const std::string& string() const;
  bool boolean() const;
  /// A token id; whether it is too large shows when all are counted.
  int32_t id() const;
  /// An object without other keys than these.
  void only(std::initializer_list<std::string_view> known) const;

 private:
  const JsonField& expect(bool ok, std::string_view what) const;
  std::string path_to(const char* key) const;

  const nlohmann::json& value_;
  std::string source_, path_;
};

}  // namespace fathom
