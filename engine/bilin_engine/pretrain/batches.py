"""The order of batches: a pure function of (store, seed, step), so resuming needs one number.

Samples are short and of many lengths. A batch holds samples of like length up to a number of
tokens; measured here, this beats packing rows of 512 with a block-diagonal mask, whose attention
and masks are computed for pairs that never see each other.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from bilin_engine.config import SpecialIds
from bilin_engine.pretrain.run_folder import Progress, TrainSettings
from bilin_engine.pretrain.samples import Arrays, collate
from bilin_engine.pretrain.schedule import num_batches
from bilin_engine.pretrain.shards import SampleStore
from bilin_engine.processes import end_with_parent

POOL_BATCHES = 64  # samples are sorted by length within so many batches, then shuffled again


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The batches of one pass through the store, in order."""

    batches: tuple[NDArray[np.int64], ...]


def plan_epoch(store: SampleStore, *, seed: int, epoch: int, tokens_per_batch: int) -> BatchPlan:
    """All samples once, in batches of at most `tokens_per_batch` tokens.

    Padding to the longest sample counts; that to a multiple of eight (`collate`) comes on top.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(store))
    mean = max(1.0, float(store.lengths.mean()))
    pool_size = max(1, int(POOL_BATCHES * tokens_per_batch / mean))
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(order), pool_size):
        pool = order[start : start + pool_size]
        pool = pool[np.argsort(store.lengths[pool], kind="stable")]
        cut = 0
        for at in range(len(pool)):
            width = int(store.lengths[pool[at]])
            if (at - cut + 1) * width > tokens_per_batch and at > cut:
                batches.append(pool[cut:at])
                cut = at
        batches.append(pool[cut:])
    order_of_batches = rng.permutation(len(batches))
    return BatchPlan(tuple(batches[index] for index in order_of_batches))


class BatchStream(Dataset[Arrays]):
    """Batches by cursor, passes planned as they are reached."""

    def __init__(self, store: SampleStore, settings: TrainSettings, specials: SpecialIds) -> None:
        if specials.sop is None or specials.eop is None:
            message = "the vocabulary has no sop and eop; blank filling needs both"
            raise ValueError(message)
        self._store = store
        self._seed, self._tokens = settings.seed, settings.tokens_per_batch
        self._sop, self._eop = specials.sop, specials.eop
        self._epoch, self._epoch_start = 0, 0
        self._plan: BatchPlan | None = None

    def __getitem__(self, index: int) -> Arrays:
        """Batch number `index`, counted from the start of training."""
        if self._plan is None or index < self._epoch_start:
            self._epoch, self._epoch_start = 0, 0
            self._plan = self._plan_of(0)
        while index >= self._epoch_start + len(self._plan.batches):
            self._epoch_start += len(self._plan.batches)
            self._epoch += 1
            self._plan = self._plan_of(self._epoch)
        samples = [self._store[int(i)] for i in self._plan.batches[index - self._epoch_start]]
        return collate(samples, sop=self._sop, eop=self._eop, multiple=8)

    def _plan_of(self, epoch: int) -> BatchPlan:
        return plan_epoch(self._store, seed=self._seed, epoch=epoch, tokens_per_batch=self._tokens)


class _Cursors(Sampler[int]):
    """The cursors that one process takes from `progress` on, for as long as nothing rolls back."""

    def __init__(
        self, progress: Progress, settings: TrainSettings, rank: int, processes: int
    ) -> None:
        self._step, self._cursor = progress.step, progress.cursor
        self._settings, self._rank, self._processes = settings, rank, processes

    def __iter__(self) -> Iterator[int]:
        step, cursor = self._step, self._cursor
        while True:
            count = num_batches(step, self._settings)
            yield from range(cursor + self._rank, cursor + count, self._processes)
            step, cursor = step + 1, cursor + count


def iterate_batches(
    stream: BatchStream,
    progress: Progress,
    settings: TrainSettings,
    *,
    rank: int,
    processes: int,
) -> Iterator[Arrays]:
    """One process's batches from `progress` on, made ahead by `loader_processes` others."""
    workers = settings.loader_processes
    loader = DataLoader(
        stream,
        batch_size=None,
        sampler=_Cursors(progress, settings, rank, processes),
        num_workers=workers,
        prefetch_factor=8 if workers else None,
        collate_fn=_unchanged,
        worker_init_fn=partial(_end_with, os.getpid()),
    )
    return iter(loader)


def _end_with(parent_pid: int, _worker: int) -> None:
    """Torch's own worker outlives a kill: it waits for a reader of the batches it has made."""
    end_with_parent(parent_pid)


def _unchanged(batch: object) -> object:
    return batch
