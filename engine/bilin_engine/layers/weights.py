"""Builds one rank's linears and tensors from a model folder, reading only that rank's slices.

`ComputePlan` says on what and how they compute; a backend that cannot run is an error here, never
another backend in silence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import Literal, Protocol

import torch

from bilin_engine.collectives.base import Collective
from bilin_engine.config import ModelConfig, QuantizationScheme
from bilin_engine.errors import UnsupportedModelError
from bilin_engine.layers.cpu_linear import CpuLinear
from bilin_engine.layers.linear import DenseLinear, Linear, ReferenceLinear
from bilin_engine.layers.packed_linear import PackedLinear
from bilin_engine.layers.torch_cpu_linear import TorchInt4Linear, TorchInt8Linear, Workspace
from bilin_kernels import cpu_ops

Backend = Literal["cuda", "cpu", "reference"]


class WeightSource(Protocol):
    """Where stored tensors come from: a `ModelFolder`, or random numbers for a benchmark."""

    config: ModelConfig

    def scheme(self, module: str) -> QuantizationScheme | None:
        """How the linear `module` is stored; None = plain numbers."""
        ...

    def tensor(
        self, name: str, rows: slice = slice(None), columns: slice = slice(None)
    ) -> torch.Tensor:
        """A stored tensor or a part of it, as it lies on disk."""
        ...


@dataclass(frozen=True, slots=True)
class ComputePlan:
    """How linears compute.

    backend: for INT4 and INT8 weights. dtype: of plain weights and their activations.
    keep_dense: torch's kernels also hold INT4 weights as plain numbers, for many rows.
    kv_dtype: of keys and values; float16 halves the memory of a long context, int8 halves it again.
    """

    backend: Backend
    dtype: torch.dtype
    device: torch.device
    keep_dense: bool = False
    kv_dtype: torch.dtype = torch.float32
    workspace: Workspace = field(default_factory=Workspace)


@dataclass(frozen=True, slots=True)
class Part:
    """A range of rows or columns, `start` up to `stop`."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Rows or columns in the range."""
        return self.stop - self.start

    def moved(self, by: int) -> "Part":
        """The range that lies `by` further on."""
        return Part(self.start + by, self.stop + by)

    @property
    def slice(self) -> slice:
        """As an index."""
        return slice(self.start, self.stop)


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Ranges of rows of one linear."""

    module: str
    parts: list[Part]


class RankWeights:
    """One rank's view of the weights: every method reads the rank's own part."""

    def __init__(self, source: WeightSource, plan: ComputePlan, collective: Collective) -> None:
        self.config = source.config
        self.plan = plan
        self.collective = collective
        self._source = source

    def replicated(self, name: str) -> torch.Tensor:
        """The whole tensor, as float32 on the device; a copy, since files align to 8 bytes only."""
        return self._source.tensor(name).to(self.plan.device, torch.float32, copy=True)

    def vector(self, name: str, parts: list[Part]) -> torch.Tensor:
        """Ranges of a vector, joined, as float32 on the device."""
        values = [self._source.tensor(name, rows=part.slice) for part in parts]
        return torch.cat(values).to(self.plan.device, torch.float32)

    def rows(self, name: str, part: Part, dtype: torch.dtype | None) -> torch.Tensor:
        """Rows of a plain matrix as `dtype` (None = as stored) on the device."""
        return self._source.tensor(name, rows=part.slice).to(self.plan.device, dtype)

    def scheme(self, module: str) -> QuantizationScheme | None:
        """How the linear `module` is stored; None = plain numbers."""
        return self._source.scheme(module)

    def row_linear(self, module: str, shape: tuple[int, int], parts: list[Part]) -> Linear:
        """The linear made of ranges of rows of `module`, of `shape` (n, k) over all ranks."""
        return self.stacked_linear([StoredRows(module, parts)], shape[1])

    def stacked_linear(self, rows: Sequence[StoredRows], k: int) -> Linear:
        """One linear made of ranges of rows of several modules, all stored in the same way."""
        name = rows[0].module
        scheme = self._source.scheme(name)
        if scheme is None:
            return self._dense(self._stacked_rows(rows, "weight"))
        packed = self._stacked_rows(rows, "weight_packed")
        scales = self._stacked_rows(rows, "weight_scale")
        return self._quantized(packed, scales, k, scheme, name)

    def _stacked_rows(self, rows: Sequence[StoredRows], stored: str) -> torch.Tensor:
        return torch.cat(
            [
                self._source.tensor(f"{of.module}.{stored}", rows=part.slice)
                for of in rows
                for part in of.parts
            ]
        )

    def column_linear(self, module: str, shape: tuple[int, int], part: Part) -> Linear:
        """The linear made of a range of columns of `module`, of `shape` (n, k) over all ranks.

        A range that cuts a group keeps that group's scale on both sides.
        Raises UnsupportedModelError if the range does not begin and end on a stored word.
        """
        names = _StoredNames(module)
        scheme = self._source.scheme(module)
        if scheme is None:
            return self._dense(self._source.tensor(names.weight, columns=part.slice))
        k = shape[1]
        if part.start == 0 and part.stop == k:
            columns = scale_columns = slice(None)
            repeat = 1
        else:
            per_word = 32 // scheme.bits
            if part.start % per_word or part.stop % per_word:
                raise UnsupportedModelError(
                    f"{module}: columns {part.start} to {part.stop} cut a stored word of "
                    f"{per_word} codes; choose a tensor-parallel degree that divides {k} evenly"
                )
            columns = slice(part.start // per_word, part.stop // per_word)
            group = k if scheme.group_size == "row" else scheme.group_size
            unit = gcd(group, part.size)
            repeat = group // unit
            scale_columns = slice(part.start // unit, part.stop // unit)
        packed = self._source.tensor(names.packed, columns=columns)
        scales = self._source.tensor(names.scale)
        if repeat > 1:
            scales = scales.repeat_interleave(repeat, dim=1)
        scales = scales[:, scale_columns].contiguous()
        return self._quantized(packed, scales, part.size, scheme, module)

    def _dense(self, weight: torch.Tensor) -> Linear:
        return DenseLinear(weight.to(self.plan.device, self.plan.dtype).contiguous())

    def _quantized(
        self,
        packed: torch.Tensor,
        scales: torch.Tensor,
        k: int,
        scheme: QuantizationScheme,
        module: str,
    ) -> Linear:
        plan = self.plan
        if plan.backend == "cuda":
            packed = packed.to(plan.device)
            return PackedLinear(packed, scales, k, scheme.bits, plan.dtype, module)
        if plan.backend == "reference":
            return ReferenceLinear(packed.to(plan.device), scales.to(plan.device), k, scheme.bits)
        if cpu_ops.is_available():
            return CpuLinear(packed, scales, k, scheme.bits, module)
        if scheme.bits == 8:
            return TorchInt8Linear(packed, scales, k)
        return TorchInt4Linear(
            packed, scales, k, plan.workspace, module, keep_dense=plan.keep_dense
        )


class _StoredNames:
    """The names under which a linear's parts are stored."""

    def __init__(self, module: str) -> None:
        self.weight = f"{module}.weight"
        self.packed = f"{module}.weight_packed"
        self.scale = f"{module}.weight_scale"
