"""INT4 and INT8 weights in the order of the CUDA kernels, on the device that multiplies them.

bilin_kernels does the work: its kernels on a CUDA device, and its reference, slowly, wherever else
a plan puts the backend `cuda` (tests do). Few rows go through the fused kernel, many are
dequantized for cuBLAS; where the one ends is ops.DECODE_MAX_M, an estimate that no GPU has
confirmed yet.
"""

import dataclasses

import torch

from bilin_engine.checkpoints import int4
from bilin_engine.errors import UnsupportedModelError
from bilin_engine.layers.linear import Linear
from bilin_kernels import ops
from bilin_kernels.packing import TILE_ROWS, Gating, PackedWeight, prepack_int4, prepack_int8
from bilin_kernels.reference import Activation


class PackedLinear(Linear):
    """y = x @ dequant(weight).T, x rounded to 16 bits, y float32 and not rounded."""

    def __init__(
        self,
        packed: torch.Tensor,
        scales: torch.Tensor,
        k: int,
        bits: int,
        dtype: torch.dtype,
        name: str,
    ) -> None:
        """packed: int32 [n, k * bits / 32] as on disk, on the device. scales: [n, groups].

        dtype: float16 or bfloat16, of scales and activations. Raises UnsupportedModelError for a
        shape that no kernel takes.
        """
        self.n, self.k = packed.shape[0], k
        self.dtype = dtype
        self._backend: ops.Backend = ops.backend_of(packed.device)
        scales = scales.to(packed.device, dtype)
        try:
            if bits == 8:
                self.packed = prepack_int8(int4.unpack(packed, k, bits), scales)
            else:
                self.packed = prepack_int4(packed, scales)
        except ValueError as error:
            raise UnsupportedModelError(f"{name}: backend cuda: {error}") from error

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [m, k] -> float32 [m, n], rows in the model folder's order."""
        # Kept in pairs for the decode step, the tiles still are what they were: only their order
        # of outputs differs.
        plain = dataclasses.replace(self.packed, gating="none")
        y = self._linear(x.to(self.dtype).contiguous(), plain, torch.float32)
        if self.packed.gating == "none":
            return y
        gate, up = y.view(x.shape[0], -1, 2, TILE_ROWS).unbind(2)
        pair = (gate, up) if self.packed.gating == "gate_up" else (up, gate)
        return torch.stack(pair, dim=1).view(x.shape[0], self.n)

    def pair(self, gating: Gating) -> None:
        """Says that the two halves of the rows are gate and up, and lays them side by side.

        `fused` can then multiply them. INT8 weights stay as they are.
        """
        packed = self.packed
        if packed.bits != 4 or packed.gating == gating:
            return
        if self.n % (2 * TILE_ROWS):
            raise UnsupportedModelError(
                f"a gated pair of {self.n} rows; backend cuda takes multiples of {2 * TILE_ROWS}"
            )
        order = torch.arange(self.n // TILE_ROWS, device=packed.weight.device).view(2, -1)
        if gating == "up_gate":
            order = order.flip(0)
        order = order.T.reshape(-1)
        self.packed = PackedWeight(
            packed.weight[order], packed.scales[order], packed.n, packed.k, packed.bits, gating
        )

    def fused(
        self,
        x: torch.Tensor,
        bias: torch.Tensor | None,
        activation: Activation,
        out_dtype: torch.dtype,
    ) -> torch.Tensor:
        """16-bit [m, k] -> `out_dtype` [m, outputs], bias, activation and gate in one launch.

        Of INT8 weights only the bias is fused: the caller gates.
        """
        return self._linear(x, self.packed, out_dtype, bias, activation)

    def _linear(
        self,
        x: torch.Tensor,
        packed: PackedWeight,
        out_dtype: torch.dtype,
        bias: torch.Tensor | None = None,
        activation: Activation = "none",
    ) -> torch.Tensor:
        if packed.bits == 8:
            return ops.w8a16_linear(
                x, packed, bias=bias, out_dtype=out_dtype, backend=self._backend
            )
        return ops.w4a16_linear(
            x,
            packed,
            bias=bias,
            activation=activation,
            out_dtype=out_dtype,
            backend=self._backend,
        )

    @property
    def size_bytes(self) -> int:
        """Memory held by the weights."""
        return self.packed.size_bytes()
