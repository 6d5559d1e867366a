"""The loop of a peer's process for bench_llama.py: a request a line, an answer a line, in JSON.

    {"what": "prefill", "tokens": T}                             seconds of a prompt of T tokens
    {"what": "decode", "context": C, "batch": B, "steps": N}     seconds of a step, one token each
    {"what": "peak"}                                             bytes, the highest so far
"""

import json
import resource
import sys


def _answer(worker, request: dict) -> dict:
    what = request.pop("what")
    if what == "peak":
        return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    return {"seconds": getattr(worker, what)(**request)}


def serve(worker, description: dict) -> None:
    """worker: has the methods prefill and decode. The first line written is the description."""
    print(json.dumps(description), flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(worker, json.loads(line))), flush=True)
