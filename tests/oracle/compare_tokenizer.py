"""Compares fathom's tokenizer with Hugging Face tokenizers on fresh random text, live.

    python compare_tokenizer.py --fathom build/release/apps/fathom/fathom --tokenizer DIR
                                [--rounds 20] [--bytes 20000] [--seed S]

Runs `fathom tokenizer encode` and `decode` on text mixed from many scripts, code, emoji, white
space, control characters and special tokens. The ids must be equal; decoded ids must give the text.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tokenizers import Tokenizer

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


def beginning(directory, peer):
    """The ids that tokenizer_config.json has put before a text. (transformers' own post-processor
    for DeepSeek follows add_bos_token; the one in tokenizer.json need not.)"""
    config = json.loads((directory / "tokenizer_config.json").read_text())
    if not config.get("add_bos_token"):
        return []
    bos = config["bos_token"]
    return [peer.token_to_id(bos["content"] if isinstance(bos, dict) else bos)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fathom", required=True, type=Path)
    parser.add_argument("--tokenizer", required=True, type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--bytes", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    peer = Tokenizer.from_file(str(args.tokenizer / "tokenizer.json"))
    added = [t.content for t in peer.get_added_tokens_decoder().values()]
    prefix = beginning(args.tokenizer, peer)
    rng = random.Random(args.seed)
    total = 0
    with tempfile.TemporaryDirectory() as directory:
        for number in range(args.rounds):
            plain = number % 2 == 1  # without special tokens in the text, or around it
            text = random_text(rng, rng.randrange(args.bytes) + 1, [] if plain else added)
            path = Path(directory) / "text"
            path.write_bytes(text.encode())
            theirs = peer.encode(text, add_special_tokens=False).ids
            ours = fathom(args.fathom, "encode", "--model", args.tokenizer, "--input", path,
                          *(["--no-special"] if plain else []))["ids"]
            expected = theirs if plain else prefix + theirs
            if ours != expected:
                at = first_difference(ours, expected)
                near = peer.decode(expected[max(0, at - 5):at + 5], skip_special_tokens=False)
                sys.exit(f"round {number} of seed {args.seed}: ids differ from number {at} on: "
                         f"{ours[at:at + 5]} instead of {expected[at:at + 5]}, near {near!r}")
            sample = theirs[:5000]  # an argument's length is limited
            back = fathom(args.fathom, "decode", "--model", args.tokenizer, "--ids",
                          ",".join(map(str, sample)))["text"]
            if sample and back != peer.decode(sample, skip_special_tokens=False):
                sys.exit(f"round {number} of seed {args.seed}: decoded text differs")
            total += len(theirs)
    print(f"equal to Hugging Face tokenizers on {args.rounds} random texts, {total} tokens "
          f"(seed {args.seed})")


if __name__ == "__main__":
    main()
