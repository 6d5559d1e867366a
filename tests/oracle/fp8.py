"""E4M3 checkpoints in the published layout, written and read with plain torch (spec of
DeepSeek-V3's README_WEIGHTS: `X.weight` E4M3, `X.weight_scale_inv` one multiplier a 128 x 128 block,
edge blocks cut off)."""

import json
import math
import pathlib
import shutil

import torch
from safetensors.torch import save_file

from checkpoints import read_tensors

BLOCK = 128


def is_quantized(name: str, value) -> bool:
    """Linears of attention and feed-forward networks; not the gate, the embedding, the head."""
    inside = ".self_attn." in name or ".mlp." in name
    return value.dim() == 2 and inside and not name.endswith(".mlp.gate.weight")


def _expand(scale, shape):
    """One multiplier an element from one a block."""
    wide = scale.float().repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
    return wide[: shape[0], : shape[1]]


def quantize(weight, scales: str):
    """Codes and multipliers. scales: "f32", "pow2" (powers of two in F32, as V3.1) or "e8m0"."""
    rows, cols = weight.shape
    grid = (math.ceil(rows / BLOCK), math.ceil(cols / BLOCK))
    padded = torch.zeros(grid[0] * BLOCK, grid[1] * BLOCK)
    padded[:rows, :cols] = weight.float()
    blocks = padded.reshape(grid[0], BLOCK, grid[1], BLOCK)
    scale = blocks.abs().amax(dim=(1, 3)).clamp_min(1e-30) / 448
    if scales != "f32":
        scale = torch.exp2(torch.ceil(torch.log2(scale)))
    codes = (weight.float() / _expand(scale, weight.shape)).to(torch.float8_e4m3fn)
    return codes, scale.to(torch.float8_e8m0fnu) if scales == "e8m0" else scale


def dequantize(tensors: dict) -> dict:
    """Every tensor of a checkpoint in F32, the scales used up."""
    suffix = ".weight_scale_inv"
    values = {k: v.float() for k, v in tensors.items() if not k.endswith(suffix)}
    for name, scale in tensors.items():
        if name.endswith(suffix):
            weight = name.removesuffix("_scale_inv")
            values[weight] = values[weight] * _expand(scale, values[weight].shape)
    return values


def write_twin(stored: pathlib.Path, twin: pathlib.Path) -> None:
    """The same model as `stored`, in F32 and without quantization_config."""
    twin.mkdir()
    config = json.loads((stored / "config.json").read_text())
    config.pop("quantization_config", None)
    (twin / "config.json").write_text(json.dumps(config))
    values = {name: value.contiguous() for name, value in dequantize(read_tensors(stored)).items()}
    save_file(values, twin / "model.safetensors", metadata={"format": "pt"})


def write_fp8(source: pathlib.Path, out: pathlib.Path, scales: str) -> None:
    """Quantizes a checkpoint directory as the published ones are."""
    out.mkdir()
    shutil.copy(source / "config.json", out)
    tensors = {}
    for name, value in read_tensors(source).items():
        if is_quantized(name, value):
            tensors[name], tensors[name + "_scale_inv"] = quantize(value, scales)
        else:
            tensors[name] = value
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((out / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [BLOCK, BLOCK],
    } | ({} if scales == "f32" else {"scale_fmt": "ue8m0"})
    (out / "config.json").write_text(json.dumps(config, indent=2))
