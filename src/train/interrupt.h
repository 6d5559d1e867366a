#pragma once

#include <signal.h>

namespace fathom::train {

/// While one lives, the first SIGINT or SIGTERM only asks for a stop, which the training loop looks
/// for at the end of each step; a second one ends the process at once with 128 + signal. The
/// previous handlers come back on destruction. One at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  bool requested() const { return signal_number() != 0; }
  /// SIGINT, SIGTERM, or 0.
  int signal_number() const;

 private:
  struct sigaction previous_int_ {
  }, previous_term_{};
};

}  // namespace fathom::train
