"""GGUF files as llama.cpp's converter writes them, of the tiny models; and hostile ones by hand."""

import json
import re
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tiny_causal import random_weights, tiny_config

from bilin_engine.config import CausalConfig

TOKENIZER = Path(__file__).parents[1] / "data" / "templates" / "tokenizer.json"
NUM_TOKENS = 448  # of a model that has this tokenizer, some rows to spare
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
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


def config_of(case: str, **changes: Any) -> CausalConfig:
    """The tiny configuration of a case, with room for the tokenizer."""
    config = tiny_config(case, vocab_size=NUM_TOKENS, **changes)
    assert isinstance(config, CausalConfig)
    return config


def gguf_tensors(config: CausalConfig, weights: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """The weights under llama.cpp's names, llama's queries and keys turned as it does."""
    tensors = {}
    for name, value in weights.items():
        layer = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
        module, kind = (layer[2], layer[3]) if layer else name.rsplit(".", 1)
        prefix = f"blk.{layer[1]}." if layer else ""
        is_turned = config.architecture == "llama" and module.endswith(("q_proj", "k_proj"))
        if is_turned:
            value = value.unflatten(0, (-1, 2, config.head_dim // 2)).transpose(1, 2).flatten(0, 2)
        tensors[f"{prefix}{_NAMES[module]}.{kind}"] = value.float().numpy()
    return tensors


def fused(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Queries, keys and values in one matrix, as files of ChatGLM's own layout have them."""
    result = {}
    for name, value in tensors.items():
        if "attn_k." in name or "attn_v." in name:
            continue
        if "attn_q." in name:
            parts = [tensors[name.replace("attn_q", f"attn_{p}")] for p in "qkv"]
            name, value = name.replace("attn_q", "attn_qkv"), np.concatenate(parts)
        result[name] = value
    return result


def rope_factors(config: CausalConfig) -> np.ndarray:
    """Llama 3's factors, as llama.cpp's converter computes them."""
    scaling = config.rope.scaling
    assert scaling is not None
    factors = []
    for index in range(0, config.head_dim, 2):
        length = 2 * np.pi * config.rope.base ** (index / config.head_dim)
        smooth = (scaling.original_context / length - scaling.low_freq_factor) / (
            scaling.high_freq_factor - scaling.low_freq_factor
        )
        smooth = min(max(smooth, 0.0), 1.0)
        factors.append(1 / ((1 - smooth) / scaling.factor + smooth))
    return np.array(factors, dtype=np.float32)


def write_gguf(
    path: Path,
    case: str,
    *,
    architecture: str = "",
    kind: str = "F32",
    kinds: dict[str, str] | None = None,
    parts: int = 0,
    is_fused: bool = False,
    template: str = TEMPLATE,
    metadata: dict[str, Any] | None = None,
    tensors: dict[str, np.ndarray] | None = None,
    pre: str = "chatglm-bpe",
    config: CausalConfig | None = None,
) -> Path:
    """A model file. kind: of the matrices. kinds: of single tensors. parts: tensors in a part.

    metadata: further entries of the architecture's own space.
    """
    config = config or config_of(case)
    architecture = architecture or {"glm": "chatglm"}.get(config.architecture, config.architecture)
    writer = gguf.GGUFWriter(path, architecture, split_max_tensors=parts)
    _add_sizes(writer, config, architecture)
    for key, value in (metadata or {}).items():
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32,
               str: writer.add_string}[type(value)]  # fmt: skip
        add(f"{architecture}.{key}", value)
    add_tokenizer(writer, pre=pre, template=template)
    if tensors is None:
        tensors = gguf_tensors(config, random_weights(config))
    scaling = config.rope.scaling
    if scaling is not None and scaling.kind == "llama3":
        tensors["rope_freqs.weight"] = rope_factors(config)
    for name, value in (fused(tensors) if is_fused else tensors).items():
        is_matrix = value.ndim > 1
        wanted = (kinds or {}).get(name, kind if is_matrix else "F32")
        if wanted == "F32":
            writer.add_tensor(name, value)
            continue
        number = gguf.GGMLQuantizationType[wanted]
        writer.add_tensor(name, gguf.quantize(value, number), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_sizes(writer: gguf.GGUFWriter, config: CausalConfig, architecture: str) -> None:
    writer.add_block_count(config.num_layers)
    writer.add_context_length(config.max_sequence_length)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.inner_hidden_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_epsilon)
    writer.add_rope_freq_base(config.rope.base)
    writer.add_rope_dimension_count(config.rope.rotary_dim)
    if config.hidden_size // config.num_attention_heads != config.head_dim:
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    writer.add_uint32(f"{architecture}.vocab_size", config.vocab_size)
    writer.add_name("Tiny")
    writer.add_license("mit")
    scaling = config.rope.scaling
    if scaling is not None and scaling.kind != "llama3":
        writer.add_rope_scaling_type(gguf.RopeScalingType(scaling.kind))
        writer.add_rope_scaling_factor(scaling.factor)
        if scaling.kind == "yarn":
            writer.add_rope_scaling_orig_ctx_len(scaling.original_context)


def add_tokenizer(writer: gguf.GGUFWriter, *, pre: str, template: str) -> None:
    """The tests' byte-level tokenizer as a file's metadata."""
    content = json.loads(TOKENIZER.read_text())
    added = {token["id"]: token for token in content["added_tokens"]}
    tokens = {number: text for text, number in content["model"]["vocab"].items()}
    tokens |= {number: token["content"] for number, token in added.items()}
    kinds = {True: gguf.TokenType.CONTROL, False: gguf.TokenType.USER_DEFINED}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([tokens[number] for number in range(len(tokens))])
    writer.add_token_types(
        [
            kinds[added[number]["special"]] if number in added else gguf.TokenType.NORMAL
            for number in range(len(tokens))
        ]
    )
    merges = content["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    number_of = {text: number for number, text in tokens.items()}
    writer.add_bos_token_id(number_of["<|begin_of_text|>"])
    writer.add_eos_token_id(number_of["<|endoftext|>"])
    writer.add_eot_token_id(number_of["<|im_end|>"])
    writer.add_add_bos_token(False)
    if template:
        writer.add_chat_template(template)


# --- By hand -------------------------------------------------------------------------------------


def text(value: str | bytes) -> bytes:
    """A string as the format has it."""
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def entry(key: str, kind: int, value: bytes) -> bytes:
    """A metadata entry. kind: 4 uint32, 6 float32, 8 string, 9 array."""
    return text(key) + struct.pack("<I", kind) + value


def tensor(
    name: str, shape: list[int], kind: int, offset: int, num_dims: int | None = None
) -> bytes:
    """A tensor's description, its shape as in the file."""
    count = len(shape) if num_dims is None else num_dims
    dims = b"".join(struct.pack("<Q", n) for n in shape)
    return text(name) + struct.pack("<I", count) + dims + struct.pack("<IQ", kind, offset)


def file_bytes(
    entries: list[bytes] = [],  # noqa: B006 - never changed
    tensors: list[bytes] = [],  # noqa: B006
    data: int = 0,
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    """A whole file. data: bytes after the header. counts: what the header says instead."""
    num_tensors, num_entries = counts or (len(tensors), len(entries))
    head = b"GGUF" + struct.pack("<IQQ", version, num_tensors, num_entries)
    head += b"".join(entries) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + bytes(data)
