"""Turns any checkpoint into a model folder, a block of rows at a time; and checks such folders.

Memory stays far under 1.5 GB whatever the model's size; a kill costs one block; the result appears
only when it is whole. What a checkpoint is made of is its `TensorSource`'s business.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from safetensors.torch import load_file, save

from bilin_engine.checkpoints import int4, scale_search
from bilin_engine.checkpoints.model_folder import (
    BILIN_FILE,
    ModelFolder,
    verify_files,
)
from bilin_engine.checkpoints.stream_writer import JOURNAL_FILE, StoredTensor, StreamWriter
from bilin_engine.config import DTypeName, ModelConfig, QuantizationScheme, TensorSpec
from bilin_engine.errors import BadRequestError, ModelBrokenError
from bilin_engine.whole_file import file_sha256, partial_folder, take_place

BLOCK_BYTES = 32 * 1024 * 1024  # source bytes that are read and written at a time
# Weights that a thread quantizes at a time: what it needs for them stays near its processor.
PIECE_WEIGHTS = 1 << 19
COLUMNS_FILE = "columns.safetensors"  # in an unfinished folder: what `Calibrate` found
# Of an unfinished folder alone. The journal is the last to go: without it all would begin anew.
_UNFINISHED_FILES = (COLUMNS_FILE, JOURNAL_FILE)
Stage = Literal["calibrate", "convert", "hash", "verify"]
_TORCH_DTYPES: dict[DTypeName, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}


class ConversionStopped(Exception):  # noqa: N818 - an outcome, not an error
    """`should_stop` said yes. What was converted stays and the next call goes on from there."""


@dataclass(frozen=True, slots=True)
class ConvertProgress:
    """done and total count the source bytes that are used; eta_s is None until there is a rate.

    shard: which of the result's `num_shards` files is being written, from 1; 0 = none.
    """

    stage: Stage
    done: int
    total: int
    rate_bytes_s: float
    eta_s: float | None
    shard: int = 0
    num_shards: int = 0


OnProgress = Callable[[ConvertProgress], None]
# What an error in each column of a linear counts for: float32 [k] by module.
ColumnWeights = Mapping[str, torch.Tensor]
# Finds them, by passing a text through the model: models/calibration.py.
Calibrate = Callable[[OnProgress, Callable[[], bool]], ColumnWeights]


def discard(dst: Path) -> None:
    """Removes an unfinished conversion to `dst`."""
    shutil.rmtree(partial_folder(dst), ignore_errors=True)


@dataclass(frozen=True, slots=True)
class QuantizationError:
    """How far quantized linears are from what they were made of: sums over all their weights."""

    squared_error: float = 0.0
    squared_weights: float = 0.0

    @property
    def relative(self) -> float:
        """Root mean square of the error, as a share of the weights'; 0.0 where nothing was lost."""
        if not self.squared_weights:
            return 0.0
        return float(f"{(self.squared_error / self.squared_weights) ** 0.5:.4g}")


class TensorSource(Protocol):
    """A checkpoint that can be read by rows, under the names of the result."""

    folder: Path

    def files(self) -> Sequence[Path]:
        """What it is read from; a change of one makes an unfinished conversion start anew."""
        ...

    def row_bytes(self, spec: TensorSpec) -> int:
        """Bytes that a row of the tensor takes in the source, at least 1.

        Rows of packed weights count as what they become: memory for a block follows from this.
        """
        ...

    def rows(self, spec: TensorSpec, start: int, stop: int) -> torch.Tensor:
        """Rows start..stop of a tensor in floating point."""
        ...

    def stored_codes(
        self, spec: TensorSpec, scheme: QuantizationScheme, start: int, stop: int
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """int8 codes [rows, k] and scales [rows, groups] that the source has in this very scheme.

        None = there are none: `rows` will be quantized.
        """
        ...


def stream_to_folder(
    source: TensorSource,
    config: ModelConfig,
    dst: Path,
    write_small_files: Callable[[Path, QuantizationError], None],
    *,
    on_progress: OnProgress,
    should_stop: Callable[[], bool],
    max_shard_bytes: int = 4 * 1024**3,
    calibrate: Calibrate | None = None,
) -> Path:
    """Writes the model folder `dst`; goes on where an interrupted call with the same values was.

    config: of the result. calibrate: asked once, before INT4 in groups is made of numbers.
    write_small_files: gets the unfinished folder and what quantizing lost; writes config.json,
    bilin.json without `files`, the tokenizer. Raises BadRequestError (dst
    exists), ModelBrokenError, UnsupportedModelError, DiskFullError, ConversionStopped.
    """
    if dst.exists():
        raise BadRequestError(f"{dst} exists already; choose another name or remove it first")
    partial = partial_folder(dst)
    tensors = [t for spec in config.tensors() for t in _stored_tensors(spec, config)]
    writer = StreamWriter(
        partial,
        tensors,
        fingerprint=_fingerprint(source, config, is_calibrated=calibrate is not None),
        max_shard_bytes=max_shard_bytes,
    )
    with writer:
        columns: ColumnWeights = {}
        if calibrate is not None and _loses(source, config):
            columns = _columns(partial, lambda: calibrate(on_progress, should_stop))
        with _lone_threads() as threads:
            _convert_tensors(source, config, columns, writer, threads, on_progress, should_stop)
        writer.finish()
        error = QuantizationError(*writer.sums)
    write_small_files(partial, error)
    _write_hashes(partial, on_progress, should_stop)
    verify(partial, on_progress=on_progress, should_stop=should_stop, hashes=False)
    for name in _UNFINISHED_FILES:
        (partial / name).unlink(missing_ok=True)
    take_place(partial, dst)
    return dst


def _loses(source: TensorSource, config: ModelConfig) -> bool:
    """Whether a linear will be rounded to INT4 in groups."""
    for spec in config.tensors():
        scheme = _scheme(spec, config)
        if scheme is None or scheme.bits != 4 or scheme.group_size == "row":
            continue
        if source.stored_codes(spec, scheme, 0, 1) is None:
            return True
    return False


def _columns(partial: Path, find: Callable[[], ColumnWeights]) -> ColumnWeights:
    """What `find` gives, or gave an interrupted call: the same blocks must give the same bytes."""
    path = partial / COLUMNS_FILE
    if path.is_file():
        return load_file(path)
    columns = find()
    scratch = path.with_suffix(".new")
    # Not save_file, whose error for a full disk is none of the system's.
    with scratch.open("wb") as file:
        file.write(save(dict(columns)))
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    return columns


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
        clock = Clock("verify", total, on_progress)
        for spec in model.config.tensors():
            if should_stop():
                raise ConversionStopped
            scheme = model.scheme(spec.module) if spec.is_linear else None
            name = spec.name if scheme is None else f"{spec.module}.weight_scale"
            shape = model.stored_shape(name)
            step = max(1, BLOCK_BYTES // (4 * max(1, row_elements(shape))))
            for start in range(0, shape[0], step):
                block = model.tensor(name, slice(start, start + step))
                int4.require_finite(block, f"{folder / name}")
            clock.add(_spec_bytes(spec, model.config))


class Clock:
    """Counts bytes, tells progress at most ten times a second, with the time left."""

    def __init__(self, stage: Stage, total: int, tell: OnProgress) -> None:
        """total: bytes of the whole stage."""
        self._stage: Stage = stage
        self._total = total
        self._tell = tell
        self._done = 0
        self.shard = self.num_shards = 0
        self._counted = 0  # what this run did itself: resumed bytes have no rate
        self._begun = self._told = time.monotonic()

    def skip(self, size: int) -> None:
        """Bytes that an earlier run did."""
        self._done += size

    def add(self, size: int) -> None:
        """Bytes that were done now; some stages pass over the same ones more than once."""
        self._done = min(self._done + size, self._total)
        self._counted += size
        now = time.monotonic()
        if now - self._told < 0.1 and self._done < self._total:
            return
        self._told = now
        rate = self._counted / max(1e-6, now - self._begun)
        eta = (self._total - self._done) / rate if rate else None
        shards = (self.shard, self.num_shards)
        self._tell(ConvertProgress(self._stage, self._done, self._total, rate, eta, *shards))


@contextmanager
def _lone_threads() -> Iterator[ThreadPoolExecutor]:
    """A thread for each processor, and torch with one thread in each of them and here.

    Torch's own threads wait for one another at every operation, spinning: beside busy programs two
    of them took ten times the processor time of one (engine/README.md, "What quantizing costs").
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(
            os.cpu_count() or 1, initializer=torch.set_num_threads, initargs=(1,)
        ) as threads:
            yield threads
    finally:
        torch.set_num_threads(before)


def _convert_tensors(
    source: TensorSource,
    config: ModelConfig,
    columns: ColumnWeights,
    writer: StreamWriter,
    threads: ThreadPoolExecutor,
    on_progress: OnProgress,
    should_stop: Callable[[], bool],
) -> None:
    total = sum(spec.shape[0] * source.row_bytes(spec) for spec in config.tensors())
    clock = Clock("convert", total, on_progress)
    clock.num_shards = writer.num_shards
    for spec in config.tensors():
        row_bytes = source.row_bytes(spec)
        done = writer.rows_done(spec.name)
        first = next(iter(_stored_tensors(spec, config)))
        clock.shard = writer.shard_of(first.name) + 1
        clock.skip(done * row_bytes)
        step = max(1, BLOCK_BYTES // row_bytes)
        for start in range(done, spec.shape[0], step):
            if should_stop():
                raise ConversionStopped
            stop = min(start + step, spec.shape[0])
            weights = columns.get(spec.module)
            parts, error = _block(source, spec, config, weights, start, stop, threads)
            writer.write(spec.name, start, parts, sums=error)
            clock.add((stop - start) * row_bytes)
        if _scheme(spec, config) is not None:
            key = f"{spec.module}.weight_shape"
            if not writer.rows_done(key):
                writer.write(key, 0, {key: torch.tensor(spec.shape, dtype=torch.int64)})


def _block(
    source: TensorSource,
    spec: TensorSpec,
    config: ModelConfig,
    columns: torch.Tensor | None,
    start: int,
    stop: int,
    threads: ThreadPoolExecutor,
) -> tuple[dict[str, torch.Tensor], tuple[float, float]]:
    """What is stored for rows start..stop of a tensor; squares of what it lost and of what it was.

    Codes that are kept lose nothing and count for nothing.
    """
    scheme = _scheme(spec, config)
    if scheme is None:
        block = source.rows(spec, start, stop)
        int4.require_finite(block, f"{source.folder}: {spec.name}")
        plain = block.to(_TORCH_DTYPES[config.dtype])
        int4.require_finite(plain, f"{spec.name} as {config.dtype}")
        return {spec.name: plain}, (0.0, 0.0)
    stored = source.stored_codes(spec, scheme, start, stop)
    if stored is not None:
        codes, scales = stored
        int4.require_finite(scales, f"{source.folder}: {spec.name}, its scales")
        return _packed(spec, [int4.pack(codes, scheme.bits)], [scales]), (0.0, 0.0)
    weight = source.rows(spec, start, stop)
    pieces = weight.split(max(1, PIECE_WEIGHTS // weight.shape[1]))
    done = list(threads.map(lambda rows: _quantize(rows, scheme, spec.name, columns), pieces))
    errors, weights = zip(*(error for _, _, error in done), strict=True)
    parts = _packed(spec, [packed for packed, _, _ in done], [scales for _, scales, _ in done])
    return parts, (sum(errors), sum(weights))


def _quantize(
    rows: torch.Tensor, scheme: QuantizationScheme, name: str, columns: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, tuple[float, float]]:
    """Packed codes, scales, and the squares of what was lost and of what was there."""
    quantized = scale_search.quantize(rows, scheme, name, columns)
    packed = int4.pack(quantized.codes, scheme.bits)
    return packed, quantized.scales, int4.squared_error(rows, quantized)


def _packed(
    spec: TensorSpec, packed: list[torch.Tensor], scales: list[torch.Tensor]
) -> dict[str, torch.Tensor]:
    return {
        f"{spec.module}.weight_packed": torch.cat(packed),
        f"{spec.module}.weight_scale": torch.cat(scales),
    }


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


def row_elements(shape: tuple[int, ...]) -> int:
    """Values in one row of a tensor."""
    count = 1
    for size in shape[1:]:
        count *= size
    return count


def _fingerprint(source: TensorSource, config: ModelConfig, *, is_calibrated: bool) -> str:
    """Changes when source files, sizes or the result's layout do."""
    # Not where they lie: a disk may be mounted elsewhere before the work goes on.
    files = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(source.files())
    ]
    how = [BLOCK_BYTES, is_calibrated]
    text = json.dumps([files, config.to_json(), *how])
    return hashlib.sha256(text.encode()).hexdigest()


def _write_hashes(folder: Path, on_progress: OnProgress, should_stop: Callable[[], bool]) -> None:
    """Adds size and sha256 of every file to bilin.json."""
    others = (BILIN_FILE, *_UNFINISHED_FILES)
    paths = [path for path in sorted(folder.iterdir()) if path.name not in others]
    clock = Clock("hash", sum(path.stat().st_size for path in paths), on_progress)

    def on_block(size: int) -> None:
        if should_stop():
            raise ConversionStopped
        clock.add(size)

    files = {
        path.name: {"size_bytes": path.stat().st_size, "sha256": file_sha256(path, on_block)}
        for path in paths
    }
    content = json.loads((folder / BILIN_FILE).read_text(encoding="utf-8"))
    write_json(folder / BILIN_FILE, {**content, "files": files})


def _verify_hashes(folder: Path, on_progress: OnProgress, should_stop: Callable[[], bool]) -> None:
    if not (folder / BILIN_FILE).is_file():
        raise ModelBrokenError(f"{folder / BILIN_FILE} is missing: there are no hashes to compare")
    clock = Clock("hash", sum(p.stat().st_size for p in folder.iterdir()), on_progress)

    def on_block(size: int) -> None:
        if should_stop():
            raise ConversionStopped
        clock.add(size)

    verify_files(folder, hashes=True, on_block=on_block)


def write_json(path: Path, content: object) -> None:
    """Writes a small file of a model folder."""
    text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    path.write_text(text, encoding="utf-8")
