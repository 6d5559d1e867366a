#!/usr/bin/env bash
# Fails when a file under src/ includes a header of a layer above its own.
set -euo pipefail
cd "$(dirname "$0")/../src"
layers=(base numerics kernels model text checkpoint dist cluster train infer serve)
# train and infer stand side by side: neither includes the other.
status=0
for i in "${!layers[@]}"; do
  layer=${layers[$i]}
  [ -d "$layer" ] || continue
  forbidden=("${layers[@]:$((i + 1))}")
  [ "$layer" = infer ] && forbidden+=(train)
  [ "$layer" = text ] && forbidden+=(model kernels)
  [ ${#forbidden[@]} -eq 0 ] && continue
  pattern=$(IFS='|'; echo "${forbidden[*]}")
  if grep -rnE "#include \"($pattern)/" "$layer"; then
    echo "src/$layer includes a layer above it" >&2
    status=1
  fi
done
exit $status
