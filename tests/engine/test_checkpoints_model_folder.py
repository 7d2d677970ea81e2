"""Model folders: what is written is read back, and damage is named."""

import json
import stat

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_glm import random_weights, tiny_config, write_tiny_model

from bilin_engine.checkpoints.model_folder import (
    ModelFolder,
    verify_files,
    write_bilin_file,
    write_model_folder,
)
from bilin_engine.config import QuantizationConfig
from bilin_engine.errors import BadRequestError, ModelBrokenError, UnsupportedModelError

CONFIG = tiny_config(num_layers=2)
QKV = "transformer.layers.1.attention.query_key_value"


@pytest.fixture
def folder(tmp_path):
    write_tiny_model(tmp_path / "model", CONFIG, quantization=QuantizationConfig.uniform(4, 32))
    return tmp_path / "model"


def shard(folder):
    return next(folder.glob("*.safetensors"))


def test_plain_weights_come_back_as_written(tmp_path):
    weights = write_tiny_model(tmp_path / "model", CONFIG)
    with ModelFolder(tmp_path / "model") as source:
        assert source.config == CONFIG
        for name, tensor in weights.items():
            assert torch.equal(source.tensor(name), tensor)


def test_parts_of_a_tensor_are_read_alone(tmp_path):
    weights = write_tiny_model(tmp_path / "model", CONFIG)
    with ModelFolder(tmp_path / "model") as source:
        part = source.tensor(f"{QKV}.weight", slice(5, 9), slice(32, 64))
        assert torch.equal(part, weights[f"{QKV}.weight"][5:9, 32:64])
        assert torch.equal(source.tensor(f"{QKV}.bias", slice(3, 4)), weights[f"{QKV}.bias"][3:4])


def test_shards_are_cut_by_size_and_listed(tmp_path):
    weights = random_weights(CONFIG)
    path = tmp_path / "model"
    write_model_folder(path, CONFIG, weights.items(), max_shard_bytes=100_000)
    names = sorted(p.name for p in path.glob("*.safetensors"))
    assert len(names) > 2
    assert names[0] == f"model-00001-of-{len(names):05d}.safetensors"
    index = json.loads((path / "model.safetensors.index.json").read_text())
    assert sorted(set(index["weight_map"].values())) == names
    for name, file in index["weight_map"].items():
        assert name in load_file(path / file)
    total = sum(t.numel() * t.element_size() for t in weights.values())
    assert index["metadata"]["total_size"] == total


def test_extra_files_and_metadata_are_written_and_listed(tmp_path):
    (tmp_path / "tokenizer").write_bytes(b"pieces")
    path = write_model_folder(
        tmp_path / "model",
        CONFIG,
        random_weights(CONFIG).items(),
        extra_files={"tokenizer.model": tmp_path / "tokenizer", "LICENCE": b"words"},
        generation_config={"temperature": 0.5},
        bilin_metadata={"id": "tiny", "names": {"zh": "小", "en": "tiny"}},
    )
    bilin = json.loads((path / "bilin.json").read_text())
    assert bilin["names"]["zh"] == "小"
    assert (path / "tokenizer.model").read_bytes() == b"pieces"
    assert json.loads((path / "generation_config.json").read_text()) == {"temperature": 0.5}
    assert set(bilin["files"]) == {p.name for p in path.iterdir()} - {"bilin.json"}
    assert all(stat.S_IMODE(p.stat().st_mode) & 0o444 == 0o444 for p in path.iterdir())


def test_the_stored_layout_is_the_public_one(folder):
    stored = load_file(shard(folder))
    assert stored[f"{QKV}.weight_packed"].shape == (192, 8)
    assert stored[f"{QKV}.weight_packed"].dtype == torch.int32
    assert stored[f"{QKV}.weight_scale"].shape == (192, 2)
    assert stored[f"{QKV}.weight_shape"].tolist() == [192, 64]
    assert f"{QKV}.weight" not in stored
    assert stored["transformer.word_embeddings.weight"].shape == (96, 64)


def test_a_folder_that_exists_is_never_written_over(folder):
    with pytest.raises(BadRequestError, match="exists already"):
        write_tiny_model(folder, CONFIG)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop(f"{QKV}.bias"), f"{QKV}.bias is missing"),
        (lambda w: w.update(extra=torch.zeros(1)), "extra is not a tensor of this architecture"),
        (lambda w: w.update({f"{QKV}.bias": torch.zeros(191)}), r"bias has shape \[191\].*\[192\]"),
        (lambda w: w[f"{QKV}.weight"].__setitem__((0, 0), torch.nan), "weight holds nan"),
        (lambda w: w[f"{QKV}.bias"].__setitem__(7, torch.inf), r"bias holds inf at \[7\]"),
    ],
)
def test_wrong_tensors_leave_nothing_behind(tmp_path, change, words):
    weights = random_weights(CONFIG)
    change(weights)
    with pytest.raises(ModelBrokenError, match=words):
        write_model_folder(
            tmp_path / "model",
            CONFIG,
            weights.items(),
            quantization=QuantizationConfig.uniform(4, 32),
        )
    assert list(tmp_path.iterdir()) == []


def test_values_too_large_for_the_stored_dtype_are_refused(tmp_path):
    config = tiny_config(dtype="float16")
    weights = random_weights(config)
    weights["transformer.final_layernorm.bias"][3] = 1e6
    with pytest.raises(ModelBrokenError, match="bias as float16 holds inf"):
        write_model_folder(tmp_path / "model", config, weights.items())


def test_a_truncated_shard_is_named(folder):
    path = shard(folder)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelBrokenError, match=rf"{path.name} has \d+ bytes instead of \d+"):
        ModelFolder(folder)


def test_one_altered_byte_is_named(folder):
    path = shard(folder)
    content = bytearray(path.read_bytes())
    content[-50] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelBrokenError, match=rf"{path.name} was changed.*sha256"):
        ModelFolder(folder)
    # A large folder is hashed by verify, not at every load.
    ModelFolder(folder, hashes=False).close()
    with pytest.raises(ModelBrokenError, match="was changed"):
        verify_files(folder, hashes=True)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_other_altered_files_are_named(folder, name):
    (folder / name).write_text((folder / name).read_text() + " ")
    with pytest.raises(ModelBrokenError, match=f"{name} has"):
        ModelFolder(folder)


def test_a_missing_shard_is_named(folder):
    path = shard(folder)
    path.unlink()
    with pytest.raises(ModelBrokenError, match=f"{path.name} is missing"):
        ModelFolder(folder)


def rewrite(folder, change):
    stored = load_file(shard(folder))
    change(stored)
    save_file(stored, shard(folder))
    write_bilin_file(folder, {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop(f"{QKV}.weight_scale"), f"no shard holds the tensor {QKV}.weight_scale"),
        (
            lambda s: s.update({f"{QKV}.weight_packed": torch.zeros(192, 7, dtype=torch.int32)}),
            rf"{QKV}.weight_packed has shape \[192, 7\]; config.json asks for \[192, 8\]",
        ),
        (
            lambda s: s.update({f"{QKV}.weight_packed": torch.zeros(192, 8)}),
            f"{QKV}.weight_packed holds F32",
        ),
    ],
)
def test_shards_that_do_not_fit_the_config_are_refused(folder, change, words):
    rewrite(folder, change)
    with pytest.raises(ModelBrokenError, match=words):
        ModelFolder(folder)


def test_a_config_with_a_wrong_size_names_the_tensor(folder):
    content = json.loads((folder / "config.json").read_text())
    content["inner_hidden_size"] = 128
    (folder / "config.json").write_text(json.dumps(content))
    write_bilin_file(folder, {})
    with pytest.raises(ModelBrokenError, match=r"dense_h_to_4h.weight_packed has shape \[192, 8\]"):
        ModelFolder(folder)


def test_a_group_that_does_not_divide_is_refused(folder):
    content = json.loads((folder / "config.json").read_text())
    scheme = content["quantization_config"]["config_groups"]["group_0"]["weights"]
    scheme["group_size"] = 128
    (folder / "config.json").write_text(json.dumps(content))
    write_bilin_file(folder, {})
    with pytest.raises(UnsupportedModelError, match="group_size 128 does not divide its 64"):
        ModelFolder(folder)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "x.pt"])
def test_shard_names_never_leave_the_folder(folder, name):
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": name}}))
    write_bilin_file(folder, {})
    with pytest.raises(ModelBrokenError, match="is not the name of a shard"):
        ModelFolder(folder)


def test_listed_files_never_leave_the_folder(folder):
    entry = {"size_bytes": 1, "sha256": "0"}
    (folder / "bilin.json").write_text(json.dumps({"files": {"../secret": entry}}))
    with pytest.raises(ModelBrokenError, match=r"bilin.json: files must give"):
        ModelFolder(folder)


def test_garbage_instead_of_a_shard_is_named(folder):
    path = shard(folder)
    path.write_bytes(b"\xff" * 4096)
    write_bilin_file(folder, {})
    with pytest.raises(ModelBrokenError, match=f"{path.name} cannot be read"):
        ModelFolder(folder)
