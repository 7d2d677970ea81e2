"""Packed samples: which they are, and whether their files are still whole."""

import numpy as np
import pytest

from bilin_engine.pretrain.samples import COUNT_ON, Block, Sample
from bilin_engine.pretrain.shards import SampleStore, pack_samples, write_shards
from bilin_engine.whole_file import file_sha256

SAMPLES = [Sample((5, 6, 7, 57), (Block((8, 9), COUNT_ON, True),)) for _ in range(50)]


def written(folder, samples=SAMPLES):
    write_shards([pack_samples(samples)], folder)
    return folder


def test_samples_that_differ_in_one_id_are_others(tmp_path):
    other = [*SAMPLES[:-1], Sample((5, 6, 7, 57), (Block((8, 10), COUNT_ON, True),))]
    stores = [
        SampleStore.open(written(tmp_path / name, samples))
        for name, samples in (("one", SAMPLES), ("same", SAMPLES), ("other", other))
    ]
    one, same, another = (file_sha256(store.index) for store in stores)
    assert one == same
    assert one != another


@pytest.mark.parametrize("name", ["samples.u16", "samples.npz"])
def test_files_that_are_cut_are_refused(tmp_path, name):
    file = written(tmp_path) / name
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ValueError, match=rf"{name} .*`python -m bilin_engine\.pretrain render`"):
        SampleStore.open(tmp_path)


def test_a_flipped_byte_is_found(tmp_path):
    file = written(tmp_path) / "samples.u16"
    SampleStore.open(tmp_path).require_intact()
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"samples\.u16 is damaged"):
        SampleStore.open(tmp_path).require_intact()


def test_shards_from_before_the_digest_are_read(tmp_path):
    index = written(tmp_path) / "samples.npz"
    with np.load(index) as found:
        older = {name: found[name] for name in ("starts", "lengths", "num_targets")}
    np.savez(index, **older)
    store = SampleStore.open(tmp_path)
    store.require_intact()
    assert store[49] == SAMPLES[49]
