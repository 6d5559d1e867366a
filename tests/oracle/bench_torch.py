"""PyTorch's speed on a model that fathom trains or runs: the peer for docs/performance.md.

    python bench_torch.py CONFIG.json [--mode train|decode] [--threads N] [--batch B] [--seq-len T]
                          [--seconds S] [--compile]

transformers' model of that config.json with random weights. Training times whole steps (forward,
backward, AdamW) on random tokens in each BF16 way PyTorch offers: parameters in BF16, or FP32
parameters under autocast; experts looped over or by grouped GEMM; with --compile also compiled.
Decoding times generate() with its KV cache, parameters in BF16 and in FP32. Prints one JSON
document; the best variant's rate is `tokens_per_s`. The host is noisy: interleave with
`fathom bench train|decode`.
"""

import argparse
import contextlib
import itertools
import json
import statistics
import sys
import time

import torch
import transformers


def make_model(config_path: str, experts: str, dtype) -> torch.nn.Module:
    config = transformers.AutoConfig.from_pretrained(config_path)
    return transformers.AutoModelForCausalLM.from_config(
        config, dtype=dtype, experts_implementation=experts
    )


def timed(run, seconds: float) -> list[float]:
    """Durations of as many calls as fit in `seconds`, at least one, after one to warm up."""
    run()
    durations, end = [], time.perf_counter() + seconds
    while not durations or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        durations.append(time.perf_counter() - start)
    return durations


def train_step(arguments, parameters: str, experts: str, compiled: bool):
    """A function that makes one training step on fresh random tokens."""
    dtype = torch.bfloat16 if parameters == "bf16" else torch.float32
    model = make_model(arguments.config, experts, dtype).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)
    forward = torch.compile(model) if compiled else model
    autocast = torch.autocast("cpu", torch.bfloat16) if dtype == torch.float32 else None

    def step():
        shape = (arguments.batch, arguments.seq_len + 1)
        tokens = torch.randint(model.config.vocab_size, shape)
        with autocast or contextlib.nullcontext():
            logits = forward(tokens[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def bench_train(arguments) -> list[dict]:
    compilations = (False, True) if arguments.compile else (False,)
    variants = []
    for variant in itertools.product(("bf16", "autocast"), ("eager", "grouped_mm"), compilations):
        name = dict(zip(("parameters", "experts", "compiled"), variant))
        torch.compiler.reset()
        try:
            seconds = statistics.median(timed(train_step(arguments, *variant), arguments.seconds))
        except RuntimeError as error:  # a combination PyTorch has no kernel for
            variants.append(name | {"error": str(error).splitlines()[0]})
            continue
        rate = arguments.batch * arguments.seq_len / seconds
        variants.append(name | {"seconds": seconds, "tokens_per_s": rate})
        print(json.dumps(variants[-1]), file=sys.stderr, flush=True)
    return variants


def bench_decode(arguments) -> list[dict]:
    """The prompt's time is that of generating one token; the rest is decoding."""
    variants = []
    for parameters, experts in itertools.product(("bf16", "fp32"), ("eager", "grouped_mm")):
        dtype = torch.bfloat16 if parameters == "bf16" else torch.float32
        model = make_model(arguments.config, experts, dtype).eval()
        prompt = torch.randint(model.config.vocab_size, (1, arguments.seq_len))

        def generate(count):
            model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=count,
                min_new_tokens=count,
                do_sample=False,
                pad_token_id=0,
            )

        first = statistics.median(timed(lambda: generate(1), arguments.seconds / 2))
        count = arguments.new_tokens
        whole = statistics.median(timed(lambda: generate(count + 1), arguments.seconds / 2))
        variants.append(
            {
                "parameters": parameters,
                "experts": experts,
                "prefill_tokens_per_s": arguments.seq_len / first,
                "tokens_per_s": count / (whole - first),
            }
        )
    return variants


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a config.json that transformers reads")
    parser.add_argument("--mode", choices=["train", "decode"], default="train")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=4, help="sequences a step (train)")
    parser.add_argument("--seq-len", type=int, default=512, help="tokens a sequence, or the prompt")
    parser.add_argument("--new-tokens", type=int, default=64, help="tokens to decode")
    parser.add_argument("--seconds", type=float, default=20, help="measuring time a variant")
    parser.add_argument("--compile", action="store_true", help="try torch.compile too")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    transformers.logging.set_verbosity_error()
    variants = (bench_train if arguments.mode == "train" else bench_decode)(arguments)
    working = [variant for variant in variants if "tokens_per_s" in variant]
    best = max(working, key=lambda variant: variant["tokens_per_s"])
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    result = {"tokens_per_s": best["tokens_per_s"], "best": best, "variants": variants}
    print(json.dumps(vars(arguments) | versions | result))


if __name__ == "__main__":
    main()
