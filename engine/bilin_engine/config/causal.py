"""Causal models in Hugging Face's own layouts: `glm`, `glm4`, `llama`, `qwen2`, `qwen3`.

Names and unfused tensors are the published ones, so that a model folder serves other programs too.
Source: transformers 5.23, configuration_{glm,glm4,llama,qwen2,qwen3}.py.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from bilin_engine.config.base import ModelConfig, TensorSpec, TensorSplit
from bilin_engine.config.fields import ConfigFields
from bilin_engine.config.rope import Rope, parse_rope
from bilin_engine.errors import ModelBrokenError

# Keys that say nothing of what is computed from ids to logits.
_SKIPPED = (
    "_attn_implementation_autoset",
    "_name_or_path",
    "attention_dropout",
    "bos_token_id",
    "eos_token_id",
    "initializer_range",
    "pad_token_id",
    "pretraining_tp",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
)
HEAD = "lm_head"


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalConfig(ModelConfig):
    """A decoder with grouped queries, rotary positions, RMSNorm and SwiGLU, all read from config.

    has_qkv_bias, has_output_bias, has_mlp_bias: of the linears. has_head_norms: queries and keys
    are normalized head by head before they turn. is_head_tied: the embedding is the head. A
    quantization never packs the head: it is entered in `ignore` for other programs.
    """

    rope: Rope
    rms_norm_epsilon: float
    has_qkv_bias: bool = False
    has_output_bias: bool = False
    has_mlp_bias: bool = False
    has_head_norms: bool = False
    is_head_tied: bool = False

    def __post_init__(self) -> None:
        """Raises ModelBrokenError where sizes do not go together."""
        if self.num_attention_heads % self.num_key_value_heads:
            raise ModelBrokenError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads {self.num_key_value_heads}"
            )
        if self.quantization is not None and HEAD not in self.quantization.ignore:
            ignore = (*self.quantization.ignore, HEAD)
            whole = dataclasses.replace(self.quantization, ignore=ignore)
            object.__setattr__(self, "quantization", whole)

    def tensors(self) -> Iterator[TensorSpec]:
        """Names and shapes as published, one rank."""
        h = self.hidden_size
        yield TensorSpec("model.embed_tokens.weight", (self.vocab_size, h), "rows")
        for index in range(self.num_layers):
            layer = f"model.layers.{index}"
            yield TensorSpec(f"{layer}.input_layernorm.weight", (h,))
            yield from self._attention(f"{layer}.self_attn")
            for norm in self._norms_after_attention:
                yield TensorSpec(f"{layer}.{norm}.weight", (h,))
            yield from self._mlp(f"{layer}.mlp")
        yield TensorSpec("model.norm.weight", (h,))
        if not self.is_head_tied:
            yield TensorSpec(f"{HEAD}.weight", (self.vocab_size, h), "rows")

    @property
    def _norms_after_attention(self) -> tuple[str, ...]:
        return ("post_attention_layernorm",)

    def _attention(self, name: str) -> Iterator[TensorSpec]:
        h, query = self.hidden_size, self.num_attention_heads * self.head_dim
        shared = self.num_key_value_heads * self.head_dim
        yield from linear(f"{name}.q_proj", query, h, "rows", has_bias=self.has_qkv_bias)
        yield from linear(f"{name}.k_proj", shared, h, "kv_rows", has_bias=self.has_qkv_bias)
        yield from linear(f"{name}.v_proj", shared, h, "kv_rows", has_bias=self.has_qkv_bias)
        yield from linear(f"{name}.o_proj", h, query, "columns", has_bias=self.has_output_bias)
        if self.has_head_norms:
            yield TensorSpec(f"{name}.q_norm.weight", (self.head_dim,))
            yield TensorSpec(f"{name}.k_norm.weight", (self.head_dim,))

    def _mlp(self, name: str) -> Iterator[TensorSpec]:
        raise NotImplementedError

    def _common_json(self, architecture: str) -> dict[str, Any]:
        content: dict[str, Any] = {
            "architectures": [architecture],
            "model_type": self.architecture,
            "num_hidden_layers": self.num_layers,
            "hidden_size": self.hidden_size,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.inner_hidden_size,
            "hidden_act": "silu",
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.max_sequence_length,
            "rms_norm_eps": self.rms_norm_epsilon,
            "tie_word_embeddings": self.is_head_tied,
            "torch_dtype": self.dtype,
            **self.rope.to_json(self.head_dim),
        }
        if self.quantization is not None:
            content["quantization_config"] = self.quantization.to_json()
        return content


@dataclass(frozen=True, slots=True, kw_only=True)
class Glm4Config(CausalConfig):
    """`glm` (GLM-4-9B, GLM-Edge) and `glm4` (GLM-4-0414, GLM-Z1): gate and up in one matrix."""

    architecture: Literal["glm", "glm4"]  # pyright: ignore[reportIncompatibleVariableOverride]
    CLASSES: ClassVar[dict[str, str]] = {"glm": "GlmForCausalLM", "glm4": "Glm4ForCausalLM"}

    @classmethod
    def parse(cls, fields: ConfigFields, architecture: Literal["glm", "glm4"]) -> "Glm4Config":
        """Reads the keys of a `glm` or `glm4` config.json."""
        values = _sizes(fields, _GLM_DEFAULTS)
        bias = fields.flag("attention_bias", default=True)
        fields.require("mlp_bias", False)
        return cls(architecture=architecture, has_qkv_bias=bias, **values)

    @property
    def _norms_after_attention(self) -> tuple[str, ...]:
        if self.architecture == "glm":
            return ("post_attention_layernorm",)
        return ("post_self_attn_layernorm", "post_attention_layernorm", "post_mlp_layernorm")

    def _mlp(self, name: str) -> Iterator[TensorSpec]:
        h, inner = self.hidden_size, self.inner_hidden_size
        yield from linear(f"{name}.gate_up_proj", 2 * inner, h, "glu_rows")
        yield from linear(f"{name}.down_proj", h, inner, "columns")

    def to_json(self) -> dict[str, Any]:
        """The content of config.json; `read_model_config` gives an equal value back."""
        content = self._common_json(self.CLASSES[self.architecture])
        return {**content, "attention_bias": self.has_qkv_bias}


LlamaLike = Literal["llama", "qwen2", "qwen3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaConfig(CausalConfig):
    """`llama`, `qwen2`, `qwen3`: they differ in biases and head norms. Gate and up lie apart."""

    architecture: LlamaLike  # pyright: ignore[reportIncompatibleVariableOverride]
    CLASSES: ClassVar[dict[str, str]] = {
        "llama": "LlamaForCausalLM",
        "qwen2": "Qwen2ForCausalLM",
        "qwen3": "Qwen3ForCausalLM",
    }

    @classmethod
    def parse(cls, fields: ConfigFields, architecture: LlamaLike) -> "LlamaConfig":
        """Reads the keys of such a config.json."""
        values = _sizes(fields, _QWEN3_DEFAULTS if architecture == "qwen3" else _LLAMA_DEFAULTS)
        rotary_dim, head_dim = values["rope"].rotary_dim, values["head_dim"]
        if rotary_dim != head_dim:
            raise ModelBrokenError(
                f"{fields.where}: {architecture} rotates whole heads; partial_rotary_factor leaves "
                f"{rotary_dim} of {head_dim} dimensions"
            )
        if architecture != "llama":
            fields.require("use_sliding_window", False)
            fields.require("use_mrope", False)
            fields.skip("sliding_window", "max_window_layers")
            fields.require_all("layer_types", "full_attention")
        if architecture == "qwen2":
            return cls(architecture=architecture, has_qkv_bias=True, **values)
        bias = fields.flag("attention_bias", default=False)
        if architecture == "qwen3":
            return cls(
                architecture=architecture,
                has_qkv_bias=bias,
                has_output_bias=bias,
                has_head_norms=True,
                **values,
            )
        fields.require("rope_interleaved", False)
        fields.skip("is_llama_config", "transformers.js_config")
        return cls(
            architecture=architecture,
            has_qkv_bias=bias,
            has_output_bias=bias,
            has_mlp_bias=fields.flag("mlp_bias", default=False),
            **values,
        )

    def _mlp(self, name: str) -> Iterator[TensorSpec]:
        h, inner = self.hidden_size, self.inner_hidden_size
        yield from linear(f"{name}.gate_proj", inner, h, "rows", has_bias=self.has_mlp_bias)
        yield from linear(f"{name}.up_proj", inner, h, "rows", has_bias=self.has_mlp_bias)
        yield from linear(f"{name}.down_proj", h, inner, "columns", has_bias=self.has_mlp_bias)

    def to_json(self) -> dict[str, Any]:
        """The content of config.json; `read_model_config` gives an equal value back."""
        content = self._common_json(self.CLASSES[self.architecture])
        if self.architecture != "qwen2":
            content["attention_bias"] = self.has_qkv_bias
        if self.architecture == "llama":
            content["mlp_bias"] = self.has_mlp_bias
        return content


def linear(
    name: str, n: int, k: int, split: TensorSplit, *, has_bias: bool = False
) -> Iterator[TensorSpec]:
    """A linear's weight and bias; a row-parallel bias is added once, after the reduce."""
    yield TensorSpec(f"{name}.weight", (n, k), split, is_linear=True)
    if has_bias:
        yield TensorSpec(f"{name}.bias", (n,), "none" if split == "columns" else split)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Defaults:
    """What a family's configurations leave out. head_dim None = hidden_size / heads."""

    partial_rotary_factor: float
    head_dim: int | None
    rms_norm_epsilon: float


_GLM_DEFAULTS = _Defaults(partial_rotary_factor=0.5, head_dim=128, rms_norm_epsilon=1.5625e-7)
_LLAMA_DEFAULTS = _Defaults(partial_rotary_factor=1.0, head_dim=None, rms_norm_epsilon=1e-6)
_QWEN3_DEFAULTS = dataclasses.replace(_LLAMA_DEFAULTS, head_dim=128)


def _sizes(fields: ConfigFields, defaults: _Defaults) -> dict[str, Any]:
    """The arguments that all of these configurations share."""
    fields.skip(*_SKIPPED)
    fields.choice("hidden_act", ("silu",), "silu")
    hidden_size = fields.integer("hidden_size", 2, 1 << 20)
    num_heads = fields.integer("num_attention_heads", 1, 1 << 16)
    kv_heads = num_heads
    if not fields.skip_null("num_key_value_heads"):
        kv_heads = fields.integer("num_key_value_heads", 1, 1 << 16)
    head_dim = defaults.head_dim or hidden_size // num_heads
    if not fields.skip_null("head_dim"):
        head_dim = fields.integer("head_dim", 2, 1 << 16)
    max_positions = fields.integer("max_position_embeddings", 2, 1 << 24)
    rope = parse_rope(
        fields, head_dim, max_positions, partial_default=defaults.partial_rotary_factor
    )
    scaling = rope.scaling
    if scaling is not None and scaling.kind == "yarn":
        # Some configurations keep the trained length here, others say the stretched one.
        max_positions = max(max_positions, int(scaling.original_context * scaling.factor))
    return {
        "num_layers": fields.integer("num_hidden_layers", 1, 4096),
        "hidden_size": hidden_size,
        "num_attention_heads": num_heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "inner_hidden_size": fields.integer("intermediate_size", 1, 1 << 22),
        "vocab_size": fields.integer("vocab_size", 1, 1 << 24),
        "max_sequence_length": max_positions,
        "rms_norm_epsilon": fields.number(
            "rms_norm_eps", 1e-12, 1.0, default=defaults.rms_norm_epsilon
        ),
        "is_head_tied": fields.flag("tie_word_embeddings", default=False),
        "dtype": fields.dtype(),
        "quantization": fields.quantization(),
        "rope": rope,
    }
