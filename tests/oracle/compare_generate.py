"""Compares what fathom generates with transformers, for the shapes of the published models.

    python compare_generate.py --fathom build/release/apps/fathom/fathom [--seed N] [--quick]

A model of each published kind, scaled down, is trained for some seconds on a text that goes in a
circle, so that it is sure of what follows, as real models mostly are; a random one is not, and
rounding would choose. Stored as published, it must give, after a prompt of more than a block:
  - 64 greedy tokens, each the first choice of transformers in FP32 after the same text: with FP32
    and BF16 arithmetic, and with speculation where there is an MTP module;
  - logits of prompt and reply in BF16 within 2e-2 of transformers' in FP32.
transformers reads the dequantized weights. Prompts are taken whose replies have no choice so close
that BF16 may turn it. `--quick` takes three of the models.
"""

import argparse
import dataclasses
import pathlib
import random
import secrets
import sys
import tempfile

import torch

from checkpoints import build
from compare import BF16_TOLERANCE, Report
from configs import V2, V2_LITE, V3, Case, yarn
from fathom import Fathom, train_config
from fp8 import write_fp8, write_twin
from oracles import Transformers, relative_error

PROMPT, NEW = 300, 64  # tokens; prompts are read in blocks of 256, the rest one by one
SHAPE = dict(
    vocab_size=288,
    hidden_size=128,
    num_hidden_layers=3,
    kv_lora_rank=32,
    qk_nope_head_dim=32,
    qk_rope_head_dim=16,
    v_head_dim=32,
    intermediate_size=256,
    moe_intermediate_size=32,
    initializer_range=0.05,
)
YARN = yarn(40, 64)
MARGIN = 0.3  # nats; BF16 moves a logit by some 1e-2 of their size, which is about 5


def scaled(name: str, config: dict, *parts: dict) -> Case:
    for part in (SHAPE, *parts):
        config = config | part
    return Case(name, config, dtype="float32", style="published")


# routed_scaling_factor of V2 is 16 for 160 experts, each of which gets less of a softmax.
MODELS = [
    (scaled("deepseek-v3", V3, YARN, dict(q_lora_rank=48, n_routed_experts=16, n_group=4,
            topk_group=2, num_experts_per_tok=4, num_nextn_predict_layers=1)), "f32"),
    (scaled("deepseek-v3.1", V3, YARN, dict(q_lora_rank=48, n_routed_experts=16, n_group=8,
            topk_group=4, num_experts_per_tok=4, num_nextn_predict_layers=1)), "e8m0"),
    (scaled("deepseek-v2", V2, yarn(40, 64, 0.707, 0.707), dict(q_lora_rank=48,
            n_routed_experts=20, n_shared_experts=2, num_experts_per_tok=3,
            routed_scaling_factor=2.0)), None),
    (scaled("deepseek-v2-lite", V2_LITE, yarn(40, 64, 0.707, 0.707), dict(n_routed_experts=16,
            num_experts_per_tok=3)), None),
    (scaled("moonlight", V3, dict(q_lora_rank=None, n_group=1, topk_group=1, n_routed_experts=16,
            n_shared_experts=2, num_experts_per_tok=3, rope_theta=50000.0, rms_norm_eps=1e-5,
            routed_scaling_factor=2.446)), None),
    (scaled("kimi-k2", V3, yarn(32, 64), dict(q_lora_rank=48, n_group=1, topk_group=1,
            n_routed_experts=24, num_experts_per_tok=4, rope_theta=50000.0,
            routed_scaling_factor=2.827)), "f32"),
]  # fmt: skip
QUICK = ("deepseek-v3.1", "deepseek-v2", "kimi-k2")


def write_circle(path: pathlib.Path, rng: random.Random) -> None:
    """The same sentences over and over. Words recur in it, so that one token does not tell the
    next."""
    words = ["".join(rng.choices("abdeiklmnorstu", k=rng.randint(2, 6))) for _ in range(20)]
    circle = "".join(" ".join(rng.choices(words, k=6)) + ".\n" for _ in range(5))
    path.write_text(circle * (60000 // len(circle)))


def train(fathom: Fathom, case: Case, work: pathlib.Path, place: pathlib.Path, rng) -> pathlib.Path:
    """The trained model, in FP32."""
    start, out = place / "start", place / "run"
    build(case, rng.randrange(2**31), start)
    schedule = {"type": "cosine", "warmup_steps": 10, "constant_until": 0.5, "cosine_ratio": 0.02}
    tables = dict(
        data={"seq_len": 64},
        train={"steps": 150, "micro_batch": 16, "batch_tokens": 1024, "precision": "bf16"},
        optimizer={"lr": 4e-3, "schedule": schedule},
    )
    fathom.train(train_config(start, work, 0, **tables), out)
    return out / "final"


def store(case: Case, scales: str | None, trained: pathlib.Path, work: pathlib.Path):
    """As published, and what the stored numbers mean."""
    if scales is None:
        return trained, trained
    stored, twin = work / "fp8", work / "twin"
    write_fp8(trained, stored, scales)
    write_twin(stored, twin)
    return stored, twin


class Reply:
    """What fathom generates in FP32 after a prompt, and transformers' logits for both."""

    def __init__(self, generate, peer: Transformers, prompt: list):
        self.prompt, self.ids = prompt, generate(prompt, "--precision", "fp32")
        self.expected_TV = peer.logits(prompt + self.ids)
        self.choices_TV = self.expected_TV[PROMPT - 1 : -1]
        best, second = self.choices_TV.topk(2, dim=-1).values.T
        self.margin = (best - second).min().item()

    def check(self, report, name: str, check: str, ids: list) -> None:
        same = sum(a == b for a, b in zip(ids, self.choices_TV.argmax(-1).tolist()))
        note = f"{same} of {len(ids)}, closest choice by {self.margin:.2f} nats"
        report.require(name, check, same == len(ids) == NEW, note)


def find_reply(generate, peer: Transformers, text: list, rng: random.Random) -> Reply:
    best = None
    for _ in range(12):
        begin = rng.randrange(len(text) // 2)
        reply = Reply(generate, peer, text[begin : begin + PROMPT])
        if best is None or reply.margin > best.margin:
            best = reply
        if best.margin > MARGIN:
            break
    return best


def check_model(report, fathom, case: Case, scales, work: pathlib.Path, rng) -> None:
    corpus, tokenizer = work / "corpus.txt", work / "tokenizer"
    text = fathom.run("tokenizer", "encode", "--model", tokenizer, "--input", corpus)["ids"]
    arguments = ["--tokenizer", tokenizer, "--max-new-tokens", NEW, "--ignore-eos"]
    for attempt in range(3):  # now and then a model stays unsure of something
        place = work / f"{case.name}-{attempt}"
        place.mkdir()
        stored, twin = store(case, scales, train(fathom, case, work, place, rng), place)

        def generate(prompt: list, *options) -> list:
            ids = ",".join(map(str, prompt))
            run = ["generate", "--model", stored, "--ids", ids, *arguments, *options]
            return fathom.run(*run)["ids"]

        reply = find_reply(generate, Transformers(twin), text, rng)
        if reply.margin > MARGIN:
            break
    reply.check(report, case.name, "greedy, FP32", reply.ids)
    reply.check(report, case.name, "greedy, BF16", generate(reply.prompt))
    if case.config["num_nextn_predict_layers"]:
        drafted = generate(reply.prompt, "--speculate", "mtp", "--drafts", 2)
        reply.check(report, case.name, "greedy, BF16, drafts", drafted)
    actual_TV = fathom.logits(stored, reply.prompt + reply.ids, "bf16")["logits"]
    error = relative_error(actual_TV, reply.expected_TV)
    report.add(case.name, "logits, BF16", error, BF16_TOLERANCE)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fathom", required=True, help="the fathom program")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--quick", action="store_true", help="three models instead of all")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    torch.set_num_threads(1)
    fathom, report = Fathom(arguments.fathom), Report()
    with tempfile.TemporaryDirectory(prefix="fathom-generate-") as directory:
        work = pathlib.Path(directory)
        write_circle(work / "corpus.txt", random.Random(arguments.seed))
        fathom.tokenizer(work / "corpus.txt", SHAPE["vocab_size"], work / "tokenizer")
        for case, scales in MODELS:
            if not arguments.quick or case.name in QUICK:
                rng = random.Random(f"{arguments.seed} {case.name}")
                check_model(report, fathom, case, scales, work, rng)
    print(f"{report.checks - len(report.failures)} of {report.checks} checks passed")
    for failure in report.failures:
        print(f"FAIL {failure}")
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
