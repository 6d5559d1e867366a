#include "base/progress.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"

namespace fathom {
namespace {

constexpr auto kTerminalInterval = std::chrono::milliseconds(100);
constexpr auto kPlainInterval = std::chrono::seconds(10);
constexpr auto kQuietStart = std::chrono::seconds(1);

}  // namespace

std::string format_duration(double seconds) {
  const auto s = static_cast<int64_t>(std::max(0.0, seconds) + 0.5);
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

std::string format_quantity(double value, std::string_view unit) {
  constexpr const char* prefixes[] = {"", "K", "M", "G", "T"};
  int p = 0;
  while (value >= 1000 && p < 4) {
    value /= 1000;
    ++p;
  }
  return fmt::format("{:.{}f} {}{}", value,
                     value < 10    ? 2
                     : value < 100 ? 1
                                   : 0,
                     prefixes[p], unit);
}

Progress::Progress(std::string what, double total, std::string unit)
    : what_(std::move(what)),
      unit_(std::move(unit)),
      total_(total),
      start_(Clock::now()),
      last_drawn_(start_) {}

Progress::~Progress() {
  set_status_line({});
}

std::string Progress::line(double done, std::string_view note) const {
  const double elapsed = std::chrono::duration<double>(Clock::now() - start_).count();
  const double share = total_ > 0 ? std::min(1.0, done / total_) : 1.0;
  const double rate = elapsed > 0 ? done / elapsed : 0;
  constexpr int kWidth = 20;
  const int filled = static_cast<int>(share * kWidth);
  std::string bar = std::string(filled, '#') + std::string(kWidth - filled, ' ');
  std::string text =
      fmt::format("{} [{}] {:3.0f}%  {}/s", what_, bar, share * 100, format_quantity(rate, unit_));
  if (rate > 0) text += fmt::format("  ETA {}", format_duration((total_ - done) / rate));
  if (!note.empty()) text += fmt::format("  {}", note);
  return text;
}

void Progress::update(double done, std::string_view note) {
  const auto now = Clock::now();
  if (now - start_ < kQuietStart) return;
  const bool terminal = stderr_is_terminal();
  if (now - last_drawn_ < (terminal ? Clock::duration(kTerminalInterval) : kPlainInterval)) return;
  last_drawn_ = now;
  if (terminal)
    set_status_line(line(done, note));
  else
    log_info(line(done, note));
}

}  // namespace fathom
