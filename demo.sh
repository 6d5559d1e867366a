#!/usr/bin/env bash
# From a fresh Debian 12 machine to generated text: installs, builds, trains a tokenizer and a
# model of the DeepSeek-V3 architecture on real English text, and generates from it with and
# without multi-token prediction.
#   ./demo.sh                    the King James Bible, from Debian's package bible-kjv-text
#   ./demo.sh FILE [KEY=VALUE…]  your own text; keys of the training configuration, as for
#                                `fathom train --set`, e.g. train.steps=2000 model=mini
set -euo pipefail
cd "$(dirname "$0")"

text=${1:-}
[ $# -gt 0 ] && shift
if [ -n "$text" ] && [ ! -r "$text" ]; then
  echo "demo.sh: cannot read $text" >&2
  exit 2
fi
out=${FATHOM_DEMO_OUT:-out/demo}
prompt=${FATHOM_DEMO_PROMPT:-And it came to pass}
overrides=()
for pair in "$@"; do overrides+=(--set "$pair"); done

if [ -n "$text" ]; then tools/setup.sh build; else tools/setup.sh build demo; fi
tools/build.sh release fathom
fathom=build/release/apps/fathom/fathom

mkdir -p "$out"
if [ -z "$text" ]; then
  text=$out/corpus.txt
  # Every verse on a line of its own, without its number; chapters keep their headings.
  bible -l1000 ge1:1-re22:21 | sed -E 's/^ *[0-9]+ //' >"$text"
fi
echo "== Text: $text, $(wc -c <"$text") bytes"

if [ ! -d "$out/run/final" ]; then
  echo "== Tokenizer"
  "$fathom" tokenizer train --input "$text" --vocab-size 2048 --out "$out/tokenizer"
  echo "== Training (Ctrl-C stops and saves; the same command then continues)"
  "$fathom" train examples/demo.toml --out "$out/run" --resume \
    --set data.train="$(realpath "$text")" --set data.tokenizer="$(realpath "$out/tokenizer")" \
    ${overrides[@]+"${overrides[@]}"}
fi

echo "== The checkpoint"
"$fathom" inspect --model "$out/run/final"
for speculate in off mtp; do
  echo "== Generating, speculation $speculate"
  "$fathom" generate --model "$out/run/final" --prompt "$prompt" --max-new-tokens 160 \
    --temperature 0.8 --top-p 0.95 --seed 7 --speculate "$speculate"
done
echo "== Greedy decoding with and without speculation, best of three in turn"
declare -A best=([off]=0 [mtp]=0)
for round in 1 2 3; do
  for speculate in off mtp; do
    "$fathom" generate --model "$out/run/final" --prompt "$prompt" --max-new-tokens 400 \
      --ignore-eos --speculate "$speculate" --json >"$out/greedy-$speculate.json"
    rate=$(sed -n 's/.*"decode_tokens_per_s": \([0-9]*\).*/\1/p' "$out/greedy-$speculate.json")
    if [ "$rate" -gt "${best[$speculate]}" ]; then best[$speculate]=$rate; fi
  done
done
for speculate in off mtp; do echo "speculation $speculate: ${best[$speculate]} tokens/s"; done
same() { sed -n '/"ids"/,/\]/p' "$out/greedy-$1.json"; }
if [ "$(same off)" = "$(same mtp)" ]; then
  echo "the same text"
else
  echo "demo.sh: the texts differ" >&2
  exit 1
fi
