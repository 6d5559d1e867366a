"""GGUF files of the deepseek2 architecture, written with the gguf package from a checkpoint in
Hugging Face layout, with the names, keys and splits of llama.cpp's converter."""

import json
import pathlib

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf import quants
from safetensors.torch import save_file

from checkpoints import read_config, read_tensors

MODULES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.kv_b_proj": "attn_kv_b",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
    "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
    "mlp.shared_experts.up_proj": "ffn_up_shexp",
    "mlp.shared_experts.down_proj": "ffn_down_shexp",
}
K_QUANTS = (Type.Q4_K, Type.Q5_K, Type.Q6_K)


def random_blocks(shape, kind: Type, rng) -> np.ndarray:
    """Bytes of a quantized tensor: any bits, but scales that keep values below 0.2."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (*shape[:-1], shape[-1] // block, size), dtype=np.uint8)
    # Values are about scale * 32 * 16 (scale * 64 * 32 for Q6_K): keep them below 0.2.
    size_of_scale = 2e-3 if kind == Type.Q4_0 else 2e-4
    scale = (rng.uniform(0.5, 1.0, data.shape[:-1]) * size_of_scale).astype(np.float16)
    if kind in (Type.Q4_0, Type.Q8_0):  # codes are not centred: all rows would share a direction
        scale *= rng.choice(np.array([-1, 1], np.float16), scale.shape)
    halves = scale[..., None].view(np.uint8)
    if kind == Type.Q6_K:
        data[..., 208:210] = halves
        data[..., 192:208] = rng.integers(-40, 40, data[..., 192:208].shape).astype(np.int8).view(np.uint8)
    else:
        data[..., 0:2] = halves
    if kind in (Type.Q4_K, Type.Q5_K):
        data[..., 2:4] = (scale * np.float16(7))[..., None].view(np.uint8)
    return data.reshape(*shape[:-1], -1)


def encode(value: np.ndarray, kind: Type, rng):
    """Stored bytes and what they mean. Types whose blocks do not divide a row become F16."""
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    if value.shape[-1] % block != 0:
        kind = Type.F16
    data = random_blocks(value.shape, kind, rng) if kind in K_QUANTS else quants.quantize(value, kind)
    return kind, data, quants.dequantize(data, kind).astype(np.float32).reshape(value.shape)


def add_metadata(w, c: dict, split_kv_b: bool) -> None:
    """The keys of a config.json; with a split kv_b_proj attention is that of one compressed head."""
    w.add_block_count(c["num_hidden_layers"])
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(c["num_attention_heads"])
    w.add_head_count_kv(1 if split_kv_b else c["num_attention_heads"])
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_rope_freq_base(c["rope_theta"])
    w.add_rope_dimension_count(c["qk_rope_head_dim"])
    w.add_vocab_size(c["vocab_size"])
    w.add_leading_dense_block_count(c["first_k_dense_replace"])
    if c["q_lora_rank"] is not None:
        w.add_q_lora_rank(c["q_lora_rank"])
    w.add_kv_lora_rank(c["kv_lora_rank"])
    key = c["qk_nope_head_dim"] + c["qk_rope_head_dim"]
    if split_kv_b:
        w.add_key_length(c["kv_lora_rank"] + c["qk_rope_head_dim"])
        w.add_value_length(c["kv_lora_rank"])
        w.add_key_length_mla(key)
        w.add_value_length_mla(c["v_head_dim"])
    else:
        w.add_key_length(key)
        w.add_value_length(c["v_head_dim"])
    _add_experts(w, c)
    _add_yarn(w, c["rope_scaling"])


def _add_experts(w, c: dict) -> None:
    sigmoid = c["scoring_func"] == "sigmoid"
    w.add_expert_feed_forward_length(c["moe_intermediate_size"])
    w.add_expert_count(c["n_routed_experts"])
    w.add_expert_used_count(c["num_experts_per_tok"])
    w.add_expert_shared_count(c["n_shared_experts"])
    w.add_expert_weights_scale(c["routed_scaling_factor"])
    w.add_expert_weights_norm(c["norm_topk_prob"])
    kind = gguf.ExpertGatingFuncType
    w.add_expert_gating_func(kind.SIGMOID if sigmoid else kind.SOFTMAX)
    if c["n_group"] > 1:
        w.add_expert_group_count(c["n_group"])
        w.add_expert_group_used_count(c["topk_group"])


def _add_yarn(w, yarn: dict | None) -> None:
    if not yarn:
        return
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    w.add_rope_scaling_factor(yarn["factor"])
    w.add_rope_scaling_orig_ctx_len(yarn["original_max_position_embeddings"])
    w.add_rope_scaling_yarn_log_mul(0.1 * yarn["mscale_all_dim"])


class Converter:
    """One model: `kinds` gives the type of a tensor by its GGUF name."""

    def __init__(self, source: pathlib.Path, kinds, split_kv_b: bool, seed: int):
        self.config, self.kinds, self.split = read_config(source), kinds, split_kv_b
        self.source = {name: t.float().numpy() for name, t in read_tensors(source).items()}
        self.rng = np.random.default_rng(seed)
        self.tensors, self.values = [], {}

    def _store(self, name: str, value: np.ndarray) -> np.ndarray:
        kind = Type.F32 if value.ndim == 1 or "ffn_gate_inp" in name else self.kinds(name)
        kind, data, meant = encode(np.ascontiguousarray(value, dtype=np.float32), kind, self.rng)
        self.tensors.append((name, data, kind))
        return meant

    def _kv_b(self, layer: int, name: str, value: np.ndarray) -> None:
        heads, nope = self.config["num_attention_heads"], self.config["qk_nope_head_dim"]
        if not self.split:
            self.values[name] = self._store(f"blk.{layer}.attn_kv_b.weight", value)
            return
        kv = value.reshape(heads, -1, value.shape[-1])
        k = self._store(f"blk.{layer}.attn_k_b.weight", kv[:, :nope].transpose(0, 2, 1))
        v = self._store(f"blk.{layer}.attn_v_b.weight", kv[:, nope:])
        self.values[name] = np.concatenate([k.transpose(0, 2, 1), v], 1).reshape(value.shape)

    def _experts(self, layer: int) -> None:
        for kind in ("gate", "up", "down"):
            names = [
                f"model.layers.{layer}.mlp.experts.{e}.{kind}_proj.weight"
                for e in range(self.config["n_routed_experts"])
            ]
            stacked = np.stack([self.source[name] for name in names])
            meant = self._store(f"blk.{layer}.ffn_{kind}_exps.weight", stacked)
            self.values |= dict(zip(names, meant))

    def convert(self) -> None:
        top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
        layers_with_experts = set()
        for name, value in self.source.items():
            module = name.removesuffix(".weight")
            if module in top:
                self.values[name] = self._store(top[module] + ".weight", value)
                continue
            _, _, layer, inside = module.split(".", 3)
            if inside == "self_attn.kv_b_proj":
                self._kv_b(int(layer), name, value)
            elif inside == "mlp.gate.e_score_correction_bias":
                self.values[name] = self._store(f"blk.{layer}.exp_probs_b.bias", value)
            elif inside.startswith("mlp.experts."):
                layers_with_experts.add(int(layer))
            else:
                self.values[name] = self._store(f"blk.{layer}.{MODULES[inside]}.weight", value)
        for layer in sorted(layers_with_experts):
            self._experts(layer)

    def write(self, path: pathlib.Path, split_tensors: int = 0) -> None:
        w = gguf.GGUFWriter(path, "deepseek2", split_max_tensors=split_tensors)
        add_metadata(w, self.config, self.split)
        for name, data, kind in self.tensors:
            w.add_tensor(name, data, raw_dtype=kind)
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()

    def write_twin(self, source: pathlib.Path, twin: pathlib.Path) -> None:
        """What the file's numbers mean, in Hugging Face layout."""
        twin.mkdir()
        config = json.loads((source / "config.json").read_text())
        (twin / "config.json").write_text(json.dumps(config))
        values = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in self.values.items()}
        save_file(values, twin / "model.safetensors", metadata={"format": "pt"})
