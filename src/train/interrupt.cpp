#include "train/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <string_view>

#include "base/error.h"

namespace fathom::train {
namespace {

// A handler reaches only globals; lock-free atomics are safe in one.
std::atomic<int> g_signal{0};
std::atomic<bool> g_installed{false};
static_assert(std::atomic<int>::is_always_lock_free);

void on_signal(int number) {
  int none = 0;
  if (!g_signal.compare_exchange_strong(none, number)) _exit(128 + number);
  constexpr std::string_view kNote =
      "\nstopping after this step and saving a checkpoint; once more to quit without\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kNote.data(), kNote.size());
}

}  // namespace

InterruptGuard::InterruptGuard() {
  FATHOM_ASSERT(!g_installed.exchange(true));
  g_signal = 0;
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

int InterruptGuard::signal_number() const {
  return g_signal;
}

}  // namespace fathom::train
