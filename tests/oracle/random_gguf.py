"""Large GGUF files of the deepseek2 architecture with random weights, written tensor by tensor."""

import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from gguf_models import add_metadata, random_blocks

# Eight layers of Moonlight's shape (V2-Lite's with sigmoid gates) and a smaller vocabulary: 4.3
# billion parameters, 4.6 GB in Q8_0. Queries are compressed, for llama.cpp takes a deepseek2 model
# without that for V2-Lite and wants its number of layers.
EIGHT_LAYERS = dict(
    num_hidden_layers=8,
    max_position_embeddings=40960,
    hidden_size=2048,
    intermediate_size=11264,
    num_attention_heads=16,
    rms_norm_eps=1e-5,
    rope_theta=50000.0,
    rope_scaling=None,
    q_lora_rank=768,
    kv_lora_rank=512,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=128,
    vocab_size=32768,
    first_k_dense_replace=1,
    moe_intermediate_size=1408,
    n_routed_experts=64,
    num_experts_per_tok=6,
    n_shared_experts=2,
    routed_scaling_factor=2.446,
    norm_topk_prob=True,
    scoring_func="sigmoid",
    n_group=1,
    topk_group=1,
)

TABLES = ("token_embd.weight", "output.weight")  # a row a token of the vocabulary


def _attention_shapes(c: dict) -> dict:
    width, heads, latent = c["hidden_size"], c["num_attention_heads"], c["kv_lora_rank"]
    q_latent = c["q_lora_rank"]
    nope, rope, v = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    return {
        "attn_norm": (width,),
        "attn_q_a": (q_latent, width),
        "attn_q_a_norm": (q_latent,),
        "attn_q_b": (heads * (nope + rope), q_latent),
        "attn_kv_a_mqa": (latent + rope, width),
        "attn_kv_a_norm": (latent,),
        "attn_k_b": (heads, latent, nope),
        "attn_v_b": (heads, v, latent),
        "attn_output": (width, heads * v),
        "ffn_norm": (width,),
    }


def _mlp_shapes(c: dict, layer: int) -> dict:
    width = c["hidden_size"]

    def gated(suffix: str, hidden: int, *experts: int) -> dict:
        up, down = (*experts, hidden, width), (*experts, width, hidden)
        return {f"ffn_gate{suffix}": up, f"ffn_up{suffix}": up, f"ffn_down{suffix}": down}

    if layer < c["first_k_dense_replace"]:
        return gated("", c["intermediate_size"])
    expert, count = c["moe_intermediate_size"], c["n_routed_experts"]
    shared = gated("_shexp", c["n_shared_experts"] * expert)
    return gated("_exps", expert, count) | shared | {"ffn_gate_inp": (count, width)}


def shapes(c: dict) -> dict:
    """Of every tensor by its GGUF name."""
    table = (c["vocab_size"], c["hidden_size"])
    all_shapes = {"token_embd.weight": table}
    for layer in range(c["num_hidden_layers"]):
        for name, shape in (_attention_shapes(c) | _mlp_shapes(c, layer)).items():
            all_shapes[f"blk.{layer}.{name}.weight"] = shape
        if layer >= c["first_k_dense_replace"]:
            all_shapes[f"blk.{layer}.exp_probs_b.bias"] = (c["n_routed_experts"],)
    return all_shapes | {"output_norm.weight": (c["hidden_size"],), "output.weight": table}


def _kind_of(name: str, shape: tuple, kind: Type) -> Type:
    """As llama.cpp's quantizer chooses: F32 for what is small, no K-quant for rows of odd length."""
    if len(shape) == 1 or "ffn_gate_inp" in name:
        return Type.F32
    return Type.Q8_0 if shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] else kind


def _random_bf16(shape: tuple, rng) -> np.ndarray:
    """Bytes: any sign and mantissa, but one exponent, whose offset is 127: 1/64 to 1/32."""
    bits = rng.integers(0, 1 << 16, shape, dtype=np.uint16)
    return ((bits & 0x807F) | ((127 - 6) << 7)).view(np.uint8)


def _random_tensor(name: str, shape: tuple, kind: Type, rng) -> np.ndarray:
    if kind == Type.BF16:
        return _random_bf16(shape, rng)
    if kind != Type.F32:
        return random_blocks(shape, kind, rng)
    if "norm" in name:
        return np.ones(shape, np.float32)
    return rng.standard_normal(shape, np.float32) / np.float32(shape[-1] ** 0.5)


def write_random(
    path: pathlib.Path, c: dict, kind: Type, tables: Type | None = None, seed: int = 1
) -> None:
    """Matrices of that kind; the two tables of the vocabulary may be of another."""
    rng = np.random.default_rng(seed)
    kinds = {}
    for name, shape in shapes(c).items():
        wanted = tables or kind if name in TABLES else kind
        kinds[name] = _kind_of(name, shape, wanted)
    w = gguf.GGUFWriter(path, "deepseek2")
    add_metadata(w, c, True)
    w.add_tokenizer_model("none")
    for name, shape in shapes(c).items():
        block, size = gguf.GGML_QUANT_SIZES[kinds[name]]
        stored = (*shape[:-1], shape[-1] // block * size)
        dtype, item = (np.float32, 4) if kinds[name] == Type.F32 else (np.uint8, 1)
        if dtype == np.float32:
            stored = shape
        w.add_tensor_info(name, stored, np.dtype(dtype), int(np.prod(stored)) * item, kinds[name])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    for name, shape in shapes(c).items():
        w.write_tensor_data(_random_tensor(name, shape, kinds[name], rng))
    w.close()
