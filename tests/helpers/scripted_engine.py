"""An engine that says what it is told to, and misbehaves when told to. A program, not a fake.

Run it in place of `bilin_engine stdio`; it speaks the same frames. `--behave`:

  ok              answers as asked
  slow_start      says Hello after --delay seconds
  no_hello        starts and stays silent
  wrong_version   a Hello of protocol 999
  bad_frame       a frame that is no message, in the middle of an answer
  oversize_frame  a frame that announces 3 GiB, in the middle of an answer
  stray_print     a line of text between the frames of an answer
  dies            kills itself (SIGKILL) in the middle of an answer
  exits           leaves with exit code 3 in the middle of an answer, after a line on stderr
  closes          closes its output in the middle of an answer and lives on
  hangs           stops reading and writing in the middle of an answer
  pauses          streams nothing more in the middle of an answer, but answers all else
  waits           as pauses, and goes on once the file --go is there
  load_waits      a load waits until the file --go is there or it is cancelled
  ignores_cancel  answers Cancel with Done and goes on
  fails           ends an answer with Failed(out_of_memory)
  load_fails      ends a load with Failed(model_broken)
  dies_idle       kills itself as soon as a model is loaded
  ignores_stop    neither end of file nor SIGTERM ends it

`--once FILE`: misbehaves only while FILE is not there or, with `--times N`, holds fewer than N
lines; each start adds one, so that a later one goes well.
The first --empty-lists lists of models are empty.
An answer is --tokens tokens ("w0 w1 …"), or --reply, a character a token, one every --gap seconds;
it goes on after a prefill that is a beginning of it. In the middle = after --after tokens, or
sentences of a text that is read.
"""

import argparse
import os
import queue
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

from bilin_engine.protocol import (
    PROTOCOL_VERSION,
    BlankSegment,
    Cancel,
    Cancelled,
    Candidate,
    Chat,
    ChatResult,
    CountTokens,
    DeviceInfo,
    Done,
    EngineStatus,
    Example,
    ExpectedWord,
    Failed,
    Fill,
    FilledBlank,
    FillResult,
    FrameBuffer,
    GenerationStats,
    Hello,
    InspectPrompt,
    ListDevices,
    ListModels,
    LoadModel,
    ModelInfo,
    ModelLoaded,
    ModelsListed,
    PlanModel,
    PlanResult,
    Progress,
    PromptToken,
    PromptView,
    Proofread,
    ProofreadResult,
    ReadWord,
    Sampling,
    SentenceRead,
    Shutdown,
    Started,
    TextDelta,
    TokenCount,
    UnloadModel,
    decode_request,
    encode_frame,
)

NO_THOUGHT = "<think></think>"  # what a prompt ends in that wants none
CONTEXT_LENGTH = 8192
PROMPT_TOKENS = 12
MODELS = (
    ModelInfo(
        id="bilin-mini",
        name_zh="比邻小模型",
        name_en="Bilin Mini",
        family="glm",
        num_parameters=7_000_000,
        precision="INT4 · 32",
        size_bytes=5_000_000,
        languages=("zh", "en"),
        can_chat=True,
        blank_kinds=("short", "long"),
        context_length=CONTEXT_LENGTH,
        licence="Apache-2.0",
        source="",
        path="",
        is_bundled=True,
        examples=(
            Example(kind="chat", lang="zh", text="你好"),
            Example(kind="chat", lang="en", text="What can you do?"),
            Example(kind="blank", lang="en", text="The sky is [MASK]."),
        ),
        sampling=Sampling(temperature=0.6, max_new_tokens=256, no_repeat_ngram_size=3),
    ),
    ModelInfo(
        id="second",
        name_zh="第二个",
        name_en="Second",
        family="glm4",
        num_parameters=9_000_000_000,
        precision="INT4 · 128",
        size_bytes=5_000_000_000,
        languages=("zh", "en"),
        can_chat=True,
        blank_kinds=(),
        context_length=CONTEXT_LENGTH,
        licence="MIT",
        source="",
        path="",
        is_bundled=False,
    ),
)


PLAN = PlanResult(
    fits=True, mode="single", context=CONTEXT_LENGTH, prompt_tokens=CONTEXT_LENGTH // 2,
    devices=(), roofline_tok_s=9.0, decode_tok_s=7.0, first_token_s=1.0,
    available=(DeviceInfo(name="cpu", label="CPU", total_bytes=2**34, free_bytes=2**33),),
)  # fmt: skip


class ScriptedEngine:
    """Control requests on the reader thread, loads and answers on the main thread."""

    def __init__(self, options: argparse.Namespace, inp: BinaryIO, out: BinaryIO) -> None:
        self.options = options
        self.behave = options.behave
        if options.once:
            marker = Path(options.once)
            if marker.exists() and len(marker.read_text().splitlines()) >= options.times:
                self.behave = "ok"
            with marker.open("a", encoding="utf-8") as file:
                file.write("started\n")
        self.inp = inp
        self.out = out
        self.out_lock = threading.Lock()
        self.work: queue.Queue[LoadModel | Chat | Fill | Proofread] = queue.Queue()
        self.cancelled: set[int] = set()
        self.is_hung = threading.Event()
        self.loaded = ""
        self.num_lists = 0

    def send(self, message) -> None:
        self.send_raw(encode_frame(message))

    def send_raw(self, data: bytes) -> None:
        if self.is_hung.is_set():
            threading.Event().wait()
        with self.out_lock:
            self.out.write(data)
            self.out.flush()

    def run(self) -> None:
        if self.behave == "no_hello":
            self.inp.read()
            os._exit(0)
        if self.behave == "slow_start":
            time.sleep(self.options.delay)
        version = 999 if self.behave == "wrong_version" else PROTOCOL_VERSION
        self.send(Hello(protocol=version, version="scripted", role="supervisor"))
        self.send(EngineStatus(state="empty"))
        threading.Thread(target=self.read, daemon=True).start()
        while True:
            request = self.work.get()
            if isinstance(request, LoadModel):
                self.load(request)
            elif isinstance(request, Proofread):
                self.proofread(request)
            elif isinstance(request, Fill):
                self.fill(request)
            else:
                self.answer(request)

    def read(self) -> None:
        frames = FrameBuffer()
        while data := os.read(self.inp.fileno(), 65536):
            if self.is_hung.is_set():
                threading.Event().wait()
            for body in frames.feed(data):
                self.take(decode_request(body))
        if self.behave != "ignores_stop":
            os._exit(0)

    def take(self, request) -> None:
        if isinstance(request, LoadModel | Chat | Fill | Proofread):
            self.work.put(request)
        elif isinstance(request, ListModels):
            self.num_lists += 1
            is_empty = self.num_lists <= self.options.empty_lists
            self.send(Done(request.id, ModelsListed(() if is_empty else MODELS)))
        elif isinstance(request, InspectPrompt):
            self.inspect(request)
        elif isinstance(request, CountTokens):
            self.count(request)
        elif isinstance(request, Cancel):
            if self.behave != "ignores_cancel":
                self.cancelled.add(request.target)
            self.send(Done(request.id))
        elif isinstance(request, UnloadModel):
            self.send(Done(request.id))
            self.send(EngineStatus(state="empty"))
        elif isinstance(request, ListDevices):
            self.send(Done(request.id))
        elif isinstance(request, PlanModel):
            self.send(Done(request.id, PLAN))
        elif isinstance(request, Shutdown):
            self.send(Done(request.id))
            os._exit(0)

    def inspect(self, request: InspectPrompt) -> None:
        tokens = [PromptToken(1, "[gMASK]", 0, is_special=True)]
        for message in request.messages:
            tokens.append(PromptToken(100 + len(tokens), message.text, len(tokens)))
        if request.prefill:
            tokens.append(PromptToken(100 + len(tokens), request.prefill, len(tokens)))
        if not request.thinks:
            tokens.append(PromptToken(2, NO_THOUGHT, len(tokens), is_special=True))
        view = PromptView(
            tokens=tuple(tokens), prefix_len=len(tokens), context_length=CONTEXT_LENGTH
        )
        self.send(Done(request.id, view))

    def count(self, request: CountTokens) -> None:
        if request.messages[-1].role != "user":
            message = "a chat must end with the user's message"
            self.send(Failed(id=request.id, code="bad_request", message=message))
            return
        counts = tuple(len(message.text) for message in request.messages)
        total = sum(counts) + len(request.prefill) + (0 if request.thinks else len(NO_THOUGHT))
        result = TokenCount(total=total, context_length=CONTEXT_LENGTH, per_message=counts)
        self.send(Done(request.id, result))

    def load(self, request: LoadModel) -> None:
        if self.behave == "load_fails":
            message = "model.safetensors is truncated: 10 bytes, 5000 expected"
            self.send(Failed(id=request.id, code="model_broken", message=message))
            return
        for step in range(3):
            self.send(EngineStatus(state="loading", model=request.model, fraction=step / 3))
            self.send(Progress(id=request.id, stage="weights", fraction=step / 3))
            time.sleep(self.options.load_s / 3)
            if self.behave == "load_waits":
                self.wait_for_go(request)
            if request.id in self.cancelled:
                self.send(Cancelled(request.id))
                self.send(EngineStatus(state="empty"))
                return
        self.loaded = request.model
        self.send(EngineStatus(state="ready", model=request.model))
        result = ModelLoaded(
            model=request.model,
            context_length=CONTEXT_LENGTH,
            backend="cpu",
            num_threads=1,
            load_s=self.options.load_s,
            memory_bytes={"cpu": 5_000_000},
        )
        self.send(Done(request.id, result))
        if self.behave == "dies_idle":
            os.kill(os.getpid(), signal.SIGKILL)

    def answer(self, request: Chat) -> None:
        if self.options.requests:
            with Path(self.options.requests).open("a", encoding="utf-8") as file:
                texts = [f"{m.role}:{m.text}" for m in request.messages]
                file.write(repr((texts, request.prefill)) + "\n")
        whole = self.options.reply or "".join(f"w{i} " for i in range(self.options.tokens))
        if not whole.startswith(request.prefill):
            raise SystemExit(f"the prefill {request.prefill!r} is no beginning of the answer")
        rest = whole[len(request.prefill) :]
        pieces = list(rest) if self.options.reply else rest.split(" ")[:-1]
        pieces = pieces if self.options.reply else [f"{piece} " for piece in pieces]
        self.send(EngineStatus(state="busy", model=request.model))
        self.send(
            Started(
                id=request.id, prompt_tokens=PROMPT_TOKENS, context_length=CONTEXT_LENGTH, seed=1
            )
        )
        started_at = time.monotonic()
        thinking = self.options.thinking if request.sampling.thinks else ""
        if thinking:
            for word in thinking.split():
                self.send(TextDelta(id=request.id, text=f"{word} ", part="thinking"))
        for index, piece in enumerate(pieces):
            if index == self.options.after:
                self.misbehave(request)
            if request.id in self.cancelled:
                self.send(Cancelled(request.id))
                self.send(EngineStatus(state="ready", model=request.model))
                return
            self.send(TextDelta(id=request.id, text=piece))
            if self.options.gap:
                time.sleep(self.options.gap)
        if self.behave == "fails":
            message = "cuda:0 needs 9 GiB more than it has free"
            failed = Failed(id=request.id, code="out_of_memory", message=message, detail="trace")
            self.send(failed)
        else:
            stats = GenerationStats(
                prompt_tokens=PROMPT_TOKENS,
                new_tokens=len(pieces),
                time_to_first_token_s=0.01,
                prefill_s=0.01,
                decode_s=time.monotonic() - started_at,
                seed=1,
                encoded_tokens=PROMPT_TOKENS,
            )
            result = ChatResult(text=rest, finish_reason="stop", stats=stats, thinking=thinking)
            self.send(Done(request.id, result))
        self.send(EngineStatus(state="ready", model=request.model))

    def fill(self, request: Fill) -> None:
        """--tokens tokens into every blank that is asked for, one every --gap seconds."""
        asked = [s for s in request.segments if isinstance(s, BlankSegment)]
        wanted = range(len(asked)) if request.blank is None else (request.blank,)
        pieces = [f"w{i} " for i in range(self.options.tokens)]
        for blank in wanted:
            for piece in pieces:
                if request.id in self.cancelled:
                    self.send(Cancelled(request.id))
                    return
                self.send(TextDelta(id=request.id, text=piece, blank=blank))
                time.sleep(self.options.gap)
        candidate = Candidate(text="".join(pieces), logprob=-1.0, num_tokens=len(pieces))
        blanks = tuple(
            FilledBlank(index=blank, kind=asked[blank].kind, candidates=(candidate,))
            for blank in wanted
        )
        stats = GenerationStats(
            prompt_tokens=PROMPT_TOKENS,
            new_tokens=len(pieces) * len(blanks),
            time_to_first_token_s=0.01,
            prefill_s=0.01,
            decode_s=0.01,
            seed=1,
        )
        self.send(Done(request.id, FillResult(text="", blanks=blanks, stats=stats)))

    def proofread(self, request: Proofread) -> None:
        """Every "bad" is unlikely: "good" is expected. A sentence every --gap seconds."""
        if self.options.requests:
            with Path(self.options.requests).open("a", encoding="utf-8") as file:
                file.write(repr([request.text[a:b] for a, b in request.spans]) + "\n")
        for index, (start, end) in enumerate(request.spans):
            if index == self.options.after and self.behave == "waits":
                self.wait_for_go(request)
            time.sleep(self.options.gap)
            if request.id in self.cancelled:
                self.send(Cancelled(request.id))
                return
            words = tuple(
                ReadWord(
                    start=start + found.start(),
                    end=start + found.end(),
                    score=-9.0 if found[0] == "bad" else -1.0,
                    is_unlikely=found[0] == "bad",
                    expected=(ExpectedWord("good", -1.0),) if found[0] == "bad" else (),
                )
                for found in re.finditer(r"\w+", request.text[start:end])
            )
            self.send(SentenceRead(id=request.id, index=index, words=words))
        result = ProofreadResult(num_words=10, seconds=0.5, way="mask")
        self.send(Done(request.id, result))

    def misbehave(self, request: Chat) -> None:
        match self.behave:
            case "bad_frame":
                self.send_raw((5).to_bytes(4, "little") + b"\x81\xa1x\xc0\xc0")
            case "oversize_frame":
                self.send_raw((3 << 30).to_bytes(4, "little") + b"x" * 100)
            case "stray_print":
                self.send_raw(b"Loading checkpoint shards: 100%\n")
            case "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exits":
                os.write(2, b"RuntimeError: no kernel image is available\n")
                os._exit(3)
            case "closes":
                os.close(self.out.fileno())
                threading.Event().wait()
            case "hangs":
                self.is_hung.set()
                threading.Event().wait()
            case "pauses":
                while request.id not in self.cancelled:
                    time.sleep(0.01)
            case "waits":
                self.wait_for_go(request)

    def wait_for_go(self, request: LoadModel | Chat | Proofread) -> None:
        while request.id not in self.cancelled and not Path(self.options.go).exists():
            time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--behave", default="ok")
    parser.add_argument("--once", default="")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--delay", type=float, default=0.3)
    parser.add_argument("--empty-lists", type=int, default=0)
    parser.add_argument("--load-s", type=float, default=0.0)
    parser.add_argument("--reply", default="")
    parser.add_argument("--thinking", default="", help="what it thinks before it answers")
    parser.add_argument("--tokens", type=int, default=12)
    parser.add_argument("--after", type=int, default=5)
    parser.add_argument("--gap", type=float, default=0.0)
    parser.add_argument("--go", help="file that ends the waiting of waits and load_waits")
    parser.add_argument("--requests", default="", help="file that every prompt is appended to")
    options = parser.parse_args()
    out = os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)
    if options.behave == "ignores_stop":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ScriptedEngine(options, sys.stdin.buffer, out).run()


if __name__ == "__main__":
    main()
