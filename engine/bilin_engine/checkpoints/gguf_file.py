"""Reads GGUF files of anybody's making: the header is checked whole before anything else.

Counts, lengths and offsets are compared with what the file holds before memory is taken for them,
so that a hostile header costs a bounded time and a sentence. What the `gguf` package reads beyond
that, the layouts of quantized blocks, is the importer's business: this module needs neither it nor
torch, so that the supervisor can look at a file too. Format, little-endian: magic, version, number
of tensors and of metadata entries, the entries, the tensors' descriptions, padding, data. Source:
github ggml-org/ggml, docs/gguf.md.
"""

import math
import os
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bilin_engine.errors import BadRequestError, ModelBrokenError, UnsupportedModelError

SUFFIX = ".gguf"
MAX_HEADER_BYTES = 64 * 1024 * 1024  # the largest published vocabularies take 16
MAX_ENTRIES = 1 << 16
MAX_ARRAY_LENGTH = 1 << 20
MAX_ITEMS = 1 << 22  # of all lists together
MAX_KEY_BYTES = 1024
MAX_TEXT_BYTES = 4 * 1024 * 1024
MAX_DIMENSIONS = 4
MAX_PARTS = 4096
_CHUNK_BYTES = 1 << 20
_MAGIC = b"GGUF"
_DEFAULT_ALIGNMENT = 32
_MAX_ALIGNMENT = 1 << 16

GgufValue = int | float | bool | str | Sequence[int] | Sequence[float] | Sequence[str]

# Values in a block, and bytes it takes: what can be imported.
BLOCKS: dict[str, tuple[int, int]] = {
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "Q4_0": (32, 18),
    "Q4_1": (32, 20),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "Q8_0": (32, 34),
    "Q4_K": (256, 144),
    "Q5_K": (256, 176),
    "Q6_K": (256, 210),
}
# Names of ggml's types by number; those without a place in BLOCKS are refused by name.
_TYPE_NAMES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1",
    10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS",
    17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S",
    23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 30: "BF16",
    34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
            12: "d"}  # fmt: skip
_TEXT, _ARRAY = 8, 9
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor. type: a key of BLOCKS. shape: rows first, as torch has it, not as the file.

    start, stop: bytes in the file.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, of the whole for a vector."""
        return (self.stop - self.start) // (self.shape[0] if len(self.shape) > 1 else 1)


class GgufFile:
    """One opened file. Not thread-safe.

    Raises ModelBrokenError, naming file and place, for what contradicts itself, and
    UnsupportedModelError for versions and types of tensors that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise ModelBrokenError(f"{path} cannot be read: {error.strerror}") from error
        try:
            self.size_bytes = os.fstat(self._fd).st_size
            header = Header(
                lambda size, at: os.pread(self._fd, size, at), self.size_bytes, str(path)
            )
            self.metadata, self.tensors = read_header(header)
        except BaseException:
            self.close()
            raise

    def read(self, tensor: GgufTensor, start: int, stop: int) -> bytearray:
        """The bytes of rows start..stop; of a vector everything."""
        row = tensor.row_bytes
        place, size = tensor.start + start * row, (stop - start) * row
        if len(tensor.shape) < 2:
            place, size = tensor.start, row
        data = bytearray(size)
        view, done = memoryview(data), 0
        while done < size:
            part = os.pread(self._fd, min(size - done, 1 << 30), place + done)
            if not part:
                raise ModelBrokenError(f"{self.path} ends in the middle of {tensor.name}")
            view[done : done + len(part)] = part
            done += len(part)
        return data

    def close(self) -> None:
        """Closes the file. Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class GgufModel:
    """A model in one file, or in parts named `…-00001-of-0000N.gguf`. Not thread-safe.

    Attributes:
        metadata: of the first part. tensors: by name, of all parts.
    """

    def __init__(self, path: Path) -> None:
        """path: the file, or the first of its parts.

        Raises as `GgufFile`, and BadRequestError for a part that is not the first.
        """
        self.path = path
        self._stack = ExitStack()
        self._file_of: dict[str, GgufFile] = {}
        self.tensors: dict[str, GgufTensor] = {}
        try:
            self.files = [self._opened(part) for part in parts_of(path)]
            self.metadata: Mapping[str, GgufValue] = self.files[0].metadata
            self._check_parts()
        except BaseException:
            self.close()
            raise

    def read(self, name: str, start: int, stop: int) -> bytearray:
        """The bytes of rows start..stop of a tensor; of a vector everything."""
        return self._file_of[name].read(self.tensors[name], start, stop)

    def close(self) -> None:
        """Closes the files. Safe to call twice."""
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

    def _opened(self, path: Path) -> GgufFile:
        file = GgufFile(path)
        self._stack.callback(file.close)
        for name, tensor in file.tensors.items():
            if name in self.tensors:
                raise ModelBrokenError(f"{path}: another part holds {shown(name)} already")
            self.tensors[name], self._file_of[name] = tensor, file
        return file

    def _check_parts(self) -> None:
        count, tensors = (self.metadata.get(f"split.{k}") for k in ("count", "tensors.count"))
        if isinstance(count, int) and count > 0 and count != len(self.files):
            raise ModelBrokenError(
                f"{self.path} is one of {count} parts by its metadata and one of "
                f"{len(self.files)} by its name; parts keep the names they were made with"
            )
        if len(self.files) > 1 and isinstance(tensors, int) and tensors != len(self.tensors):
            raise ModelBrokenError(
                f"{self.path}: the parts hold {len(self.tensors)} tensors instead of {tensors}"
            )


def parts_of(path: Path) -> list[Path]:
    """The files of the model that `path` is, or is the first part of.

    Raises BadRequestError for a later part, ModelBrokenError naming a part that is missing.
    """
    match = _PART.fullmatch(path.name)
    if match is None:
        return [path]
    stem, number, count = match[1], int(match[2]), int(match[3])
    if not 1 <= count <= MAX_PARTS:
        raise ModelBrokenError(
            f"{path} is one of {count} parts by its name; 1 to {MAX_PARTS} can be"
        )
    if number != 1:
        raise BadRequestError(
            f"{path.name} is part {number} of {count}; choose the first, "
            f"{stem}-00001-of-{count:05d}{SUFFIX}"
        )
    parts = [path.with_name(f"{stem}-{i + 1:05d}-of-{count:05d}{SUFFIX}") for i in range(count)]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise ModelBrokenError(f"{missing[0]} is missing in {path.parent}: all parts are needed")
    return parts


def models_among(names: Sequence[str]) -> list[str]:
    """The GGUF models among the files of a folder: whole ones, and first parts."""
    found = []
    for name in sorted(names):
        match = _PART.fullmatch(name)
        if name.endswith(SUFFIX) and (match is None or int(match[2]) == 1):
            found.append(name)
    return found


class Header:
    """Takes values off the beginning of a file, a chunk of which is read when it is needed."""

    def __init__(self, read: Callable[[int, int], bytes], size: int, where: str) -> None:
        """read: (size, place) -> bytes. size: of the file."""
        self._read = read
        self._held = bytearray()
        self._limit = min(size, MAX_HEADER_BYTES)
        self.size = size
        self.where = where
        self.at = 0
        self.num_items = 0

    def need(self, size: int, what: str) -> None:
        """Raises ModelBrokenError unless the header can hold `size` bytes more."""
        if size <= self._limit - self.at:
            return
        if self.size > MAX_HEADER_BYTES:
            reason = f"at most {MAX_HEADER_BYTES} bytes of header are read"
        else:
            reason = f"the file ends at byte {self.size}: it was cut short or damaged"
        raise ModelBrokenError(
            f"{self.where}: {what} at byte {self.at} takes {size} bytes; {reason}"
        )

    def take(self, size: int, what: str) -> bytes:
        """The next bytes."""
        self.need(size, what)
        start, self.at = self.at, self.at + size
        if self.at > len(self._held):
            self._fill(self.at, what)
        return bytes(self._held[start : self.at])

    def _fill(self, end: int, what: str) -> None:
        while len(self._held) < end:
            place = len(self._held)
            part = self._read(min(max(_CHUNK_BYTES, end - place), self._limit - place), place)
            if not part:
                raise ModelBrokenError(f"{self.where} ends at byte {place}, within {what}")
            self._held += part

    def number(self, code: str, what: str) -> int:
        """One value of a struct code."""
        (value,) = struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}"), what))
        return value

    def text(self, limit: int, what: str) -> str:
        """A string: its length, then UTF-8."""
        size = self.number("Q", what)
        if size > limit:
            raise ModelBrokenError(
                f"{self.where}: {what} is {size} bytes long; at most {limit} are read"
            )
        try:
            return self.take(size, what).decode()
        except UnicodeDecodeError as error:
            raise ModelBrokenError(f"{self.where}: {what} is not UTF-8: {error}") from error

    def texts(self, count: int, what: str) -> list[str]:
        """Strings one after another: `text` in a loop, which vocabularies pass 300,000 times."""
        found: list[str] = []
        held, at = self._held, self.at
        try:
            for _ in range(count):
                if at + 8 > len(held):
                    self.at = at
                    self.need(8, what)
                    self._fill(at + 8, what)
                size = int.from_bytes(held[at : at + 8], "little")
                at += 8
                if at + size > len(held):
                    self.at = at
                    self.need(size, what)
                    self._fill(at + size, what)
                found.append(held[at : at + size].decode())
                at += size
        except UnicodeDecodeError as error:
            raise ModelBrokenError(f"{self.where}: {what} is not UTF-8: {error}") from error
        self.at = at
        return found


def header_of(data: bytes, size: int, where: str) -> Header:
    """A header that lies in memory. size: of the whole file."""
    return Header(lambda count, at: data[at : at + count], size, where)


def read_header(header: Header) -> tuple[dict[str, GgufValue], dict[str, GgufTensor]]:
    """Metadata and tensors, each tensor within the file and none over another.

    Raises ModelBrokenError and UnsupportedModelError as `GgufFile`.
    """
    where = header.where
    if header.take(4, "the magic") != _MAGIC:
        raise ModelBrokenError(f"{where} is no GGUF file: it does not begin with GGUF")
    version = header.number("I", "the version")
    if version not in (2, 3):
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        what = f"big-endian, version {swapped}" if swapped in (2, 3) else f"version {version}"
        raise UnsupportedModelError(
            f"{where} is GGUF, {what}; versions 2 and 3, little-endian, can be read"
        )
    num_tensors = header.number("Q", "the number of tensors")
    num_entries = header.number("Q", "the number of metadata entries")
    for count, what in ((num_tensors, "tensors"), (num_entries, "metadata entries")):
        if count > MAX_ENTRIES:
            raise ModelBrokenError(
                f"{where} announces {count} {what}; at most {MAX_ENTRIES} are read"
            )
    metadata: dict[str, GgufValue] = {}
    for _ in range(num_entries):
        key = header.text(MAX_KEY_BYTES, "a metadata key")
        if key in metadata:
            raise ModelBrokenError(f"{where} has the metadata key {shown(key)} twice")
        metadata[key] = _value(header, key)
    described = [_description(header) for _ in range(num_tensors)]
    data_start = _aligned(header.at, _alignment(metadata, where))
    return metadata, _placed(described, data_start, _alignment(metadata, where), header)


def _value(header: Header, key: str) -> GgufValue:
    what = f"the value of {shown(key)}"
    kind = header.number("I", what)
    if kind == _TEXT:
        return header.text(MAX_TEXT_BYTES, what)
    if kind in _SCALARS:
        return header.number(_SCALARS[kind], what)
    if kind != _ARRAY:
        raise UnsupportedModelError(
            f"{header.where}: {what} has the type {kind}, which GGUF did not have when this "
            "version of Bilin was made"
        )
    inner = header.number("I", what)
    count = header.number("Q", what)
    if inner == _ARRAY or (inner != _TEXT and inner not in _SCALARS):
        raise UnsupportedModelError(f"{header.where}: {what} is a list of type {inner}")
    header.num_items += count
    if count > MAX_ARRAY_LENGTH or header.num_items > MAX_ITEMS:
        raise ModelBrokenError(
            f"{header.where}: {what} has {count} items; at most {MAX_ARRAY_LENGTH} are read, and "
            f"{MAX_ITEMS} of all lists"
        )
    if inner == _TEXT:
        header.need(8 * count, what)
        return header.texts(count, what)
    code = f"<{count}{_SCALARS[inner]}"
    return struct.unpack(code, header.take(struct.calcsize(code), what))


@dataclass(frozen=True, slots=True)
class _Description:
    name: str
    type: str
    shape: tuple[int, ...]
    offset: int  # after the beginning of the data
    size: int


def _description(header: Header) -> _Description:
    where = header.where
    name = header.text(MAX_KEY_BYTES, "a tensor's name")
    what = f"the tensor {shown(name)}"
    num_dimensions = header.number("I", what)
    if not 1 <= num_dimensions <= MAX_DIMENSIONS:
        raise ModelBrokenError(
            f"{where}: {what} has {num_dimensions} dimensions; 1 to {MAX_DIMENSIONS} can be"
        )
    shape = tuple(header.number("Q", what) for _ in range(num_dimensions))[::-1]
    number = header.number("I", what)
    offset = header.number("Q", what)
    kind = _TYPE_NAMES.get(number, f"the unknown type {number}")
    if kind not in BLOCKS:
        raise UnsupportedModelError(
            f"{where}: {what} holds {kind}; {', '.join(BLOCKS)} can be imported. Take another "
            "file of the same model, Q8_0 or F16 where there is one"
        )
    values, size = BLOCKS[kind]
    if not all(0 < n < 1 << 40 for n in shape) or math.prod(shape) >= 1 << 48:
        raise ModelBrokenError(f"{where}: {what} has the shape {list(shape)}")
    if shape[-1] % values:
        raise ModelBrokenError(
            f"{where}: {what} has rows of {shape[-1]} values; {kind} needs multiples of {values}"
        )
    return _Description(name, kind, shape, offset, math.prod(shape) // values * size)


def _placed(
    described: list[_Description], data_start: int, alignment: int, header: Header
) -> dict[str, GgufTensor]:
    """The tensors where they lie; each begins where the one before it ends, but for padding."""
    where, end = header.where, 0
    tensors: dict[str, GgufTensor] = {}
    for item in sorted(described, key=lambda d: d.offset):
        expected = _aligned(end, alignment)
        if item.name in tensors:
            raise ModelBrokenError(f"{where} holds two tensors {shown(item.name)}")
        if item.offset != expected:
            what = "overlaps" if item.offset < end else "leaves a gap after"
            raise ModelBrokenError(
                f"{where}: {shown(item.name)} begins at byte {item.offset} of the data and {what} "
                f"the tensor before it; {expected} would be right"
            )
        end = item.offset + item.size
        start = data_start + item.offset
        tensors[item.name] = GgufTensor(item.name, item.type, item.shape, start, start + item.size)
    if data_start + end > header.size:
        raise ModelBrokenError(
            f"{where}: its tensors end at byte {data_start + end} and the file at {header.size}: "
            "it was cut short"
        )
    return tensors


def _alignment(metadata: Mapping[str, GgufValue], where: str) -> int:
    value = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or not 1 <= value <= _MAX_ALIGNMENT
        or value & (value - 1)
    ):
        raise ModelBrokenError(
            f"{where}: general.alignment is {shown(value)}; a power of two up to "
            f"{_MAX_ALIGNMENT} is needed"
        )
    return value


def _aligned(place: int, alignment: int) -> int:
    return -(-place // alignment) * alignment


def shown(value: object) -> str:
    """A value as a message shows it, at most 80 characters."""
    if isinstance(value, str | list | tuple):
        value = value[:80]
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
