#!/usr/bin/env bash
# Every family of `fathom bench`, at sizes of milliseconds: what it prints and what it refuses.
# No timing is asserted. Usage: bench_test.sh PATH_TO_FATHOM
. "$(dirname "$0")/common.sh"
small_config >config.json
quick=(--seconds 0.01)

# cases COUNT FIELD…: `out` has so many cases, each with the fields that every case has and these.
cases() {
  command -v python3 >/dev/null || return 0
  python3 - "$@" <<'PYTHON' 2>err || fail "cases $*: $(head -c 400 out; tail -1 err)"
import json, sys
document = json.load(open("out"))
cases = document["cases"]
assert len(cases) == int(sys.argv[1]), f"{len(cases)} cases"
assert document["threads"] > 0 and document["isa"]
for case in cases:
    for field in ["name", "shape", *sys.argv[2:]]:
        assert field in case, f"{field} is missing"
    rate = case.get("tflops", case.get("gb_s"))
    for value in (case["seconds"], rate, case["roof"], case["share_of_roof"]):
        assert value > 0, case
    assert ("tflops" in case) != ("gb_s" in case)
    assert abs(rate / case["roof"] / case["share_of_roof"] - 1) < 1e-6, case
PYTHON
}

for dtype in bf16 fp32 e4m3; do
  for layout in nt nn tn; do
    ok "$fathom" bench gemm --m 33 --n 65 --k 129 --dtype $dtype --layout $layout "${quick[@]}" --json
    cases 1 tflops
    ok "$fathom" bench grouped-gemm --experts 5 --rows 70 --n 64 --k 128 --dtype $dtype \
      --layout $layout "${quick[@]}" --json
    cases 1 baseline baseline_seconds baseline_ratio
  done
  ok "$fathom" bench few-rows --m 1,3 --n 256 --k 256 --total-mb 1 --dtype $dtype "${quick[@]}" --json
  cases 2
done
for skew in balanced one; do
  ok "$fathom" bench grouped-gemm --experts 4 --rows 16 --n 64 --k 64 --skew $skew "${quick[@]}" --json
  cases 1
done
ok "$fathom" bench gemm --shapes 64x64x64,1x2x3 "${quick[@]}" --json
cases 2
ok "$fathom" bench gemm --model config.json --tokens 8,16 "${quick[@]}" --json
cases 12
ok "$fathom" bench attention --tokens 17,32 --heads 2 --nope 16 --rope 8 --v 16 --sequences 2 \
  "${quick[@]}" --json
cases 4 tflops
ok "$fathom" bench attention --tokens 32 --heads 2 --pass backward --dtype fp32 "${quick[@]}" --json
cases 1
ok "$fathom" bench decode-attention --cache 64,100 --heads 4 --queries 2 "${quick[@]}" --json
cases 2
for dtype in fp32 e4m3; do
  ok "$fathom" bench decode-attention --cache 64 --heads 4 --dtype $dtype "${quick[@]}" --json
  cases 1
done
ok "$fathom" bench quantize --rows 130 --cols 200 "${quick[@]}" --json
cases 5 gb_s
ok "$fathom" bench ops --tokens 16 --dim 64 "${quick[@]}" --json
cases 7 gb_s
ok "$fathom" bench ops --tokens 16 --dim 64 --only rmsnorm,adamw --dtype fp32 "${quick[@]}" --json
cases 2
for threads in 1 2; do
  ok "$fathom" bench memory --threads $threads "${quick[@]}" --json
  cases $((3 * threads)) gb_s
done
ok "$fathom" bench train --model config.json --seq-len 16 --micro-batch 2 "${quick[@]}" --json
cases 1 tflops parameters active_parameters tokens_per_s activation_bytes
ok "$fathom" bench prefill --model config.json --tokens 8,24 "${quick[@]}" --json
cases 2 tokens_per_s
ok "$fathom" bench prefill --model config.json --tokens 30 --batch 1,3 --cache-dtype fp8 "${quick[@]}" --json
cases 2 tokens_per_s cache_bytes workspace_bytes
ok "$fathom" bench decode --model config.json --prompt 8 --new-tokens 4 "${quick[@]}" --json
cases 1 gb_s tokens_per_s bytes_per_token
ok "$fathom" bench decode --model config.json --prompt 8,20 --batch 1,3 --new-tokens 4 --cache-dtype fp8 \
  "${quick[@]}" --json
cases 4 tokens_per_s bytes_per_step bytes_per_token cache_bytes workspace_bytes
# With the weights of a checkpoint, as they are stored: fewer bytes than random ones in BF16.
ok "$fathom" init --model config.json --out stored --dtype fp8
ok "$fathom" bench prefill --model stored --tokens 8 "${quick[@]}" --json
cases 1 tokens_per_s peak_bytes
ok "$fathom" bench decode --model stored --prompt 8 --new-tokens 4 "${quick[@]}" --json
cases 1 tokens_per_s peak_bytes bytes_per_step

# --- the accumulator of FP8 tensor cores: errors, not speed ---
ok "$fathom" bench accumulator --m 16 --n 24 --intervals 0,128,32 --svg a.svg --json
grep -q '</svg>' a.svg || fail 'a.svg is no SVG'
python3 - <<'PYTHON' 2>err || fail "the errors of accumulators: $(tail -1 err)"
import json
cases = json.load(open("out"))["cases"]
assert [c["inputs"] for c in cases] == 4 * ["normal"] + 4 * ["uniform"]
for sums in cases[:4], cases[4:]:
    assert [c.get("promotion_interval") for c in sums] == [None, 0, 128, 32]
    fp32, never, at_128, at_32 = [c["accumulation"]["max_error"] for c in sums]
    assert never > 5 * at_128 and at_128 > at_32 and at_32 > 10 * fp32, sums
    assert fp32 < 1e-5 and 0.003 < never < 0.1, sums
    # FP8 rounds the inputs either way; truncation makes results smaller.
    assert all(c["with_quantization"]["max_error"] > 1e-3 for c in sums)
    assert sums[1]["accumulation"]["bias"] < 0
PYTHON
ok "$fathom" bench accumulator --m 3 --n 5 --k 40 --bits 10 --group 8 --intervals 8,256 --inputs symmetric
grep -q 'symmetric  *emulated, N_C 256' out || fail "the row reads: $(cat out)"
refuses 2 '--intervals 96' "$fathom" bench accumulator --intervals 96
refuses 2 '--group 24' "$fathom" bench accumulator --group 24
refuses 2 '--inputs' "$fathom" bench accumulator --inputs cauchy
refuses 1 'nowhere' "$fathom" bench accumulator --m 1 --n 1 --svg nowhere/a.svg
refuses 1 'GiB' "$fathom" bench accumulator --m 1000000 --n 1000000

# --- text ---
ok "$fathom" bench gemm --m 64 --n 64 --k 64 "${quick[@]}"
grep -q '64x64x64 nt bf16 .* TFLOP/s  of .*%' out || fail "the row reads: $(cat out)"

# --- doctor ---
ok "$fathom" doctor --model config.json --json
json read_gb_s read_gb_s_1_thread bf16_tflops fp32_tflops peaks threads isa_active cores smt \
  numa_nodes huge_pages memory_available_bytes fork_join_seconds predicted_decode_tokens_per_s

# --- what is wrong on the command line ---
refuses 2 '--shapes' "$fathom" bench gemm --shapes 64x64
refuses 2 '--shapes' "$fathom" bench gemm --shapes 64x0x64
refuses 2 '--shapes' "$fathom" bench gemm --shapes 64x64x64x64
refuses 2 '--k' "$fathom" bench gemm --m 64 --n 64
refuses 2 '--layout' "$fathom" bench gemm --layout tt
refuses 2 '--dtype' "$fathom" bench attention --dtype e4m3
refuses 2 'no operation' "$fathom" bench ops --only gelu
refuses 2 '--seconds' "$fathom" bench memory --seconds 0
refuses 2 '--m' "$fathom" bench few-rows --m 17
refuses 2 '--cache' "$fathom" bench decode-attention --cache 4 --queries 5
refuses 2 '' "$fathom" bench
refuses 2 'gem' "$fathom" bench gem
refuses 1 'nowhere' "$fathom" bench gemm --model nowhere
refuses 1 'GiB' "$fathom" bench gemm --m 1000000 --n 1000000 --k 1000000

# --- a peer that is not there ---
refuses 1 "cannot run '/nowhere/python'" "$fathom" bench gemm --peer /nowhere/python
printf '#!/bin/sh\nprintf "{\\"error\\": \\"No module named torch\\"}\\n"\nexit 1\n' >no_torch
chmod +x no_torch
refuses 1 'has no PyTorch: No module named torch' "$fathom" bench gemm --peer ./no_torch
refuses 1 'the Python process has ended' "$fathom" bench gemm --peer true
refuses 1 'has no PyTorch' "$fathom" bench gemm --peer echo

# --- a peer that is, where this Python has PyTorch ---
if [ -n "${FATHOM_TEST_PEER:-}" ]; then
  peer=(--peer "$FATHOM_TEST_PEER" "${quick[@]}" --json)
  for layout in nt nn tn; do
    ok "$fathom" bench gemm --shapes 64x64x64,8x32x16 --layout $layout "${peer[@]}"
    cases 2 peer peer_seconds peer_ratio
    json geometric_mean_peer_ratio
    ok "$fathom" bench grouped-gemm --experts 4 --rows 64 --n 64 --k 64 --layout $layout "${peer[@]}"
    cases 1 peer peer_seconds peer_ratio baseline
  done
  ok "$fathom" bench few-rows --m 1 --n 256 --k 256 --total-mb 1 "${peer[@]}"
  cases 1 peer_ratio
  ok "$fathom" bench attention --tokens 32 --heads 2 "${peer[@]}"
  cases 2 peer_ratio
  ok "$fathom" bench decode-attention --cache 64 --heads 2 "${peer[@]}"
  cases 1 peer_ratio
  ok "$fathom" bench ops --tokens 16 --dim 64 --only rmsnorm,swiglu "${peer[@]}"
  cases 2 peer_ratio
fi

# --- Ctrl-C prints what was measured ---
"$fathom" bench gemm --shapes 32x32x32,64x64x64 --seconds 2 --json >out 2>err </dev/null &
pid=$!
sleep 1
kill -INT $pid
wait $pid
status=$?
[ $status -eq 130 ] || fail "interrupted: exit $status :: $(tail -3 err)"
cases 1 tflops

report
