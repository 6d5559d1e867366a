"""Writes src/text/unicode_tables.cpp: what Hugging Face tokenizers believes about Unicode.

Pre-tokenizer patterns are run by Hugging Face's `tokenizers` with the Oniguruma library, so its
idea of \\p{..}, \\s and \\w, not the newest standard, decides where text is split. This script asks
it about every code point and prints the answers as run-length tables.

    python make_unicode_tables.py > src/text/unicode_tables.cpp
"""

import tokenizers
from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp "
              "Cc Cf Cs Co Cn").split()
BLOCK = 4096


def members(pattern):
    """Code points that the pattern matches, found a block at a time."""
    splitter = Split(Regex(pattern), behavior="removed")
    found = []
    for start in range(0, 0x110000, BLOCK):
        points = [c for c in range(start, start + BLOCK) if not 0xD800 <= c < 0xE000]
        text = "".join(map(chr, points))
        missing = set()
        for _, (begin, end) in splitter.pre_tokenize_str(text):
            missing.update(points[begin:end])
        found += [c for c in points if c not in missing]
    return found


def runs(points):
    """Sorted code points as [first, last] runs."""
    out = []
    for c in points:
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def print_array(declaration, items):
    print(f"{declaration} = {{")
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > 100:
            print(line)
            line = "   "
        line += f" {item},"
    print(line)
    print("};\n")


def main():
    category = ["Cn"] * 0x110000
    category[0xD800:0xE000] = ["Cs"] * 0x800
    for name in CATEGORIES:
        if name in ("Cs", "Cn"):
            continue
        for c in members(rf"\p{{{name}}}"):
            assert category[c] == "Cn", (hex(c), category[c], name)
            category[c] = name
    starts = [c for c in range(0x110000) if c == 0 or category[c] != category[c - 1]]
    print("// Written by tests/oracle/make_unicode_tables.py from Hugging Face tokenizers "
          f"{tokenizers.__version__}.")
    print('#include "text/unicode_tables.h"\n')
    print("namespace fathom {\n")
    print("// clang-format off")
    print_array("const std::array<std::string_view, 30> kCategoryNames",
                [f'"{name}"' for name in CATEGORIES])
    print_array("constexpr uint32_t kCategoryRunData[]",
                [f"{c << 8 | CATEGORIES.index(category[c]):#x}" for c in starts])
    for name, pattern in (("White", r"\s"), ("Word", r"\w"), ("Han", r"\p{Han}")):
        found = runs(members(pattern))
        print_array(f"constexpr CodePointRange k{name}RangeData[]",
                    [f"{{{a:#x}, {b:#x}}}" for a, b in found])
    print("// clang-format on")
    print("const std::span<const uint32_t> kCategoryRuns = kCategoryRunData;")
    print("const std::span<const CodePointRange> kWhiteRanges = kWhiteRangeData;")
    print("const std::span<const CodePointRange> kWordRanges = kWordRangeData;")
    print("const std::span<const CodePointRange> kHanRanges = kHanRangeData;\n")
    print("}  // namespace fathom")


if __name__ == "__main__":
    main()
