"""Model folders found, described and, where broken, listed with the reason."""

import dataclasses
import json
import os
from pathlib import Path

import msgspec
import pytest

from bilin_engine.config import GLMConfig, QuantizationConfig, QuantizationScheme
from bilin_engine.errors import ModelBrokenError, ModelNotFoundError
from bilin_engine.library import (
    Capabilities,
    FileRecord,
    Library,
    ModelDescription,
    ModelNames,
    bundled_models_dir,
    files_fingerprint,
    read_description,
    recommended_sampling,
)
from bilin_engine.protocol import Example, ModelsListed, Sampling, encode_frame

CONFIG = GLMConfig.create(
    num_layers=2,
    hidden_size=64,
    num_attention_heads=4,
    inner_hidden_size=96,
    vocab_size=512,
    max_sequence_length=256,
    quantization=QuantizationConfig.uniform(4, 32),
)


def describe(model_id: str = "tiny", **changes) -> ModelDescription:
    values = {
        "id": model_id,
        "names": ModelNames("小模型", "Tiny"),
        "family": "GLM",
        "languages": ("zh", "en"),
        "capabilities": Capabilities(chat=True, blanks=("short", "long")),
        "licence": "Apache-2.0",
        "source": "trained for a test",
        "chat_format": "qa",
        "examples": (Example("chat", "zh", "你好"),),
    }
    return ModelDescription(**{**values, **changes})


def make_model(
    parent: Path,
    name: str = "tiny",
    description: ModelDescription | None = None,
    config: GLMConfig = CONFIG,
) -> Path:
    folder = parent / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config.to_json()))
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "bilin.json").write_bytes(msgspec.json.encode(description or describe(name)))
    return folder


@pytest.fixture
def library(tmp_path) -> Library:
    return Library(tmp_path / "own", bundled_dir=tmp_path / "bundled")


def test_a_model_is_listed_with_what_its_files_say(library):
    folder = make_model(library.models_dir)
    (info,) = library.models()
    assert info.id == "tiny"
    assert (info.name_zh, info.name_en) == ("小模型", "Tiny")
    assert info.num_parameters == CONFIG.num_parameters
    assert info.precision == "INT4 · 32"
    assert info.context_length == 256
    assert info.can_chat
    assert info.blank_kinds == ("short", "long")
    assert info.examples == (Example("chat", "zh", "你好"),)
    assert info.size_bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert info.path == str(folder)
    assert info.problem == ""
    assert not info.is_bundled


def test_bundled_models_come_first_and_say_so(library):
    make_model(library.models_dir, "aaa")
    make_model(library.bundled_dir, "zzz")
    assert [(m.id, m.is_bundled) for m in library.models()] == [("zzz", True), ("aaa", False)]


def test_folders_that_do_not_exist_are_an_empty_library(library):
    assert library.models() == []


def test_the_bundled_folder_of_a_checkout_is_found():
    assert bundled_models_dir() == Path(__file__).parents[2] / "resources" / "models"


def test_the_bundled_folder_of_a_wheel_wins_over_a_checkouts(tmp_path, monkeypatch):
    inside = tmp_path / "site-packages" / "bilin_engine" / "_models"
    inside.mkdir(parents=True)
    monkeypatch.setattr("bilin_engine.library.__file__", str(inside.parent / "library.py"))
    assert bundled_models_dir() == inside


@pytest.mark.parametrize(
    ("quantization", "precision"),
    [
        (None, "FP16"),
        (QuantizationConfig.uniform(8, "row"), "INT8 · row"),
        (QuantizationConfig.uniform(4, 128), "INT4 · 128"),
        (
            QuantizationConfig(
                (
                    QuantizationScheme(4, "row"),
                    QuantizationScheme(4, 1536, ("re:.*dense$",)),
                    QuantizationScheme(4, 1536, ("re:.*other$",)),
                )
            ),
            "INT4 · row/1536",
        ),
    ],
)
def test_precision_names_bits_and_groups(library, quantization, precision):
    config = dataclasses.replace(CONFIG, quantization=quantization)
    make_model(library.models_dir, config=config)
    assert library.find("tiny").precision == precision


def test_two_models_of_one_id_are_both_reachable(library):
    make_model(library.bundled_dir, "one", describe("mini"))
    make_model(library.models_dir, "two", describe("mini"))
    make_model(library.models_dir, "three", describe("mini"))
    assert [m.id for m in library.models()] == ["mini", "mini-2", "mini-3"]
    assert library.find("mini-3").path.endswith("two")


def test_an_unknown_id_is_answered_with_the_known_ones(library):
    make_model(library.models_dir)
    with pytest.raises(ModelNotFoundError, match=r"no model 'glm' in the library; known: tiny"):
        library.find("glm")


def test_chat_formats_are_those_of_models_that_chat(library):
    make_model(library.models_dir, "chats")
    make_model(
        library.models_dir,
        "fills",
        describe("fills", capabilities=Capabilities(blanks=("short",)), chat_format="qa"),
    )
    assert library.chat_format("chats") == "qa"
    assert library.chat_format("fills") == ""


def test_a_folder_that_is_no_model_is_listed_with_the_reason(library):
    (library.models_dir / "Holiday photos").mkdir(parents=True)
    (info,) = library.models()
    assert info.id == "holiday-photos"
    assert info.name_en == "Holiday photos"
    assert "config.json is missing" in info.problem
    with pytest.raises(ModelNotFoundError):
        library.find("Holiday photos")
    assert library.find("holiday-photos") == info


def test_a_folder_whose_name_is_no_utf8_is_listed_with_the_reason_and_can_be_sent(library):
    folder = library.models_dir / os.fsdecode("模型".encode("gbk"))
    folder.mkdir(parents=True)
    (info,) = library.models()
    assert info.problem == f"the name of the folder {info.path} is not UTF-8; rename the folder"
    assert encode_frame(ModelsListed(models=(info,)))


def test_a_file_whose_name_is_no_utf8_has_its_place_in_the_fingerprint(tmp_path):
    before = files_fingerprint(tmp_path)
    (tmp_path / os.fsdecode(b"\xc4\xa3.txt")).write_bytes(b"x")
    assert files_fingerprint(tmp_path) != before


def test_hidden_folders_and_files_are_passed_over(library):
    make_model(library.models_dir, ".tiny.abc.partial", describe())
    (library.models_dir / "notes.txt").write_text("x")
    assert library.models() == []


def test_a_folder_without_description_is_listed_with_the_reason(library):
    (make_model(library.models_dir) / "bilin.json").unlink()
    (info,) = library.models()
    assert info.num_parameters == CONFIG.num_parameters
    assert "bilin.json is missing: the folder was not written or imported by Bilin" in info.problem


def test_an_unknown_architecture_is_listed_with_the_reason(library):
    folder = make_model(library.models_dir)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (info,) = library.models()
    assert 'model_type "bert" is not one Bilin runs' in info.problem
    assert info.name_zh == "小模型"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"names": {"zh": 3, "en": "x"}}, r"Expected `str`, got `int` - at `\$.names.zh`"),
        ({"capabilities": {"blanks": ["huge"]}}, r"Invalid enum value 'huge' - at `\$.capabil"),
        ({"examples": [{"kind": "chat", "lang": "fr", "text": ""}]}, "Invalid enum value 'fr'"),
        ({"id": "../etc"}, "id is '../etc'; use up to 64 lower-case letters"),
        ({"id": "Tiny"}, "id is 'Tiny'"),
        ({"chat_format": ""}, "capabilities.chat is true without a chat_format"),
        ({"files": {"a": "ff"}}, r"Expected `object`, got `str` - at `\$.files\[...\]`"),
    ],
)
def test_a_wrong_value_in_the_description_is_named(tmp_path, changes, sentence):
    content = {**msgspec.to_builtins(describe()), **changes}
    (tmp_path / "bilin.json").write_text(json.dumps(content))
    with pytest.raises(ModelBrokenError, match=f"bilin.json is damaged: .*{sentence}"):
        read_description(tmp_path)


def test_a_description_nested_too_deep_is_damaged(tmp_path):
    (tmp_path / "bilin.json").write_text('{"mood": ' + "[" * 100_000)
    with pytest.raises(ModelBrokenError, match=r"bilin\.json is damaged: "):
        read_description(tmp_path)


def test_keys_of_a_later_version_are_passed_over(tmp_path):
    content = {**msgspec.to_builtins(describe()), "mood": "good"}
    (tmp_path / "bilin.json").write_text(json.dumps(content))
    assert read_description(tmp_path) == describe()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: f.unlink(), "model.safetensors is missing: copy or convert"),
        (lambda f: f.write_bytes(b"123"), "model.safetensors has 3 bytes instead of 4"),
    ],
)
def test_a_missing_or_cut_file_is_named_before_loading(library, damage, sentence):
    files = {"model.safetensors": FileRecord(4, "0" * 64)}
    folder = make_model(library.models_dir, description=describe(files=files))
    (folder / "model.safetensors").write_bytes(b"1234")
    assert library.find("tiny").problem == ""
    damage(folder / "model.safetensors")
    assert sentence in library.find("tiny").problem


def test_a_missing_tokenizer_is_a_problem_only_for_models_that_read_text(library):
    for name, capabilities in (("talks", Capabilities(chat=True)), ("ids", Capabilities())):
        folder = make_model(library.models_dir, name, describe(name, capabilities=capabilities))
        (folder / "tokenizer_config.json").unlink()
    assert "tokenizer_config.json is missing" in library.find("talks").problem
    assert library.find("ids").problem == ""


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"temperature": 0, "max_new_tokens": 9}', Sampling(temperature=0.0, max_new_tokens=9)),
        ('{"temperature": 0.6, "top_k": 40}', Sampling(temperature=0.6, top_k=40)),
        ('{"do_sample": false, "temperature": 0.9}', Sampling(temperature=0.0)),
        ('{"temperature": "hot", "top_k": -3, "top_p": true}', Sampling()),
        ('{"temperature": ' + "9" * 400 + "}", Sampling()),
        ('{"top_k": ' + "9" * 5000 + "}", Sampling()),
        ("[1]", Sampling()),
        ("{", Sampling()),
        (None, Sampling()),
    ],
)  # fmt: skip
def test_recommended_sampling_is_what_generation_config_says(tmp_path, content, expected):
    if content is not None:
        (tmp_path / "generation_config.json").write_text(content)
    assert recommended_sampling(tmp_path) == expected


@pytest.mark.parametrize(
    ("thinking", "can_skip", "longest"),
    [("", False, 512), ("always", False, 4096), ("switchable", True, 4096)],
)
def test_a_model_that_thinks_has_room_for_it(library, thinking, can_skip, longest):
    capabilities = Capabilities(chat=True, thinking=thinking)
    folder = make_model(library.models_dir, "tiny", describe(capabilities=capabilities))
    info = library.find("tiny")
    assert (info.can_skip_thinking, info.sampling.max_new_tokens) == (can_skip, longest)
    (folder / "generation_config.json").write_text('{"max_new_tokens": 9}')
    assert recommended_sampling(folder, thinks=bool(thinking)).max_new_tokens == 9
