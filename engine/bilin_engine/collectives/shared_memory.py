"""Ranks of one machine that exchange tensors through a page of memory they all map. No socket.

Each rank writes its part into a slot of its own, raises its flag to the number of the exchange and
waits until all flags are there; then everyone reads all slots in rank order. So sums are the same
bits on every rank and in every run. Two sets of slots alternate: a rank may write set s again only
after everyone raised the flag of the exchange in between, that is, after everyone has read s.

Relies on x86's order of stores: data before flag. Tensors of a GPU pass through main memory.
"""

import os
import time
from pathlib import Path

import numpy as np
import torch

from bilin_engine import processes
from bilin_engine.collectives.base import Collective
from bilin_engine.collectives.board import SLOT_BYTES, map_file
from bilin_engine.errors import WorkerDiedError

FLAG_BYTES = 64  # a cache line for each rank's flag and process id
NUM_SPINS = 50  # looks at the flags before sleeping: a peer is usually some microseconds away
SLEEP_SHARE = 0.1  # of the time waited so far, so that waiting costs a peer little of its time
SHORTEST_SLEEP_S = 20e-6
LONGEST_SLEEP_S = 0.01  # between two requests nobody is in a hurry
LOOK_S = 0.25  # how often a waiting rank looks whether its peers live


class SharedMemoryCollective(Collective):
    """Ranks are processes or threads. Any number may use one folder under different names."""

    def __init__(
        self,
        folder: Path,
        rank: int,
        world_size: int,
        *,
        name: str = "data",
        timeout_s: float | None = 60.0,
        slot_bytes: int = SLOT_BYTES,
    ) -> None:
        """folder: the rendezvous. timeout_s: to wait for peers that live; None = for ever.

        slot_bytes: what one exchange carries of each rank; a multiple of FLAG_BYTES.
        """
        self.rank = rank
        self.world_size = world_size
        self._timeout_s = timeout_s
        self._slot_bytes = slot_bytes
        self._sequence = 0
        head_bytes = world_size * FLAG_BYTES
        memory = map_file(folder / f"memory-{name}", head_bytes + 2 * world_size * slot_bytes)
        head = np.frombuffer(memory, np.int64, head_bytes // 8).reshape(world_size, -1)
        self._flags, self._pids = head[:, 0], head[:, 1]
        data = torch.frombuffer(memory, dtype=torch.uint8, offset=head_bytes)
        self._slots = data.view(2, world_size, slot_bytes)
        self._pids[rank] = os.getpid()

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sums in rank order, half types in float32. Works in `tensor`'s memory."""
        out = tensor.contiguous()
        flat = out.view(-1)
        for start, stop in self._blocks(flat):
            own = flat[start:stop]
            parts = self._exchange(own)
            total = parts[0].float() if own.dtype.itemsize < 4 else parts[0].clone()
            for part in parts[1:]:
                total += part
            own.copy_(total)
        return out

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """As `Collective.all_gather`."""
        flat = tensor.contiguous().view(-1)
        parts = [torch.empty_like(flat) for _ in range(self.world_size)]
        for start, stop in self._blocks(flat):
            for part, read in zip(parts, self._exchange(flat[start:stop]), strict=True):
                part[start:stop].copy_(read)
        return torch.cat([part.view(tensor.shape) for part in parts], dim=-1)

    def broadcast(self, tensor: torch.Tensor) -> torch.Tensor:
        """As `Collective.broadcast`. Works in `tensor`'s memory."""
        out = tensor.contiguous()
        flat = out.view(-1)
        for start, stop in self._blocks(flat):
            own = flat[start:stop]
            first = self._exchange(own)[0]
            if self.rank != 0:
                own.copy_(first)
        return out

    def _blocks(self, flat: torch.Tensor) -> list[tuple[int, int]]:
        step = self._slot_bytes // flat.element_size()
        return [(i, min(i + step, flat.numel())) for i in range(0, flat.numel(), step)]

    def _exchange(self, own: torch.Tensor) -> list[torch.Tensor]:
        """Every rank's `own`, to be read before the next exchange begins."""
        size_bytes = own.numel() * own.element_size()
        self._sequence += 1
        slots = self._slots[self._sequence % 2, :, :size_bytes].unbind(0)
        slots[self.rank].view(own.dtype).copy_(own)
        self._flags[self.rank] = self._sequence
        self._wait()
        return [slot.view(own.dtype) for slot in slots]

    def _wait(self) -> None:
        """Until every rank has come to this exchange. Raises WorkerDiedError."""
        flags, sequence = self._flags, self._sequence
        for _ in range(NUM_SPINS):
            if flags.min() >= sequence:
                return
            time.sleep(0)  # with more ranks than processors a peer needs this one
        begun_s = looked_s = time.monotonic()
        while flags.min() < sequence:
            now_s = time.monotonic()
            waited_s = now_s - begun_s
            if now_s - looked_s >= LOOK_S:
                looked_s = now_s
                self._check_peers(waited_s)
            time.sleep(min(max(SHORTEST_SLEEP_S, SLEEP_SHARE * waited_s), LONGEST_SLEEP_S))

    def _check_peers(self, waited_s: float) -> None:
        late = [r for r in range(self.world_size) if self._flags[r] < self._sequence]
        for rank in late:
            pid = int(self._pids[rank])
            if pid and not processes.is_alive(pid):
                raise WorkerDiedError(
                    f"rank {rank} (process {pid}) ended while rank {self.rank} waited for it"
                )
        if late and self._timeout_s is not None and waited_s >= self._timeout_s:
            raise WorkerDiedError(
                f"rank {late[0]} did not come to exchange {self._sequence} within "
                f"{self._timeout_s:g} s of rank {self.rank}"
            )
