"""Corpus folders that are not the one the bundled model was made from."""

import json
import logging
import lzma
from pathlib import Path

import pytest

from bilin_engine.pretrain import prepare
from bilin_engine.pretrain.corpus import clean, mine_facts, read_dialogues, read_lines
from bilin_engine.pretrain.prepare import PackSettings, RenderSettings, pack_corpus, render

TOKENIZER = Path(__file__).parents[2] / "resources" / "models" / "bilin-mini" / "tokenizer.model"
pytestmark = pytest.mark.expects_log  # packing tells of every corpus that is absent


def write(folder, name, lines):
    (folder / name).write_bytes(lzma.compress("".join(f"{line}\n" for line in lines).encode()))


def test_one_half_of_parallel_documentation_is_enough(tmp_path, caplog):
    write(tmp_path, "python_docs.en.txt.xz", ["Lists keep their items in order."] * 2000)
    pack_corpus(tmp_path, tmp_path / "packed", [], PackSettings(tokenizer=TOKENIZER))
    assert "python_docs.zh.txt.xz is absent" in caplog.text
    few = RenderSettings(num_templates=20, num_texts=10)
    assert render(tmp_path / "packed", tmp_path / "shards", few)["samples"]["text"]


def test_parallel_files_of_different_length_are_named(tmp_path):
    write(tmp_path, "cc_cedict.zh.txt.xz", ["天气", "今天"])
    write(tmp_path, "cc_cedict.en.txt.xz", ["weather"])
    told = r"cc_cedict\.zh\.txt\.xz has 2 lines and cc_cedict\.en\.txt\.xz 1;"
    with pytest.raises(ValueError, match=told):
        mine_facts(tmp_path, num_words=1, num_glosses=1)


def test_a_damaged_file_is_named(tmp_path):
    write(tmp_path, "vue_docs.zh.txt.xz", ["一"] * 100)
    file = tmp_path / "vue_docs.zh.txt.xz"
    for content in (file.read_bytes()[:-10], b"no xz at all"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"vue_docs\.zh\.txt\.xz is damaged: "):
            read_lines(tmp_path, file.name)


def test_a_vocabulary_that_samples_cannot_hold_is_refused_before_the_work(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"a vocabulary of 70000 ids is too large; .* hold 65536"):
        pack_corpus(tmp_path, tmp_path / "packed", [], PackSettings(vocab_size=70_000))
    monkeypatch.setattr(prepare, "MAX_VOCAB_SIZE", 16_000)
    with pytest.raises(ValueError, match="a vocabulary of 16384 ids is too large"):
        pack_corpus(tmp_path, tmp_path / "packed", [], PackSettings(tokenizer=TOKENIZER))
    assert not (tmp_path / "packed").exists()


def test_a_corpus_that_is_not_there_leaves_the_packed_folder_whole(tmp_path, caplog):
    (tmp_path / prepare.PACK_FILE).touch()
    with pytest.raises(ValueError, match=r"nowhere is no folder; name the one with NAME\.zh"):
        pack_corpus(tmp_path / "nowhere", tmp_path, [], PackSettings())
    assert [path.name for path in tmp_path.iterdir()] == [prepare.PACK_FILE]
    assert caplog.records == []


def test_files_that_no_source_names_are_told_of(tmp_path, caplog):
    write(tmp_path, "mybooks.en.txt.xz", ["In the morning they went up the hill."] * 2000)
    with pytest.raises(ValueError, match=r"holds no text of a source .*: .*, python_docs\.en\.txt"):
        pack_corpus(tmp_path, tmp_path / "packed", [], PackSettings(tokenizer=TOKENIZER))
    [told] = [r for r in caplog.records if "mybooks.en.txt.xz is not read" in r.getMessage()]
    assert told.levelno == logging.WARNING
    assert not (tmp_path / "packed" / "pack.json").exists()


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\f", "\x1c"])
def test_only_line_feeds_end_a_line(tmp_path, mark):
    said = f"one{mark}two"
    entry = json.dumps({"lang": "en", "turns": [said, "Yes."]}, ensure_ascii=False)
    write(tmp_path, "dialogues.jsonl.xz", [entry] * 2)
    turns = [dialogue.turns for dialogue in read_dialogues(tmp_path)]
    assert turns == [(said, "Yes.")] * 2
    write(tmp_path, "vue_docs.zh.txt.xz", [said, "", "three", ""])
    assert read_lines(tmp_path, "vue_docs.zh.txt.xz") == [said, "", "three", ""]
    assert clean(said) == "one two"


def test_an_empty_file_has_no_lines(tmp_path):
    write(tmp_path, "vue_docs.zh.txt.xz", [])
    assert read_lines(tmp_path, "vue_docs.zh.txt.xz") == []
