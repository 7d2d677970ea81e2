"""Models that can be planned without their files. GLM-130B: its configs/model_glm_130b.sh."""

import dataclasses

from bilin_engine.config import GLMConfig, GroupSize, ModelConfig, QuantizationConfig
from bilin_engine.errors import BadRequestError

GLM_130B = GLMConfig.create(
    num_layers=70,
    hidden_size=12288,
    num_attention_heads=96,
    inner_hidden_size=32768,
    vocab_size=150528,
    max_sequence_length=2048,
)

KNOWN_CONFIGS: dict[str, ModelConfig] = {"glm-130b": GLM_130B}


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
