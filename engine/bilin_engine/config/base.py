"""What every architecture's configuration has: sizes, tensors and how linears are stored."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from bilin_engine.errors import UnsupportedModelError

DTypeName = Literal["float16", "bfloat16", "float32"]
RopePrecision = Literal["float32", "float16"]
GroupSize = int | Literal["row"]


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


TensorSplit = Literal["none", "rows", "glu_rows", "kv_rows", "qkv_rows", "columns"]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a checkpoint, before quantization.

    split: how tensor-parallel ranks share it. "rows" and "columns" = equal contiguous parts;
    "glu_rows" = part r of each half (glm.md 2.3); "kv_rows" = whole heads of K or V, of which
    several ranks share one where there are more ranks than heads; "qkv_rows" = a part of Q and
    "kv_rows" of K and V in one matrix; "none" = every rank holds all of it.
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


def largest_group(config: ModelConfig) -> GroupSize:
    """The largest of 128, 64 and 32 that divides every row, else "row"."""
    widths = {spec.shape[1] for spec in config.tensors() if spec.is_linear}
    for size in (128, 64, 32):
        if all(k % size == 0 for k in widths):
            return size
    return "row"
