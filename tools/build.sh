#!/usr/bin/env bash
# Configures and builds a preset: tools/build.sh PRESET [TARGET…]
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
shift
cmake --preset "$preset" >"${TMPDIR:-/tmp}/fathom-configure.$$" 2>&1 || {
  cat "${TMPDIR:-/tmp}/fathom-configure.$$" >&2
  exit 1
}
rm -f "${TMPDIR:-/tmp}/fathom-configure.$$"
# With ccache, another checkout of the same files finds what this one compiled.
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$PWD} CCACHE_NOHASHDIR=${CCACHE_NOHASHDIR:-1}
cmake --build --preset "$preset" ${*:+--target "$@"}
