"""Chooses what carries a group's data, and lets the board show who waits for whom."""

from pathlib import Path

import torch

from bilin_engine.collectives.base import Collective
from bilin_engine.collectives.board import Board
from bilin_engine.collectives.process_group import ProcessGroupCollective
from bilin_engine.collectives.shared_memory import SharedMemoryCollective
from bilin_engine.errors import BadRequestError

CONTROL_SLOT_BYTES = 64 * 1024


def join(
    folder: Path,
    rank: int,
    world_size: int,
    *,
    name: str = "auto",
    device: torch.device,
    timeout_s: float = 60.0,
) -> Collective:
    """This rank's end of the group that meets in `folder`.

    name: "auto" = NCCL between GPUs, shared memory between processors. Raises BadRequestError for
    a name that does not suit the device, WorkerDiedError if the peers do not come.
    """
    if name == "auto":
        name = "nccl" if device.type == "cuda" else "shared_memory"
    board = Board(folder, world_size)
    board.sign(rank)
    if name == "shared_memory":
        inner: Collective = SharedMemoryCollective(folder, rank, world_size, timeout_s=timeout_s)
    elif (name, device.type) in (("gloo", "cpu"), ("nccl", "cuda")):
        inner = ProcessGroupCollective(folder, rank, world_size, device=device, timeout_s=timeout_s)
    else:
        fitting = "nccl or shared_memory" if device.type == "cuda" else "gloo or shared_memory"
        raise BadRequestError(f'collective "{name}" is not for {device.type}; use {fitting}')
    return ShownCollective(inner, board)


def join_control(folder: Path, rank: int, world_size: int) -> Collective:
    """A second group, for commands: ranks wait in it for as long as nobody asks anything."""
    inner = SharedMemoryCollective(
        folder,
        rank,
        world_size,
        name="control",
        timeout_s=None,
        slot_bytes=CONTROL_SLOT_BYTES,
    )
    return ShownCollective(inner, Board(folder, world_size))


class ShownCollective(Collective):
    """Another collective, whose waits the board shows."""

    def __init__(self, inner: Collective, board: Board) -> None:
        self.rank = inner.rank
        self.world_size = inner.world_size
        self._inner = inner
        self._board = board

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """As `Collective.all_reduce`."""
        self._board.begin(self.rank)
        try:
            return self._inner.all_reduce(tensor)
        finally:
            self._board.end(self.rank)

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """As `Collective.all_gather`."""
        self._board.begin(self.rank)
        try:
            return self._inner.all_gather(tensor)
        finally:
            self._board.end(self.rank)

    def broadcast(self, tensor: torch.Tensor) -> torch.Tensor:
        """As `Collective.broadcast`."""
        self._board.begin(self.rank)
        try:
            return self._inner.broadcast(tensor)
        finally:
            self._board.end(self.rank)
