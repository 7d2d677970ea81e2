"""Measures llama.cpp for `bench --peer-gguf`, in whatever Python has the package llama_cpp.

Runs alone, outside this package: `PYTHON llama_cpp_peer.py FILE THREADS CONTEXT`. One JSON request
a line on stdin, one JSON answer a line on stdout.
"""

import json
import math
import os
import statistics
import sys
import time
from typing import Any


def main() -> None:
    """Loads the file and answers until stdin ends."""
    # llama.cpp prints while it loads; the answers go out where nothing else is written.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import llama_cpp  # pyright: ignore[reportMissingImports] - in the peer's own environment
    import numpy as np

    path, threads, context = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

    def load(**options: Any) -> Any:  # noqa: ANN401 - the package's own
        return llama_cpp.Llama(
            path,
            n_ctx=context,
            n_batch=context,
            n_ubatch=context,
            n_threads=threads,
            n_threads_batch=threads,
            verbose=False,
            **options,
        )

    model = load()
    print(json.dumps({"version": llama_cpp.__version__}), file=answers, flush=True)

    def timed(token_ids: list[int], new_tokens: int) -> dict[str, float]:
        model.reset()
        begun = time.perf_counter()
        model.eval(token_ids)
        prefill_s = time.perf_counter() - begun
        steps_s = []
        for index in range(new_tokens):
            begun = time.perf_counter()
            model.eval([token_ids[index % len(token_ids)]])
            steps_s.append(time.perf_counter() - begun)
        return {"prefill_s": prefill_s, "step_s": statistics.median(steps_s)}

    def scored(windows: list[list[int]]) -> dict[str, float]:
        scorer = load(logits_all=True)
        bits = 0.0
        for window in windows:
            scorer.reset()
            scorer.eval(window)
            rows = np.array(scorer.scores[: len(window) - 1], dtype=np.float64)
            rows -= rows.max(axis=1, keepdims=True)
            logprobs = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
            bits -= float(logprobs[np.arange(len(rows)), window[1:]].sum()) / math.log(2)
        return {"bits": bits}

    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "time":
            answer: Any = timed(request["token_ids"], request["new_tokens"])
        elif request["do"] == "score":
            answer = scored(request["windows"])
        else:
            answer = model.tokenize(request["text"].encode(), add_bos=False, special=False)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
