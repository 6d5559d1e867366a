#!/usr/bin/env bash
# The command line as scripts and users meet it: what each command prints, and that every bad input
# gives one clear line, no crash and nothing half-written. Usage: cli_test.sh PATH_TO_FATHOM
. "$(dirname "$0")/common.sh"
set_up

# --- what works ---
ok "$fathom" version
grep -q 'isa_active' out || fail 'version does not name the instruction set'
ok "$fathom" version --json
json version commit compiler isa_available isa_active mpi cuda
ok "$fathom" --help
for command in version doctor tokenizer init train eval generate chat debug inspect bench; do
  grep -q "^ *$command " out || fail "--help does not list $command"
  "$fathom" $command --help >help 2>err </dev/null || fail "$command --help"
  [ -s help ] && [ ! -s err ] || fail "$command --help does not print to standard output"
done

ok "$fathom" tokenizer encode --model tokenizer --text 'the cat sat' --json
json tokens ids
ok "$fathom" tokenizer encode --model tokenizer --text 'the cat sat' --no-special
ids=$(tr ' ' , <out)
ok "$fathom" tokenizer decode --model tokenizer --ids "$ids"
[ "$(cat out)" = 'the cat sat' ] || fail "decode(encode) gave $(cat out)"

ok "$fathom" init --model config.json --out random --tokenizer tokenizer --seed 3 --json
json parameters bytes
ok "$fathom" inspect --model random --json
json parameters active_parameters bytes kv_bytes_per_token
ok "$fathom" inspect --model config.json
ok "$fathom" inspect --model deepseek-v3 --json
grep -q '"kv_bytes_per_token": 70272' out || fail 'V3 has 70272 bytes of cache a token'

ok "$fathom" train run.toml --out run --set train.steps=30 --json
json steps tokens loss valid_loss tokens_per_s tflops mfu seconds
[ "$(wc -l <run/metrics.jsonl)" -eq 30 ] || fail 'metrics.jsonl has not a line a step'
model=run/final
[ -d $model ] || report
ok "$fathom" eval --model $model --text text.txt --json
json tokens loss perplexity bits_per_byte
for format in bf16 fp8; do
  ok "$fathom" eval --model $model --text text.txt --cache-dtype $format --json
  json tokens loss perplexity bits_per_byte
  ok "$fathom" generate --model $model --prompt 'the cat' --max-new-tokens 8 --cache-dtype $format
done
ok "$fathom" debug logits --model $model --ids 1,2,3,4 --out logits.safetensors
ok "$fathom" debug gradients --model $model --ids 1,2,3,4 --out gradients.safetensors --json
json out tensors

ok "$fathom" init --model config.json --out random-fp8 --tokenizer tokenizer --dtype fp8
grep -q '"quant_method": "fp8"' random-fp8/config.json || fail 'an FP8 checkpoint does not say so'
ok "$fathom" inspect --model random-fp8
ok "$fathom" generate --model random-fp8 --prompt 'the cat' --max-new-tokens 4 --speculate mtp
ok "$fathom" eval --model random-fp8 --text text.txt
for dtype in fp8 int8 int4 bf16; do
  ok "$fathom" quantize --model random --dtype $dtype --group-size 32 --out random-$dtype-2 --json
  json out bytes_before bytes relative_rms layers
  ok "$fathom" generate --model random-$dtype-2 --prompt 'the cat' --max-new-tokens 4
done
ok "$fathom" quantize --model random-int4-2 --dtype bf16 --out random-back --eval text.txt --json
json loss_before loss
refuses 1 'not an empty directory' "$fathom" quantize --model random --dtype fp8 --out random-fp8-2
refuses 2 '--zero-points' "$fathom" quantize --model random --dtype fp8 --zero-points --out never
refuses 2 '--power-of-two' "$fathom" quantize --model random --dtype int4 --power-of-two --out never
refuses 1 nowhere.txt "$fathom" quantize --model random --dtype int4 --out never --eval nowhere.txt
[ ! -e never ] || fail 'a refused quantization was written'
refuses 2 '--group-size' "$fathom" quantize --model random --dtype int4 --group-size 20 --out never
ok "$fathom" generate --model random-int4-2 --preload --ids 1,2,3 --max-new-tokens 2
ok "$fathom" train run.toml --out run-fp8 --set model=random-fp8 --set train.steps=1

ok "$fathom" generate --model $model --prompt 'the cat' --max-new-tokens 40 --ignore-eos --json
json text ids prompt_tokens new_tokens finish_reason prefill_tokens_per_s decode_tokens_per_s mtp memory
sed -n '/"ids"/,/]/p' out >greedy
# What is resident is the weights, the cache and one pass, within 5% and what any process takes;
# a sanitizer adds its shadow memory.
python3 - <<'PYTHON' 2>err || fail "memory of generate: $(tail -1 err)"
import json, os
m = json.load(open("out"))["memory"]
predicted = m["weights_bytes"] + m["cache_bytes"] + m["workspace_bytes"]
assert m["cache_bytes"] > 0, m
assert os.environ.get("FATHOM_SANITIZE") or m["peak_bytes"] < 1.05 * predicted + 64e6, m
PYTHON
for threads in 1 2; do
  ok "$fathom" generate --model $model --prompt 'the cat' --max-new-tokens 40 --ignore-eos --json \
    --speculate mtp --threads $threads
  sed -n '/"ids"/,/]/p' out | cmp -s - greedy || fail 'speculation changes the greedy text'
done
grep -q '"drafted": [1-9]' out || fail 'nothing was drafted'
ok "$fathom" generate --model $model --ids 5,6,7 --max-new-tokens 4 --temperature 0.8 --seed 4
printf 'the cat\n"""\na dog\nran\n"""\n/reset\nthe sea\n' |
  "$fathom" chat --model $model --max-new-tokens 8 >out 2>err || fail "chat: $(cat err)"
[ "$(wc -l <out)" -ge 3 ] || fail "chat printed $(cat out)"
echo '[{"role": "user", "content": "hi<｜User｜>"}]' >messages.json
ok "$fathom" tokenizer render --model $model --messages messages.json --json
json format conversations
refuses 1 'known are deepseek-v2' "$fathom" chat --model $model --chat-template nonsense
refuses 1 'no place for it' "$fathom" chat --model $model --thinking

# Standard output has the text alone; texts come from pipes too.
printf 'the cat' >prompt.txt
ok "$fathom" generate --model $model --prompt-file prompt.txt --max-new-tokens 8 --ignore-eos
grep -q decode_tokens_per_s out && fail 'generate mixes its statistics into the text'
grep -q decode_tokens_per_s err || fail 'generate shows no statistics'
mv out whole
for file in - /dev/stdin; do
  "$fathom" generate --model $model --prompt-file $file --max-new-tokens 8 --ignore-eos \
    <prompt.txt >out 2>err
  cmp -s out whole || fail "generate --prompt-file $file: $(tail -1 err)"
  cat prompt.txt | "$fathom" generate --model $model --prompt-file $file --max-new-tokens 8 \
    --ignore-eos >out 2>err
  cmp -s out whole || fail "generate --prompt-file $file from a pipe: $(tail -1 err)"
done
cat text.txt | "$fathom" eval --model $model --text - >out 2>err || fail "eval --text -: $(cat err)"
grep -q bits_per_byte out || fail 'eval of a pipe'
ok "$fathom" debug logits --model $model --ids 1,2 --out /dev/null
[ -c /dev/null ] || fail '--out replaced a device'

# --- the command line itself ---
refuses 2 '--nonsense' "$fathom" version --nonsense
refuses 2 'fathom --help' "$fathom"
refuses 2 'nonsense' "$fathom" nonsense
refuses 2 '--out' "$fathom" train run.toml
refuses 2 'fathom train --help' "$fathom" train --out x
refuses 2 'fathom generate --help' "$fathom" generate --model $model
refuses 2 '--prompt' "$fathom" generate --model $model --prompt a --ids 1
refuses 2 'fp9' "$fathom" generate --model $model --prompt a --cache-dtype fp9
refuses 2 'fp9' "$fathom" eval --model $model --text text.txt --precision fp9
refuses 2 '--threads' "$fathom" version --threads 0
refuses 2 'not a token id' "$fathom" generate --model $model --ids ''
refuses 2 'not a token id' "$fathom" generate --model $model --ids 1,-2
refuses 2 '0 is not a number above 0' "$fathom" generate --model $model --prompt a --max-new-tokens 0
refuses 2 '--speculate mtp' "$fathom" generate --model $model --prompt a --drafts 2
refuses 2 '--seed' "$fathom" generate --model $model --prompt a --seed -1
refuses 2 z80 env FATHOM_ISA=z80 "$fathom" version
refuses 2 'outside the vocabulary' "$fathom" debug logits --model $model --ids 1,300 --out x
refuses 2 'at least 2' "$fathom" debug gradients --model $model --ids 1 --out x
[ ! -e x ] || fail 'a refused command left a file'

# --- models ---
changed() { # NAME: a copy of the model to damage
  rm -rf bad && cp -r $model bad
}
refuses 1 nowhere "$fathom" inspect --model nowhere
refuses 1 nowhere "$fathom" generate --model nowhere --prompt a
changed; truncate -s 1000 bad/model.safetensors
refuses 1 bad/model.safetensors "$fathom" inspect --model bad
changed; truncate -s -1 bad/model.safetensors
refuses 1 bad/model.safetensors "$fathom" generate --model bad --prompt a
changed; : >bad/model.safetensors
refuses 1 bad/model.safetensors "$fathom" generate --model bad --prompt a
changed; printf '\377\377\377\377\377\377\377\177' | dd of=bad/model.safetensors conv=notrunc status=none
refuses 1 bad/model.safetensors "$fathom" inspect --model bad
lie() { # PATTERN REPLACEMENT of the same length, in the header
  changed; LC_ALL=C sed -i "s/$1/$2/" bad/model.safetensors
}
lie '"data_offsets":\[0,' '"data_offsets":[9,'
refuses 1 bad/model.safetensors "$fathom" inspect --model bad
lie '"shape":\[300,32\]' '"shape":[299,32]'
refuses 1 bad/model.safetensors "$fathom" inspect --model bad
lie '"shape":\[300,32\]' '"shape":[32,300]'
refuses 1 'has shape [32, 300]' "$fathom" inspect --model bad
lie '"dtype":"BF16"' '"dtype":"I16" '
refuses 1 bad/model.safetensors "$fathom" inspect --model bad
lie '"dtype":"BF16"' '"dtype":"F16" '
ok "$fathom" inspect --model bad
lie 'model.norm.weight' 'model.morn.weight'
refuses 1 'model.norm.weight is missing' "$fathom" generate --model bad --prompt a
rm -rf bad && cp -r random-fp8 bad
LC_ALL=C sed -i 's/q_a_proj.weight_scale_inv/q_a_proj.weight_scale_out/' bad/model.safetensors
refuses 1 'weight_scale_inv is missing' "$fathom" generate --model bad --prompt a
sed -i 's/"fmt": "e4m3"/"fmt": "e5m2"/' bad/config.json
refuses 1 'quantization_config.fmt' "$fathom" generate --model bad --prompt a
changed; rm bad/model.safetensors bad/mtp.safetensors
refuses 1 'bad' "$fathom" generate --model bad --prompt a

wrong() { # KEY VALUE TEXT: config.json contradicts itself or the weights
  sed "s/\"$1\": [^,}]*/\"$1\": $2/" config.json >bad.json
  refuses 1 "$3" "$fathom" init --model bad.json --out never
  [ ! -e never ] || fail "a model of a wrong config ($1) was written"
}
wrong n_group 3 n_group
wrong topk_group 9 topk_group
wrong num_experts_per_tok 99 num_experts_per_tok
wrong num_attention_heads 0 num_attention_heads
wrong kv_lora_rank -1 kv_lora_rank
wrong qk_rope_head_dim 7 qk_rope_head_dim
wrong vocab_size '"many"' vocab_size
wrong hidden_size 1e30 hidden_size
wrong first_k_dense_replace 3 first_k_dense_replace
wrong scoring_func '"tanh"' scoring_func
printf '{"model_type": "deepseek_v3"}' >bad.json
refuses 1 hidden_size "$fathom" init --model bad.json --out never
printf '{"hidden_size": ' >bad.json
refuses 1 bad.json "$fathom" inspect --model bad.json
refuses 1 nano "$fathom" init --model nanno --out never
refuses 1 nowhere "$fathom" init --model config.json --out never --tokenizer nowhere
[ ! -e never ] || fail 'init without its tokenizer left something'
mkdir inside && cd inside || exit 1
refuses 1 'a new directory' "$fathom" init --model ../config.json --out .
cd .. && rm -r inside
refuses 1 'not an empty directory' "$fathom" init --model config.json --out random

# --- tokenizers ---
tokenizer() { # PYTHON: edits the dictionary t
  command -v python3 >/dev/null || return 1
  rm -rf bad && cp -r tokenizer bad
  python3 -c "import json; t=json.load(open('bad/tokenizer.json')); $1
json.dump(t, open('bad/tokenizer.json','w'))"
}
if tokenizer 'del t["model"]["merges"]'; then
  refuses 1 merges "$fathom" tokenizer encode --model bad --text a
  tokenizer 't["model"]["merges"][0] = ["q", "zebra"]'
  refuses 1 bad/tokenizer.json "$fathom" tokenizer encode --model bad --text a
  tokenizer 'del t["model"]["vocab"]'
  refuses 1 bad/tokenizer.json "$fathom" tokenizer encode --model bad --text a
  tokenizer 't["model"]["type"] = "Unigram"'
  refuses 1 Unigram "$fathom" tokenizer encode --model bad --text a
fi
printf '{' >bad/tokenizer.json
refuses 1 bad/tokenizer.json "$fathom" tokenizer encode --model bad --text a
refuses 1 nowhere "$fathom" tokenizer encode --model nowhere --text a
refuses 1 nowhere "$fathom" tokenizer encode --model tokenizer --input nowhere
refuses 1 99999 "$fathom" tokenizer decode --model tokenizer --ids 1,99999
refuses 1 264 "$fathom" tokenizer train --input text.txt --vocab-size 10 --out never
: >empty.txt
refuses 1 empty.txt "$fathom" tokenizer train --input empty.txt --vocab-size 300 --out never
head -c 10000 "$fathom" >binary.txt
refuses 1 binary.txt "$fathom" tokenizer train --input binary.txt --vocab-size 300 --out never
[ ! -e never ] || fail 'a refused tokenizer left something'

# A tokenizer larger than the model's vocabulary.
sed 's/"vocab_size": 300/"vocab_size": 290/' config.json >smaller.json
refuses 1 'vocab' "$fathom" train run.toml --out never1 --set model=smaller.json
ok "$fathom" init --model smaller.json --out smaller --tokenizer tokenizer
refuses 1 'vocab' "$fathom" eval --model smaller --text text.txt
refuses 1 'vocab' "$fathom" generate --model smaller --prompt 'the old red house by the sea'
refuses 1 '290' "$fathom" generate --model smaller --ids 1,2,290

# --- training ---
refused_run() { # TEXT ARGUMENTS…: nothing is trained, no checkpoint is written
  local text=$1
  shift
  rm -rf never
  refuses 1 "$text" "$fathom" train run.toml --out never "$@"
  [ ! -e never/final ] && [ -z "$(ls never/checkpoints 2>err)" ] || fail "a refused run wrote: $text"
}
refuses 1 nowhere.toml "$fathom" train nowhere.toml --out never
refused_run train.stepz --set train.stepz=3
refused_run train.steps --set train.steps=many
refused_run optimizer.lr --set optimizer.lr=-1
refused_run nowhere --set data.train=nowhere
refused_run empty.txt --set data.train=empty.txt
refused_run binary.txt --set data.train=binary.txt
refused_run nowhere --set data.tokenizer=nowhere
refused_run max_position_embeddings --set data.seq_len=4096 --set train.batch_tokens=16384
printf 'one line' >short.txt
refused_run short --set data.train=short.txt
printf '[train\n' >bad.toml
refuses 1 bad.toml "$fathom" train bad.toml --out never
refuses 1 -- "$fathom" train run.toml --out run
refuses 1 'text.txt' "$fathom" train run.toml --out text.txt
refuses 1 'step' "$fathom" train run.toml --out nan --set train.steps=20 --set optimizer.lr=1e38 \
  --set optimizer.grad_clip=0
[ ! -e nan/final ] || fail 'a run that failed has a final model'

# --- output that cannot be written ---
mkdir locked && chmod a-w locked
if ! touch locked/probe 2>err; then # root may write anywhere
  refuses 1 locked "$fathom" init --model config.json --out locked/model
  refuses 1 locked "$fathom" tokenizer train --input text.txt --vocab-size 300 --out locked/t
  refuses 1 locked "$fathom" train run.toml --out locked/run
  refuses 1 locked "$fathom" debug logits --model $model --ids 1,2 --out locked/x
fi
refuses 1 text.txt "$fathom" init --model config.json --out text.txt/model
refuses 1 text.txt "$fathom" debug logits --model $model --ids 1,2 --out text.txt/x
if [ -w /dev/full ]; then
  "$fathom" version >/dev/full 2>err && fail 'a full standard output goes unnoticed'
  grep -q '^fathom: cannot write to standard output' err || fail "full output: $(cat err)"
fi
mkdir full
if mount -t tmpfs -o size=48k tmpfs full 2>err; then
  refuses 1 'No space' "$fathom" init --model config.json --out full/model
  refuses 1 'No space' "$fathom" train run.toml --out full/run
  refuses 1 'No space' "$fathom" debug gradients --model $model --ids 1,2,3 --out full/x
  [ ! -e full/model ] && [ ! -e full/x ] && [ ! -e full/run/final ] || fail 'half-written on a full disk'
  find full -name '*.tmp.*' | grep -q . && fail "a full disk left $(find full -name '*.tmp.*')"
  umount full
fi

report
