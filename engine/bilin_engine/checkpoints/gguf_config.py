"""What a GGUF file computes: its metadata as a config.json, its tensors under published names.

Architectures `llama`, `qwen2`, `qwen3`, `glm4` and `chatglm`, whose result is `glm`: the same model
under the names of transformers. Metadata in the architecture's own space that nobody here knows is
refused by name, since it may change the maths. Knows neither torch nor the `gguf` package.
Source: github ggml-org/llama.cpp, conversion/{base,llama,qwen,glm,chatglm}.py.
"""

import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bilin_engine.checkpoints.gguf_file import GgufModel, GgufTensor, GgufValue, shown
from bilin_engine.config import (
    CausalConfig,
    ConfigFields,
    Glm4Config,
    GroupSize,
    TensorSpec,
    largest_group,
    parse_model_config,
)
from bilin_engine.errors import ModelBrokenError, UnsupportedModelError

ARCHITECTURES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "glm4": "glm4",
    "chatglm": "glm",
}
TOKENS = "tokenizer.ggml.tokens"
_EMBEDDING, _HEAD = "token_embd.weight", "output.weight"
_ROPE_FACTORS = "rope_freqs.weight"
_LLAMA3_CONTEXTS = (8192, 4096, 2048, 16384, 32768, 65536, 131072)

PLAIN_TYPES = ("F32", "F16", "BF16")
Q4_0_GROUP = 32

# Published name of a module -> GGUF's, within a layer ("blk.N.") and outside.
_OUTER = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
_INNER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "post_self_attn_layernorm": "post_attention_norm",
    "post_mlp_layernorm": "post_ffw_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_FUSED = "attn_qkv"
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a published tensor's rows lie in a GGUF tensor.

    first: of its rows there. heads: above 0, the rows of each head alternate between its two
    halves, as llama.cpp turns them (`LlamaModel.permute`).
    """

    tensor: GgufTensor
    first: int = 0
    heads: int = 0


def read_config(model: GgufModel) -> CausalConfig:
    """The configuration of the result, without quantization.

    Raises UnsupportedModelError for an architecture or a key that we do not know, ModelBrokenError
    for values that are missing or wrong.
    """
    where, metadata = str(model.path), model.metadata
    kind = metadata.get("general.type", "model")
    if kind != "model":
        raise UnsupportedModelError(f"{where} is of the kind {shown(kind)}, not a whole model")
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise UnsupportedModelError(
            f"{where} has the architecture {shown(architecture)}; GGUF can be imported of "
            f"{', '.join(ARCHITECTURES)}"
        )
    content = _content(model, architecture)
    config = parse_model_config(content, where)
    assert isinstance(config, CausalConfig), "ARCHITECTURES names no others"
    return config


def origins(model: GgufModel, config: CausalConfig) -> dict[str, Origin]:
    """Published name -> where it lies, of every tensor of the result.

    Raises ModelBrokenError for a tensor that is missing or misshapen, UnsupportedModelError naming
    one that the architecture does not use.
    """
    found = {spec.name: _origin(model, config, spec) for spec in config.tensors()}
    used = {origin.tensor.name for origin in found.values()} | {_ROPE_FACTORS}
    unknown = sorted(set(model.tensors) - used)
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise UnsupportedModelError(
            f"{model.path} holds {shown(unknown[0])}{more}, which {config.architecture} does not "
            "use: the result would be another model"
        )
    return found


def default_group(model: GgufModel, config: CausalConfig, bits: int) -> GroupSize:
    """Groups of 32, as the blocks of ggml's types: larger ones would lose more than the file has.

    Of plain weights as of any model, and in INT8, whose kernels on a GPU take no groups of 32:
    the largest of 128, 64 and 32 that fits.
    """
    if bits == 8:
        return largest_group(config)
    layers = {t.type for n, t in model.tensors.items() if n.startswith("blk.") and len(t.shape) > 1}
    return largest_group(config) if layers <= set(PLAIN_TYPES) else Q4_0_GROUP


def _content(model: GgufModel, architecture: str) -> dict[str, Any]:
    """config.json, from the metadata and the tensors that are there."""
    prefix = f"{architecture}."
    fields = ConfigFields(
        {
            key.removeprefix(prefix): _plain(value)
            for key, value in model.metadata.items()
            if key.startswith(prefix)
        },
        f"{model.path}, {architecture}.*",
    )
    fields.skip("vocab_size", "tensor_data_layout")
    for key in ("expert_count", "expert_used_count", "attention.sliding_window", "pooling_type"):
        fields.require_zero(key)
    fields.require("attention.causal", True)
    heads = fields.integer("attention.head_count", 1, 1 << 16)
    hidden_size = fields.integer("embedding_length", 2, 1 << 20)
    head_dim = fields.integer("attention.key_length", 2, 1 << 16, default=hidden_size // heads)
    if fields.integer("attention.value_length", 2, 1 << 16, default=head_dim) != head_dim:
        raise UnsupportedModelError(
            f"{fields.where}: attention.value_length differs from the keys' {head_dim}"
        )
    context = fields.integer("context_length", 2, 1 << 24)
    base = fields.number("rope.freq_base", 1.0, 1e12, default=10000.0)
    is_glm = ARCHITECTURES[architecture] in Glm4Config.CLASSES
    rotary_dim = fields.integer(
        "rope.dimension_count", 2, 1 << 16, default=head_dim // 2 if is_glm else head_dim
    )
    content: dict[str, Any] = {
        "model_type": ARCHITECTURES[architecture],
        "hidden_size": hidden_size,
        "num_hidden_layers": fields.integer("block_count", 1, 4096),
        "intermediate_size": fields.integer("feed_forward_length", 1, 1 << 22),
        "num_attention_heads": heads,
        "num_key_value_heads": fields.integer("attention.head_count_kv", 1, 1 << 16, default=heads),
        "head_dim": head_dim,
        "rms_norm_eps": _shortest(fields.number("attention.layer_norm_rms_epsilon", 1e-12, 1.0)),
        "max_position_embeddings": context,
        "rope_theta": _shortest(base),
        "partial_rotary_factor": rotary_dim / head_dim,
        "vocab_size": _vocab_size(model),
        "tie_word_embeddings": _HEAD not in model.tensors,
        "torch_dtype": _dtype(model.tensors.values()),
    }
    scaling, factors = _scaling(fields, context), _llama3(model, rotary_dim, base)
    if scaling is not None and factors is not None:
        raise UnsupportedModelError(
            f"{model.path}: {_ROPE_FACTORS} and rope.scaling.type {scaling['rope_type']} both "
            "stretch positions; Bilin knows only one at a time"
        )
    scaling = scaling or factors
    fields.finish()
    if scaling is not None:
        content["rope_scaling"] = scaling
    if architecture != "qwen2":
        first = ("blk.0.attn_q.bias", f"blk.0.{_FUSED}.bias")
        content["attention_bias"] = any(name in model.tensors for name in first)
    if architecture == "llama":
        content["mlp_bias"] = "blk.0.ffn_up.bias" in model.tensors
    return content


def _plain(value: GgufValue) -> object:
    """A list that says the same for every layer as that one value."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return value
    different = set(value)
    return different.pop() if len(different) == 1 else list(value[:8])


def _shortest(value: float) -> float:
    """The shortest number that is the same float32: 1e-05 instead of 9.999999747378752e-06."""
    short = float(f"{value:.6g}")
    return short if struct.pack("<f", short) == struct.pack("<f", value) else value


def _vocab_size(model: GgufModel) -> int:
    embedding = model.tensors.get(_EMBEDDING)
    if embedding is None or len(embedding.shape) != 2:
        raise ModelBrokenError(f"{model.path} has no matrix {_EMBEDDING}")
    return embedding.shape[0]


def _dtype(tensors: "Sequence[GgufTensor] | Any") -> str:  # noqa: ANN401 - a dict's values
    """Of what stays unpacked: BF16 for its range where the file uses it, F32 where all are that."""
    types = {tensor.type for tensor in tensors if len(tensor.shape) > 1}
    if "BF16" in types:
        return "bfloat16"
    return "float32" if types == {"F32"} else "float16"


def _scaling(fields: ConfigFields, context: int) -> dict[str, Any] | None:
    """`rope_scaling` from the keys of llama.cpp, old and new."""
    old_factor = fields.number("rope.scale_linear", 0.0, 1e6, default=1.0)
    kind = fields.choice("rope.scaling.type", ("none", "linear", "yarn"), "none")
    factor = fields.number("rope.scaling.factor", 0.0, 1e6, default=1.0)
    original = fields.integer("rope.scaling.original_context_length", 0, 1 << 24, default=0)
    fields.skip("rope.scaling.finetuned")
    for key, neutral in (
        ("rope.scaling.attn_factor", 1.0),
        ("rope.scaling.yarn_attn_factor", 1.0),
        ("rope.scaling.yarn_ext_factor", 1.0),
        ("rope.scaling.yarn_log_multiplier", 0.0),
    ):
        value = fields.number(key, -1e6, 1e6, default=neutral)
        if value != neutral:
            raise UnsupportedModelError(
                f"{fields.where}: {key} is {value:g}; only {neutral:g} is supported"
            )
    beta_fast = fields.number("rope.scaling.yarn_beta_fast", 1e-3, 1e6, default=32.0)
    beta_slow = fields.number("rope.scaling.yarn_beta_slow", 1e-3, 1e6, default=1.0)
    if kind == "none" and old_factor not in (0.0, 1.0):
        kind, factor = "linear", old_factor
    if kind == "none" or factor in (0.0, 1.0):
        return None
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    return {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": original or context,
        "beta_fast": beta_fast,
        "beta_slow": beta_slow,
    }


def _llama3(model: GgufModel, rotary_dim: int, base: float) -> dict[str, Any] | None:
    """`rope_scaling` of Llama 3.1 and later, of which GGUF keeps only what it does to each wave.

    The published values are tried until they give the file's factors; others are refused.
    """
    tensor = model.tensors.get(_ROPE_FACTORS)
    if tensor is None:
        return None
    if tensor.type != "F32" or tensor.shape != (rotary_dim // 2,):
        raise UnsupportedModelError(
            f"{model.path}: {_ROPE_FACTORS} holds {tensor.type} of shape {list(tensor.shape)}; "
            f"F32 of {rotary_dim // 2} values is needed"
        )
    stored = struct.unpack(f"<{rotary_dim // 2}f", model.read(_ROPE_FACTORS, 0, 1))
    factor = max(stored)
    if not 1.0 < factor <= 1024.0:
        raise UnsupportedModelError(f"{model.path}: {_ROPE_FACTORS} has a factor of {factor:g}")
    for original in _LLAMA3_CONTEXTS:
        expected = [
            _llama3_factor(base ** (2 * i / rotary_dim), factor, original)
            for i in range(rotary_dim // 2)
        ]
        if all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(stored, expected, strict=True)):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": original,
            }
    raise UnsupportedModelError(
        f"{model.path}: {_ROPE_FACTORS} is not Llama 3's way to stretch positions, nor another "
        "that Bilin knows"
    )


def _llama3_factor(period: float, factor: float, original: int) -> float:
    """What the frequency 1 / period is divided by."""
    turns = original / (2 * math.pi * period)
    kept = min(max((turns - 1.0) / (4.0 - 1.0), 0.0), 1.0)
    return 1.0 / ((1.0 - kept) / factor + kept)


def _origin(model: GgufModel, config: CausalConfig, spec: TensorSpec) -> Origin:
    name, first, rows = _gguf_name(spec.name), 0, spec.shape[0]
    query = config.num_attention_heads * config.head_dim
    shared = config.num_key_value_heads * config.head_dim
    match = re.search(r"self_attn\.([qkv])_proj", spec.name)
    fused = re.sub(r"attn_[qkv]\.", f"{_FUSED}.", name)
    if match is not None and fused in model.tensors:
        first = {"q": 0, "k": query, "v": query + shared}[match[1]]
        name, rows = fused, query + 2 * shared
    tensor = model.tensors.get(name)
    if tensor is None:
        raise ModelBrokenError(f"{model.path} holds no tensor {name}, which the model needs")
    if tensor.shape != (rows, *spec.shape[1:]):
        raise ModelBrokenError(
            f"{model.path}: {name} has the shape {list(tensor.shape)}; the metadata ask for "
            f"{[rows, *spec.shape[1:]]}"
        )
    heads = 0
    if config.architecture == "llama" and match is not None and match[1] != "v":
        heads = config.num_attention_heads if match[1] == "q" else config.num_key_value_heads
    return Origin(tensor, first, heads)


def _gguf_name(name: str) -> str:
    match = _LAYER.fullmatch(name)
    if match is None:
        module, _, kind = name.rpartition(".")
        return f"{_OUTER[module]}.{kind}"
    return f"blk.{match[1]}.{_INNER[match[2]]}.{match[3]}"


def texts_of(metadata: Mapping[str, GgufValue], key: str) -> str:
    """A metadata entry that should be a text; "" for one that is absent or something else."""
    value = metadata.get(key)
    return value if isinstance(value, str) else ""
