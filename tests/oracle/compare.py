"""Compares fathom live with PyTorch and transformers, on fresh random models each run.

    python compare.py --fathom build/release/apps/fathom/fathom [--seed N] [--quick]

For a random shape of every variant in configs.py:
  - logits and MTP logits in FP32 against transformers and the FP64 reference: 2e-5;
  - the gradient of every parameter in FP32 against autograd: 1e-4, for the next-token loss, with
    the MTP losses, and with the sequence-wise balance loss;
  - logits in BF16 against the FP64 reference: 2e-2 (transformers' own BF16 error beside).
Then checkpoints that fathom wrote (init and train) must load in AutoModelForCausalLM without a
warning, with no missing or unexpected key, and give the same logits.

The seed is printed; --seed repeats a run. Exit code 1 if anything failed. `--quick` takes five
variants instead of all.
"""

import argparse
import logging
import pathlib
import random
import secrets
import shutil
import sys
import tempfile

import torch
import transformers

from checkpoints import build
from configs import CASES, V3, Case, for_bf16, vary
from fathom import Fathom, train_config, write_corpus
from oracles import Expected, Transformers, max_error, relative_error, worst_gradient_error

LOGITS_TOLERANCE, GRADIENT_TOLERANCE, BF16_TOLERANCE = 2e-5, 1e-4, 2e-2
MTP_LAMBDA, BALANCE_ALPHA = 0.3, 0.01
QUICK = ("v3", "v3-yarn-mscale-0.707", "moonlight", "v2", "v3-mtp-2")
WRITTEN = ("v3", "v3-yarn", "v2-lite", "tied", "v3-mtp")
# Scores this close may be ranked otherwise by FP32 (error of a score about 1e-6) or BF16 (about
# 5e-3 for a sigmoid; softmax scores of many experts are smaller, and so are their errors).
FP32_MARGIN, BF16_MARGIN = {"sigmoid": 5e-5, "softmax": 5e-5}, {"sigmoid": 1.2e-2, "softmax": 4e-3}


class Report:
    """Prints one line a check and remembers failures."""

    def __init__(self):
        self.checks, self.failures = 0, []

    def add(self, case: str, check: str, error: float, tolerance: float, note: str = "") -> None:
        passed = error <= tolerance
        self._line(passed, f"{case:22} {check:26} {error:9.2e} <= {tolerance:.0e}  {note}")

    def require(self, case: str, check: str, passed: bool, note: str = "") -> None:
        self._line(passed, f"{case:22} {check:26} {note}")

    def _line(self, passed: bool, text: str) -> None:
        self.checks += 1
        print(f"{'ok  ' if passed else 'FAIL'} {text}".rstrip(), flush=True)
        if not passed:
            self.failures.append(text)


def find_sequence(case: Case, model: pathlib.Path, rng, margins: dict):
    """Random ids whose routing rounding does not turn, and what to expect; shorter if need be."""
    length = case.tokens
    while True:
        for _ in range(40):
            ids = [rng.randrange(case.config["vocab_size"]) for _ in range(length)]
            expected = Expected(model, ids)
            if expected.margin() >= margins[case.config["scoring_func"]]:
                return ids, expected
        length = max(4, length - 1 - length // 8)


def both_errors(actual, expected) -> float:
    return max(relative_error(actual, expected), max_error(actual, expected))


def check_logits(report, fathom, name, model, ids, expected: Expected) -> None:
    actual, peer = fathom.logits(model, ids), Transformers(model)
    note = f"T={len(ids)}"
    error = both_errors(actual["logits"], expected.logits[0])
    report.add(name, "logits, reference", error, LOGITS_TOLERANCE, note)
    error = both_errors(actual["logits"], peer.logits(ids))
    report.add(name, "logits, transformers", error, LOGITS_TOLERANCE, note)
    peers = peer.mtp_logits(ids) if expected.mtp_logits else []
    for depth, (theirs, ours) in enumerate(zip(peers, expected.mtp_logits), start=1):
        value = actual["mtp_logits" if depth == 1 else f"mtp_logits.{depth}"]
        error = max(both_errors(value, ours[0]), both_errors(value, theirs))
        report.add(name, f"MTP {depth} logits, both", error, LOGITS_TOLERANCE, note)


def check_gradients(report, fathom, name, model, ids, expected: Expected) -> None:
    def add(check, actual, loss, keep):
        wanted = {k: v for k, v in expected.gradients(loss).items() if keep(k)}
        error, worst = worst_gradient_error({k: v for k, v in actual.items() if keep(k)}, wanted)
        report.add(name, check, error, GRADIENT_TOLERANCE, f"worst {worst}")

    def main(parameter):
        return not expected.model.is_mtp(parameter)

    add("gradients", fathom.gradients(model, ids), expected.loss, main)
    if expected.main_routing:
        loss = expected.loss + expected.balance_loss(BALANCE_ALPHA)
        actual = fathom.gradients(model, ids, balance_alpha=BALANCE_ALPHA)
        add("gradients with balance", actual, loss, main)
    if expected.mtp_losses:
        actual = fathom.gradients(model, ids, mtp_lambda=MTP_LAMBDA)
        add("gradients with MTP", actual, expected.total_loss(MTP_LAMBDA), lambda parameter: True)


def check_bf16(report, fathom, case: Case, directory, rng) -> None:
    case = for_bf16(case)
    build(case, rng.randrange(2**31), directory)
    ids, expected = find_sequence(case, directory, rng, BF16_MARGIN)
    theirs = relative_error(Transformers(directory, torch.bfloat16).logits(ids), expected.logits[0])
    actual = fathom.logits(directory, ids, "bf16")["logits"]
    error = relative_error(actual, expected.logits[0])
    report.add(case.name, "logits, BF16", error, BF16_TOLERANCE, f"transformers {theirs:.1e}")


def check_case(report, fathom, case: Case, work: pathlib.Path, rng) -> None:
    shape = vary(case, rng)
    fp32, bf16 = work / f"{case.name}-fp32", work / f"{case.name}-bf16"
    build(shape, rng.randrange(2**31), fp32)
    ids, expected = find_sequence(shape, fp32, rng, FP32_MARGIN)
    check_logits(report, fathom, case.name, fp32, ids, expected)
    check_gradients(report, fathom, case.name, fp32, ids, expected)
    check_bf16(report, fathom, shape, bf16, rng)


class Warnings(logging.Handler):
    """Collects what transformers logs at warning level or above."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage().strip())


def load_cleanly(report, name: str, directory: pathlib.Path) -> None:
    """AutoModelForCausalLM: no missing, unexpected or mismatched key, and nothing logged."""
    heard = Warnings()
    logger = transformers.logging.get_logger("transformers")
    logger.addHandler(heard)
    transformers.logging.set_verbosity_warning()
    _, info = transformers.AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True)
    transformers.logging.set_verbosity_error()
    logger.removeHandler(heard)
    wrong = {key: sorted(map(str, names))[:3] for key, names in info.items() if names}
    report.require(name, "loads in transformers", not wrong, str(wrong) if wrong else "")
    first = heard.messages[0][:200] if heard.messages else ""
    report.require(name, "no warning", not heard.messages, first)


def check_written(report, fathom, name: str, directory: pathlib.Path, rng) -> None:
    """A checkpoint that fathom wrote: transformers loads it and gives fathom's logits."""
    load_cleanly(report, name, directory)
    peer = Transformers(directory)
    ids = [rng.randrange(peer.model.config.vocab_size) for _ in range(12)]
    error = both_errors(fathom.logits(directory, ids)["logits"], peer.logits(ids))
    report.add(name, "same logits", error, LOGITS_TOLERANCE)


def check_init(report, fathom, case: Case, dtype: str, work: pathlib.Path, rng) -> None:
    shape = vary(case, rng)
    build(shape, 1, work / f"{case.name}-shape")
    out = work / f"{case.name}-init"
    config, seed = work / f"{case.name}-shape" / "config.json", rng.randrange(1000)
    fathom.run("init", "--model", config, "--out", out, "--dtype", dtype, "--seed", seed)
    check_written(report, fathom, f"{case.name} init {dtype}", out, rng)


def check_train(report, fathom, work: pathlib.Path, rng) -> None:
    """Two steps of training from a checkpoint with an MTP module; the tokenizer must load too."""
    case = Case("trained", V3 | dict(vocab_size=320, num_nextn_predict_layers=1))
    build(case, rng.randrange(2**31), work / "start")
    write_corpus(work / "corpus.txt", rng.randrange(1000), words=4000)
    fathom.tokenizer(work / "corpus.txt", 320, work / "tokenizer")
    fathom.train(train_config(work / "start", work, steps=2), work / "run")
    final = work / "run" / "final"
    check_written(report, fathom, "train", final, rng)
    tokenizer = transformers.AutoTokenizer.from_pretrained(final)
    text = "nuve so, ¡zu! 42\n"
    ids = tokenizer.encode(text, add_special_tokens=False)
    report.require("train", "tokenizer round trip", tokenizer.decode(ids) == text, str(ids))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fathom", required=True, help="the fathom program")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--quick", action="store_true", help="five variants instead of all")
    parser.add_argument("--keep", type=pathlib.Path, help="keep the models in this directory")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    torch.set_num_threads(1)
    fathom, report = Fathom(arguments.fathom), Report()
    work = arguments.keep or pathlib.Path(tempfile.mkdtemp(prefix="fathom-oracle-"))

    def rng_of(name):
        return random.Random(f"{arguments.seed} {name}")

    for case in CASES:
        if not arguments.quick or case.name in QUICK:
            check_case(report, fathom, case, work, rng_of(case.name))
    for index, case in enumerate(case for case in CASES if case.name in WRITTEN):
        check_init(report, fathom, case, ("fp32", "bf16")[index % 2], work, rng_of(case.name))
    check_train(report, fathom, work, rng_of("train"))

    if not arguments.keep:
        shutil.rmtree(work)
    passed = report.checks - len(report.failures)
    print(f"{passed} of {report.checks} checks passed, seed {arguments.seed}")
    for failure in report.failures:
        print(f"FAIL {failure}")
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
