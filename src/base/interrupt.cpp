#include "base/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <cstring>

#include "base/error.h"

namespace fathom {
namespace {

// A handler reaches only globals; lock-free atomics are safe in one.
std::atomic<int> g_signal{0};
std::atomic<bool> g_installed{false};
std::atomic<const char*> g_note{nullptr};
static_assert(std::atomic<int>::is_always_lock_free);
static_assert(std::atomic<const char*>::is_always_lock_free);

void on_signal(int number) {
  int none = 0;
  if (!g_signal.compare_exchange_strong(none, number)) _exit(128 + number);
  const char* note = g_note;
  if (!note) return;
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, note, std::strlen(note));
}

}  // namespace

InterruptGuard::InterruptGuard(const char* note) {
  FATHOM_ASSERT(!g_installed.exchange(true));
  g_signal = 0;
  g_note = note;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &previous_int_);
  sigaction(SIGTERM, &action, &previous_term_);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &previous_int_, nullptr);
  sigaction(SIGTERM, &previous_term_, nullptr);
  g_installed = false;
}

void InterruptGuard::throw_if_requested() const {
  if (requested()) throw Interrupted{signal_number()};
}

int InterruptGuard::signal_number() const {
  return g_signal;
}

}  // namespace fathom
