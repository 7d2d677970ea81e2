"""Words read where they stand, on a tiny random model."""

import pytest
from tiny_glm import write_tiny_model

from bilin_engine.errors import BadRequestError, ContextOverflowError
from bilin_engine.generation.read_words import PlacedWord, ReadRequest, read_words
from bilin_engine.generation.request import PromptLayout
from bilin_engine.runners.base import PrefillRow, StoppedError
from bilin_engine.runners.load import load_runner

END = 1
STOPS = (END, 0)


def place(mask, length, *word):
    """A prompt of `length` ids with the mask at `mask`, sop last."""
    ids = [(7 * i + 11) % 80 for i in range(length)]
    ids[mask] = 90
    positions = (*range(length), mask)
    return PlacedWord(PromptLayout((*ids, 94), positions, length, mask, mask), tuple(word))


WORDS = (
    place(2, 6, 5),
    place(0, 9, 17, 33),
    place(4, 5, 61, 62, 63),
    place(3, 7, 8),
    place(1, 4, 9),
)


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "model"
    write_tiny_model(folder, head_scale=0.2)
    runner = load_runner(folder, dtype="float32", num_threads=1, num_slots=3)
    yield runner
    runner.close()


def whole_logprobs(runner, word):
    """Log-probs at the word's tokens and its end, by one prefill without any cache."""
    prompt = word.prompt
    positions = [*prompt.position_ids, *[prompt.output_position] * len(word.word_ids)]
    row = PrefillRow(2, [*prompt.token_ids, *word.word_ids], positions, prompt.prefix_len)
    return runner.prefill([row], "all")[0].log_softmax(-1)[len(prompt.token_ids) - 1 :]


def test_log_probs_are_those_of_the_whole_sequence_in_any_batch(runner):
    readings = read_words(runner, ReadRequest(WORDS, STOPS), lambda: False)
    assert len(readings) == len(WORDS)  # more than there are slots
    for word, reading in zip(WORDS, readings, strict=True):
        rows = whole_logprobs(runner, word)
        wanted = (*word.word_ids, END)
        assert reading.logprobs == pytest.approx(
            [float(row[i]) for row, i in zip(rows, wanted, strict=True)], abs=1e-4
        )
        assert reading.best == pytest.approx([float(row.max()) for row in rows], abs=1e-4)
        assert reading.expected == ()


def test_expected_words_begin_with_the_likeliest_tokens_and_go_on_greedily(runner):
    banned = frozenset({int(whole_logprobs(runner, WORDS[0])[0].argmax())} - set(STOPS))
    asked = ReadRequest(WORDS, STOPS, banned, num_expected=3)
    for word, reading in zip(WORDS, read_words(runner, asked, lambda: False), strict=True):
        row = whole_logprobs(runner, word)[0]
        for token in (*STOPS, *banned):
            row[token] = -float("inf")
        firsts = {expected.token_ids[0] for expected in reading.expected}
        assert firsts == set(row.topk(3).indices.tolist())
        sums = [expected.logprob for expected in reading.expected]
        assert sums == sorted(sums, reverse=True)
        for expected in reading.expected:
            alone = PlacedWord(word.prompt, expected.token_ids)
            rows = whole_logprobs(runner, alone)
            steps = zip(rows, expected.token_ids, strict=False)
            total = sum(float(one[token]) for one, token in steps)
            assert expected.logprob == pytest.approx(total, abs=1e-4)
            assert not set(expected.token_ids) & {*STOPS, *banned}


def test_an_expected_word_may_end_by_what_is_banned_from_other_texts(runner):
    word = WORDS[0]
    found = ((i, whole_logprobs(runner, PlacedWord(word.prompt, (i,)))[1]) for i in range(90))
    first, after = next((i, int(row.argmax())) for i, row in found if int(row.argmax()) != i)
    banned = frozenset(range(runner.vocab_size)) - {first}  # the end is banned like all others
    asked = ReadRequest((word,), (after,), banned, num_expected=1)
    [reading] = read_words(runner, asked, lambda: False)
    assert [expected.token_ids for expected in reading.expected] == [(first,)]


def test_what_cannot_be_read_is_said(runner):
    with pytest.raises(BadRequestError, match="empty"):
        read_words(runner, ReadRequest((place(1, 4),), STOPS), lambda: False)
    long = place(1, runner.max_length, 5)
    with pytest.raises(ContextOverflowError, match="does not fit"):
        read_words(runner, ReadRequest((long,), STOPS), lambda: False)
    with pytest.raises(StoppedError):
        read_words(runner, ReadRequest(WORDS, STOPS), lambda: True)
