"""Rotary positions (RoPE), half-split: dimension j turns with j + head_dim / 2 (glm.md 1.6)."""

import torch

from bilin_engine.config import RopePrecision


class RotaryTable:
    """cos and sin by position id, made once; angles position * 10000^(-2j / head_dim).

    precision: "float32" is exact. "float16" rounds inverse frequencies, angles, cos and sin to
    float16, as the published inference code does; at 2048 its angles are off by up to 1 rad.
    """

    def __init__(
        self,
        head_dim: int,
        num_positions: int,
        precision: RopePrecision = "float32",
        base: float = 10000.0,
        device: torch.device | None = None,
    ) -> None:
        exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
        if precision == "float16":
            inverse = (1.0 / base**exponents).half()
            positions = torch.arange(num_positions, dtype=torch.float32).half()
            # One product each, so rounding it from float32 is float16 multiplication exactly.
            angles = torch.outer(positions.float(), inverse.float()).half().float()
            cos, sin = angles.cos().half().float(), angles.sin().half().float()
        else:
            # float64 here costs nothing and keeps large angles exact before rounding once.
            inverse = 1.0 / base ** exponents.double()
            angles = torch.outer(torch.arange(num_positions, dtype=torch.float64), inverse)
            cos, sin = angles.cos().float(), angles.sin().float()
        self._cos = torch.cat((cos, cos), dim=1).to(device)
        self._sin = torch.cat((-sin, sin), dim=1).to(device)
        self.num_positions = num_positions

    def at(self, position_ids: torch.Tensor) -> "Rotation":
        """The rotation of T tokens at `position_ids` [T]; used by every layer."""
        return Rotation(
            self._cos[position_ids].unsqueeze(1),
            self._sin[position_ids].unsqueeze(1),
        )


class Rotation:
    """cos and sin [T, 1, D] of the tokens of one forward pass; sin carries the half's sign."""

    def __init__(self, cos: torch.Tensor, sin: torch.Tensor) -> None:
        self._cos = cos
        self._sin = sin

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Rotates x [T, H, D]: first half x1*cos - x2*sin, second half x2*cos + x1*sin."""
        return x * self._cos + x.roll(x.shape[-1] // 2, dims=-1) * self._sin
