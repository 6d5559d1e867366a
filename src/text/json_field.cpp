#include "text/json_field.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace fathom {

using Json = nlohmann::json;

void JsonField::fail(std::string_view what, std::string hint) const {
  if (hint.empty()) hint = "the file is damaged or of another kind";
  const std::string place = path_.empty() ? source_ : fmt::format("{}: {}", source_, path_);
  throw Error(fmt::format("{}: {}", place, what), std::move(hint));
}

void JsonField::unsupported(std::string hint) const {
  if (hint.empty()) hint = "Fathom reads byte-level BPE tokenizers of the DeepSeek kind";
  fail(fmt::format("{} is not supported", shown()), std::move(hint));
}

std::string JsonField::shown() const {
  std::string text = value_.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

bool JsonField::is_null() const {
  return value_.is_null();
}
bool JsonField::is_object() const {
  return value_.is_object();
}
bool JsonField::is_string() const {
  return value_.is_string();
}
bool JsonField::is_array() const {
  return value_.is_array();
}
size_t JsonField::size() const {
  return value_.size();
}

std::string JsonField::path_to(const char* key) const {
  return path_.empty() ? key : fmt::format("{}.{}", path_, key);
}

JsonField JsonField::operator[](size_t index) const {
  return {value_[index], source_, fmt::format("{}[{}]", path_, index)};
}

bool JsonField::has(const char* key) const {
  return value_.is_object() && value_.contains(key);
}

JsonField JsonField::at(const char* key) const {
  object();
  if (!value_.contains(key)) JsonField(value_, source_, path_to(key)).fail("missing");
  return {value_[key], source_, path_to(key)};
}

JsonField JsonField::get(const char* key) const {
  static const Json null;
  if (has(key)) return at(key);
  return {null, source_, path_to(key)};
}

const JsonField& JsonField::object() const {
  return expect(value_.is_object(), "an object");
}

const JsonField& JsonField::array() const {
  return expect(value_.is_array(), "a list");
}

const std::string& JsonField::string() const {
  expect(value_.is_string(), "a string");
  return value_.get_ref<const std::string&>();
}

bool JsonField::boolean() const {
  expect(value_.is_boolean(), "true or false");
  return value_.get<bool>();
}

int32_t JsonField::id() const {
  expect(value_.is_number_unsigned() && value_.get<uint64_t>() < INT32_MAX, "a token id");
  return value_.get<int32_t>();
}

void JsonField::only(std::initializer_list<std::string_view> known) const {
  for (const auto& [key, value] : object().value_.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    JsonField(value, source_, path_to(key.c_str()))
        .fail("unknown field", fmt::format("known here: {}", fmt::join(known, ", ")));
  }
}

const JsonField& JsonField::expect(bool ok, std::string_view what) const {
  if (!ok) fail(fmt::format("expected {}, found {}", what, shown()));
  return *this;
}

}  // namespace fathom
