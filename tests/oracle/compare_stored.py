"""Compares fathom with transformers on checkpoints whose weights are stored quantized.

    python compare_stored.py --fathom build/release/apps/fathom/fathom [--seed N]

A random model is written in a published storage format (E4M3 with blocks, compressed-tensors, AWQ,
GGUF) by plain torch, numpy or the gguf package, and once more dequantized.
fathom reads the first, transformers (and the FP64 reference) the second: logits and MTP logits in
FP32 within 2e-5, in BF16 within 2e-2, gradients of an E4M3 checkpoint within 1e-4. Then checkpoints
that fathom wrote in these formats, dequantized by plain torch, must give the same logits, and load
in transformers itself where its loader takes them.
"""

import argparse
import dataclasses
import pathlib
import random
import secrets
import sys
import tempfile

import torch
from gguf import GGMLQuantizationType

import packed
from checkpoints import build
from compare import (
    BF16_MARGIN,
    BF16_TOLERANCE,
    FP32_MARGIN,
    LOGITS_TOLERANCE,
    Report,
    check_gradients,
    check_logits,
    find_sequence,
)
from configs import CASES, Case, for_bf16
from fathom import Fathom
from fp8 import write_fp8, write_twin
from gguf_models import Converter
from oracles import Transformers, relative_error

# Beyond one block of 128 in every direction, with edges; V3's 576 rows of kv_a_proj are one.
WIDE = dict(
    hidden_size=152,
    q_lora_rank=136,
    kv_lora_rank=132,
    intermediate_size=264,
    moe_intermediate_size=136,
    vocab_size=120,
)
# Whole blocks everywhere: all that transformers' own dequantizer takes.
WHOLE = dict(
    hidden_size=256,
    q_lora_rank=128,
    kv_lora_rank=128,
    qk_nope_head_dim=64,
    qk_rope_head_dim=128,
    v_head_dim=64,
    intermediate_size=256,
    moe_intermediate_size=128,
)
FP8 = {"v3-mtp": "f32", "v3-yarn": "pow2", "kimi-k2": "e8m0", "moonlight": "f32", "v2": "f32"}


def shaped(case: Case, shape: dict) -> Case:
    """The variant with other widths; products of random matrices stay near unit size."""
    config = case.config | shape | dict(initializer_range=1 / shape["hidden_size"] ** 0.5)
    if case.config["q_lora_rank"] is None:
        config["q_lora_rank"] = None
    return dataclasses.replace(case, config=config, tokens=12)


def named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def check_fp32(report, fathom, name, case, stored, twin, rng) -> None:
    ids, expected = find_sequence(case, twin, rng, FP32_MARGIN)
    actual = fathom.logits(stored, ids)
    twin_actual = fathom.logits(twin, ids)
    check_logits(report, FixedLogits(actual), name, twin, ids, expected)
    same = max(relative_error(actual[k], twin_actual[k]) for k in actual)
    report.add(name, "its own dequantized twin", same, 2e-6)


class FixedLogits:
    """Stands for fathom in check_logits: what it gave for the stored form of the model."""

    def __init__(self, logits: dict):
        self.fixed = logits

    def logits(self, model, ids) -> dict:
        return self.fixed


def check_bf16(report, fathom, name, case, stored, twin, rng) -> None:
    ids, expected = find_sequence(case, twin, rng, BF16_MARGIN)
    error = relative_error(fathom.logits(stored, ids, "bf16")["logits"], expected.logits[0])
    report.add(name, "logits, BF16", error, BF16_TOLERANCE, f"T={len(ids)}")


def check_fp8(report, fathom, case: Case, scales: str, work: pathlib.Path, rng) -> None:
    name = f"{case.name} fp8 {scales}"
    for kind in ("fp32", "bf16"):
        shape = shaped(case, WIDE)
        shape = for_bf16(shape) if kind == "bf16" else shape
        plain, stored, twin = (work / f"{case.name}-{kind}-{x}" for x in ("plain", "fp8", "twin"))
        build(shape, rng.randrange(2**31), plain)
        write_fp8(plain, stored, scales)
        write_twin(stored, twin)
        check = check_fp32 if kind == "fp32" else check_bf16
        check(report, fathom, name, shape, stored, twin, rng)
        if kind == "fp32" and case.name == "v3-mtp":
            ids, expected = find_sequence(shape, twin, rng, FP32_MARGIN)
            check_gradients(report, fathom, name, stored, ids, expected)


def check_written_fp8(report, fathom, shape: dict, whole: bool, work: pathlib.Path, rng) -> None:
    """What `fathom init --dtype fp8` wrote, dequantized by torch; and in transformers' loader."""
    case = for_bf16(shaped(named("v3"), shape))
    name = f"init fp8 {'whole blocks' if whole else 'edges'}"
    base = name.replace(" ", "-")
    shape_dir, stored, twin = (work / f"{base}-{x}" for x in ("shape", "out", "twin"))
    build(case, 1, shape_dir)
    seed = rng.randrange(1000)
    config = shape_dir / "config.json"
    fathom.run("init", "--model", config, "--out", stored, "--dtype", "fp8", "--seed", seed)
    write_twin(stored, twin)
    check_fp32(report, fathom, name, case, stored, twin, rng)
    if not whole:
        return
    # It dequantizes to BF16 where there is no GPU.
    ids, _ = find_sequence(case, twin, rng, BF16_MARGIN)
    theirs = Transformers(stored, torch.bfloat16).logits(ids)
    error = relative_error(fathom.logits(stored, ids)["logits"], theirs)
    report.add(name, "transformers' own loader", error, BF16_TOLERANCE)


# Multiples of 8 and of groups, not all of 128.
GROUPED = dict(
    hidden_size=160,
    q_lora_rank=96,
    kv_lora_rank=64,
    qk_nope_head_dim=32,
    qk_rope_head_dim=16,
    v_head_dim=24,
    num_attention_heads=4,
    intermediate_size=256,
    moe_intermediate_size=96,
    vocab_size=120,
)
PACKED = [
    ("v3-mtp", dict(kind="pack-quantized", bits=4, group=32)),
    ("kimi-k2", dict(kind="pack-quantized", bits=4, group=32, experts_only=True)),
    ("v2-lite", dict(kind="pack-quantized", bits=4, group=64, symmetric=False)),
    ("moonlight", dict(kind="pack-quantized", bits=8, group=32)),
    ("v3", dict(kind="pack-quantized", bits=8, group=0, symmetric=False)),
    ("v3-dense-2", dict(kind="int-quantized", bits=8, group=0)),
    ("v3-yarn", dict(kind="awq", bits=4, group=32, symmetric=False)),
]


QUANTIZE = [
    ["--dtype", "fp8"],
    ["--dtype", "int8", "--group-size", 32],
    ["--dtype", "int4", "--group-size", 32],
]


def check_packed(report, fathom, case: Case, how: dict, work: pathlib.Path, rng) -> None:
    name = f"{case.name} {how['kind'][:4]} {how['bits']}"
    shape = shaped(case, GROUPED)
    plain, stored, twin = (work / f"{case.name}-{how['kind']}-{x}" for x in ("p", "s", "t"))
    build(shape, rng.randrange(2**31), plain)
    packed.write(plain, stored, twin, **how)
    check_fp32(report, fathom, name, shape, stored, twin, rng)


def check_quantize(report, fathom, options: list, work: pathlib.Path, rng) -> None:
    """`fathom quantize`, and back with --dtype bf16: the values that its codes mean."""
    name = "quantize " + " ".join(map(str, options[1::2]))
    base = name.replace(" ", "-")
    case = shaped(named("v3-mtp"), GROUPED)
    plain, stored, back = (work / f"{base}-{x}" for x in ("plain", "stored", "back"))
    build(case, rng.randrange(2**31), plain)
    done = fathom.run("quantize", "--model", plain, "--out", stored, *options)
    report.add(name, "relative RMS it reports", done["relative_rms"], 0.12)
    fathom.run("quantize", "--model", stored, "--out", back, "--dtype", "bf16")
    ids, _ = find_sequence(case, back, rng, BF16_MARGIN)
    error = relative_error(fathom.logits(stored, ids)["logits"], Transformers(back).logits(ids))
    report.add(name, "dequantized to BF16", error, BF16_TOLERANCE)


# K-quants have blocks of 256.
GGUF_SHAPE = dict(
    hidden_size=256,
    q_lora_rank=256,
    kv_lora_rank=256,
    qk_nope_head_dim=64,
    qk_rope_head_dim=32,
    v_head_dim=64,
    num_attention_heads=4,
    intermediate_size=256,
    moe_intermediate_size=256,
    vocab_size=96,
)
GGUF = [
    ("v3", "F32", True, 0),
    ("v3-yarn", "BF16", True, 0),
    ("moonlight", "F16", False, 0),
    ("v2-lite", "Q8_0", True, 9),
    ("v2", "Q4_0", False, 0),
    ("kimi-k2", "Q4_K", False, 0),
    ("v3-dense-2", "Q5_K", True, 0),
    ("tied", "Q6_K", False, 0),
]


def check_gguf(report, fathom, case: Case, kind: str, split: bool, files: int, work, rng) -> None:
    name = f"{case.name} gguf {kind}"
    shape = shaped(case, GGUF_SHAPE)
    plain, twin = work / f"{case.name}-gguf", work / f"{case.name}-gguf-twin"
    build(shape, rng.randrange(2**31), plain)
    head = "Q6_K" if kind.endswith("_K") else kind

    def kind_of(tensor: str):
        return GGMLQuantizationType[head if tensor == "output.weight" else kind]

    converter = Converter(plain, kind_of, split, rng.randrange(2**31))
    converter.convert()
    path = work / f"{case.name}.gguf"
    converter.write(path, files)
    if files:
        path = sorted(work.glob(f"{case.name}-*-of-*.gguf"))[0]
    converter.write_twin(plain, twin)
    ids, expected = find_sequence(shape, twin, rng, FP32_MARGIN)
    error = relative_error(fathom.logits(path, ids)["logits"], expected.logits[0])
    # A split kv_b_proj is put together in F16 unless the file is wider.
    exact = not split or kind in ("F32", "BF16")
    report.add(name, "logits, reference", error, LOGITS_TOLERANCE if exact else 1e-3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fathom", required=True, help="the fathom program")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    torch.set_num_threads(1)
    fathom, report, rng = Fathom(arguments.fathom), Report(), random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="fathom-stored-") as directory:
        work = pathlib.Path(directory)
        for name, scales in FP8.items():
            check_fp8(report, fathom, named(name), scales, work, rng)
        for name, how in PACKED:
            check_packed(report, fathom, named(name), how, work, rng)
        for options in QUANTIZE:
            check_quantize(report, fathom, options, work, rng)
        for name, kind, split, files in GGUF:
            check_gguf(report, fathom, named(name), kind, split, files, work, rng)
        check_written_fp8(report, fathom, WIDE, False, work, rng)
        check_written_fp8(report, fathom, WHOLE, True, work, rng)
    print(f"{report.checks - len(report.failures)} of {report.checks} checks passed")
    for failure in report.failures:
        print(f"FAIL {failure}")
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
