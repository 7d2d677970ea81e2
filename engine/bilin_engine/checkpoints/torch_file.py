"""Reads the tensors of a `torch.save` file without running anything in it.

A pickle is a program: it may name any function and call it. Here no name is ever looked up. Tensor
rebuilders and storage types become records; every other global becomes an inert placeholder that
remembers its name and swallows what would be done with it. Whoever takes a part of the file that
holds a placeholder is refused with its name. To be used in a process of its own all the same.

Only the zip format (PyTorch 1.6 and later) is read; its storages lie in the file as plain bytes
and are mapped, so a 32 GB file costs no anonymous memory.
"""

import io
import logging
import math
import mmap
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from bilin_engine.errors import ModelBrokenError, UnsupportedModelError

logger = logging.getLogger(__name__)

MAX_PICKLE_BYTES = 256 * 1024 * 1024
MAX_DIMENSIONS = 8
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # APPNOTE.TXT 4.3.7
_STORAGE_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}


@dataclass(frozen=True, slots=True)
class _StorageType:
    name: str
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class _Storage:
    """One storage of the archive: `key` names its entry `data/<key>`."""

    key: str
    dtype: torch.dtype
    num_elements: int


class InertGlobal:
    """Stands for a global the pickle named. Calling it or filling its instances does nothing.

    The unpickler needs a class (for NEWOBJ) that is callable (for REDUCE): each name gets a
    subclass of its own.
    """

    global_name = ""

    def __new__(cls, *_args: object, **_kwargs: object) -> Self:
        """An inert instance, whatever the arguments."""
        return super().__new__(cls)

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass

    def __setitem__(self, _key: object, _value: object) -> None:
        pass

    def append(self, _value: object) -> None:
        """Swallows list items."""

    def extend(self, _values: object) -> None:
        """Swallows list items."""

    def add(self, _value: object) -> None:
        """Swallows set items."""


@dataclass(frozen=True, slots=True)
class TensorView:
    """A tensor of the file. `read` copies a part of it out of the mapping.

    offset and strides count elements, as torch's do.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    _storage: torch.Tensor

    def read(self, rows: slice = slice(None)) -> torch.Tensor:
        """A copy of the rows (axis 0) asked for."""
        whole = self._storage.as_strided(self.shape, self.strides, self.offset)
        return (whole[rows] if self.shape else whole).clone(memory_format=torch.contiguous_format)


@dataclass(frozen=True, slots=True)
class _TensorRecord:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class TorchFile:
    """An opened `torch.save` file.

    Attributes:
        inert_globals: names the pickle wanted and did not get, in the order met.
    """

    def __init__(self, path: Path) -> None:
        """Maps `path` and reads its pickle.

        Raises ModelBrokenError (damaged or not a torch file) or UnsupportedModelError (old format,
        compressed entries, big-endian data), each naming the file.
        """
        self.path = path
        self.inert_globals: list[str] = []
        self._mapping: mmap.mmap | None = None
        try:
            with path.open("rb") as file:
                head = file.read(4)
                if head[:2] != b"PK":
                    raise UnsupportedModelError(_not_a_zip(path, head))
                self._mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self._read_archive(file)
        except OSError as error:
            self.close()
            raise ModelBrokenError(f"{path} cannot be read: {error.strerror}") from error
        except (zipfile.BadZipFile, struct.error) as error:
            self.close()
            message = f"{path} is damaged or was cut short: {error}"
            raise ModelBrokenError(message) from error
        except BaseException:
            self.close()
            raise

    def tensors(self, key: str) -> dict[str, TensorView]:
        """The tensors of the dict under `key`, nested dicts joined by dots.

        Raises ModelBrokenError if there is no such dict, UnsupportedModelError naming any global
        in it that is not a tensor's.
        """
        if isinstance(self._root, InertGlobal):
            raise UnsupportedModelError(self._refusal("", self._root))
        if not isinstance(self._root, Mapping) or not isinstance(
            self._root.get(key), Mapping | InertGlobal
        ):
            raise ModelBrokenError(
                f'{self.path} holds no dictionary "{key}": it is not a model checkpoint of the '
                "expected layout"
            )
        found: dict[str, TensorView] = {}
        self._collect(self._root[key], key, "", found)
        return found

    def close(self) -> None:
        """Forgets the mapping; views handed out stay valid until they are dropped."""
        self._mapping = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _collect(self, node: object, where: str, prefix: str, found: dict[str, TensorView]) -> None:
        """Walks dicts and lists (a stack of our own: depth comes from the file)."""
        stack: list[tuple[object, str]] = [(node, prefix)]
        seen: set[int] = set()
        while stack:
            value, name = stack.pop()
            if isinstance(value, InertGlobal) or (
                isinstance(value, type) and issubclass(value, InertGlobal)
            ):
                raise UnsupportedModelError(self._refusal(f"{where}.{name}".rstrip("."), value))
            if isinstance(value, _TensorRecord):
                found[name] = self._view(value, name)
            elif isinstance(value, Mapping | list | tuple):
                if id(value) in seen:
                    continue
                seen.add(id(value))
                items = value.items() if isinstance(value, Mapping) else enumerate(value)
                for key, item in items:
                    if isinstance(key, InertGlobal):
                        raise UnsupportedModelError(self._refusal(f"{where}.{name}", key))
                    stack.append((item, f"{name}.{key}" if name else str(key)))

    def _refusal(self, where: str, value: object) -> str:
        name = getattr(value, "global_name", "?")
        place = f" under {where}" if where else ""
        return (
            f'{self.path} wants to use "{name}"{place}. A checkpoint needs tensors only, so it '
            "was refused and nothing was run"
        )

    def _read_archive(self, file: io.BufferedReader) -> None:
        with zipfile.ZipFile(file) as archive:
            self._entries = {info.filename: info for info in archive.infolist()}
            pickles = [name for name in self._entries if name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise ModelBrokenError(
                    f"{self.path} is a zip file with {len(pickles)} data.pkl entries; a torch file "
                    "has one"
                )
            self._prefix = pickles[0].removesuffix("data.pkl")
            order = self._entries.get(f"{self._prefix}byteorder")
            if order is not None and self._bytes(order, 16) != b"little":
                raise UnsupportedModelError(f"{self.path} was written on a big-endian machine")
            content = self._bytes(self._entries[pickles[0]], MAX_PICKLE_BYTES)
        self._root = _Unpickler(content, self).load_root()
        if self.inert_globals:
            logger.info(
                "%s names %d globals that were not used: %s",
                self.path.name,
                len(self.inert_globals),
                ", ".join(self.inert_globals[:20]),
            )

    def _bytes(self, info: zipfile.ZipInfo, limit: int) -> bytes:
        """The content of a stored entry, by its place in the mapping."""
        if info.file_size > limit:
            raise ModelBrokenError(
                f"{self.path}: {info.filename} has {info.file_size} bytes; at most {limit} expected"
            )
        start = self._data_start(info)
        assert self._mapping is not None
        return self._mapping[start : start + info.file_size]

    def _data_start(self, info: zipfile.ZipInfo) -> int:
        assert self._mapping is not None
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise UnsupportedModelError(
                f"{self.path}: {info.filename} is compressed or encrypted; torch files are stored"
            )
        header = self._mapping[info.header_offset : info.header_offset + _LOCAL_HEADER.size]
        fields = _LOCAL_HEADER.unpack(header)
        start = info.header_offset + _LOCAL_HEADER.size + fields[-2] + fields[-1]
        if fields[0] != b"PK\x03\x04" or start + info.file_size > len(self._mapping):
            raise ModelBrokenError(f"{self.path}: {info.filename} lies outside the file")
        return start

    def _view(self, record: _TensorRecord, name: str) -> TensorView:
        storage = record.storage
        info = self._entries.get(f"{self._prefix}data/{storage.key}")
        itemsize = storage.dtype.itemsize
        if info is None or info.file_size != storage.num_elements * itemsize:
            size = "no" if info is None else str(info.file_size)
            raise ModelBrokenError(
                f"{self.path}: {name} needs {storage.num_elements * itemsize} bytes; the file has "
                f"{size}"
            )
        last = record.offset + sum(
            (size - 1) * stride for size, stride in zip(record.shape, record.strides, strict=True)
        )
        if math.prod(record.shape) and last >= storage.num_elements:
            raise ModelBrokenError(f"{self.path}: {name} reaches past its storage")
        assert self._mapping is not None
        start = self._data_start(info)
        if storage.num_elements == 0:
            whole = torch.empty(0, dtype=storage.dtype)
        else:
            # A read-only buffer is enough: views are only ever copied from.
            whole = _frombuffer(self._mapping, storage.dtype, storage.num_elements, start)
        return TensorView(storage.dtype, record.shape, record.strides, record.offset, whole)


class _Unpickler(pickle.Unpickler):
    """Builds records and placeholders; never imports, never calls a global."""

    def __init__(self, content: bytes, owner: TorchFile) -> None:
        super().__init__(io.BytesIO(content), encoding="utf-8")
        self._owner = owner
        self._inert: dict[str, type[InertGlobal]] = {}

    def load_root(self) -> object:
        """The top object. Raises ModelBrokenError for a pickle that is damaged."""
        try:
            return self.load()
        except (ModelBrokenError, UnsupportedModelError):
            raise
        except MemoryError as error:
            raise ModelBrokenError(f"{self._owner.path}: its pickle asks for too much") from error
        except Exception as error:
            message = f"{self._owner.path}: its pickle is damaged ({type(error).__name__}: {error})"
            raise ModelBrokenError(message) from error

    def find_class(self, module_name: str, global_name: str) -> Any:  # noqa: ANN401 - as pickle's
        """What a global stands for. Nothing is imported."""
        name = f"{module_name}.{global_name}"
        rebuild = _REBUILDERS.get(name)
        if rebuild is not None:
            return rebuild
        if module_name in ("torch", "torch.storage") and global_name in _STORAGE_DTYPES:
            return _StorageType(global_name, _STORAGE_DTYPES[global_name])
        if name not in self._inert:
            self._inert[name] = type("Inert", (InertGlobal,), {"global_name": name})
            self._owner.inert_globals.append(name)
        return self._inert[name]

    def persistent_load(self, pid: Any) -> _Storage:  # noqa: ANN401 - as pickle's
        """('storage', type, key, location, number of elements) -> a record."""
        if (
            isinstance(pid, tuple)
            and len(pid) == 5
            and pid[0] == "storage"
            and isinstance(pid[1], _StorageType)
            and isinstance(pid[2], str)
            and isinstance(pid[4], int)
            and pid[4] >= 0
        ):
            return _Storage(pid[2], pid[1].dtype, pid[4])
        kind = getattr(pid[1], "global_name", pid[1]) if isinstance(pid, tuple) else pid
        raise UnsupportedModelError(f"{self._owner.path}: storage of an unknown kind ({kind!r})")


def _rebuild_tensor(
    storage: object, offset: object, shape: object, strides: object, *_rest: object
) -> _TensorRecord:
    """torch._utils._rebuild_tensor_v2's record: checked, nothing allocated."""
    numbers = (shape, strides)
    if (
        not isinstance(storage, _Storage)
        or not isinstance(offset, int)
        or offset < 0
        or not all(isinstance(t, tuple) and len(t) <= MAX_DIMENSIONS for t in numbers)
    ):
        raise ModelBrokenError("a tensor record is malformed")
    assert isinstance(shape, tuple)
    assert isinstance(strides, tuple)
    whole = all(isinstance(number, int) and number >= 0 for number in shape + strides)
    if not whole or len(shape) != len(strides):
        raise ModelBrokenError(f"a tensor record has shape {shape!r} and strides {strides!r}")
    return _TensorRecord(storage, offset, shape, strides)


def _rebuild_parameter(data: object, *_rest: object) -> object:
    """torch._utils._rebuild_parameter: the tensor itself."""
    return data


_REBUILDERS: dict[str, Callable[..., object]] = {
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "collections.OrderedDict": OrderedDict,
}


def _frombuffer(buffer: mmap.mmap, dtype: torch.dtype, count: int, offset: int) -> torch.Tensor:
    import warnings

    with warnings.catch_warnings():
        # torch warns that the buffer is not writable; nothing here writes.
        warnings.simplefilter("ignore", UserWarning)
        return torch.frombuffer(buffer, dtype=dtype, count=count, offset=offset)


def _not_a_zip(path: Path, head: bytes) -> str:
    if head[:1] == b"\x80":
        return (
            f"{path} is in PyTorch's old file format, which cannot be read safely in part. Re-save "
            "it where you trust it: "
            f'python -c "import torch; f = {str(path)!r}; '
            "torch.save(torch.load(f, map_location='cpu', weights_only=True), f + '.new')\""
        )
    return f"{path} is no PyTorch file: it begins with {head!r}"
