"""Wording as people type it, short answers, and beginning from a published model."""

import csv
import random

import pytest
import torch

from bilin_engine.checkpoints.int4 import dequantize, quantize
from bilin_engine.config import QuantizationScheme
from bilin_engine.library import bundled_models_dir
from bilin_engine.pretrain.mixture import cut_answer, lengths_told_apart
from bilin_engine.pretrain.model import round_int4
from bilin_engine.pretrain.published import is_model_folder, read_published
from bilin_engine.pretrain.samples import COUNT_ON, Block, Sample
from bilin_engine.pretrain.templates.numbers import sample_sum
from bilin_engine.pretrain.templates.talk import HowToTemplates
from bilin_engine.pretrain.templates.wording import colloquial, keywords, reword, slip

BUNDLED = bundled_models_dir() / "bilin-mini"


def wordings(change, text, lang, count=300):
    rng = random.Random(1)
    return {change(rng, lang, text) for _ in range(count)}


def test_words_are_exchanged_for_others_of_the_same_meaning():
    found = wordings(reword, "How do I delete a conversation", "en")
    assert "How do I delete a conversation" in found
    assert "How do I get rid of a conversation" in found
    assert "How do I delete a thread" in found
    assert "如何删掉对话" in wordings(reword, "怎么删除对话", "zh", 3000)


def test_parts_of_words_are_left_alone():
    assert wordings(reword, "a bookmaker opened it", "en") == {"a bookmaker opened it"}
    assert wordings(reword, "关键词下面", "zh") == {"关键词下面"}


def test_keywords_are_what_a_search_box_gets():
    assert "delete conversation" in wordings(keywords, "How do I delete a conversation?", "en")
    assert "删除对话" in wordings(keywords, "请问怎么删除一个对话？", "zh")
    assert wordings(keywords, "How do I?", "en") == {"How do I?"}


@pytest.mark.parametrize(("lang", "text"), [("zh", "怎么删除一段对话"), ("en", "delete the chat")])
def test_a_slip_changes_one_place(lang, text):
    for changed in wordings(slip, text, lang):
        assert abs(len(changed) - len(text)) <= 1
        same_ends = sum(a == b for a, b in zip(text, changed, strict=False)) + sum(
            a == b for a, b in zip(reversed(text), reversed(changed), strict=False)
        )
        assert same_ends >= len(text) - 2


def test_a_how_to_comes_in_hundreds_of_wordings_and_never_loses_its_answer():
    templates = HowToTemplates()
    rng = random.Random(2)
    questions, answers = set(), set()
    for _ in range(8000):
        exchange = templates.sample(rng, "zh")
        if exchange.family == "howto:stop":
            questions.add(exchange.question)
            answers.add(exchange.answer)
    assert len(answers) == 1
    assert len(questions) >= 60
    assert len(wordings(colloquial, "怎么停止回答", "zh")) >= 100


def test_a_cut_answer_keeps_its_beginning_and_learns_no_stop():
    sample = Sample((5, 6, 57), (Block(tuple(range(10, 40)), COUNT_ON, True),))
    rng = random.Random(3)
    sizes = []
    for _ in range(300):
        cut = cut_answer(rng, sample, 4)
        (block,) = cut.blocks
        assert cut.prefix == sample.prefix
        assert block.token_ids == tuple(range(10, 10 + len(block.token_ids)))
        assert block.is_closed == (len(block.token_ids) == 30)
        sizes.append(len(block.token_ids))
    assert min(sizes) == 6
    assert sum(sizes) / 300 < 16
    short = Sample((5, 57), (Block((7, 8), COUNT_ON, True),))
    assert cut_answer(rng, short, 4) == short


def test_answers_are_told_apart_where_they_first_differ():
    told = lengths_told_apart([[1, 2, 3, 4], [1, 2, 5], [7, 8], [1, 2, 5], [9], [9, 1, 1]])
    assert told == {(1, 2, 3, 4): 3, (1, 2, 5): 3, (7, 8): 1, (9,): 1, (9, 1, 1): 2}


def test_sums_are_also_asked_without_an_operator():
    rng = random.Random(4)
    questions = [sample_sum(rng, lang).question for lang in ("zh", "en") for _ in range(1500)]
    for form in ("的差", "的和是多少", "倍", "平均分成", "加起来"):
        assert any(form in question for question in questions), form
    for form in ("take", "product of", "divide", "more than"):
        assert any(form in question.lower() for question in questions), form


def test_a_model_folder_gives_the_weights_it_computes_with_and_its_log():
    assert is_model_folder(BUNDLED)
    checkpoint, lines = read_published(BUNDLED)
    weights = checkpoint.weights()
    name = "transformer.layers.0.mlp.dense_h_to_4h.weight"
    # What was rounded once stays as it is when rounded again.
    scheme = QuantizationScheme(bits=4, group_size=32)
    again = dequantize(quantize(weights[name], scheme, name, torch.bfloat16))
    assert torch.allclose(again, weights[name], rtol=0.02, atol=1e-3)
    assert torch.allclose(round_int4(weights[name], 32), weights[name], rtol=0.02, atol=1e-3)
    assert "transformer.word_embeddings.weight" in weights
    last = list(csv.DictReader(lines))[-1]
    assert checkpoint.progress.loss_tokens == int(last["loss_tokens"]) > 0
    assert checkpoint.log_lines == len(lines)
    assert not lines[0].startswith("#")


def test_a_run_is_no_model_folder(tmp_path):
    assert not is_model_folder(tmp_path)
