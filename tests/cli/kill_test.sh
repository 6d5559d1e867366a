#!/usr/bin/env bash
# Training that is stopped at any moment: a signal leaves a checkpoint to resume from, and kill -9
# never leaves one that loads wrongly. Usage: kill_test.sh PATH_TO_FATHOM
. "$(dirname "$0")/common.sh"
set_up

# started RUN ARGUMENTS…: trains in the background; returns when the first steps are done.
started() {
  local run=$1
  shift
  "$fathom" train run.toml --out "$run" --set train.steps=100000 "$@" >out 2>err </dev/null &
  pid=$!
  for ((i = 0; i < 500; ++i)); do
    [ -s "$run/metrics.jsonl" ] && return
    sleep 0.02
  done
  fail "training does not begin: $(tail -2 err)"
}

for signal in INT TERM; do
  started run-$signal
  kill -$signal $pid
  wait $pid
  status=$?
  [ $status -eq 130 ] || fail "SIG$signal: exit $status :: $(tail -3 err)"
  steps=$(wc -l <run-$signal/metrics.jsonl)
  checkpoint=run-$signal/checkpoints/step-$steps
  [ "$(ls run-$signal/checkpoints)" = "step-$steps" ] || fail "SIG$signal left $(ls run-$signal/checkpoints)"
  ok "$fathom" generate --model "$checkpoint" --prompt 'the cat' --max-new-tokens 4
  ok "$fathom" train run.toml --out run-$signal --resume --set train.steps=$((steps + 2))
  [ "$(wc -l <run-$signal/metrics.jsonl)" -eq $((steps + 2)) ] || fail "SIG$signal: steps lost or repeated"
done

# Every step writes a checkpoint and removes an older one: most kills fall into one of these.
for round in 1 2 3 4 5 6 7 8 9 10; do
  rm -f killed/metrics.jsonl.seen
  lines=$([ -e killed/metrics.jsonl ] && wc -l <killed/metrics.jsonl || echo 0)
  "$fathom" train run.toml --out killed --resume --set train.steps=100000 \
    --set train.checkpoint_every=1 --set train.keep_checkpoints=2 >out 2>err </dev/null &
  pid=$!
  for ((i = 0; i < 500; ++i)); do
    grep -q 'saved checkpoint' err && break
    sleep 0.02
  done
  sleep "0.0$((RANDOM % 90 + 10))"
  kill -9 $pid
  wait $pid 2>err.wait
  [ "$lines" -gt 0 ] && ! grep -q '^resuming' err && fail "round $round did not resume: $(tail -3 err)"
  grep -q 'damaged' err && fail "round $round met a damaged checkpoint: $(grep damaged err)"
  for checkpoint in killed/checkpoints/step-*; do
    case $checkpoint in *.tmp.* | *.old.*) continue ;; esac
    ok "$fathom" inspect --model "$checkpoint"
  done
done
last=$(ls killed/checkpoints | sed -n 's/^step-\([0-9]*\)$/\1/p' | sort -n | tail -1)
ok "$fathom" train run.toml --out killed --resume --set train.steps=$((last + 1))
ls killed/checkpoints | grep -q '\.' && fail "left behind: $(ls killed/checkpoints)"
[ "$(wc -l <killed/metrics.jsonl)" -eq $((last + 1)) ] || fail 'metrics of a killed run lost or repeated lines'

report
