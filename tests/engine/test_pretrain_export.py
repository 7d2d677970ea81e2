"""From corpora to a model folder by the commands a person types, and what the card says of it."""

import dataclasses
import json
import lzma
from pathlib import Path

import pytest

from bilin_engine.library import Library
from bilin_engine.pretrain import __main__ as commands
from bilin_engine.pretrain.card import CardFacts, model_card
from bilin_engine.pretrain.export import thin_log
from bilin_engine.pretrain.loss_picture import loss_picture
from bilin_engine.pretrain.run_folder import read_checkpoint, weights_hash

MINI = Path(__file__).parents[2] / "resources" / "models" / "bilin-mini"
HEADER = "step,batches,loss_tokens,loss,learning_rate,gradient_norm,batches_per_step,fake_quant,"
HEADER += "seconds,event\n"


def row(step, event=""):
    return f"{step},{2 * step},{100 * step},{5 / (step + 1):.5f},1e-3,1.0,2,0,{step}.0,{event}\n"


@pytest.fixture
def corpus(tmp_path):
    """A corpus without dialogues."""

    def write(name, lines):
        (tmp_path / name).write_bytes(lzma.compress("\n".join(lines).encode()))

    folder = tmp_path
    write("hsk_sentences_audio.zh.txt.xz", ["今天的天气很好，我们去公园走一走吧。"] * 2000)
    write("bible_web.en.txt.xz", ["In the morning they went up the hill and sat down."] * 2000)
    write("cc_cedict.zh.txt.xz", ["天气", "今天"])
    write("cc_cedict.en.txt.xz", ["weather", "today"])
    write("wordnet_3_0_glosses.en.txt.xz", ["go: move away"])
    return folder


@pytest.mark.expects_log
def test_the_commands_of_the_readme_make_a_model_that_bilin_runs(
    corpus, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(commands.SIZES, "starter", (8192, 32, 1, 1, 64, 256))
    probe = tmp_path / "probe.jsonl"
    probe.write_text('{"lang": "en", "q": "How do I do it?", "must": "."}\n', encoding="utf-8")
    packed, run, out = tmp_path / "packed", tmp_path / "run", tmp_path / "models" / "made"

    def command(*arguments):
        assert commands.main([str(argument) for argument in arguments]) == 0

    tokenizer = MINI / "tokenizer.model"
    command("prepare", corpus, packed, "--probe", probe, "--tokenizer", tokenizer)
    few = ("--num-templates", 120, "--num-texts", 30)
    command("render", packed, "--shards", tmp_path / "again", "--processes", 2, *few)
    command(
        *("train", packed, run, *few, "--steps", 2, "--warmup-steps", 1, "--precision", "fp32"),
        *("--device", "cpu", "--tokens-per-batch", 256, "--fake-quant-share", 0.5),
    )
    for file in ("samples.u16", "mix.json"):  # whatever the number of processes
        again = (tmp_path / "again" / file).read_bytes()
        assert (packed / "shards" / file).read_bytes() == again
    measured = tmp_path / "measured.json"
    measured.write_text('[["what was asked", "3 / 4"]]', encoding="utf-8")
    command("export", run, packed, out, "--id", "made", "--measured", measured)
    [entry] = [model for model in Library(out.parent).models() if model.id == "made"]
    assert not entry.problem
    origin = json.loads((out / "training.json").read_text(encoding="utf-8"))
    assert origin["weights_sha256"] == weights_hash(read_checkpoint(run).weights())
    card = (out / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "| what was asked | 3 / 4 |" in card
    assert "(CPU, " in card
    (out / "of the first").touch()
    command("export", run, packed, out, "--id", "made", "--name-en", "Ours")
    card = (out / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "# Ours\n\nBilin's own open toolkit" in card
    assert [folder.name for folder in out.parent.iterdir()] == ["made"]
    assert not (out / "of the first").exists()
    again = tmp_path / "again from the first"
    command(
        *("train", packed, again, *few, "--steps", 1, "--precision", "fp32", "--device", "cpu"),
        *("--init-from", run),
    )
    command("export", again, packed, tmp_path / "models" / "second", "--id", "second")
    card = (tmp_path / "models" / "second" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "(last on CPU, " in card
    other = ("--shards", str(tmp_path / "fewer"))
    command("render", packed, *other, "--num-templates", 7, "--num-texts", 3)
    capsys.readouterr()
    same = ("--precision", "fp32", "--device", "cpu", "--tokens-per-batch", 256)
    same = (*same, "--steps", 2, "--warmup-steps", 1, "--fake-quant-share", 0.5)
    for words in (("train", packed, run, *same), ("export", run, packed, out)):
        assert commands.main([*map(str, words), *other]) == 1
        assert "samples" in capsys.readouterr().err
    (packed / "tokenizer.model").write_bytes(b"another")
    capsys.readouterr()
    assert commands.main(["export", str(run), str(packed), str(out)]) == 1
    assert "different vocabularies" in capsys.readouterr().err
    command("report", packed, out, "--num-texts", 2)
    [report] = json.loads(capsys.readouterr().out).values()
    assert {figures["lang"] for figures in report} <= {"zh", "en"}
    assert all(figures["bits_per_byte"] > 0 for figures in report)


@pytest.mark.parametrize("command", [(), ("prepare",), ("render",), ("train",), ("export",)])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        commands.main([*command, "--help"])
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_what_is_missing_is_told_in_a_sentence(tmp_path, capsys):
    assert commands.main(["train", str(tmp_path / "none"), str(tmp_path / "run")]) == 1
    assert str(tmp_path / "none") in capsys.readouterr().err


def test_an_end_without_a_length_is_refused(tmp_path, capsys):
    packed, run = str(tmp_path / "packed"), str(tmp_path / "run")
    assert commands.main(["train", packed, run, "--ends-at", "15:16"]) == 1
    assert "--ends-at needs --schedule-seconds too" in capsys.readouterr().err


@pytest.mark.parametrize("taken", ["models", "models.new", "models.old"])
def test_export_replaces_no_folder_that_it_did_not_write(tmp_path, capsys, taken):
    precious = tmp_path / taken / "other-model" / "config.json"
    precious.parent.mkdir(parents=True)
    precious.touch()
    run, packed = tmp_path / "run", tmp_path / "packed"
    assert commands.main(["export", str(run), str(packed), str(tmp_path / "models")]) == 1
    assert precious.exists()
    told = capsys.readouterr().err
    assert f"{tmp_path / taken} is no model folder that export wrote" in told


@pytest.mark.parametrize(
    ("group_size", "zh", "en"),
    [
        (32, "INT4（每组 32 个）", "INT4 weights (groups of 32)"),
        ("row", "INT4（每行一个尺度）", "INT4 weights (one scale a row)"),
        (0, "权重为 bfloat16", "weights in bfloat16"),
    ],
)
def test_the_card_says_how_the_weights_are_stored_and_where_they_were_trained(group_size, zh, en):
    card = model_card(card_facts(group_size=group_size))
    assert zh in card
    assert en in card
    assert "（NVIDIA H100）" in card
    assert "(NVIDIA H100)" in card
    assert "CPU" not in card
    assert "60 %" in card
    assert "40 %" in card


def test_the_card_does_not_say_where_earlier_runs_were_trained():
    card = model_card(card_facts(has_earlier_runs=True))
    assert "（最后在 NVIDIA H100 上）" in card
    assert "(last on NVIDIA H100)" in card


def card_facts(**changes):
    facts = CardFacts(
        name_zh="我的",
        name_en="Mine",
        is_bundled=False,
        num_parameters=40_000_000,
        num_layers=10,
        hidden_size=512,
        vocab_size=16384,
        context=1024,
        loss_tokens=250_000_000,
        seconds=360.0,
        device="NVIDIA H100",
        has_earlier_runs=False,
        group_size=32,
        weights_sha256="abc",
        mix={"text": 0.6, "howto": 0.4},
    )
    return dataclasses.replace(facts, **changes)


def test_a_thinned_log_keeps_its_ends_and_every_event():
    lines = [HEADER, *(row(step, "spike" if step == 37 else "") for step in range(101))]
    kept = thin_log(lines, 10).splitlines()
    assert kept[0] == HEADER.strip()
    steps = [int(line.split(",")[0]) for line in kept[1:]]
    assert steps == sorted(steps)
    assert {0, 37, 100} <= set(steps)
    assert len(steps) <= 13
    assert thin_log(lines, 1000).splitlines() == [line.strip() for line in lines]


def test_the_picture_is_drawn_from_the_updates_and_marks_events():
    quiet = HEADER + "".join(row(step) for step in range(1, 50))
    loud = HEADER + "".join(row(step, "spike" if step == 20 else "") for step in range(1, 50))
    assert quiet != loud
    assert loss_picture(quiet).startswith("<svg")
    assert loss_picture(quiet) != loss_picture(loud)
    with pytest.raises(ValueError, match="no updates"):
        loss_picture(HEADER)
