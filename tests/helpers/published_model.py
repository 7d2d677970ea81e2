"""Small models of every architecture as a hub publishes them: config, shards, index, tokenizer."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_causal import CHATGLM, CONFIGS, as_chatglm, random_weights, tiny_config

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
