"""transformers on a random model in BF16: a peer of bench_llama.py, spoken to as worker.py says.

    python transformers_worker.py THREADS

The model is random_gguf's EIGHT_LAYERS, not compiled, with the faster of the ways transformers has
for experts on a processor: EXPERTS (the two are within a tenth of each other; batched_mm, which
copies the weights it chose, is five times slower).
"""

import sys
import time

import torch
import transformers

from random_gguf import EIGHT_LAYERS
from worker import serve

EXPERTS = {"prefill": "eager", "decode": "grouped_mm"}
CHUNK = 512  # tokens of a prompt at a time


def random_model():
    heads = EIGHT_LAYERS["num_attention_heads"]
    config = transformers.DeepseekV3Config(num_key_value_heads=heads, **EIGHT_LAYERS)
    return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()


class Worker:
    def __init__(self):
        self.model, self.filled = random_model(), {}

    def _read(self, cache, batch: int, count: int) -> None:
        """Random tokens, of which the last gets its logits."""
        tokens = torch.randint(self.model.config.vocab_size, (batch, count))
        self.model(tokens, past_key_values=cache, logits_to_keep=1)

    def _read_prompt(self, batch: int, count: int):
        cache = transformers.DynamicCache(config=self.model.config)
        for begin in range(0, count, CHUNK):
            self._read(cache, batch, min(CHUNK, count - begin))
        return cache

    def prefill(self, tokens: int) -> float:
        self.model.set_experts_implementation(EXPERTS["prefill"])
        start = time.perf_counter()
        self._read_prompt(1, tokens)
        return time.perf_counter() - start

    def _cache(self, shape: tuple[int, int]):
        if shape not in self.filled:
            self.filled = {shape: self._read_prompt(*shape)}
        return self.filled[shape]

    def decode(self, context: int, batch: int, steps: int) -> float:
        cache = self._cache((batch, context))
        self.model.set_experts_implementation(EXPERTS["decode"])
        start = time.perf_counter()
        for _ in range(steps):
            self._read(cache, batch, 1)
        seconds = (time.perf_counter() - start) / steps
        cache.crop(-steps)
        return seconds


def main():
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
    with torch.inference_mode():
        serve(Worker(), {"torch": torch.__version__, "transformers": transformers.__version__})


if __name__ == "__main__":
    main()
