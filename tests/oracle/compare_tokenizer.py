"""Compares fathom's tokenizer with Hugging Face tokenizers or tiktoken on fresh random text, live.

    python compare_tokenizer.py --fathom build/release/apps/fathom/fathom --tokenizer DIR
                                [--rounds 20] [--bytes 20000] [--seed S]

Runs `fathom tokenizer encode` and `decode` on text mixed from many scripts, code, emoji, white
space, control characters and special tokens. The ids must be equal; decoded ids must give the text.
DIR holds a tokenizer.json of DeepSeek-V3's kind, which is compared once more as a GGUF file carries
it, or a tiktoken.model; without --tokenizer, a tiktoken.model is made for the test. `--rounds 8 --bytes 3000000` compares about 12 MB.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gguf
from tokenizers import Tokenizer

import tiktoken_model

BLOCKS = [(0x20, 0x7F), (0x20, 0x7F), (0xA0, 0x250), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE80),
          (0x1100, 0x1200), (0x2000, 0x2100), (0x3040, 0x3100), (0x4E00, 0xA000), (0xAC00, 0xD7A4),
          (0xE000, 0xF900), (0xFF00, 0xFFF0), (0x1F300, 0x1FA00), (0x20000, 0x20100),
          (0x10000, 0x110000), (0, 0x20)]
PHRASES = ["The cat sat on the mat. ", "don't you'll I'VE ", "for (int i = 0; i < n; ++i) {\n\t",
           "def f(x):\n    return x**2\n\n", "http://a.b/c?d=e&f=1#g ", "3.14159 1,234,567 ", "0x7fff",
           "深度求索发布了新模型。", "カタカナとひらがな、", "Ελληνικά ", "русский ", "العربية ", "हिन्दी ", "ไทย",
           "👨‍👩‍👧‍👦", "🏳️‍🌈🇩🇪", "e\u0301\u0302", "----====", "...\n\n", "\r\n", "   ", "\t\t", "\u3000",
           "\u00a0", "\u0085", "\u200b", "<", "<｜", "｜>"]


def random_text(rng, size, tokens):
    out, length = [], 0
    while length < size:
        kind = rng.random()
        if kind < 0.5 or (kind >= 0.95 and not tokens):
            part = rng.choice(PHRASES) * rng.choice([1, 1, 1, 2, 7])
        elif kind < 0.95:
            low, high = rng.choice(BLOCKS)
            points = (rng.randrange(low, high) for _ in range(rng.randrange(1, 20)))
            part = "".join(chr(c) for c in points if not 0xD800 <= c < 0xE000)
        else:
            part = rng.choice(tokens)
            part = part[:rng.randrange(1, len(part))] if rng.random() < 0.3 else part
        out.append(part)
        length += len(part.encode())
    return "".join(out)


def fathom(binary, *arguments):
    command = [binary, "tokenizer", *arguments, "--json"]
    result = subprocess.run(command, capture_output=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))[:200]}: {result.stderr.decode(errors='replace')}")
    return json.loads(result.stdout)


def first_difference(ours, theirs):
    pairs = zip(ours, theirs)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(theirs)))


class HuggingFace:
    """The tokenizers library with a directory's tokenizer.json."""
    name = "Hugging Face tokenizers"

    def __init__(self, directory):
        self.peer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.special = [t.content for t in self.peer.get_added_tokens_decoder().values()]
        config = json.loads((directory / "tokenizer_config.json").read_text())
        bos = config.get("bos_token")
        bos = bos["content"] if isinstance(bos, dict) else bos
        # What tokenizer_config.json has put before a text. (transformers' own post-processor for
        # DeepSeek follows add_bos_token; the one in tokenizer.json need not.)
        self.prefix = [self.peer.token_to_id(bos)] if config.get("add_bos_token") else []

    def encode(self, text, plain):
        del plain  # a plain text holds no special token
        return self.peer.encode(text, add_special_tokens=False).ids

    def decode(self, ids):
        return self.peer.decode(ids, skip_special_tokens=False)


class Tiktoken:
    """The tiktoken library with a directory's tiktoken.model and Moonlight's pattern."""
    name = "tiktoken"
    prefix = []

    def __init__(self, directory):
        self.peer = tiktoken_model.load(directory)
        self.special = sorted(self.peer.special_tokens_set)

    def encode(self, text, plain):
        if plain:
            return self.peer.encode(text, disallowed_special=())
        return self.peer.encode(text, allowed_special="all")

    def decode(self, ids):
        return self.peer.decode(ids)


def open_peer(directory):
    return HuggingFace(directory) if (directory / "tokenizer.json").exists() else Tiktoken(directory)


def write_gguf(directory, path):
    """The vocabulary of a tokenizer.json as llama.cpp's converter writes it."""
    json_file = json.loads((directory / "tokenizer.json").read_text())
    peer = HuggingFace(directory)
    added = {t["id"]: t for t in json_file["added_tokens"]}
    by_id = {i: t for t, i in json_file["model"]["vocab"].items()}
    by_id |= {i: t["content"] for i, t in added.items()}
    kind = gguf.TokenType
    types = [
        kind.NORMAL if i not in added else kind.CONTROL if added[i]["special"] else kind.USER_DEFINED
        for i in range(len(by_id))
    ]
    merges = [m if isinstance(m, str) else " ".join(m) for m in json_file["model"]["merges"]]
    writer = gguf.GGUFWriter(path, "deepseek2")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("deepseek-v3")
    writer.add_token_list([by_id[i] for i in range(len(by_id))])
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    for id in peer.prefix:
        writer.add_bos_token_id(id)
    writer.add_add_bos_token(bool(peer.prefix))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def compare(fathom_binary, directory, args, model=None):
    """model: what fathom reads, by default the directory."""
    peer, model = open_peer(directory), model or directory
    rng = random.Random(args.seed)
    tokens = text_bytes = 0
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "text"
        for number in range(args.rounds):
            plain = number % 2 == 1  # special tokens' text is text, and nothing is put around it
            words = [] if plain and isinstance(peer, HuggingFace) else peer.special
            text = random_text(rng, rng.randrange(args.bytes // 2, args.bytes) + 1, words)
            path.write_bytes(text.encode())
            theirs = peer.encode(text, plain)
            ours = fathom(fathom_binary, "encode", "--model", model, "--input", path,
                          *(["--no-special"] if plain else []))["ids"]
            expected = theirs if plain else peer.prefix + theirs
            if ours != expected:
                at = first_difference(ours, expected)
                near = peer.decode(expected[max(0, at - 5):at + 5])
                sys.exit(f"round {number} of seed {args.seed}: ids differ from number {at} on: "
                         f"{ours[at:at + 5]} instead of {expected[at:at + 5]}, near {near!r}")
            sample = theirs[:5000]  # an argument's length is limited
            back = fathom(fathom_binary, "decode", "--model", model, "--ids",
                          ",".join(map(str, sample)))["text"]
            if sample and back != peer.decode(sample):
                sys.exit(f"round {number} of seed {args.seed}: decoded text differs")
            tokens += len(theirs)
            text_bytes += len(text.encode())
    print(f"equal to {peer.name} on {args.rounds} random texts, {text_bytes} bytes, {tokens} tokens "
          f"(seed {args.seed})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fathom", required=True, type=Path)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--bytes", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    if args.tokenizer:
        compare(args.fathom, args.tokenizer, args)
        if (args.tokenizer / "tokenizer.json").exists():
            with tempfile.TemporaryDirectory() as directory:
                write_gguf(args.tokenizer, Path(directory) / "vocabulary.gguf")
                compare(args.fathom, args.tokenizer, args, Path(directory) / "vocabulary.gguf")
        return
    with tempfile.TemporaryDirectory() as directory:
        rng = random.Random(args.seed)
        texts = [random_text(rng, 10000, []) for _ in range(100)]
        sources = sorted(Path(__file__).resolve().parents[2].glob("src/**/*.cpp"))
        texts += [source.read_text() for source in sources]
        tiktoken_model.make(Path(directory), texts, vocab_size=12000)
        compare(args.fathom, Path(directory), args)


if __name__ == "__main__":
    main()
