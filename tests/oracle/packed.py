"""Checkpoints of integers with scales of groups, written by numpy and torch: compressed-tensors'
pack-quantized and int-quantized layouts, and AutoAWQ's GEMM layout. Each also gives what its codes
mean, for a twin that transformers can load."""

import json
import pathlib
import shutil

import numpy as np
import torch
from safetensors.torch import save_file

from checkpoints import read_tensors
from fp8 import is_quantized

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # nibble i of a word holds element AWQ_ORDER[i]


def _groups(columns: int, group: int) -> int:
    return 1 if group == 0 else -(-columns // group)


def encode(weight, bits: int, group: int, symmetric: bool, dtype):
    """Codes from -2^(bits-1), scales [N, G] of dtype, zero points [N, G], and the values meant."""
    rows, cols = weight.shape
    width = cols if group == 0 else group
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    codes = torch.zeros(rows, cols, dtype=torch.int32)
    scales = torch.zeros(rows, _groups(cols, group))
    zeros = torch.zeros(rows, _groups(cols, group), dtype=torch.int32)
    values = torch.zeros(rows, cols)
    for g in range(_groups(cols, group)):
        part = weight[:, g * width : (g + 1) * width].float()
        least, most = part.amin(1).clamp_max(0), part.amax(1).clamp_min(0)
        if symmetric:
            scale = torch.maximum(-least, most) / ((high - low) / 2)
        else:
            scale = (most - least) / (high - low)
        scale = scale.clamp_min(1e-6).to(dtype).float()
        zero = torch.zeros(rows) if symmetric else (low - torch.round(least / scale))
        zero = zero.clamp(low, high)
        q = (torch.round(part / scale[:, None]) + zero[:, None]).clamp(low, high)
        codes[:, g * width : (g + 1) * width] = q.int()
        scales[:, g], zeros[:, g] = scale, zero.int()
        values[:, g * width : (g + 1) * width] = (q - zero[:, None]) * scale[:, None]
    return codes, scales.to(dtype), zeros, values


def _pack(codes, bits: int):
    """Along the last dimension into int32 words, offset to be unsigned, the first code lowest."""
    per_word = 32 // bits
    unsigned = (codes.numpy().astype(np.int64) + 2 ** (bits - 1)).astype(np.uint64)
    pad = -unsigned.shape[-1] % per_word
    unsigned = np.pad(unsigned, [(0, 0), (0, pad)])
    words = unsigned.reshape(unsigned.shape[0], -1, per_word)
    shifts = np.arange(per_word, dtype=np.uint64) * np.uint64(bits)
    packed = np.bitwise_or.reduce(words << shifts, axis=-1).astype(np.uint32)
    return torch.from_numpy(packed.view(np.int32).copy())


def _pack_awq(codes):
    """[R, N] of -8..7 into [R, N / 8] words in AWQ's order, codes 0..15."""
    unsigned = (codes.numpy().astype(np.int64) + 8).astype(np.uint64)
    words = unsigned.reshape(unsigned.shape[0], -1, 8)[:, :, list(AWQ_ORDER)]
    shifts = np.arange(8, dtype=np.uint64) * np.uint64(4)
    packed = np.bitwise_or.reduce(words << shifts, axis=-1).astype(np.uint32)
    return torch.from_numpy(packed.view(np.int32).copy())


def _packed_tensors(name, codes, scales, zeros, bits, symmetric):
    tensors = {
        f"{name}_packed": _pack(codes, bits),
        f"{name}_scale": scales,
        f"{name}_shape": torch.tensor(list(codes.shape)),
    }
    if not symmetric:
        tensors[f"{name}_zero_point"] = _pack(zeros.T.contiguous(), bits).T.contiguous()
    return tensors


def _awq_tensors(name, codes, scales, zeros):
    base = name.removesuffix("weight")
    return {
        base + "qweight": _pack_awq(codes.T.contiguous()),
        base + "qzeros": _pack_awq(zeros.T.contiguous()),
        base + "scales": scales.T.contiguous(),
    }


def _config(kind: str, bits: int, group: int, symmetric: bool) -> dict:
    if kind == "awq":
        return {
            "quant_method": "awq",
            "bits": 4,
            "group_size": group,
            "zero_point": True,
            "version": "gemm",
        }
    weights = {
        "num_bits": bits,
        "type": "int",
        "symmetric": symmetric,
        "strategy": "group" if group else "channel",
        "group_size": group or None,
        "dynamic": False,
        "actorder": None,
    }
    return {
        "quant_method": "compressed-tensors",
        "format": kind,
        "quantization_status": "compressed",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        "ignore": ["lm_head", "re:.*self_attn.*"],
    }


def write(source: pathlib.Path, out: pathlib.Path, twin: pathlib.Path, kind: str, bits=4, group=32,
          symmetric=True, experts_only=False) -> None:
    """kind: "pack-quantized", "int-quantized" or "awq". `twin` holds the same values in F32."""
    for directory in (out, twin):
        directory.mkdir()
        shutil.copy(source / "config.json", directory)
    scale_dtype = torch.float16 if kind == "awq" else torch.bfloat16
    tensors, values = {}, {}
    for name, value in read_tensors(source).items():
        chosen = is_quantized(name, value) and not (experts_only and ".experts." not in name)
        if not chosen:
            tensors[name], values[name] = value, value.float()
            continue
        codes, scales, zeros, meant = encode(value, bits, group, symmetric, scale_dtype)
        values[name] = meant
        if kind == "awq":
            tensors |= _awq_tensors(name, codes, scales, zeros)
        elif kind == "int-quantized":
            tensors |= {name: codes.to(torch.int8), f"{name}_scale": scales}
        else:
            tensors |= _packed_tensors(name, codes, scales, zeros, bits, symmetric)
    save_file({k: v.contiguous() for k, v in tensors.items()}, out / "model.safetensors")
    save_file({k: v.contiguous() for k, v in values.items()}, twin / "model.safetensors",
              metadata={"format": "pt"})
    config = json.loads((out / "config.json").read_text())
    config["quantization_config"] = _config(kind, bits, group, symmetric)
    (out / "config.json").write_text(json.dumps(config, indent=2))
