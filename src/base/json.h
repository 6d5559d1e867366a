#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace fathom {

/// Parses one JSON document strictly (RFC 8259): UTF-8, no duplicate names in an object, nothing
/// after the value, nesting up to max_depth. Throws Error naming `source` and the byte.
nlohmann::json parse_json(std::string_view text, const std::string& source, int max_depth = 64);

/// A value as it reads in a message: compact, at most about 60 characters, valid UTF-8.
std::string brief(const nlohmann::json& value);

}  // namespace fathom
