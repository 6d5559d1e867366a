#!/usr/bin/env bash
# Compares Fathom live with PyTorch, transformers and tokenizers, on fresh random cases each time.
# They are installed into .venv from PyPI on first use.
#   tools/compare.sh [--quick]
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh build test oracle
preset=release
[ -x build/ci/apps/fathom/fathom ] && preset=ci
tools/build.sh "$preset" fathom config_test safetensors_test
if ! cmp -s tests/oracle/requirements.txt .venv/requirements.txt; then
  python3 -m venv .venv
  .venv/bin/pip install -q --disable-pip-version-check -r tests/oracle/requirements.txt
  cp tests/oracle/requirements.txt .venv/requirements.txt
fi
python=.venv/bin/python
fathom=build/$preset/apps/fathom/fathom
tests=build/$preset/tests
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

$python tests/oracle/compare.py --fathom "$fathom" "$@"
$python tests/oracle/compare_stored.py --fathom "$fathom"
$python tests/oracle/compare_generate.py --fathom "$fathom" "$@"
$python tests/oracle/train_loop.py --fathom "$fathom" --keep-run "$work/run"
$python tests/oracle/check_tensorboard.py "$work/run"
for tokenizer in "${FATHOM_V3_TOKENIZER:-../shared/data/deepseek-v3-tokenizer}" \
  tests/fixtures/tokenizer/small tests/fixtures/tokenizer/tiktoken; do
  [ -d "$tokenizer" ] || continue
  $python tests/oracle/compare_tokenizer.py --fathom "$fathom" --tokenizer "$tokenizer"
done
$python tests/oracle/compare_tokenizer.py --fathom "$fathom" # tiktoken, with ranks of its own
$python tests/oracle/compare_chat_template.py --fathom "$fathom"
# Files that the tests write, read back by transformers and the safetensors library.
for kind in config:model/config_test checkpoint:checkpoint/safetensors_test; do
  mkdir "$work/${kind%%:*}"
  FATHOM_WRITE_FIXTURES="$work/${kind%%:*}" "$tests/${kind#*:}" >/dev/null
  $python "tests/oracle/make_${kind%%:*}_fixtures.py" --check "$work/${kind%%:*}"
done
