"""The second reader: what is masked, what the workers are asked, what is told of it."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, cast

import msgspec
import pytest
from letter_models import letter_model
from letter_tokenizer import FIRST_SPECIAL, LetterTokenizer

from bilin_engine.errors import BadRequestError
from bilin_engine.evaluate.proofread import (
    PlantedLine,
    as_figures,
    measure,
    one_text,
    read_planted,
)
from bilin_engine.library import read_description, write_proofread_figures
from bilin_engine.protocol import (
    Proofread,
    ProofreadFigures,
    ReadWord,
    SentenceRead,
    WorkerExpected,
    WorkerRead,
    WorkerWord,
    WorkerWordsRead,
)
from bilin_engine.server.model_text import ModelText
from bilin_engine.server.proofreading import (
    UNTESTED_THRESHOLD,
    WORDS_AT_ONCE,
    Proofreading,
    sentence_spans,
    threshold,
    units,
)
from bilin_engine.server.tasks import CancelledTaskError, Task
from bilin_engine.server.worker_pool import WorkerPool

MASK, SOP, EOS = FIRST_SPECIAL + 1, FIRST_SPECIAL + 4, FIRST_SPECIAL


@dataclass
class WordPool:
    """Workers that dislike the words given, each with a gap a token."""

    gaps: dict[str, float]
    asked: list[WorkerRead] = field(default_factory=list)
    last_id: int = 0
    cancels: Task | None = None
    expected: tuple[tuple[int, ...], ...] = tuple(tuple(map(ord, f" {n}x")) for n in range(1, 4))

    def next_id(self):
        self.last_id += 1
        return self.last_id

    def read(self, _task, request):
        self.asked.append(request)
        if self.cancels is not None:
            self.cancels.cancel()
        return WorkerWordsRead(request.id, tuple(self._word(w, request) for w in request.words))

    def _word(self, placed, request):
        word = "".join(map(chr, placed.word_ids)).strip()
        size = len(placed.word_ids) + 1
        gap = self.gaps.get(word, 0.5)
        expected = [WorkerExpected(ids, -float(n)) for n, ids in enumerate(self.expected, 1)]
        return WorkerWord(
            (-1.0 - gap,) * size, (-1.0,) * size, tuple(expected[: request.num_expected])
        )


def proofread(
    text,
    gaps,
    *,
    spans=None,
    figures=None,
    tokenizer=None,
    pool=None,
    context=2048,
    blank_kinds=("short", "long", "sentence"),
    model_id="letters",
):
    pool = pool or WordPool(gaps)
    info = msgspec.structs.replace(
        letter_model(model_id, context), proofread=figures, blank_kinds=blank_kinds
    )
    model = ModelText(info, tokenizer or LetterTokenizer(), None)
    request = Proofread(id=7, model="letters", text=text, spans=spans or sentence_spans(text))
    task = Task(request)
    pool.cancels = task if pool.cancels is not None else None
    told: list[SentenceRead] = []
    reading = Proofreading(model, cast(WorkerPool, pool), task, context, ())
    result = reading.run(request, told.append)
    return told, result, pool


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("我们散步，好。", ["我们", "们散", "散步", "好"]),  # pairs; a single one is itself
        ("It's 3.5 well-known, no?", ["It's", "3", "5", "well-known", "no"]),
        ("用Python写", ["用", "Python", "写"]),
        ("……", []),
    ],
)
def test_latin_words_and_pairs_of_chinese_characters_are_masked(text, expected):
    assert [text[a:b] for a, b in units(text)] == expected


def test_sentences_end_at_their_marks_and_not_inside_numbers():
    text = "门高25.5米。“好！”他说；\n  See bilin.json v1.2. It works?\n……\n"
    shown = [text[a:b] for a, b in sentence_spans(text)]
    assert shown == ["门高25.5米。", "“好！”", "他说；", "See bilin.json v1.2.", "It works?"]


def test_a_place_is_the_sentence_in_its_paragraph_with_one_mask():
    told, result, pool = proofread("no\nab cd. ef gh\nno", {}, spans=((3, 9),))
    assert len(told) == 1
    assert result.way == "mask"
    assert result.num_words == 2
    first, second = pool.asked[0].words
    end = tuple(map(ord, ". ef gh"))
    assert first.token_ids == (MASK, *map(ord, " cd"), *end, EOS, SOP)
    assert first.word_ids == tuple(map(ord, "ab"))
    # The space before a word is the word's, as in the vocabulary.
    assert second.token_ids == (*map(ord, "ab"), MASK, *end, EOS, SOP)
    assert second.word_ids == tuple(map(ord, " cd"))
    assert second.position_ids == (*range(11), 2)
    assert (second.prefix_len, second.output_position, second.mask_index) == (11, 2, 2)


def test_a_blank_beside_a_word_is_a_mask():
    _, _, pool = proofread("a ￼ b.", {})
    assert pool.asked[0].words[0].token_ids.count(MASK) == 2
    assert 0xFFFC not in pool.asked[0].words[0].token_ids


def test_a_context_that_is_too_long_keeps_the_nearest_of_both_sides():
    text = " ".join(["aa"] * 30 + ["word"] + ["bb"] * 30)
    _, _, pool = proofread(text, {}, context=40)
    for request in pool.asked:
        for word in request.words:
            assert len(word.token_ids) + len(word.word_ids) < 40
    placed = next(w for r in pool.asked for w in r.words if w.word_ids == ids_of(" word"))
    shown = "".join(chr(i) for i in placed.token_ids if i < FIRST_SPECIAL)
    assert shown.count("a") == pytest.approx(shown.count("b"), abs=1)


def ids_of(text):
    return tuple(map(ord, text))


def test_unlikely_words_alone_are_asked_about_and_overlaps_go_to_the_least_likely():
    told, _, pool = proofread("天很桌子。", {"很桌": 8.0, "桌子": 9.0})
    assert [r.num_expected for r in pool.asked] == [0, 3]
    assert len(pool.asked[1].words) == 1
    words = {(w.start, w.end): w for w in told[0].words}
    assert set(words) == {(2, 4), (0, 2)}
    found = words[2, 4]
    assert found.is_unlikely
    assert found.score == pytest.approx(-9.0)  # a token, the end included: words compare
    assert [e.text for e in found.expected] == ["1x", "2x", "3x"]
    assert not words[0, 2].is_unlikely
    assert words[0, 2].expected == ()


class BytesTokenizer(LetterTokenizer):
    """Has an id beside the letters for every byte."""

    first_byte = FIRST_SPECIAL - 256

    def decode(self, token_ids):
        return b"".join(map(self.token_bytes, token_ids)).decode("utf-8", "replace")

    def token_bytes(self, token_id):
        if self.first_byte <= token_id < FIRST_SPECIAL:
            return bytes([token_id - self.first_byte])
        return super().token_bytes(token_id)


def test_no_half_character_is_expected():
    lead = BytesTokenizer.first_byte + "湖".encode()[0]
    pool = WordPool({"很桌": 9.0}, expected=((*ids_of("好"), lead), (lead,), (lead, *ids_of("x"))))
    told, _, _ = proofread("很桌。", {}, pool=pool, tokenizer=BytesTokenizer())
    assert [[e.text for e in word.expected] for word in told[0].words] == [["好"]]


def test_the_threshold_is_the_models_own_by_language():
    figures = ProofreadFigures(num_zh=5, threshold_zh=-2.0, threshold_en=-9.5)
    told, _, _ = proofread("坏字。Bad word.", {"坏字": 3.0, "Bad": 9.0}, figures=figures)
    assert [[w.is_unlikely for w in s.words] for s in told] == [[True], [False, False]]
    assert threshold(None, is_chinese=True) == UNTESTED_THRESHOLD
    assert threshold(ProofreadFigures(num_zh=5, threshold_zh=-2.0), is_chinese=False) == (
        UNTESTED_THRESHOLD
    )


def test_a_cancel_waits_for_one_batch_at_most():
    pool = WordPool({}, cancels=Task(Proofread(id=1, model="", text="", spans=())))
    with pytest.raises(CancelledTaskError):
        proofread("a " * (3 * WORDS_AT_ONCE), {}, pool=pool)
    assert len(pool.asked) == 1


class CountingTokenizer(LetterTokenizer):
    """Counts the letters it encodes."""

    def __init__(self):
        self.num_letters = 0

    def encode(self, text):
        self.num_letters += len(text)
        return super().encode(text)


def test_a_long_line_is_not_encoded_whole_for_each_of_its_words():
    tokenizer, size, context = CountingTokenizer(), 2000, 100
    text = "".join(chr(0x4E00 + i) for i in range(size))
    _, result, pool = proofread(text, {}, tokenizer=tokenizer, context=context)
    assert result.num_words == size - 1
    assert tokenizer.num_letters < 2 * size * context
    words = [word for request in pool.asked for word in request.words if not request.num_expected]
    room = context - 8 - 3
    for start, word in enumerate(words):
        letters = [i for i in word.token_ids if i < FIRST_SPECIAL]
        before = max(min(start, room // 2), room - (size - start - 2))
        expected = text[start - before : start] + text[start + 2 :][: room - before]
        assert "".join(map(chr, letters)) == expected


def test_prompts_are_laid_out_by_the_batch(monkeypatch):
    """A text without marks is one sentence: all its prompts at once took gigabytes."""
    size = 5000
    ahead: list[int] = []
    num_laid_out = 0
    lay_out = Proofreading._layout

    def counted(*arguments):
        nonlocal num_laid_out
        num_laid_out += 1
        return lay_out(*arguments)

    class FirstPool(WordPool):
        def read(self, task, request):
            answer = super().read(task, request)
            ahead.append(num_laid_out - sum(len(one.words) for one in self.asked[:-1]))
            return answer

    monkeypatch.setattr(Proofreading, "_layout", counted)
    text = "".join(chr(0x4E00 + i) for i in range(size))
    told, result, pool = proofread(text, {}, pool=FirstPool({text[7:9]: 9.0}), context=64)
    assert result.num_words == size - 1
    assert [(w.start, w.end) for w in told[0].words if w.is_unlikely] == [(7, 9)]
    assert pool.asked[-1].num_expected > 0
    assert max(ahead) <= WORDS_AT_ONCE


def test_a_cancel_is_heard_while_places_are_laid_out():
    tokenizer = CountingTokenizer()
    model = ModelText(letter_model(), tokenizer, None)
    request = Proofread(id=7, model="letters", text="a " * 99, spans=((0, 198),))
    task = Task(request)
    reading = Proofreading(model, cast(WorkerPool, WordPool({})), task, 2048, ())
    task.cancel()
    with pytest.raises(CancelledTaskError):
        reading.run(request, lambda _: None)
    assert tokenizer.num_letters <= 2 * len(request.text)


def test_a_model_that_sees_one_side_says_so():
    tokenizer = LetterTokenizer()
    tokenizer.specials = replace(LetterTokenizer.specials, mask=None, smask=None)
    with pytest.raises(BadRequestError, match="sees only what stands before"):
        proofread("a b", {}, tokenizer=tokenizer)
    with pytest.raises(BadRequestError, match="sees only what stands before"):
        proofread("a b", {}, blank_kinds=())  # the masks are in its vocabulary alone


class MiddlesTokenizer(LetterTokenizer):
    specials = replace(LetterTokenizer.specials, mask=None, smask=None)
    markers: ClassVar = {
        name: FIRST_SPECIAL + 10 + n
        for n, name in enumerate(("<fim_prefix>", "<fim_suffix>", "<fim_middle>"))
    }


def test_middles_show_both_sides_too():
    tokenizer = MiddlesTokenizer()
    _, result, pool = proofread("ab cd", {}, tokenizer=tokenizer, model_id="qwen2.5-coder-7b")
    assert result.way == "fim"
    prefix, suffix, middle = tokenizer.markers.values()
    second = pool.asked[0].words[1]
    assert second.token_ids == (prefix, *map(ord, "ab"), suffix, middle)
    assert second.prefix_len == 0


def test_a_chat_model_with_its_family_s_middles_sees_one_side():
    with pytest.raises(BadRequestError, match="sees only what stands before"):
        proofread("ab cd", {}, tokenizer=MiddlesTokenizer(), model_id="qwen3-8b")


def test_a_span_outside_the_text_is_refused():
    with pytest.raises(BadRequestError, match="does not lie"):
        proofread("ab", {}, spans=((0, 9),))


# --- Measuring ------------------------------------------------------------------------------------


LINES = [
    PlantedLine("en", "one bad two", "bad", "good"),
    PlantedLine("en", "six bad ten", "bad", "good"),
]


def read_as(scores):
    """Every word of LINES with a score, in order."""
    text, spans = one_text(LINES)
    numbers = iter(scores)
    return [
        tuple(
            ReadWord(start=start + a, end=start + b, score=next(numbers))
            for a, b in units(text[start:end])
        )
        for start, end in spans
    ]


def test_hits_threshold_and_caught_words_are_counted():
    found = read_as([-1.0, -9.0, -2.0, -5.0, -4.0, -6.0])
    figures = measure(LINES, found, num_words=6, seconds=2.0)
    assert figures.hit_rate == 1.0  # of three words each is among the first three
    assert figures.first_rate == 0.5
    assert figures.threshold == -6.0  # the 5 % of four other words are none: the lowest
    assert figures.caught == 0.5
    assert figures.words_per_s == 3.0
    shown = as_figures({"en": figures}, None)
    assert (shown.hit_rate_en, shown.num_en, shown.num_zh) == (1.0, 2, 0)


def test_a_planted_word_outside_the_first_three_is_no_hit():
    text = "aa bb cc dd bad"
    line = PlantedLine("en", text, "bad", "good")
    words = tuple(
        ReadWord(start=a, end=b, score=-1.0 if text[a:b] == "bad" else -5.0) for a, b in units(text)
    )
    assert measure([line], [words], 5, 1.0).hit_rate == 0.0


def test_the_figures_go_into_bilin_json_and_nothing_else_changes(tmp_path):
    content = (
        '{"id": "m", "names": {"zh": "模", "en": "M"}, "family": "f", "languages": ["zh"],'
        ' "capabilities": {"blanks": ["short"]}, "licence": "x", "source": "y", "later": [1, 2]}'
    )
    (tmp_path / "bilin.json").write_text(content, encoding="utf-8")
    figures = ProofreadFigures(hit_rate_zh=0.8, num_zh=100, threshold_zh=-4.5)
    write_proofread_figures(tmp_path, figures)
    read = read_description(tmp_path)
    assert read.capabilities.proofread == figures
    assert read.capabilities.blanks == ("short",)
    assert '"later"' in (tmp_path / "bilin.json").read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["bilin.json"]


def test_a_probe_line_that_does_not_hold_its_word_is_named(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"lang": "en", "text": "a b a", "wrong": "a", "right": "c"}\n')
    with pytest.raises(BadRequestError, match="line 1: 'a' stands 2 times"):
        read_planted(path)


def test_the_probe_holds_a_hundred_sentences_of_each_language():
    path = Path(__file__).parents[1] / "data" / "probe" / "proofread.jsonl"
    lines = read_planted(path)
    for lang in ("zh", "en"):
        chosen = [line for line in lines if line.lang == lang]
        assert len(chosen) == 100
        assert len({line.text for line in chosen}) == 100
        assert all(line.right != line.wrong for line in chosen)
