"""Selecting over several messages: by dragging, with Shift, while scrolling, and copying it."""

import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QGuiApplication, QMouseEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QMenu
from shown_transcript import shown_transcript

from bilin_app.controllers.views import MessageView
from bilin_app.theme.theme import Look, start_theme

pytestmark = pytest.mark.gui

NO_KEY = Qt.KeyboardModifier.NoModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def transcript(qapp):
    with shown_transcript(qapp, "en") as widget:
        yield widget


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
    QTest.keyClick(body, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
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


def test_a_middle_click_elsewhere_gets_what_was_selected_then(transcript):
    bodies = show(transcript, ["A question", "An answer here", "Another one"])
    drag(bodies[1], place_of(bodies[1], 2), place_of(bodies[3], 7))
    bodies[1]._is_letting_go = True
    data = bodies[1].createMimeDataFromSelection()
    bodies[1]._is_letting_go = False
    drag(bodies[2], place_of(bodies[2], 3), place_of(bodies[2], 4))
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
    window = transcript.window()
    handle = window.windowHandle()
    start = window.mapFromGlobal(place_of(bodies[1], 0))
    QTest.mousePress(handle, Qt.MouseButton.LeftButton, NO_KEY, start)
    below = transcript.viewport().mapToGlobal(QPoint(300, transcript.viewport().height() + 400))
    mouse(bodies[1], QEvent.Type.MouseMove, below)
    bar = transcript.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.value() == bar.maximum(), timeout=20_000)
    assert transcript.selection.grabbing == 1
    QTest.mouseRelease(handle, Qt.MouseButton.LeftButton, NO_KEY, QPoint(300, 580))
    assert transcript.num_widgets < 24
    text = copied(transcript.widgets_in_order()[-1].body)
    assert [f"Message {i}\n" in text for i in range(24)] == [True] * 24


def test_where_nobody_tells_of_the_button_it_does_not_scroll_for_ever(transcript, qtbot):
    show(transcript, [f"Message {i}\n\n" + "and so on. " * 30 for i in range(24)])
    transcript.scroll_to_message(1)
    body = transcript.widgets_in_order()[0].body
    below = transcript.viewport().mapToGlobal(QPoint(300, transcript.viewport().height() + 400))
    mouse(body, QEvent.Type.MouseButtonPress, place_of(body, 0))
    mouse(body, QEvent.Type.MouseMove, below)  # and no button is down, as after a dialog
    qtbot.waitUntil(lambda: transcript.selection.grabbing is None)
    assert not transcript.selection._timer.isActive()


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


def test_the_right_button_leaves_the_selection_for_its_menu(transcript, monkeypatch):
    shown = []
    monkeypatch.setattr(
        QMenu, "exec", lambda menu, _at: shown.append(menu.actions()[0].isEnabled())
    )
    bodies = show(transcript, ["A question", "An answer here", "Another one"])
    drag(bodies[1], place_of(bodies[1], 2), place_of(bodies[3], 7))
    window = transcript.window()
    at = window.mapFromGlobal(place_of(bodies[2], 3))
    QTest.mouseClick(window.windowHandle(), Qt.MouseButton.RightButton, NO_KEY, at)
    [menu] = bodies[2].findChildren(QMenu)
    assert menu.actions()[0].isEnabled()
    menu.actions()[0].trigger()
    menu.close()
    assert QGuiApplication.clipboard().text() == "question\n\nAn answer here\n\nAnother"


def test_a_selection_by_key_takes_the_place_of_the_one_by_mouse(transcript):
    bodies = show(transcript, ["A question", "An answer here", "Another one"])
    drag(bodies[1], place_of(bodies[1], 2), place_of(bodies[2], 2))
    QTest.keyClick(bodies[3], Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    assert [selected(bodies[i]) for i in (1, 2, 3)] == ["", "", "Another one"]
    QTest.keyClick(bodies[3], Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == "Another one"


def test_the_copy_key_copies_all_wherever_the_keys_go(transcript):
    bodies = show(transcript, ["A question", "An answer here", "Another one"])
    drag(bodies[1], place_of(bodies[1], 10), place_of(bodies[2], 9))  # nothing of the first
    for widget in (bodies[1], bodies[3], transcript):
        QGuiApplication.clipboard().clear()
        QTest.keyClick(widget, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
        assert QGuiApplication.clipboard().text() == "An answer"


def test_what_is_selected_stays_so_when_texts_are_written_anew(transcript, qapp):
    bodies = show(transcript, ["A question", "An answer here", "Another one"])
    drag(bodies[1], place_of(bodies[1], 2), place_of(bodies[3], 7))
    start_theme(qapp, Look("dark", "en"))
    transcript._arrange()
    assert [selected(bodies[i]) for i in (1, 2, 3)] == ["question", "An answer here", "Another"]


def test_an_answer_that_grows_does_not_move_the_end(transcript):
    running = MessageView(2, 1, "assistant", "Second begins", "running", 0.0)
    transcript.set_messages([MessageView(1, 1, "user", "A question", "done", 0.0), running])
    bodies = {widget.view.id: widget.body for widget in transcript.widgets_in_order()}
    drag(bodies[1], place_of(bodies[1], 2), place_of(bodies[2], 6))
    transcript.append_text(2, " and goes on")
    transcript.flush()
    assert [selected(bodies[i]) for i in (1, 2)] == ["question", "Second"]
    assert copied(bodies[2]) == "question\n\nSecond"


def test_after_shift_in_another_message_a_drag_back_selects_where_it_began(transcript):
    bodies = show(transcript, ["A question", "An answer here"])
    drag(bodies[1], place_of(bodies[1], 2), place_of(bodies[1], 2))
    mouse(bodies[2], QEvent.Type.MouseButtonPress, place_of(bodies[2], 9), keys=SHIFT)
    mouse(bodies[2], QEvent.Type.MouseMove, place_of(bodies[1], 10))
    mouse(bodies[2], QEvent.Type.MouseButtonRelease, place_of(bodies[1], 10))
    assert [selected(bodies[i]) for i in (1, 2)] == ["question", ""]
    assert copied(bodies[2]) == "question"


def test_a_table_is_copied_as_far_as_it_is_shown(transcript):
    table = "|a|b|\n|-|-|\n|c|d|\n|e|f|\n\nbehind"
    bodies = show(transcript, ["A question", table, "Another one"])
    cursor = bodies[2].document().find("d")
    drag(bodies[2], place_of(bodies[2], cursor.selectionStart()), place_of(bodies[3], 7))
    assert copied(bodies[2]) == "a\tb\nc\td\ne\tf\nbehind\n\nAnother"


def test_shift_at_a_link_opens_nothing(transcript):
    bodies = show(transcript, ["A question", "[A link](https://example.org) and more"])
    opened = []
    transcript.link_clicked.connect(opened.append)
    drag(bodies[1], place_of(bodies[1], 2), place_of(bodies[1], 2))
    at = place_of(bodies[2], 0)
    mouse(bodies[2], QEvent.Type.MouseButtonPress, at, keys=SHIFT)
    mouse(bodies[2], QEvent.Type.MouseButtonRelease, at, keys=SHIFT)
    assert opened == []
    mouse(bodies[2], QEvent.Type.MouseButtonPress, place_of(bodies[2], 2))
    mouse(bodies[2], QEvent.Type.MouseButtonRelease, place_of(bodies[2], 2))
    assert opened == ["https://example.org"]


def test_a_double_click_reaches_from_its_word_on(transcript):
    bodies = show(transcript, ["A question", "An answer here"])
    at = place_of(bodies[1], 5)
    for kind in (
        QEvent.Type.MouseButtonPress,
        QEvent.Type.MouseButtonRelease,
        QEvent.Type.MouseButtonDblClick,
    ):
        mouse(bodies[1], kind, at)
    assert selected(bodies[1]) == "question"
    mouse(bodies[1], QEvent.Type.MouseMove, place_of(bodies[2], 9))
    mouse(bodies[1], QEvent.Type.MouseButtonRelease, place_of(bodies[2], 9))
    assert copied(bodies[1]) == "question\n\nAn answer"
