"""Measures llama.cpp for `bench --peer-gguf`, in whatever Python has bindings of it.

Runs alone, outside this package: `PYTHON llama_cpp_peer.py FILE THREADS CONTEXT`. One JSON request
a line on stdin, one JSON answer a line on stdout. Two bindings are known: llama-cpp-python, which
pip compiles for the processor it finds, and cyllama, whose wheels are compiled already (for AVX2).
The first is taken where both are there.
"""

import importlib.util
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np


class LlamaCppPython:
    """One context of one model by llama-cpp-python."""

    def __init__(self, path: str, threads: int, context: int, *, logits_all: bool) -> None:
        import llama_cpp  # pyright: ignore[reportMissingImports] - in the peer's own environment

        self.version = f"{llama_cpp.__version__} (llama-cpp-python)"
        self._model = llama_cpp.Llama(
            path,
            n_ctx=context,
            n_batch=context,
            n_ubatch=context,
            n_threads=threads,
            n_threads_batch=threads,
            logits_all=logits_all,
            verbose=False,
        )

    def tokenize(self, text: str) -> list[int]:
        """Without what opens a sequence; special tokens are text."""
        return self._model.tokenize(text.encode(), add_bos=False, special=False)

    def reset(self) -> None:
        """Forgets what was evaluated."""
        self._model.reset()

    def evaluate(self, token_ids: Sequence[int]) -> None:
        """Appends; the last token's logits are there when it returns, or all tokens'."""
        self._model.eval(token_ids)

    def logits(self, count: int) -> np.ndarray:
        """[count, V] of the tokens evaluated since `reset`; needs logits_all."""
        return self._model.scores[:count]


class Cyllama:
    """The same by cyllama."""

    def __init__(self, path: str, threads: int, context: int, *, logits_all: bool) -> None:
        import cyllama  # pyright: ignore[reportMissingImports] - in the peer's own environment
        from cyllama.llama import llama_cpp  # pyright: ignore[reportMissingImports]

        class Model(llama_cpp.LlamaModel):
            # cyllama 0.2.18 asks for it where it reads logits, and does not have it.
            @property
            def n_vocab(self) -> int:
                return self.get_vocab().n_vocab

        llama_cpp.disable_logging()
        self.version = f"{cyllama.__version__} (cyllama)"
        params = llama_cpp.LlamaContextParams()
        params.n_ctx = params.n_batch = params.n_ubatch = context
        params.n_threads = params.n_threads_batch = threads
        self._model = Model(path, llama_cpp.LlamaModelParams())
        self._context = llama_cpp.LlamaContext(self._model, params)
        self._batch = llama_cpp.LlamaBatch(n_tokens=context, embd=0, n_seq_max=1)
        self._logits_all = logits_all
        self._num_tokens = 0

    def tokenize(self, text: str) -> list[int]:
        """Without what opens a sequence; special tokens are text."""
        return self._model.get_vocab().tokenize(text, False, False)

    def reset(self) -> None:
        """Forgets what was evaluated."""
        self._context.kv_cache_clear()
        self._num_tokens = 0

    def evaluate(self, token_ids: Sequence[int]) -> None:
        """Appends; the last token's logits are there when it returns, or all tokens'."""
        self._batch.set_batch(token_ids, self._num_tokens, self._logits_all)
        self._context.decode(self._batch)
        self._context.synchronize()
        self._num_tokens += len(token_ids)

    def logits(self, count: int) -> np.ndarray:
        """[count, V] of the tokens of the last `evaluate`; needs logits_all."""
        rows = (self._context.get_logits_ith(index) for index in range(count))
        return np.array([np.array(row, dtype=np.float32) for row in rows])


def timed(
    model: LlamaCppPython | Cyllama, token_ids: list[int], new_tokens: int
) -> dict[str, float]:
    """Seconds of a prefill, and of the median step after it."""
    model.reset()
    begun_s = time.perf_counter()
    model.evaluate(token_ids)
    prefill_s = time.perf_counter() - begun_s
    steps_s = []
    for index in range(new_tokens):
        begun_s = time.perf_counter()
        model.evaluate([token_ids[index % len(token_ids)]])
        steps_s.append(time.perf_counter() - begun_s)
    return {"prefill_s": prefill_s, "step_s": statistics.median(steps_s)}


def scored(model: LlamaCppPython | Cyllama, windows: list[list[int]]) -> dict[str, float]:
    """Bits of every token of every window but its first."""
    bits = 0.0
    for window in windows:
        model.reset()
        model.evaluate(window)
        rows = np.array(model.logits(len(window))[:-1], dtype=np.float64)
        rows -= rows.max(axis=1, keepdims=True)
        logprobs = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
        bits -= float(logprobs[np.arange(len(rows)), window[1:]].sum()) / math.log(2)
    return {"bits": bits}


def main() -> None:
    """Loads the file and answers until stdin ends."""
    # llama.cpp prints while it loads; the answers go out where nothing else is written.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    path, threads, context = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    bindings = {"llama_cpp": LlamaCppPython, "cyllama": Cyllama}
    known = [binding for name, binding in bindings.items() if importlib.util.find_spec(name)]
    if not known:
        sys.exit(f"{sys.executable} has neither llama-cpp-python nor cyllama")
    model = known[0](path, threads, context, logits_all=False)
    print(json.dumps({"version": model.version}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "time":
            answer: Any = timed(model, request["token_ids"], request["new_tokens"])
        elif request["do"] == "score":
            scorer = known[0](path, threads, context, logits_all=True)
            answer = scored(scorer, request["windows"])
        else:
            answer = model.tokenize(request["text"])
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
