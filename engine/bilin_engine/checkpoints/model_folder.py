"""A model folder on disk: written whole, read lazily. Knows files and tensors, no architecture.

Layout: config.json, safetensors shards with an index, generation_config.json, tokenizer files and
bilin.json, which says what the model is and holds size and sha256 of every other file.
"""

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from bilin_engine.checkpoints import int4
from bilin_engine.checkpoints.safetensors_file import SafetensorsFile
from bilin_engine.config import (
    ModelConfig,
    QuantizationConfig,
    QuantizationScheme,
    TensorSpec,
    read_model_config,
)
from bilin_engine.errors import BadRequestError, ModelBrokenError
from bilin_engine.json_file import read_json_object
from bilin_engine.whole_file import file_sha256, take_place

INDEX_FILE = "model.safetensors.index.json"
BILIN_FILE = "bilin.json"
# A folder up to this size is hashed at every load (some 0.2 s); larger ones by `verify`.
HASHED_AT_LOAD_BYTES = 256 * 1024 * 1024
MAX_INDEX_BYTES = 64 * 1024 * 1024  # also of bilin.json, which lists every file

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def write_model_folder(
    dst: Path,
    config: ModelConfig,
    tensors: Iterable[tuple[str, torch.Tensor]],
    *,
    quantization: QuantizationConfig | None = None,
    generation_config: Mapping[str, Any] | None = None,
    extra_files: Mapping[str, Path | bytes] | None = None,
    bilin_metadata: Mapping[str, Any] | None = None,
    max_shard_bytes: int = 2 * 1024**3,
) -> Path:
    """Writes a whole model folder, which appears at `dst` only when it is complete.

    tensors: every tensor of `config.tensors()`, in any order, in floating point; they are
    quantized as `quantization` says (which replaces config's own) and the rest stored as
    `config.dtype`. extra_files: name -> a file to copy, or its content. bilin_metadata: the
    content of bilin.json, to which `files` is added.
    Raises BadRequestError if `dst` exists, ModelBrokenError for a missing, unknown, misshapen or
    non-finite tensor (by name), UnsupportedModelError for a group size that does not divide.
    """
    if dst.exists():
        raise BadRequestError(f"{dst} exists already; choose another name or remove it first")
    config = dataclasses.replace(config, quantization=quantization)
    dst.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{dst.name}.", suffix=".partial", dir=dst.parent))
    try:
        partial.chmod(0o755)
        _write_tensors(partial, config, tensors, max_shard_bytes)
        _write_json(partial / "config.json", config.to_json())
        _write_json(partial / "generation_config.json", dict(generation_config or {}))
        for name, content in (extra_files or {}).items():
            if isinstance(content, bytes):
                (partial / name).write_bytes(content)
            else:
                shutil.copyfile(content, partial / name)
        write_bilin_file(partial, dict(bilin_metadata or {}))
        take_place(partial, dst)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return dst


def write_bilin_file(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Writes bilin.json: `metadata` and `files`, size and sha256 of every other file."""
    files = {
        path.name: {"size_bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != BILIN_FILE
    }
    _write_json(folder / BILIN_FILE, {**metadata, "files": files})


def verify_files(
    folder: Path, *, hashes: bool, on_block: Callable[[int], None] | None = None
) -> None:
    """Compares every file with bilin.json: presence and size, and sha256 if `hashes`.

    A folder without bilin.json, or without `files` in it, has nothing to compare and passes.
    Raises ModelBrokenError naming the first file that differs and how.
    """
    for name, entry in _listed_files(folder).items():
        path = folder / name
        try:
            size = path.stat().st_size
        except OSError as error:
            raise ModelBrokenError(
                f"{path} is missing: the model folder is incomplete; copy or convert it again"
            ) from error
        if size != entry["size_bytes"]:
            raise ModelBrokenError(
                f"{path} has {size} bytes instead of {entry['size_bytes']}: it was cut short or "
                "changed; copy or convert the model again"
            )
        if hashes and (found := file_sha256(path, on_block)) != entry["sha256"]:
            raise ModelBrokenError(
                f"{path} was changed since it was written (sha256 {found[:12]}… instead of "
                f"{entry['sha256'][:12]}…); copy or convert the model again"
            )


class ModelFolder:
    """A model folder opened for reading; tensors stay on disk until asked for.

    Opening checks config.json, files against bilin.json, and that every tensor is there in the
    right shape. Not thread-safe. Close it, or use it as a context manager.
    """

    def __init__(self, path: Path, *, hashes: bool | None = None) -> None:
        """Opens `path`. hashes: compare sha256 too; None = if the folder is small.

        Raises ModelBrokenError naming the file or tensor, or UnsupportedModelError.
        """
        self.path = path
        self.config = read_model_config(path)
        if hashes is None:
            total = sum(p.stat().st_size for p in path.iterdir() if p.is_file())
            hashes = total <= HASHED_AT_LOAD_BYTES
        verify_files(path, hashes=hashes)
        self._stack = ExitStack()
        self._file_of: dict[str, Any] = {}
        try:
            self._open_shards()
            for spec in self.config.tensors():
                self._check(spec)
        except BaseException:
            self.close()
            raise

    def scheme(self, module: str) -> QuantizationScheme | None:
        """How the linear `module` is stored; None = plain numbers."""
        quantization = self.config.quantization
        return quantization.scheme_for(module) if quantization is not None else None

    def tensor(
        self, name: str, rows: slice = slice(None), columns: slice = slice(None)
    ) -> torch.Tensor:
        """A stored tensor, or a part of it, as it lies on disk. Only that part is read."""
        handle = self._file_of.get(name)
        if handle is None:
            raise ModelBrokenError(f"{self.path}: no shard holds the tensor {name}")
        part = handle.get_slice(name)
        return part[rows] if len(part.get_shape()) == 1 else part[rows, columns]

    def has(self, name: str) -> bool:
        """Whether a shard holds the stored tensor `name`."""
        return name in self._file_of

    def stored_shape(self, name: str) -> tuple[int, ...]:
        """The shape of a stored tensor. Raises ModelBrokenError if there is none."""
        handle = self._file_of.get(name)
        if handle is None:
            raise ModelBrokenError(f"{self.path}: no shard holds the tensor {name}")
        return tuple(handle.get_slice(name).get_shape())

    def close(self) -> None:
        """Closes the shards. Safe to call twice."""
        self._file_of = {}
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open_shards(self) -> None:
        for name in shard_names(self.path):
            shard = self.path / name
            try:
                handle = self._stack.enter_context(safe_open(shard, framework="pt"))
                names = list(handle.keys())
                SafetensorsFile(shard).close()  # holds the header to stricter rules
            except FileNotFoundError as error:
                raise ModelBrokenError(
                    f"{shard} is missing: the model folder is incomplete"
                ) from error
            except (SafetensorError, OSError) as error:
                raise ModelBrokenError(f"{shard} cannot be read: {error}") from error
            for tensor_name in names:
                if tensor_name in self._file_of:
                    raise ModelBrokenError(f"{self.path}: two shards hold {tensor_name}")
                self._file_of[tensor_name] = handle

    def _check(self, spec: TensorSpec) -> None:
        """The tensor is there, with the shape that config.json implies."""
        scheme = self.scheme(spec.module) if spec.is_linear else None
        if scheme is None:
            expected = {spec.name: spec.shape}
        else:
            n, k = spec.shape
            expected = {
                f"{spec.module}.weight_packed": (n, -(-k * scheme.bits // 32)),
                f"{spec.module}.weight_scale": (n, int4.num_groups(scheme, k, spec.name)),
            }
        for name, shape in expected.items():
            found = self.stored_shape(name)
            dtype = str(self._file_of[name].get_slice(name).get_dtype())
            allowed = ("I32",) if name.endswith("_packed") else ("F16", "BF16", "F32")
            if dtype not in allowed:
                raise ModelBrokenError(
                    f"{self.path}: {name} holds {dtype}; {' or '.join(allowed)} is needed"
                )
            if found != shape:
                raise ModelBrokenError(
                    f"{self.path}: {name} has shape {list(found)}; config.json asks for "
                    f"{list(shape)}"
                )


def _write_tensors(
    folder: Path,
    config: ModelConfig,
    tensors: Iterable[tuple[str, torch.Tensor]],
    max_shard_bytes: int,
) -> None:
    specs = {spec.name: spec for spec in config.tensors()}
    shard: dict[str, torch.Tensor] = {}
    shards: list[tuple[Path, list[str]]] = []
    total = 0

    def flush() -> None:
        if shard:
            path = folder / f"part-{len(shards)}"
            save_file(shard, path, metadata={"format": "pt"})
            path.chmod(0o644)  # safetensors makes it private; a model folder is to be shared
            _sync(path)
            shards.append((path, list(shard)))
            shard.clear()

    for name, tensor in tensors:
        spec = specs.pop(name, None)
        if spec is None:
            raise ModelBrokenError(f"{name} is not a tensor of this architecture, or came twice")
        stored = _stored(spec, tensor, config)
        size = sum(t.numel() * t.element_size() for t in stored.values())
        held = sum(t.numel() * t.element_size() for t in shard.values())
        if shard and held + size > max_shard_bytes:
            flush()
        shard.update(stored)
        total += size
    if specs:
        raise ModelBrokenError(f"{next(iter(specs))} is missing ({len(specs)} tensors are)")
    flush()
    weight_map: dict[str, str] = {}
    for index, (path, names) in enumerate(shards, 1):
        final = f"model-{index:05d}-of-{len(shards):05d}.safetensors"
        path.rename(folder / final)
        weight_map.update(dict.fromkeys(names, final))
    _write_json(
        folder / INDEX_FILE,
        {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))},
    )


def _stored(spec: TensorSpec, tensor: torch.Tensor, config: ModelConfig) -> dict[str, torch.Tensor]:
    """The tensors that represent `tensor` on disk."""
    if tuple(tensor.shape) != spec.shape:
        raise ModelBrokenError(
            f"{spec.name} has shape {list(tensor.shape)}; config asks for {list(spec.shape)}"
        )
    dtype = _DTYPES[config.dtype]
    tensor = tensor.detach()
    scheme = None
    if spec.is_linear and config.quantization is not None:
        scheme = config.quantization.scheme_for(spec.module)
    if scheme is None:
        int4.require_finite(tensor, spec.name)
        plain = tensor.to(dtype).contiguous()
        int4.require_finite(plain, f"{spec.name} as {config.dtype}")
        return {spec.name: plain.clone()}
    quantized = int4.quantize(tensor, scheme, spec.name, scale_dtype=dtype)
    return {
        f"{spec.module}.weight_packed": int4.pack(quantized.codes, scheme.bits),
        f"{spec.module}.weight_scale": quantized.scales.contiguous(),
        f"{spec.module}.weight_shape": torch.tensor(spec.shape, dtype=torch.int64),
    }


def shard_names(folder: Path) -> list[str]:
    """The safetensors files of a folder, by its index. Raises ModelBrokenError."""
    index = folder / INDEX_FILE
    if not index.exists():
        single = folder / "model.safetensors"
        if single.exists():
            return [single.name]
        if len(found := sorted(folder.glob("*.safetensors"))) == 1:  # as AutoGPTQ names them
            return [found[0].name]
        raise ModelBrokenError(f"{index} is missing: {folder} holds no weights")
    weight_map = read_json_object(index, MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelBrokenError(f"{index}: weight_map is missing or empty")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelBrokenError(f'{index}: "{name}" is not the name of a shard beside it')
    return names


def _listed_files(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / BILIN_FILE
    if not path.exists():
        return {}
    files = read_json_object(path, MAX_INDEX_BYTES).get("files", {})
    whole = isinstance(files, dict) and all(
        Path(name).name == name
        and isinstance(entry, dict)
        and isinstance(entry.get("size_bytes"), int)
        and isinstance(entry.get("sha256"), str)
        for name, entry in files.items()
    )
    if not whole:
        raise ModelBrokenError(f"{path}: files must give size_bytes and sha256 for every name")
    return files


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    _sync(path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
