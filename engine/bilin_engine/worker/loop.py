"""What a worker does with its messages: load, generate, report. Ids in, ids out.

The main thread computes; a reader thread takes `Cancel` the moment it arrives and ends the process
at end of input, also in the middle of a matrix product.
"""

import logging
import os
import queue
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from bilin_engine import processes
from bilin_engine.channel import Channel
from bilin_engine.errors import BadRequestError, BilinError, NotLoadedError, out_of_memory
from bilin_engine.generation.request import GenerationRequest, GenerationResult, PromptLayout
from bilin_engine.generation.slot_memory import SlotMemory
from bilin_engine.protocol import (
    CONNECTION_ID,
    Cancel,
    Cancelled,
    Failed,
    FrameError,
    Hello,
    Progress,
    WorkerBatch,
    WorkerBatchGenerated,
    WorkerCandidate,
    WorkerEndRow,
    WorkerExpected,
    WorkerGenerate,
    WorkerGenerated,
    WorkerLoad,
    WorkerLoaded,
    WorkerLogits,
    WorkerLogitsWritten,
    WorkerMeasure,
    WorkerMeasured,
    WorkerMemory,
    WorkerMemoryReport,
    WorkerRead,
    WorkerRequest,
    WorkerTokens,
    WorkerWord,
    WorkerWordsRead,
    check_hello,
    hello,
)

if TYPE_CHECKING:
    from bilin_engine.runners.base import Runner

logger = logging.getLogger(__name__)

# What each runner's slot 0 holds, so that the next turn of a chat goes on from it.
_MEMORIES: "WeakKeyDictionary[Runner, SlotMemory]" = WeakKeyDictionary()

FLUSH_S = 0.02  # a batch of tokens waits this long at most while more keep coming

EXIT_BROKEN = 4

_Work = (
    WorkerLoad
    | WorkerGenerate
    | WorkerRead
    | WorkerBatch
    | WorkerLogits
    | WorkerMeasure
    | WorkerMemory
)
OnProgress = Callable[[str, float], None]
OnToken = Callable[[int, int, float], None]
LoadRunner = Callable[[WorkerLoad, OnProgress], "Runner"]
HasEnded = Callable[[int], bool]
GenerateTokens = Callable[
    ["Runner", GenerationRequest, OnToken, Callable[[], bool], HasEnded], GenerationResult
]
ReadWords = Callable[["Runner", WorkerRead, Callable[[], bool]], tuple[WorkerWord, ...]]
GenerateBatch = Callable[
    ["Runner", Sequence[GenerationRequest], OnToken, Callable[[], bool], HasEnded],
    list[GenerationResult],
]
Answer = TypeVar("Answer")


def load_with_torch(request: WorkerLoad, on_progress: OnProgress, rank: int = 0) -> "Runner":
    """The real loader; torch is imported here and not before."""
    from bilin_engine.runners.layer_split import LayerPlacement, Stage
    from bilin_engine.runners.load import load_runner
    from bilin_engine.runners.tensor_parallel import RankGroup

    settings = request.settings
    group = placement = None
    if request.rendezvous:
        folder = Path(request.rendezvous)
        group = RankGroup(folder, rank, request.world_size, settings.collective)
    if request.stages:
        stages = tuple(Stage(stage.device, stage.num_layers) for stage in request.stages)
        placement = LayerPlacement(stages, request.head_stage)
    runner = load_runner(
        Path(request.folder),
        context=settings.context,
        device=settings.device,
        backend=settings.backend,
        num_threads=settings.num_threads,
        num_slots=request.num_slots,
        dtype=None if settings.dtype == "auto" else settings.dtype,
        kv_dtype=settings.kv_dtype,
        group=group,
        placement=placement,
        on_progress=on_progress,
    )
    runner.num_texts = min(request.num_texts, runner.num_slots)
    return runner


def generate_with_torch(
    runner: "Runner",
    request: GenerationRequest,
    on_token: OnToken,
    should_stop: Callable[[], bool],
    has_ended: HasEnded,
) -> GenerationResult:
    """The real generation."""
    from bilin_engine.generation.generate import generate

    memory = _MEMORIES.setdefault(runner, SlotMemory())
    return generate(runner, request, on_token, should_stop, memory, has_ended)


def read_words_with_torch(
    runner: "Runner", request: WorkerRead, should_stop: Callable[[], bool]
) -> tuple[WorkerWord, ...]:
    """The real reading of words."""
    from bilin_engine.generation.read_words import PlacedWord, ReadRequest, read_words

    _MEMORIES.pop(runner, None)
    words = tuple(
        PlacedWord(
            PromptLayout(
                token_ids=word.token_ids,
                position_ids=word.position_ids,
                prefix_len=word.prefix_len,
                output_position=word.output_position,
                mask_index=word.mask_index,
            ),
            word.word_ids,
        )
        for word in request.words
    )
    banned = frozenset(request.banned_ids)
    asked = ReadRequest(words, request.stop_ids, banned, request.num_expected)
    return tuple(
        WorkerWord(
            reading.logprobs,
            reading.best,
            tuple(WorkerExpected(e.token_ids, e.logprob) for e in reading.expected),
        )
        for reading in read_words(runner, asked, should_stop)
    )


def generate_batch_with_torch(
    runner: "Runner",
    requests: Sequence[GenerationRequest],
    on_token: OnToken,
    should_stop: Callable[[], bool],
    has_ended: HasEnded,
) -> list[GenerationResult]:
    """The real generation of many requests; slot 0 holds nothing to go on from afterwards."""
    from bilin_engine.generation.batch import generate_batch

    _MEMORIES.pop(runner, None)
    return generate_batch(runner, requests, on_token, should_stop, has_ended)


def write_logits_with_torch(
    runner: "Runner", request: WorkerLogits, should_stop: Callable[[], bool]
) -> None:
    """Log-probs of every position, in float32, to the file, which is whole or not there.

    Raises BadRequestError for what the model cannot take and for a file that cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from bilin_engine.runners.base import PrefillRow

    row = PrefillRow(0, request.token_ids, request.position_ids, request.prefix_len)
    try:
        _MEMORIES.pop(runner, None)
        logits = runner.prefill([row], "all", should_stop)[0]
        save_file({"logprobs": logits.float().log_softmax(-1)}, request.path)
    except ValueError as error:  # ids, positions or a prefix that this model cannot have
        raise BadRequestError(str(error)) from error
    except (SafetensorError, OSError) as error:  # a full disk is a SafetensorError, too
        raise BadRequestError(f"{request.path} cannot be written: {error}") from error


def measure_with_torch(
    runner: "Runner",
    request_id: int,
    folder: Path,
    on_progress: Callable[[float], None],
    should_stop: Callable[[], bool],
) -> WorkerMeasured:
    """Times the loaded model."""
    from bilin_engine.bench import measure_runner
    from bilin_engine.config import read_model_config
    from bilin_engine.models.registry import model_class

    has_prefix = model_class(read_model_config(folder)).has_bidirectional_prefix
    _MEMORIES.pop(runner, None)
    rates = measure_runner(
        runner, has_prefix=has_prefix, on_progress=on_progress, should_stop=should_stop
    )
    return WorkerMeasured(
        id=request_id,
        decode_tok_s=rates.decode_tok_s,
        prefill_tok_s=rates.prefill_tok_s,
        prompt_tokens=rates.prompt_tokens,
        context_length=rates.prompt_tokens + rates.new_tokens // 2,
        read_bytes_s=rates.read_bytes_s,
    )


class WorkerLoop:
    """Serves one supervisor. `load` and `generate` are given by tests that need no torch."""

    def __init__(
        self,
        channel: Channel[WorkerRequest],
        load: LoadRunner = load_with_torch,
        generate: GenerateTokens = generate_with_torch,
        read_words: ReadWords = read_words_with_torch,
        generate_batch: GenerateBatch = generate_batch_with_torch,
        *,
        rank: int = 0,
    ) -> None:
        """rank: above 0 this process does what rank 0 says once the model is loaded."""
        self._rank = rank
        self._channel = channel
        self._load_runner = load
        self._generate_tokens = generate
        self._read_words = read_words
        self._generate_batch = generate_batch
        self._runner: Runner | None = None
        self._folder = Path()
        self._requests: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        # set.add and `in` are atomic: reader and main share these
        self._cancelled: set[int] = set()
        self._ended_rows: set[tuple[int, int]] = set()

    def run(self) -> None:
        """Never returns: the reader thread ends the process."""
        self._channel.send(hello("worker"))
        threading.Thread(target=self._read, name="bilin-worker-reader", daemon=True).start()
        while True:
            self._answer(self._requests.get())

    def _read(self) -> None:
        try:
            check_hello(self._channel.receive(), "supervisor")
            while (message := self._channel.receive()) is not None:
                match message:
                    case Cancel():
                        self._cancelled.add(message.target)
                    case WorkerEndRow():
                        self._ended_rows.add((message.target, message.row))
                    case Hello():
                        raise FrameError("the supervisor said Hello twice")
                    case _:
                        self._requests.put(message)
        except FrameError as error:
            logger.error("the supervisor's stream broke: %s", error)  # noqa: TRY400 - no bug of ours
            self._send_quietly(Failed(id=CONNECTION_ID, code="protocol", message=str(error)))
            os._exit(3)
        os._exit(0)

    def _send_quietly(self, message: Failed) -> None:
        try:
            self._channel.send(message)
        except OSError:
            logger.debug("the supervisor is gone")

    def _answer(self, request: _Work) -> None:
        try:
            match request:
                case WorkerLoad():
                    self._load(request)
                case WorkerGenerate():
                    self._generate(request)
                case WorkerRead():
                    self._read_places(request)
                case WorkerBatch():
                    self._batch(request)
                case WorkerLogits():
                    self._write_logits(request)
                case WorkerMeasure():
                    self._measure(request)
                case WorkerMemory():
                    self._report_memory(request)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                os._exit(0)  # the supervisor is gone
            self._fail(request.id, error)
        except Exception as error:  # noqa: BLE001 - the process edge: reported, then the next one
            self._fail(request.id, error)

    def _fail(self, request_id: int, error: Exception) -> None:
        if not isinstance(error, BilinError):
            logger.error("request %d failed", request_id, exc_info=error)
        if _has_lost_gpu(error):
            self._send_quietly(failed(CONNECTION_ID, error))
            os._exit(EXIT_BROKEN)  # whatever this process asks of the GPU fails alike from now on
        self._channel.send(failed(request_id, error))
        if getattr(self._runner, "is_broken", False):
            os._exit(EXIT_BROKEN)  # the other ranks wait in a collective: only an end helps

    def _load(self, request: WorkerLoad) -> None:
        if self._runner is not None:
            raise BadRequestError("this worker holds a model already; a new model, a new worker")
        start_s = time.monotonic()

        def on_progress(stage: str, fraction: float) -> None:
            self._channel.send(Progress(id=request.id, stage=stage, fraction=fraction))

        runner = self._load_runner(request, on_progress)
        self._runner = runner
        self._folder = Path(request.folder)
        self._channel.send(
            WorkerLoaded(
                id=request.id,
                context_length=runner.max_length,
                num_slots=runner.num_slots,
                vocab_size=runner.vocab_size,
                backend=runner.backend,
                num_threads=runner.num_threads,
                load_s=time.monotonic() - start_s,
                memory_bytes=runner.memory_bytes(),
            )
        )

        if self._rank:
            self._follow(runner)

    def _follow(self, runner: "Runner") -> None:
        """Computes what rank 0 says, for as long as this process lives."""
        from bilin_engine.runners.tensor_parallel import TensorParallelRunner

        assert isinstance(runner, TensorParallelRunner)
        try:
            runner.follow()
        except Exception as error:
            logger.exception("rank %d failed", self._rank)
            told = failed(CONNECTION_ID, error)
            message = f"rank {self._rank}: {told.message}"
            self._send_quietly(
                Failed(id=CONNECTION_ID, code=told.code, message=message, detail=told.detail)
            )
            os._exit(EXIT_BROKEN)

    def _write_logits(self, request: WorkerLogits) -> None:
        if self._runner is None:
            raise NotLoadedError("this worker holds no model yet")
        try:
            write_logits_with_torch(self._runner, request, lambda: request.id in self._cancelled)
        except Exception:
            if request.id not in self._cancelled:
                raise
            self._cancelled.discard(request.id)
            self._channel.send(Cancelled(request.id))
            return
        self._channel.send(WorkerLogitsWritten(request.id, self._runner.vocab_size))

    def _read_places(self, request: WorkerRead) -> None:
        if self._runner is None:
            raise NotLoadedError("this worker holds no model yet")
        try:
            words = self._read_words(self._runner, request, lambda: request.id in self._cancelled)
        except Exception:
            if request.id not in self._cancelled:
                raise
            self._cancelled.discard(request.id)
            self._channel.send(Cancelled(request.id))
            return
        self._channel.send(WorkerWordsRead(request.id, words))

    def _generate(self, request: WorkerGenerate) -> None:
        generation = generation_request(request)
        result = self._stoppable(
            request.id,
            lambda runner, tell, should_stop: self._generate_tokens(
                runner, generation, tell, should_stop, self._has_ended(request.id)
            ),
        )
        self._channel.send(
            Cancelled(request.id) if result is None else generated(request.id, result)
        )

    def _batch(self, request: WorkerBatch) -> None:
        generations = [generation_request(one, request.banned_ids) for one in request.requests]
        results = self._stoppable(
            request.id,
            lambda runner, tell, should_stop: self._generate_batch(
                runner, generations, tell, should_stop, self._has_ended(request.id)
            ),
        )
        if results is None:
            self._channel.send(Cancelled(request.id))
            return
        found = tuple(generated(request.id, result) for result in results)
        self._channel.send(WorkerBatchGenerated(id=request.id, results=found))

    def _has_ended(self, request_id: int) -> HasEnded:
        return lambda row: (request_id, row) in self._ended_rows

    def _stoppable(
        self,
        request_id: int,
        work: "Callable[[Runner, OnToken, Callable[[], bool]], Answer]",
    ) -> Answer | None:
        """What `work` gives, its tokens told; None when it was cancelled."""
        if self._runner is None:
            raise NotLoadedError("this worker holds no model yet")
        batch = _TokenBatch(self._channel, request_id)
        was_stopped = False

        def should_stop() -> bool:
            nonlocal was_stopped
            was_stopped = was_stopped or request_id in self._cancelled
            return was_stopped

        try:
            result = work(self._runner, batch.add, should_stop)
        except Exception:
            # Once told to stop, generation leaves by an exception of its own.
            if not was_stopped:
                raise
            result = None
        finally:
            self._cancelled.discard(request_id)
            # A copy, which is made in one step: the reader may add to the set meanwhile.
            ended = self._ended_rows.copy()
            self._ended_rows.difference_update(pair for pair in ended if pair[0] == request_id)
        batch.flush()
        return None if was_stopped else result

    def _measure(self, request: WorkerMeasure) -> None:
        if self._runner is None:
            raise NotLoadedError("this worker holds no model yet")

        def on_progress(fraction: float) -> None:
            self._channel.send(Progress(id=request.id, stage="measure", fraction=fraction))

        def should_stop() -> bool:
            return request.id in self._cancelled

        try:
            measured = measure_with_torch(
                self._runner, request.id, self._folder, on_progress, should_stop
            )
        except Exception:
            if request.id not in self._cancelled:
                raise
            self._cancelled.discard(request.id)
            self._channel.send(Cancelled(request.id))
            return
        self._channel.send(measured)

    def _report_memory(self, request: WorkerMemory) -> None:
        memory = self._runner.memory_bytes() if self._runner is not None else {}
        self._channel.send(
            WorkerMemoryReport(
                id=request.id, memory_bytes=memory, peak_rss_bytes=processes.peak_rss_bytes()
            )
        )


class _TokenBatch:
    """Collects tokens; sends them at once when they come slowly, every FLUSH_S when fast."""

    def __init__(self, channel: Channel[WorkerRequest], request_id: int) -> None:
        self._channel = channel
        self._id = request_id
        self._tokens: list[tuple[int, int, float]] = []
        self._flushed_s = 0.0

    def add(self, candidate: int, token_id: int, logprob: float) -> None:
        self._tokens.append((candidate, token_id, logprob))
        if time.monotonic() - self._flushed_s >= FLUSH_S:
            self.flush()

    def flush(self) -> None:
        if not self._tokens:
            return
        candidates, token_ids, logprobs = zip(*self._tokens, strict=True)
        self._tokens.clear()
        self._channel.send(
            WorkerTokens(id=self._id, candidates=candidates, token_ids=token_ids, logprobs=logprobs)
        )
        self._flushed_s = time.monotonic()


def generation_request(
    request: WorkerGenerate, banned_ids: tuple[int, ...] = ()
) -> GenerationRequest:
    """The message as generation wants it; `banned_ids` are banned beside its own."""
    return GenerationRequest(
        prompt=PromptLayout(
            token_ids=request.token_ids,
            position_ids=request.position_ids,
            prefix_len=request.prefix_len,
            output_position=request.output_position,
            mask_index=request.mask_index,
        ),
        sampling=request.sampling,
        stop_ids=frozenset(request.stop_ids),
        banned_ids=frozenset((*request.banned_ids, *banned_ids)),
        num_candidates=request.num_candidates,
        forced_choices=request.forced_choices,
    )


def generated(request_id: int, result: GenerationResult) -> WorkerGenerated:
    """Generation's result as a message."""
    return WorkerGenerated(
        id=request_id,
        candidates=tuple(
            WorkerCandidate(
                token_ids=tuple(candidate.token_ids),
                logprobs=tuple(candidate.logprobs),
                score=candidate.score,
                finish_reason=candidate.finish_reason,
            )
            for candidate in result.candidates
        ),
        stats=result.stats,
    )


def failed(request_id: int, error: Exception) -> Failed:
    """The sentence for a person; a traceback only as detail of what nobody foresaw."""
    error = out_of_memory(error) or error
    if isinstance(error, BilinError):
        return Failed(id=request_id, code=error.code, message=error.message, detail=error.detail)
    return Failed(
        id=request_id,
        code=BilinError.code,
        message=f"the model failed unexpectedly: {type(error).__name__}: {error}",
        detail="".join(traceback.format_exception(error)),
    )


def _has_lost_gpu(error: Exception) -> bool:
    """Whether CUDA fails whatever comes next: an illegal address, a launch that took too long.

    Only a new process can use the GPU then (CUDA programming guide, "Error Handling").
    """
    names = ("AcceleratorError", "CUDAError")  # torch's, cuda.core's
    is_cuda = type(error).__name__ in names or "CUDA error" in str(error)
    return is_cuda and out_of_memory(error) is None
