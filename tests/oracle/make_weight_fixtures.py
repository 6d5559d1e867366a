"""Writes tests/fixtures/numerics/weights.txt: python make_weight_fixtures.py FILE

What the gguf package makes of GGUF blocks of scattered bytes, and what numpy makes of integers
packed as compressed-tensors packs them, as one hash (FNV-1a, 64 bits) of the F32 values for each
format; and of the blocks that gguf encodes scattered values to. Bytes and values are those of
weight_formats_test.cpp.
"""

import sys

import gguf
import numpy as np
from gguf.constants import GGMLQuantizationType as Type

BLOCKS = 64
# Where blocks hold F16 scales.
HALVES = {"Q8_0": [0], "Q4_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def fnv1a(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 % (1 << 64)
    return f"{h:016x}"


def scattered(count):
    """Multiples of Knuth's constant: all bits of the upper half vary."""
    return (np.arange(count, dtype=np.uint64) * 2654435761 % (1 << 32)).astype(np.uint32)


def values(count):
    """Between -1 and 1, exactly representable."""
    return ((scattered(count) >> 9).astype(np.float32) * np.float32(2.0**-22) - 1).astype(np.float32)


def blocks(name):
    size = gguf.GGML_QUANT_SIZES[Type[name]][1]
    data = (scattered(BLOCKS * size) >> 24).astype(np.uint8).reshape(BLOCKS, size)
    for at in HALVES[name]:
        data[:, at + 1] &= 0xBF  # neither infinite nor NaN
    return data


def grouped_int(bits, zero_points):
    """16 rows of 256 in groups of 64: codes packed along rows, zero points across them."""
    rows, cols, group, per_word = 16, 256, 64, 32 // bits
    groups = cols // group
    shifts = np.arange(per_word, dtype=np.uint32) * bits
    mask, offset = (1 << bits) - 1, 1 << (bits - 1)
    words = scattered(rows * cols // per_word).reshape(rows, -1)
    codes = ((words[:, :, None] >> shifts) & mask).reshape(rows, cols).astype(np.int32) - offset
    zeros = np.zeros((rows, groups), np.int32)
    if zero_points:
        packed = scattered(rows // per_word * groups)[::-1].reshape(rows // per_word, groups)
        unpacked = (packed[:, None, :] >> shifts[None, :, None]) & mask
        zeros = unpacked.reshape(rows, groups).astype(np.int32) - offset
    scales = values(rows * groups).reshape(rows, groups)
    difference = (codes - np.repeat(zeros, group, axis=1)).astype(np.float32)
    return np.repeat(scales, group, axis=1) * difference


def main(path):
    with open(path, "w") as out:
        for name in HALVES:
            x = gguf.quants.dequantize(blocks(name), Type[name]).astype(np.float32)
            out.write(f"{name} decoded {fnv1a(x.tobytes())}\n")
        for name in ("Q8_0", "Q4_0"):
            codes = gguf.quants.quantize(values(BLOCKS * 32).reshape(BLOCKS, 32), Type[name])
            out.write(f"{name} encoded {fnv1a(codes.tobytes())}\n")
        for bits in (4, 8):
            for zero_points in (False, True):
                kind = "asymmetric" if zero_points else "symmetric"
                out.write(f"INT{bits} {kind} {fnv1a(grouped_int(bits, zero_points).tobytes())}\n")


if __name__ == "__main__":
    main(sys.argv[1])
