"""Reads safetensors files of anybody's making: the header is checked whole before anything else.

Rows are read with pread, never mapped, so that memory stays what a block takes. Format: 8 bytes of
header length, JSON of name -> dtype, shape, data_offsets, then the data. Source:
github huggingface/safetensors, README, "Format".
"""

import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from bilin_engine.errors import ModelBrokenError

MAX_HEADER_BYTES = 32 * 1024 * 1024
MAX_NAME_CHARACTERS = 1024
MAX_DIMENSIONS = 8
_DTYPES: dict[str, torch.dtype] = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
# Known to the format, not to us: counted, so that their places can be checked.
_OTHER_BITS = {"F64": 64, "U64": 64, "U32": 32, "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8}


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One tensor of a header. start, stop: bytes after the header. dtype as the file says it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class SafetensorsFile:
    """One opened file. Not thread-safe. Raises ModelBrokenError, naming file and tensor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise ModelBrokenError(f"{path} cannot be read: {error.strerror}") from error
        try:
            size = os.fstat(self._fd).st_size
            self._data_start, header = self._read_header(size)
            self.entries = check_header(header, size - self._data_start, str(path))
        except BaseException:
            self.close()
            raise

    def rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Rows start..stop of a tensor, as stored. Raises ValueError beyond its last."""
        entry = self._entry(name)
        if not 0 <= start <= stop <= entry.shape[0]:
            raise ValueError(f"rows {start} to {stop} of {name}, which has {entry.shape[0]}")
        row = (entry.stop - entry.start) // max(1, entry.shape[0])
        data = self._read(entry.start + start * row, (stop - start) * row)
        values = torch.frombuffer(data, dtype=self._dtype(entry)) if data else torch.empty(0)
        return values.to(self._dtype(entry)).view(stop - start, *entry.shape[1:])

    def columns(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Columns start..stop of a matrix, as stored; read row by row."""
        entry = self._entry(name)
        rows, columns = entry.shape
        dtype = self._dtype(entry)
        size = dtype.itemsize
        out = bytearray()
        for row in range(rows):
            place = entry.start + (row * columns + start) * size
            out += self._read(place, (stop - start) * size)
        return torch.frombuffer(out, dtype=dtype).view(rows, stop - start)

    def close(self) -> None:
        """Closes the file. Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _entry(self, name: str) -> StoredEntry:
        entry = self.entries.get(name)
        if entry is None:
            raise ModelBrokenError(f"{self.path} holds no tensor {name}")
        return entry

    def _dtype(self, entry: StoredEntry) -> torch.dtype:
        dtype = _DTYPES.get(entry.dtype)
        if dtype is None:
            raise ModelBrokenError(
                f"{self.path}: {entry.name} holds {entry.dtype}; {', '.join(_DTYPES)} can be read"
            )
        return dtype

    def _read_header(self, size: int) -> tuple[int, bytes]:
        if size < 8:
            raise ModelBrokenError(f"{self.path} has {size} bytes: no safetensors file")
        (length,) = struct.unpack("<Q", os.pread(self._fd, 8, 0))
        if length > MAX_HEADER_BYTES or length + 8 > size:
            raise ModelBrokenError(
                f"{self.path} announces a header of {length} bytes; the file has {size}, and at "
                f"most {MAX_HEADER_BYTES} are read"
            )
        return 8 + length, os.pread(self._fd, length, 8)

    def _read(self, place: int, size: int) -> bytearray:
        data = bytearray(size)
        view, at = memoryview(data), 0
        while at < size:
            part = os.pread(self._fd, min(size - at, 1 << 30), self._data_start + place + at)
            if not part:
                raise ModelBrokenError(f"{self.path} ends in the middle of its data")
            view[at : at + len(part)] = part
            at += len(part)
        return data


def check_header(header: bytes, data_bytes: int, where: str) -> dict[str, StoredEntry]:
    """The tensors of a header, each within the data, none over another, none left out.

    data_bytes: bytes after the header. Raises ModelBrokenError, naming the tensor.
    """
    try:
        content = json.loads(header)
    except (ValueError, RecursionError) as error:  # ValueError: also bytes that are no UTF-8
        raise ModelBrokenError(f"{where}: the header is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelBrokenError(f"{where}: the header is no JSON object")
    entries = {
        name: _entry(name, value, where)
        for name, value in content.items()
        if name != "__metadata__"
    }
    end = 0
    for entry in sorted(entries.values(), key=lambda e: (e.start, e.stop)):
        if entry.start != end:
            what = "overlaps" if entry.start < end else "leaves a gap after"
            raise ModelBrokenError(
                f"{where}: {_short(entry.name)} begins at byte {entry.start} and {what} the tensor "
                f"before it, which ends at {end}"
            )
        end = entry.stop
    if end != data_bytes:
        raise ModelBrokenError(
            f"{where}: its tensors take {end} bytes and {data_bytes} are there: the file was cut "
            "short or changed"
        )
    return entries


def _entry(name: str, value: object, where: str) -> StoredEntry:
    if len(name) > MAX_NAME_CHARACTERS:
        raise ModelBrokenError(f"{where}: a tensor's name has {len(name)} characters")
    if not isinstance(value, Mapping) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ModelBrokenError(
            f"{where}: {_short(name)} must have dtype, shape and data_offsets, and no more"
        )
    dtype, shape = value["dtype"], value["shape"]
    bits = _bits(dtype)
    if bits is None:
        raise ModelBrokenError(f"{where}: {_short(name)} has the dtype {_short(dtype)}")
    if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise ModelBrokenError(f"{where}: {_short(name)} has the shape {_short(shape)}")
    offsets = value["data_offsets"]
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ModelBrokenError(f"{where}: {_short(name)} has the data_offsets {_short(offsets)}")
    needed = math.prod(shape) * bits // 8
    if offsets[1] - offsets[0] != needed:
        raise ModelBrokenError(
            f"{where}: {_short(name)} takes {offsets[1] - offsets[0]} bytes; {dtype} of shape "
            f"{list(shape)} needs {needed}"
        )
    return StoredEntry(name, dtype, tuple(shape), offsets[0], offsets[1])


def _bits(dtype: object) -> int | None:
    if not isinstance(dtype, str):
        return None
    known = _DTYPES.get(dtype)
    return 8 * known.itemsize if known is not None else _OTHER_BITS.get(dtype)


def _are_sizes(value: Any) -> bool:  # noqa: ANN401 - JSON
    """A list of whole numbers from 0 to 2^53, which a JSON reader keeps exactly."""
    return isinstance(value, list) and all(
        isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= 1 << 53 for n in value
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
