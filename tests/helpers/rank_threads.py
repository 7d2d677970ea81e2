"""Tensor-parallel ranks as threads of one process: the collective seam without any transport."""

import threading
from collections.abc import Callable
from typing import TypeVar

import torch

from bilin_engine.collectives.base import Collective

T = TypeVar("T")


class ThreadCollective(Collective):
    """One rank of `world_size` threads that share a list and a barrier."""

    def __init__(self, rank: int, world_size: int, parts: list, barrier: threading.Barrier) -> None:
        self.rank = rank
        self.world_size = world_size
        self._parts = parts
        self._barrier = barrier

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        return torch.stack(self._exchange(tensor)).sum(0)

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        return torch.cat(self._exchange(tensor), dim=-1)

    def broadcast(self, tensor: torch.Tensor) -> torch.Tensor:
        return self._exchange(tensor)[0].clone()

    def _exchange(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        self._parts[self.rank] = tensor
        self._barrier.wait()
        parts = list(self._parts)
        self._barrier.wait()  # nobody writes the next value before all have read this one
        return parts


def run_ranks(world_size: int, work: Callable[[Collective], T]) -> list[T]:
    """What `work` returns on every rank; raises the first rank's error."""
    barrier = threading.Barrier(world_size, timeout=30)
    parts: list = [None] * world_size
    results: list = [None] * world_size
    errors: list[BaseException] = []

    def rank_main(rank: int) -> None:
        try:
            results[rank] = work(ThreadCollective(rank, world_size, parts, barrier))
        except BaseException as error:  # noqa: BLE001 - raised again by run_ranks
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=rank_main, args=(rank,)) for rank in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
