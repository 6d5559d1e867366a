#!/usr/bin/env bash
# fathom compare: tables, JSON and picture of hand-made and of real runs, and what it refuses.
# Usage: compare_test.sh PATH_TO_FATHOM
. "$(dirname "$0")/common.sh"

# recorded DIR BATCH_TOKENS TOKENS_PER_S LOSS…: a run's metrics.
recorded() {
  local dir=$1 batch=$2 speed=$3 step=0
  shift 3
  mkdir -p "$dir"
  for loss in "$@"; do
    step=$((step + 1))
    printf '{"step":%d,"tokens":%d,"loss":%s,"tokens_per_s":%s}\n' \
      $step $((step * batch)) "$loss" "$speed"
  done >"$dir/metrics.jsonl"
}

# row DIR TEXT: the line of `out` that begins with DIR holds TEXT, spaces apart.
row() {
  tr -s ' ' <out | grep -q -- "^$1 $2" || fail "no '$1 $2' in: $(cat out)"
}

compare() {
  "$fathom" compare "$@"
}

recorded base 64 100 8 4 4 4
recorded other 64 50 8 5 4.5 4
recorded nan 64 100 8 5 null
recorded larger 128 100 8 5
printf '[train]\nsteps = 9\nseed = 1\n' >base/config.toml
printf '[train]\nsteps = 4\nseed = 2\n' >other/config.toml

ok compare base other --ema 0 --warmup 1
row base '4 of 9 4.0000 - - - - - - - no'
row other '4 4.0000 - +25.000% at 2 +0.000% +12.500% 12.500% - - no'
row other '50 0.500x - - -'
row train.seed '1 2'
grep -q 'after step 1' out || fail "the warm-up is not stated"
ok compare base other nan/ --ema 0 --warmup 1 --svg c.svg --json --curves
grep -q 'no config.toml.*run=nan' err || fail "nothing is said of the missing config.toml: $(cat err)"
json baseline ema warmup_steps runs config_differences
grep -q '</svg>' c.svg || fail 'c.svg is no SVG'
python3 - <<'PYTHON' 2>err || fail "the JSON document: $(tail -1 err)"
import json
base, other, nan = json.load(open("out"))["runs"]
assert base["largest_relative_error"] is None and base["planned_steps"] == 9
assert base["max_violation"] is None and base["curves"]["max_violation"] == []
assert other["largest_relative_error"] == 0.25 and other["largest_relative_error_step"] == 2
assert other["final_relative_error"] == 0 and other["final_relative_error_step"] == 4
assert other["mean_absolute_relative_error"] == other["mean_relative_error"] == 0.125
assert other["tokens_per_s"] == 50 and other["tokens_per_s_ratio"] == 0.5
assert other["peak_rss_bytes"] is None and not other["diverged"]
assert other["curves"]["relative_error"] == [0, 0.25, 0.125, 0]
assert nan["run"] == "nan" and nan["diverged"] and nan["final_relative_error_step"] == 2
PYTHON

# --- a run that is being written, or was killed ---
printf '{"step":5,"tok' >>other/metrics.jsonl
ok compare base other
grep -q 'unfinished.*run=other' err || fail "nothing is said of the unfinished line: $(cat err)"

# --- what is wrong ---
refuses 2 'nothing to compare' compare base
refuses 2 'runs' compare
refuses 2 '--ema' compare base other --ema 1
refuses 2 '--curves' compare base other --curves
refuses 1 'nowhere is no run' compare base nowhere
refuses 1 'no step in common after step 4' compare base other --warmup 4
refuses 1 'batch_tokens' compare base larger
refuses 1 'nowhere' compare base other --svg nowhere/c.svg
printf 'x\n' >>base/metrics.jsonl
refuses 1 'base/metrics.jsonl, line 5' compare base other

# --- runs of fathom train: finished, and stopped in the middle and resumed ---
set_up
ok "$fathom" train run.toml --out a
ok "$fathom" train run.toml --out b --set optimizer.lr=2e-3 --set train.steps=3 \
  --set optimizer.schedule.warmup_steps=1
ok compare a b --json
json runs
ok compare a b
row optimizer.lr '0.003 0.002'
row train.steps '6 3'

report
