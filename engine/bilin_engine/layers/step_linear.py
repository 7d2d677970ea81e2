"""A linear as a decode step uses it: 16 bits in, bias, activation and gate behind it.

What can be one launch is one: INT4 weights take bias, activation and gate into their kernel. Plain
and INT8 weights compute the same in several.
"""

import torch

from bilin_engine.collectives.base import Collective
from bilin_engine.errors import UnsupportedModelError
from bilin_engine.layers.linear import DenseLinear, Linear, dense_product
from bilin_engine.layers.packed_linear import PackedLinear
from bilin_kernels import reference
from bilin_kernels.packing import Gating
from bilin_kernels.reference import Activation


class StepLinear:
    """y = act(x @ weight.T + bias), or up * act(gate) of two halves; then summed over ranks."""

    def __init__(
        self,
        linears: list[Linear],
        bias: torch.Tensor | None,
        dtype: torch.dtype,
        *,
        activation: Activation = "none",
        gating: Gating = "none",
        sum_over: Collective | None = None,
    ) -> None:
        """linears: side by side, one input. bias: float32, of all of them. dtype: of x and y.

        gating: what the two halves of the rows are. sum_over: these are a rank's inputs only; y is
        float32 then, summed, the bias counted once.
        """
        self._linears = linears
        self._dtype = dtype
        self._activation: Activation = activation
        self._gating: Gating = gating
        self._sum_over = sum_over
        if sum_over is not None and sum_over.rank > 0:
            bias = None
        self._bias = None if bias is None else bias.to(dtype)
        self._fuses = False
        for linear in linears:
            if not isinstance(linear, PackedLinear | DenseLinear):
                raise UnsupportedModelError(
                    f"a decode step on CUDA takes packed or plain weights, not {type(linear)}"
                )
        if len(linears) == 1 and isinstance(linears[0], PackedLinear):
            linears[0].pair(gating)
            self._fuses = linears[0].packed.gating == gating

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """16-bit [T, k] -> 16-bit [T, outputs], or float32 if summed over ranks."""
        is_sum = self._sum_over is not None
        y = self._multiply(x, torch.float32 if is_sum else self._dtype)
        return self._sum_over.all_reduce(y) if self._sum_over is not None else y

    def _multiply(self, x: torch.Tensor, out_dtype: torch.dtype) -> torch.Tensor:
        only = self._linears[0]
        if self._fuses and isinstance(only, PackedLinear):
            if only.packed.bits == 4:
                return only.fused(x, self._bias, self._activation, out_dtype)
            y = only.fused(x, self._bias, "none", torch.float32)
            return reference.activate(y, self._activation).to(out_dtype)
        parts = [self._part(linear, x) for linear in self._linears]
        y = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        if self._bias is not None:
            y = y + self._bias
        if self._gating == "none":
            return reference.activate(y, self._activation).to(out_dtype)
        first, second = y.chunk(2, dim=1)
        gate, up = (first, second) if self._gating == "gate_up" else (second, first)
        return (up * reference.activate(gate, self._activation)).to(out_dtype)

    def _part(self, linear: Linear, x: torch.Tensor) -> torch.Tensor:
        """float32 [T, n]."""
        if isinstance(linear, PackedLinear) and linear.packed.gating == "none":
            return linear.fused(x, None, "none", torch.float32)
        if isinstance(linear, DenseLinear):
            return dense_product(x.to(linear.weight.dtype), linear.weight)
        return linear(x)
