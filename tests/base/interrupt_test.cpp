#include "base/interrupt.h"

#include <gtest/gtest.h>

#include <csignal>

namespace fathom {
namespace {

TEST(InterruptGuard, TheFirstSignalOnlyAsks) {
  for (const int signal : {SIGINT, SIGTERM}) {
    InterruptGuard guard;
    EXPECT_FALSE(guard.requested());
    raise(signal);
    EXPECT_TRUE(guard.requested());
    EXPECT_EQ(guard.signal_number(), signal);
  }
  InterruptGuard fresh;
  EXPECT_FALSE(fresh.requested());
}

TEST(InterruptGuard, PreviousHandlersComeBack) {
  struct sigaction before {
  }, after{};
  sigaction(SIGINT, nullptr, &before);
  { InterruptGuard guard; }
  sigaction(SIGINT, nullptr, &after);
  EXPECT_EQ(before.sa_handler, after.sa_handler);
}

TEST(InterruptGuardDeathTest, TheSecondSignalEndsTheProcess) {
  EXPECT_EXIT(
      {
        InterruptGuard guard("stopping soon");
        raise(SIGINT);
        raise(SIGINT);
      },
      testing::ExitedWithCode(128 + SIGINT), "stopping soon");
}

}  // namespace
}  // namespace fathom
