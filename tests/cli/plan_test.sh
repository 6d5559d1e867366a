#!/usr/bin/env bash
# fathom plan kv-cache, flops, memory, train, decode, prefill and search: the published tables from
# the command line, and what is refused. Usage: plan_test.sh PATH_TO_FATHOM
. "$(dirname "$0")/common.sh"

plan() {
  "$fathom" plan "$@"
}
v3=(--model deepseek-v3 --hardware h800)

# near KEY VALUE SHARE: `out` is JSON whose KEY is within that share of VALUE.
near() {
  command -v python3 >/dev/null || return 0
  python3 - "$@" 2>err <<'PY' || fail "$1 is not within $3 of $2: $(tail -1 err)"
import json, sys
value = json.load(open("out"))[sys.argv[1]]
expected, share = float(sys.argv[2]), float(sys.argv[3])
assert abs(value - expected) <= share * expected, value
PY
}

# --- the published tables ---
ok plan kv-cache --model deepseek-v3 --json
near kv_bytes_per_token 70272 0
ok plan kv-cache --model llama-3.1-405b --json
near kv_bytes_per_token 516096 0
ok plan kv-cache --model deepseek-v3 --model qwen-2.5-72b --model llama-3.1-405b
grep -q '70.272 KB' out && grep -q '327.68 KB' out || fail "no Table 1 in: $(cat out)"
ok plan flops --model deepseek-v3 --json
near training_flops_causal 250e9 0.02
ok plan flops --model llama-3.1-405b --json
near training_flops_classic 2448e9 0.02
ok plan decode "${v3[@]}" --network-limit --set model.hidden=7000 --json
near communication_s 120.96e-6 1e-6
near tpot_s 14.76e-3 0.001
ok plan decode --model deepseek-v3 --hardware gb200-nvl72 --network-limit --fabric nvlink \
  --set model.hidden=7000 --json
near tpot_s 0.82e-3 0.01
ok plan decode "${v3[@]}" --batch 88 --json
near tokens_per_s_node 14800 0.15
near user_tokens_per_s 21 0.15
ok plan prefill "${v3[@]}" --cache-hit 0.563 --json
near tokens_per_s_node 73700 0.15
ok plan train "${v3[@]}" --other-gpu-hours 124e3 --json
near step_s 19.926 0.05
near mfu_causal 0.3894 0.05
near mfu_non_causal 0.4373 0.05
near tokens_per_day 272.8e9 0.03
near gpu_hours_per_trillion_tokens 180e3 0.03
near cost 5.576e6 0.03
ok plan train "${v3[@]}" --expert-imbalance 1 --json
near step_s 19.048 0.0001
ok plan train "${v3[@]}" --phases 1F=1.13,1B=1.99,1W=0.48,1F1B=13.95 --other-gpu-hours 124e3 --json
near step_s 19.926 0.05
near tokens_per_day 272.8e9 0.03
near gpu_hours_per_trillion_tokens 180e3 0.03
near cost 5.576e6 0.03
ok plan memory "${v3[@]}" --json
near total_gib 60 0.25

# --- readable, explained, drawn ---
ok plan train "${v3[@]}" --explain --svg step.svg
grep -q '  = ' out && grep -q '^assumptions:' out || fail "nothing explained: $(head -5 out)"
grep -q "busiest GPU's experts: 1.1 times the mean" out || fail "no imbalance in: $(cat out)"
grep -q 'of experts 1.1 x 8 routed + 1 shared' out || fail "no imbalance explained: $(cat out)"
ok plan memory "${v3[@]}" --svg memory.svg
ok plan search "${v3[@]}" --max-tp 1 --schedule dualpipe --svg search.svg --json
json feasible pareto assumptions
ok plan kv-cache --model deepseek-v3 --model qwen-2.5-72b --svg kv-cache.svg
ok plan flops --model deepseek-v3 --svg flops.svg
ok plan decode "${v3[@]}" --svg decode.svg
ok plan prefill "${v3[@]}" --svg prefill.svg
for picture in step memory search kv-cache flops decode prefill; do
  grep -q '</svg>' $picture.svg || fail "$picture.svg is no SVG"
done

ok plan search "${v3[@]}" --max-tp 2 --schedule dualpipe,zb1p --threads 2 --json
cp out two
ok plan search "${v3[@]}" --max-tp 2 --schedule dualpipe,zb1p --threads 1 --json
cmp -s out two || fail "a search depends on its threads"

# --- what-if and hardware of one's own ---
ok plan decode "${v3[@]}" --network-limit --set h800.nic_gb_s=100 --set model.hidden=7000 --json
near communication_s 60.48e-6 1e-6
printf '[gpu.mine]\nnic_gb_s = { value = 25, source = "label" }\n' >mine.toml
ok plan decode --model deepseek-v3 --hardware mine.toml --network-limit --json
near communication_s 247.7e-6 0.001

# --- refused ---
refuses 1 "nearest is 'h800'" plan memory --model deepseek-v3 --hardware h80
refuses 1 "nearest is 'deepseek-v3'" plan flops --model deepseek-v33
refuses 1 'out of range' plan train "${v3[@]}" --set h800.price_per_gpu_hour=-1
refuses 2 'no influence' plan memory "${v3[@]}" --set h800.price_per_gpu_hour=3
refuses 2 'no influence' plan kv-cache --model deepseek-v3 --set h800.nic_gb_s=3
refuses 2 '--gpus' plan kv-cache --model deepseek-v3 --gpus 8
refuses 2 '--batch' plan decode "${v3[@]}" --network-limit --batch 3
refuses 2 '--expert-imbalance has no influence' plan prefill --model llama-3.1-8b --hardware h800 \
  --ep 1 --redundant-experts 0 --expert-imbalance 2
refuses 2 '--svg' plan decode "${v3[@]}" --network-limit --svg limit.svg
refuses 2 '1F1B' plan train "${v3[@]}" --phases 1F=1
refuses 2 '--phases' plan train "${v3[@]}" --expert-imbalance 1.2 \
  --phases 1F=1.13,1B=1.99,1W=0.48,1F1B=13.95
refuses 2 '--expert-imbalance has no influence: EP 1' plan train "${v3[@]}" --ep 1 \
  --expert-imbalance 1.2
refuses 2 '--expert-imbalance has no influence: llama' plan train --model llama-3.1-8b \
  --hardware h800 --ep 1 --expert-imbalance 1.2
refuses 2 '--expert-imbalance has no influence: llama' plan search --model llama-3.1-8b \
  --hardware h800 --expert-imbalance 1.2
refuses 2 '--expert-imbalance' plan train "${v3[@]}" --expert-imbalance 0.9
refuses 1 'nearest is 64' plan memory "${v3[@]}" --ep 60
refuses 1 'nearest is 15360' plan train "${v3[@]}" --batch 15361
printf '[gpu.x]\nnic_gb_s = { value = 25 }\n' >bad.toml
refuses 1 'no source' plan decode --model deepseek-v3 --hardware bad.toml --network-limit

report
