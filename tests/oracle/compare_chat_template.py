"""Compares `fathom tokenizer render` with jinja2 on fresh random conversations, live.

    python compare_chat_template.py --fathom build/release/apps/fathom/fathom [--rounds 40]
                                    [--seed S]

For each template of tests/fixtures/chat/templates a tokenizer that names it is put together; the
template must be recognised and rendered alike. The ids must be those of the rendered text wherever
no message holds a special token's text.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tokenizers import Tokenizer

import chat_cases
import tiktoken_model
from compare_tokenizer import fathom

SMALL = Path(__file__).resolve().parent.parent / "fixtures" / "tokenizer" / "small"
TIKTOKEN = SMALL.parent / "tiktoken"
TOOL_TOKENS = [f"<｜tool▁{name}｜>" for name in (
    "calls▁begin", "calls▁end", "call▁begin", "call▁end", "outputs▁begin", "outputs▁end",
    "output▁begin", "output▁end", "sep")]


def make_tokenizer(directory, name):
    """A tokenizer with the format's markers and its template."""
    shutil.copytree(SMALL if chat_cases.is_deepseek(name) else TIKTOKEN, directory)
    config = json.loads((directory / "tokenizer_config.json").read_text())
    config["chat_template"] = chat_cases.template_of(name)
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    if chat_cases.is_deepseek(name):
        tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        thinks = ["<think>", "</think>"] if "r1" in name or name.endswith("3.1") else []
        tokenizer.add_tokens(TOOL_TOKENS + thinks)
        tokenizer.save(str(directory / "tokenizer.json"))


def encoder(directory):
    if (directory / "tokenizer.json").exists():
        peer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        special = [t.content for t in peer.get_added_tokens_decoder().values()]
        return special, lambda text: peer.encode(text, add_special_tokens=False).ids
    peer = tiktoken_model.load(directory)
    return sorted(peer.special_tokens_set), lambda text: peer.encode(text, allowed_special="all")


def arguments_for(case):
    out = [] if case["add_generation_prompt"] else ["--no-generation-prompt"]
    if case["thinking"] is not None:
        out.append("--thinking" if case["thinking"] else "--no-thinking")
    return out


def check(name, case, ours, special, encode):
    if ours["text"] != case["text"]:
        sys.exit(f"{name}: rendered text differs for {case['request']}\n"
                 f"ours   {ours['text']!r}\ntheirs {case['text']!r}")
    said = "".join(strings(json.loads(case["request"])))
    if any(token in said for token in special):
        return 0
    if ours["ids"] != encode(case["text"]):
        sys.exit(f"{name}: ids differ for {case['request']}")
    return 1


def strings(value):
    if isinstance(value, str):
        yield value
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for item in value:
            yield from strings(item)


def compare(binary, name, directory, args, rng):
    special, encode = encoder(directory)
    cases = [chat_cases.case(rng, name) for _ in range(args.rounds)]
    groups = {}
    for case in cases:
        groups.setdefault(tuple(arguments_for(case)), []).append(case)
    same_ids = 0
    for extra, group in groups.items():
        files = []
        for i, case in enumerate(group):
            files.append(directory / f"{i}.json")
            files[-1].write_text(case["request"])
        answer = fathom(binary, "render", "--model", directory, *extra, "--messages", *files)
        if answer["format"] != name:
            sys.exit(f"{name}: recognised as {answer['format']}")
        for case, ours in zip(group, answer["conversations"]):
            same_ids += check(name, case, ours, special, encode)
    print(f"{name}: {len(cases)} conversations rendered like jinja2, ids compared on {same_ids}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fathom", required=True, type=Path)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    rng = random.Random(args.seed)
    print(f"seed {args.seed}")
    with tempfile.TemporaryDirectory() as scratch:
        for name in chat_cases.FORMATS:
            directory = Path(scratch) / name
            make_tokenizer(directory, name)
            compare(args.fathom, name, directory, args, rng)


if __name__ == "__main__":
    main()
