"""llama.cpp's and transformers' speed beside fathom's: for docs/performance/llama_cpp.md.

    python bench_llama.py --fathom build/release/apps/fathom/fathom [--format q8_0,q4_0]
                          [--peer llama.cpp] [--prefill 512,4096] [--decode 1x128,1x4096,8x128]

A random model of eight layers of Moonlight's shape (random_gguf.py; 4.6 GB in Q8_0, removed
afterwards) is measured by `fathom bench prefill|decode` and by a peer in turn, as many rounds as
fit --seconds for a row. llama.cpp (llama-cpp-python built for this processor, llama_worker.py)
reads the same GGUF file; for int4 and int8 fathom reads what `fathom quantize` makes of a Q4_0 or
Q8_0 file, llama.cpp that file. transformers (transformers_worker.py) has a model of the same shape
in BF16 and is compared in --format bf16 alone.

Prints medians, their ratio (above 1: fathom is faster), the share of the roof that either reaches
(the machine's own bandwidth or multiply-add peak, as fathom measures it before and after its part
of each round), and the peak memory of both processes; then one JSON document.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from gguf import GGMLQuantizationType as Type

from fathom import Fathom
from random_gguf import EIGHT_LAYERS, write_random

HERE = pathlib.Path(__file__).parent
STEPS = 32  # decoded a run


# What `fathom quantize` writes, and the blocks that have its bytes a weight: a scale for 32 codes.
INTEGERS = {"int4": Type.Q4_0, "int8": Type.Q8_0}


class Peer:
    """A worker (worker.py) in a process of its own."""

    def __init__(self, script: str, *arguments):
        command = [sys.executable, str(HERE / script), *map(str, arguments)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.version = json.loads(self.process.stdout.readline())

    def ask(self, **request) -> dict:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


class Prefill:
    def __init__(self, tokens: int):
        self.name, self.tokens = f"prefill {tokens}", tokens

    def ours(self) -> list:
        return ["prefill", "--tokens", self.tokens]

    def our_rate(self, case: dict) -> float:
        return case["tokens_per_s"]

    def their_rate(self, peer: Peer) -> float:
        return self.tokens / peer.ask(what="prefill", tokens=self.tokens)["seconds"]


class Decode:
    def __init__(self, batch: int, context: int):
        self.name, self.batch, self.context = f"decode {batch} x {context}", batch, context

    def ours(self) -> list:
        shape = ["--batch", self.batch, "--prompt", self.context, "--new-tokens", STEPS]
        return ["decode", *shape]

    def our_rate(self, case: dict) -> float:
        return case["tokens_per_s"]

    def their_rate(self, peer: Peer) -> float:
        request = dict(what="decode", context=self.context, batch=self.batch, steps=STEPS)
        return self.batch / peer.ask(**request)["seconds"]


def measure(work, fathom: Fathom, model: pathlib.Path, peer: Peer, arguments) -> dict:
    """Rounds of ours and theirs; the first of theirs fills caches and does not count."""
    ours, theirs, shares, peaks = [], [], [], []
    work.their_rate(peer)
    end = time.perf_counter() + arguments.seconds
    while not ours or time.perf_counter() < end:
        run = ["bench", *work.ours(), "--model", model, "--threads", arguments.threads]
        case = fathom.run(*run, "--seconds", 1)["cases"][0]
        ours.append(work.our_rate(case))
        shares.append(case["share_of_roof"])
        peaks.append(case["peak_bytes"])
        theirs.append(work.their_rate(peer))
    rate, their_rate = statistics.median(ours), statistics.median(theirs)
    share = statistics.median(shares)
    return {
        "work": work.name,
        "fathom_tokens_per_s": rate,
        "peer_tokens_per_s": their_rate,
        "ratio": rate / their_rate,
        "fathom_share_of_roof": share,
        "peer_share_of_roof": share * their_rate / rate,
        "rounds": {"fathom": ours, "peer": theirs, "share": shares},
        "fathom_peak_bytes": max(peaks),
        "peer_peak_bytes": peer.ask(what="peak")["bytes"],
    }


def print_row(row: dict) -> None:
    mb = {who: row[f"{who}_peak_bytes"] / 1e6 for who in ("fathom", "peer")}
    print(
        f"| {row['format']} | {row['peer']} | {row['work']} | {row['fathom_tokens_per_s']:.1f}"
        f" | {row['peer_tokens_per_s']:.1f} | {row['ratio']:.2f}"
        f" | {row['fathom_share_of_roof']:.0%} | {row['peer_share_of_roof']:.0%}"
        f" | {mb['fathom']:.0f} | {mb['peer']:.0f} | {len(row['rounds']['fathom'])} |",
        flush=True,
    )


def write_models(name: str, directory: pathlib.Path, fathom: Fathom) -> tuple:
    """What fathom reads, and the GGUF file that llama.cpp reads: the same but for integers."""
    file = directory / "model.gguf"
    if name not in INTEGERS:
        write_random(file, EIGHT_LAYERS, Type[name.upper()])
        return file, file
    # quantize leaves the tables of the vocabulary as they are in published checkpoints.
    write_random(file, EIGHT_LAYERS, INTEGERS[name], tables=Type.BF16)
    ours = directory / name
    fathom.run("quantize", "--model", file, "--dtype", name, "--group-size", 32, "--out", ours)
    return ours, file


def bench_format(name: str, works: list, directory: pathlib.Path, arguments) -> list[dict]:
    fathom = Fathom(arguments.fathom)
    ours, file = write_models(name, directory, fathom)
    start = {
        "llama.cpp": lambda: Peer("llama_worker.py", file, arguments.threads),
        "transformers": lambda: Peer("transformers_worker.py", arguments.threads),
    }
    rows = []
    for peer_name in arguments.peer:
        peer = start[peer_name]()
        for work in works:
            row = {"format": name, "peer": peer_name, "version": peer.version}
            rows.append(row | measure(work, fathom, ours, peer, arguments))
            print_row(rows[-1])
        peer.close()
    return rows


def names(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def numbers(text: str) -> list[int]:
    return [int(part) for part in names(text)]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fathom", required=True, help="the fathom program")
    formats = "q8_0, q4_0, q4_k, q5_k, q6_k, bf16, int8, int4"
    parser.add_argument("--format", type=names, default="q8_0,q4_0", help=formats)
    parser.add_argument("--peer", type=names, default="llama.cpp", help="llama.cpp, transformers")
    parser.add_argument("--prefill", type=numbers, default="512,4096", help="lengths of prompts")
    shapes = "1x128,1x4096,8x128"
    parser.add_argument("--decode", type=names, default=shapes, help="sequences x context")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20, help="about so long for a row")
    parser.add_argument("--directory", help="where the model is written (default: the system's)")
    arguments = parser.parse_args()
    if "transformers" in arguments.peer and arguments.format != ["bf16"]:
        parser.error("transformers has the model in BF16: give --format bf16")
    return arguments


def main():
    arguments = parse_arguments()
    works = [Prefill(tokens) for tokens in arguments.prefill]
    works += [Decode(*map(int, part.split("x"))) for part in arguments.decode]
    print("| format | peer | work | fathom tokens/s | peer's | ratio | share of roof | peer's"
          " | peak MB | peer's | rounds |")
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    rows = []
    for name in arguments.format:
        with tempfile.TemporaryDirectory(prefix="fathom-peers-", dir=arguments.directory) as where:
            rows += bench_format(name, works, pathlib.Path(where), arguments)
    print(json.dumps({"threads": arguments.threads, "rows": rows}))


if __name__ == "__main__":
    main()
