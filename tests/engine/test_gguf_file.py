"""GGUF of anybody's making: read as the gguf package does, or refused in words."""

import random
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_files import entry, file_bytes, tensor, text, write_gguf

from bilin_engine.checkpoints.gguf_file import (
    MAX_HEADER_BYTES,
    GgufFile,
    GgufModel,
    Header,
    header_of,
    models_among,
    read_header,
)
from bilin_engine.errors import BadRequestError, BilinError, ModelBrokenError

UINT32, FLOAT32, BOOL, TEXT, ARRAY, UINT64 = 4, 6, 7, 8, 9, 10


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def read(data: bytes):
    return read_header(header_of(data, len(data), "x.gguf"))


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q4_0", "Q8_0"])
def test_a_header_is_what_the_package_reads(tmp_path, kind):
    path = write_gguf(tmp_path / "m.gguf", "llama", kind=kind)
    reader = gguf.GGUFReader(path)
    file = GgufFile(path)
    for key, value in file.metadata.items():
        expected = reader.fields[key].contents()
        assert value == (tuple(expected) if isinstance(value, tuple) else expected), key
    assert len(file.metadata) == len(reader.fields) - 3  # and version and counts
    assert {t.name for t in reader.tensors} == set(file.tensors)
    for found in reader.tensors:
        tensor_ = file.tensors[found.name]
        assert tensor_.type == found.tensor_type.name
        assert tensor_.shape == tuple(reversed(found.shape.tolist()))
        assert (tensor_.start, tensor_.stop - tensor_.start) == (found.data_offset, found.n_bytes)
        rows = tensor_.shape[0]
        assert bytes(file.read(tensor_, 0, rows)) == found.data.tobytes()
    file.close()


def test_rows_are_read_where_they_lie(tmp_path):
    path = write_gguf(tmp_path / "m.gguf", "llama")
    with GgufModel(path) as model:
        shape = model.tensors["blk.1.ffn_up.weight"].shape
        whole = np.frombuffer(model.read("blk.1.ffn_up.weight", 0, shape[0]), np.float32)
        part = np.frombuffer(model.read("blk.1.ffn_up.weight", 3, 7), np.float32)
        assert np.array_equal(part, whole.reshape(shape)[3:7].ravel())


A = tensor("a", [8], 0, 0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the magic at byte 0 takes 4 bytes; the file ends at byte 0"),
        (b"GGML" + bytes(20), "does not begin with GGUF"),
        (file_bytes(version=1), "version 1; versions 2 and 3"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(16), "big-endian, version 3"),
        (file_bytes(version=77), "version 77"),
        (file_bytes(counts=(2**63, 0)), "announces 9223372036854775808 tensors"),
        (file_bytes(counts=(0, 2**64 - 1)), "announces 18446744073709551615 metadata entries"),
        (file_bytes(counts=(0, 60_000)), "cut short or damaged"),
        (file_bytes([text(b"k" * 2000) + bytes(8)]), "is 2000 bytes long; at most 1024"),
        (file_bytes([struct.pack("<Q", 2**62) + b"k"]), "metadata key is 4611686018427387904"),
        (file_bytes([text(b"\xff\xfe") + bytes(8)]), "is not UTF-8"),
        (file_bytes([entry("k", 13, bytes(8))]), "the value of 'k' has the type 13"),
        (file_bytes([entry("k", TEXT, struct.pack("<Q", 2**40))]), "at most 4194304 are read"),
        (file_bytes([entry("k", TEXT, struct.pack("<Q", 4000) + b"x")]), "cut short or damaged"),
        (file_bytes([entry("k", UINT32, bytes(4))] * 2), "metadata key 'k' twice"),
        (file_bytes([entry("k", ARRAY, struct.pack("<IQ", UINT32, 2**50))]), "has 11258999"),
        (file_bytes([entry("k", ARRAY, struct.pack("<IQ", UINT32, 2**19))]), "takes 2097152 by"),
        (file_bytes([entry("k", ARRAY, struct.pack("<IQ", TEXT, 2**19))]), "takes 4194304 by"),
        (file_bytes([entry("k", ARRAY, struct.pack("<IQ", ARRAY, 1))]), "is a list of type 9"),
        (file_bytes([entry("k", ARRAY, struct.pack("<IQ", 99, 1))]), "is a list of type 99"),
        (file_bytes([], [tensor("a", [1], 0, 0, 2**32 - 1)], 64), "has 4294967295 dimensions"),
        (file_bytes([], [tensor("a", [], 0, 0)], 64), "has 0 dimensions"),
        (file_bytes([], [tensor("a", [0], 0, 0)], 64), r"has the shape \[0\]"),
        (file_bytes([], [tensor("a", [2**63], 0, 0)], 64), "has the shape"),
        (file_bytes([], [tensor("a", [2**39, 2**39], 0, 0)], 64), "has the shape"),
        (file_bytes([], [tensor("a", [33], 2, 0)], 64), "Q4_0 needs multiples of 32"),
        (file_bytes([], [tensor("a", [256], 23, 0)], 256), "holds IQ4_XS; F32, F16"),
        (file_bytes([], [tensor("a", [256], 10, 0)], 256), "holds Q2_K"),
        (file_bytes([], [tensor("a", [256], 4, 0)], 256), "holds the unknown type 4"),
        (file_bytes([], [A, A], 64), "(two tensors 'a'|overlaps)"),
        (file_bytes([], [A, tensor("b", [8], 0, 16)], 64), "'b' begins at byte 16 .* overlaps"),
        (file_bytes([], [A, tensor("b", [8], 0, 0)], 64), "overlaps"),
        (file_bytes([], [A, tensor("b", [8], 0, 96)], 128), "leaves a gap after"),
        (file_bytes([], [tensor("a", [8], 0, 2**64 - 32)], 64), "leaves a gap after"),
        (file_bytes([], [A], 31), "its tensors end at byte 96 and the file at 95"),
        (file_bytes([], [tensor("a", [2**39], 0, 0)], 64), "it was cut short"),
        (file_bytes([entry("general.alignment", UINT32, bytes(4))]), "general.alignment is 0"),
        (file_bytes([entry("general.alignment", UINT32, struct.pack("<I", 48))]), "power of two"),
        (file_bytes([entry("general.alignment", TEXT, text("x"))]), "general.alignment is 'x'"),
        (
            file_bytes([entry("general.alignment", UINT64, struct.pack("<Q", 2**63))]),
            "general.alignment is 9223372036854775808",
        ),
    ],
)
def test_hostile_headers_are_refused_with_a_sentence(tmp_path, data, words):
    with pytest.raises(BilinError, match=words) as caught:
        GgufFile(written(tmp_path / "x.gguf", data))
    assert len(caught.value.message) < 600


def test_no_more_of_a_file_is_read_than_a_header_may_take():
    """Files of a terabyte, of which a header is all zeros or announces a million texts."""
    taken = 0

    def pread(size: int, at: int) -> bytes:
        nonlocal taken
        taken += size
        return (bomb[at : at + size] + bytes(size))[:size]

    for value in (
        struct.pack("<IQ", TEXT, 2**20),
        struct.pack("<IQ", TEXT, 2**20) + text(b"a" * 99),
    ):
        bomb = file_bytes([entry("k", ARRAY, value)] * 2, counts=(0, 60_000))
        taken = 0
        with pytest.raises(ModelBrokenError):
            read_header(Header(pread, 1 << 40, "x.gguf"))
        assert taken <= 2 * MAX_HEADER_BYTES


def test_lists_are_bounded_together():
    value = struct.pack("<IQ", BOOL, 2**20) + bytes(2**20)
    data = file_bytes([entry(f"k{i}", ARRAY, value) for i in range(5)])
    with pytest.raises(ModelBrokenError, match=r"'k4' has 1048576 items; .* 4194304 of all lists"):
        read(data)


# --- Parts ---------------------------------------------------------------------------------------


def test_parts_are_one_model(tmp_path):
    write_gguf(tmp_path / "m.gguf", "llama", parts=5)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) > 3
    assert models_among(names) == names[:1]
    with GgufModel(tmp_path / names[0]) as model:
        assert "blk.1.ffn_down.weight" in model.tensors
        assert len(model.read("blk.1.ffn_down.weight", 0, 64)) == 64 * 96 * 4
    with pytest.raises(BadRequestError, match=f"is part 2 of {len(names)}; choose the first, m-0"):
        GgufModel(tmp_path / names[1])
    (tmp_path / names[1]).unlink()
    with pytest.raises(ModelBrokenError, match=f"{names[1]} is missing .* all parts are needed"):
        GgufModel(tmp_path / names[0])


def test_parts_that_were_renamed_or_mixed_are_refused(tmp_path):
    write_gguf(tmp_path / "m.gguf", "llama", parts=5)
    first, second, *_ = sorted(tmp_path.iterdir())
    (tmp_path / "alone.gguf").write_bytes(first.read_bytes())
    with pytest.raises(ModelBrokenError, match="by its metadata and one of 1 by its name"):
        GgufModel(tmp_path / "alone.gguf")
    second.write_bytes(first.read_bytes())
    with pytest.raises(ModelBrokenError, match=r"another part holds .* already"):
        GgufModel(first)


# --- Fuzz ----------------------------------------------------------------------------------------


def fuzzed(rng: random.Random, header: bytes) -> bytes:
    """A header with some bytes changed, cut, doubled, or a number made large."""
    data = bytearray(header)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(data)) if data else 0
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[at] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.randrange(1, 20)]
        elif kind == 2:
            data[at:at] = data[at : at + rng.randrange(1, 40)]
        elif kind == 3:
            data[at : at + 8] = struct.pack("<Q", rng.choice([0, 2**31, 2**63, 2**64 - 1, 65536]))
        elif kind == 4:
            data[at : at + 4] = struct.pack("<I", rng.choice([0, 8, 9, 12, 2**31, 2**32 - 1]))
        else:
            del data[at:]
    return bytes(data)


def whole() -> bytes:
    entries = [
        entry("general.architecture", TEXT, text("llama")),
        entry("general.alignment", UINT32, struct.pack("<I", 32)),
        entry("llama.rope.freq_base", FLOAT32, struct.pack("<f", 1e4)),
        entry("tokens", ARRAY, struct.pack("<IQ", TEXT, 3) + text("a") + text("b") + text("ab")),
        entry("scores", ARRAY, struct.pack("<IQ", FLOAT32, 3) + bytes(12)),
    ]
    tensors = [tensor(f"blk.{i}.ffn_up.weight", [32, 4], 2, i * 96) for i in range(6)]
    return file_bytes(entries, tensors, 6 * 96)


def fuzz(count: int, seed: int) -> int:
    """How many of `count` fuzzed files were refused; anything but a sentence is an error."""
    rng, data = random.Random(seed), whole()
    assert len(read(data)[1]) == 6
    head = len(data) - 6 * 96
    refused = 0
    for _ in range(count):
        try:
            read(fuzzed(rng, data[:head]) + data[head:])
        except BilinError as error:
            refused += len(error.message) < 1000
    return refused


def test_fuzzed_headers_are_refused_or_read():
    assert fuzz(500, seed=1) > 350


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_fuzzed_headers_neither_crash_nor_hang():
    assert fuzz(10_000, seed=2) > 7_000
