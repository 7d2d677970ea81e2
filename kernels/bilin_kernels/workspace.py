"""Memory that launches on one device share: partial sums of work that is split over blocks."""

from typing import ClassVar

import torch


class Workspace:
    """Partial sums and arrival counters of split launches on one device, one stream at a time.

    The counters are zero between launches: the last block of each launch sees to it.
    """

    _of_device: ClassVar[dict[torch.device, "Workspace"]] = {}  # one per process, by design

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.sums = torch.empty(0, dtype=torch.float32, device=device)
        self.counters = torch.zeros(0, dtype=torch.int32, device=device)
        # Captured graphs go on using the memory of their capture.
        self._outgrown: list[torch.Tensor] = []

    @classmethod
    def of(cls, device: torch.device) -> "Workspace":
        """The device's."""
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        if device not in cls._of_device:
            cls._of_device[device] = cls(device)
        return cls._of_device[device]

    def reserve(self, num_floats: int, num_counters: int) -> None:
        """At least so much; a captured graph keeps the address, so not while one is captured."""
        if num_floats <= self.sums.numel() and num_counters <= self.counters.numel():
            return
        if self._device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            raise ValueError(
                f"the workspace of {self._device} holds {self.sums.nbytes} bytes, "
                f"{4 * num_floats} are needed, and a graph is being captured; call "
                "reserve_workspace before"
            )
        self._outgrown += [self.sums, self.counters]
        if num_floats > self.sums.numel():
            self.sums = torch.empty(num_floats, dtype=torch.float32, device=self._device)
        if num_counters > self.counters.numel():
            self.counters = torch.zeros(num_counters, dtype=torch.int32, device=self._device)
