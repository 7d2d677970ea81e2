"""gloo between processors and NCCL between GPUs, through torch.distributed; loopback alone.

The ranks find each other through a file, and nothing is bound to any other address than loopback:
the variables below are read by the two libraries when they open their sockets. No global process
group is made, so a process may hold several ranks (tests do, in threads).

NCCL has been written for and not yet run on several GPUs.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from bilin_engine import processes
from bilin_engine.collectives.base import Collective
from bilin_engine.collectives.board import Board
from bilin_engine.errors import UnsupportedModelError, WorkerDiedError, out_of_memory

STORE_FILE = "store"
LOOPBACK = {
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "lo",
    "NCCL_IB_DISABLE": "1",  # one desk: peers are on this machine
    "NCCL_RAS_ENABLE": "0",  # a diagnostics service that listens
}


class ProcessGroupCollective(Collective):
    """One rank of a gloo or NCCL group."""

    def __init__(
        self,
        folder: Path,
        rank: int,
        world_size: int,
        *,
        device: torch.device,
        timeout_s: float = 60.0,
    ) -> None:
        """folder: the rendezvous, the same for all ranks. device: a GPU means NCCL.

        timeout_s: for peers to come, and for each call. Blocks until all ranks are there.
        Raises WorkerDiedError if they do not come, UnsupportedModelError without NCCL, and what
        torch raises where this rank's own GPU fails or is full.
        """
        self.rank = rank
        self.world_size = world_size
        self._timeout_s = timeout_s
        self._board = Board(folder, world_size)
        os.environ.update(LOOPBACK)
        # torch's stubs do not show what its documentation does: FileStore and the calls of groups.
        store = dist.FileStore(str(folder / STORE_FILE), world_size)  # pyright: ignore[reportPrivateImportUsage]
        self._group: Any
        timeout = timedelta(seconds=timeout_s)
        try:
            if device.type == "cuda":
                self._group = _nccl(store, rank, world_size, timeout)
            else:
                self._group = dist.ProcessGroupGloo(store, rank, world_size, timeout)
        except RuntimeError as error:
            if _is_own_fault(error):
                raise
            raise self._died("join", error) from error
        if device.type == "cuda":
            # NCCL sets itself up in its first call, for seconds that hear no stop: now, not in the
            # first answer.
            self.all_reduce(torch.zeros(1, device=device))
            torch.cuda.synchronize(device)

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """Works in `tensor`'s memory."""
        out = tensor.contiguous()
        self._wait("all_reduce", lambda: self._group.allreduce([out]))
        return out

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """As `Collective.all_gather`."""
        own = tensor.contiguous()
        parts = [torch.empty_like(own) for _ in range(self.world_size)]
        self._wait("all_gather", lambda: self._group.allgather([parts], [own]))
        return torch.cat(parts, dim=-1)

    def broadcast(self, tensor: torch.Tensor) -> torch.Tensor:
        """Works in `tensor`'s memory."""
        out = tensor.contiguous()
        self._wait("broadcast", lambda: self._group.broadcast(out, 0))
        return out

    def _wait(self, operation: str, begin: Callable[[], dist.Work]) -> None:
        """begin: NCCL sets itself up in the first call, which then may fail at once."""
        try:
            begin().wait()
        except RuntimeError as error:
            if _is_own_fault(error):
                raise
            raise self._died(operation, error) from error

    def _died(self, operation: str, error: RuntimeError) -> WorkerDiedError:
        """Names the ranks whose processes are gone, where the library only says that one is."""
        gone = [
            rank
            for rank in range(self.world_size)
            if (pid := self._board.pid(rank)) and not processes.is_alive(pid)
        ]
        if gone:
            names = " and ".join(f"rank {rank}" for rank in gone)
            message = f"{names} ended while rank {self.rank} waited for it in {operation}"
        else:
            message = (
                f"rank {self.rank} lost its peers in {operation}: one ended or did not answer "
                f"within {self._timeout_s:g} s"
            )
        return WorkerDiedError(message, detail=str(error))


def _is_own_fault(error: RuntimeError) -> bool:
    """Whether this rank's GPU is full or has failed: no peer is to blame."""
    return out_of_memory(error) is not None or type(error).__name__ == "AcceleratorError"


def _nccl(store: Any, rank: int, world_size: int, timeout: timedelta) -> Any:  # noqa: ANN401
    """torch.distributed.ProcessGroupNCCL, which a torch without CUDA does not have."""
    if not dist.is_nccl_available():
        raise UnsupportedModelError(
            "this torch has no NCCL; choose the collective shared_memory, or a torch for CUDA"
        )
    nccl: Any = dist.ProcessGroupNCCL
    options = nccl.Options()
    options._timeout = timeout
    return nccl(store, rank, world_size, options)
