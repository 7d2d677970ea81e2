"""Converting published checkpoints: merged right, lossless where it can be, safe against kills."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from reference_checkpoint import random_model, rank_tensors, write_checkpoint

from bilin_engine.checkpoints import int4, scale_search, stream_writer, streaming
from bilin_engine.checkpoints.convert import ConvertSettings, convert
from bilin_engine.checkpoints.model_folder import ModelFolder
from bilin_engine.checkpoints.reference import (
    ReferenceCheckpoint,
    read_shape_config,
)
from bilin_engine.checkpoints.stream_writer import StoredTensor, StreamWriter
from bilin_engine.checkpoints.streaming import ConversionStopped, verify
from bilin_engine.config import GLMConfig
from bilin_engine.errors import (
    BadRequestError,
    DiskFullError,
    ModelBrokenError,
    UnsupportedModelError,
)

CONFIG = GLMConfig.create(
    num_layers=2,
    hidden_size=256,
    num_attention_heads=8,
    inner_hidden_size=512,
    vocab_size=768,
    max_sequence_length=64,
)


@pytest.fixture(scope="module")
def model():
    return random_model(CONFIG)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks that end in the middle of ranks and halves."""
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 50_000)


def read_all(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor in floating point, as a runner would see it."""
    with ModelFolder(folder, hashes=True) as opened:
        return {spec.name: _read(opened, spec) for spec in opened.config.tensors()}


def _read(opened: ModelFolder, spec) -> torch.Tensor:
    scheme = opened.scheme(spec.module) if spec.is_linear else None
    if scheme is None:
        return opened.tensor(spec.name)
    packed = opened.tensor(f"{spec.module}.weight_packed")
    codes = int4.unpack(packed, spec.shape[1], scheme.bits)
    scales = opened.tensor(f"{spec.module}.weight_scale")
    return int4.dequantize(int4.QuantizedWeight(codes, scales, scheme.bits))


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_fp16_ranks_merge_to_the_model(tmp_path, model, world_size):
    src = write_checkpoint(tmp_path / "src", model, world_size)
    convert(src, tmp_path / "dst", CONFIG, ConvertSettings(target="fp16"))
    merged = read_all(tmp_path / "dst")
    assert set(merged) == set(model)
    for name, tensor in model.items():
        assert torch.equal(merged[name], tensor), name


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_quantized_ranks_keep_codes_and_scales(tmp_path, model, world_size, bits):
    src = write_checkpoint(tmp_path / "src", model, world_size, bits)
    convert(src, tmp_path / "dst", CONFIG, ConvertSettings())
    merged = read_all(tmp_path / "dst")
    # What the ranks hold, dequantized one by one, then merged as floats.
    ranks = [
        dict(rank_tensors(_dequantized(model, r, world_size, bits), 0, 1))
        for r in range(world_size)
    ]
    for name in model:
        expected = _merge(name, [rank[name] for rank in ranks])
        assert torch.equal(merged[name], expected.float()), name
    with ModelFolder(tmp_path / "dst") as opened:
        dense = opened.scheme("transformer.layers.1.attention.dense")
        qkv = opened.scheme("transformer.layers.1.attention.query_key_value")
    assert qkv is not None
    assert qkv.group_size == "row"
    assert dense is not None
    assert dense.group_size == ("row" if world_size == 1 else 256 // world_size)


def _dequantized(model, rank, world_size, bits) -> dict[str, torch.Tensor]:
    tensors = dict(rank_tensors(model, rank, world_size, bits))
    result = {}
    for name, tensor in tensors.items():
        scale = tensors.get(f"{name}_scale")
        if name.endswith("_scale"):
            continue
        if scale is not None:
            if bits == 4:
                signed = tensor.to(torch.int32)
                high = torch.div(signed, 16, rounding_mode="floor")
                low = signed - high * 16
                low = torch.where(low > 7, low - 16, low)
                tensor = torch.stack((high, low), dim=2).flatten(1)
            tensor = tensor.float() * scale.float()[:, None]
        result[name] = tensor
    return result


def _merge(name: str, parts: list[torch.Tensor]) -> torch.Tensor:
    if "dense_h_to_4h" in name:
        halves = [part.chunk(2) for part in parts]
        return torch.cat([u for u, _ in halves] + [g for _, g in halves])
    if name.endswith(("attention.dense.weight", "dense_4h_to_h.weight")):
        return torch.cat(parts, dim=1)
    if "query_key_value" in name or "word_embeddings" in name:
        return torch.cat(parts)
    return parts[0]


@pytest.mark.parametrize("group_size", [32, 64, 128, "row"])
def test_fp16_quantizes_as_the_whole_model_would(tmp_path, model, group_size):
    src = write_checkpoint(tmp_path / "src", model, 4)
    settings = ConvertSettings(target="int4", group_size=group_size)
    convert(src, tmp_path / "dst", CONFIG, settings)
    merged = read_all(tmp_path / "dst")
    name = "transformer.layers.1.mlp.dense_h_to_4h.weight"
    with ModelFolder(tmp_path / "dst") as opened:
        scheme = opened.scheme(name.removesuffix(".weight"))
    assert scheme is not None
    whole = int4.dequantize(scale_search.quantize(model[name], scheme, name))
    assert torch.equal(merged[name], whole)


def test_latest_may_have_white_space_and_the_folder_may_be_the_inner_one(tmp_path, model):
    src = write_checkpoint(tmp_path / "src", model, 2, iteration="release")
    (src / "latest").write_text("  release \n\n")
    for folder in (src, src / "release"):
        with ReferenceCheckpoint(folder, CONFIG) as opened:
            assert opened.world_size == 2
            assert opened.bits == 16


def test_the_tokenizer_beside_the_source_comes_along(tmp_path, model):
    src = write_checkpoint(tmp_path / "src", model, 1)
    (src / "ice_text.model").write_bytes(b"a model file")
    convert(src, tmp_path / "dst", CONFIG, ConvertSettings())
    assert (tmp_path / "dst" / "ice_text.model").read_bytes() == b"a model file"
    config = json.loads((tmp_path / "dst" / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "IceTokenizer"


def test_progress_reaches_the_end_of_every_stage(tmp_path, model):
    src = write_checkpoint(tmp_path / "src", model, 2)
    heard: dict[str, float] = {}
    convert(
        src,
        tmp_path / "dst",
        CONFIG,
        ConvertSettings(),
        on_progress=lambda p: heard.__setitem__(p.stage, p.done / p.total),
    )
    assert heard["convert"] == heard["hash"] == 1.0


def test_a_stop_keeps_the_work_and_the_rest_is_byte_identical(tmp_path, model):
    src = write_checkpoint(tmp_path / "src", model, 2)
    whole, made = (
        tmp_path / "one" / "model",
        tmp_path / "two" / "model",
    )  # it is named by its folder
    whole.parent.mkdir()
    made.parent.mkdir()
    convert(src, whole, CONFIG, ConvertSettings())
    calls = iter(range(10_000))
    for stop_after in (3, 11, 25):
        begun = next(calls)
        with pytest.raises(ConversionStopped):
            convert(
                src,
                made,
                CONFIG,
                ConvertSettings(),
                should_stop=lambda begun=begun, n=stop_after: next(calls) - begun > n,
            )
        assert not (made).exists()
    convert(src, made, CONFIG, ConvertSettings())
    assert _content(made) == _content(whole)
    assert not streaming.partial_folder(made).exists()


def test_a_conversion_goes_on_after_its_disk_is_mounted_elsewhere(tmp_path, model):
    whole = convert(
        write_checkpoint(tmp_path / "src", model, 2), tmp_path / "model", CONFIG, ConvertSettings()
    )
    disk, elsewhere = tmp_path / "disk", tmp_path / "elsewhere"
    disk.mkdir()
    write_checkpoint(disk / "src", model, 2)
    blocks = iter(range(100))
    with pytest.raises(ConversionStopped):
        convert(
            disk / "src", disk / "model", CONFIG, ConvertSettings(),
            should_stop=lambda: next(blocks) == 3,
        )  # fmt: skip
    disk.rename(elsewhere)
    made = convert(elsewhere / "src", elsewhere / "model", CONFIG, ConvertSettings())
    assert _content(made) == _content(whole)


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


_CHILD = """
import sys
from pathlib import Path
from bilin_engine.checkpoints import convert as conversion
from bilin_engine.checkpoints import streaming
from bilin_engine.checkpoints.reference import read_shape_config
streaming.BLOCK_BYTES = 20_000
src, dst, config = map(Path, sys.argv[1:4])
def told(progress):
    print(progress.stage, progress.done, flush=True)
conversion.convert(src, dst, read_shape_config(config), conversion.ConvertSettings(),
                   should_stop=lambda: print("block", flush=True) or False)
"""


@pytest.mark.slow
@pytest.mark.e2e
def test_kill_9_at_three_moments_ends_byte_identical(tmp_path, model, monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 20_000)
    src = write_checkpoint(tmp_path / "src", model, 2)
    config = tmp_path / "sizes.json"
    config.write_text(json.dumps(_sizes()))
    (tmp_path / "whole").mkdir()
    whole = convert(src, tmp_path / "whole" / "dst", CONFIG, ConvertSettings())  # of one name
    command = [sys.executable, "-P", "-c", _CHILD, str(src), str(tmp_path / "dst"), str(config)]
    for num_blocks in (2, 40, 90):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(num_blocks):
                assert child.stdout.readline().startswith("block")
            os.kill(child.pid, signal.SIGKILL)
        assert not (tmp_path / "dst").exists()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert _content(tmp_path / "dst") == _content(whole)


def _sizes() -> dict[str, int]:
    names = ("num_layers", "hidden_size", "num_attention_heads", "inner_hidden_size")
    names += ("vocab_size", "max_sequence_length")
    return {name: getattr(CONFIG, name) for name in names}


def test_a_partial_folder_of_other_settings_is_refused(tmp_path, model):
    src = write_checkpoint(tmp_path / "src", model, 1)
    with pytest.raises(ConversionStopped):
        convert(src, tmp_path / "dst", CONFIG, ConvertSettings(), should_stop=lambda: True)
    with pytest.raises(BadRequestError, match="unfinished work of another conversion"):
        convert(src, tmp_path / "dst", CONFIG, ConvertSettings(target="int8"))
    streaming.discard(tmp_path / "dst")
    convert(src, tmp_path / "dst", CONFIG, ConvertSettings(target="int8"))


def test_two_conversions_to_one_place_do_not_mix(tmp_path):
    tensors = [StoredTensor("a", torch.float16, (4, 4))]
    with (
        StreamWriter(tmp_path / "w", tensors, fingerprint="f"),
        pytest.raises(BadRequestError, match="being written by another conversion"),
    ):
        StreamWriter(tmp_path / "w", tensors, fingerprint="f")


def test_a_cut_journal_line_costs_only_its_block(tmp_path):
    tensors = [StoredTensor("a", torch.float32, (4, 2))]
    with StreamWriter(tmp_path / "w", tensors, fingerprint="f") as writer:
        writer.write("a", 0, {"a": torch.ones(1, 2)})
        writer.write("a", 1, {"a": torch.ones(1, 2)})
    journal = tmp_path / "w" / stream_writer.JOURNAL_FILE
    journal.write_bytes(journal.read_bytes()[:-4])
    with StreamWriter(tmp_path / "w", tensors, fingerprint="f") as writer:
        assert writer.rows_done("a") == 1
        writer.write("a", 1, {"a": torch.ones(3, 2)})
    with StreamWriter(tmp_path / "w", tensors, fingerprint="f") as writer:
        assert writer.rows_done("a") == 4


def test_too_little_room_is_said_before_the_first_byte(tmp_path, model, monkeypatch):
    src = write_checkpoint(tmp_path / "src", model, 1)
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    needed = r"0\.0 MB free; [1-9]\d*\.\d MB are needed.*nothing was written"
    with pytest.raises(DiskFullError, match=needed):
        convert(src, tmp_path / "dst", CONFIG, ConvertSettings())
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_a_disk_that_fills_up_keeps_what_was_converted(tmp_path, model, monkeypatch):
    src = write_checkpoint(tmp_path / "src", model, 1)
    real = os.pwrite
    calls = iter(range(1000))

    def pwrite(fd, data, offset):
        if next(calls) > 20:
            raise OSError(28, "No space left on device")
        return real(fd, data, offset)

    monkeypatch.setattr(stream_writer.os, "pwrite", pwrite)
    with pytest.raises(DiskFullError, match="nothing that was converted so far is lost"):
        convert(src, tmp_path / "dst", CONFIG, ConvertSettings())
    monkeypatch.setattr(stream_writer.os, "pwrite", real)
    convert(src, tmp_path / "dst", CONFIG, ConvertSettings())
    verify(tmp_path / "dst")


def test_an_existing_result_is_never_overwritten(tmp_path, model):
    src = write_checkpoint(tmp_path / "src", model, 1)
    (tmp_path / "dst").mkdir()
    with pytest.raises(BadRequestError, match="exists already"):
        convert(src, tmp_path / "dst", CONFIG, ConvertSettings())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (ConvertSettings(group_size="source"), 'this one is fp16. Choose row, 128, 64 or 32'),
        (ConvertSettings(target="fp16", group_size=64), "fp16 weights have no groups"),
        (ConvertSettings(group_size=96), "group_size 96 is not supported"),
        (ConvertSettings(tokenizer_file=Path("nowhere.model")), r"nowhere\.model is no file"),
    ],
)  # fmt: skip
def test_settings_that_contradict_the_source_are_refused(tmp_path, model, settings, sentence):
    src = write_checkpoint(tmp_path / "src", model, 1)
    with pytest.raises((BadRequestError, UnsupportedModelError), match=sentence):
        convert(src, tmp_path / "dst", CONFIG, settings)


def test_wrong_sizes_missing_ranks_and_nan_are_named(tmp_path, model):
    src = write_checkpoint(tmp_path / "src", model, 2)
    other = GLMConfig.create(
        num_layers=2, hidden_size=256, num_attention_heads=8, inner_hidden_size=768,
        vocab_size=768, max_sequence_length=64,
    )  # fmt: skip
    with pytest.raises(ModelBrokenError, match=r"dense_h_to_4h.*--config FILE\.json"):
        ReferenceCheckpoint(src, other)
    damaged = dict(model)
    name = "transformer.layers.1.attention.dense.weight"
    damaged[name] = model[name].clone()
    damaged[name][3, 5] = float("nan")
    nan = write_checkpoint(tmp_path / "nan", damaged, 2)
    with pytest.raises(ModelBrokenError, match=r"layers\.1\.attention\.dense.*holds nan"):
        convert(nan, tmp_path / "dst", CONFIG, ConvertSettings())
    (src / "49300" / "mp_rank_00_model_states.pt").unlink()
    with pytest.raises(ModelBrokenError, match="lacks mp_rank_00"):
        ReferenceCheckpoint(src, CONFIG)
    (src / "latest").write_text("../elsewhere")
    with pytest.raises(ModelBrokenError, match="which is no folder name"):
        ReferenceCheckpoint(src, CONFIG)


def test_verify_names_the_file_that_changed(tmp_path, model):
    src = write_checkpoint(tmp_path / "src", model, 1)
    folder = convert(src, tmp_path / "dst", CONFIG, ConvertSettings(), max_shard_bytes=500_000)
    verify(folder)
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 2
    content = bytearray(shards[1].read_bytes())
    content[-7] ^= 1
    shards[1].write_bytes(content)
    with pytest.raises(ModelBrokenError, match=shards[1].name):
        verify(folder)


def test_verify_finds_a_scale_that_is_not_finite(tmp_path, model):
    src = write_checkpoint(tmp_path / "src", model, 1)
    folder = convert(src, tmp_path / "dst", CONFIG, ConvertSettings())
    (shard,) = folder.glob("*.safetensors")
    content = bytearray(shard.read_bytes())
    header_bytes = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + header_bytes])
    place = header["transformer.layers.0.mlp.dense_4h_to_h.weight_scale"]["data_offsets"][0]
    content[8 + header_bytes + place : 8 + header_bytes + place + 2] = b"\x00\x7c"  # fp16 inf
    shard.write_bytes(content)
    with pytest.raises(ModelBrokenError, match=r"dense_4h_to_h\.weight_scale holds inf"):
        verify(folder, hashes=False)


def test_sizes_come_from_a_json_file(tmp_path):
    path = tmp_path / "sizes.json"
    path.write_text(json.dumps({**_sizes(), "special_ids": {"eos": 2, "gmask": 5, "sop": 6}}))
    config = read_shape_config(path)
    assert config.hidden_size == 256
    assert config.special_ids is not None
    assert config.special_ids.gmask == 5
    path.write_text(json.dumps({**_sizes(), "num_laiers": 2}))
    with pytest.raises(UnsupportedModelError, match="num_laiers"):
        read_shape_config(path)
    path.write_text("{")
    with pytest.raises(BadRequestError, match="is not valid JSON"):
        read_shape_config(path)
