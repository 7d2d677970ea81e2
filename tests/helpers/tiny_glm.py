"""Random models of GLM-130B's architecture, small enough for any test."""

from pathlib import Path

import torch

from bilin_engine.checkpoints.model_folder import write_model_folder
from bilin_engine.config import GLMConfig, QuantizationConfig


def tiny_config(**changes) -> GLMConfig:
    """Three layers, 4 heads of 16, 96 ids, 64 tokens; any size can be changed."""
    sizes = {
        "num_layers": 3,
        "hidden_size": 64,
        "num_attention_heads": 4,
        "inner_hidden_size": 96,
        "vocab_size": 96,
        "max_sequence_length": 64,
        "dtype": "float32",
    }
    return GLMConfig.create(**{**sizes, **changes})


def random_weights(config: GLMConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights large enough that every part of the maths shows in the logits."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for spec in config.tensors():
        noise = torch.randn(spec.shape, generator=generator)
        if "layernorm.weight" in spec.name:
            weights[spec.name] = 1 + 0.3 * noise
        elif spec.name.endswith(".bias"):
            weights[spec.name] = 0.3 * noise
        elif "word_embeddings" in spec.name:
            weights[spec.name] = noise * (3.0 / config.hidden_size**0.5)
        else:
            weights[spec.name] = noise / spec.shape[1] ** 0.5
    return weights


def write_tiny_model(
    folder: Path,
    config: GLMConfig | None = None,
    *,
    quantization: QuantizationConfig | None = None,
    seed: int = 0,
    head_scale: float = 1.0,
) -> dict[str, torch.Tensor]:
    """Writes a random model folder and returns its weights before quantization.

    head_scale below 1 flattens the distribution, so that draws differ (a random model mostly
    repeats its last token).
    """
    config = config or tiny_config()
    weights = random_weights(config, seed)
    weights["transformer.word_embeddings.weight"] *= head_scale
    write_model_folder(
        folder,
        config,
        weights.items(),
        quantization=quantization,
        bilin_metadata={"id": "tiny", "family": "glm130b"},
    )
    return weights
