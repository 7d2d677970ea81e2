"""The whole model on one device, in this process."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal

import torch

from bilin_engine.layers.attention import Span
from bilin_engine.models.base import Model, Poll
from bilin_engine.models.cpu_step import CpuStep
from bilin_engine.runners.base import PrefillRow, Runner, ShouldStop, StoppedError
from bilin_engine.runners.threads import ThreadPacer

# From here on products are bound by arithmetic: the processor's kernels read weights once for four.
MANY_ROWS = 16


class LocalRunner(Runner):
    """Runs one `Model`. Slots share nothing but the weights."""

    def __init__(
        self, model: Model, *, num_slots: int, max_length: int, backend: str, num_threads: int
    ) -> None:
        """`num_threads` is told, not set: whoever builds the runner sets torch's threads."""
        self.num_slots = self.num_texts = num_slots
        self.max_length = max_length
        self.backend = backend
        self.num_threads = num_threads
        self.vocab_size = model.config.vocab_size
        self._model: Model | None = model
        self._cache = model.new_cache(num_slots, max_length)
        self._cache.block(0)  # what is too large fails as it loads, not at the first request
        self.pacer: ThreadPacer | None = None  # chooses threads as the load changes
        self._cpu_step = CpuStep.of(model, self._cache) if backend == "cpu" else None

    @torch.inference_mode()
    def prefill(
        self,
        rows: Sequence[PrefillRow],
        logits: Literal["last", "all"] | Sequence[int] = "last",
        should_stop: ShouldStop | None = None,
    ) -> list[torch.Tensor]:
        """As `Runner.prefill`. All rows pass through the layers together."""
        self._check_slots([row.slot for row in rows])
        spans: list[Span] = []
        wanted: list[int] = []
        counts: list[int] = []
        first = 0
        for row in rows:
            self._check_row(row)
            count = len(row.token_ids)
            spans.append(self._span(row.slot, first, count, row.start, row.prefix_len))
            picked = _picked(logits if row.outputs is None else row.outputs, count)
            wanted.extend(first + index for index in picked)
            counts.append(len(picked))
            first += count
        token_ids = [token for row in rows for token in row.token_ids]
        position_ids = [position for row in rows for position in row.position_ids]
        threads = nullcontext()
        if self.pacer is not None and rows:
            slot, start = rows[0].slot, rows[0].start
            self.pacer.before_prefill(lambda: self.time_step(slot, start))
            self.num_threads = self.pacer.count
            if len(token_ids) >= MANY_ROWS:
                threads = self.pacer.many_rows()
        with threads:
            out = self._forward(token_ids, position_ids, spans, wanted, should_stop)
        for row in rows:
            self._cache.set_length(row.slot, row.start + len(row.token_ids))
        return list(out.split(counts))

    @torch.inference_mode()
    def decode(
        self,
        slots: Sequence[int],
        token_ids: Sequence[int],
        position_ids: Sequence[int],
        should_stop: ShouldStop | None = None,
    ) -> torch.Tensor:
        """As `Runner.decode`."""
        self._check_decode(slots, token_ids, position_ids)
        started_s = time.perf_counter()
        out = self._decoded(slots, token_ids, position_ids, should_stop)
        if self.pacer is not None:
            self.pacer.stepped(time.perf_counter() - started_s)
            self.num_threads = self.pacer.count
        for slot in slots:
            self._cache.set_length(slot, self._cache.length(slot) + 1)
        return out

    @torch.inference_mode()
    def time_step(self, slot: int = 0, length: int = 0) -> float:
        """Seconds of a decode step of `slot` behind `length` tokens.

        It overwrites what the slot held next; the slot's length stays what it was.
        """
        before = self._cache.length(slot)
        self._cache.set_length(slot, length)
        started_s = time.perf_counter()
        self._decoded([slot], [0], [length], None)
        self._cache.set_length(slot, before)
        return time.perf_counter() - started_s

    @torch.inference_mode()
    def copy_slots(self, src: Sequence[int], dst: Sequence[int]) -> None:
        """As `Runner.copy_slots`."""
        for slot in src:
            self._check_slots([slot])
        self._check_slots(dst)
        self._cache.copy(src, dst)

    def truncate(self, slot: int, length: int) -> None:
        """As `Runner.truncate`. Raises ValueError if the slot holds fewer tokens."""
        self._check_slots([slot])
        if not 0 <= length <= self._cache.length(slot):
            raise ValueError(
                f"slot {slot} holds {self._cache.length(slot)} tokens; it cannot be cut to {length}"
            )
        self._cache.set_length(slot, length)

    def length(self, slot: int) -> int:
        """As `Runner.length`."""
        return self._cache.length(slot)

    def memory_bytes(self) -> dict[str, int]:
        """As `Runner.memory_bytes`."""
        held = self._loaded().size_bytes + self._cache.memory_bytes()
        return {str(self._cache.device): held}

    def weights_read_bytes(self) -> int:
        """As `Runner.weights_read_bytes`."""
        return self._loaded().read_bytes

    def close(self) -> None:
        """As `Runner.close`."""
        self._model = self._cpu_step = None
        self._cache.clear()

    def _decoded(
        self,
        slots: Sequence[int],
        token_ids: Sequence[int],
        position_ids: Sequence[int],
        should_stop: ShouldStop | None,
    ) -> torch.Tensor:
        if self._cpu_step is not None:
            blocks = [self._cache.address(slot) for slot in slots]
            lengths = [self._cache.length(slot) for slot in slots]
            poll = _poll(should_stop)
            return self._cpu_step(token_ids, position_ids, blocks, lengths, poll)
        spans = [
            self._span(slot, index, 1, self._cache.length(slot), 0)
            for index, slot in enumerate(slots)
        ]
        return self._forward(token_ids, position_ids, spans, list(range(len(slots))), should_stop)

    def _forward(
        self,
        token_ids: Sequence[int],
        position_ids: Sequence[int],
        spans: Sequence[Span],
        output_rows: Sequence[int],
        should_stop: ShouldStop | None,
    ) -> torch.Tensor:
        model = self._loaded()
        self._check_tokens(token_ids, position_ids)

        device = self._cache.device
        return model.forward(
            torch.tensor(token_ids, dtype=torch.int64, device=device),
            torch.tensor(position_ids, dtype=torch.int64, device=device),
            spans,
            torch.tensor(output_rows, dtype=torch.int64, device=device),
            _poll(should_stop),
        ).cpu()

    def _span(self, slot: int, first: int, count: int, start: int, prefix_len: int) -> Span:
        return Span(
            first=first,
            count=count,
            start=start,
            prefix_len=prefix_len,
            block=self._cache.block(slot),
        )

    def _loaded(self) -> Model:
        if self._model is None:
            raise ValueError("the runner is closed")
        return self._model

    def _check_slots(self, slots: Sequence[int]) -> None:
        if not slots or len(set(slots)) != len(slots):
            raise ValueError(f"slots {list(slots)}: one or more different ones are needed")
        for slot in slots:
            if not 0 <= slot < self.num_slots:
                raise ValueError(f"slot {slot} is not one of 0 to {self.num_slots - 1}")

    def _check_tokens(self, token_ids: Sequence[int], position_ids: Sequence[int]) -> None:
        _check_ids(token_ids, self.vocab_size, "token id", "the vocabulary")
        limit = self._loaded().config.max_sequence_length
        _check_ids(position_ids, limit, "position", "the model's context")
        if len(token_ids) != len(position_ids):
            raise ValueError(f"{len(token_ids)} tokens with {len(position_ids)} positions")

    def _check_decode(
        self, slots: Sequence[int], token_ids: Sequence[int], position_ids: Sequence[int]
    ) -> None:
        self._check_slots(slots)
        self._check_tokens(token_ids, position_ids)
        if len(token_ids) != len(slots):
            raise ValueError(f"{len(slots)} slots with {len(token_ids)} tokens")
        for slot in slots:
            if self._cache.length(slot) >= self.max_length:
                raise ValueError(
                    f"slot {slot} is full: it holds {self._cache.length(slot)} of "
                    f"{self.max_length} tokens"
                )

    def _check_row(self, row: PrefillRow) -> None:
        count = len(row.token_ids)
        if count < 1:
            raise ValueError(f"slot {row.slot}: a prompt needs at least one token")
        if row.start + count > self.max_length:
            raise ValueError(
                f"slot {row.slot}: {row.start} + {count} tokens do not fit {self.max_length}"
            )
        if not 0 <= row.start <= self._cache.length(row.slot):
            raise ValueError(
                f"slot {row.slot} holds {self._cache.length(row.slot)} tokens; "
                f"a prompt cannot start at {row.start}"
            )
        if row.start and row.prefix_len:
            raise ValueError(f"slot {row.slot}: tokens appended at {row.start} are causal only")
        if not 0 <= row.prefix_len <= count:
            raise ValueError(f"slot {row.slot}: prefix_len {row.prefix_len} of {count} tokens")
        if row.prefix_len and not self._loaded().has_bidirectional_prefix:
            raise ValueError(f"slot {row.slot}: this model is causal; prefix_len must be 0")


def _poll(should_stop: ShouldStop | None) -> Poll:
    def poll() -> None:
        if should_stop is not None and should_stop():
            # What was half written must not be mistaken for a whole sequence.
            raise StoppedError

    return poll


def _picked(logits: Literal["last", "all"] | Sequence[int], count: int) -> Sequence[int]:
    """Indices into a row's new tokens."""
    if logits == "last":
        return [count - 1]
    if logits == "all":
        return range(count)
    for index in logits:
        if not isinstance(index, int) or not 0 <= index < count:
            raise ValueError(f"logits at {index!r}: the row has tokens 0 to {count - 1}")
    return list(logits)  # pyright: ignore[reportReturnType] - checked above


def _check_ids(ids: Sequence[int], limit: int, what: str, whose: str) -> None:
    for value in ids:
        if not 0 <= value < limit:
            raise ValueError(f"{what} {value} is outside {whose} of {limit}")
