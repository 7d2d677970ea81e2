"""Takes keys out of a JSON object, each checked. What nobody took is refused by name."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from bilin_engine.config.base import (
    DTypeName,
    GroupSize,
    QuantizationConfig,
    QuantizationScheme,
    SpecialIds,
)
from bilin_engine.errors import ModelBrokenError, UnsupportedModelError

_Choice = TypeVar("_Choice", bound=str)


class ConfigFields:
    """Takes keys out of a JSON object, each checked; `finish` refuses what nobody took."""

    def __init__(self, content: Mapping[str, Any], where: str) -> None:
        self._left = dict(content)
        self.where = where

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number in low..high."""
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ModelBrokenError(
                f"{self.where}: {key} is {shown(value)}; "
                f"a whole number from {low} to {high} is needed"
            )
        return value

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """A finite number in low..high."""
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ModelBrokenError(f"{self.where}: {key} is {shown(value)}; a number is needed")
        if not low <= value <= high:
            raise ModelBrokenError(
                f"{self.where}: {key} is {value}; a number from {low} to {high} is needed"
            )
        return float(value)

    def text(self, key: str) -> str:
        """A string."""
        value = self._take(key, None)
        if not isinstance(value, str):
            raise ModelBrokenError(f"{self.where}: {key} is {shown(value)}; a text is needed")
        return value

    def choice(self, key: str, allowed: tuple[_Choice, ...], default: _Choice) -> _Choice:
        """One of `allowed`."""
        value = self._take(key, default)
        for option in allowed:
            if value == option:
                return option
        raise UnsupportedModelError(
            f"{self.where}: {key} is {shown(value)}; supported: {', '.join(allowed)}"
        )

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false; null counts as absent."""
        value = default if self.skip_null(key) else self._take(key, default)
        if not isinstance(value, bool):
            raise ModelBrokenError(
                f"{self.where}: {key} is {shown(value)}; true or false is needed"
            )
        return value

    def dtype(self) -> DTypeName:
        """`dtype`, which older configurations call `torch_dtype`; float16 where neither is said."""
        names: tuple[DTypeName, ...] = ("float16", "bfloat16", "float32")
        old: DTypeName = self.choice("torch_dtype", names, "float16")
        return self.choice("dtype", names, old)

    def require_zero(self, key: str) -> None:
        """A count that must be absent, null or 0: above that it would change what is stored."""
        value = self._left.pop(key, 0)
        if value not in (0, None):
            raise UnsupportedModelError(
                f"{self.where}: {key} is {shown(value)}; only 0 is supported"
            )

    def require_all(self, key: str, needed: str) -> None:
        """A list, one entry a layer, in which only one text is supported."""
        other = set(self.texts(key)) - {needed}
        if other:
            raise UnsupportedModelError(
                f"{self.where}: {key} has {shown(min(other))}; only {shown(needed)} is supported"
            )

    def section(self, key: str) -> "ConfigFields | None":
        """A nested object as fields of its own, or None where it is absent or null."""
        value = self._left.pop(key, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise ModelBrokenError(f"{self.where}: {key} is {shown(value)}; an object is needed")
        return ConfigFields(value, f"{self.where}, {key}")

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; absent = empty."""
        value = self._left.pop(key, None) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ModelBrokenError(f"{self.where}: {key} is {shown(value)}; texts are needed")
        return tuple(value)

    def skip(self, *keys: str) -> None:
        """Keys that do not change what is computed."""
        for key in keys:
            self._left.pop(key, None)

    def left(self) -> tuple[str, ...]:
        """The keys nobody has taken yet."""
        return tuple(self._left)

    def skip_null(self, key: str) -> bool:
        """Drops a key that is absent or null; True where there was no value."""
        if self._left.get(key) is None:
            self._left.pop(key, None)
            return True
        return False

    def require(self, key: str, needed: bool) -> None:
        """A flag for which only one value is supported; absent or null counts as that value."""
        value = needed if self.skip_null(key) else self._left.pop(key)
        if value is not needed:
            raise UnsupportedModelError(
                f"{self.where}: {key} is {shown(value)}; only {shown(needed)} is supported"
            )

    def finish(self) -> None:
        """Raises UnsupportedModelError naming the keys that nobody took."""
        if self._left:
            raise UnsupportedModelError(
                f"{self.where} has keys that Bilin does not know and that may change what is "
                f"computed: {', '.join(sorted(map(str, self._left)))}"
            )

    def special_ids(self) -> SpecialIds | None:
        """The `special_ids` object."""
        fields = self.section("special_ids")
        if fields is None:
            return None
        high = (1 << 24) - 1

        named = {
            key: fields.integer(key, 0, high)
            for key in ("mask", "gmask", "smask", "sop", "eop")
            if not fields.skip_null(key)
        }
        ids = SpecialIds(
            eos=fields.integer("eos", 0, high),
            pad=fields.integer("pad", 0, high, default=0),
            **named,
        )
        fields.finish()
        return ids

    def quantization(self) -> QuantizationConfig | None:
        """The `quantization_config` object: compressed-tensors, packed, symmetric, weights only."""
        fields = self.section("quantization_config")
        if fields is None:
            return None
        fields.choice("quant_method", ("compressed-tensors",), "compressed-tensors")
        fields.choice("format", ("pack-quantized",), "pack-quantized")
        fields.choice("quantization_status", ("compressed",), "compressed")
        fields.skip("version", "global_compression_ratio")
        fields.require_empty("kv_cache_scheme", "sparsity_config", "transform_config")
        groups = fields.section("config_groups")
        if groups is None or not groups.left():
            raise ModelBrokenError(f"{fields.where}: config_groups is missing or empty")
        schemes = tuple(_scheme(groups.section(name)) for name in groups.left())
        ignore = fields.texts("ignore")
        fields.finish()
        return QuantizationConfig(schemes=schemes, ignore=ignore)

    def require_empty(self, *keys: str) -> None:
        """Keys that must be absent, null or empty: set, they would change what is computed."""
        for key in keys:
            value = self._left.pop(key, None)
            if value not in (None, {}, []):
                raise UnsupportedModelError(
                    f"{self.where}: {key} is {shown(value)}; only null is supported"
                )

    def _take(self, key: str, default: object) -> object:
        if key in self._left:
            return self._left.pop(key)
        if default is None:
            raise ModelBrokenError(f"{self.where}: {key} is missing")
        return default


def _scheme(fields: ConfigFields | None) -> QuantizationScheme:
    if fields is None:
        raise ModelBrokenError("config_groups holds null; an object is needed")
    targets = fields.texts("targets") or ("Linear",)
    fields.require_empty("input_activations", "output_activations")
    fields.skip_null("format")
    fields.choice("format", ("pack-quantized",), "pack-quantized")
    weights = fields.section("weights")
    fields.finish()
    if weights is None:
        raise UnsupportedModelError(f"{fields.where}: weights is missing; only weights are packed")
    bits = weights.integer("num_bits", 1, 64)
    weights.choice("type", ("int",), "int")
    weights.require("symmetric", True)
    weights.require("dynamic", False)
    strategy = weights.choice("strategy", ("group", "channel"), "group")
    group: GroupSize = "row"
    if strategy == "group":
        group = weights.integer("group_size", 1, 1 << 24)
    weights.skip("group_size", "observer", "observer_kwargs", "scale_dtype", "zp_dtype")
    # Columns that were only rounded in another order lie where they were; "group" moves them.
    if not weights.skip_null("actorder"):
        weights.choice("actorder", ("static", "weight"), "weight")
    weights.require_empty("block_structure")
    weights.finish()
    return QuantizationScheme(bits=bits, group_size=group, targets=targets)


def shown(value: object) -> str:
    """A value as a message shows it: JSON, at most 80 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
