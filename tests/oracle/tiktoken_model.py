"""Makes and loads a tiktoken.model as Moonlight and Kimi-K2 publish theirs.

The pattern and the layout of the special tokens are those of the models' own tokenizer class
(tokenization_moonshot.py, tokenization_kimi.py); the ranks are trained on given texts.
"""

import base64
import json

import tiktoken
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

PATTERN = "|".join([
    r"[\p{Han}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"\s*[\r\n]+",
    r"\s+(?!\S)",
    r"\s+",
])
RESERVED = 256
# Offsets from the first reserved id, as in Kimi-K2; think tokens as in Kimi-K2-Thinking.
SPECIAL = {0: "[BOS]", 1: "[EOS]", 2: "<|im_end|>", 3: "<|im_user|>", 4: "<|im_assistant|>",
           6: "<|start_header_id|>", 7: "<|end_header_id|>", 9: "[EOT]", 10: "<|im_system|>",
           11: "<|tool_calls_section_begin|>", 12: "<|tool_calls_section_end|>",
           13: "<|tool_call_begin|>", 14: "<|tool_call_argument_begin|>", 15: "<|tool_call_end|>",
           17: "<|im_middle|>", 22: "<think>", 23: "</think>", 254: "[UNK]", 255: "[PAD]"}
NOT_SPECIAL = {11, 12, 13, 14, 15, 22, 23}


def train(texts, vocab_size):
    """The tokens' bytes by rank: the 256 bytes, then what training joins."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
         pre_tokenizers.ByteLevel(False, use_regex=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size, show_progress=False, initial_alphabet=alphabet))
    spelling = {}
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    spelling.update({chr(b): b for b in printable})
    spelling.update({chr(256 + i): b for i, b in enumerate(others)})
    by_id = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    tokens = [bytes(spelling[c] for c in token) for token, _ in by_id]
    return sorted((t for t in tokens if len(t) == 1)) + [t for t in tokens if len(t) > 1]


def config(base, chat_template=None):
    named = {str(base + offset): {
        "content": content, "lstrip": False, "normalized": False, "rstrip": False,
        "single_word": False, "special": offset not in NOT_SPECIAL}
        for offset, content in SPECIAL.items()}
    out = {"added_tokens_decoder": named, "bos_token": "[BOS]", "eos_token": "[EOS]",
           "pad_token": "[PAD]", "unk_token": "[UNK]", "tokenizer_class": "TikTokenTokenizer"}
    return {**out, "chat_template": chat_template} if chat_template else out


def make(directory, texts, vocab_size, chat_template=None):
    tokens = train(texts, vocab_size)
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "tiktoken.model").write_text("".join(lines))
    (directory / "tokenizer_config.json").write_text(
        json.dumps(config(len(tokens), chat_template), ensure_ascii=False, indent=1) + "\n")


def load(directory):
    """As the published class does; its range of two ids more than are reserved has no use."""
    ranks = {}
    for line in (directory / "tiktoken.model").read_text().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    listed = json.loads((directory / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    special = {listed.get(str(i), {}).get("content", f"<|reserved_token_{i}|>"): i
               for i in range(len(ranks), len(ranks) + RESERVED)}
    return tiktoken.Encoding("tiktoken.model", pat_str=PATTERN, mergeable_ranks=ranks,
                             special_tokens=special)
