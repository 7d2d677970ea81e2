"""Packed samples: one file of uint16 records, one of their starts. Read by memory map.

samples.u16        the records, as `samples.pack` makes them
samples.npz        starts, lengths, num_targets; sha256 of the records, absent from older ones
"""

import hashlib
import zipfile
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bilin_engine.pretrain.samples import Sample, pack, unpack
from bilin_engine.whole_file import file_sha256

_INDEX_FILE = "samples.npz"
_RECORDS_FILE = "samples.u16"
_AGAIN = "`python -m bilin_engine.pretrain render` writes it anew"


@dataclass(frozen=True, slots=True)
class SampleStore:
    """The samples of a folder. lengths: input tokens; num_targets: tokens with loss, of each.

    sha256: of the records' file as it was written, "" for unknown.
    """

    folder: Path
    records: NDArray[np.uint16]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int32]
    num_targets: NDArray[np.int32]
    sha256: str

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Sample:
        return unpack(self.records[self.starts[index] : self.starts[index + 1]])

    def __reduce__(self) -> tuple[Callable[[Path], "SampleStore"], tuple[Path]]:
        """Another process maps the files again instead of being sent their content."""
        return SampleStore.open, (self.folder,)

    @property
    def index(self) -> Path:
        """The file of starts and lengths, which says by its sha256 which samples these are."""
        return self.folder / _INDEX_FILE

    def require_intact(self) -> None:
        """Reads the records' file whole. Raises ValueError where it is not what was written."""
        records = self.folder / _RECORDS_FILE
        if self.sha256 and self.sha256 != file_sha256(records):
            message = f"{records} is damaged: {_INDEX_FILE} says another sha256; {_AGAIN}"
            raise ValueError(message)

    @classmethod
    def open(cls, folder: Path) -> "SampleStore":
        """Raises FileNotFoundError where `write_shards` has not been; ValueError where cut."""
        try:
            with (folder / _INDEX_FILE).open("rb") as stream, np.load(stream) as index:
                starts, lengths, num_targets = (
                    index[name] for name in ("starts", "lengths", "num_targets")
                )
                sha256 = str(index["sha256"]) if "sha256" in index else ""
        except (zipfile.BadZipFile, EOFError, KeyError, ValueError) as error:
            message = f"{folder / _INDEX_FILE} is damaged ({error}); {_AGAIN}"
            raise ValueError(message) from error
        file = folder / _RECORDS_FILE
        size, expected = file.stat().st_size, 2 * int(starts[-1])
        if size != expected:
            message = f"{file} has {size} bytes instead of {expected}; {_AGAIN}"
            raise ValueError(message)
        records = np.memmap(file, np.uint16, "r")
        return cls(folder, records, starts, lengths, num_targets, sha256)


def pack_samples(samples: Iterable[Sample]) -> bytes:
    """Records of `samples`, one after another, as the file holds them."""
    records = array("H")
    for sample in samples:
        records.extend(pack(sample))
    return records.tobytes()


def write_shards(parts: Iterable[bytes], folder: Path) -> int:
    """Writes what `pack_samples` gave into `folder`; the number of samples."""
    folder.mkdir(parents=True, exist_ok=True)
    starts, lengths, num_targets = array("q", [0]), array("i"), array("i")
    digest = hashlib.sha256()
    with (folder / _RECORDS_FILE).open("wb") as stream:
        for part in parts:
            stream.write(part)
            digest.update(part)
            records = array("H", part)
            at = 0
            while at < len(records):
                num_prefix, num_blocks = records[at], records[at + 1]
                sizes = [records[at + 4 + 3 * index] for index in range(num_blocks)]
                closed = sum(records[at + 3 + 3 * index] for index in range(num_blocks))
                at += 2 + 3 * num_blocks + num_prefix + sum(sizes)
                starts.append(starts[-1] + 2 + 3 * num_blocks + num_prefix + sum(sizes))
                lengths.append(num_prefix + num_blocks + sum(sizes))
                num_targets.append(sum(sizes) + closed)
    np.savez(
        folder / _INDEX_FILE,
        starts=np.array(starts, np.int64),
        lengths=np.array(lengths, np.int32),
        num_targets=np.array(num_targets, np.int32),
        sha256=np.array(digest.hexdigest()),
    )
    return len(lengths)
