"""Damaged model folders through the whole engine: each its sentence, and the engine goes on."""

import json
import shutil

import pytest
from letter_models import Engine
from stdio_app import is_alive
from tiny_model import write_tiny_model

from bilin_engine.generation.masks import parse_mask_text
from bilin_engine.library import Library
from bilin_engine.protocol import (
    Chat,
    Done,
    Failed,
    Fill,
    ListModels,
    LoadModel,
    LoadSettings,
    Message,
    Sampling,
)
from bilin_engine.server.model_text import ModelTexts
from bilin_engine.server.worker_process import WorkerCommand

pytestmark = pytest.mark.e2e

SETTINGS = LoadSettings(num_threads=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("models"))


@pytest.fixture
def folder(whole, tmp_path):
    """A copy to damage."""
    return shutil.copytree(whole, tmp_path / "models" / "tiny")


def engine_for(folder):
    texts = ModelTexts(Library(folder.parent, bundled_dir=folder.parent / "none"))
    return Engine(WorkerCommand(nice=0), texts=texts)


def load(i):
    return LoadModel(id=i, model="tiny", settings=SETTINGS)


def shard_of(folder):
    return next(folder.glob("*.safetensors"))


def forget_hashes(folder):
    """As a folder whose bilin.json does not list files."""
    path = folder / "bilin.json"
    content = json.loads(path.read_text())
    content["files"] = {}
    path.write_text(json.dumps(content))


def truncate_shard(folder):
    path = shard_of(folder)
    path.write_bytes(path.read_bytes()[:-1000])


def truncate_shard_unlisted(folder):
    truncate_shard(folder)
    forget_hashes(folder)


def alter_shard(folder):
    path = shard_of(folder)
    data = bytearray(path.read_bytes())
    data[-500] ^= 0xFF
    path.write_bytes(data)


def remove_shard(folder):
    shard_of(folder).unlink()


def remove_tokenizer(folder):
    (folder / "tokenizer.model").unlink()


def remove_tokenizer_unlisted(folder):
    remove_tokenizer(folder)
    forget_hashes(folder)


def damage_tokenizer(folder):
    (folder / "tokenizer.model").write_bytes(b"not a model")
    forget_hashes(folder)


def add_config_key(folder):
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["use_parallel_residual"] = True
    path.write_text(json.dumps(content))
    forget_hashes(folder)


def break_config(folder):
    (folder / "config.json").write_text("{")
    forget_hashes(folder)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate_shard, ("model-00001-of-00001.safetensors", "cut short")),
        pytest.param(
            truncate_shard_unlisted,
            ("model-00001-of-00001.safetensors",),
            marks=pytest.mark.slow,
        ),
        (alter_shard, ("model-00001-of-00001.safetensors", "changed")),
        (remove_shard, ("model-00001-of-00001.safetensors", "missing")),
        (remove_tokenizer, ("tokenizer.model", "missing")),
        (remove_tokenizer_unlisted, ("tokenizer.model", "missing")),
        (damage_tokenizer, ("tokenizer.model", "damaged")),
        (add_config_key, ("config.json", "use_parallel_residual")),
        (break_config, ("config.json",)),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_damaged_folder_is_told_by_file_and_costs_nothing_else(folder, damage, words):
    damage(folder)
    with engine_for(folder) as engine:
        failed = engine.ask(load)
        assert isinstance(failed, Failed)
        assert failed.code in ("model_broken", "unsupported_model")
        for word in words:
            assert word in failed.message
        assert "Traceback" not in failed.message
        listed = engine.ask(ListModels)
        assert isinstance(listed, Done)
        assert not engine.worker_pids()


def test_whole_folder_answers_and_fills_from_read_only_files(folder):
    for path in (folder, *folder.iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        with engine_for(folder) as engine:
            loaded = engine.ask(load).result
            assert loaded.context_length == 256
            assert loaded.num_threads == 1
            assert loaded.memory_bytes["cpu"] > 0
            messages = (Message("user", "你好"),)
            sampling = Sampling(max_new_tokens=8, seed=1)
            first, second = (
                engine.ask(
                    lambda i: Chat(id=i, model="tiny", messages=messages, sampling=sampling)
                ).result
                for _ in range(2)
            )
            assert first.text == second.text
            assert first.stats.new_tokens <= 8
            segments = parse_mask_text("门高[MASK]米 [gMASK]")
            filled = engine.ask(
                lambda i: Fill(
                    id=i, model="tiny", segments=segments, num_candidates=2, sampling=sampling
                )
            ).result
            assert [blank.kind for blank in filled.blanks] == ["short", "long"]
            assert "MASK" not in filled.text
            pids = engine.worker_pids()
        assert not any(map(is_alive, pids))
    finally:
        folder.chmod(0o755)
