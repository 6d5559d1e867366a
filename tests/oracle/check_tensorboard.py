"""Compares a run's TensorBoard events, read by TensorBoard's own reader, with metrics.jsonl.

    python check_tensorboard.py DIR

DIR is what `fathom train --out DIR` wrote. Every number of every line of metrics.jsonl must be a
scalar of the same name (tag) and step in the event files, equal to FP32 rounding, and the event
files must hold nothing else. Prints a line a tag; exit code 1 if anything differs.
"""

import argparse
import json
import math
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator
from tensorboard.util.tensor_util import make_ndarray


def read_events(directory: pathlib.Path) -> dict:
    """{tag: {step: value}} of every event file below the directory."""
    scalars = {}
    for path in sorted(directory.rglob("events.out.tfevents.*")):
        events = EventAccumulator(str(path), size_guidance={"scalars": 0, TENSORS: 0}).Reload()
        for tag in events.Tags()["scalars"]:
            scalars.setdefault(tag, {}).update({e.step: e.value for e in events.Scalars(tag)})
        for tag in events.Tags()[TENSORS]:  # scalars written in the newer, tensor form
            values = {e.step: make_ndarray(e.tensor_proto).item() for e in events.Tensors(tag)}
            scalars.setdefault(tag, {}).update(values)
    return scalars


def read_metrics(path: pathlib.Path) -> dict:
    """{name: {step: value}}; a step logged twice (after a resume) counts as last written."""
    metrics = {}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        for name, value in entry.items():
            if name != "step" and isinstance(value, (int, float)):
                metrics.setdefault(name, {})[entry["step"]] = value
    return metrics


def difference(actual: dict, expected: dict) -> str:
    """What is wrong with a tag's values; empty when nothing is."""
    if actual.keys() != expected.keys():
        odd = sorted(actual.keys() ^ expected.keys())
        return f"steps differ: {odd[:5]} of {len(odd)}"
    for step, value in expected.items():
        if not math.isclose(actual[step], value, rel_tol=1e-6, abs_tol=1e-37):
            return f"step {step}: {actual[step]}, metrics.jsonl {value}"
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=pathlib.Path)
    directory = parser.parse_args().directory
    events, metrics = read_events(directory), read_metrics(directory / "metrics.jsonl")
    failed = not metrics
    for tag in sorted(events.keys() | metrics.keys()):
        wrong = difference(events.get(tag, {}), metrics.get(tag, {}))
        failed |= bool(wrong)
        print(f"{'FAIL' if wrong else 'ok  '} {tag:24} {len(events.get(tag, {}))} steps  {wrong}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
