"""The collective seam: models and layers call it, never asking what carries the data."""

from abc import ABC, abstractmethod

import torch


class Collective(ABC):
    """The ranks of one tensor-parallel group. Every rank makes the same calls in the same order.

    Attributes:
        rank: this process, 0-based.
        world_size: ranks in the group.
    """

    rank: int
    world_size: int

    @abstractmethod
    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of every rank's tensor, on every rank. May reuse `tensor`'s memory."""

    @abstractmethod
    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """Every rank's tensor joined along the last dimension in rank order, on every rank."""

    @abstractmethod
    def broadcast(self, tensor: torch.Tensor) -> torch.Tensor:
        """Rank 0's tensor on every rank. May reuse `tensor`'s memory."""


class SingleRank(Collective):
    """World size 1: nothing to say to anyone."""

    rank = 0
    world_size = 1

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor` itself."""
        return tensor

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor` itself."""
        return tensor

    def broadcast(self, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor` itself."""
        return tensor
