#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace fathom {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

/// One key and its value, already printed: {"step", fmt::to_string(step)}.
using LogField = std::pair<std::string_view, std::string>;

/// Writes one line to standard error: a message and its fields, `saved checkpoint path=… step=100`.
/// With FATHOM_LOG=json in the environment a line is a JSON object instead. Thread-safe; a progress
/// line on the terminal is cleared first and redrawn after.
void log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});
inline void log_info(std::string_view m, std::initializer_list<LogField> f = {}) {
  log(LogLevel::kInfo, m, f);
}
inline void log_warning(std::string_view m, std::initializer_list<LogField> f = {}) {
  log(LogLevel::kWarning, m, f);
}

/// Lines below this level are dropped. Default kInfo.
void set_log_level(LogLevel level);

/// The single line at the bottom of the terminal that log() keeps whole; empty removes it. Does
/// nothing when standard error is not a terminal.
void set_status_line(std::string_view line);
bool stderr_is_terminal();

}  // namespace fathom
