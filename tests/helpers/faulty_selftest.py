"""The self-test with a planted fault: what rank 1 reads over shared memory is off by one.

Run as `bilin_engine.selftest` would be; ranks it starts are this program too.
"""

import sys

import torch

from bilin_engine import selftest
from bilin_engine.collectives.shared_memory import SharedMemoryCollective

HONEST = SharedMemoryCollective.all_reduce


def off_by_one(self: SharedMemoryCollective, tensor: torch.Tensor) -> torch.Tensor:
    return HONEST(self, tensor) + (self.rank == 1)


if __name__ == "__main__":
    selftest.RANK_COMMAND = (sys.executable, "-P", __file__, "--all-reduce")
    if sys.argv[1:2] == ["--all-reduce"]:
        SharedMemoryCollective.all_reduce = off_by_one  # type: ignore[method-assign]
    selftest.main(sys.argv[1:])
