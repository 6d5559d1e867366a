"""Makes tests/fixtures/tokenizer: what Hugging Face tokenizers answers, for tests/text.

    python make_tokenizer_fixtures.py --v3 DIR_OF_THE_DEEPSEEK_V3_TOKENIZER [--out DIR]

small/      a byte-level BPE trained here by Hugging Face on the sentences below
tiktoken/   a tiktoken.model in the layout of Moonlight and Kimi-K2, trained on the same
cases.json  texts and their ids by small, by tiktoken and by the DeepSeek-V3 tokenizer; a CRC-32 of
            the ids of every block of 4096 code points
splits.json patterns, behaviors and the pieces they leave
added.json  added tokens with every flag, and texts with them
"""

import argparse
import json
import random
import struct
import zlib
from pathlib import Path

import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import tiktoken_model

PATTERNS = [
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
]
SPECIAL = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"]
ROLES = ["<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>", "<｜User｜>", "<｜Assistant｜>"]

SENTENCES = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps through it all.",
    "It was the best of times, it was the worst of times; it was the age of wisdom...",
    "I'd've thought they'll say \"don't\", she's 'right' -- isn't she?",
    "In 1984, 123456789 people paid $1,234,567.89 (or 3.14%) at 12:30:59 on 2024-12-26.",
    "def f(x, *args):\n    return {k: v**2 for k, v in x.items() if v != 0}\n\n\nclass A:\n\tpass\n",
    "#include <stdio.h>\r\nint main(void) { printf(\"%d\\n\", 0x7F & ~1); return 0; }\r\n",
    "Les élèves français à Noël, où ça? Größe, Straße, Äpfel; señor ¿qué? ¡sí!",
    "Ελληνικά γράμματα και русские буквы, українська мова, Български",
    "深度求索发布了新模型，参数量为六千七百一十亿。今天天气很好！",
    "日本語のテキスト、ひらがなとカタカナと漢字。ｶﾀｶﾅ 한국어 문장입니다.",
    "שלום עולם مرحبا بالعالم नमस्ते दुनिया ภาษาไทย ქართული አማርኛ தமிழ்",
    "👨‍👩‍👧‍👦 family, 🏳️‍🌈 flag, 🇩🇪🇫🇷, 👍🏽, e\u0301 combining, ﬁ ligature, ½ ² Ⅷ ٣ ৪",
    "math: ∀x∈ℝ, ∑ᵢ xᵢ² ≤ ∞ → √2 ≈ 1.414; 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟘𝟙𝟚",
    "http://example.com/path?a=1&b=2#frag user_name@mail.org C:\\dir\\file.txt <b>x</b>",
]
ODD = [
    "", " ", "  ", "\n", "\r\n", "\t", "a", "é", "中", "👍", "\x00", "\x7f", "\x85", "\ufeff",
    "   leading", "trailing   ", "a  b   c    d", "a\n\nb\r\n\r\nc\rd", " \n \n  x", "x \n\t y \n",
    "\t\tx\t\ty", "a\u00a0b\u3000c\u2028d\u2029e\u180ef\u200bg\u200dh\u0085i\x0bj\x0ck\x1cl",
    "\x00\x01\x02a\x03b 1\x04", "...!!!???", "!!!\n\n\n???", "\"quoted\"text", "a.b.c", "(x)(y)",
    "1", "12", "123", "1234", "12345678901234567890", "1a2b3c", "٠١٢٣٤٥", "一二三1一2", "あ1ア", "漢字kana漢字",
    "\U00010d40\U00010d41 \u1c89\ua7da \u2ffc", "\U000e0041\U0010ffff\ufffe\ufdd0",
    "a\u0301\u0302\u0303", "\u0301a", " \u0301", "🇩", "👩‍", "\u200d\u200d",
    "hello" * 60, "ab" * 400, "-" * 300, " " * 200 + "x", "\n" * 150, "=" * 40 + "\n" + "=" * 40,
    "".join(SPECIAL), "x<｜User｜>Hi<｜Assistant｜>Yo<｜end▁of▁sentence｜>", "<｜User｜", "<｜Userx｜>",
    "<｜<｜User｜>｜>", "<<｜User｜>>", " <｜fim▁begin｜> a <｜fim▁hole｜> b <｜fim▁end｜> ",
    "[BOS]<|im_user|>user<|im_middle|>Hi<|im_end|>", "<|im_end|", "<|reserved_token_1<|im_end|>",
    "'S 'T we'RE'VE I'M they'LL he'D x'ſ x'St", "漢A字b々〇〸ㄅ한x", "ABCdefGHI camelCaseHTMLx Xx",
    "<|User|>", "<｜place▁holder▁no▁7｜><｜place▁holder▁no▁77｜><｜place▁holder▁no▁777｜><|EOT|>",
]


def random_texts(rng, count):
    blocks = [(0x20, 0x7F), (0x20, 0x7F), (0xA0, 0x250), (0x370, 0x530), (0x590, 0x700),
              (0x900, 0xE80), (0x1100, 0x1200), (0x3040, 0x3100), (0x4E00, 0xA000),
              (0xAC00, 0xD7A4), (0x1F300, 0x1FA00), (0x2000, 0x2100), (0, 0x20), (0xFF00, 0xFFF0)]
    glue = [" ", "  ", "\n", "\r\n", "\t", " \n", "\u3000", "\u00a0", "\n\n", "<｜User｜>", "12345"]
    for _ in range(count):
        parts = []
        for _ in range(rng.randrange(1, 12)):
            low, high = rng.choice(blocks)
            parts += [chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 9))]
            parts.append(rng.choice(glue))
        yield "".join(parts)


def pre_tokenizer():
    steps = [pre_tokenizers.Split(Regex(p), behavior="isolated") for p in PATTERNS]
    return pre_tokenizers.Sequence(steps + [pre_tokenizers.ByteLevel(False, use_regex=False)])


def train_small():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700, show_progress=False, special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.add_tokens([AddedToken(t, normalized=True) for t in ROLES])
    return tokenizer


def encode(tokenizer, text):
    if isinstance(tokenizer, tiktoken.Encoding):
        return tokenizer.encode(text, allowed_special="all")
    return tokenizer.encode(text, add_special_tokens=False).ids


def code_point_block(start):
    points = [c for c in range(start, start + 4096) if not 0xD800 <= c < 0xE000]
    return "".join(f"a{chr(c)}b {chr(c)}1\n" for c in points)


def block_crcs(tokenizer):
    crcs = []
    for start in range(0, 0x110000, 4096):
        ids = encode(tokenizer, code_point_block(start))
        crcs.append(zlib.crc32(struct.pack(f"<{len(ids)}i", *ids)))
    return crcs


def make_cases(tokenizers):
    texts = SENTENCES + ODD + ["\n".join(SENTENCES)] + list(random_texts(random.Random(7), 150))
    cases = [{"text": t, **{name: encode(tok, t) for name, tok in tokenizers.items()}}
             for t in texts]
    return {"cases": cases, "crc": {name: block_crcs(tok) for name, tok in tokenizers.items()}}


def make_splits():
    texts = ["the end\n  of 12 xx-yy--z ", "aaa", "", " a  b ", "x1y22z", "\n\n", "a\r\nb$\n", "中文 é"]
    patterns = [r"\s", r"\s+", r"\s+$", "x*", "(?=x)", "x|xx", "x{2}|y", r"[^\s\p{L}]+", r"\d+?", "--?",
                r"(?:a|b)+c?", r"\p{^L}", r"[\r\n]", r"\s?\w+", r"\S+\s*(?!\w)", r"a++", r"\z", ".",
                r"[a-y]{1,2}?", r"\W", r"\x61|\u0062|\x{4E2D}"]
    cases = []
    for pattern in patterns:
        for behavior in ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext",
                         "Contiguous"):
            snake = "".join("_" + c.lower() if c.isupper() else c for c in behavior)[1:]
            for invert in (False, True):
                split = pre_tokenizers.Split(Regex(pattern), behavior=snake, invert=invert)
                cases.append({
                    "pattern": pattern, "behavior": behavior, "invert": invert,
                    "pieces": [[p for p, _ in split.pre_tokenize_str(t)] for t in texts]})
    return {"texts": texts, "cases": cases}


def make_added(small):
    tokenizer = Tokenizer.from_str(small.to_str())
    flags = [("<mask>", dict(lstrip=True)), ("<sep>", dict(rstrip=True)),
             ("word", dict(single_word=True)), ("<both>", dict(lstrip=True, rstrip=True)),
             ("<bo", dict()), ("wordy", dict(normalized=False)), ("<sp>", dict(special=True))]
    for content, extra in flags:
        special = extra.pop("special", False)
        token = AddedToken(content, **{"normalized": True, **extra})
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([token])
    texts = ["a  <mask>  b", "a <sep> \n b", "word words sword word,word _word word",
             "x \t<both>\n y<both><both> ", "<bo<both>", "<mask><mask> <mask>", "wordy word wordyword",
             "a<sp>b <sp> c", "éword wordé 中word"]
    added = json.loads(tokenizer.to_str())["added_tokens"][-len(flags):]
    return {"added_tokens": added,
            "cases": [{"text": t, "ids": encode(tokenizer, t)} for t in texts]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--v3", required=True, type=Path)
    parser.add_argument("--out", type=Path,
                        default=Path(__file__).resolve().parent.parent / "fixtures" / "tokenizer")
    args = parser.parse_args()
    small = train_small()
    (args.out / "small").mkdir(parents=True, exist_ok=True)
    (args.out / "small" / "tokenizer.json").write_text(small.to_str(pretty=False) + "\n")
    config = {"add_bos_token": True, "add_eos_token": False,
              "bos_token": {"__type": "AddedToken", "content": SPECIAL[0]},
              "eos_token": SPECIAL[1], "pad_token": SPECIAL[2]}
    (args.out / "small" / "tokenizer_config.json").write_text(
        json.dumps(config, ensure_ascii=False, indent=2) + "\n")
    v3 = Tokenizer.from_file(str(args.v3 / "tokenizer.json"))
    tiktoken_model.make(args.out / "tiktoken", SENTENCES + ODD, 900)
    kimi = tiktoken_model.load(args.out / "tiktoken")
    for name, content in (("cases", make_cases({"small": small, "tiktoken": kimi, "v3": v3})),
                          ("splits", make_splits()), ("added", make_added(small))):
        text = json.dumps(content, separators=(",", ":"))
        (args.out / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
