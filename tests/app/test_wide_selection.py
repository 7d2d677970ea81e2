"""Selecting over several messages: by dragging, with Shift, while scrolling, and copying it."""

import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QGuiApplication, QMouseEvent
from PySide6.QtWidgets import QApplication, QWidget

from bilin_app.controllers.views import MessageView
from bilin_app.pages.chat.transcript import Transcript
from bilin_app.theme.theme import Look, start_theme

pytestmark = pytest.mark.gui

NO_KEY = Qt.KeyboardModifier.NoModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def transcript(qapp):
    start_theme(qapp, Look("light", "en"))
    owner = QWidget()
    widget = Transcript(owner)
    widget.resize(900, 600)
    owner.resize(900, 600)
    owner.show()
    yield widget
    owner.close()
    owner.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


def show(transcript, texts):
    """Messages 1, 2, ... with these texts, the person's and the model's in turn."""
    roles = ("user", "assistant")
    transcript.set_messages(
        MessageView(i + 1, 1, roles[i % 2], text, "done", 0.0) for i, text in enumerate(texts)
    )
    return {widget.view.id: widget.body for widget in transcript.widgets_in_order()}


def place_of(body, position):
    """Where a letter begins, on the screen."""
    cursor = body.textCursor()
    cursor.setPosition(position)
    box = body.cursorRect(cursor)
    return body.viewport().mapToGlobal(QPoint(box.left(), box.center().y()))


def mouse(body, kind, at, *, buttons=Qt.MouseButton.LeftButton, keys=NO_KEY):
    is_move = kind == QEvent.Type.MouseMove
    button = Qt.MouseButton.NoButton if is_move else Qt.MouseButton.LeftButton
    held = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseButtonRelease else buttons
    local = QPointF(body.viewport().mapFromGlobal(at))
    QApplication.sendEvent(
        body.viewport(), QMouseEvent(kind, local, QPointF(at), button, held, keys)
    )


def drag(body, start, *ends):
    """Presses at a place of `body`, moves on and lets go; events go to `body` throughout."""
    mouse(body, QEvent.Type.MouseButtonPress, start)
    for end in ends:
        mouse(body, QEvent.Type.MouseMove, end)
    mouse(body, QEvent.Type.MouseButtonRelease, ends[-1])


def copied(body):
    body.copy()
    return QGuiApplication.clipboard().text()


def selected(body):
    return body.textCursor().selectedText()


def test_a_drag_over_messages_selects_from_letter_to_letter(transcript):
    bodies = show(transcript, ["A question", "An **answer** here", "Another one", "The last"])
    drag(bodies[1], place_of(bodies[1], 2), place_of(bodies[3], 7))
    assert [selected(bodies[i]) for i in (1, 2, 3, 4)] == [
        "question",
        "An answer here",
        "Another",
        "",
    ]
    assert copied(bodies[1]) == "question\n\nAn answer here\n\nAnother"
    assert copied(bodies[3]) == copied(bodies[1])  # whichever has the focus


def test_upwards_is_the_same_and_coming_back_selects_in_one_message_again(transcript):
    bodies = show(transcript, ["A question", "An answer here", "Another one"])
    anchor, above = place_of(bodies[3], 7), place_of(bodies[1], 2)
    drag(bodies[3], anchor, above)
    assert copied(bodies[3]) == "question\n\nAn answer here\n\nAnother"
    drag(bodies[3], anchor, above, place_of(bodies[3], 2))
    assert [selected(bodies[i]) for i in (1, 2, 3)] == ["", "", "other"]
    assert copied(bodies[3]) == "other"


def test_a_middle_click_elsewhere_gets_the_text_when_it_asks(transcript):
    bodies = show(transcript, ["A question", "An answer here", "Another one"])
    drag(bodies[1], place_of(bodies[1], 2), place_of(bodies[3], 7))
    bodies[1]._is_letting_go = True
    data = bodies[1].createMimeDataFromSelection()
    assert data.hasText()
    assert data.text() == "question\n\nAn answer here\n\nAnother"
    assert not data.hasHtml()


def test_a_click_takes_the_selection_off_all_other_messages(transcript):
    bodies = show(transcript, ["A question", "An answer here", "Another one"])
    drag(bodies[1], place_of(bodies[1], 2), place_of(bodies[3], 7))
    drag(bodies[2], place_of(bodies[2], 3), place_of(bodies[2], 9))
    assert [selected(bodies[i]) for i in (1, 2, 3)] == ["", "answer", ""]
    assert copied(bodies[2]) == "answer"


def test_shift_reaches_from_the_last_click_to_another_message(transcript):
    bodies = show(transcript, ["A question", "An answer here", "Another one"])
    mouse(bodies[1], QEvent.Type.MouseButtonPress, place_of(bodies[1], 2))
    mouse(bodies[1], QEvent.Type.MouseButtonRelease, place_of(bodies[1], 2))
    mouse(bodies[2], QEvent.Type.MouseButtonPress, place_of(bodies[2], 2), keys=SHIFT)
    mouse(bodies[2], QEvent.Type.MouseButtonRelease, place_of(bodies[2], 2), keys=SHIFT)
    assert copied(bodies[2]) == "question\n\nAn"


def test_held_below_the_view_it_scrolls_on_and_messages_out_of_reach_are_copied_too(
    transcript, qtbot
):
    texts = [f"Message {i}\n\n" + "and so on. " * 30 for i in range(24)]
    show(transcript, texts)
    transcript.scroll_to_message(1)
    bodies = {w.view.id: w.body for w in transcript.widgets_in_order()}
    start = place_of(bodies[1], 0)
    below = transcript.viewport().mapToGlobal(QPoint(300, transcript.viewport().height() + 400))
    mouse(bodies[1], QEvent.Type.MouseButtonPress, start)
    mouse(bodies[1], QEvent.Type.MouseMove, below)
    bar = transcript.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.value() == bar.maximum(), timeout=20_000)
    mouse(bodies[1], QEvent.Type.MouseButtonRelease, below)
    value = bar.value()
    assert transcript.num_widgets < 24
    text = copied(transcript.widgets_in_order()[-1].body)
    assert [f"Message {i}\n" in text for i in range(24)] == [True] * 24
    assert bar.value() == value  # let go, it stays


def test_a_message_that_comes_into_view_shows_its_part(transcript):
    texts = [f"Message {i}\n\n" + "and so on. " * 200 for i in range(60)]
    show(transcript, texts)
    transcript.scroll_to_message(1)
    bodies = {w.view.id: w.body for w in transcript.widgets_in_order()}
    drag(bodies[1], place_of(bodies[1], 0), place_of(bodies[2], 7))
    for message in range(5, 60, 5):
        transcript.scroll_to_message(message)
    assert 1 not in {w.view.id for w in transcript.widgets_in_order()}
    transcript.scroll_to_message(1)
    bodies = {w.view.id: w.body for w in transcript.widgets_in_order()}
    assert selected(bodies[1]).startswith("Message 0")
    assert selected(bodies[2]) == "Message"


def test_another_conversation_and_a_lost_end_leave_nothing_selected(transcript):
    bodies = show(transcript, ["A question", "An answer here", "Another one"])
    drag(bodies[1], place_of(bodies[1], 2), place_of(bodies[3], 7))
    views = [MessageView(1, 1, "user", "A question", "done", 0.0)]
    transcript.set_messages(views, is_same=True)
    assert transcript.selection.text() == ""
    assert selected(transcript.widgets_in_order()[0].body) == ""
