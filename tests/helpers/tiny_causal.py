"""Random models of every causal family, small enough for any test, equal wherever they are made.

Imports no more than torch and the configurations: the script that asks `transformers` imports it
too.
"""

import dataclasses
from typing import Any

import torch

from bilin_engine.config import ModelConfig, parse_model_config

PROMPT = [5, 17, 3, 60, 42, 42, 9, 61]
ANSWER = [30, 7, 11, 2]  # decoded one by one after the prompt

_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 64,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "pad_token_id": 0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}

# config.json as published folders have it, by the name of the case.
CONFIGS: dict[str, dict[str, Any]] = {
    "glm": {**_SIZES, "model_type": "glm", "attention_bias": True},
    "glm wide heads": {
        **_SIZES,
        "model_type": "glm",
        "attention_bias": False,
        "head_dim": 32,
        "num_key_value_heads": 1,
    },
    "glm4": {**_SIZES, "model_type": "glm4", "attention_bias": True},
    "glm4 without bias": {
        **_SIZES,
        "model_type": "glm4",
        "attention_bias": False,
        "num_key_value_heads": 4,
    },
    "glm4 yarn": {
        **_SIZES,
        "model_type": "glm4",
        "rope_parameters": {**_YARN, "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    },
    "llama": {**_SIZES, "model_type": "llama"},
    "llama 3": {**_SIZES, "model_type": "llama", "rope_theta": 500000.0, "rope_scaling": _LLAMA3},
    "llama linear": {
        **_SIZES,
        "model_type": "llama",
        "rope_scaling": {"type": "linear", "factor": 2.0},
    },
    "llama tied with biases": {
        **_SIZES,
        "model_type": "llama",
        "tie_word_embeddings": True,
        "attention_bias": True,
        "mlp_bias": True,
    },
    "qwen2": {**_SIZES, "model_type": "qwen2", "rope_theta": 1000000.0},
    "qwen2 tied yarn": {
        **_SIZES,
        "model_type": "qwen2",
        "tie_word_embeddings": True,
        "rope_scaling": {**_YARN, "type": "yarn"},
    },
    "qwen3": {**_SIZES, "model_type": "qwen3", "rope_theta": 1000000.0},
    "qwen3 tied with biases": {
        **_SIZES,
        "model_type": "qwen3",
        "tie_word_embeddings": True,
        "attention_bias": True,
        "num_key_value_heads": 1,
        "head_dim": 32,
    },
}

# GLM-4-9B in its own layout computes what `glm` does: case of CONFIGS -> its config.json.
CHATGLM: dict[str, Any] = {
    "model_type": "chatglm",
    "add_bias_linear": False,
    "add_qkv_bias": True,
    "apply_query_key_layer_scaling": True,
    "apply_residual_connection_post_layernorm": False,
    "ffn_hidden_size": 96,
    "hidden_size": 64,
    "kv_channels": 16,
    "layernorm_epsilon": 1e-5,
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "num_attention_heads": 4,
    "num_layers": 2,
    "original_rope": True,
    "padded_vocab_size": 64,
    "post_layer_norm": True,
    "rmsnorm": True,
    "seq_length": 128,
    "torch_dtype": "float32",
}


def tiny_config(case: str, **changes: object) -> ModelConfig:
    """The configuration of a case; `changes` are fields of the dataclass."""
    content = CHATGLM if case == "chatglm" else CONFIGS[case]
    return dataclasses.replace(parse_model_config(content, case), **changes)


def random_weights(config: ModelConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights large enough that every part of the maths shows in the logits."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for spec in config.tensors():
        noise = torch.randn(spec.shape, generator=generator)
        if "norm" in spec.name and spec.name.endswith(".weight"):
            weights[spec.name] = 1 + 0.3 * noise
        elif spec.name.endswith(".bias"):
            weights[spec.name] = 0.3 * noise
        elif "embed" in spec.name:
            weights[spec.name] = noise
        else:
            weights[spec.name] = noise / spec.shape[1] ** 0.5
    return weights


def as_chatglm(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a `glm` model under the names of GLM-4-9B's own code."""
    renamed = {
        "model.embed_tokens": "transformer.embedding.word_embeddings",
        "model.norm": "transformer.encoder.final_layernorm",
        "lm_head": "transformer.output_layer",
        "model.layers": "transformer.encoder.layers",
        "self_attn.o_proj": "self_attention.dense",
        "gate_up_proj": "dense_h_to_4h",
        "down_proj": "dense_4h_to_h",
    }
    result = {}
    for name, value in weights.items():
        if "k_proj" in name or "v_proj" in name:
            continue
        if "q_proj" in name:
            parts = [weights[name.replace("q_proj", p)] for p in ("q_proj", "k_proj", "v_proj")]
            value = torch.cat(parts)
            name = name.replace("self_attn.q_proj", "self_attention.query_key_value")
        for old, new in renamed.items():
            name = name.replace(old, new)
        result[name] = value
    return result
