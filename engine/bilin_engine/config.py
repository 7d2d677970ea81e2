"""What a model folder's config.json says, checked, as values. Knows neither torch nor weights.

Every architecture is one dataclass derived from `ModelConfig` with a `parse` of its own, entered in
`_PARSERS` under its `model_type`. A key that nobody read is refused by name: an unknown key may
change the maths, and a model that runs wrongly is worse than one that does not run.
"""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from bilin_engine.errors import ModelBrokenError, UnsupportedModelError

CONFIG_FILE = "config.json"
MAX_CONFIG_BYTES = 4 * 1024 * 1024

DTypeName = Literal["float16", "bfloat16", "float32"]
RopePrecision = Literal["float32", "float16"]
GroupSize = int | Literal["row"]
_Choice = TypeVar("_Choice", bound=str)


@dataclass(frozen=True, slots=True)
class QuantizationScheme:
    """How some linears are stored: symmetric integers with one scale per row and group.

    bits: 4 or 8. group_size: columns that share a scale; "row" = one scale for a whole row.
    targets: compressed-tensors targets: "Linear" (all), or "re:" and a regular expression that
    must match from the start of the module name (the tensor name without ".weight").
    """

    bits: int
    group_size: GroupSize
    targets: tuple[str, ...] = ("Linear",)

    def __post_init__(self) -> None:
        check_group_size(self.bits, self.group_size)

    def matches(self, module: str) -> bool:
        """Whether this scheme stores the linear called `module`."""
        return any(
            target == "Linear"
            or target == module
            or (target.startswith("re:") and re.match(target[3:], module) is not None)
            for target in self.targets
        )


@dataclass(frozen=True, slots=True)
class QuantizationConfig:
    """Which linears are stored how: the first scheme that matches; `ignore` names win over all."""

    schemes: tuple[QuantizationScheme, ...]
    ignore: tuple[str, ...] = ()

    @classmethod
    def uniform(cls, bits: int, group_size: GroupSize) -> "QuantizationConfig":
        """One scheme for every linear of a block; embeddings, norms and biases are never packed."""
        return cls(schemes=(QuantizationScheme(bits=bits, group_size=group_size),))

    def scheme_for(self, module: str) -> QuantizationScheme | None:
        """The scheme of the linear `module`, or None where it is stored as plain numbers."""
        if any(module == n or (n[:3] == "re:" and re.match(n[3:], module)) for n in self.ignore):
            return None
        return next((s for s in self.schemes if s.matches(module)), None)

    def to_json(self) -> dict[str, Any]:
        """The `quantization_config` value in the compressed-tensors format "pack-quantized"."""
        return {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "quantization_status": "compressed",
            "config_groups": {
                f"group_{index}": {
                    "targets": list(scheme.targets),
                    "weights": {
                        "num_bits": scheme.bits,
                        "type": "int",
                        "symmetric": True,
                        "dynamic": False,
                        "strategy": "channel" if scheme.group_size == "row" else "group",
                        "group_size": None if scheme.group_size == "row" else scheme.group_size,
                    },
                    "input_activations": None,
                    "output_activations": None,
                }
                for index, scheme in enumerate(self.schemes)
            },
            "ignore": list(self.ignore),
        }


TensorSplit = Literal["none", "rows", "glu_rows", "columns"]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a checkpoint, before quantization.

    split: how tensor-parallel ranks share it. "rows" and "columns" = equal contiguous parts;
    "glu_rows" = part r of each half (glm.md 2.3); "none" = every rank holds all of it.
    is_linear: a linear's weight, which a quantization scheme may pack; `name` ends in ".weight".
    """

    name: str
    shape: tuple[int, ...]
    split: TensorSplit = "none"
    is_linear: bool = False

    @property
    def module(self) -> str:
        """The name without its last part, as quantization targets use it."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """Special ids by name; None where the vocabulary lacks one."""

    eos: int
    mask: int | None = None  # [MASK], short blank
    gmask: int | None = None  # [gMASK], long blank
    smask: int | None = None  # [sMASK], sentence blank
    sop: int | None = None
    eop: int | None = None
    pad: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What every architecture has. `architecture` is config.json's `model_type`.

    head_dim: width of one attention head; never derived from hidden_size outside `parse`.
    num_key_value_heads: heads of K and V; equal to num_attention_heads without grouping.
    max_sequence_length: tokens, prompt and output together.
    dtype: of the tensors that are not quantized.
    quantization: None = all weights are plain numbers.
    special_ids: only for models without tokenizer files.
    """

    architecture: str
    num_layers: int
    hidden_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    inner_hidden_size: int
    vocab_size: int
    max_sequence_length: int
    dtype: DTypeName = "float16"
    quantization: QuantizationConfig | None = None
    special_ids: SpecialIds | None = None

    @property
    def num_parameters(self) -> int:
        """Weights and biases, counted once (a tied head is the embedding)."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors())

    def tensors(self) -> Iterator[TensorSpec]:
        """Every tensor of a checkpoint, in the order in which the model uses them."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """The content of config.json; `read_model_config` gives an equal value back."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class GLMConfig(ModelConfig):
    """GLM-130B's architecture at any size: Bilin Mini, synthetic models and GLM-130B itself.

    rope_precision: "float32" = exact tables; "float16" = the published inference code's rounded
    tables, which differ beyond some 500 positions.
    """

    layernorm_epsilon: float = 1e-5
    rope_precision: RopePrecision = "float32"

    @classmethod
    def create(
        cls,
        *,
        num_layers: int,
        hidden_size: int,
        num_attention_heads: int,
        inner_hidden_size: int,
        vocab_size: int,
        max_sequence_length: int,
        layernorm_epsilon: float = 1e-5,
        rope_precision: RopePrecision = "float32",
        dtype: DTypeName = "float16",
        quantization: QuantizationConfig | None = None,
        special_ids: SpecialIds | None = None,
    ) -> "GLMConfig":
        """A config from its free sizes. Raises ModelBrokenError where they do not fit together."""
        if num_attention_heads < 1 or hidden_size % num_attention_heads:
            raise ModelBrokenError(
                f"hidden_size {hidden_size} is not a multiple of "
                f"num_attention_heads {num_attention_heads}"
            )
        head_dim = hidden_size // num_attention_heads
        if head_dim % 2:
            raise ModelBrokenError(
                f"hidden_size {hidden_size} / num_attention_heads {num_attention_heads} = "
                f"{head_dim}: rotary positions need an even number"
            )
        return cls(
            architecture="glm130b",
            num_layers=num_layers,
            hidden_size=hidden_size,
            num_attention_heads=num_attention_heads,
            num_key_value_heads=num_attention_heads,
            head_dim=head_dim,
            inner_hidden_size=inner_hidden_size,
            vocab_size=vocab_size,
            max_sequence_length=max_sequence_length,
            layernorm_epsilon=layernorm_epsilon,
            rope_precision=rope_precision,
            dtype=dtype,
            quantization=quantization,
            special_ids=special_ids,
        )

    @classmethod
    def parse(cls, fields: "ConfigFields") -> "GLMConfig":
        """Reads the keys of a `glm130b` config.json."""
        return cls.create(
            num_layers=fields.integer("num_layers", 1, 4096),
            hidden_size=fields.integer("hidden_size", 2, 1 << 20),
            num_attention_heads=fields.integer("num_attention_heads", 1, 1 << 16),
            inner_hidden_size=fields.integer("inner_hidden_size", 1, 1 << 22),
            vocab_size=fields.integer("vocab_size", 1, 1 << 24),
            max_sequence_length=fields.integer("max_sequence_length", 2, 1 << 24),
            layernorm_epsilon=fields.number("layernorm_epsilon", 1e-12, 1.0, default=1e-5),
            rope_precision=fields.choice("rope_precision", ("float32", "float16"), "float32"),
            dtype=fields.choice("dtype", ("float16", "bfloat16", "float32"), "float16"),
            quantization=fields.quantization(),
            special_ids=fields.special_ids(),
        )

    def tensors(self) -> Iterator[TensorSpec]:
        """Names and shapes of the reference's checkpoints at one rank (glm.md 2.2)."""
        h, inner = self.hidden_size, self.inner_hidden_size
        yield TensorSpec("transformer.word_embeddings.weight", (self.vocab_size, h), "rows")
        for index in range(self.num_layers):
            layer = f"transformer.layers.{index}"
            for norm in ("input_layernorm", "post_attention_layernorm"):
                yield TensorSpec(f"{layer}.{norm}.weight", (h,))
                yield TensorSpec(f"{layer}.{norm}.bias", (h,))
            linears: tuple[tuple[str, int, int, TensorSplit], ...] = (
                ("attention.query_key_value", 3 * h, h, "rows"),
                ("attention.dense", h, h, "columns"),
                ("mlp.dense_h_to_4h", 2 * inner, h, "glu_rows"),
                ("mlp.dense_4h_to_h", h, inner, "columns"),
            )
            for name, n, k, split in linears:
                yield TensorSpec(f"{layer}.{name}.weight", (n, k), split, is_linear=True)
                # A row-parallel bias is added once, after the reduce.
                bias_split: TensorSplit = "none" if split == "columns" else split
                yield TensorSpec(f"{layer}.{name}.bias", (n,), bias_split)
        yield TensorSpec("transformer.final_layernorm.weight", (h,))
        yield TensorSpec("transformer.final_layernorm.bias", (h,))

    def to_json(self) -> dict[str, Any]:
        """The content of config.json; `read_model_config` gives an equal value back."""
        content: dict[str, Any] = {
            "architectures": ["GLM130BModel"],
            "model_type": "glm130b",
            "num_layers": self.num_layers,
            "hidden_size": self.hidden_size,
            "num_attention_heads": self.num_attention_heads,
            "inner_hidden_size": self.inner_hidden_size,
            "vocab_size": self.vocab_size,
            "max_sequence_length": self.max_sequence_length,
            "layernorm_epsilon": self.layernorm_epsilon,
            "rope_precision": self.rope_precision,
            "dtype": self.dtype,
        }
        if self.special_ids is not None:
            content["special_ids"] = dataclasses.asdict(self.special_ids)
        if self.quantization is not None:
            content["quantization_config"] = self.quantization.to_json()
        return content


_PARSERS: dict[str, Callable[["ConfigFields"], ModelConfig]] = {"glm130b": GLMConfig.parse}


def read_model_config(folder: Path) -> ModelConfig:
    """The checked configuration of a model folder.

    Raises ModelBrokenError (missing, unreadable or wrong values: the key and the value are named)
    or UnsupportedModelError (architecture, quantization or key that we do not know).
    """
    path = folder / CONFIG_FILE
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ModelBrokenError(
                f"{path}: {path.stat().st_size} bytes is no configuration; "
                f"at most {MAX_CONFIG_BYTES} bytes are read"
            )
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelBrokenError(f"{path} is missing: {folder} is not a model folder") from error
    except OSError as error:
        raise ModelBrokenError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ModelBrokenError(f"{path} is not valid JSON: {error}") from error
    return parse_model_config(content, str(path))


def parse_model_config(content: object, where: str) -> ModelConfig:
    """`read_model_config` on parsed JSON; `where` names the file in messages. Raises the same."""
    if not isinstance(content, dict):
        raise ModelBrokenError(f"{where} holds {_shown(content)}; an object is needed")
    fields = ConfigFields(content, where)
    architecture = fields.text("model_type")
    parser = _PARSERS.get(architecture)
    if parser is None:
        raise UnsupportedModelError(
            f'{where}: model_type "{architecture}" is not one Bilin runs; '
            f"known: {', '.join(sorted(_PARSERS))}"
        )
    fields.skip("architectures")  # a label for other programs; model_type decides
    try:
        config = parser(fields)
    except ModelBrokenError as error:
        if error.message.startswith(where):
            raise
        raise ModelBrokenError(f"{where}: {error.message}") from error
    fields.finish()
    return config


def check_group_size(bits: int, group_size: GroupSize) -> None:
    """Raises UnsupportedModelError unless bits and group size are ones we store."""
    if bits not in (4, 8):
        raise UnsupportedModelError(f"{bits}-bit weights are not supported; use 4 or 8 bits")
    if group_size == "row" or group_size == 32:
        return
    if isinstance(group_size, bool) or not isinstance(group_size, int) or group_size < 64:
        raise UnsupportedModelError(
            f'group_size {group_size} is not supported; use 32, a multiple of 64, or "row"'
        )
    if group_size % 64:
        raise UnsupportedModelError(
            f'group_size {group_size} is not supported; use 32, a multiple of 64, or "row"'
        )


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
                f"{self.where}: {key} is {_shown(value)}; "
                f"a whole number from {low} to {high} is needed"
            )
        return value

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """A finite number in low..high."""
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ModelBrokenError(f"{self.where}: {key} is {_shown(value)}; a number is needed")
        if not low <= value <= high:
            raise ModelBrokenError(
                f"{self.where}: {key} is {value}; a number from {low} to {high} is needed"
            )
        return float(value)

    def text(self, key: str) -> str:
        """A string."""
        value = self._take(key, None)
        if not isinstance(value, str):
            raise ModelBrokenError(f"{self.where}: {key} is {_shown(value)}; a text is needed")
        return value

    def choice(self, key: str, allowed: tuple[_Choice, ...], default: _Choice) -> _Choice:
        """One of `allowed`."""
        value = self._take(key, default)
        for option in allowed:
            if value == option:
                return option
        raise UnsupportedModelError(
            f"{self.where}: {key} is {_shown(value)}; supported: {', '.join(allowed)}"
        )

    def section(self, key: str) -> "ConfigFields | None":
        """A nested object as fields of its own, or None where it is absent or null."""
        value = self._left.pop(key, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise ModelBrokenError(f"{self.where}: {key} is {_shown(value)}; an object is needed")
        return ConfigFields(value, f"{self.where}, {key}")

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; absent = empty."""
        value = self._left.pop(key, None) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ModelBrokenError(f"{self.where}: {key} is {_shown(value)}; texts are needed")
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
        """A flag for which only one value is supported; absent counts as that value."""
        value = self._left.pop(key, needed)
        if value is not needed:
            raise UnsupportedModelError(
                f"{self.where}: {key} is {_shown(value)}; only {_shown(needed)} is supported"
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
                    f"{self.where}: {key} is {_shown(value)}; only null is supported"
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
    weights.require_empty("actorder", "block_structure")
    weights.finish()
    return QuantizationScheme(bits=bits, group_size=group, targets=targets)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
