"""Blank filling by hand-made cases: which tokens, positions and losses a sample has."""

import random
from itertools import pairwise

import numpy as np
import pytest

from bilin_engine.pretrain.objective import BlankFilling, draw_spans
from bilin_engine.pretrain.samples import (
    COUNT_ON,
    IGNORED,
    PADDING_BLOCK,
    Block,
    Sample,
    collate,
    pack,
    unpack,
)
from bilin_engine.pretrain.templates.exchange import Cloze
from bilin_engine.pretrain.vocabulary import train_vocabulary
from bilin_engine.tokenizers.sentencepiece import SentencePieceTokenizer

SOP, EOP = 900, 901
TEXTS = [
    "The cat sat on the mat and the dog sat on the log.",
    "Question: What is a blank?\nAnswer: A blank is a place in a text.",
    "问：你好\n答：你好！我是一个小小的演示模型，今天天气很好。",
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    file = tmp_path_factory.mktemp("vocabulary") / "tokenizer.model"
    train_vocabulary(TEXTS * 20, file, vocab_size=480, num_chars=200, needed="我你")
    return SentencePieceTokenizer(file)


def sample_of_two_spans():
    """Prefix a b [M] d [M] </s>; the first blank is filled with 10 11, the second with 12."""
    return Sample((1, 2, 800, 4, 800, 5), (Block((10, 11), 2, True), Block((12,), 4, True)))


def test_a_short_blank_keeps_the_position_of_its_mask():
    batch = collate([sample_of_two_spans()], sop=SOP, eop=EOP)
    assert batch.input_ids[0].tolist() == [1, 2, 800, 4, 800, 5, SOP, 10, 11, SOP, 12]
    assert batch.position_ids[0].tolist() == [0, 1, 2, 3, 4, 5, 2, 2, 2, 4, 4]
    assert batch.block_ids[0].tolist() == [0] * 6 + [1, 1, 1, 2, 2]


def test_only_filled_tokens_and_the_stop_carry_loss():
    batch = collate([sample_of_two_spans()], sop=SOP, eop=EOP)
    assert batch.targets[0].tolist() == [IGNORED] * 6 + [10, 11, EOP, 12, EOP]
    assert batch.num_targets == sample_of_two_spans().num_targets == 5


def test_a_long_blank_counts_on_and_a_cut_text_learns_no_stop():
    sample = Sample((7, 8, 801), (Block((20, 21, 22), COUNT_ON, False),))
    batch = collate([sample], sop=SOP, eop=EOP)
    assert batch.position_ids[0].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert batch.targets[0].tolist() == [IGNORED] * 3 + [20, 21, 22, IGNORED]


def test_padding_carries_neither_loss_nor_a_block():
    short = Sample((1,), (Block((2,), COUNT_ON, True),))
    batch = collate([short, sample_of_two_spans()], sop=SOP, eop=EOP, multiple=8)
    assert batch.input_ids.shape == (2, 16)
    assert (batch.block_ids[0, 3:] == PADDING_BLOCK).all()
    assert (batch.targets[0, 3:] == IGNORED).all()


def test_a_record_gives_its_sample_back():
    for sample in (sample_of_two_spans(), Sample((3, 801), (Block((), COUNT_ON, True),))):
        record = pack(sample)
        assert unpack(record) == sample
        assert max(record) <= np.iinfo(np.uint16).max


@pytest.mark.parametrize("length", [8, 20, 40, 200])
def test_spans_are_apart_inside_and_within_their_share(length):
    rng = random.Random(length)
    for _ in range(200):
        spans = draw_spans(rng, length, 0.15, 3.0)
        assert spans[0][0] >= 0
        assert spans[-1][1] <= length
        assert all(end > start for start, end in spans)
        assert all(a[1] < b[0] for a, b in pairwise(spans))
        assert sum(end - start for start, end in spans) == max(1, round(0.15 * length))


def test_span_lengths_have_the_mean_of_their_distribution():
    rng = random.Random(0)
    sizes = [end - start for _ in range(300) for start, end in draw_spans(rng, 400, 0.15, 3.0)]
    # Poisson(3) with zeros counted as ones has mean 3.05; the last span of a text is cut short,
    # which takes some 0.1 off at twenty spans a text.
    assert 2.75 < sum(sizes) / len(sizes) < 3.15


def test_seven_of_ten_texts_get_one_long_blank(tokenizer):
    filling = BlankFilling(tokenizer)
    rng = random.Random(3)
    samples = [filling.from_text(rng, TEXTS[3], is_whole=True) for _ in range(1000)]
    kept = [sample for sample in samples if sample is not None]
    long_ones = [s for s in kept if s.blocks[0].mask_index == COUNT_ON]
    # 1000 draws at 0.7: three standard deviations are 4.4 percent.
    assert 0.65 < len(long_ones) / len(kept) < 0.75
    num_tokens = len(tokenizer.encode(TEXTS[3]))
    assert all(len(s.blocks[0].token_ids) >= 0.2 * num_tokens for s in long_ones)


def test_blanks_of_a_text_put_back_give_the_text(tokenizer):
    filling = BlankFilling(tokenizer)
    rng = random.Random(5)
    mask, eos = tokenizer.specials.mask, tokenizer.specials.eos
    for text in TEXTS:
        ids = tokenizer.encode(text)
        for _ in range(30):
            sample = filling.short_blanks(ids, draw_spans(rng, len(ids), 0.15, 3.0))
            if sample is None:
                continue
            fills = {block.mask_index: block.token_ids for block in sample.blocks}
            out: list[int] = []
            for index, token in enumerate(sample.prefix):
                out.extend(fills.get(index, (token,)))
            assert [sample.prefix[index] for index in fills] == [mask] * len(fills)
            assert tokenizer.decode([token for token in out if token != eos]) == text


def test_the_space_before_a_blanked_word_stays_outside(tokenizer):
    ids = tokenizer.encode("The cat sat on the mat")
    start = next(i for i, t in enumerate(ids) if tokenizer.decode([t]).startswith(" "))
    sample = BlankFilling(tokenizer).short_blanks(ids, [(start, start + 1)])
    assert sample is not None
    before = list(sample.prefix[: sample.blocks[0].mask_index])
    assert tokenizer.decode(before).endswith(" ")
    assert not tokenizer.decode(list(sample.blocks[0].token_ids)).startswith(" ")


@pytest.mark.parametrize(
    ("text", "ends_in_eos", "counts_on"),
    [
        ("床前[MASK]光。", True, False),
        ("床前明月光，[gMASK]", False, True),
        ("[sMASK]。", True, False),
    ],
)
def test_a_taught_blank_is_laid_out_as_a_prompt_is(tokenizer, text, ends_in_eos, counts_on):
    sample = BlankFilling(tokenizer).from_cloze(Cloze(text, "明月", "verse"))
    assert (sample.prefix[-1] == tokenizer.specials.eos) == ends_in_eos
    assert (sample.blocks[0].mask_index == COUNT_ON) == counts_on
    assert tokenizer.decode(list(sample.blocks[0].token_ids)) == "明月"
    if not counts_on:
        assert sample.prefix[sample.blocks[0].mask_index] in (
            tokenizer.specials.mask,
            tokenizer.specials.smask,
        )


def test_a_chat_sample_is_the_chat_format_s_prompt(tokenizer):
    sample = BlankFilling(tokenizer).from_chat(["What is a blank?", "A place."])
    assert sample.prefix[-1] == tokenizer.specials.gmask
    assert tokenizer.decode(list(sample.prefix[:-1])) == "Question: What is a blank?\nAnswer:"
    assert tokenizer.decode(list(sample.blocks[0].token_ids)) == "A place."
    chinese = BlankFilling(tokenizer).from_chat(["你好", "你好！", "今天天气很好", "很好。"])
    shown = tokenizer.decode(list(chinese.prefix[:-1]))
    assert shown == "问：你好\n答：你好！\n问：今天天气很好\n答："


def test_the_vocabulary_is_lossless_and_spells_chinese(tokenizer):
    assert tokenizer.vocab_size == 480
    for text in [*TEXTS, "  two  spaces ，全角！", "龘 is rare\n\n", "1234"]:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("床前明月光，")) == 6
