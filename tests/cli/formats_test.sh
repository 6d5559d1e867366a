#!/usr/bin/env bash
# fathom debug formats. Usage: formats_test.sh PATH_TO_FATHOM
. "$(dirname "$0")/common.sh"
set_up
ok "$fathom" init --model config.json --tokenizer tokenizer --out model
formats=("$fathom" debug formats --text text.txt --seq-len 32)

ok "${formats[@]}" --model model --max-tokens 100 --json
json tokens loss formats branches
python3 - <<'PYTHON' 2>err || fail "the JSON document: $(tail -1 err)"
import json
d = json.load(open("out"))
assert d["tokens"] == 100
assert [f["format"] for f in d["formats"]] == ["bf16", "e4m3", "e5m2", "logfmt8", "logfmt10"]
assert [b["branch"] for b in d["branches"]] == ["attention", "ffn", "attention", "experts", "ffn"]
for b in d["branches"]:
    assert b["e4m3"]["signal_to_noise_db"] > b["e5m2"]["signal_to_noise_db"] > 20, b
PYTHON
ok "${formats[@]}" --model model --max-tokens 40 --precision fp32
grep -q 'held-out loss' out || fail "the table reads: $(cat out)"
[ "$(grep -c '^1 *\(attention\|experts\|ffn\) ' out)" -eq 3 ] || fail "no row a branch: $(cat out)"

: >empty.txt
refuses 1 'empty.txt holds nothing' "$fathom" debug formats --model model --text empty.txt --seq-len 8
refuses 1 nowhere "${formats[@]}" --model nowhere
refuses 1 nowhere.txt "$fathom" debug formats --model model --text nowhere.txt --seq-len 8
refuses 2 '--seq-len 1000' "$fathom" debug formats --model model --text text.txt --seq-len 1000
refuses 2 '--text' "$fathom" debug formats --model model

report
