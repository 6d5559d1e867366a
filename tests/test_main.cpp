// main() of every test program. A forced instruction set that the machine lacks skips the program.
#include <gtest/gtest.h>

#include <cstdio>

#include "base/cpu.h"
#include "base/error.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  try {
    fathom::active_isa();
  } catch (const fathom::Error& e) {
    std::printf("skipped: %s\n", e.what());
    return 77;
  }
  return RUN_ALL_TESTS();
}
