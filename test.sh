#!/usr/bin/env bash
# Everything from a fresh Debian 12 machine to all tests passed: installs, builds, tests.
#   ./test.sh [PRESET] [CTEST OPTIONS…]     PRESET: release (default), ci, asan, tsan, debug
set -euo pipefail
cd "$(dirname "$0")"
preset=release
if [ $# -gt 0 ] && [[ $1 != -* ]]; then
  preset=$1
  shift
fi
tools/setup.sh build test
tools/build.sh "$preset"
ctest --test-dir "build/$preset" --output-on-failure "$@"
