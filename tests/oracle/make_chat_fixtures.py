"""Makes tests/fixtures/chat/cases.json: conversations and what the published templates render.

    python make_chat_fixtures.py
"""

import json
import random

from chat_cases import FORMATS, TEMPLATES, case


def main():
    rng = random.Random(5)
    cases = {name: [case(rng, name) for _ in range(12)] for name in FORMATS}
    (TEMPLATES.parent / "cases.json").write_text(
        json.dumps(cases, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
