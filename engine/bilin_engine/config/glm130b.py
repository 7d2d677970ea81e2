"""GLM-130B's architecture, at any size."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bilin_engine.config.base import (
    DTypeName,
    ModelConfig,
    QuantizationConfig,
    RopePrecision,
    SpecialIds,
    TensorSpec,
    TensorSplit,
)
from bilin_engine.config.fields import ConfigFields
from bilin_engine.errors import ModelBrokenError


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
    def parse(cls, fields: ConfigFields) -> "GLMConfig":
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
