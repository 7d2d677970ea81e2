"""Small models of every architecture as a hub publishes them: config, shards, index, tokenizer."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_causal import CHATGLM, CONFIGS, as_chatglm, random_weights, tiny_config

from bilin_engine.checkpoints import int4
from bilin_engine.config import QuantizationScheme

TOKENIZER = Path(__file__).parents[1] / "data" / "templates"


def content_of(case: str) -> dict:
    return dict(CHATGLM if case == "chatglm" else CONFIGS[case])


def weights_of(case: str) -> dict[str, torch.Tensor]:
    if case == "chatglm":
        return as_chatglm(random_weights(tiny_config("glm")))
    return random_weights(tiny_config(case))


def write_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TOKENIZER / name, folder / name)
    (folder / "chat_template.jinja").write_text("{{ messages[-1].content }}")


def write_source(folder: Path, case: str, tensors=None, *, shards=1, **config) -> Path:
    """A folder as it is published: config, shards with an index, tokenizer."""
    folder.mkdir(parents=True)
    content = {**content_of(case), "eos_token_id": [2, 3], **config}
    (folder / "config.json").write_text(json.dumps(content))
    tensors = tensors or weights_of(case)
    names = sorted(tensors)
    weight_map = {}
    for index in range(shards):
        shard = f"model-{index + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: tensors[name].contiguous() for name in names[index::shards]}
        save_file(part, folder / shard)
        weight_map |= dict.fromkeys(part, shard)
    index_file = folder / "model.safetensors.index.json"
    index_file.write_text(json.dumps({"weight_map": weight_map}))
    write_tokenizer(folder)
    return folder


def gptq_tensors(case: str, bits: int, group: int, zero: int) -> tuple[dict, dict]:
    """A model's tensors as GPTQ stores them, and the same in floating point."""
    config, weights = tiny_config(case), weights_of(case)
    stored, plain = {}, {}
    for spec in config.tensors():
        weight = weights[spec.name]
        if not spec.is_linear:
            stored[spec.name] = plain[spec.name] = weight
            continue
        quantized = int4.quantize(weight, QuantizationScheme(bits, group), spec.name)
        plain[spec.name] = int4.dequantize(quantized)
        per_word, (n, k) = 32 // bits, spec.shape
        unsigned = (quantized.codes.to(torch.int64) + 2 ** (bits - 1)).T  # [k, n]
        shifts = torch.arange(per_word).view(1, -1, 1) * bits
        words = (unsigned.reshape(-1, per_word, n) << shifts).sum(1)
        zeros = torch.full(
            (k // group, n // per_word), sum(zero << (bits * i) for i in range(per_word))
        )
        module = spec.module
        stored[f"{module}.qweight"] = as_int32(words)
        stored[f"{module}.qzeros"] = as_int32(zeros)
        stored[f"{module}.scales"] = quantized.scales.T.contiguous()
        stored[f"{module}.g_idx"] = (torch.arange(k) // group).to(torch.int32)
    return stored, plain


def as_int32(words: torch.Tensor) -> torch.Tensor:
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def gptq_config(**changes) -> dict:
    return {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True, "desc_act": False,
            "damp_percent": 0.01, **changes}  # fmt: skip
