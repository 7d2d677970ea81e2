"""Models that can be planned without their files.

GLM-130B: its configs/model_glm_130b.sh. The others: the published config.json, as far as it could
be confirmed (glm.md 10.1). GLM-4-32B-0414 and GLM-Z1-32B differ among themselves in their key
heads (2 or 8); 8 is planned here, which needs more.
"""

import dataclasses

from bilin_engine.config import (
    ChatGLMConfig,
    Glm4Config,
    GLMConfig,
    GroupSize,
    LlamaConfig,
    ModelConfig,
    QuantizationConfig,
    Rope,
)
from bilin_engine.errors import BadRequestError

GLM_130B = GLMConfig.create(
    num_layers=70,
    hidden_size=12288,
    num_attention_heads=96,
    inner_hidden_size=32768,
    vocab_size=150528,
    max_sequence_length=2048,
)

GLM_4_9B = Glm4Config(
    architecture="glm",
    num_layers=40,
    hidden_size=4096,
    num_attention_heads=32,
    num_key_value_heads=2,
    head_dim=128,
    inner_hidden_size=13696,
    vocab_size=151552,
    max_sequence_length=131072,
    rope=Rope(base=5_000_000.0, rotary_dim=64),
    rms_norm_epsilon=1.5625e-7,
    has_qkv_bias=True,
    dtype="bfloat16",
)

GLM_4_9B_0414 = dataclasses.replace(
    GLM_4_9B,
    architecture="glm4",
    max_sequence_length=32768,
    rope=Rope(rotary_dim=64),
    rms_norm_epsilon=1e-5,
)

GLM_4_32B_0414 = dataclasses.replace(
    GLM_4_9B_0414,
    num_layers=61,
    hidden_size=6144,
    num_attention_heads=48,
    num_key_value_heads=8,
    inner_hidden_size=23040,
    has_qkv_bias=False,
)

CHATGLM3_6B = ChatGLMConfig(
    architecture="chatglm",
    num_layers=28,
    hidden_size=4096,
    num_attention_heads=32,
    num_key_value_heads=2,
    head_dim=128,
    inner_hidden_size=13696,
    vocab_size=65024,
    max_sequence_length=8192,
    rope=Rope(rotary_dim=64),
    rms_norm_epsilon=1e-5,
    has_qkv_bias=True,
)

QWEN_2_5_7B = LlamaConfig(
    architecture="qwen2",
    num_layers=28,
    hidden_size=3584,
    num_attention_heads=28,
    num_key_value_heads=4,
    head_dim=128,
    inner_hidden_size=18944,
    vocab_size=152064,
    max_sequence_length=32768,
    rope=Rope(base=1_000_000.0, rotary_dim=128),
    rms_norm_epsilon=1e-6,
    has_qkv_bias=True,
    dtype="bfloat16",
)

QWEN_3_8B = LlamaConfig(
    architecture="qwen3",
    num_layers=36,
    hidden_size=4096,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    inner_hidden_size=12288,
    vocab_size=151936,
    max_sequence_length=40960,
    rope=Rope(base=1_000_000.0, rotary_dim=128),
    rms_norm_epsilon=1e-6,
    has_head_norms=True,
    dtype="bfloat16",
)

QWEN_3_4B_2507 = dataclasses.replace(
    QWEN_3_8B,
    hidden_size=2560,
    inner_hidden_size=9728,
    max_sequence_length=262144,
    rope=Rope(base=5_000_000.0, rotary_dim=128),
    is_head_tied=True,
)

SMOLLM2_1_7B = LlamaConfig(
    architecture="llama",
    num_layers=24,
    hidden_size=2048,
    num_attention_heads=32,
    num_key_value_heads=32,
    head_dim=64,
    inner_hidden_size=8192,
    vocab_size=49152,
    max_sequence_length=8192,
    rope=Rope(base=130_000.0, rotary_dim=64),
    rms_norm_epsilon=1e-5,
    is_head_tied=True,
    dtype="bfloat16",
)

# GLM-130B's architecture at a billion parameters: to measure a processor with (`bench --config`).
SYNTHETIC_1B = GLMConfig.create(
    num_layers=18,
    hidden_size=2048,
    num_attention_heads=16,
    inner_hidden_size=5504,
    vocab_size=50304,
    max_sequence_length=2048,
)

KNOWN_CONFIGS: dict[str, ModelConfig] = {
    "chatglm3-6b": CHATGLM3_6B,
    "glm-130b": GLM_130B,
    "glm-4-32b-0414": GLM_4_32B_0414,
    "glm-4-9b": GLM_4_9B,
    "glm-4-9b-0414": GLM_4_9B_0414,
    "glm-z1-32b-0414": GLM_4_32B_0414,
    "glm-z1-9b-0414": GLM_4_9B_0414,
    "qwen2.5-7b": QWEN_2_5_7B,
    "qwen3-4b-2507": QWEN_3_4B_2507,
    "qwen3-8b": QWEN_3_8B,
    "smollm2-1.7b": SMOLLM2_1_7B,
    "synthetic-1b": SYNTHETIC_1B,
}


def known_config(name: str, *, bits: int = 4, group_size: GroupSize = 128) -> ModelConfig:
    """A known model at a precision; bits 16 = not quantized. Raises BadRequestError."""
    config = KNOWN_CONFIGS.get(name)
    if config is None:
        raise BadRequestError(
            f'"{name}" is no known configuration; known: {", ".join(sorted(KNOWN_CONFIGS))}'
        )
    if bits == 16:
        return config
    quantization = QuantizationConfig.uniform(bits, group_size)
    return dataclasses.replace(config, quantization=quantization)
