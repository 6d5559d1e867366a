#include "report.h"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace fathom::app {
namespace {
using Json = nlohmann::ordered_json;
}  // namespace

struct Report::Data {
  Json json = Json::object();
  std::vector<std::pair<std::string, std::string>> lines;  // key, what a person reads
};

Report::Report() : data_(std::make_unique<Data>()) {}
Report::~Report() = default;
Report::Report(Report&&) noexcept = default;
Report& Report::operator=(Report&&) noexcept = default;

void Report::add(std::string_view key, double value, std::string_view text) {
  data_->json[key] = value;
  data_->lines.emplace_back(key, text.empty() ? fmt::format("{:.6g}", value) : std::string(text));
}

void Report::add(std::string_view key, int64_t value, std::string_view text) {
  data_->json[key] = value;
  data_->lines.emplace_back(key, text.empty() ? fmt::to_string(value) : std::string(text));
}

void Report::add(std::string_view key, std::string_view value) {
  data_->json[key] = value;
  data_->lines.emplace_back(key, value);
}

void Report::add_flag(std::string_view key, bool value) {
  data_->json[key] = value;
  data_->lines.emplace_back(key, value ? "yes" : "no");
}

void Report::add(std::string_view key, const std::vector<std::string>& values) {
  data_->json[key] = values;
  data_->lines.emplace_back(key, fmt::format("{}", fmt::join(values, " ")));
}

void Report::add(std::string_view key, const std::vector<int32_t>& values) {
  data_->json[key] = values;
  data_->lines.emplace_back(key, fmt::format("{}", fmt::join(values, " ")));
}

void Report::add(std::string_view key, const std::vector<double>& values) {
  data_->json[key] = values;
  data_->lines.emplace_back(key, fmt::format("{:.6g}", fmt::join(values, " ")));
}

void Report::add(std::string_view key, const Report& value) {
  data_->json[key] = value.data_->json;
  data_->lines.emplace_back(key, "\n" + value.lines("  "));
}

void Report::add(std::string_view key, const std::vector<Report>& values) {
  Json list = Json::array();
  std::string text;
  for (const Report& r : values) {
    list.push_back(r.data_->json);
    text += "\n" + r.lines("  ");
  }
  data_->json[key] = std::move(list);
  data_->lines.emplace_back(key, text);
}

namespace {

// A nested report's lines begin where their parent's do.
std::string indented(const std::string& text, const std::string& indent) {
  std::string out;
  for (const char c : text) out += c == '\n' ? "\n" + indent : std::string(1, c);
  return out;
}

}  // namespace

std::string Report::lines(const std::string& indent) const {
  size_t width = 0;
  for (const auto& [key, value] : data_->lines) width = std::max(width, key.size());
  std::string out;
  for (const auto& [key, value] : data_->lines)
    out += fmt::format("{}{}{:<{}}  {}", out.empty() ? "" : "\n", indent, key, width,
                       indented(value, indent));
  return out;
}

void Report::print_aside() const {
  fmt::print(stderr, "{}\n", lines(""));
}

void Report::print(bool json) const {
  // Invalid UTF-8 (a cut-off character of generated text) must not stop the report.
  const std::string text =
      json ? data_->json.dump(2, ' ', false, Json::error_handler_t::replace) : lines("");
  if (std::puts(text.c_str()) == EOF || std::fflush(stdout) != 0)
    throw_errno("cannot write to standard output");
}

}  // namespace fathom::app
