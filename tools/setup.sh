#!/usr/bin/env bash
# Installs what is missing of the named groups of Debian 12 packages:
#   tools/setup.sh build [test] [demo] [fuzz] [oracle] [lint] [crosscheck]
# As root, or with sudo; without the right to install, names the packages and stops.
set -euo pipefail

declare -A groups=(
  [build]="g++ cmake ninja-build pkg-config ccache libfmt-dev nlohmann-json3-dev libcli11-dev
           libtomlplusplus-dev libxxhash-dev libedit-dev"
  [test]="libgtest-dev"
  [bench]="libbenchmark-dev"
  [demo]="bible-kjv bible-kjv-text"
  [fuzz]="clang libclang-rt-14-dev"
  [oracle]="python3 python3-venv"
  [lint]="clang-format clang-tidy"
  [crosscheck]="libsimgrid-dev libns3-dev"
)

missing=()
for group in "$@"; do
  for package in ${groups[$group]:?unknown group $group}; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
      missing+=("$package")
  done
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null || ! { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    echo "These Debian packages are missing, and there is no right to install them here:" >&2
    echo "  apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "Installing ${missing[*]}" >&2
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
  "${missing[@]}" >/dev/null
