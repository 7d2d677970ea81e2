"""Counts of the context: one at a time, and the last of what is there at last."""

import pytest
from PySide6.QtCore import QObject, Signal

from bilin_app.controllers import context_meter
from bilin_app.controllers.context_meter import ContextMeter
from bilin_app.engine_client.client import RequestFailure, RequestHandle
from bilin_engine.protocol import Message, TokenCount

pytestmark = pytest.mark.usefixtures("qapp")


class Engine(QObject):
    """Answers nothing by itself: a test ends the handles."""

    view_changed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.handles: list[RequestHandle] = []

    def send(self, make_request) -> RequestHandle:
        handle = RequestHandle(len(self.handles) + 1, lambda _handle: None)
        self.asked.append(make_request(handle.id).messages[-1].text)
        self.handles.append(handle)
        return handle


class Bench:
    def __init__(self) -> None:
        self.engine = Engine()
        self.draft = ""
        self.model = "m"
        self.meter = ContextMeter(
            self.engine,  # type: ignore[arg-type]
            lambda: self.model,
            lambda: (Message("user", self.draft),),
            lambda: True,
        )
        self.told: list[int | None] = []
        self.meter.counted.connect(lambda view: self.told.append(view and view.total))

    def end_done(self) -> None:
        total = len(self.engine.asked[-1])
        count = TokenCount(total=total, context_length=10, per_message=(total,))
        self.engine.handles[-1].end_done(count)


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr(context_meter, "PAUSE_MS", 0)
    bench = Bench()
    yield bench
    bench.meter.stop()


def type_on(bench, qtbot, draft):
    bench.draft = draft
    bench.meter.count_soon()
    qtbot.waitUntil(lambda: not bench.meter._timer.isActive())


@pytest.mark.parametrize("end", ["done", "cancelled", "failed"])
def test_pauses_while_a_count_is_under_way_ask_for_one_more(bench, qtbot, end):
    for length in range(1, 11):
        type_on(bench, qtbot, "x" * length)
    assert bench.engine.asked == ["x"]
    if end == "done":
        bench.end_done()
    elif end == "cancelled":
        bench.engine.handles[-1].end_cancelled()
    else:
        bench.engine.handles[-1].end_failed(RequestFailure("bad_request", "none"))
    qtbot.waitUntil(lambda: len(bench.engine.asked) == 2)
    assert bench.engine.asked[-1] == "x" * 10
    assert bench.told == []
    bench.end_done()
    assert bench.told == [10]
    assert not bench.meter._timer.isActive()


def test_what_was_taken_away_is_forgotten_at_once_and_counted_after_the_old_count(bench, qtbot):
    type_on(bench, qtbot, "x" * 20)
    bench.draft = "x"
    bench.meter.count_anew()
    assert bench.told == [None]
    qtbot.waitUntil(lambda: not bench.meter._timer.isActive())
    assert len(bench.engine.asked) == 1
    bench.end_done()
    qtbot.waitUntil(lambda: len(bench.engine.asked) == 2)
    bench.end_done()
    assert bench.told == [None, 1]


def test_a_meter_that_was_stopped_counts_nothing_when_its_answer_comes(bench, qtbot):
    type_on(bench, qtbot, "x")
    type_on(bench, qtbot, "xx")
    bench.meter.stop()
    bench.end_done()
    assert not bench.meter._timer.isActive()
    assert (len(bench.engine.asked), bench.told) == (1, [])
