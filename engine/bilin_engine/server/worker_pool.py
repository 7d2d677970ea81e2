"""The processes of one loaded model, one a rank, and one request at a time to them.

Knows no text. Rank 0 answers for all; a rank that dies takes the pool with it. All methods but
`kill` belong to one thread, which must live as long as the pool.
"""

import math
import queue
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bilin_engine import processes
from bilin_engine.collectives.board import Board, make_rendezvous, remove_rendezvous
from bilin_engine.errors import BilinError, WorkerDiedError
from bilin_engine.protocol import (
    CONNECTION_ID,
    Cancel,
    Failed,
    Hello,
    Progress,
    WorkerBatch,
    WorkerBatchGenerated,
    WorkerEndRow,
    WorkerEvent,
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
    WorkerTokens,
    WorkerWordsRead,
)
from bilin_engine.server.child_process import Gone
from bilin_engine.server.tasks import Task
from bilin_engine.server.worker_process import WorkerCommand, WorkerProcess

RANK_0 = 0
_POOL = -1  # the "rank" of what the pool tells itself


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """How long workers may take, in seconds.

    start_s: from start to `Hello` (torch is imported later). cancel_s: to obey a cancel; then the
    processes are killed. hang_s: without an event and without using the processor: a slow machine
    uses its processor, a process that hangs does not. stall_s: the same for the one rank of several
    that the others wait for while they generate.
    """

    start_s: float = 30.0
    cancel_s: float = 2.0
    hang_s: float = 60.0
    stall_s: float = 3.0


class RemoteError(BilinError):
    """A worker's `Failed`, with the code it gave."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message, detail=failed.detail)
        self.code = failed.code


class _Wake:
    """Ends the pool's wait: something asked for its attention."""


class WorkerPool:
    """Starts with the object; ends with `close`."""

    def __init__(
        self,
        command: WorkerCommand,
        limits: WorkerLimits,
        on_gone: Callable[["WorkerPool", str], None],
        world_size: int = 1,
    ) -> None:
        """`on_gone(pool, reason)`: a worker ended by itself or was killed; from any thread."""
        self._limits = limits
        self._on_gone = on_gone
        self._events: queue.SimpleQueue[tuple[int, WorkerEvent | Gone | _Wake]] = (
            queue.SimpleQueue()
        )
        self._workers: list[WorkerProcess] = []
        self._greeted: set[int] = set()
        self.death_reason = ""  # why its processes ended or were ended, "" while they live
        self._last_id = 0
        self.rendezvous = make_rendezvous(world_size) if world_size > 1 else None
        self._board: Board | None = None
        try:
            if self.rendezvous is not None:
                self._board = Board(self.rendezvous, world_size)
            for rank in range(world_size):
                self._workers.append(WorkerProcess(command.for_rank(rank), rank, self._receive))
        except BilinError:
            self.close()
            raise

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids by rank."""
        return tuple(worker.pid for worker in self._workers)

    def next_id(self) -> int:
        """The id for the next request to this pool."""
        self._last_id += 1
        return self._last_id

    def load(
        self, task: Task, request: WorkerLoad, on_progress: Callable[[Progress], None]
    ) -> WorkerLoaded:
        """Loads on every rank; memory is that of all ranks. A cancel kills: nothing is lost."""

        def on_event(event: WorkerEvent) -> None:
            if isinstance(event, Progress):
                on_progress(event)

        finals = self._run(task, request, range(len(self._workers)), on_event, cancel_s=0.0)
        loaded = [final for final in finals if isinstance(final, WorkerLoaded)]
        memory: dict[str, int] = {}
        for event in loaded:
            for device, size_bytes in event.memory_bytes.items():
                memory[device] = memory.get(device, 0) + size_bytes
        first = loaded[RANK_0]
        return WorkerLoaded(
            id=first.id,
            context_length=min(event.context_length for event in loaded),
            num_slots=first.num_slots,
            vocab_size=first.vocab_size,
            backend=first.backend,
            num_threads=first.num_threads,
            load_s=max(event.load_s for event in loaded),
            memory_bytes=memory,
        )

    def generate(
        self,
        task: Task,
        request: WorkerGenerate,
        on_tokens: Callable[[WorkerTokens], Iterable[int]],
    ) -> WorkerGenerated:
        """Generates. `on_tokens` says which candidates are over for whoever listens.

        Raises CancelledTaskError when `task` is cancelled, WorkerDiedError, or what the worker
        failed with.
        """
        on_event = self._ending(request.id, on_tokens)
        (final,) = self._run(task, request, (RANK_0,), on_event, cancel_s=self._limits.cancel_s)
        assert isinstance(final, WorkerGenerated)
        return final

    def read(self, task: Task, request: WorkerRead) -> WorkerWordsRead:
        """Reads words in their places. Raises as `generate`."""
        (final,) = self._run(task, request, (RANK_0,), cancel_s=self._limits.cancel_s)
        assert isinstance(final, WorkerWordsRead)
        return final

    def generate_batch(
        self, task: Task, request: WorkerBatch, on_tokens: Callable[[WorkerTokens], Iterable[int]]
    ) -> tuple[WorkerGenerated, ...]:
        """Generates or scores many requests together; results in their order.

        `on_tokens` says which rows are over for whoever listens. Raises as `generate`.
        """
        on_event = self._ending(request.id, on_tokens)
        (final,) = self._run(task, request, (RANK_0,), on_event, cancel_s=self._limits.cancel_s)
        assert isinstance(final, WorkerBatchGenerated)
        return final.results

    def _ending(
        self, request_id: int, on_tokens: Callable[[WorkerTokens], Iterable[int]]
    ) -> Callable[[WorkerEvent], None]:
        """Hears tokens, and tells the worker which rows are over."""

        def on_event(event: WorkerEvent) -> None:
            if isinstance(event, WorkerTokens):
                for row in on_tokens(event):
                    self._workers[RANK_0].send(WorkerEndRow(self.next_id(), request_id, row))

        return on_event

    def logits(self, task: Task, request: WorkerLogits) -> WorkerLogitsWritten:
        """Writes log-probs of every position to a file. Raises as `generate`."""
        (final,) = self._run(task, request, (RANK_0,), cancel_s=self._limits.cancel_s)
        assert isinstance(final, WorkerLogitsWritten)
        return final

    def measure(self, task: Task, on_progress: Callable[[Progress], None]) -> WorkerMeasured:
        """Times the loaded model. Raises as `generate`."""

        def on_event(event: WorkerEvent) -> None:
            if isinstance(event, Progress):
                on_progress(event)

        request = WorkerMeasure(self.next_id())
        limit_s = self._limits.cancel_s
        (final,) = self._run(task, request, (RANK_0,), on_event, cancel_s=limit_s)
        assert isinstance(final, WorkerMeasured)
        return final

    def memory(self, task: Task) -> WorkerMemoryReport:
        """Rank 0's real memory use."""
        request = WorkerMemory(self.next_id())
        (final,) = self._run(task, request, (RANK_0,), cancel_s=self._limits.cancel_s)
        assert isinstance(final, WorkerMemoryReport)
        return final

    def kill(self, reason: str) -> None:
        """Ends the processes at once; a running request fails with `reason`. Any thread."""
        self.death_reason = self.death_reason or reason
        for worker in self._workers:
            worker.kill(reason)

    def close(self) -> None:
        """Ends the processes in good order. Safe to call twice."""
        for worker in self._workers:
            worker.end_input()  # all at once: a rank that outlives the others would report them
        for worker in self._workers:
            worker.close()
        if self._board is not None:
            self._board.close()
            self._board = None
        if self.rendezvous is not None:
            remove_rendezvous(self.rendezvous)

    def _receive(self, rank: int, event: WorkerEvent | Gone) -> None:
        if isinstance(event, Failed) and event.id == CONNECTION_ID:
            # Here, not where it is waited for: its end, which says less, may come before that.
            reason = f"The model's process gave up: {event.message}."
            self.death_reason = self.death_reason or reason
        if isinstance(event, Gone) and event.reason:
            self.death_reason = self.death_reason or event.reason
            self._on_gone(self, self.death_reason)
        self._events.put((rank, event))

    def _run(
        self,
        task: Task,
        request: WorkerLoad
        | WorkerGenerate
        | WorkerRead
        | WorkerBatch
        | WorkerLogits
        | WorkerMeasure
        | WorkerMemory,
        ranks: "range | tuple[int, ...]",
        on_event: Callable[[WorkerEvent], None] | None = None,
        *,
        cancel_s: float,
    ) -> list[WorkerEvent]:
        """Sends `request` to `ranks`; returns each one's last event, in order of rank."""
        for rank in ranks:
            self._workers[rank].send(request)
        finals: dict[int, WorkerEvent] = {}
        is_loading = isinstance(request, WorkerLoad)
        watch = _Watch(self.pids, self._limits, None if is_loading else self._board)
        task.wake_with(lambda: self._events.put((_POOL, _Wake())))
        try:
            # One rank's failure is the request's: the others may wait for it in vain.
            while len(finals) < len(ranks) and not _failures(finals):
                event = self._next(watch, finals, request.id)
                if task.is_cancelled:
                    self._ask_to_stop(request.id, watch, cancel_s)
                elif event is not None and on_event is not None:
                    on_event(event)
        except WorkerDiedError:
            task.check()  # ended on behalf of a cancel: that is what the caller asked for
            raise
        finally:
            task.wake_with(None)
        task.check()
        for failed in _failures(finals):
            raise RemoteError(failed)
        return [finals[rank] for rank in ranks]

    def _next(
        self, watch: "_Watch", finals: dict[int, WorkerEvent], request_id: int
    ) -> WorkerEvent | None:
        """Rank 0's next event of this request, or None when there is none to hand on now."""
        try:
            rank, event = self._events.get(timeout=watch.patience_s())
        except queue.Empty:
            rank, event = _POOL, _Wake()
            watch.look(is_greeted=len(self._greeted) == len(self._workers))
        if reason := watch.verdict():
            self.kill(reason)
        if isinstance(event, _Wake):
            return None
        watch.has_heard()
        if isinstance(event, Gone):
            raise WorkerDiedError(event.reason)
        if isinstance(event, Hello):
            self._greeted.add(rank)
            return None
        if isinstance(event, Failed) and event.id == CONNECTION_ID:
            self.kill(self.death_reason)
            raise WorkerDiedError(self.death_reason)
        if event.id != request_id:
            return None  # the rest of a request that was given up
        if isinstance(event, Progress | WorkerTokens):
            return event if rank == RANK_0 else None
        finals[rank] = event
        return None

    def _ask_to_stop(self, request_id: int, watch: "_Watch", cancel_s: float) -> None:
        if watch.was_asked_to_stop:
            return
        if cancel_s == 0.0:
            self.kill("The load was cancelled.")
            return
        watch.asked_to_stop(cancel_s)
        for worker in self._workers:
            worker.send(Cancel(self.next_id(), request_id))


def _failures(finals: dict[int, WorkerEvent]) -> list[Failed]:
    return [final for final in finals.values() if isinstance(final, Failed)]


class _Watch:
    """Decides when it has been too long: a start, a cancel, a hang."""

    LOOK_S = 1.0  # how often a silent worker's processor time is read

    def __init__(self, pids: tuple[int, ...], limits: WorkerLimits, board: Board | None) -> None:
        """board: of several ranks that compute together, to find the one that does not."""
        self._pids = pids
        self._limits = limits
        self._board = board
        self._last_rank = (-1, 0.0)  # whom the others wait for, with its processor time
        self._last_rank_s = time.monotonic()
        self._start_s = self._alive_s = time.monotonic()
        self._cpu_s = 0.0
        self._cancel_s = 0.0
        self._stop_deadline_s = math.inf
        self._verdict = ""

    @property
    def was_asked_to_stop(self) -> bool:
        return self._stop_deadline_s < math.inf

    def asked_to_stop(self, cancel_s: float) -> None:
        self._cancel_s = cancel_s
        self._stop_deadline_s = time.monotonic() + cancel_s

    def has_heard(self) -> None:
        self._alive_s = time.monotonic()

    def patience_s(self) -> float:
        """How long to wait for an event before looking again."""
        patience_s = min(self.LOOK_S, self._limits.hang_s / 2, self._limits.start_s / 2)
        if self._verdict:
            return patience_s
        return max(0.0, min(patience_s, self._stop_deadline_s - time.monotonic()))

    def look(self, *, is_greeted: bool) -> None:
        """After silence: is the start too slow, and do the processes still use the processor?"""
        now_s = time.monotonic()
        if not is_greeted:
            if now_s - self._start_s >= self._limits.start_s:
                self._verdict = (
                    f"The model's process did not answer within {self._limits.start_s:g} s."
                )
            return
        if self._board is not None:
            self._look_at_last_rank(self._board, now_s)
        cpu_s = sum(processes.cpu_time_s(pid) or 0.0 for pid in self._pids)
        if cpu_s <= self._cpu_s:  # a checkout's first load waits for a compiler
            cpu_s += sum(processes.descendants_cpu_time_s(pid) for pid in self._pids)
        if cpu_s > self._cpu_s:
            self._cpu_s = cpu_s
            self._alive_s = now_s
        if now_s - self._alive_s >= self._limits.hang_s:
            self._verdict = (
                f"The model's process hung: for {self._limits.hang_s:g} s it neither answered "
                "nor used the processor, so it was ended."
            )

    def _look_at_last_rank(self, board: Board, now_s: float) -> None:
        rank = board.last_rank()
        found = (rank, processes.cpu_time_s(self._pids[rank]) or 0.0)
        if found != self._last_rank:
            self._last_rank = found
            self._last_rank_s = now_s
        elif now_s - self._last_rank_s >= self._limits.stall_s:
            self._verdict = (
                f"Rank {rank} of the model hung: for {self._limits.stall_s:g} s it neither met the "
                "other ranks nor used the processor, so all of them were ended."
            )

    def verdict(self) -> str:
        """Why the workers must be ended now, or ""."""
        if not self._verdict and time.monotonic() >= self._stop_deadline_s:
            self._verdict = (
                f"The model did not stop within {self._cancel_s:g} s of being asked, "
                "so its process was ended."
            )
        return self._verdict
