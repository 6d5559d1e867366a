"""Random conversations, and what the published Jinja templates make of them.

The templates stand in tests/fixtures/chat/templates, named after Fathom's formats. They are rendered
as transformers does: jinja2's sandbox, trimmed blocks, loop controls, and a tojson that keeps
non-ASCII characters.
"""

import json
from pathlib import Path

import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

TEMPLATES = Path(__file__).resolve().parent.parent / "fixtures" / "chat" / "templates"
FORMATS = sorted(path.stem for path in TEMPLATES.glob("*.jinja"))
NO_TOOLS = {"deepseek-v2", "fathom", "moonlight"}
DEFINES_TOOLS = {"kimi-k2-0711", "kimi-k2", "kimi-k2-thinking"}
NO_CALLS = NO_TOOLS | {"kimi-k2-0711"}
WORDS = ["Hi", " there ", "\n", "\n\n", "中文", "é", "👩‍👩‍👧", "</think>", "<think>", "{x}", "'\"", "\t",
         "<｜User｜>", "<｜end▁of▁sentence｜>", "<|im_end|>", "User: ", "12345", "def f():\n", "\u3000", "%}"]


def template_of(name):
    return (TEMPLATES / f"{name}.jinja").read_text()


def is_deepseek(name):
    return name.startswith("deepseek") or name == "fathom"


def special_tokens(name):
    if is_deepseek(name):
        return {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>"}
    return {"bos_token": "[BOS]", "eos_token": "[EOS]"}


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def render(name, request, thinking, add_generation_prompt):
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                extensions=[jinja2.ext.loopcontrols])
    environment.filters["tojson"] = tojson
    options = {} if thinking is None else {"thinking": thinking}
    return environment.from_string(template_of(name)).render(
        messages=request["messages"], tools=request.get("tools"),
        add_generation_prompt=add_generation_prompt, **special_tokens(name), **options)


def content(rng):
    return "".join(rng.choice(WORDS) for _ in range(rng.randrange(0, 5)))


def json_value(rng, depth=0):
    kind = rng.randrange(9 if depth < 3 else 6)
    if kind >= 6:
        members = [(rng.choice(WORDS) + str(i), json_value(rng, depth + 1))
                   for i in range(rng.randrange(4))]
        return dict(members) if kind < 8 else [value for _, value in members]
    return [None, True, rng.randrange(-5, 10**9), rng.random() * 10, content(rng), "x"][kind]


def tool_definition(rng):
    return {"type": "function", "function": {
        "name": f"tool_{rng.randrange(9)}", "description": content(rng),
        "parameters": {"type": "object", "required": ["b"], "properties": json_value(rng)}}}


def tool_call(rng, index):
    name = f"f{rng.randrange(9)}"
    arguments = json.dumps({"q": content(rng)}, ensure_ascii=False)
    return {"id": f"functions.{name}:{index}", "type": "function",
            "function": {"name": name, "arguments": arguments}}


def assistant(rng, name):
    message = {"role": "assistant", "content": content(rng)}
    if name not in NO_CALLS and rng.random() < 0.4:
        message["tool_calls"] = [tool_call(rng, i) for i in range(rng.randrange(1, 4))]
        # Without content it is None, except where the template then fails.
        if rng.random() < 0.6 or not message["content"]:
            message["content"] = "" if name == "deepseek-r1-0528" else None
    if name == "kimi-k2-thinking" and rng.random() < 0.5:
        message["reasoning_content"] = content(rng)
    return message


def message(rng, name):
    role = rng.choice(["user", "user", "assistant", "assistant", "system", "tool"])
    if role == "assistant":
        return assistant(rng, name)
    if role == "tool" and name not in NO_TOOLS:
        return {"role": "tool", "content": content(rng), "tool_call_id": f"functions.g:{rng.randrange(3)}"}
    out = {"role": "user" if role == "tool" else role, "content": content(rng)}
    if name in ("kimi-k2", "kimi-k2-thinking") and rng.random() < 0.2:
        out["name"] = rng.choice(["Ann", "系统", "bob_1"])
    return out


def case(rng, name):
    """A request, its settings, and the text that the template renders."""
    request = {"messages": [message(rng, name) for _ in range(rng.randrange(1, 9))]}
    if name in DEFINES_TOOLS and rng.random() < 0.5:
        request["tools"] = [tool_definition(rng) for _ in range(rng.randrange(1, 3))]
    thinking = rng.choice([None, True, False]) if name == "deepseek-v3.1" else None
    prompt = rng.random() < 0.7
    return {"request": json.dumps(request, ensure_ascii=False), "thinking": thinking,
            "add_generation_prompt": prompt, "text": render(name, request, thinking, prompt)}
