"""A worker whose model is a script: the real loop, frames and cancel, no torch. A program.

It "generates" code points (see letter_tokenizer) one every --gap seconds after --prefill seconds,
polling should_stop between `layers` of --layer seconds. A load waits until the file --load-go is
there, an answer after its first token until --go is. What it says is in --reply; "{prompt}" in
it is the text of the prompt, "{length}" its tokens, "{n}" the candidate's number; with "|" in it
each candidate says a part of its own. Choices are scored by their length. While the file --dies-at
is there, an answer takes it away and the worker with it.
"""

import argparse
import ctypes
import math
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from letter_tokenizer import FIRST_SPECIAL

from bilin_engine import processes
from bilin_engine.channel import Channel
from bilin_engine.errors import ModelBrokenError
from bilin_engine.generation.request import (
    GeneratedCandidate,
    GenerationRequest,
    GenerationResult,
)
from bilin_engine.protocol import (
    GenerationStats,
    WorkerExpected,
    WorkerWord,
    decode_worker_request,
)
from bilin_engine.worker.loop import WorkerLoop


@dataclass
class ScriptedRunner:
    max_length: int
    num_slots: int = 8
    vocab_size: int = FIRST_SPECIAL + 6
    backend: str = "scripted"
    num_threads: int = 1

    def memory_bytes(self):
        return {"cpu": 1000}


class StoppedInLayerError(Exception):
    pass


class AcceleratorError(RuntimeError):  # as torch names it
    pass


class Script:
    def __init__(self, options):
        self.options = options

    def load(self, request, on_progress) -> Any:
        if self.options.load_fails:
            raise ModelBrokenError(self.options.load_fails)
        for step in (0.0, 0.5, 1.0):
            on_progress("weights", step)
            time.sleep(self.options.load_s / 3)
        _wait_for(self.options.load_go)
        return ScriptedRunner(request.settings.context or self.options.context)

    def generate(self, runner, request: GenerationRequest, on_token, should_stop, has_ended):
        if self.options.cuda_error:
            raise AcceleratorError(self.options.cuda_error)
        if self.options.dies_at and self.options.dies_at.exists():
            self.options.dies_at.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        prompt = "".join(chr(i) for i in request.prompt.token_ids if i < FIRST_SPECIAL)
        start = time.monotonic()
        self._compute(self.options.prefill, should_stop)
        prefill_s = time.monotonic() - start
        if request.forced_choices:
            candidates = [_candidate(ids, -float(len(ids))) for ids in request.forced_choices]
            candidates.sort(key=lambda c: -c.score)
            return self._result(request, candidates, prefill_s)
        candidates = []
        room = runner.max_length - len(request.prompt.token_ids)
        for number in range(request.num_candidates):
            replies = self.options.reply.split("|")
            reply = replies[number % len(replies)]
            reply = reply.replace("{prompt}", prompt).replace("{n}", str(number))
            reply = reply.replace("{length}", str(len(request.prompt.token_ids)))
            ids = [ord(c) for c in reply][: request.sampling.max_new_tokens][:room]
            drawn = []
            for token_id in ids:
                self._compute(self.options.gap, should_stop)
                on_token(number, token_id, -0.5)
                drawn.append(token_id)
                _wait_for(self.options.go)
                if has_ended(number):
                    break
            candidates.append(_candidate(drawn, -0.5 * len(drawn)))
        return self._result(request, candidates, prefill_s)

    def read_words(self, _runner, request, should_stop):
        """ "bad" is unlikely, and "good" expected in its place."""
        self._compute(self.options.prefill, should_stop)
        found = []
        for word in request.words:
            gap = 9.0 if "".join(map(chr, word.word_ids)).strip() == "bad" else 0.5
            size = len(word.word_ids) + 1
            expected = (WorkerExpected(tuple(map(ord, "good")), -1.0),) * bool(request.num_expected)
            found.append(WorkerWord((-1.0 - gap,) * size, (-1.0,) * size, expected))
        return tuple(found)

    def _compute(self, seconds, should_stop):
        layer = self.options.layer
        for _ in range(max(1, math.ceil(seconds / layer))):
            if should_stop():
                raise StoppedInLayerError
            if seconds:
                time.sleep(layer)

    def _result(self, request, candidates, prefill_s):
        stats = GenerationStats(
            prompt_tokens=len(request.prompt.token_ids),
            new_tokens=sum(len(c.token_ids) for c in candidates),
            time_to_first_token_s=prefill_s,
            prefill_s=prefill_s,
            decode_s=0.0,
            seed=request.sampling.seed,
            encoded_tokens=len(request.prompt.token_ids),
        )
        return GenerationResult(tuple(candidates), stats)


def _wait_for(file):
    while file and not Path(file).exists():
        time.sleep(0.01)


def _candidate(ids, score):
    return GeneratedCandidate(tuple(ids), (-0.5,) * len(ids), score, "stop")


def main():
    read_fd, write_fd = processes.take_stdio()
    parser = argparse.ArgumentParser()
    parser.add_argument("--reply", default="你好，hello!")
    parser.add_argument("--gap", type=float, default=0.0)
    parser.add_argument("--prefill", type=float, default=0.0)
    parser.add_argument("--layer", type=float, default=0.05)
    parser.add_argument("--load-s", type=float, default=0.0)
    parser.add_argument("--load-go", default="")
    parser.add_argument("--go", default="")
    parser.add_argument("--load-fails", default="")
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--stray", action="store_true")
    parser.add_argument("--cuda-error", default="", help="what every answer fails with")
    parser.add_argument("--dies-at", type=Path)
    parser.add_argument("--parent", type=int, required=True)
    options, _ = parser.parse_known_args()
    processes.end_with_parent(options.parent)
    if options.stray:
        sys.stdout.write("a stray line\n")
        sys.stdout.flush()
        os.write(1, b"a stray line below Python\n")
        ctypes.CDLL(None).puts(b"a stray line from C")
        ctypes.CDLL(None).fflush(None)
    script = Script(options)
    WorkerLoop(
        Channel(read_fd, write_fd, decode_worker_request),
        script.load,
        script.generate,
        script.read_words,
    ).run()


if __name__ == "__main__":
    main()
