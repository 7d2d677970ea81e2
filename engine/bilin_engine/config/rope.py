"""Rotary positions as configurations give them: base, share of the head, scaling for long context.

Both spellings are read: `rope_parameters` (transformers 5) and `rope_theta`, `rope_scaling` and
`partial_rotary_factor` beside each other (older ones). The older one is written: every program that
reads the newer still takes it.
"""

from dataclasses import dataclass
from typing import Any, Literal

from bilin_engine.config.fields import ConfigFields
from bilin_engine.errors import ModelBrokenError, UnsupportedModelError

MAX_FACTOR = 1024.0
_Kind = Literal["default", "linear", "yarn", "llama3"]
_KINDS: tuple[_Kind, ...] = ("default", "linear", "yarn", "llama3")


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeScaling:
    """How frequencies are stretched for contexts beyond the trained ones.

    kind "linear": all by `factor`. "yarn": each by its number of turns in `original_context`
    (arXiv 2309.00071), queries and keys times `attention_factor`; None = 0.1 ln(factor) + 1.
    "llama3": those of wavelengths above original_context / low_freq_factor by `factor`, a smooth
    step down to original_context / high_freq_factor.
    """

    kind: Literal["linear", "yarn", "llama3"]
    factor: float
    original_context: int = 0
    attention_factor: float | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rope:
    """base ** (-2j / rotary_dim) turns a position; the first rotary_dim dimensions take part."""

    base: float = 10000.0
    rotary_dim: int
    scaling: RopeScaling | None = None

    def to_json(self, head_dim: int) -> dict[str, Any]:
        """The keys of config.json."""
        content: dict[str, Any] = {
            "rope_theta": self.base,
            "partial_rotary_factor": self.rotary_dim / head_dim,
        }
        scaling = self.scaling
        if scaling is None:
            return content
        kept: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
        if scaling.kind != "linear":
            kept["original_max_position_embeddings"] = scaling.original_context
        if scaling.kind == "yarn":
            kept["beta_fast"], kept["beta_slow"] = scaling.beta_fast, scaling.beta_slow
            kept["truncate"] = scaling.truncate
            if scaling.attention_factor is not None:
                kept["attention_factor"] = scaling.attention_factor
        if scaling.kind == "llama3":
            kept["low_freq_factor"] = scaling.low_freq_factor
            kept["high_freq_factor"] = scaling.high_freq_factor
        return {**content, "rope_scaling": kept}


def parse_rope(
    fields: ConfigFields, head_dim: int, max_positions: int, *, partial_default: float
) -> Rope:
    """Reads the keys of either spelling. max_positions: `max_position_embeddings`.

    Raises UnsupportedModelError for a kind of scaling that Bilin does not compute.
    """
    base = fields.number("rope_theta", 1.0, 1e12, default=10000.0)
    partial = fields.number("partial_rotary_factor", 0.0, 1.0, default=partial_default)
    scaling = None
    # Where both are there the older one decides, as in transformers: a model's card has it added.
    for name in ("rope_parameters", "rope_scaling"):
        inner = fields.section(name)
        if inner is None:
            continue
        base = inner.number("rope_theta", 1.0, 1e12, default=base)
        partial = inner.number("partial_rotary_factor", 0.0, 1.0, default=partial)
        old_kind: _Kind = inner.choice("type", _KINDS, "default")
        kind: _Kind = inner.choice("rope_type", _KINDS, old_kind)
        scaling = scaling if kind == "default" else _scaling(inner, kind, max_positions)
        inner.finish()
    return Rope(base=base, rotary_dim=_rotary_dim(head_dim, partial, fields.where), scaling=scaling)


def _scaling(
    inner: ConfigFields, kind: Literal["linear", "yarn", "llama3"], max_positions: int
) -> RopeScaling:
    factor = inner.number("factor", 1.0, MAX_FACTOR)
    if kind == "linear":
        inner.skip_null("original_max_position_embeddings")
        return RopeScaling(kind=kind, factor=factor)
    original = inner.integer("original_max_position_embeddings", 1, 1 << 24, default=max_positions)
    if kind == "llama3":
        low = inner.number("low_freq_factor", 1e-3, 1e3)
        high = inner.number("high_freq_factor", 1e-3, 1e3)
        if high <= low:
            raise ModelBrokenError(
                f"{inner.where}: high_freq_factor {high:g} must be above low_freq_factor {low:g}"
            )
        return RopeScaling(
            kind=kind,
            factor=factor,
            original_context=original,
            low_freq_factor=low,
            high_freq_factor=high,
        )
    attention = None
    if not inner.skip_null("attention_factor"):
        attention = inner.number("attention_factor", 1e-3, 1e3)
    for key in ("mscale", "mscale_all_dim"):
        if not inner.skip_null(key):
            raise UnsupportedModelError(
                f"{inner.where}: {key} is set; only YaRN's own attention factor is supported"
            )
    return RopeScaling(
        kind=kind,
        factor=factor,
        original_context=original,
        attention_factor=attention,
        beta_fast=inner.number("beta_fast", 1e-3, 1e6, default=32.0),
        beta_slow=inner.number("beta_slow", 1e-3, 1e6, default=1.0),
        truncate=inner.flag("truncate", default=True),
    )


def _rotary_dim(head_dim: int, partial: float, where: str) -> int:
    rotary_dim = int(head_dim * partial)
    if rotary_dim < 2 or rotary_dim % 2:
        raise ModelBrokenError(
            f"{where}: partial_rotary_factor {partial:g} of head_dim {head_dim} leaves "
            f"{rotary_dim} dimensions; rotary positions need an even number"
        )
    return rotary_dim
