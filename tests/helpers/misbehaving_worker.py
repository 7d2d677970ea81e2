"""A worker that breaks the rules in one way, named by --mode. A program; raw frames, no torch.

slow_start      Hello after --delay seconds, then well-behaved
no_hello        starts and stays silent
wrong_version   a Hello of protocol 999
no_load         Hello, then leaves at the first request
bad_frame       in mid-answer a frame that is no message
oversize        in mid-answer a header that announces 3 GiB
stray_print     in mid-answer a line of text among the frames
dies            in mid-answer SIGKILL to itself
dies_in_frame   in the middle of a frame SIGKILL to itself
exits           in mid-answer exit code 7
stops           in mid-answer SIGSTOP to itself
hangs           in mid-answer silence without work
works           in mid-answer --delay seconds of silent work, then the rest of the answer
child_works     as works, but a child of it does the work
child_hangs     as child_works, but the child does nothing
ignores_cancel  streams on, whatever it is told
ignores_end     neither cancel nor end of input ends it
dies_idle       SIGKILL to itself --delay seconds after the load
gives_up        in mid-answer Failed with id 0
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time

from bilin_engine import __version__, processes
from bilin_engine.channel import Channel
from bilin_engine.protocol import (
    CONNECTION_ID,
    PROTOCOL_VERSION,
    Cancel,
    Cancelled,
    Failed,
    GenerationStats,
    Hello,
    WorkerCandidate,
    WorkerGenerate,
    WorkerGenerated,
    WorkerLoad,
    WorkerLoaded,
    WorkerTokens,
    decode_worker_request,
)

BROKEN_FRAMES = {
    "bad_frame": b"\x03\x00\x00\x00\xc1\xc1\xc1",
    "oversize": (3 * 2**30).to_bytes(4, "little"),
    "stray_print": b"Loading checkpoint shards: 100%\n",
    "dies_in_frame": b"\x40\x00\x00\x00only the beginning",
}
SIGNALS = {"dies": signal.SIGKILL, "dies_in_frame": signal.SIGKILL, "stops": signal.SIGSTOP}
CHILDREN = {
    "child_works": "import sys, time\nend = time.monotonic() + float(sys.argv[1])\n"
    "while time.monotonic() < end: pass",
    "child_hangs": "import sys, time\ntime.sleep(float(sys.argv[1]))",
}
REPLY = "half of it, and the rest"
HALF = "half of it"


def main():
    read_fd, write_fd = processes.take_stdio()
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", required=True)
    parser.add_argument("--delay", type=float, default=0.5)
    parser.add_argument("--parent", type=int, required=True)
    options, _ = parser.parse_known_args()
    if options.mode != "ignores_end":
        processes.end_with_parent(options.parent)
    Worker(Channel(read_fd, write_fd, decode_worker_request), write_fd, options).run()


class Worker:
    def __init__(self, channel, write_fd, options):
        self.channel = channel
        self.write_fd = write_fd
        self.mode = options.mode
        self.delay = options.delay
        self.cancelled = threading.Event()

    def run(self):
        if self.mode == "slow_start":
            time.sleep(self.delay)
        if self.mode == "no_hello":
            time.sleep(600)
        version = 999 if self.mode == "wrong_version" else PROTOCOL_VERSION
        self.channel.send(Hello(version, __version__, "worker"))
        while (message := self.channel.receive()) is not None:
            if isinstance(message, Cancel):
                self.cancelled.set()
            elif isinstance(message, WorkerLoad):
                self.load(message)
            elif isinstance(message, WorkerGenerate):
                self.cancelled.clear()
                threading.Thread(target=self.generate, args=(message,), daemon=True).start()
        if self.mode == "ignores_end":
            time.sleep(600)
        os._exit(0)

    def load(self, request):
        if self.mode == "no_load":
            os._exit(5)
        self.channel.send(
            WorkerLoaded(
                id=request.id,
                context_length=2048,
                num_slots=1,
                vocab_size=200,
                backend="none",
                num_threads=1,
                load_s=0.0,
                memory_bytes={"cpu": 1},
            )
        )
        if self.mode == "dies_idle":
            time.sleep(self.delay)
            os.kill(os.getpid(), signal.SIGKILL)

    def generate(self, request):
        self.say(request, HALF)
        self.misbehave(request)
        if self.cancelled.is_set():
            self.channel.send(Cancelled(request.id))
            return
        self.say(request, REPLY[len(HALF) :])
        ids = tuple(map(ord, REPLY))
        stats = GenerationStats(
            prompt_tokens=1,
            new_tokens=len(ids),
            time_to_first_token_s=0.0,
            prefill_s=0.0,
            decode_s=0.0,
            seed=0,
        )
        candidate = WorkerCandidate(
            token_ids=ids, logprobs=(0.0,) * len(ids), score=0.0, finish_reason="stop"
        )
        self.channel.send(WorkerGenerated(id=request.id, candidates=(candidate,), stats=stats))

    def say(self, request, text):
        ids = tuple(map(ord, text))
        self.channel.send(
            WorkerTokens(
                id=request.id,
                candidates=(0,) * len(ids),
                token_ids=ids,
                logprobs=(0.0,) * len(ids),
            )
        )

    def misbehave(self, request):
        if self.mode in BROKEN_FRAMES:
            os.write(self.write_fd, BROKEN_FRAMES[self.mode])
        if self.mode in SIGNALS:
            os.kill(os.getpid(), SIGNALS[self.mode])
        if self.mode == "exits":
            os._exit(7)
        if self.mode == "gives_up":
            message = "nothing fits together"
            self.channel.send(Failed(id=CONNECTION_ID, code="protocol", message=message))
        if self.mode == "works":
            end = time.monotonic() + self.delay
            while time.monotonic() < end:
                pass
        if self.mode in CHILDREN:
            seconds = str(self.delay)
            subprocess.run([sys.executable, "-c", CHILDREN[self.mode], seconds], check=True)
        while self.mode == "ignores_cancel":
            self.say(request, ".")
            time.sleep(0.02)
        if self.mode not in ("works", "child_works", "slow_start", "dies_idle"):
            time.sleep(600)


if __name__ == "__main__":
    main()
