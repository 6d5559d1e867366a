"""Running the fathom program from the oracle scripts: its debug outputs and short training runs."""

import json
import pathlib
import random
import subprocess
import tempfile

from safetensors.torch import load_file


class Fathom:
    def __init__(self, program: str):
        self.program = str(pathlib.Path(program).resolve())

    def run(self, *arguments) -> dict:
        """Runs a subcommand with --json and returns its document."""
        command = [self.program, *map(str, arguments), "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(
                f"{' '.join(command)}\nexit code {done.returncode}: {done.stderr.strip()[-2000:]}"
            )
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def _debug(self, what, model: pathlib.Path, ids, precision, *options) -> dict:
        with tempfile.TemporaryDirectory() as directory:
            out = pathlib.Path(directory) / "out.safetensors"
            ids = ",".join(map(str, ids))
            arguments = ["--model", model, "--ids", ids, "--precision", precision, "--out", out]
            self.run("debug", what, *arguments, *options)
            return load_file(out)

    def logits(self, model: pathlib.Path, ids, precision="fp32") -> dict:
        """logits [T,V]; mtp_logits [T-1,V], mtp_logits.2 [T-2,V], ... one a depth of MTP."""
        return self._debug("logits", model, ids, precision)

    def gradients(self, model: pathlib.Path, ids, mtp_lambda=0.0, balance_alpha=0.0) -> dict:
        """Of CE + lambda/D sum_k CE_k + balance loss, by Hugging Face name."""
        options = ["--mtp-lambda", mtp_lambda] if mtp_lambda else []
        options += ["--balance-alpha", balance_alpha] if balance_alpha else []
        return self._debug("gradients", model, ids, "fp32", *options)

    def tokenizer(self, corpus: pathlib.Path, vocab_size: int, out: pathlib.Path) -> None:
        arguments = ["--input", corpus, "--vocab-size", vocab_size, "--out", out]
        self.run("tokenizer", "train", *arguments)

    def train(self, config: dict, out: pathlib.Path) -> dict:
        out.mkdir(parents=True, exist_ok=True)
        path = out / "config.toml"
        path.write_text(to_toml(config))
        return self.run("train", path, "--out", out)


def to_toml(config: dict) -> str:
    """Top-level values, then one table a nested dict, inline below the first level."""

    def text(value):
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{key} = {text(v)}" for key, v in value.items()) + " }"
        return json.dumps(value)  # JSON's scalars and arrays are TOML's

    plain = {key: value for key, value in config.items() if not isinstance(value, dict)}
    lines = [f"{key} = {text(value)}" for key, value in plain.items()]
    for table, values in config.items():
        if isinstance(values, dict):
            lines += ["", f"[{table}]"]
            lines += [f"{key} = {text(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def write_corpus(path: pathlib.Path, seed: int, words: int = 40000) -> None:
    """Text with something to learn: words of unequal frequency, each with favourite successors."""
    rng = random.Random(seed)
    syllables = ["ba", "ke", "lo", "mi", "nu", "ra", "so", "ti", "ve", "zu"]
    names = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(300)]
    weights = [1 / rank for rank in range(1, len(names) + 1)]
    followers = {name: rng.choices(names, weights, k=4) for name in names}
    word, text = names[0], []
    for _ in range(words):
        text.append(word)
        word = rng.choice(followers[word]) if rng.random() < 0.8 else rng.choices(names, weights)[0]
    lines = (" ".join(text[start : start + 12]) + "." for start in range(0, words, 12))
    path.write_text("\n".join(lines) + "\n")


def train_config(model: pathlib.Path, work: pathlib.Path, steps: int, **tables) -> dict:
    """A small FP32 run on work/corpus.txt with work/tokenizer; `tables` override by table."""
    config = {
        "model": str(model),
        "data": {
            "train": str(work / "corpus.txt"),
            "tokenizer": str(work / "tokenizer"),
            "seq_len": 32,
            "fim_rate": 0.0,
        },
        "train": {
            "steps": steps,
            "batch_tokens": 256,
            "micro_batch": 4,
            "precision": "fp32",
            "seed": 1,
        },
        "optimizer": {
            "lr": 1e-3,
            "betas": [0.9, 0.95],
            "eps": 1e-8,
            "weight_decay": 0.1,
            "grad_clip": 1.0,
            "schedule": {"type": "constant", "warmup_steps": 0},
            "moments": "fp32",
        },
    }
    for table, values in tables.items():
        config[table] = config.get(table, {}) | values
    return config
