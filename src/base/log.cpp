#include "base/log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>

namespace fathom {
namespace {

struct State {
  std::mutex mutex;
  LogLevel level = LogLevel::kInfo;
  std::string status;
};

State& state() {
  static State s;
  return s;
}

bool json_wanted() {
  static const bool wanted = [] {
    const char* v = std::getenv("FATHOM_LOG");
    return v && std::string_view(v) == "json";
  }();
  return wanted;
}

const char* name_of(LogLevel level) {
  constexpr const char* names[] = {"debug", "info", "warning", "error"};
  return names[static_cast<int>(level)];
}

std::string json_string(std::string_view s) {
  std::string out = "\"";
  for (const char c : s) {
    if (c == '"' || c == '\\')
      (out += '\\') += c;
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", c);
    else
      out += c;
  }
  return out + '"';
}

std::string as_json(LogLevel level, std::string_view message,
                    std::initializer_list<LogField> fields) {
  std::string line =
      fmt::format("{{\"level\":\"{}\",\"message\":{}", name_of(level), json_string(message));
  for (const auto& [key, value] : fields)
    line += fmt::format(",{}:{}", json_string(key), json_string(value));
  return line + "}";
}

std::string as_text(LogLevel level, std::string_view message,
                    std::initializer_list<LogField> fields) {
  std::string line = level == LogLevel::kInfo ? "" : fmt::format("{}: ", name_of(level));
  line += message;
  for (const auto& [key, value] : fields) line += fmt::format(" {}={}", key, value);
  return line;
}

}  // namespace

bool stderr_is_terminal() {
  static const bool terminal = isatty(STDERR_FILENO) == 1;
  return terminal;
}

void log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  State& s = state();
  std::lock_guard lock(s.mutex);
  if (level < s.level) return;
  const std::string line =
      json_wanted() ? as_json(level, message, fields) : as_text(level, message, fields);
  if (!s.status.empty()) std::fputs("\r\x1b[K", stderr);
  std::fprintf(stderr, "%s\n", line.c_str());
  if (!s.status.empty()) std::fprintf(stderr, "%s", s.status.c_str());
  std::fflush(stderr);
}

void set_log_level(LogLevel level) {
  state().level = level;
}

void set_status_line(std::string_view line) {
  if (!stderr_is_terminal()) return;
  State& s = state();
  std::lock_guard lock(s.mutex);
  if (line.empty() && s.status.empty()) return;
  s.status = line;
  std::fprintf(stderr, "\r%s\x1b[K", s.status.c_str());
  std::fflush(stderr);
}

}  // namespace fathom
