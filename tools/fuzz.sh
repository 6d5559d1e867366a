#!/usr/bin/env bash
# Builds the libFuzzer targets and runs each for a number of seconds: tools/fuzz.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh build fuzz
tools/build.sh fuzz
found=0
for fuzzer in $(find build/fuzz/tests -name '*_fuzz' -type f -executable | sort); do
  found=1
  name=$(basename "$fuzzer")
  echo "-- $name"
  mkdir -p "build/fuzz/corpus/$name"
  "$fuzzer" -max_total_time="${1:-60}" -rss_limit_mb=4096 -verbosity=0 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/$name-" "build/fuzz/corpus/$name" 2>&1 |
    grep -E 'stat::number_of_executed_units|ERROR|SUMMARY|crash' || true
  [ "${PIPESTATUS[0]}" -eq 0 ] || exit 1
done
[ "$found" = 1 ] || { echo "no fuzz targets were built" >&2; exit 1; }
