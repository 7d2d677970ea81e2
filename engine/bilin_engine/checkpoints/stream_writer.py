"""Writes safetensors shards of known content row by row, so that a kill costs one block.

All names, dtypes and shapes are known before the first byte: headers are written first, then rows
go to their place. After each block the data is synced, then one line of the journal; opened again,
the writer knows which rows are safe. The same blocks give the same bytes, interrupted or not.
"""

import contextlib
import errno
import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from bilin_engine import processes
from bilin_engine.checkpoints.model_folder import INDEX_FILE
from bilin_engine.errors import BadRequestError, DiskFullError

JOURNAL_FILE = "journal.jsonl"
_DTYPE_NAMES = {
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.int8: "I8",
    torch.int32: "I32",
    torch.int64: "I64",
}
_ALIGNMENT = 8


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of the result."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of its data."""
        size = self.dtype.itemsize
        for length in self.shape:
            size *= length
        return size


@dataclass(frozen=True, slots=True)
class _Place:
    shard: int
    offset: int  # of the tensor's data in its file
    row_bytes: int
    tensor: StoredTensor


class StreamWriter:
    """Shards in a folder, filled block by block. Not thread-safe.

    Rows of a tensor are written in order; `rows_done` says where to go on. sums: of what was given
    with every block.
    """

    def __init__(
        self,
        folder: Path,
        tensors: Sequence[StoredTensor],
        *,
        fingerprint: str,
        max_shard_bytes: int = 4 * 1024**3,
    ) -> None:
        """Opens `folder`, going on with what an earlier writer left there.

        fingerprint: says what is being written from what; a journal with another one is refused.
        Raises BadRequestError for a folder with other work in it, DiskFullError before the first
        byte when the disk cannot hold the rest.
        """
        self.folder = folder
        self._shards = _divide(tensors, max_shard_bytes)
        self._places: dict[str, _Place] = {}
        self._files: list[int] = []
        self._rows_done: dict[str, int] = {}
        self.sums = (0.0, 0.0)
        self._journal_fd = -1
        headers = [_header(shard) for shard in self._shards]
        for index, (shard, header) in enumerate(zip(self._shards, headers, strict=True)):
            offset = len(header)
            for tensor in shard:
                row_bytes = tensor.size_bytes // max(1, tensor.shape[0])
                self._places[tensor.name] = _Place(index, offset, row_bytes, tensor)
                offset += tensor.size_bytes
        try:
            self._open(fingerprint, headers)
        except BaseException:
            self.close()
            raise

    @property
    def num_shards(self) -> int:
        """Files of weights in the result."""
        return len(self._shards)

    def shard_of(self, name: str) -> int:
        """Which of them holds a tensor, from 0. Raises KeyError for an unknown one."""
        return self._places[name].shard

    def rows_done(self, key: str) -> int:
        """Rows of the unit `key` that are safely on disk (the key given to `write`)."""
        return self._rows_done.get(key, 0)

    def write(
        self,
        key: str,
        start: int,
        parts: dict[str, torch.Tensor],
        sums: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Writes rows from `start` on of each tensor in `parts` and journals them under `key`.

        All parts have the same number of rows. sums: added to `self.sums`, also when a later writer
        goes on. Raises DiskFullError; what is journalled stays.
        """
        rows = 0
        shards: set[int] = set()
        with _disk_errors(self.folder):
            for name, rows_of_tensor in parts.items():
                place = self._places[name]
                rows = rows_of_tensor.shape[0]
                expected = (rows, *place.tensor.shape[1:])
                if tuple(rows_of_tensor.shape) != expected:
                    raise ValueError(
                        f"{name}: a block of shape {list(rows_of_tensor.shape)} does not fit rows "
                        f"of {list(place.tensor.shape)}"
                    )
                data = rows_of_tensor.to(place.tensor.dtype).contiguous().view(torch.uint8)
                _write_all(
                    self._files[place.shard],
                    data.numpy().data.cast("B"),
                    place.offset + start * place.row_bytes,
                )
                shards.add(place.shard)
            for shard in shards:
                os.fdatasync(self._files[shard])
            self._append_journal({"key": key, "rows": start + rows, "sums": sums})
        self._done(key, start + rows, sums)

    def finish(self) -> None:
        """Writes the index: the shards are whole. The journal stays, for the caller to remove."""
        weight_map = {
            tensor.name: self._shard_name(index)
            for index, shard in enumerate(self._shards)
            for tensor in shard
        }
        total = sum(tensor.size_bytes for shard in self._shards for tensor in shard)
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        with _disk_errors(self.folder):
            (self.folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", "utf-8")
        self.close()

    def close(self) -> None:
        """Closes the files; a later writer can go on. Safe to call twice."""
        for fd in self._files:
            os.close(fd)
        self._files = []
        if self._journal_fd >= 0:
            os.close(self._journal_fd)
            self._journal_fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, fingerprint: str, headers: list[bytes]) -> None:
        journal = self.folder / JOURNAL_FILE
        entries, journal_bytes = _read_journal(journal)
        resumes = bool(entries)
        if resumes and entries[0].get("fingerprint") != fingerprint:
            raise BadRequestError(
                f"{self.folder} holds the unfinished work of another conversion; finish that one "
                "with the same settings, or remove the folder"
            )
        total = sum(len(h) for h in headers) + sum(
            tensor.size_bytes for shard in self._shards for tensor in shard
        )
        with _disk_errors(self.folder):
            held = sum(p.stat().st_blocks * 512 for p in self.folder.iterdir()) if resumes else 0
            free = processes.disk_free_bytes(self.folder)
            if total - held > free:
                raise DiskFullError(
                    f"{self.folder.parent} has {processes.size_text(free)} free; "
                    f"{processes.size_text(total - held)} are needed. Free some space or choose "
                    "another disk; nothing was written"
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            self._journal_fd = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            if not processes.lock_file(self._journal_fd):
                raise BadRequestError(f"{self.folder} is being written by another conversion")
            os.ftruncate(self._journal_fd, journal_bytes)
            for index, header in enumerate(headers):
                path = self.folder / self._shard_name(index)
                fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
                self._files.append(fd)
                _write_all(fd, memoryview(header), 0)
                data = sum(tensor.size_bytes for tensor in self._shards[index])
                os.ftruncate(fd, len(header) + data)
                os.fsync(fd)
            if not resumes:
                self._append_journal({"fingerprint": fingerprint})
        for entry in entries[1:]:
            self._done(str(entry["key"]), int(entry["rows"]), entry["sums"])

    def _done(self, key: str, rows: int, sums: Sequence[float]) -> None:
        self._rows_done[key] = rows
        self.sums = (self.sums[0] + float(sums[0]), self.sums[1] + float(sums[1]))

    def _shard_name(self, index: int) -> str:
        return f"model-{index + 1:05d}-of-{len(self._shards):05d}.safetensors"

    def _append_journal(self, entry: dict[str, Any]) -> None:
        _write_fully(self._journal_fd, json.dumps(entry).encode() + b"\n")
        os.fdatasync(self._journal_fd)


def _divide(tensors: Sequence[StoredTensor], max_shard_bytes: int) -> list[list[StoredTensor]]:
    shards: list[list[StoredTensor]] = []
    size = 0
    for tensor in tensors:
        if not shards or size + tensor.size_bytes > max_shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.size_bytes
    return shards


def _header(shard: Sequence[StoredTensor]) -> bytes:
    """The safetensors header: its length in 8 bytes, then JSON padded with spaces."""
    content: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in shard:
        content[tensor.name] = {
            "dtype": _DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.size_bytes],
        }
        offset += tensor.size_bytes
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return struct.pack("<Q", len(text)) + text


def _read_journal(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The whole lines of a journal and their bytes; a last line cut by a kill is left out."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    entries: list[dict[str, Any]] = []
    size = 0
    for line in content.splitlines(keepends=True):
        try:
            entry = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            break
        entries.append(entry)
        size += len(line)
    return entries, size


def _write_all(fd: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data = data[written:]
        offset += written


def _write_fully(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


@contextlib.contextmanager
def _disk_errors(folder: Path):  # noqa: ANN202 - a context manager's generator
    """Turns a full disk and refused access into their sentences."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"the disk of {folder.parent} is full; free some space and go on: nothing that was "
                "converted so far is lost"
            ) from error
        raise BadRequestError(f"{folder} cannot be written: {error.strerror}") from error
