"""Rendering: shards that are whole or the earlier ones, and that say what they were made from."""

import json
import lzma
import os
import re
import shutil
import socket
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bilin_engine.pretrain import __main__ as commands
from bilin_engine.pretrain.mixture import FAMILY_SHARES, Mixture
from bilin_engine.pretrain.prepare import (
    MIX_FILE,
    PackSettings,
    RenderSettings,
    pack_corpus,
    render,
    require_rendered_from,
)
from bilin_engine.pretrain.run_folder import lock_run
from bilin_engine.pretrain.shards import SampleStore
from bilin_engine.processes import lock_file

TOKENIZER = Path(__file__).parents[2] / "resources" / "models" / "bilin-mini" / "tokenizer.model"
pytestmark = pytest.mark.expects_log  # packing tells of every corpus that is absent
FEW = RenderSettings(num_templates=20, num_texts=10)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A packed folder without dialogues."""
    corpus = tmp_path_factory.mktemp("corpus")
    for name, line in {
        "hsk_sentences_audio.zh": "今天的天气很好，我们去公园走一走吧。",
        "bible_web.en": "In the morning they went up the hill and sat down.",
        "cc_cedict.zh": "天气",
        "cc_cedict.en": "weather",
        "wordnet_3_0_glosses.en": "go: move away",
    }.items():
        (corpus / f"{name}.txt.xz").write_bytes(lzma.compress(f"{line}\n".encode() * 2000))
    pack_corpus(corpus, corpus / "packed", [], PackSettings(tokenizer=TOKENIZER))
    return corpus / "packed"


def samples_of(store):
    return [store[index] for index in range(len(store))]


def test_a_render_that_breaks_off_leaves_the_earlier_shards(packed, tmp_path, monkeypatch):
    render(packed, tmp_path, FEW)
    earlier = samples_of(SampleStore.open(tmp_path))

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Mixture, "texts", dies)  # the templates are written by then
    with pytest.raises(KeyboardInterrupt):
        render(packed, tmp_path, RenderSettings(num_templates=30, num_texts=10, seed=2))
    assert (tmp_path / MIX_FILE).exists()
    assert samples_of(SampleStore.open(tmp_path)) == earlier


def test_a_run_keeps_the_samples_that_it_has_open(packed, tmp_path):
    render(packed, tmp_path, FEW)
    opened = SampleStore.open(tmp_path)
    before = samples_of(opened)
    render(packed, tmp_path, RenderSettings(num_templates=30, num_texts=10, seed=2))
    assert samples_of(opened) == before
    assert len(SampleStore.open(tmp_path)) == 40
    assert not (tmp_path / "new").exists()


@pytest.fixture
def own(packed, tmp_path):
    """A packed folder with its own shards, and a copy of the vocabulary with other facts."""
    shutil.copytree(packed, tmp_path / "own")
    render(tmp_path / "own", tmp_path / "own" / "shards", FEW)
    shutil.copytree(packed, tmp_path / "other")
    (tmp_path / "other" / "facts.json").write_text("{}", encoding="utf-8")
    return tmp_path / "own"


@pytest.mark.parametrize(
    ("given", "difference"),
    [
        ({}, None),
        ({"num_templates": 20, "max_length": 256, "family_shares": ()}, None),
        ({"num_templates": 21}, "num_templates 20 instead of 21"),
        ({"max_length": 64, "num_texts": 9}, "num_texts 10 instead of 9"),
        ({"family_shares": (("sum", 0.3),)}, r"family_shares \[\] instead of \[\['sum', 0.3\]\]"),
    ],
)
def test_settings_that_are_given_must_be_those_of_the_shards(own, given, difference):
    def ask():
        require_rendered_from(own / "shards", own, given, is_own=True)

    if difference is None:
        ask()
    else:
        with pytest.raises(ValueError, match=f"was rendered with .*{difference}; .*`python -m .*"):
            ask()


def test_train_refuses_shards_from_before_another_prepare(own, tmp_path, capsys):
    (own / "facts.json").write_text("{}", encoding="utf-8")
    assert commands.main(["train", str(own), str(tmp_path / "run"), "--device", "cpu"]) == 1
    told = capsys.readouterr().err
    assert f"{own / 'shards'} was rendered with another facts.json; " in told
    assert f"`python -m bilin_engine.pretrain render {own} --shards {own / 'shards'}`" in told


def test_train_refuses_shards_from_before_other_facts(own, tmp_path, capsys):
    path = own / "shards" / "rendered_from.json"
    origin = json.loads(path.read_text(encoding="utf-8"))
    origin["packed"]["set of facts and templates"] = "0" * 64  # as an edit of howto.toml changes it
    path.write_text(json.dumps(origin), encoding="utf-8")
    assert commands.main(["train", str(own), str(tmp_path / "run"), "--device", "cpu"]) == 1
    assert "was rendered with another set of facts and templates; " in capsys.readouterr().err


def test_a_folder_that_prepare_left_unfinished_is_refused(own, tmp_path, capsys):
    (own / "pack.json").unlink()
    assert commands.main(["render", str(own), "--shards", str(tmp_path / "s")]) == 1
    assert "holds nothing that `prepare` has finished" in capsys.readouterr().err


def test_named_shards_may_be_of_another_folder_with_the_same_vocabulary(own, tmp_path, caplog):
    caplog.clear()
    require_rendered_from(own / "shards", tmp_path / "other", {}, is_own=False)
    assert "was rendered from another facts.json than" in caplog.text
    (tmp_path / "other" / "tokenizer.model").write_bytes(b"another")
    with pytest.raises(ValueError, match=r"another tokenizer\.model"):
        require_rendered_from(own / "shards", tmp_path / "other", {}, is_own=False)


def test_shards_without_a_record_are_taken_with_a_warning(own, caplog):
    (own / "shards" / "rendered_from.json").unlink()
    caplog.clear()
    require_rendered_from(own / "shards", own, {"max_length": 640}, is_own=True)
    assert "does not say what it was rendered from" in caplog.text


def test_samples_that_do_not_fit_are_told_of(packed, tmp_path, caplog):
    caplog.clear()
    mix = render(packed, tmp_path, RenderSettings(num_templates=20, num_texts=10, max_length=48))
    assert "text" not in mix["samples"]
    told = re.findall(r"(\d+) of \1 samples of text do not fit --max-length 48", caplog.text)
    assert len(told) == 1
    caplog.clear()
    render(packed, tmp_path, RenderSettings(num_templates=20, num_texts=10, max_length=1024))
    assert "do not fit" not in caplog.text


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (("--share", "sum=-.1"), "--share sum=-0.1: a share is a number from 0 to 1"),
        (("--share", "sum=nan"), "--share sum=nan: a share is a number from 0 to 1"),
        (("--share", "sum=.7", "--share", "talk=.4"), "add up to 1.1; all families together have"),
        (("--max-length", "0"), "--max-length 0 holds no question with its answer; give at least"),
    ],
)
def test_a_mix_that_cannot_be_is_refused(packed, tmp_path, capsys, words, refusal):
    assert commands.main(["render", str(packed), "--shards", str(tmp_path / "s"), *words]) == 1
    assert refusal in capsys.readouterr().err


def test_all_families_but_not_all_shares_are_refused():
    tenths = tuple((family, share / 10) for family, share in FAMILY_SHARES.items())
    with pytest.raises(ValueError, match=r"these add up to 0\.1; all families together have 1"):
        RenderSettings(family_shares=tenths)


def test_train_tells_the_mix_that_it_renders(packed, tmp_path, capsys):
    shutil.copytree(packed, tmp_path / "packed")
    run = ("train", tmp_path / "packed", tmp_path / "run", "--num-templates", 20, "--num-texts", 9)
    plan = ("--device", "cpu", "--steps", 0, "--precision", "fp32")
    assert commands.main([str(word) for word in (*run, *plan)]) == 0
    assert re.search(r"^text +\d+ samples +[\d.]+ % of loss tokens$", capsys.readouterr().out, re.M)


def test_train_refuses_damaged_samples(own, tmp_path, capsys):
    file = own / "shards" / "samples.u16"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert commands.main(["train", str(own), str(tmp_path / "run"), "--device", "cpu"]) == 1
    assert f"{file} is damaged" in capsys.readouterr().err


def test_a_run_is_trained_by_one_process_at_a_time(own, tmp_path, capsys):
    run = tmp_path / "run"
    with lock_run(run):
        assert commands.main(["train", str(own), str(run), "--device", "cpu", "--steps", "1"]) == 1
    assert f"{run} is being trained by another process" in capsys.readouterr().err
    assert [file.name for file in run.iterdir()] == ["lock"]
    with lock_run(run):
        pass  # a lock goes with its process; the file stays


def test_samples_are_rendered_by_one_process_at_a_time(packed, tmp_path):
    with (tmp_path / "lock").open("w") as file:
        assert lock_file(file.fileno())
        with pytest.raises(ValueError, match="is being rendered by another process"):
            render(packed, tmp_path, FEW)
    render(packed, tmp_path, FEW)


@pytest.mark.slow
def test_machines_that_share_a_disk_render_once(packed, tmp_path):
    """Each process is the first of a machine of its own."""
    shutil.copytree(packed, tmp_path / "packed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "bilin_engine.pretrain", "train"),
                *(tmp_path / "packed", tmp_path / "run", "--num-templates", "20"),
                *("--num-texts", "10", "--steps", "1", "--device", "cpu", "--precision", "fp32"),
                *("--batches-per-step", "2", "--first-batches-per-step", "2", "--threads", "1"),
            ],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "OMP_NUM_THREADS": "1",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "WORLD_SIZE": "2",
                "RANK": str(rank),
                "LOCAL_WORLD_SIZE": "1",
                "LOCAL_RANK": "0",
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = []
    try:
        told += [process.communicate(timeout=50)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0, 0], told


def test_an_end_that_is_further_away_than_a_run_takes_is_refused(own, tmp_path, capsys):
    """Else nothing would be trained, and what it began with be exported as the result."""
    later = datetime.now() + timedelta(hours=2)
    wanted = ["--schedule-seconds", "60", "--ends-at", f"{later:%H:%M}"]
    run = tmp_path / "run"
    assert commands.main(["train", str(own), str(run), "--device", "cpu", *wanted]) == 1
    assert "is more than --schedule-seconds 60 away" in capsys.readouterr().err
    assert not run.exists()
