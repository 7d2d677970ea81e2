"""Packed samples: one file of uint16 records, one of their starts. Read by memory map."""

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bilin_engine.pretrain.samples import Sample, pack, unpack

_INDEX_FILE = "samples.npz"


@dataclass(frozen=True, slots=True)
class SampleStore:
    """The samples of a folder. lengths: input tokens; num_targets: tokens with loss, of each."""

    folder: Path
    records: NDArray[np.uint16]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int32]
    num_targets: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Sample:
        return unpack(self.records[self.starts[index] : self.starts[index + 1]])

    def __reduce__(self) -> tuple[Callable[[Path], "SampleStore"], tuple[Path]]:
        """Another process maps the files again instead of being sent their content."""
        return SampleStore.open, (self.folder,)

    @property
    def index(self) -> Path:
        """The file of starts and lengths."""
        return self.folder / _INDEX_FILE

    @classmethod
    def open(cls, folder: Path) -> "SampleStore":
        """Raises FileNotFoundError where `write_samples` has not been."""
        index = np.load(folder / _INDEX_FILE)
        records = np.memmap(folder / "samples.u16", np.uint16, "r")
        return cls(folder, records, index["starts"], index["lengths"], index["num_targets"])


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
    with (folder / "samples.u16").open("wb") as stream:
        for part in parts:
            stream.write(part)
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
    )
    return len(lengths)
