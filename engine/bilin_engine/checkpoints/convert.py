"""Converts a published GLM-130B checkpoint into a model folder.

Quantized sources keep their codes and scales unless asked otherwise. The source is only read.
"""

import dataclasses
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from bilin_engine.checkpoints.model_folder import BILIN_FILE
from bilin_engine.checkpoints.reference import ReferenceCheckpoint
from bilin_engine.checkpoints.streaming import (
    OnProgress,
    stream_to_folder,
    write_json,
)
from bilin_engine.config import (
    GLMConfig,
    GroupSize,
    ModelConfig,
    QuantizationConfig,
    QuantizationScheme,
)
from bilin_engine.errors import BadRequestError
from bilin_engine.library import Capabilities, ModelDescription, ModelNames

TARGET_BITS: dict[str, int] = {"int4": 4, "int8": 8, "fp16": 16}
TOKENIZER_FILE = "ice_text.model"


@dataclass(frozen=True, slots=True)
class ConvertSettings:
    """What the result is. group_size "source" keeps a quantized checkpoint's own groups.

    tokenizer_file: copied into the result; None = the one in the source folder, if there is one.
    """

    target: Literal["", "int4", "int8", "fp16"] = ""  # "" = as the source, INT4 for fp16 ones
    group_size: GroupSize | Literal["source"] | None = None  # None = "source" or 128
    tokenizer_file: Path | None = None


def convert(
    src: Path,
    dst: Path,
    shape: GLMConfig,
    settings: ConvertSettings,
    *,
    on_progress: OnProgress = lambda _progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    max_shard_bytes: int = 4 * 1024**3,
) -> Path:
    """Writes the model folder `dst`; goes on where an interrupted call with the same values was.

    shape: sizes of the model. Raises BadRequestError (dst exists, settings that do not go
    together), ModelBrokenError, UnsupportedModelError, DiskFullError, ConversionStopped.
    """
    if dst.exists():
        raise BadRequestError(f"{dst} exists already; choose another name or remove it first")
    with ReferenceCheckpoint(src, shape) as source:
        config = target_config(source, settings)
        tokenizer = _tokenizer_file(src, settings)
        return stream_to_folder(
            source,
            config,
            dst,
            lambda folder, error: _write_small_files(
                folder,
                config,
                tokenizer,
                msgspec.structs.replace(
                    describe(config, source, dst.name), quantization_error=error.relative
                ),
            ),
            on_progress=on_progress,
            should_stop=should_stop,
            max_shard_bytes=max_shard_bytes,
        )


def target_config(source: ReferenceCheckpoint, settings: ConvertSettings) -> GLMConfig:
    """The result's configuration. Raises BadRequestError for settings that contradict the source.

    GLM-130B's shards have a scale a row (column-parallel linears) or a row and rank (row-parallel):
    "source" says so with a scheme each.
    """
    bits = TARGET_BITS[settings.target] if settings.target else min(source.bits, 8)
    if not settings.target and source.bits == 16:
        bits = 4
    group_size = settings.group_size
    if group_size is None:
        group_size = "source" if source.bits == bits else 128
    config = source.config
    if bits == 16:
        if settings.group_size is not None:
            raise BadRequestError("fp16 weights have no groups; leave the group size out")
        return dataclasses.replace(config, quantization=None)
    if group_size != "source":
        return dataclasses.replace(
            config, quantization=QuantizationConfig.uniform(bits, group_size)
        )
    if source.bits != bits:
        stored = "fp16" if source.bits == 16 else f"INT{source.bits}"
        raise BadRequestError(
            f'group size "source" keeps the scales of an INT{bits} checkpoint; this one is '
            f"{stored}. Choose row, 128, 64 or 32"
        )
    return dataclasses.replace(config, quantization=_source_schemes(config, source, bits))


def _source_schemes(
    config: ModelConfig, source: ReferenceCheckpoint, bits: int
) -> QuantizationConfig:
    """One scheme for each group size the source has, by module name."""
    by_group: dict[GroupSize, list[str]] = {}
    for spec in config.tensors():
        if spec.is_linear and ".layers.0." in spec.name:
            suffix = spec.module.partition(".layers.0.")[2]
            target = rf"re:.*\.layers\.\d+\.{re.escape(suffix)}$"
            by_group.setdefault(source.group_size(spec), []).append(target)
    return QuantizationConfig(
        tuple(QuantizationScheme(bits, group, tuple(names)) for group, names in by_group.items())
    )


def _tokenizer_file(src: Path, settings: ConvertSettings) -> Path | None:
    if settings.tokenizer_file is not None:
        if not settings.tokenizer_file.is_file():
            raise BadRequestError(f"{settings.tokenizer_file} is no file; it should be icetk's")
        return settings.tokenizer_file
    beside = src / TOKENIZER_FILE
    return beside if beside.is_file() else None


def _write_small_files(
    folder: Path, config: GLMConfig, tokenizer: Path | None, description: ModelDescription
) -> None:
    write_json(folder / "config.json", config.to_json())
    write_json(folder / "generation_config.json", {"temperature": 1.0, "top_p": 0.7})
    if tokenizer is not None:
        shutil.copyfile(tokenizer, folder / TOKENIZER_FILE)
        write_json(folder / "tokenizer_config.json", {"tokenizer_class": "IceTokenizer"})
    content = msgspec.json.format(msgspec.json.encode(description)) + b"\n"
    (folder / BILIN_FILE).write_bytes(content)


def describe(config: GLMConfig, source: ReferenceCheckpoint, name: str = "") -> ModelDescription:
    """What bilin.json says of a converted checkpoint, files aside.

    name: what the person called it; GLM-130B is called that.
    """
    is_130b = (config.num_layers, config.hidden_size) == (70, 12288)
    size = f"GLM {config.num_parameters / 1e9:.3g}B"
    model_id = "glm-130b" if is_130b else size.lower().replace(" ", "-")
    name = "GLM-130B" if is_130b else name or size
    stored = "fp16" if source.bits == 16 else f"INT{source.bits}"
    return ModelDescription(
        id=model_id,
        names=ModelNames(zh=name, en=name),
        family="GLM-130B",
        languages=("zh", "en"),
        capabilities=Capabilities(chat=True, blanks=("short", "long", "sentence")),
        chat_format="qa",
        licence="GLM-130B License (research only, not commercial)" if is_130b else "unknown",
        source=f"mp_rank checkpoint, {source.world_size} ranks, {stored}",
    )
