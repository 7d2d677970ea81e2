"""A model folder as the beginning of another run: its weights, and where its log stood."""

import csv
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from bilin_engine.checkpoints.int4 import QuantizedWeight, dequantize, unpack
from bilin_engine.checkpoints.model_folder import ModelFolder
from bilin_engine.pretrain.run_folder import Checkpoint, Progress, read_settings
from bilin_engine.pretrain.vocabulary import TOKENIZER_FILE
from bilin_engine.whole_file import file_sha256

_PUBLISHED_LOG = "training_log.csv"


def is_model_folder(folder: Path) -> bool:
    """Whether it holds a model that `export` wrote, not a run."""
    return (folder / "config.json").is_file() and (folder / _PUBLISHED_LOG).is_file()


def read_published(folder: Path) -> tuple[Checkpoint, list[str]]:
    """The weights of a model folder (rounded ones as they compute) and the lines of its log."""
    lines = (folder / _PUBLISHED_LOG).read_text(encoding="utf-8").splitlines(keepends=True)
    lines = [line for line in lines if not line.startswith("#")]
    *_, last = csv.DictReader(lines)
    progress = Progress(
        step=int(last["step"]), loss_tokens=int(last["loss_tokens"]), seconds=float(last["seconds"])
    )
    with ModelFolder(folder) as model:
        tensors = {f"weight/{name}": value.float() for name, value in _weights(model)}
    return Checkpoint(tensors, progress, (0.0, 0.0, 0), len(lines)), lines


def vocabulary_of(folder: Path) -> str:
    """sha256 of the vocabulary that a run or a model folder has; "" where a run does not say."""
    if is_model_folder(folder):
        return file_sha256(folder / TOKENIZER_FILE)
    return read_settings(folder).vocabulary


def _weights(model: ModelFolder) -> Iterator[tuple[str, Tensor]]:
    for spec in model.config.tensors():
        scheme = model.scheme(spec.module) if spec.is_linear else None
        if scheme is None:
            yield spec.name, model.tensor(spec.name)
            continue
        codes = unpack(model.tensor(f"{spec.module}.weight_packed"), spec.shape[1], scheme.bits)
        scales = model.tensor(f"{spec.module}.weight_scale")
        yield spec.name, dequantize(QuantizedWeight(codes, scales, scheme.bits))
