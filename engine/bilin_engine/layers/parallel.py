"""Linears and embeddings shared by tensor-parallel ranks; one rank is world size 1.

Column-parallel: each rank has some outputs. Row-parallel: each rank has some inputs, and the sum
over ranks is the result. A pair of them needs one all-reduce.
"""

from collections.abc import Sequence

import torch

from bilin_engine.errors import UnsupportedModelError
from bilin_engine.layers.cpu_linear import quantized_head
from bilin_engine.layers.linear import Linear, dense_product, widened_product
from bilin_engine.layers.weights import Part, RankWeights, StoredRows
from bilin_kernels import cpu_ops


def share(total: int, weights: RankWeights, what: str) -> Part:
    """This rank's equal part of `total`. Raises UnsupportedModelError if it does not divide."""
    ranks = weights.collective.world_size
    if total % ranks:
        fitting = [str(n) for n in range(1, min(total, 16) + 1) if total % n == 0]
        raise UnsupportedModelError(
            f"{what} {total} cannot be shared by {ranks} ranks; {', '.join(fitting)} would work"
        )
    size = total // ranks
    return Part(weights.collective.rank * size, (weights.collective.rank + 1) * size)


def share_heads(total: int, weights: RankWeights, what: str) -> Part:
    """This rank's key and value heads; where they are fewer than ranks, several hold the same.

    Raises UnsupportedModelError if neither number divides the other.
    """
    rank, ranks = weights.collective.rank, weights.collective.world_size
    if total < ranks and ranks % total == 0:
        head = rank * total // ranks
        return Part(head, head + 1)
    return share(total, weights, what)


class ColumnParallelLinear:
    """y = x @ weight.T + bias, this rank's outputs only."""

    def __init__(
        self,
        weights: RankWeights,
        module: str,
        n: int,
        k: int,
        *,
        num_blocks: int = 1,
        has_bias: bool = True,
    ) -> None:
        """num_blocks: 2 for a GLU, whose two halves are each shared by all ranks (glm.md 2.3)."""
        size = n // num_blocks
        own = share(size, weights, f"{module}: the width")
        parts = [Part(b * size + own.start, b * size + own.stop) for b in range(num_blocks)]
        self.linear: Linear = weights.row_linear(module, (n, k), parts)
        self.bias = weights.vector(f"{module}.bias", parts) if has_bias else None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [m, k] -> float32 [m, n / ranks]."""
        y = self.linear(x)
        return y if self.bias is None else y.add_(self.bias)


class StackedLinear:
    """Several linears of one input as one: y = [x @ a.T + bias_a | x @ b.T + bias_b | ...].

    Stored apart and stacked at load, where all are stored in the same way; otherwise each computes
    for itself.
    """

    def __init__(
        self, weights: RankWeights, rows: Sequence[StoredRows], k: int, *, has_bias: bool
    ) -> None:
        schemes = {weights.scheme(part.module) for part in rows}
        groups = [rows] if len(schemes) == 1 else [[part] for part in rows]
        self.linears: list[Linear] = [weights.stacked_linear(group, k) for group in groups]
        self.bias = None
        if has_bias:
            biases = [weights.vector(f"{part.module}.bias", part.parts) for part in rows]
            self.bias = torch.cat(biases)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [m, k] -> float32 [m, rows of all]."""
        outputs = [linear(x) for linear in self.linears]
        y = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)
        return y if self.bias is None else y.add_(self.bias)


class RowParallelLinear:
    """y = x @ weight.T + bias from this rank's inputs, reduced over ranks; bias added once."""

    def __init__(
        self, weights: RankWeights, module: str, n: int, k: int, *, has_bias: bool = True
    ) -> None:
        own = share(k, weights, f"{module}: the width")
        self.linear: Linear = weights.column_linear(module, (n, k), own)
        self.bias = weights.replicated(f"{module}.bias") if has_bias else None
        self.collective = weights.collective

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [m, k / ranks] -> float32 [m, n]."""
        y = self.collective.all_reduce(self.linear(x))
        return y if self.bias is None else y.add_(self.bias)


class VocabParallelEmbedding:
    """Token ids to rows of the embedding, and hidden states to logits through the same rows."""

    def __init__(
        self, weights: RankWeights, name: str, vocab_size: int, dtype: torch.dtype
    ) -> None:
        """dtype: in which the rows are kept and the logits multiplied; int8 = the CPU's kernels."""
        self._own = share(vocab_size, weights, "vocab_size")
        is_int8 = dtype == torch.int8
        rows = weights.rows(name, self._own, None if is_int8 else dtype)
        self._table: _DenseTable | _Int8Table = _Int8Table(rows) if is_int8 else _DenseTable(rows)
        self._collective = weights.collective

    @property
    def num_ranks(self) -> int:
        """Among which the rows are shared."""
        return self._collective.world_size

    @property
    def size_bytes(self) -> int:
        """Memory held by the rows."""
        return self._table.size_bytes

    def embed(self, token_ids: torch.Tensor) -> torch.Tensor:
        """int64 [T] -> float32 [T, h]."""
        if self._collective.world_size == 1:
            return self._table.rows(token_ids)
        local = token_ids - self._own.start
        is_own = (local >= 0) & (local < self._own.size)
        rows = self._table.rows(local.clamp(0, self._own.size - 1))
        return self._collective.all_reduce(rows * is_own.unsqueeze(1))

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """float32 [T, h] -> float32 [T, V]. Of a head stored apart, this is the only use."""
        return self._collective.all_gather(self._table.products(hidden))


class _DenseTable:
    """Rows as plain numbers."""

    def __init__(self, rows: torch.Tensor) -> None:
        self._rows = rows

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        """float32 [T, h]."""
        return self._rows[ids].float()

    def products(self, hidden: torch.Tensor) -> torch.Tensor:
        """[T, h] times all rows: float32 [T, V], never through 16 bits, where best ones tie."""
        rows = self._rows
        if rows.device.type == "cpu" and rows.dtype != torch.float32:
            return widened_product(hidden, rows)
        return dense_product(hidden.to(rows.dtype), rows)

    @property
    def size_bytes(self) -> int:
        return self._rows.nbytes


class _Int8Table:
    """Rows in INT8, on the processor: half of 16 bits, and what is lost is lost in bfloat16 too."""

    def __init__(self, rows: torch.Tensor) -> None:
        self._weight = quantized_head(rows)

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        """float32 [T, h]."""
        return self._weight.rows(ids)

    def products(self, hidden: torch.Tensor) -> torch.Tensor:
        """[T, h] times all rows: float32 [T, V]."""
        return cpu_ops.linear(hidden.contiguous(), self._weight)

    @property
    def size_bytes(self) -> int:
        return self._weight.size_bytes
