#pragma once

#include <signal.h>

namespace fathom {

/// Thrown by work that a signal ended; not an Error: there is nothing to explain.
struct Interrupted {
  int signal_number;
  int exit_status() const { return 128 + signal_number; }
};

/// While one lives, the first SIGINT or SIGTERM only asks for a stop, which the work looks for
/// between its steps; a second one ends the process at once with 128 + signal. The previous
/// handlers come back on destruction. One at a time.
class InterruptGuard {
 public:
  /// note: what the first signal prints to standard error; a literal, or null for nothing.
  explicit InterruptGuard(const char* note = nullptr);
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  bool requested() const { return signal_number() != 0; }
  /// Throws Interrupted once a stop was asked for.
  void throw_if_requested() const;
  /// SIGINT, SIGTERM, or 0.
  int signal_number() const;

 private:
  struct sigaction previous_int_ {
  }, previous_term_{};
};

}  // namespace fathom
