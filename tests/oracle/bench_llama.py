"""llama.cpp's speed beside fathom's on the same GGUF file: the peer for docs/performance/llama_cpp.md.

    python bench_llama.py --fathom build/release/apps/fathom/fathom [--format q8_0,q4_0]
                          [--prefill 512,4096] [--decode 1x128,1x4096,8x128] [--threads 2]

A random model of eight layers of Moonlight's shape (random_gguf.py; 4.6 GB in Q8_0, removed
afterwards) is measured by `fathom bench prefill|decode` and by llama.cpp (llama-cpp-python built
for this processor, llama_worker.py) in turn, as many rounds as fit --seconds for a row. Prints
medians, their ratio (above 1: fathom is faster), the share of the roof that either reaches (the
machine's own bandwidth or multiply-add peak, as fathom measures it before and after its part of
each round), and the peak memory of both processes; then one JSON document.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import gguf

from fathom import Fathom
from random_gguf import EIGHT_LAYERS, write_random

HERE = pathlib.Path(__file__).parent
STEPS = 32  # decoded a run


class Llama:
    def __init__(self, model: pathlib.Path, threads: int):
        command = [sys.executable, str(HERE / "llama_worker.py"), str(model), str(threads)]
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

    def their_rate(self, llama: Llama) -> float:
        return self.tokens / llama.ask(what="prefill", tokens=self.tokens)["seconds"]


class Decode:
    def __init__(self, batch: int, context: int):
        self.name, self.batch, self.context = f"decode {batch} x {context}", batch, context

    def ours(self) -> list:
        shape = ["--batch", self.batch, "--prompt", self.context, "--new-tokens", STEPS]
        return ["decode", *shape]

    def our_rate(self, case: dict) -> float:
        return case["tokens_per_s"]

    def their_rate(self, llama: Llama) -> float:
        request = dict(what="decode", context=self.context, batch=self.batch, steps=STEPS)
        return self.batch / llama.ask(**request)["seconds"]


def measure(work, fathom: Fathom, llama: Llama, model: pathlib.Path, arguments) -> dict:
    """Rounds of ours and theirs; the first of theirs fills caches and does not count."""
    ours, theirs, shares, peaks = [], [], [], []
    work.their_rate(llama)
    end = time.perf_counter() + arguments.seconds
    while not ours or time.perf_counter() < end:
        run = ["bench", *work.ours(), "--model", model, "--threads", arguments.threads]
        case = fathom.run(*run, "--seconds", 1)["cases"][0]
        ours.append(work.our_rate(case))
        shares.append(case["share_of_roof"])
        peaks.append(case["peak_bytes"])
        theirs.append(work.their_rate(llama))
    rate, their_rate = statistics.median(ours), statistics.median(theirs)
    share = statistics.median(shares)
    return {
        "work": work.name,
        "fathom_tokens_per_s": rate,
        "llama_tokens_per_s": their_rate,
        "ratio": rate / their_rate,
        "fathom_share_of_roof": share,
        "llama_share_of_roof": share * their_rate / rate,
        "rounds": {"fathom": ours, "llama": theirs, "share": shares},
        "fathom_peak_bytes": max(peaks),
        "llama_peak_bytes": llama.ask(what="peak")["bytes"],
    }


def print_row(row: dict) -> None:
    mb = {who: row[f"{who}_peak_bytes"] / 1e6 for who in ("fathom", "llama")}
    print(
        f"| {row['format']} | {row['work']} | {row['fathom_tokens_per_s']:.1f}"
        f" | {row['llama_tokens_per_s']:.1f} | {row['ratio']:.2f}"
        f" | {row['fathom_share_of_roof']:.0%} | {row['llama_share_of_roof']:.0%}"
        f" | {mb['fathom']:.0f} | {mb['llama']:.0f} | {len(row['rounds']['fathom'])} |",
        flush=True,
    )


def bench_format(name: str, works: list, path: pathlib.Path, arguments) -> dict:
    write_random(path, EIGHT_LAYERS, gguf.GGMLQuantizationType[name.upper()])
    fathom, llama = Fathom(arguments.fathom), Llama(path, arguments.threads)
    rows = []
    for work in works:
        rows.append({"format": name} | measure(work, fathom, llama, path, arguments))
        print_row(rows[-1])
    llama.close()
    return {"format": name, "bytes": path.stat().st_size, "peer": llama.version, "rows": rows}


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fathom", required=True, help="the fathom program")
    parser.add_argument("--format", default="q8_0,q4_0", help="q8_0, q4_0, q4_k, q5_k, q6_k")
    parser.add_argument("--prefill", default="512,4096", help="lengths of prompts")
    parser.add_argument("--decode", default="1x128,1x4096,8x128", help="sequences x context")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20, help="about so long for a row")
    parser.add_argument("--directory", help="where the model is written (default: the system's)")
    arguments = parser.parse_args()
    works = [Prefill(tokens) for tokens in numbers(arguments.prefill)]
    works += [Decode(*map(int, part.split("x"))) for part in arguments.decode.split(",") if part]
    print("| format | work | fathom tokens/s | llama.cpp | ratio | share of roof | llama.cpp's"
          " | peak MB | llama.cpp's | rounds |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    results = []
    for name in arguments.format.split(","):
        with tempfile.TemporaryDirectory(prefix="fathom-llama-", dir=arguments.directory) as where:
            results.append(bench_format(name, works, pathlib.Path(where) / "model.gguf", arguments))
    print(json.dumps({"threads": arguments.threads, "formats": results}))


if __name__ == "__main__":
    main()
