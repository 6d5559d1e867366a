#!/usr/bin/env bash
# Builds the libFuzzer targets and runs all for a number of seconds: tools/fuzz.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh build fuzz
tools/build.sh fuzz chat_fuzz config_fuzz expert_loads_fuzz gguf_fuzz safetensors_fuzz tokenizer_fuzz
mapfile -t fuzzers < <(find build/fuzz/tests -name '*_fuzz' -type f -executable | sort)
[ ${#fuzzers[@]} -gt 0 ] || { echo "no fuzz targets were built" >&2; exit 1; }

# All at once, each with a log of its own; a crash leaves its input beside the log.
pids=()
for fuzzer in "${fuzzers[@]}"; do
  name=$(basename "$fuzzer")
  mkdir -p "build/fuzz/corpus/$name"
  "$fuzzer" -max_total_time="${1:-60}" -rss_limit_mb=4096 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/$name-" "build/fuzz/corpus/$name" >"build/fuzz/$name.log" 2>&1 &
  pids+=($!)
done
status=0
for i in "${!fuzzers[@]}"; do
  name=$(basename "${fuzzers[$i]}")
  if wait "${pids[$i]}"; then
    echo "$name: $(grep -o 'number_of_executed_units: *[0-9]*' "build/fuzz/$name.log" | grep -o '[0-9]*$') inputs, no finding"
  else
    status=1
    tail -30 "build/fuzz/$name.log"
  fi
done
exit $status
