"""llama.cpp on one GGUF file: a peer of bench_llama.py, spoken to as worker.py says.

    python llama_worker.py MODEL.gguf THREADS

A long cache of one sequence would take llama.cpp a quarter of an hour to fill. Its first PIECE
tokens are read, the rest of its cells are copies of theirs: a token that follows attends to all of
them, at positions that repeat, which costs the same.
"""

import ctypes
import random
import sys
import time

import llama_cpp as llama

from worker import serve

CHUNK = 512  # llama.cpp's default micro-batch
PIECE = 1024


@llama.llama_log_callback
def silent(level, text, data):
    pass


class Session:
    """`batch` sequences of `length` tokens each and room for more, in caches of their own; or one
    of several pieces that are alike."""

    def __init__(self, model, threads: int, batch: int, length: int, pieces: int):
        self.batch, self.length, self.pieces, self.filled = batch, length, pieces, False
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = batch * (length + CHUNK)
        parameters.n_seq_max = max(batch, pieces)
        parameters.kv_unified = pieces > 1  # sequences can share cells
        parameters.n_batch = parameters.n_ubatch = CHUNK
        parameters.n_threads = parameters.n_threads_batch = threads
        self.context = llama.llama_init_from_model(model, parameters)
        if not self.context:
            raise RuntimeError("llama.cpp made no context")
        self.memory = llama.llama_get_memory(self.context)
        self.tokens = llama.llama_batch_init(max(CHUNK, batch), 0, 1)
        self.vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))

    def close(self) -> None:
        llama.llama_batch_free(self.tokens)
        llama.llama_free(self.context)

    def _decode(self, tokens) -> None:
        """tokens: (sequence, position, whether logits are wanted); which ones is random."""
        self.tokens.n_tokens = len(tokens)
        for i, (sequence, position, wanted) in enumerate(tokens):
            self.tokens.token[i] = random.randrange(self.vocabulary)
            self.tokens.pos[i] = position
            self.tokens.n_seq_id[i] = 1
            self.tokens.seq_id[i][0] = sequence
            self.tokens.logits[i] = wanted
        if llama.llama_decode(self.context, self.tokens) != 0:
            raise RuntimeError("llama_decode failed")
        llama.llama_get_logits_ith(self.context, -1)  # waits until they are there

    def read(self, count: int) -> None:
        """A prompt of sequence 0, in place of all that was there."""
        llama.llama_memory_clear(self.memory, False)
        self.filled = False
        for begin in range(0, count, CHUNK):
            end = min(begin + CHUNK, count)
            self._decode([(0, position, position == count - 1) for position in range(begin, end)])

    def _state_bytes(self) -> int:
        return llama.llama_state_seq_get_size(self.context, 0)

    def _copy_cells(self) -> None:
        """Copies of what sequence 0 holds, as sequences of their own; then all are its cells."""
        size = self._state_bytes()
        state = (ctypes.c_uint8 * size)()
        llama.llama_state_seq_get_data(self.context, state, size, 0)
        for sequence in range(1, self.pieces):
            if llama.llama_state_seq_set_data(self.context, state, size, sequence) == 0:
                raise RuntimeError("llama.cpp cannot copy a sequence")
        for sequence in range(1, self.pieces):
            llama.llama_memory_seq_cp(self.memory, sequence, 0, -1, -1)
        if self._state_bytes() < 0.99 * size * self.pieces:
            raise RuntimeError("llama.cpp has not joined the sequences")

    def fill(self) -> None:
        """Every sequence has `length` tokens."""
        if self.filled:
            return
        self.read(self.length // self.pieces)
        if self.pieces > 1:
            self._copy_cells()
        for sequence in range(1, self.batch):
            llama.llama_memory_seq_cp(self.memory, 0, sequence, -1, -1)
        self.filled = True

    def decode(self, steps: int) -> None:
        """Continues every sequence, then forgets that."""
        begin = self.length // self.pieces
        for position in range(begin, begin + steps):
            self._decode([(sequence, position, True) for sequence in range(self.batch)])
        for sequence in range(self.batch):
            llama.llama_memory_seq_rm(self.memory, sequence, begin, -1)


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

    def session(self, *shape: int) -> Session:
        """The one at hand if it has that shape: large caches take long to fill."""
        if shape not in self.sessions:
            for session in self.sessions.values():
                session.close()
            self.sessions = {shape: Session(self.model, self.threads, *shape)}
        return self.sessions[shape]

    def prefill(self, tokens: int) -> float:
        session = self.session(1, tokens, 1)
        start = time.perf_counter()
        session.read(tokens)
        return time.perf_counter() - start

    def decode(self, context: int, batch: int, steps: int) -> float:
        pieces = context // PIECE if batch == 1 and context % PIECE == 0 else 1
        session = self.session(batch, context, pieces)
        session.fill()
        start = time.perf_counter()
        session.decode(steps)
        return (time.perf_counter() - start) / steps


def main():
    worker = Worker(sys.argv[1], int(sys.argv[2]))
    information = llama.llama_print_system_info().decode()
    serve(worker, {"llama_cpp": llama.__version__, "features": information})


if __name__ == "__main__":
    main()
