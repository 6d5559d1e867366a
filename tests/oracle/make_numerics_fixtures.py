"""Writes tests/fixtures/numerics/float8.txt: python make_numerics_fixtures.py FILE

What PyTorch and ml_dtypes make of every BF16, every F16 and 2^20 scattered F32 bit patterns, as one
hash (FNV-1a, 64 bits) of the codes for each conversion and kind of input; and the values of every
code. Of E4M3 PyTorch's conversion saturates and that of ml_dtypes overflows to NaN; on the rest the
two must agree. NaN codes, in which they differ, are hashed as 0x7f.
"""

import sys

import ml_dtypes
import numpy as np
import torch

E4M3 = (torch.float8_e4m3fn, ml_dtypes.float8_e4m3fn)
E5M2 = (torch.float8_e5m2, ml_dtypes.float8_e5m2)
E8M0 = (torch.float8_e8m0fnu, ml_dtypes.float8_e8m0fnu)


def inputs():
    codes = np.arange(1 << 16, dtype=np.uint32)
    yield "bf16", (codes << 16).view(np.float32)
    with np.errstate(invalid="ignore"):
        yield "f16", codes.astype(np.uint16).view(np.float16).astype(np.float32)
    scattered = np.arange(1 << 20, dtype=np.uint64) * 2654435761 % (1 << 32)
    yield "f32", scattered.astype(np.uint32).view(np.float32)


def fnv1a(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 % (1 << 64)
    return f"{h:016x}"


def without_nan_codes(codes, numpy_type):
    return np.where(np.isnan(codes.view(numpy_type).astype(np.float32)), np.uint8(0x7F), codes)


def encoded_by_torch(x, types):
    codes = torch.from_numpy(x.copy()).to(types[0]).view(torch.uint8).numpy()
    return without_nan_codes(codes, types[1]).tobytes()


def encoded_by_ml_dtypes(x, types):
    with np.errstate(invalid="ignore", over="ignore"):
        codes = x.astype(types[1]).view(np.uint8)
    return without_nan_codes(codes, types[1]).tobytes()


def decoded(types):
    codes = np.arange(256, dtype=np.uint8)
    by_torch = torch.from_numpy(codes).view(types[0]).float().numpy()
    by_numpy = codes.view(types[1]).astype(np.float32)
    assert np.array_equal(by_torch, by_numpy, equal_nan=True)
    by_torch[np.isnan(by_torch)] = np.nan
    return by_torch.astype("<f4").tobytes()


def main():
    with open(sys.argv[1], "w") as out:
        for kind, x in inputs():
            e5m2 = encoded_by_torch(x, E5M2)
            assert e5m2 == encoded_by_ml_dtypes(x, E5M2)
            print("e4m3", kind, fnv1a(encoded_by_torch(x, E4M3)), file=out)
            print("e4m3_or_nan", kind, fnv1a(encoded_by_ml_dtypes(x, E4M3)), file=out)
            print("e5m2_or_inf", kind, fnv1a(e5m2), file=out)
        for name, types in [("e4m3", E4M3), ("e5m2", E5M2), ("ue8m0", E8M0)]:
            print(name, "values", fnv1a(decoded(types)), file=out)


main()
