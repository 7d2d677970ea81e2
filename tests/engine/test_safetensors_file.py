"""Safetensors of anybody's making: read as the safetensors package does, or refused in words."""

import json
import random
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bilin_engine.checkpoints.safetensors_file import (
    MAX_HEADER_BYTES,
    SafetensorsFile,
    check_header,
)
from bilin_engine.errors import ModelBrokenError

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8]


def file_of(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    path.write_bytes(struct.pack("<Q", size) + text + data)
    return path


def entry(start: int, stop: int, shape=None, dtype="F32") -> dict:
    shape = [(stop - start) // 4] if shape is None else shape
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_and_columns_are_those_that_were_written(tmp_path, dtype):
    matrix = torch.arange(35).view(7, 5).to(dtype)
    save_file({"a": matrix, "b": torch.ones(3)}, tmp_path / "x.safetensors", {"format": "pt"})
    with SafetensorsFile(tmp_path / "x.safetensors") as file:
        assert torch.equal(file.rows("a", 0, 7), matrix)
        assert torch.equal(file.rows("a", 2, 5), matrix[2:5])
        assert torch.equal(file.columns("a", 1, 4), matrix[:, 1:4])
        assert torch.equal(file.rows("b", 0, 3), torch.ones(3))
        with pytest.raises(ModelBrokenError, match="holds no tensor c"):
            file.rows("c", 0, 1)


def test_an_empty_tensor_has_no_bytes(tmp_path):
    save_file({"a": torch.empty(0, 4)}, tmp_path / "x.safetensors")
    with SafetensorsFile(tmp_path / "x.safetensors") as file:
        assert file.rows("a", 0, 0).shape == (0, 4)


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        (b"[" * 200_000, b"", "not valid JSON"),
        (b'{"a":' * 50_000, b"", "not valid JSON"),
        (b"\xff\xfe{}", b"", "not valid JSON"),
        (b'{"a": 1' + b"0" * 5000 + b"}", b"", "(not valid JSON|must have dtype)"),
        ([], b"", "no JSON object"),
        ({"a": 3}, b"", "must have dtype, shape and data_offsets"),
        ({"a": {**entry(0, 4), "more": 1}}, b"1234", "and no more"),
        ({"a": entry(0, 4, dtype="F4")}, b"1234", "dtype 'F4'"),
        ({"a": {**entry(0, 4), "dtype": ["F32"]}}, b"1234", r"dtype \['F32'\]"),
        ({"a": entry(0, 4, shape=[-1])}, b"1234", r"shape \[-1\]"),
        ({"a": entry(0, 4, shape=[True])}, b"1234", r"shape \[True\]"),
        ({"a": entry(0, 4, shape=[1.0])}, b"1234", r"shape \[1\.0\]"),
        ({"a": entry(0, 4, shape=[1] * 9)}, b"1234", "shape"),
        ({"a": entry(0, 4, shape=[1 << 40, 1 << 40])}, b"1234", "needs"),
        ({"a": entry(0, 4, shape=[1 << 60])}, b"1234", "shape"),
        ({"a": entry(-4, 0, shape=[1])}, b"1234", r"data_offsets \[-4, 0\]"),
        ({"a": entry(4, 0, shape=[1])}, b"1234", "data_offsets"),
        ({"a": entry(0, 4), "b": entry(2, 6, shape=[1])}, b"123456", "overlaps the tensor before"),
        ({"a": entry(0, 4), "b": entry(0, 4)}, b"1234", "overlaps the tensor before"),
        ({"a": entry(0, 4), "b": entry(8, 12)}, b"x" * 12, "leaves a gap after"),
        ({"a": entry(0, 400)}, b"1234", "takes? 400 bytes and 4 are there"),
        ({"a": entry(0, 4)}, b"12345678", "4 bytes and 8 are there"),
        ({"a" * 5000: entry(0, 4)}, b"1234", "name has 5000 characters"),
    ],
)
def test_hostile_headers_are_refused_with_a_sentence(tmp_path, header, data, words):
    with pytest.raises(ModelBrokenError, match=words) as caught:
        SafetensorsFile(file_of(tmp_path / "x.safetensors", header, data))
    assert len(caught.value.message) < 600


@pytest.mark.parametrize("length", [2**63, MAX_HEADER_BYTES + 1, 1000])
def test_a_header_longer_than_its_file_is_not_read(tmp_path, length):
    path = file_of(tmp_path / "x.safetensors", {}, length=length)
    with pytest.raises(ModelBrokenError, match=f"announces a header of {length} bytes"):
        SafetensorsFile(path)


@pytest.mark.parametrize("content", [b"", b"1234567"])
def test_files_too_short_for_a_length_are_refused(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ModelBrokenError, match="no safetensors file"):
        SafetensorsFile(tmp_path / "x.safetensors")


def fuzzed(rng: random.Random, header: bytes) -> bytes:
    """A header with some bytes changed, cut, doubled, or a number made large or negative."""
    data = bytearray(header)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(data)) if data else 0
        kind = rng.randrange(5)
        if kind == 0 and data:
            data[at] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.randrange(1, 20)]
        elif kind == 2:
            data[at:at] = data[at : at + rng.randrange(1, 40)]
        elif kind == 3:
            data[at:at] = rng.choice(
                [b"-", b"9" * 30, b"null", b"{", b"[" * 50, b"1e999", b'"', b"NaN", b"\\u0000"]
            )
        else:
            data[at:at] = str(rng.choice([0, -1, 2**31, 2**63, 2**64, 2**70])).encode()
    return bytes(data)


def fuzz(count: int, seed: int) -> int:
    """How many of `count` fuzzed headers were refused; anything but a sentence is an error."""
    rng = random.Random(seed)
    tensors = {f"model.layers.{i}.weight": entry(i * 48, i * 48 + 48, [3, 4]) for i in range(6)}
    whole = json.dumps({"__metadata__": {"format": "pt"}, **tensors}).encode()
    assert len(check_header(whole, 288, "x")) == 6
    refused = 0
    for _ in range(count):
        try:
            check_header(fuzzed(rng, whole), 288, "x")
        except ModelBrokenError as error:
            refused += len(error.message) < 1000
    return refused


def test_fuzzed_headers_are_refused_or_read():
    assert fuzz(500, seed=1) > 400


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_fuzzed_headers_neither_crash_nor_hang():
    assert fuzz(10_000, seed=2) > 8_000
