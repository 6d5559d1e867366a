#include "base/json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

#include "base/error.h"

namespace fathom {
namespace {

using nlohmann::json;

[[noreturn]] void fail(const std::string& source, const std::string& what) {
  throw Error(fmt::format("{}: not valid JSON: {}", source, what),
              "the file is damaged or of another format: get it again");
}

/// Follows the parser's events and throws on what nlohmann::json would let pass: the last of two
/// equal names wins there, and nesting is unlimited.
class Strictness {
 public:
  Strictness(const std::string& source, int max_depth) : source_(source), max_depth_(max_depth) {}

  void on(json::parse_event_t event, const json& parsed) {
    using Event = json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) enter();
    if (event == Event::object_end || event == Event::array_end) names_.pop_back();
    if (event == Event::key) add_name(parsed.get_ref<const std::string&>());
  }

 private:
  void enter() {
    names_.emplace_back();
    if (static_cast<int>(names_.size()) > max_depth_) {
      fail(source_, fmt::format("nested deeper than {} levels", max_depth_));
    }
  }
  void add_name(const std::string& name) {
    if (!names_.back().insert(name).second) {
      fail(source_, fmt::format("the name {} occurs twice in one object", brief(name)));
    }
  }

  const std::string& source_;
  int max_depth_;
  std::vector<std::unordered_set<std::string>> names_;
};

/// nlohmann's messages quote the offending bytes: keep what a terminal can show.
std::string printable(std::string text) {
  for (char& c : text) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return text;
}

}  // namespace

json parse_json(std::string_view text, const std::string& source, int max_depth) {
  Strictness strictness(source, max_depth);
  try {
    return json::parse(text.begin(), text.end(), [&](int, json::parse_event_t event, json& parsed) {
      strictness.on(event, parsed);
      return true;
    });
  } catch (const json::parse_error& e) {
    fail(source, fmt::format("byte {}: {}", e.byte, printable(e.what())));
  } catch (const json::exception& e) {
    fail(source, printable(e.what()));
  }
}

std::string brief(const json& value) {
  constexpr size_t kLongest = 60;
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "…";
  return text;
}

}  // namespace fathom
