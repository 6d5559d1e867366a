"""Writes tests/fixtures/checkpoint: python make_checkpoint_fixtures.py ../fixtures/checkpoint

all_dtypes.safetensors and the two shards of sharded/ are written by Hugging Face's own library.
With --check the directory must instead hold the same tensors as written by Fathom
(FATHOM_WRITE_FIXTURES=DIR safetensors_test), which that library then reads.
"""

import argparse
import json
import pathlib

import torch
from safetensors.torch import load_file, save_file

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
}
INDEX = "model.safetensors.index.json"


def ramp(dtype) -> torch.Tensor:
    """[3,5] of i - 3, or of i where there is no sign: exact in every dtype."""
    first = 0 if dtype == torch.uint8 else -3
    return (torch.arange(15) + first).reshape(3, 5).to(dtype)


def all_dtypes() -> dict:
    tensors = {name: ramp(dtype) for name, dtype in DTYPES.items()}
    return tensors | {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4)}


def shards() -> list[dict]:
    return [{"x": ramp(torch.float32)}, {"y": ramp(torch.bfloat16), "z": ramp(torch.int64)}]


def write(directory: pathlib.Path):
    save_file(all_dtypes(), directory / "all_dtypes.safetensors", metadata={"format": "pt"})
    sharded = directory / "sharded"
    sharded.mkdir(exist_ok=True)
    index = {"metadata": {"total_size": 0}, "weight_map": {}}
    for k, tensors in enumerate(shards(), start=1):
        name = f"model-{k:05}-of-00002.safetensors"
        save_file(tensors, sharded / name, metadata={"format": "pt"})
        index["weight_map"] |= dict.fromkeys(tensors, name)
        index["metadata"]["total_size"] += sum(t.nbytes for t in tensors.values())
    (sharded / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def expect_equal(path: pathlib.Path, expected: dict):
    actual = load_file(path)
    assert actual.keys() == expected.keys(), (path, actual.keys())
    for name, value in expected.items():
        same = actual[name].dtype == value.dtype and actual[name].shape == value.shape
        assert same and torch.equal(actual[name].double(), value.double()), (path, name)


def check(directory: pathlib.Path):
    expect_equal(directory / "all_dtypes.safetensors", all_dtypes())
    weight_map = json.loads((directory / "sharded" / INDEX).read_text())["weight_map"]
    for tensors in shards():
        (file,) = {weight_map[name] for name in tensors}
        expect_equal(directory / "sharded" / file, tensors)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    (check if arguments.check else write)(arguments.directory)


if __name__ == "__main__":
    main()
