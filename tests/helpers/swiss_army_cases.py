"""Shapes, weights and prompts on which GLM-130B's published class and ours are compared."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reference_checkpoint import write_checkpoint
from tiny_glm import random_weights

from bilin_engine.config import GLMConfig

SCRIPT = Path(__file__).parent / "swiss_army_glm.py"


def shape(layers: int, hidden: int, heads: int, inner: int) -> dict[str, Any]:
    return {
        "num_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "inner_hidden_size": inner,
        "vocab_size": 96,
        "max_sequence_length": 64,
    }


SHAPES = {
    "small": shape(2, 64, 4, 96),
    "deep": shape(5, 64, 8, 128),
    "wide heads": shape(3, 128, 4, 64),
}
IDS = [5, 17, 3, 88, 42, 42, 9, 61, 30, 7, 11, 2, 77, 1, 50, 33]


def case(prefix_len: int, mask_position: int | None) -> dict[str, Any]:
    """[gMASK] counts on after the prefix; after a [MASK] all share its position."""
    positions = list(range(len(IDS)))
    if mask_position is not None:
        positions[prefix_len:] = [mask_position] * (len(IDS) - prefix_len)
    return {"ids": IDS, "position_ids": positions, "prefix_len": prefix_len}


CASES = [case(10, None), case(10, 4), case(1, None), case(0, None), case(16, None), case(12, 11)]


def weights(name: str) -> dict[str, torch.Tensor]:
    """fp16, as published checkpoints are."""
    found = random_weights(GLMConfig.create(**SHAPES[name]), seed=len(name))
    return {key: tensor.half() for key, tensor in found.items()}


def ask_published_class(python: Path, name: str, folder: Path) -> list[np.ndarray]:
    """Log-probs [T, V] of every case, by the class in the environment of `python`."""
    write_checkpoint(folder / "src", weights(name), 1)
    (folder / "shape.json").write_text(json.dumps(SHAPES[name]))
    (folder / "cases.json").write_text(json.dumps(CASES))
    file = folder / "src" / "49300" / "mp_rank_00_model_states.pt"
    inputs = [file, folder / "shape.json", folder / "cases.json", folder / "out.npz"]
    subprocess.run([str(python), str(SCRIPT), *map(str, inputs)], check=True, capture_output=True)
    with np.load(folder / "out.npz") as found:
        return [found[str(index)] for index in range(len(CASES))]
