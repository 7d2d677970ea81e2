"""The bundled model: its examples are things it does, and its log is its own."""

import csv
import hashlib
import json
import re
from pathlib import Path

import pytest
import torch

from bilin_engine.chat_format import text_language
from bilin_engine.evaluate.model import load_model
from bilin_engine.generation.masks import encode_segments, layout_blank, parse_mask_text
from bilin_engine.library import Library, bundled_models_dir, read_description
from bilin_engine.protocol import LoadSettings, Message, Sampling

FOLDER = bundled_models_dir() / "bilin-mini"
EXPECTED = {
    "你好": "你好|您好",
    "What can you do?": "blank",
    "怎么插入一个空？": r"Ctrl\+M",
    "How do I insert a blank?": r"Ctrl\+M",
    "春眠不觉晓的下一句是什么？": "处处闻啼鸟",
    "What is the capital of France?": "Paris",
    "天空是[MASK]的。": "^蓝色?$",
    "春眠不觉晓，[gMASK]": "^处处闻啼鸟。",
    "After spring comes [MASK].": "^summer$",
}


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    threads = torch.get_num_threads()
    library = Library(tmp_path_factory.mktemp("models"))
    model = load_model(library, "bilin-mini", LoadSettings(num_threads=1))
    yield model
    model.runner.close()
    torch.set_num_threads(threads)


def test_every_example_has_an_answer_that_is_known_to_be_right():
    examples = read_description(FOLDER).examples
    assert {example.text for example in examples} == set(EXPECTED)
    for kind in ("chat", "blank"):
        assert {e.lang for e in examples if e.kind == kind} == {"zh", "en"}


@pytest.mark.parametrize("example", read_description(FOLDER).examples, ids=lambda e: e.text)
def test_it_does_what_its_examples_show(mini, example):
    if example.kind == "chat":
        answer = mini.chat([Message("user", example.text)], 120)
        assert text_language(answer) == example.lang
    else:
        sequence = encode_segments(parse_mask_text(example.text), mini.tokenizer)
        blank = sequence.next_blank()
        assert blank is not None
        layout = layout_blank(sequence, blank, mini.tokenizer.specials, mini.max_length)
        greedy = Sampling(temperature=0.0, max_new_tokens=60, seed=0)
        answer = mini.tokenizer.decode(list(mini.complete(layout, greedy)))
    assert re.search(EXPECTED[example.text], answer), answer


def test_the_log_is_the_log_of_these_weights():
    """The hash of the unrounded weights stands in the log, the card and training.json."""
    origin = json.loads((FOLDER / "training.json").read_text(encoding="utf-8"))
    digest = origin["weights_sha256"]
    head, *rows = (FOLDER / "training_log.csv").read_text(encoding="utf-8").splitlines()
    assert head == f"# weights_sha256 {digest}"
    assert digest in (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    updates = [row for row in csv.DictReader(rows) if not row["event"]]
    assert len(updates) >= 500
    assert float(updates[-1]["loss"]) < float(updates[0]["loss"])


def test_its_files_are_those_that_were_described():
    files = json.loads((FOLDER / "bilin.json").read_text(encoding="utf-8"))["files"]
    assert {path.name for path in FOLDER.iterdir()} == {*files, "bilin.json"}
    for name, described in files.items():
        content = (FOLDER / name).read_bytes()
        assert len(content) == described["size_bytes"], name
        assert hashlib.sha256(content).hexdigest() == described["sha256"], name


def test_the_card_names_sources_and_limits_in_both_languages():
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    for words in (
        "不会的",
        "What it cannot do",
        "CC BY-SA 4.0",
        "Apache-2.0",
        "hsk_sentences_audio",
    ):
        assert words in card


def test_it_stays_small():
    sizes = sum(path.stat().st_size for path in Path(FOLDER).iterdir())
    assert sizes < 40_000_000  # every checkout and every wheel carries it
