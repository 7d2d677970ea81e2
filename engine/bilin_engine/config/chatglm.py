"""`chatglm`: ChatGLM2/3-6B and GLM-4-9B as their own code names them, and ChatGLM-6B.

Both carry the same `model_type`; only ChatGLM-6B has `position_encoding_2d`. Source: glm.md 10.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bilin_engine.config.base import ModelConfig, TensorSpec
from bilin_engine.config.causal import CausalConfig, linear
from bilin_engine.config.fields import ConfigFields
from bilin_engine.config.rope import Rope, RopeScaling
from bilin_engine.errors import ModelBrokenError

# ChatGLM2-6B-32K stretches positions by rope_ratio, its trained length being 8192; every later
# model multiplies the base by it. Nothing in the configuration says which, but this product does.
CHATGLM2_CONTEXT = 8192
CHATGLM2_VOCAB = 65024

_SKIPPED = (
    "_attn_implementation_autoset",
    "_name_or_path",
    "attention_dropout",
    "attention_softmax_in_fp32",
    "auto_map",
    "bias_dropout_fusion",
    "bos_token_id",
    "classifier_dropout",
    "eos_token_id",
    "fp32_residual_connection",
    "gmask_token_id",
    "hidden_dropout",
    "interleaved_qkv",
    "mask_token_id",
    "pad_token_id",
    "prefix_projection",
    "tie_word_embeddings",
    "transformers_version",
    "use_cache",
)


def parse_chatglm(fields: ConfigFields) -> ModelConfig:
    """Reads the keys of a `chatglm` config.json of either kind."""
    fields.skip(*_SKIPPED)
    fields.require_empty("pre_seq_len")
    fields.require_zero("quantization_bit")
    if fields.flag("position_encoding_2d", default=False):
        return ChatGLM6BConfig.parse(fields)
    return ChatGLMConfig.parse(fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatGLMConfig(CausalConfig):
    """ChatGLM2-6B, ChatGLM3-6B, GLM-4-9B: `glm` under other names, Q, K and V in one matrix."""

    rope_ratio: float = 1.0

    @classmethod
    def parse(cls, fields: ConfigFields) -> "ChatGLMConfig":
        """Reads the keys of a ChatGLM2 or later config.json."""
        for key, needed in _NEEDED.items():
            fields.require(key, needed)
        # Scores are scaled down by the layer's number and up again: nothing in exact arithmetic.
        fields.flag("apply_query_key_layer_scaling", default=True)
        heads = fields.integer("num_attention_heads", 1, 1 << 16)
        kv_heads = heads
        if fields.flag("multi_query_attention", default=False):
            kv_heads = fields.integer("multi_query_group_num", 1, 1 << 16)
        else:
            fields.skip("multi_query_group_num")
        head_dim = fields.integer("kv_channels", 4, 1 << 16)
        vocab_size = fields.integer("padded_vocab_size", 1, 1 << 24)
        fields.skip("vocab_size")
        context = fields.integer("seq_length", 2, 1 << 24)
        ratio = fields.number("rope_ratio", 1e-3, 1e6, default=1.0)
        layers = fields.integer("num_layers", 1, 4096)
        fields.skip("num_hidden_layers")
        return cls(
            architecture="chatglm",
            num_layers=layers,
            hidden_size=fields.integer("hidden_size", 2, 1 << 20),
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            head_dim=head_dim,
            inner_hidden_size=fields.integer("ffn_hidden_size", 1, 1 << 22),
            vocab_size=vocab_size,
            max_sequence_length=context,
            rope=_rope(ratio, head_dim, vocab_size, context),
            rope_ratio=ratio,
            rms_norm_epsilon=fields.number("layernorm_epsilon", 1e-12, 1.0, default=1e-5),
            has_qkv_bias=fields.flag("add_qkv_bias", default=False),
            dtype=fields.dtype(),
            quantization=fields.quantization(),
        )

    def tensors(self) -> Iterator[TensorSpec]:
        """Names and shapes as published, one rank."""
        h, inner = self.hidden_size, self.inner_hidden_size
        query = self.num_attention_heads * self.head_dim
        width = query + 2 * self.num_key_value_heads * self.head_dim
        table = "transformer.embedding.word_embeddings.weight"
        yield TensorSpec(table, (self.vocab_size, h), "rows")
        for index in range(self.num_layers):
            layer = f"transformer.encoder.layers.{index}"
            attention, mlp = f"{layer}.self_attention", f"{layer}.mlp"
            qkv = f"{attention}.query_key_value"
            yield TensorSpec(f"{layer}.input_layernorm.weight", (h,))
            yield from linear(qkv, width, h, "qkv_rows", has_bias=self.has_qkv_bias)
            yield from linear(f"{attention}.dense", h, query, "columns")
            yield TensorSpec(f"{layer}.post_attention_layernorm.weight", (h,))
            yield from linear(f"{mlp}.dense_h_to_4h", 2 * inner, h, "glu_rows")
            yield from linear(f"{mlp}.dense_4h_to_h", h, inner, "columns")
        yield TensorSpec("transformer.encoder.final_layernorm.weight", (h,))
        yield TensorSpec("transformer.output_layer.weight", (self.vocab_size, h), "rows")

    def to_json(self) -> dict[str, Any]:
        """The content of config.json; `read_model_config` gives an equal value back."""
        content: dict[str, Any] = {
            "architectures": ["ChatGLMModel"],
            "model_type": "chatglm",
            "num_layers": self.num_layers,
            "hidden_size": self.hidden_size,
            "num_attention_heads": self.num_attention_heads,
            "multi_query_attention": self.num_key_value_heads != self.num_attention_heads,
            "multi_query_group_num": self.num_key_value_heads,
            "kv_channels": self.head_dim,
            "ffn_hidden_size": self.inner_hidden_size,
            "padded_vocab_size": self.vocab_size,
            "seq_length": self.max_sequence_length,
            "rope_ratio": self.rope_ratio,
            "layernorm_epsilon": self.rms_norm_epsilon,
            "add_qkv_bias": self.has_qkv_bias,
            "torch_dtype": self.dtype,
            **_NEEDED,
        }
        if self.quantization is not None:
            content["quantization_config"] = self.quantization.to_json()
        return content


_NEEDED = {
    "add_bias_linear": False,
    "apply_residual_connection_post_layernorm": False,
    "original_rope": True,
    "post_layer_norm": True,
    "rmsnorm": True,
}


def _rope(ratio: float, head_dim: int, vocab_size: int, context: int) -> Rope:
    """Half of each head turns; see CHATGLM2_CONTEXT for the two meanings of rope_ratio."""
    if head_dim % 4:
        raise ModelBrokenError(f"kv_channels is {head_dim}; a multiple of 4 is needed")
    if ratio != 1 and vocab_size == CHATGLM2_VOCAB and context == ratio * CHATGLM2_CONTEXT:
        return Rope(rotary_dim=head_dim // 2, scaling=RopeScaling(kind="linear", factor=ratio))
    return Rope(base=10000.0 * ratio, rotary_dim=head_dim // 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatGLM6BConfig(ModelConfig):
    """ChatGLM-6B: GLM-130B's block with 2-D positions and a plain GELU."""

    layernorm_epsilon: float = 1e-5

    @classmethod
    def parse(cls, fields: ConfigFields) -> "ChatGLM6BConfig":
        """Reads the keys of a ChatGLM-6B config.json."""
        hidden_size = fields.integer("hidden_size", 4, 1 << 20)
        heads = fields.integer("num_attention_heads", 1, 1 << 16)
        if hidden_size % heads or hidden_size // heads % 4:
            raise ModelBrokenError(
                f"hidden_size {hidden_size} / num_attention_heads {heads} must be a whole multiple "
                "of 4: half a head turns with each of the two positions"
            )
        return cls(
            architecture="chatglm",
            num_layers=fields.integer("num_layers", 1, 4096),
            hidden_size=hidden_size,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            head_dim=hidden_size // heads,
            inner_hidden_size=fields.integer("inner_hidden_size", 1, 1 << 22),
            vocab_size=fields.integer("vocab_size", 1, 1 << 24),
            max_sequence_length=fields.integer("max_sequence_length", 2, 1 << 24),
            layernorm_epsilon=fields.number("layernorm_epsilon", 1e-12, 1.0, default=1e-5),
            dtype=fields.dtype(),
            quantization=fields.quantization(),
        )

    def tensors(self) -> Iterator[TensorSpec]:
        """GLM-130B's names; the stored `lm_head` equals the embedding and is not read."""
        h, inner = self.hidden_size, self.inner_hidden_size
        yield TensorSpec("transformer.word_embeddings.weight", (self.vocab_size, h), "rows")
        for index in range(self.num_layers):
            layer = f"transformer.layers.{index}"
            for norm in ("input_layernorm", "post_attention_layernorm"):
                yield TensorSpec(f"{layer}.{norm}.weight", (h,))
                yield TensorSpec(f"{layer}.{norm}.bias", (h,))
            attention, mlp = f"{layer}.attention", f"{layer}.mlp"
            yield from linear(f"{attention}.query_key_value", 3 * h, h, "rows", has_bias=True)
            yield from linear(f"{attention}.dense", h, h, "columns", has_bias=True)
            yield from linear(f"{mlp}.dense_h_to_4h", inner, h, "rows", has_bias=True)
            yield from linear(f"{mlp}.dense_4h_to_h", h, inner, "columns", has_bias=True)
        yield TensorSpec("transformer.final_layernorm.weight", (h,))
        yield TensorSpec("transformer.final_layernorm.bias", (h,))

    def to_json(self) -> dict[str, Any]:
        """The content of config.json; `read_model_config` gives an equal value back."""
        content: dict[str, Any] = {
            "architectures": ["ChatGLMModel"],
            "model_type": "chatglm",
            "position_encoding_2d": True,
            "num_layers": self.num_layers,
            "hidden_size": self.hidden_size,
            "num_attention_heads": self.num_attention_heads,
            "inner_hidden_size": self.inner_hidden_size,
            "vocab_size": self.vocab_size,
            "max_sequence_length": self.max_sequence_length,
            "layernorm_epsilon": self.layernorm_epsilon,
            "torch_dtype": self.dtype,
        }
        if self.quantization is not None:
            content["quantization_config"] = self.quantization.to_json()
        return content
