"""Writes the golden fixtures: python make_fixtures.py ../fixtures/model

One directory a case of configs.py; what each file holds is in the README.md beside them. Expected
values are the FP64 reference's (reference.py, mtp.py), rounded to FP32, after transformers in FP32
has been seen to agree on logits, MTP logits and every gradient. Deterministic: the same versions
of the pinned packages write the same bytes.
"""

import argparse
import json
import pathlib
import random
import shutil

import torch
from safetensors.torch import save_file

from checkpoints import build
from configs import CASES, Case
from oracles import Expected, Transformers, relative_error, worst_gradient_error

MTP_LAMBDA = 0.3
BALANCE_ALPHA = 0.01
# FP32 cannot turn a routing decision taken by this much: its errors here are below 1e-5.
MIN_MARGIN = 1e-3
# Transformers' own FP32 rounding on these models: 1e-6 on logits, 1e-5 on gradients.
LOGITS_TOLERANCE, GRADIENT_TOLERANCE = 5e-6, 5e-5


def clear_cut(case: Case, directory: pathlib.Path) -> tuple[list[int], Expected]:
    """Token ids, repeatable, whose routing no rounding can turn."""
    rng = random.Random(case.name)
    while True:
        ids = [rng.randrange(case.config["vocab_size"]) for _ in range(case.tokens)]
        expected = Expected(directory, ids)
        if expected.margin() >= MIN_MARGIN:
            return ids, expected


def check_agreement(directory: pathlib.Path, ids: list[int], expected: Expected) -> str:
    """Errors of transformers against the reference; raises where they disagree."""
    peer = Transformers(directory)
    pairs = [(peer.logits(ids), expected.logits[0])]
    if expected.mtp_logits:
        pairs += zip(peer.mtp_logits(ids), (logits[0] for logits in expected.mtp_logits))
    logits_error = max(relative_error(actual, value) for actual, value in pairs)
    theirs, ours = peer.gradients(ids), expected.gradients(expected.loss)
    ours = {name: value for name, value in ours.items() if not expected.model.is_mtp(name)}
    gradient_error, worst = worst_gradient_error(theirs, ours)
    if logits_error > LOGITS_TOLERANCE or gradient_error > GRADIENT_TOLERANCE:
        raise SystemExit(
            f"{directory.name}: the oracles disagree: "
            f"logits {logits_error}, gradient of {worst} {gradient_error}"
        )
    return f"logits {logits_error:.1e}  gradients {gradient_error:.1e}"


def expected_tensors(expected: Expected) -> dict:
    tensors = {"logits": expected.logits[0], "loss": expected.loss}
    for depth, logits in enumerate(expected.mtp_logits, start=1):
        tensors["mtp_logits" if depth == 1 else f"mtp_logits.{depth}"] = logits[0]
        tensors["mtp_loss" if depth == 1 else f"mtp_loss.{depth}"] = expected.mtp_losses[depth - 1]
    is_mtp = expected.model.is_mtp
    gradients = expected.gradients(expected.loss)
    tensors |= {"grad." + k: v for k, v in gradients.items() if not is_mtp(k)}
    if expected.mtp_losses:
        tensors["total_loss"] = total = expected.total_loss(MTP_LAMBDA)
        tensors |= {"mtp_grad." + k: v for k, v in expected.gradients(total).items()}
    if expected.main_routing:
        tensors["balance_loss"] = balance = expected.balance_loss(BALANCE_ALPHA)
        gradients = expected.gradients(expected.loss + balance)
        gates = {k: v for k, v in gradients.items() if k.endswith("mlp.gate.weight")}
        tensors |= {"balance_grad." + k: v for k, v in gates.items() if not is_mtp(k)}
    return {k: v.detach().reshape(v.shape or (1,)).float().contiguous() for k, v in tensors.items()}


def make(case: Case, seed: int, directory: pathlib.Path) -> str:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    build(case, seed, directory)
    ids, expected = clear_cut(case, directory)
    agreement = check_agreement(directory, ids, expected)
    (directory / "ids.json").write_text(json.dumps({"ids": ids}) + "\n")
    save_file(expected_tensors(expected), directory / "expected.safetensors")
    return agreement


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    for seed, case in enumerate(CASES, start=1):
        agreement = make(case, seed, out / case.name)
        print(f"{case.name:22} transformers against the reference: {agreement}")
    print(f"{sum(f.stat().st_size for f in out.rglob('*') if f.is_file()) / 1e6:.2f} MB in {out}")


if __name__ == "__main__":
    main()
