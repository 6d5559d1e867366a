"""The peer of `fathom bench --peer`: PyTorch on the same shapes, driven line by line.

    python -c SCRIPT THREADS CPUS

Standard input has one JSON object a line, standard output answers each with one. {"op": NAME, …}
makes random data for an operation and runs it once: {} or {"error": …}. {"op": "time", "seconds": S}
runs what was last made for about S seconds: {"seconds": [duration, …]}. `copies` sets of data are
used in turn, as fathom does, so that both find them equally far from the processor.
"""

import json
import os
import sys
import time


def cpus_of(text):
    """"0-3,8" as a set: the parent may be bound to a single processor, which children inherit."""
    cpus = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def answer(value):
    print(json.dumps(value), flush=True)


def first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0]


os.sched_setaffinity(0, cpus_of(sys.argv[2]))
try:
    import torch
    import torch.nn.functional as F
except Exception as error:
    answer({"error": first_line(error)})
    sys.exit(1)

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "e4m3": torch.bfloat16}


def random(r, *shape):
    return torch.rand(*shape, dtype=torch.float32).sub_(0.5).to(DTYPES[r["dtype"]])


def copies(r, make):
    return [make() for _ in range(r["copies"])]


def gemm(r):
    m, n, k = r["m"], r["n"], r["k"]
    if r["layout"] == "nt":
        data = copies(r, lambda: (random(r, m, k), random(r, n, k)))
        return lambda i: F.linear(*data[i % len(data)])
    if r["layout"] == "nn":
        data = copies(r, lambda: (random(r, m, k), random(r, k, n)))
    else:
        data = copies(r, lambda: (random(r, k, m).T, random(r, k, n)))
    return lambda i: torch.matmul(*data[i % len(data)])


def looped(r, a, b, offsets):
    spans = list(zip(offsets, offsets[1:]))
    if r["layout"] == "tn":
        return lambda i: [a[s:e].T @ b[s:e] for s, e in spans]
    if r["layout"] == "nn":
        return lambda i: [a[s:e] @ w for (s, e), w in zip(spans, b)]
    return lambda i: [F.linear(a[s:e], w) for (s, e), w in zip(spans, b)]


def grouped_mm(a, b, offsets):
    ends = torch.tensor(offsets[1:], dtype=torch.int32)
    return lambda i: torch._grouped_mm(a, b.transpose(1, 2), offs=ends)


def grouped_gemm(r):
    """The faster of a loop over experts and, for the forward, torch._grouped_mm."""
    offsets, n, k = r["offsets"], r["n"], r["k"]
    groups = len(offsets) - 1
    a = random(r, offsets[-1], k)
    shapes = {"nt": (groups, n, k), "nn": (groups, k, n), "tn": (offsets[-1], n)}
    b = random(r, *shapes[r["layout"]])
    ways = [looped(r, a, b, offsets)]
    if r["layout"] == "nt" and hasattr(torch, "_grouped_mm"):
        ways.append(grouped_mm(a, b, offsets))
    return fastest(ways)


def fastest(ways):
    best, shortest = ways[0], None
    for way in ways:
        try:
            way(0)
            start = time.perf_counter()
            way(0)
        except RuntimeError:  # no kernel for this machine
            continue
        seconds = time.perf_counter() - start
        if shortest is None or seconds < shortest:
            best, shortest = way, seconds
    return best


def attention(r):
    s, t, h = r["sequences"], r["tokens"], r["heads"]

    def make():
        q = random(r, s, h, t, r["qk"])
        return q, random(r, s, h, t, r["qk"]), random(r, s, h, t, r["v"])

    q, k, v = make()
    if r["pass"] == "forward":
        return lambda i: F.scaled_dot_product_attention(q, k, v, is_causal=True)
    for x in (q, k, v):
        x.requires_grad_(True)
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    gradient = torch.rand_like(out)
    return lambda i: torch.autograd.grad(out, (q, k, v), gradient, retain_graph=True)


def decode_attention(r):
    """Absorbed decode: all heads attend to one latent cache, whose first `latent` values are v."""
    width, latent = r["latent"] + r["rope"], r["latent"]
    q = random(r, 1, r["heads"], r["queries"], width)
    caches = copies(r, lambda: random(r, 1, 1, r["cache"], width))

    def run(i):
        c = caches[i % len(caches)].expand(-1, r["heads"], -1, -1)
        return F.scaled_dot_product_attention(q, c, c[..., :latent])

    return run


def rmsnorm(r):
    w = random(r, r["dim"])
    data = copies(r, lambda: random(r, r["tokens"], r["dim"]))
    return lambda i: F.rms_norm(data[i % len(data)], (r["dim"],), w, 1e-6)


def swiglu(r):
    data = copies(r, lambda: random(r, r["tokens"], 2 * r["dim"]))

    def run(i):
        gate, up = data[i % len(data)].chunk(2, dim=1)
        return F.silu(gate) * up

    return run


OPERATIONS = {
    f.__name__: f
    for f in (gemm, grouped_gemm, attention, decode_attention, rmsnorm, swiglu)
}


def timed(run, seconds):
    durations, end = [], time.perf_counter() + seconds
    while not durations or time.perf_counter() < end:
        start = time.perf_counter()
        run(len(durations))
        durations.append(time.perf_counter() - start)
    return durations


def main():
    torch.manual_seed(0)
    torch.set_num_threads(int(sys.argv[1]))
    answer({"name": "PyTorch " + torch.__version__})
    run = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["op"] == "time":
                with torch.set_grad_enabled(False):
                    answer({"seconds": timed(run, request["seconds"])})
                continue
            run = None  # frees the data of the last operation
            run = OPERATIONS[request["op"]](request)
            run(0)
            answer({})
        except Exception as error:
            answer({"error": first_line(error)})


main()
