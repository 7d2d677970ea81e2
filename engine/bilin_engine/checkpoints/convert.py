"""Converts a published GLM-130B checkpoint into a model folder, a block of rows at a time.

Memory stays far under 1.5 GB whatever the model's size; a kill costs one block; the result appears
only when it is whole. Quantized sources keep their codes and scales unless asked otherwise. The
source is only read.
"""

import dataclasses
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import torch

from bilin_engine.checkpoints import int4
from bilin_engine.checkpoints.model_folder import (
    BILIN_FILE,
    ModelFolder,
    file_sha256,
    verify_files,
)
from bilin_engine.checkpoints.reference import ReferenceCheckpoint
from bilin_engine.checkpoints.stream_writer import JOURNAL_FILE, StoredTensor, StreamWriter
from bilin_engine.config import (
    DTypeName,
    GLMConfig,
    GroupSize,
    ModelConfig,
    QuantizationConfig,
    QuantizationScheme,
    TensorSpec,
)
from bilin_engine.errors import BadRequestError, ModelBrokenError
from bilin_engine.library import Capabilities, ModelDescription, ModelNames

# Source bytes of one block. Quantizing holds some ten times as much for a moment (fp32 copies).
BLOCK_BYTES = 32 * 1024 * 1024
TARGET_BITS: dict[str, int] = {"int4": 4, "int8": 8, "fp16": 16}
TOKENIZER_FILE = "ice_text.model"
Stage = Literal["convert", "hash", "verify"]
_TORCH_DTYPES: dict[DTypeName, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}


class ConversionStopped(Exception):  # noqa: N818 - an outcome, not an error
    """`should_stop` said yes. What was converted stays and the next call goes on from there."""


@dataclass(frozen=True, slots=True)
class ConvertSettings:
    """What the result is. group_size "source" keeps a quantized checkpoint's own groups.

    tokenizer_file: copied into the result; None = the one in the source folder, if there is one.
    """

    target: Literal["", "int4", "int8", "fp16"] = ""  # "" = as the source, INT4 for fp16 ones
    group_size: GroupSize | Literal["source"] | None = None  # None = "source" or 128
    tokenizer_file: Path | None = None


@dataclass(frozen=True, slots=True)
class ConvertProgress:
    """done and total count the source bytes that are used; eta_s is None until there is a rate."""

    stage: Stage
    done: int
    total: int
    rate_bytes_s: float
    eta_s: float | None


OnProgress = Callable[[ConvertProgress], None]


def partial_folder(dst: Path) -> Path:
    """Where an unfinished conversion to `dst` lies."""
    return dst.with_name(f".{dst.name}.partial")


def discard(dst: Path) -> None:
    """Removes an unfinished conversion to `dst`."""
    shutil.rmtree(partial_folder(dst), ignore_errors=True)


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
        partial = partial_folder(dst)
        tensors = [t for spec in config.tensors() for t in _stored_tensors(spec, config)]
        writer = StreamWriter(
            partial,
            tensors,
            fingerprint=_fingerprint(source, config),
            max_shard_bytes=max_shard_bytes,
        )
        with writer:
            _convert_tensors(source, config, writer, on_progress, should_stop)
            writer.finish()
        _write_small_files(partial, config, tokenizer, source)
    _write_hashes(partial, on_progress, should_stop)
    verify(partial, on_progress=on_progress, should_stop=should_stop, hashes=False)
    (partial / JOURNAL_FILE).unlink()
    partial.rename(dst)
    return dst


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


def verify(
    folder: Path,
    *,
    on_progress: OnProgress = lambda _progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    hashes: bool = True,
) -> None:
    """Checks a model folder: sha256 of every file, names and shapes, finite scales and values.

    Raises ModelBrokenError naming the file or the tensor; ConversionStopped.
    """
    if hashes:
        _verify_hashes(folder, on_progress, should_stop)
    with ModelFolder(folder, hashes=False) as model:
        total = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        clock = _Clock("verify", total, on_progress)
        for spec in model.config.tensors():
            if should_stop():
                raise ConversionStopped
            scheme = model.scheme(spec.module) if spec.is_linear else None
            name = spec.name if scheme is None else f"{spec.module}.weight_scale"
            shape = model.stored_shape(name)
            step = max(1, BLOCK_BYTES // (4 * max(1, _row_elements(shape))))
            for start in range(0, shape[0], step):
                block = model.tensor(name, slice(start, start + step))
                int4.require_finite(block, f"{folder / name}")
            clock.add(_spec_bytes(spec, model.config))


class _Clock:
    """Counts bytes, tells progress at most ten times a second, with the time left."""

    def __init__(self, stage: Stage, total: int, tell: OnProgress) -> None:
        self._stage: Stage = stage
        self._total = total
        self._tell = tell
        self._done = 0
        self._counted = 0  # what this run did itself: resumed bytes have no rate
        self._begun = self._told = time.monotonic()

    def skip(self, size: int) -> None:
        self._done += size

    def add(self, size: int) -> None:
        self._done += size
        self._counted += size
        now = time.monotonic()
        if now - self._told < 0.1 and self._done < self._total:
            return
        self._told = now
        rate = self._counted / max(1e-6, now - self._begun)
        eta = (self._total - self._done) / rate if rate else None
        self._tell(ConvertProgress(self._stage, self._done, self._total, rate, eta))


def _convert_tensors(
    source: ReferenceCheckpoint,
    config: GLMConfig,
    writer: StreamWriter,
    on_progress: OnProgress,
    should_stop: Callable[[], bool],
) -> None:
    total = sum(spec.shape[0] * _source_row_bytes(spec, source) for spec in config.tensors())
    clock = _Clock("convert", total, on_progress)
    for spec in config.tensors():
        row_bytes = _source_row_bytes(spec, source)
        done = writer.rows_done(spec.name)
        clock.skip(done * row_bytes)
        step = max(1, BLOCK_BYTES // row_bytes)
        for start in range(done, spec.shape[0], step):
            if should_stop():
                raise ConversionStopped
            stop = min(start + step, spec.shape[0])
            parts = _block(source, spec, config, start, stop)
            writer.write(spec.name, start, parts)
            clock.add((stop - start) * row_bytes)
        if _scheme(spec, config) is not None:
            key = f"{spec.module}.weight_shape"
            if not writer.rows_done(key):
                writer.write(key, 0, {key: torch.tensor(spec.shape, dtype=torch.int64)})


def _block(
    source: ReferenceCheckpoint, spec: TensorSpec, config: GLMConfig, start: int, stop: int
) -> dict[str, torch.Tensor]:
    """What is stored for rows start..stop of a tensor."""
    scheme = _scheme(spec, config)
    if scheme is None:
        block = source.rows(spec, start, stop)
        int4.require_finite(block, f"{source.folder}: {spec.name}")
        stored = block.to(_TORCH_DTYPES[config.dtype])
        int4.require_finite(stored, f"{spec.name} as {config.dtype}")
        return {spec.name: stored}
    if _keeps_codes(source, spec, scheme):
        codes, scales = source.codes(spec, start, stop)
        int4.require_finite(scales, f"{source.folder}: {spec.name}_scale")
    else:
        quantized = int4.quantize(source.rows(spec, start, stop), scheme, spec.name)
        codes, scales = quantized.codes, quantized.scales
    return {
        f"{spec.module}.weight_packed": int4.pack(codes, scheme.bits),
        f"{spec.module}.weight_scale": scales,
    }


def _keeps_codes(source: ReferenceCheckpoint, spec: TensorSpec, scheme: QuantizationScheme) -> bool:
    if not source.is_quantized(spec) or source.bits != scheme.bits:
        return False
    return scheme.group_size == _source_group(spec, source.world_size)


def _source_group(spec: TensorSpec, world_size: int) -> GroupSize:
    if spec.split == "columns" and world_size > 1:
        return spec.shape[1] // world_size
    return "row"


def _source_schemes(
    config: ModelConfig, source: ReferenceCheckpoint, bits: int
) -> QuantizationConfig:
    """One scheme for each group size the source has, by module name."""
    by_group: dict[GroupSize, list[str]] = {}
    for spec in config.tensors():
        if spec.is_linear and ".layers.0." in spec.name:
            suffix = spec.module.partition(".layers.0.")[2]
            target = rf"re:.*\.layers\.\d+\.{re.escape(suffix)}$"
            by_group.setdefault(_source_group(spec, source.world_size), []).append(target)
    return QuantizationConfig(
        tuple(QuantizationScheme(bits, group, tuple(names)) for group, names in by_group.items())
    )


def _scheme(spec: TensorSpec, config: ModelConfig) -> QuantizationScheme | None:
    if not spec.is_linear or config.quantization is None:
        return None
    return config.quantization.scheme_for(spec.module)


def _stored_tensors(spec: TensorSpec, config: ModelConfig) -> Iterator[StoredTensor]:
    scheme = _scheme(spec, config)
    if scheme is None:
        yield StoredTensor(spec.name, _TORCH_DTYPES[config.dtype], spec.shape)
        return
    n, k = spec.shape
    groups = int4.num_groups(scheme, k, spec.name)
    words = -(-k * scheme.bits // 32)
    yield StoredTensor(f"{spec.module}.weight_packed", torch.int32, (n, words))
    yield StoredTensor(f"{spec.module}.weight_scale", torch.float16, (n, groups))
    yield StoredTensor(f"{spec.module}.weight_shape", torch.int64, (2,))


def _spec_bytes(spec: TensorSpec, config: ModelConfig) -> int:
    return sum(tensor.size_bytes for tensor in _stored_tensors(spec, config))


def _source_row_bytes(spec: TensorSpec, source: ReferenceCheckpoint) -> int:
    bits = source.bits if source.is_quantized(spec) else 16
    return max(1, _row_elements(spec.shape) * bits // 8)


def _row_elements(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape[1:]:
        count *= size
    return count


def _fingerprint(source: ReferenceCheckpoint, config: GLMConfig) -> str:
    """Changes when source files, sizes or the result's layout do."""
    files = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(source.folder.glob("mp_rank_*.pt"))
    ]
    text = json.dumps([str(source.folder.resolve()), files, config.to_json(), BLOCK_BYTES])
    return hashlib.sha256(text.encode()).hexdigest()


def _tokenizer_file(src: Path, settings: ConvertSettings) -> Path | None:
    if settings.tokenizer_file is not None:
        if not settings.tokenizer_file.is_file():
            raise BadRequestError(f"{settings.tokenizer_file} is no file; it should be icetk's")
        return settings.tokenizer_file
    beside = src / TOKENIZER_FILE
    return beside if beside.is_file() else None


def _write_small_files(
    folder: Path, config: GLMConfig, tokenizer: Path | None, source: ReferenceCheckpoint
) -> None:
    _write_json(folder / "config.json", config.to_json())
    _write_json(folder / "generation_config.json", {"temperature": 1.0, "top_p": 0.7})
    if tokenizer is not None:
        shutil.copyfile(tokenizer, folder / TOKENIZER_FILE)
        _write_json(folder / "tokenizer_config.json", {"tokenizer_class": "IceTokenizer"})
    description = msgspec.json.encode(describe(config, source))
    (folder / BILIN_FILE).write_bytes(msgspec.json.format(description) + b"\n")


def describe(config: GLMConfig, source: ReferenceCheckpoint) -> ModelDescription:
    """What bilin.json says of a converted checkpoint, files aside."""
    is_130b = (config.num_layers, config.hidden_size) == (70, 12288)
    name = "GLM-130B" if is_130b else f"GLM {config.num_parameters / 1e9:.3g}B"
    stored = "fp16" if source.bits == 16 else f"INT{source.bits}"
    return ModelDescription(
        id=name.lower().replace(" ", "-"),
        names=ModelNames(zh=name, en=name),
        family="GLM-130B",
        languages=("zh", "en"),
        capabilities=Capabilities(chat=True, blanks=("short", "long", "sentence")),
        chat_format="qa",
        licence="GLM-130B License (research only, not commercial)" if is_130b else "unknown",
        source=f"mp_rank checkpoint, {source.world_size} ranks, {stored}",
    )


def _write_hashes(folder: Path, on_progress: OnProgress, should_stop: Callable[[], bool]) -> None:
    """Adds size and sha256 of every file to bilin.json."""
    paths = [p for p in sorted(folder.iterdir()) if p.name not in (BILIN_FILE, JOURNAL_FILE)]
    clock = _Clock("hash", sum(path.stat().st_size for path in paths), on_progress)

    def on_block(size: int) -> None:
        if should_stop():
            raise ConversionStopped
        clock.add(size)

    files = {
        path.name: {"size_bytes": path.stat().st_size, "sha256": file_sha256(path, on_block)}
        for path in paths
    }
    content = json.loads((folder / BILIN_FILE).read_text(encoding="utf-8"))
    _write_json(folder / BILIN_FILE, {**content, "files": files})


def _verify_hashes(folder: Path, on_progress: OnProgress, should_stop: Callable[[], bool]) -> None:
    if not (folder / BILIN_FILE).is_file():
        raise ModelBrokenError(f"{folder / BILIN_FILE} is missing: there are no hashes to compare")
    clock = _Clock("hash", sum(p.stat().st_size for p in folder.iterdir()), on_progress)

    def on_block(size: int) -> None:
        if should_stop():
            raise ConversionStopped
        clock.add(size)

    verify_files(folder, hashes=True, on_block=on_block)


def _write_json(path: Path, content: object) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    path.write_text(text, encoding="utf-8")
