"""llama.cpp on one GGUF file, for bench_llama.py: reads a request a line, answers a line, in JSON.

    python llama_worker.py MODEL.gguf THREADS

    {"what": "prefill", "tokens": T}                             seconds of a prompt of T tokens
    {"what": "decode", "context": C, "batch": B, "steps": N}     seconds of a step, one token each
    {"what": "peak"}                                             bytes, the highest so far
"""

import ctypes
import json
import random
import resource
import sys
import time

import llama_cpp as llama

CHUNK = 512  # llama.cpp's default micro-batch


@llama.llama_log_callback
def silent(level, text, data):
    pass


class Session:
    """Sequences with caches of their own, `length` tokens each."""

    def __init__(self, model, threads: int, sequences: int, length: int):
        parameters = llama.llama_context_default_params()
        parameters.n_ctx, parameters.n_seq_max = sequences * (length + CHUNK), sequences
        parameters.n_batch = parameters.n_ubatch = CHUNK
        parameters.n_threads = parameters.n_threads_batch = threads
        self.context = llama.llama_init_from_model(model, parameters)
        if not self.context:
            raise RuntimeError("llama.cpp made no context")
        self.memory = llama.llama_get_memory(self.context)
        self.batch = llama.llama_batch_init(max(CHUNK, sequences), 0, 1)
        self.vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))

    def close(self) -> None:
        llama.llama_batch_free(self.batch)
        llama.llama_free(self.context)

    def decode(self, tokens) -> None:
        """tokens: (sequence, position, whether logits are wanted); which ones is random."""
        self.batch.n_tokens = len(tokens)
        for i, (sequence, position, wanted) in enumerate(tokens):
            self.batch.token[i] = random.randrange(self.vocabulary)
            self.batch.pos[i] = position
            self.batch.n_seq_id[i] = 1
            self.batch.seq_id[i][0] = sequence
            self.batch.logits[i] = wanted
        if llama.llama_decode(self.context, self.batch) != 0:
            raise RuntimeError("llama_decode failed")
        llama.llama_get_logits_ith(self.context, -1)  # waits until they are there

    def read(self, count: int) -> None:
        """A prompt of sequence 0."""
        for begin in range(0, count, CHUNK):
            end = min(begin + CHUNK, count)
            self.decode([(0, position, position == count - 1) for position in range(begin, end)])

    def forget(self, sequences: int, length: int) -> None:
        for sequence in range(sequences):
            llama.llama_memory_seq_rm(self.memory, sequence, length, -1)


class Worker:
    def __init__(self, path: str, threads: int):
        llama.llama_log_set(silent, ctypes.c_void_p(0))
        llama.llama_backend_init()
        self.threads, self.sessions = threads, {}
        self.model = llama.llama_model_load_from_file(
            path.encode(), llama.llama_model_default_params()
        )
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {path}")

    def session(self, sequences: int, length: int) -> Session:
        """The one at hand if it fits: contexts of large caches take long to fill."""
        key = (sequences, length)
        if key not in self.sessions:
            for session in self.sessions.values():
                session.close()
            self.sessions = {key: Session(self.model, self.threads, sequences, length)}
        return self.sessions[key]

    def prefill(self, tokens: int) -> float:
        session = self.session(1, tokens)
        session.forget(1, 0)
        start = time.perf_counter()
        session.read(tokens)
        return time.perf_counter() - start

    def decode(self, context: int, batch: int, steps: int) -> float:
        filled = (batch, context + steps) in self.sessions
        session = self.session(batch, context + steps)
        if not filled:
            session.read(context)
            for sequence in range(1, batch):
                llama.llama_memory_seq_cp(session.memory, 0, sequence, -1, -1)
        session.forget(batch, context)
        start = time.perf_counter()
        for step in range(steps):
            session.decode([(sequence, context + step, True) for sequence in range(batch)])
        seconds = (time.perf_counter() - start) / steps
        session.forget(batch, context)
        return seconds


def answer(worker: Worker, request: dict) -> dict:
    what = request.pop("what")
    if what == "peak":
        return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    return {"seconds": getattr(worker, what)(**request)}


def main():
    worker = Worker(sys.argv[1], int(sys.argv[2]))
    information = llama.llama_print_system_info().decode()
    print(json.dumps({"llama_cpp": llama.__version__, "features": information}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(worker, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
