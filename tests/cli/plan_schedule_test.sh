#!/usr/bin/env bash
# fathom plan schedule and fathom plan experts: what they print and write, and what they refuse.
# Usage: plan_schedule_test.sh PATH_TO_FATHOM
. "$(dirname "$0")/common.sh"

# has TEXT: `out` contains it, spaces apart.
has() {
  tr -s ' ' <out | grep -qF -- "$1" || fail "no '$1' in: $(head -c 2000 out)"
}

# --- schedules ---
schedule() {
  "$fathom" plan schedule "$@"
}
ok schedule --stages 8 --micro-batches 20
has '1f1b 8 81 21 21 25.93% 8 8 1'
has 'zb1p 8 67 7 7 10.45% 8 8 1'
has 'dualpipe 8 66 6 6 9.09% 9 9 2'
has 'dualpipev 4 126 6 6 4.76% 9 9 2'
ok schedule --stages 8 --micro-batches 20 --json
json schedules assumptions
ok schedule --stages 7 --micro-batches 10
has 'dualpipe: the number of stages must be even, not 7; the nearest legal choice: 6 or 8 stages'

ok schedule --kind dualpipe --stages 8 --micro-batches 20 --forward 1 --backward 1 --weight 1 \
  --overlapped 2.6 --svg t.svg --perfetto t.json --operations t.txt --explain
has 'bubble_formula 4.8'
has '(PP/2-1)·(F&B+B-3W) = (8/2-1)·(2.6+2-3·1) = 4.8'
has 'so here'
grep -q '^<svg' t.svg && grep -q '</svg>' t.svg || fail 't.svg is no SVG'
cp t.json out && json traceEvents
[ "$(grep -c '^rank' t.txt)" -eq 8 ] || fail 't.txt has not a line a rank'
cp t.svg t1.svg
ok schedule --kind dualpipe --stages 8 --micro-batches 20 --overlapped 2.6 --svg t.svg --json
json kind stages micro_batches ranks total bubble bubble_formula bubble_share peak_activations \
  peak_activations_formula stages_per_rank
cmp -s t.svg t1.svg || fail 'the same schedule is drawn differently'
ok schedule --kind 1f1b --stages 4 --micro-batches 8 --communication 0.5 --explain
has 'not so here'

refuses 2 '6 or 8 stages' schedule --kind dualpipe --stages 7 --micro-batches 20
refuses 2 '16 micro-batches' schedule --kind dualpipe --stages 8 --micro-batches 9
refuses 2 '18 micro-batches' schedule --kind dualpipe --stages 8 --micro-batches 17
refuses 2 'between 1 and' schedule --stages 0 --micro-batches 4
refuses 2 '--overlapped has no influence' schedule --kind zb1p --stages 4 --micro-batches 8 \
  --overlapped 2
refuses 2 '--overlapped has no influence' schedule --stages 3 --micro-batches 8 --overlapped 2
refuses 2 gpipe schedule --kind gpipe --stages 4 --micro-batches 8
refuses 2 '--weight' schedule --stages 4 --micro-batches 8 --weight=-1
refuses 2 'nan is not a number of 0 or more' schedule --stages 4 --micro-batches 8 --weight nan
refuses 2 '--stages' schedule --micro-batches 8
refuses 1 nowhere schedule --stages 4 --micro-batches 8 --svg nowhere/t.svg
[ ! -e nowhere ] || fail 'a refused command left a file'

# --- experts: the published example of EPLB ---
experts() {
  "$fathom" plan experts "$@"
}
cat >load.csv <<'CSV'
90,132,40,61,104,165,39,4,73,56,183,86
20,107,104,64,19,197,187,157,172,86,16,27
CSV
sed '1s/^/[[/; 1s/$/],/; 2s/^/[/; 2s/$/]]/' load.csv >load.json
published='5,6,5,7,8,4,3,4,10,9,10,2,0,1,11,1],[7,10,6,8,6,11,8,9,2,4,5,1,5,0,3,1'
for load in load.csv load.json; do
  ok experts --load $load --replicas 16 --groups 4 --nodes 2 --gpus 8 --json
  json policy phy2log log2phy logcnt imbalance_before imbalance_after balance assumptions
  tr -d ' \n' <out | grep -qF "\"phy2log\":[[$published]]" || fail "$load: not the published placement"
done
ok experts --load load.csv --replicas 16 --groups 4 --nodes 2 --gpus 8 --svg e.svg --explain
has 'policy hierarchical'
has 'imbalance_before 2.11577'
has 'imbalance_after 1.22517'
grep -q '</svg>' e.svg || fail 'e.svg is no SVG'
ok experts --load load.csv --replicas 16 --gpus 4
has 'policy global'
printf '{"step": 1, "expert_loads": [[1, 2], [3, 4]]}\n{"step": 2}\n' >metrics.jsonl
ok experts --load metrics.jsonl --replicas 4 --gpus 2

refuses 2 '16 replicas' experts --load load.csv --replicas 15 --gpus 8
refuses 2 'not every expert' experts --load load.csv --replicas 8 --gpus 8
refuses 2 '3 nodes do not divide' experts --load load.csv --replicas 16 --gpus 8 --groups 4 --nodes 3
refuses 2 '5 groups' experts --load load.csv --replicas 16 --gpus 8 --groups 5 --nodes 1
refuses 2 '--groups' experts --load load.csv --replicas 16 --gpus 8 --nodes 2
refuses 2 'GPUs are not between' experts --load load.csv --replicas 16 --gpus 0
refuses 1 'nowhere.csv' experts --load nowhere.csv --replicas 16 --gpus 8
printf '1,2\n3,x\n' >bad.csv
refuses 1 'bad.csv: line 2, column 2' experts --load bad.csv --replicas 4 --gpus 2
printf '[[1, 2], [3, -4]]' >bad.json
refuses 1 'bad.json: layer 1' experts --load bad.json --replicas 4 --gpus 2
printf '{"loss": 1}\n{"loss": 2}\n' >bad.jsonl
refuses 1 'expert_loads' experts --load bad.jsonl --replicas 4 --gpus 2
: >empty
refuses 1 'empty' experts --load empty --replicas 4 --gpus 2
refuses 1 . experts --load . --replicas 4 --gpus 2

report
