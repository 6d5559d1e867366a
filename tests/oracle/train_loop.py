"""Trains the same model on the same batches as fathom in plain PyTorch, and compares every loss.

    python train_loop.py --fathom build/release/apps/fathom/fathom [--steps 50] [--dtype float32]
                         [--keep-run DIR]

fathom trains in FP32 from a checkpoint that transformers made, on a small generated text, with
`[train] log_batches = true`: it writes batches.jsonl, one line a step, {"step": n, "tokens": [...]}
with every sequence of the batch as seq_len + 1 + D ids (D: depth of MTP). The loop here takes them:

    inputs   tokens[0 : T]            targets        tokens[1 : T+1]
    depth k  tokens[k : k+T]          targets        tokens[k+1 : k+1+T]     all T positions count
    loss     CE + lambda/D sum_k CE_k + alpha-balance loss (per sequence, summed over MoE layers,
             those of the MTP modules included, averaged over sequences)
    AdamW    F32 moments, betas 0.9 0.95, eps 1e-8, weight decay 0.1 on matrices only (norm weights
             are not decayed), gradient norm clipped to 1, constant learning rate
    bias     after each step b += gamma sign(mean load - load), loads counted over the whole batch

Of metrics.jsonl it compares loss and mtp_loss (mean of CE_k over depths, without lambda) to 1e-4
relative, and balance_loss (alpha included) and grad_norm (before clipping) to 1e-3.
"""

import argparse
import json
import pathlib
import shutil
import sys
import tempfile

import torch

from checkpoints import build, read_config, read_tensors
from configs import V2_LITE, V3, Case
from fathom import Fathom, train_config, write_corpus
from mtp import mtp_hidden
from reference import Reference, balance_loss, cross_entropy

VOCABULARY, MTP_LAMBDA = 320, 0.3
SMALL = dict(
    vocab_size=VOCABULARY,
    hidden_size=48,
    n_routed_experts=16,
    moe_intermediate_size=16,
    initializer_range=0.05,
)
# name, model, alpha of the balance loss, gamma of the bias update
SETUPS = [
    ("bias only", V3 | SMALL, 0.0, 1e-3),
    ("bias, balance, MTP", V3 | SMALL | dict(num_nextn_predict_layers=2), 1e-3, 1e-3),
    ("V2-Lite, balance", V2_LITE | SMALL, 1e-3, 0.0),
]
TOLERANCES = {"loss": 1e-4, "mtp_loss": 1e-4, "balance_loss": 1e-3, "grad_norm": 1e-3}


def losses(model: Reference, tokens, alpha: float, routing: list) -> dict:
    """tokens [B, T+1+D]. Differentiable: total, and the parts that metrics.jsonl reports."""
    depths = model.config["num_nextn_predict_layers"]
    length = tokens.shape[1] - 1 - depths
    hidden = model.hidden(tokens[:, :length], routing)
    parts = {"loss": cross_entropy(model.head(hidden), tokens[:, 1 : length + 1])}
    deeper = []
    for depth in range(1, depths + 1):
        hidden = mtp_hidden(model, depth, hidden, tokens[:, depth : depth + length], routing)
        targets = tokens[:, depth + 1 : depth + 1 + length]
        deeper.append(cross_entropy(model.head(hidden), targets))
    parts["total"] = parts["loss"]
    if deeper:
        parts["mtp_loss"] = sum(deeper) / depths
        parts["total"] = parts["total"] + MTP_LAMBDA * parts["mtp_loss"]
    if alpha:
        parts["balance_loss"] = balance_loss(model.config, routing, alpha)
        parts["total"] = parts["total"] + parts["balance_loss"]
    return parts


@torch.no_grad()
def update_biases(model: Reference, routing: list, gamma: float) -> None:
    for entry in routing:
        bias = model.biases.get(f"model.layers.{entry.layer}.mlp.gate.e_score_correction_bias")
        if bias is not None:
            load = entry.load_E().to(bias.dtype)
            bias += gamma * torch.sign(load.mean() - load)


def make_optimizer(model: Reference, lr: float) -> torch.optim.AdamW:
    values = list(model.parameters.values())
    for parameter in values:  # an expert without tokens has gradient zero, not none: it decays
        parameter.grad = torch.zeros_like(parameter)
    groups = [
        {"params": [p for p in values if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in values if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), eps=1e-8)


def torch_losses(model: Reference, batches: list, alpha: float, gamma: float, lr: float) -> dict:
    """Trains on [{"step": n, "tokens": ...}]; the metrics of each step, by step."""
    optimizer, history = make_optimizer(model, lr), {}
    for batch in batches:
        routing = []
        parts = losses(model, torch.tensor(batch["tokens"]), alpha, routing)
        optimizer.zero_grad(set_to_none=False)
        parts.pop("total").backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters.values(), 1.0)
        optimizer.step()
        update_biases(model, routing, gamma)
        metrics = {name: value.item() for name, value in parts.items()}
        history[batch["step"]] = metrics | {"grad_norm": norm.item()}
    return history


def read_lines(path: pathlib.Path) -> list:
    return [json.loads(line) for line in path.read_text().splitlines()]


def compare(name: str, actual: dict, expected: dict) -> bool:
    """Worst relative error of each metric over the steps; True if all are within tolerance."""
    passed = actual.keys() == expected.keys()
    if not passed:
        print(f"FAIL {name}: {len(actual)} steps have metrics, {len(expected)} have batches")
        return False
    for metric, tolerance in TOLERANCES.items():
        errors = {
            step: abs(actual[step][metric] - value[metric]) / max(abs(value[metric]), 1e-12)
            for step, value in expected.items()
            if metric in value
        }
        if not errors:
            continue
        step = max(errors, key=errors.get)
        good = errors[step] <= tolerance
        passed &= good
        first, last = (expected[n][metric] for n in (min(expected), max(expected)))
        print(
            f"{'ok  ' if good else 'FAIL'} {name:20} {metric:13} worst {errors[step]:.1e} at step "
            f"{step} <= {tolerance:.0e}   ({first:.4f} to {last:.4f})"
        )
    return passed


def run_setup(fathom: Fathom, setup, steps: int, dtype, work: pathlib.Path) -> bool:
    name, config, alpha, gamma = setup
    start, out = work / name / "start", work / name / "run"
    build(Case(name, config), 1, start)
    toml = train_config(
        start,
        work,
        steps,
        train={"log_batches": True},
        moe={"bias_update_speed": gamma, "balance_alpha": alpha},
        mtp={"lambda": MTP_LAMBDA},
    )
    fathom.train(toml, out)
    metrics = read_lines(out / "metrics.jsonl")
    actual = {entry["step"]: entry for entry in metrics if "loss" in entry}
    model = Reference(read_config(start), read_tensors(start), dtype)
    batches = read_lines(out / "batches.jsonl")
    expected = torch_losses(model, batches, alpha, gamma, toml["optimizer"]["lr"])
    return compare(name, actual, expected)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fathom", required=True, help="the fathom program")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--keep-run", type=pathlib.Path, help="copy the last run's directory here")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    arguments = parser.parse_args()
    fathom, dtype = Fathom(arguments.fathom), getattr(torch, arguments.dtype)
    with tempfile.TemporaryDirectory(prefix="fathom-train-") as directory:
        work = pathlib.Path(directory)
        write_corpus(work / "corpus.txt", seed=1)
        fathom.tokenizer(work / "corpus.txt", VOCABULARY, work / "tokenizer")
        passed = [run_setup(fathom, setup, arguments.steps, dtype, work) for setup in SETUPS]
        if arguments.keep_run:
            shutil.copytree(work / SETUPS[-1][0] / "run", arguments.keep_run)
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
