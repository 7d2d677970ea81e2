"""ChatGLM-6B against a slow float64 reference written from its own code's description."""

import math

import pytest
import torch

from bilin_engine.checkpoints.model_folder import write_model_folder
from bilin_engine.config import ChatGLM6BConfig, QuantizationConfig, parse_model_config
from bilin_engine.runners.base import PrefillRow
from bilin_engine.runners.load import load_runner

CONTENT = {
    "model_type": "chatglm",
    "position_encoding_2d": True,
    "hidden_size": 64,
    "inner_hidden_size": 128,
    "num_attention_heads": 4,
    "num_layers": 3,
    "vocab_size": 96,
    "max_sequence_length": 64,
    "layernorm_epsilon": 1e-5,
    "bos_token_id": 94,
    "eos_token_id": 95,
    "gmask_token_id": 93,
    "mask_token_id": 92,
    "pad_token_id": 3,
    "pre_seq_len": None,
    "prefix_projection": False,
    "quantization_bit": 0,
    "torch_dtype": "float32",
    "use_cache": True,
}
CONTEXT = [5, 17, 3, 60, 42, 42, 9, 93]  # gMASK last; seen from both sides
OUTPUT = [94, 30, 7, 11, 2]  # sop and the answer: causal
TOLERANCE = 1e-4


def random_weights(config):
    generator = torch.Generator().manual_seed(3)
    weights = {}
    for spec in config.tensors():
        noise = torch.randn(spec.shape, generator=generator)
        if "norm.weight" in spec.name:
            noise = 1 + 0.3 * noise
        elif spec.name.endswith("bias"):
            noise = 0.3 * noise
        elif "embeddings" not in spec.name:
            noise = noise / spec.shape[1] ** 0.5
        weights[spec.name] = noise
    return weights


def reference(weights, config):
    """float64 logits [T, V] of CONTEXT and OUTPUT, token by token, head by head."""
    w = {name: value.double() for name, value in weights.items()}
    ids = CONTEXT + OUTPUT
    context = len(CONTEXT)
    position = [min(i, context - 1) for i in range(len(ids))]
    block = [max(0, i - context + 1) for i in range(len(ids))]
    x = w["transformer.word_embeddings.weight"][ids]
    heads, dim = config.num_attention_heads, config.head_dim
    alpha = math.sqrt(2 * config.num_layers)

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        variance = (centred**2).mean(-1, keepdim=True)
        scaled = centred / (variance + config.layernorm_epsilon).sqrt()
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def turned(vector, place):
        """One half of a head: dimension j with j + dim / 4."""
        half = len(vector) // 2
        out = vector.clone()
        for j in range(half):
            angle = place * 10000.0 ** (-2 * j / len(vector))
            a, b = vector[j], vector[j + half]
            out[j] = a * math.cos(angle) - b * math.sin(angle)
            out[j + half] = b * math.cos(angle) + a * math.sin(angle)
        return out

    def rotated(vector, i):
        return torch.cat(
            (turned(vector[: dim // 2], position[i]), turned(vector[dim // 2 :], block[i]))
        )

    def attention(x, name):
        mixed = linear(x, f"{name}.query_key_value").view(len(ids), heads, 3 * dim)
        out = torch.zeros(len(ids), heads, dim, dtype=torch.float64)
        for head in range(heads):
            q, k, v = mixed[:, head].split(dim, dim=1)
            q = torch.stack([rotated(q[i], i) for i in range(len(ids))])
            k = torch.stack([rotated(k[i], i) for i in range(len(ids))])
            for i in range(len(ids)):
                seen = max(i + 1, context)
                out[i, head] = torch.softmax(k[:seen] @ q[i] / dim**0.5, 0) @ v[:seen]
        return linear(out.flatten(1), f"{name}.dense")

    def gelu(x):
        return 0.5 * x * (1 + torch.tanh(0.7978845608028654 * x * (1 + 0.044715 * x * x)))

    for index in range(config.num_layers):
        layer = f"transformer.layers.{index}"
        x = norm(x, f"{layer}.input_layernorm")
        x = alpha * x + attention(x, f"{layer}.attention")
        x = norm(x, f"{layer}.post_attention_layernorm")
        up = gelu(linear(x, f"{layer}.mlp.dense_h_to_4h"))
        x = alpha * x + linear(up, f"{layer}.mlp.dense_4h_to_h")
    return norm(x, "transformer.final_layernorm") @ w["transformer.word_embeddings.weight"].T


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    config = parse_model_config(CONTENT, "config.json")
    folder = tmp_path_factory.mktemp("tiny") / "model"
    weights = random_weights(config)
    write_model_folder(folder, config, weights.items())
    return load_runner(folder, dtype="float32", num_threads=1), reference(weights, config)


def test_the_kind_is_told_by_its_positions():
    assert isinstance(parse_model_config(CONTENT, "config.json"), ChatGLM6BConfig)


def test_prefill_equals_the_reference(tiny):
    runner, expected = tiny
    ids = CONTEXT + OUTPUT
    positions = [*range(len(CONTEXT)), *[len(CONTEXT) - 1] * len(OUTPUT)]
    row = PrefillRow(0, ids, positions, len(CONTEXT))
    logits = runner.prefill([row], "all")[0].double()
    assert (logits - expected).abs().max() < TOLERANCE


def test_decode_equals_the_reference(tiny):
    runner, expected = tiny
    context = len(CONTEXT)
    row = PrefillRow(1, [*CONTEXT, OUTPUT[0]], [*range(context), context - 1], context)
    rows = [runner.prefill([row], "all")[0]]
    rows += [runner.decode([1], [token], [context - 1]) for token in OUTPUT[1:]]
    assert (torch.cat(rows).double() - expected).abs().max() < TOLERANCE


def test_a_configuration_survives_writing_and_reading():
    config = parse_model_config(
        {**CONTENT, "quantization_config": QuantizationConfig.uniform(4, 32).to_json()}, "x"
    )
    assert parse_model_config(config.to_json(), "again") == config
