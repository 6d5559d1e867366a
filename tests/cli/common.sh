# What the tests of the binary share. Usage: SCRIPT PATH_TO_FATHOM
set -uo pipefail
fathom=$1
work=$(mktemp -d "${TMPDIR:-/tmp}/fathom_cli.XXXXXX")
failures=0
unset FATHOM_LOG
finish() {
  chmod -R u+w "$work" && rm -rf "$work"
}
trap finish EXIT
cd "$work" || exit 1

fail() {
  printf 'FAILED: %s\n' "$*"
  failures=$((failures + 1))
}

# ok COMMAND…: must succeed. Its output is left in `out`, its log in `err`.
ok() {
  "$@" >out 2>err </dev/null
  local status=$?
  [ $status -eq 0 ] || fail "exit $status: $* :: $(tail -3 err)"
}

# refuses STATUS TEXT COMMAND…: must fail with STATUS and one line `fathom: …TEXT…`.
refuses() {
  local status=$1 text=$2
  shift 2
  "$@" >out 2>err </dev/null
  local got=$?
  [ $got -eq "$status" ] || fail "exit $got instead of $status: $* :: $(tail -3 err)"
  [ "$(grep -c '^fathom: ' err)" -eq 1 ] && tail -1 err | grep -q '^fathom: ' ||
    fail "not one error line: $* :: $(cat err)"
  grep -qF -- "$text" err || fail "no '$text' in the error of: $* :: $(cat err)"
  [ ! -s out ] || fail "output beside the error: $*"
}

# json KEY…: `out` is one JSON document with these keys.
json() {
  command -v python3 >/dev/null || return 0
  python3 -c 'import json,sys; d=json.load(open("out")); [d[k] for k in sys.argv[1:]]' "$@" \
    2>err || fail "not JSON with $*: $(head -c 300 out; tail -1 err)"
}

corpus() { # LINES
  awk -v n="$1" 'BEGIN {
    split("the cat sat on a mat and dog ran to its old red house by sea", w, " "); s = 7
    for (i = 1; i <= n; ++i) {
      line = ""
      for (j = 0; j < 10; ++j) { s = (s * 1103515245 + 12345) % 2147483648; line = line w[int(s / 65536) % 16 + 1] " " }
      print line (i % 5 ? "" : "\n")
    }
  }'
}

# A shape of V3's kind with an MTP module, trained in milliseconds a step.
small_config() {
  cat <<'JSON'
{
  "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3",
  "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "first_k_dense_replace": 1,
  "num_nextn_predict_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
  "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
  "v_head_dim": 8, "intermediate_size": 64, "moe_intermediate_size": 16, "n_routed_experts": 8,
  "n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 4, "topk_group": 2,
  "scoring_func": "sigmoid", "topk_method": "noaux_tc", "norm_topk_prob": true,
  "routed_scaling_factor": 2.5, "moe_layer_freq": 1, "hidden_act": "silu",
  "attention_bias": false, "rope_theta": 10000.0, "rope_scaling": null, "rms_norm_eps": 1e-6,
  "max_position_embeddings": 128, "initializer_range": 0.05, "tie_word_embeddings": false,
  "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": "bfloat16"
}
JSON
}

run_config() {
  cat <<'TOML'
model = "config.json"
[data]
train = "text.txt"
tokenizer = "tokenizer"
seq_len = 16
[train]
steps = 6
batch_tokens = 64
micro_batch = 4
seed = 1
eval_every = 0
eval_tokens = 64
checkpoint_every = 0
[optimizer]
lr = 3e-3
schedule = { type = "cosine", warmup_steps = 1 }
TOML
}

set_up() {
  corpus 400 >text.txt
  small_config >config.json
  run_config >run.toml
  ok "$fathom" tokenizer train --input text.txt --vocab-size 300 --out tokenizer
  [ $failures -eq 0 ] || exit 1
}

report() {
  [ $failures -eq 0 ] || { echo "$failures failures"; exit 1; }
  echo passed
}
