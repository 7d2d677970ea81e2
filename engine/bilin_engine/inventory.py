"""Which tensors a model has: names, shapes, how ranks split them, how they are stored.

The one list that placement, the converter and verification share. Knows no values: no torch.
Sizes are exact: their sum over a model folder is what its safetensors files hold, headers aside.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from bilin_engine.config import DTypeName, GLMConfig, ModelConfig, QuantizationScheme
from bilin_engine.errors import UnsupportedModelError

Split = Literal["rows", "glu_rows", "columns", "none"]
DTYPE_BYTES: dict[DTypeName, int] = {"float16": 2, "bfloat16": 2, "float32": 4}
SCALE_BYTES = 2
WEIGHT_SHAPE_BYTES = 16  # compressed-tensors keeps (out, in) beside each packed weight: int64[2]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One logical tensor, before quantization.

    layer: index of its block, or None for embedding, head and final norm.
    split: "rows" = axis 0 over ranks; "glu_rows" = axis 0, each half of a GLU for itself;
        "columns" = axis 1; "none" = every rank holds it whole.
    is_linear: a matrix of a block that `QuantizationConfig` may store packed.
    is_head: read whole for every token's logits (the tied embedding, or the LM head).
    """

    name: str
    shape: tuple[int, ...]
    layer: int | None
    split: Split
    is_linear: bool = False
    is_head: bool = False

    @property
    def num_elements(self) -> int:
        """Product of the shape."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def module(self) -> str:
        """The name quantization schemes match: without ".weight"."""
        return self.name.removesuffix(".weight")


def tensor_specs(config: ModelConfig) -> Iterator[TensorSpec]:
    """All tensors of a model in file order. Raises UnsupportedModelError for an unknown kind."""
    lister = _LISTERS.get(config.architecture)
    if lister is None:
        raise UnsupportedModelError(
            f'architecture "{config.architecture}" has no tensor list; '
            f"known: {', '.join(sorted(_LISTERS))}"
        )
    return lister(config)


def stored_bytes(spec: TensorSpec, config: ModelConfig, world_size: int = 1) -> int:
    """Bytes of one rank's share of a tensor as the model folder stores it (weight_shape aside).

    Scales of a "columns" split stay whole where one scale covers a whole row.
    """
    scheme = scheme_of(spec, config)
    if scheme is None:
        share = spec.num_elements // (world_size if spec.split != "none" else 1)
        return share * DTYPE_BYTES[config.dtype]
    out_features, in_features = spec.shape
    if spec.split == "columns":
        in_features //= world_size
    elif spec.split != "none":
        out_features //= world_size
    return packed_bytes(scheme, out_features, in_features)


def packed_bytes(scheme: QuantizationScheme, out_features: int, in_features: int) -> int:
    """Bytes of codes and scales of an [out, in] matrix."""
    groups = 1 if scheme.group_size == "row" else -(-in_features // scheme.group_size)
    return out_features * in_features * scheme.bits // 8 + out_features * groups * SCALE_BYTES


def scheme_of(spec: TensorSpec, config: ModelConfig) -> QuantizationScheme | None:
    """How the tensor is packed, or None where it is stored as plain numbers."""
    if not spec.is_linear or config.quantization is None:
        return None
    return config.quantization.scheme_for(spec.module)


def file_bytes(config: ModelConfig) -> int:
    """Bytes of all tensors of a model folder, weight_shape included, safetensors headers aside."""
    total = 0
    for spec in tensor_specs(config):
        total += stored_bytes(spec, config)
        if scheme_of(spec, config) is not None:
            total += WEIGHT_SHAPE_BYTES
    return total


def _list_glm130b(config: ModelConfig) -> Iterator[TensorSpec]:
    """The names of GLM-130B's published checkpoint, merged over its ranks."""
    if not isinstance(config, GLMConfig):
        raise TypeError(f"a GLMConfig is needed, not {type(config).__name__}")
    h, inner = config.hidden_size, config.inner_hidden_size
    yield TensorSpec(
        "transformer.word_embeddings.weight", (config.vocab_size, h), None, "rows", is_head=True
    )
    for layer in range(config.num_layers):
        base = f"transformer.layers.{layer}."
        yield TensorSpec(base + "input_layernorm.weight", (h,), layer, "none")
        yield TensorSpec(base + "input_layernorm.bias", (h,), layer, "none")
        linears: tuple[tuple[str, int, int, Split], ...] = (
            ("attention.query_key_value", 3 * h, h, "rows"),
            ("attention.dense", h, h, "columns"),
        )
        yield from _linears(base, linears, layer)
        yield TensorSpec(base + "post_attention_layernorm.weight", (h,), layer, "none")
        yield TensorSpec(base + "post_attention_layernorm.bias", (h,), layer, "none")
        linears = (
            ("mlp.dense_h_to_4h", 2 * inner, h, "glu_rows"),
            ("mlp.dense_4h_to_h", h, inner, "columns"),
        )
        yield from _linears(base, linears, layer)
    yield TensorSpec("transformer.final_layernorm.weight", (h,), None, "none")
    yield TensorSpec("transformer.final_layernorm.bias", (h,), None, "none")


def _linears(
    base: str, linears: tuple[tuple[str, int, int, Split], ...], layer: int
) -> Iterator[TensorSpec]:
    """Weight and bias of each linear; the bias of a "columns" split is added once, so whole."""
    for name, out_features, in_features, split in linears:
        weight = f"{base}{name}.weight"
        yield TensorSpec(weight, (out_features, in_features), layer, split, is_linear=True)
        bias_split: Split = "none" if split == "columns" else split
        yield TensorSpec(f"{base}{name}.bias", (out_features,), layer, bias_split)


_LISTERS: dict[str, Callable[[ModelConfig], Iterator[TensorSpec]]] = {"glm130b": _list_glm130b}
