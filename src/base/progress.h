#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace fathom {

/// Progress of long work with rate and time left. On a terminal: one live line, redrawn at most ten
/// times a second, `tokenizing [#####     ] 48%  12.1 MB/s  ETA 0:07`. Elsewhere: a plain line
/// every ten seconds. Silent when the work ends within the first second.
class Progress {
 public:
  /// unit: what is counted ("step", "B"); "B" is printed as KB, MB, GB.
  Progress(std::string what, double total, std::string unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// note: free text appended to the line ("loss 3.21").
  void update(double done, std::string_view note = {});

 private:
  using Clock = std::chrono::steady_clock;
  std::string line(double done, std::string_view note) const;

  std::string what_, unit_;
  double total_;
  Clock::time_point start_, last_drawn_;
};

/// "0:07", "12:34", "3:02:11".
std::string format_duration(double seconds);
/// 1234567 B -> "1.23 MB"; decimal prefixes.
std::string format_quantity(double value, std::string_view unit);

}  // namespace fathom
