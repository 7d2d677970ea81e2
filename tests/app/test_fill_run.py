"""A fill on its way: what is asked, what is shown meanwhile, and how it ends."""

import gc
import weakref

import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QObject

from bilin_app.controllers.editor_session import EditorSession
from bilin_app.controllers.editor_views import FillSettings
from bilin_app.controllers.engine_views import ModelView
from bilin_app.controllers.fill_run import FillRun, WindowMeter
from bilin_app.engine_client.client import RequestFailure, RequestHandle
from bilin_app.text.document import Document, parse_slice
from bilin_app.text.document_file import Snapshot, decode_document, encode_document
from bilin_engine.protocol import (
    BlankSegment,
    Candidate,
    FillConstraints,
    FilledBlank,
    FillResult,
    FillWay,
    GenerationStats,
    LengthLimit,
    TextDelta,
    WindowView,
)


class Engine:
    """Keeps what was asked; a test answers."""

    context_length = 512
    model = ModelView("letters", "字母", "Letters")

    def __init__(self) -> None:
        self.asked: list = []
        self.cancelled: list[int] = []
        self._handles: list[RequestHandle] = []

    def send(self, make):
        handle = RequestHandle(len(self.asked) + 1, lambda one: self.cancelled.append(one.id))
        self.asked.append(make(handle.id))
        self._handles.append(handle)
        return handle

    send_for_text = send

    @property
    def last(self) -> RequestHandle:
        return self._handles[-1]

    def say(self, text: str, blank: int = 0) -> None:
        delta = TextDelta(id=self.last.id, text=text, num_tokens=1, blank=blank, candidate=0)
        self.last.delta_received.emit(delta)

    def fill(self, *texts: str, way: FillWay = "mask") -> None:
        """The end of the last request: a text each for the blanks that it asked for."""
        asked = self.asked[-1]
        blanks = [i for i, _ in enumerate(s for s in asked.segments if isinstance(s, BlankSegment))]
        wanted = blanks if asked.blank is None else [asked.blank]
        filled = tuple(
            FilledBlank(
                index=index,
                kind="short",
                candidates=(Candidate(text=text, logprob=-1.0, num_tokens=1),),
            )
            for index, text in zip(wanted, texts, strict=True)
        )
        self.last.end_done(FillResult(text="", blanks=filled, stats=STATS, way=way))


STATS = GenerationStats(
    prompt_tokens=1, new_tokens=1, time_to_first_token_s=0.0, prefill_s=0.0, decode_s=0.0, seed=0
)


class Bench:
    def __init__(self, text: str, **settings) -> None:
        self.parent = QObject()
        self.engine = Engine()
        self.session = EditorSession(Snapshot("", parse_slice(text, Document())), self.parent)
        self.ids = tuple(blank.id for _, blank in self.session.document.blanks)
        self.settings = FillSettings(**settings)
        self.ended: list[str] = []

    def start(self, *ids: int, way: FillWay | None = None) -> FillRun:
        run = FillRun(self.session, self.engine, ids, self.settings, self.parent)  # type: ignore[arg-type]
        run.ended.connect(self.ended.append)
        run.start("letters", way)
        return run

    def shown(self) -> list[str]:
        return [self.session.shown_text(blank_id) for blank_id in self.ids]

    def told(self, number: int = -1) -> list[str]:
        """The segments of a request, blanks as ▢."""
        return [getattr(s, "text", "▢") for s in self.engine.asked[number].segments]


@pytest.fixture(autouse=True)
def application(qapp):
    return qapp


def test_one_blank_is_asked_for_as_it_was_set_and_streams_in_place(qtbot):
    bench = Bench("天空是[MASK]的[MASK]。", num_candidates=4, with_beams=True, temperature=0.5)
    rule = FillConstraints(length=LengthLimit(2, "characters"))
    bench.session.set_constraints(bench.ids[1], rule)
    bench.start(bench.ids[1])
    (asked,) = bench.engine.asked
    assert (asked.blank, asked.num_candidates, asked.constraints) == (1, 4, rule)
    assert (asked.sampling.num_beams, asked.sampling.temperature) == (4, 0.5)
    assert asked.takes_nearest
    bench.engine.say("春", blank=1)
    qtbot.waitUntil(lambda: bench.shown() == ["", "春"])
    bench.engine.fill("春天")
    assert bench.shown() == ["", "春天"]
    assert bench.ended == [""]


@pytest.mark.parametrize(
    ("token", "rule", "least", "most"),
    [
        ("[gMASK]", None, 512, 512),
        ("[gMASK]", LengthLimit(5, "words"), 512, 512),
        ("[gMASK]", LengthLimit(700, "words"), 1400, 1500),
        ("[MASK]", LengthLimit(100, "characters", exact=True), 200, 300),
    ],
)
def test_a_fill_gets_as_many_tokens_as_the_length_asked_for_takes(token, rule, least, most):
    bench = Bench(f"a {token} b")
    bench.session.set_constraints(bench.ids[0], FillConstraints(length=rule))
    bench.start(*bench.ids)
    assert least <= bench.engine.asked[0].sampling.max_new_tokens <= most


def test_blanks_without_rules_are_asked_for_at_once_and_in_order(qtbot):
    bench = Bench("a [MASK] b [gMASK] c")
    bench.start(*bench.ids)
    assert [asked.blank for asked in bench.engine.asked] == [None]
    assert bench.engine.asked[0].sampling.num_beams == 1
    bench.engine.say("one", blank=0)
    bench.engine.say("two", blank=1)
    qtbot.waitUntil(lambda: bench.shown() == ["one", "two"])
    bench.engine.fill("one", "two")
    assert bench.ended == [""]


def test_where_a_blank_has_a_rule_each_is_asked_for_with_its_own_and_sees_the_fills_before():
    bench = Bench("在[MASK]和[MASK]和[MASK]")
    digits = FillConstraints(digits_only=True)
    bench.session.set_constraints(bench.ids[1], digits)
    bench.start(*bench.ids)
    assert bench.told() == ["在", "▢", "和", "▢", "和", "▢"]
    bench.engine.fill("春")
    assert bench.told() == ["在", "春", "和", "▢", "和", "▢"]
    assert bench.ended == []
    bench.engine.fill("12")
    bench.engine.fill("冬")
    assert [asked.constraints.digits_only for asked in bench.engine.asked] == [False, True, False]
    assert bench.shown() == ["春", "12", "冬"]
    assert bench.ended == [""]


@pytest.mark.parametrize(
    ("text", "fill", "filled"),
    [
        ("def get_[MASK](self):", "name", "def get_name(self):"),
        ("def f(x):\n[gMASK]\n", "    return x", "def f(x):\n    return x\n"),
        ("a =[MASK]", " b + c", "a = b + c"),
    ],
)
@pytest.mark.parametrize("by_words", [False, True])
def test_a_fill_in_the_middle_brings_its_own_spaces(text, fill, filled, by_words):
    bench = Bench(text)
    bench.start(*bench.ids)
    bench.engine.fill(fill, way="fim")
    bench.session = EditorSession(
        decode_document(encode_document(bench.session.snapshot(""))), bench.parent
    )
    assert bench.shown() == [fill]
    accept = bench.session.accept_word if by_words else bench.session.accept
    while accept(bench.ids[0]):
        pass
    assert bench.session.document.plain_text == filled


def test_a_fill_in_the_middle_has_its_spaces_while_it_streams_and_when_it_is_stopped(qtbot):
    bench = Bench("def get_[MASK](self):")
    run = bench.start(*bench.ids, way="fim")
    bench.engine.say("name")
    qtbot.waitUntil(lambda: bench.shown() == ["name"])
    run.stop()
    bench.engine.last.end_cancelled()
    assert bench.shown() == ["name"]
    bench.start(*bench.ids)
    bench.engine.fill("name", way="instruction")  # by another model
    assert bench.shown() == [" name "]


def test_a_stop_keeps_what_came_and_asks_for_no_more():
    bench = Bench("在[MASK]和[MASK]")
    bench.session.set_constraints(bench.ids[0], FillConstraints(digits_only=True))
    run = bench.start(*bench.ids)
    bench.engine.say("1")
    run.stop()
    assert bench.engine.cancelled == [1]
    bench.engine.last.end_cancelled()
    assert bench.shown() == ["1", ""]
    assert bench.session.view(bench.ids[1]).state == "open"  # type: ignore[union-attr]
    assert len(bench.engine.asked) == 1
    assert bench.ended == [""]


def test_a_blank_that_is_deleted_meanwhile_is_dropped_with_a_notice():
    bench = Bench("在[MASK]和[MASK]")
    bench.start(bench.ids[0])
    bench.session.type_text(1, 2, "")
    assert bench.engine.cancelled == [1]
    assert [("deleted while" in notice) for notice in bench.ended] == [True]


def test_a_blank_that_is_deleted_before_its_turn_is_not_asked_for():
    bench = Bench("在[MASK]和[MASK]和[MASK]")
    bench.session.set_constraints(bench.ids[0], FillConstraints(digits_only=True))
    bench.start(*bench.ids)
    bench.session.type_text(3, 4, "")
    bench.engine.fill("1")
    assert bench.told() == ["在", "1", "和和", "▢"]
    bench.engine.fill("冬")
    assert bench.shown() == ["1", "", "冬"]
    assert len(bench.engine.asked) == 2
    assert ["deleted while" in notice for notice in bench.ended] == [True]


def test_what_is_accepted_while_the_next_is_filled_is_no_loss():
    bench = Bench("在[MASK]和[MASK]")
    bench.session.set_constraints(bench.ids[0], FillConstraints(digits_only=True))
    bench.start(*bench.ids)
    bench.engine.fill("1")
    bench.session.accept(bench.ids[0])
    bench.engine.fill("冬")
    assert bench.session.document.plain_text == "在1和[MASK]"
    assert bench.shown() == ["", "冬"]
    assert bench.ended == [""]


def test_a_failure_is_told_and_frees_the_blanks():
    bench = Bench("在[MASK]")
    bench.start(*bench.ids)
    bench.engine.last.end_failed(RequestFailure("model_broken", "the worker has died"))
    assert len(bench.ended) == 1
    assert bench.ended[0]
    assert bench.session.view(bench.ids[0]).state == "open"  # type: ignore[union-attr]


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_another_fill_that_fails_before_its_first_word_leaves_the_earlier_one(is_cancelled):
    bench = Bench("在[MASK]和[MASK]")
    bench.start(*bench.ids)
    bench.engine.fill("春", "冬")
    bench.start(bench.ids[0])
    assert bench.shown() == ["", "冬"]
    if is_cancelled:
        bench.engine.last.end_cancelled()
    else:
        bench.engine.last.end_failed(RequestFailure("model_broken", "the worker has died"))
    assert bench.shown() == ["春", "冬"]


@pytest.mark.parametrize("is_left", [True, False])
def test_a_fill_that_has_ended_keeps_its_document_no_longer(is_left):
    bench = Bench("在[MASK]")
    run = bench.start(*bench.ids)
    if is_left:
        run.leave()
        bench.engine.last.end_cancelled()
    else:
        bench.engine.fill("春")
    kept = [weakref.ref(one) for one in (run, bench.session, bench.engine.last)]
    bench.parent.deleteLater()
    del run, bench
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    gc.collect()
    assert [one() for one in kept] == [None] * 3


@pytest.fixture
def metered():
    bench = Bench("天空是[MASK]的。")
    meter = WindowMeter(bench.engine, bench.parent, delay_ms=0)  # type: ignore[arg-type]
    rulers: list = []
    meter.counted.connect(rulers.append)
    yield bench, meter, rulers
    meter.stop()


def type_on(bench, meter, qtbot, letter):
    """A key, and time for the meter to ask."""
    bench.session.type_text(0, 0, letter)
    meter.count_soon(bench.session, bench.ids[0])
    qtbot.waitUntil(lambda: not meter._timer.isActive())


def test_the_window_asked_for_is_that_of_a_fill_with_its_rule(metered, qtbot):
    bench, meter, _rulers = metered
    rule = FillConstraints(length=LengthLimit(200, "words"), choices=("蓝", "灰"))
    bench.session.set_constraints(bench.ids[0], rule)
    type_on(bench, meter, qtbot, "a")
    assert bench.engine.asked[-1].constraints == rule


SEEN = WindowView(
    start=0, end=3, num_tokens=9, document_tokens=9, context_length=512, way="instruction"
)


@pytest.mark.parametrize("end", ["done", "cancelled", "failed"])
def test_typing_asks_one_question_at_a_time_and_the_last_of_the_newest_text(metered, qtbot, end):
    bench, meter, rulers = metered
    for letter in "abcdefghijklmnopqrst":
        type_on(bench, meter, qtbot, letter)
    assert len(bench.engine.asked) == 1
    if end == "done":
        bench.engine.last.end_done(SEEN)
    elif end == "cancelled":
        bench.engine.last.end_cancelled()
    else:
        bench.engine.last.end_failed(RequestFailure("context_overflow", "too long"))
    qtbot.waitUntil(lambda: len(bench.engine.asked) == 2)
    assert bench.told() == ["tsrqponmlkjihgfedcba天空是", "▢", "的。"]
    assert rulers == []
    bench.engine.last.end_done(SEEN)
    qtbot.waitUntil(lambda: not meter._timer.isActive())
    assert len(bench.engine.asked) == 2
    assert [ruler.end for ruler in rulers] == [3]


def test_a_meter_that_was_stopped_asks_nothing_when_its_answer_comes(metered, qtbot):
    bench, meter, rulers = metered
    type_on(bench, meter, qtbot, "a")
    meter.stop()
    bench.engine.last.end_done(SEEN)
    meter.count_soon(bench.session, bench.ids[0])
    assert not meter._timer.isActive()
    assert (len(bench.engine.asked), rulers) == (1, [])
