"""One model over several processes, a rank each: every layer is shared by all of them.

Rank 0 is the Runner that generation sees. Before it computes it tells the others what to compute;
then all make the same pass and meet in the model's collectives. Whether to stop is decided by
rank 0 alone and told to all at the same place of the pass, so that no two ranks ever disagree
inside a collective.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import torch

from bilin_engine.collectives.base import Collective
from bilin_engine.errors import WorkerDiedError
from bilin_engine.runners.base import PrefillRow, Runner, ShouldStop, StoppedError
from bilin_engine.runners.local import LocalRunner

LAST = "last"

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RankGroup:
    """One rank's place. folder: where the ranks of one group meet, the same path for all.

    collective: "auto", "gloo", "nccl" or "shared_memory".
    """

    folder: Path
    rank: int
    world_size: int
    collective: str = "auto"


class _Prefill(msgspec.Struct, frozen=True, tag=True):
    rows: tuple[PrefillRow, ...]
    logits: Literal["last", "all"] | tuple[int, ...]
    can_stop: bool


class _Decode(msgspec.Struct, frozen=True, tag=True):
    slots: tuple[int, ...]
    token_ids: tuple[int, ...]
    position_ids: tuple[int, ...]
    can_stop: bool


class _Copy(msgspec.Struct, frozen=True, tag=True):
    src: tuple[int, ...]
    dst: tuple[int, ...]


class _Truncate(msgspec.Struct, frozen=True, tag=True):
    slot: int
    length: int


class _Close(msgspec.Struct, frozen=True, tag=True):
    pass


_Command = _Prefill | _Decode | _Copy | _Truncate | _Close
_DECODER = msgspec.msgpack.Decoder(_Command)


class TensorParallelRunner(Runner):
    """Rank 0 is used as any Runner; every other rank calls `follow` and nothing else.

    What fails on one rank alone leaves the others waiting: the runner is then broken, says so, and
    the group's processes are to be ended.
    """

    def __init__(self, inner: LocalRunner, control: Collective) -> None:
        """inner: this rank's part. control: carries commands, in main memory, without timeout."""
        self._inner = inner
        self._control = control
        self._is_broken = False
        self._is_closed = False
        self.num_slots = self.num_texts = inner.num_slots
        self.max_length = inner.max_length
        self.vocab_size = inner.vocab_size
        self.backend = inner.backend
        self.num_threads = inner.num_threads

    @property
    def rank(self) -> int:
        """0 leads."""
        return self._control.rank

    def prefill(
        self,
        rows: Sequence[PrefillRow],
        logits: Literal["last", "all"] | Sequence[int] = LAST,
        should_stop: ShouldStop | None = None,
    ) -> list[torch.Tensor]:
        """As `Runner.prefill`."""
        rows = tuple(_plain(row) for row in rows)
        if not isinstance(logits, str):
            logits = tuple(logits)
        command = _Prefill(rows, logits, can_stop=should_stop is not None)
        return self._together(command, lambda: self._prefill(command, should_stop))

    def decode(
        self,
        slots: Sequence[int],
        token_ids: Sequence[int],
        position_ids: Sequence[int],
        should_stop: ShouldStop | None = None,
    ) -> torch.Tensor:
        """As `Runner.decode`."""
        command = _Decode(
            tuple(slots), tuple(token_ids), tuple(position_ids), can_stop=should_stop is not None
        )
        return self._together(command, lambda: self._decode(command, should_stop))

    def copy_slots(self, src: Sequence[int], dst: Sequence[int]) -> None:
        """As `Runner.copy_slots`."""
        command = _Copy(tuple(src), tuple(dst))
        self._together(command, lambda: self._inner.copy_slots(command.src, command.dst))

    def truncate(self, slot: int, length: int) -> None:
        """As `Runner.truncate`."""
        command = _Truncate(slot, length)
        self._together(command, lambda: self._inner.truncate(slot, length))

    def length(self, slot: int) -> int:
        """As `Runner.length`."""
        return self._inner.length(slot)

    def memory_bytes(self) -> dict[str, int]:
        """This rank's own allocation."""
        return self._inner.memory_bytes()

    def close(self) -> None:
        """As `Runner.close`; the other ranks' `follow` returns."""
        if not self._is_closed and not self._is_broken and self.rank == 0:
            self._send(_Close())
        self._is_closed = True
        self._inner.close()

    def follow(self) -> None:
        """Computes what rank 0 says until it closes. For the other ranks.

        Raises what breaks the group: WorkerDiedError, out of memory, a defect.
        """
        while True:
            command = self._receive()
            if isinstance(command, _Close):
                self._inner.close()
                return
            try:
                self._obey(command)
            except (StoppedError, ValueError):
                continue  # rank 0 had the same and tells its caller

    def _obey(self, command: _Command) -> None:
        match command:
            case _Prefill():
                self._prefill(command, None)
            case _Decode():
                self._decode(command, None)
            case _Copy():
                self._inner.copy_slots(command.src, command.dst)
            case _Truncate():
                self._inner.truncate(command.slot, command.length)

    def _prefill(self, command: _Prefill, should_stop: ShouldStop | None) -> list[torch.Tensor]:
        agreed = self._agreed(should_stop) if command.can_stop else None
        return self._inner.prefill(command.rows, command.logits, agreed)

    def _decode(self, command: _Decode, should_stop: ShouldStop | None) -> torch.Tensor:
        agreed = self._agreed(should_stop) if command.can_stop else None
        return self._inner.decode(command.slots, command.token_ids, command.position_ids, agreed)

    def _agreed(self, should_stop: ShouldStop | None) -> ShouldStop:
        """Rank 0's answer, the same on all ranks at the same poll."""

        def agreed() -> bool:
            answer = should_stop is not None and should_stop()
            return bool(self._control.broadcast(torch.tensor([answer])).item())

        return agreed

    def _together(self, command: _Command, compute: Callable[[], Result]) -> Result:
        if self._is_closed:
            raise ValueError("the runner is closed")
        if self._is_broken:
            raise WorkerDiedError("the ranks of this model no longer agree; load it again")
        try:
            self._send(command)
            return compute()
        except (StoppedError, ValueError):
            raise  # the same on every rank, and none of them is in a collective now
        except BaseException:
            self._is_broken = True
            raise

    @property
    def is_broken(self) -> bool:
        """Whether the ranks no longer agree, so that only ending them helps."""
        return self._is_broken

    def _send(self, command: _Command) -> None:
        body = torch.frombuffer(bytearray(msgspec.msgpack.encode(command)), dtype=torch.uint8)
        self._control.broadcast(torch.tensor([body.numel()]))
        self._control.broadcast(body)

    def _receive(self) -> _Command:
        size = int(self._control.broadcast(torch.zeros(1, dtype=torch.int64)).item())
        body = self._control.broadcast(torch.zeros(size, dtype=torch.uint8))
        return _DECODER.decode(body.numpy().tobytes())


def _plain(row: PrefillRow) -> PrefillRow:
    """With tuples instead of any sequence, as a message needs them."""
    return PrefillRow(
        row.slot,
        tuple(row.token_ids),
        tuple(row.position_ids),
        row.prefix_len,
        row.start,
        None if row.outputs is None else tuple(row.outputs),
    )
