"""Rotary positions (RoPE): half-split pairs for GLM-130B and Llama, neighbours for later GLMs.

GLM-130B's table is made once, for its rounding; the others compute the angles of a pass's tokens,
since tables for contexts of 100,000 tokens would cost more memory than they save time.
"""

import math

import torch

from bilin_engine.config import Rope, RopePrecision, RopeScaling


class RotaryTable:
    """cos and sin by position id, made once; angles position * 10000^(-2j / head_dim).

    Half-split: dimension j turns with j + head_dim / 2 (glm.md 1.6).

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

    def to(self, device: torch.device) -> "Rotation":
        """The same rotation on `device`."""
        if self._cos.device == device:
            return self
        return Rotation(self._cos.to(device), self._sin.to(device))

    def rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """cos and sin [T, D], sin with the sign of its place."""
        return self._cos.squeeze(1), self._sin.squeeze(1)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Rotates x [T, H, D]: first half x1*cos - x2*sin, second half x2*cos + x1*sin."""
        turned = x * self._cos
        return turned.addcmul_(x.roll(x.shape[-1] // 2, dims=-1), self._sin)


class RotaryFrequencies:
    """Angles computed for the tokens of a pass, in float64, rounded once to float32.

    Dimensions from rope.rotary_dim on pass unturned.
    """

    def __init__(
        self,
        rope: Rope,
        head_dim: int,
        *,
        has_neighbour_pairs: bool,
        device: torch.device | None = None,
    ) -> None:
        """has_neighbour_pairs: 2j turns with 2j + 1, as in GLM-4; else j with j + rotary_dim / 2.

        Half-split pairs need the whole head to turn.
        """
        assert has_neighbour_pairs or rope.rotary_dim == head_dim, "half-split turns whole heads"
        self._inverse, self._factor = inverse_frequencies(rope)
        self._inverse = self._inverse.to(device)
        self._num_still = head_dim - rope.rotary_dim
        self._has_neighbour_pairs = has_neighbour_pairs

    def at(self, position_ids: torch.Tensor) -> "Rotation | NeighbourRotation":
        """The rotation of T tokens at `position_ids` [T]; used by every layer."""
        angles = torch.outer(position_ids.double(), self._inverse)
        cos = (angles.cos() * self._factor).float()
        sin = (angles.sin() * self._factor).float()
        if not self._has_neighbour_pairs:
            cos, sin = torch.cat((cos, cos), dim=1), torch.cat((-sin, sin), dim=1)
            return Rotation(cos.unsqueeze(1), sin.unsqueeze(1))
        cos = cos.repeat_interleave(2, dim=1)
        sin = torch.stack((-sin, sin), dim=2).flatten(1)
        if self._num_still:
            still = (0, self._num_still)
            cos = torch.nn.functional.pad(cos, still, value=1.0)
            sin = torch.nn.functional.pad(sin, still, value=0.0)
        return NeighbourRotation(cos.unsqueeze(1), sin.unsqueeze(1))


class NeighbourRotation:
    """cos and sin [T, 1, D], sin with the sign of its place; 1 and 0 where nothing turns."""

    def __init__(self, cos: torch.Tensor, sin: torch.Tensor) -> None:
        self._cos = cos
        self._sin = sin

    def to(self, device: torch.device) -> "NeighbourRotation":
        """The same rotation on `device`."""
        if self._cos.device == device:
            return self
        return NeighbourRotation(self._cos.to(device), self._sin.to(device))

    def rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """cos and sin [T, D], sin with the sign of its place."""
        return self._cos.squeeze(1), self._sin.squeeze(1)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Rotates x [T, H, D]: x[2j]*cos - x[2j+1]*sin, x[2j+1]*cos + x[2j]*sin."""
        swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
        return (x * self._cos).addcmul_(swapped, self._sin)


class RotaryTable2D:
    """ChatGLM-6B: the first half of a head turns with the position, the second with the block.

    Each half is half-split in itself, angles position * 10000^(-4j / head_dim).
    """

    def __init__(self, head_dim: int, num_positions: int, device: torch.device | None) -> None:
        self._halves = RotaryTable(head_dim // 2, num_positions, device=device)

    def at(self, position_ids: torch.Tensor, block_ids: torch.Tensor) -> "Rotation2D":
        """The rotation of T tokens at two positions [T] each."""
        return Rotation2D(self._halves.at(position_ids), self._halves.at(block_ids))


class Rotation2D:
    """Two rotations [T, 1, D/2], one for each half of a head."""

    def __init__(self, by_position: Rotation, by_block: Rotation) -> None:
        self._by_position = by_position
        self._by_block = by_block

    def to(self, device: torch.device) -> "Rotation2D":
        """The same rotation on `device`."""
        return Rotation2D(self._by_position.to(device), self._by_block.to(device))

    def rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """cos and sin [T, D], sin with the sign of its place."""
        halves = zip(self._by_position.rows(), self._by_block.rows(), strict=True)
        cos, sin = (torch.cat(half, dim=1) for half in halves)
        return cos, sin

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Rotates x [T, H, D]."""
        first, second = x.chunk(2, dim=-1)
        return torch.cat((self._by_position(first), self._by_block(second)), dim=-1)


def inverse_frequencies(rope: Rope) -> tuple[torch.Tensor, float]:
    """float64 [rotary_dim / 2] radians a position, and what cos and sin are multiplied with.

    Source: transformers 5.23, modeling_rope_utils.py; YaRN: arXiv 2309.00071.
    """
    exponents = torch.arange(0, rope.rotary_dim, 2, dtype=torch.float64) / rope.rotary_dim
    inverse = 1.0 / rope.base**exponents
    scaling = rope.scaling
    if scaling is None:
        return inverse, 1.0
    if scaling.kind == "linear":
        return inverse / scaling.factor, 1.0
    if scaling.kind == "llama3":
        return _llama3(inverse, scaling), 1.0
    factor = scaling.attention_factor
    if factor is None:
        factor = 0.1 * math.log(scaling.factor) + 1.0
    return _yarn(inverse, rope, scaling), factor


def _yarn(inverse: torch.Tensor, rope: Rope, scaling: RopeScaling) -> torch.Tensor:
    """Slow dimensions are stretched, fast ones are not, with a ramp between."""
    dim = rope.rotary_dim

    def dimension_with(turns: float) -> float:
        """The dimension that turns so often within the trained context."""
        return (
            dim
            * math.log(scaling.original_context / (turns * 2 * math.pi))
            / (2 * math.log(rope.base))
        )

    low, high = dimension_with(scaling.beta_fast), dimension_with(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    ramp = ((torch.arange(dim // 2, dtype=torch.float64) - low) / (high - low)).clamp(0, 1)
    return inverse / scaling.factor * ramp + inverse * (1 - ramp)


def _llama3(inverse: torch.Tensor, scaling: RopeScaling) -> torch.Tensor:
    """Long waves are stretched, short ones are not, with a ramp between."""
    turns = scaling.original_context * inverse / (2 * math.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return inverse / scaling.factor * (1 - kept) + inverse * kept
