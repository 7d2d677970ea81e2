"""Finding in a conversation, and the question before a link is opened."""

from dataclasses import replace

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest

from bilin_app.controllers.views import ConversationView, MessageView, Seam
from bilin_app.pages.chat.aside import pressed_part
from bilin_app.pages.chat.link_dialog import LinkDialog, host_of
from bilin_app.pages.chat.message_parts import Notice
from bilin_app.pages.chat.view import ChatView
from bilin_app.pages.controls import TextButton
from bilin_app.text.visible import visible
from bilin_app.theme.theme import Look, start_theme

pytestmark = pytest.mark.gui


@pytest.fixture
def view(qapp, qtbot):
    start_theme(qapp, Look("light", "en"))
    widget = ChatView(None)  # type: ignore[arg-type]
    qtbot.addWidget(widget)
    widget.resize(1000, 600)
    widget.show()
    texts = ["needle one", "hay\n\n" * 200, "a NEEDLE, again a needle", "最后一句"]
    messages = tuple(
        MessageView(n + 1, 1, "assistant", text, "done", 0.0) for n, text in enumerate(texts)
    )
    widget.show_conversation(ConversationView(1, "title", messages))
    return widget


def marks(view, message_id):
    [widget] = [w for w in view.transcript.widgets_in_order() if w.view.id == message_id]
    return [s.cursor.selectedText() for s in widget.body.extraSelections()]


def test_find_marks_steps_and_forgets(view):
    view.open_find()
    QTest.keyClicks(view.find_bar.field, "needle")
    assert view.find_bar._place.text() == "Message 2 of 2"
    assert marks(view, 3) == ["NEEDLE", "needle"]
    QTest.keyClick(view.find_bar.field, Qt.Key.Key_Return)
    assert view.find_bar._place.text() == "Message 1 of 2"
    assert marks(view, 1) == ["needle"]
    view.find_bar.field.setText("最后")
    assert view.find_bar._place.text() == "Message 1 of 1"
    view.find_bar.field.setText("nowhere")
    assert view.find_bar._place.text() == "Not in this conversation"
    QTest.keyClick(view.find_bar.field, Qt.Key.Key_Escape)
    assert view.find_bar.isHidden()
    assert all(not w.body.extraSelections() for w in view.transcript.widgets_in_order())


def test_the_link_dialog_shows_the_real_address_and_cancels_by_default(view):
    dialog = LinkDialog("https://example.com@evil.test/\u202egnp.exe", view)
    texts = [child.text() for child in dialog.findChildren(type(view._footer))]
    assert "evil.test" in texts
    dialog.show()
    QTest.keyClick(dialog, Qt.Key.Key_Return)
    assert dialog.result() == LinkDialog.DialogCode.Rejected


def test_addresses_hide_nothing():
    assert host_of("https://\u0430pple.com/") == "xn--pple-43d.com"
    assert host_of("https://[broken") == ""
    assert visible("https://a.test/\u202eb\n") == "https://a.test/\\u202eb\\u000a"


def test_a_click_or_drag_in_messages_leaves_the_keys_to_the_composer(view, qtbot):
    """An input method would miss the first key where the focus is on what takes no input."""
    view.activateWindow()
    edit = view.composer.edit
    edit.setFocus()
    qtbot.waitUntil(edit.hasFocus)
    body = view.transcript.widgets_in_order()[-1].body  # 最后一句
    cursor = body.textCursor()
    cursor.setPosition(2)
    begin, end = body.rect().topLeft() + QPoint(1, 8), body.cursorRect(cursor).center()
    QTest.mousePress(body.viewport(), Qt.MouseButton.LeftButton, pos=begin)
    QTest.mouseMove(body.viewport(), end)
    QTest.mouseRelease(body.viewport(), Qt.MouseButton.LeftButton, pos=end)
    assert edit.hasFocus()
    assert body.textCursor().selectedText() == "最后"
    QTest.keyClick(edit, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == "最后"
    view.list.search.setFocus()
    QTest.mouseClick(view.transcript.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(3, 3))
    assert edit.hasFocus()
    edit.setPlainText("mine")
    edit.selectAll()
    QTest.keyClick(edit, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == "mine"


def test_what_stands_beside_an_answer_is_selected_and_copied_without_taking_the_keys(view, qtbot):
    view.activateWindow()
    edit = view.composer.edit
    edit.setFocus()
    qtbot.waitUntil(edit.hasFocus)
    answer = replace(
        view.transcript.widgets_in_order()[-1].view,
        text="<think>thoughts</think>\n\nanswer",
        state="failed",
        failure="Sentence",
        detail="Detail",
        seams=(Seam(0, "Reason"),),
    )
    view.transcript.update_message(answer)
    widget = view.transcript.widgets_in_order()[-1]
    widget.unfold_thought()
    widget.findChild(Notice).findChild(TextButton).click()
    words = []
    for aside in widget.asides():
        part = pressed_part(aside)
        QTest.mouseDClick(part, Qt.MouseButton.LeftButton, pos=QPoint(6, 8))
        assert edit.hasFocus()
        QTest.keyClick(edit, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
        words.append(QGuiApplication.clipboard().text())
    assert words == ["thoughts", "Broken", "Sentence", "Detail"]
    QTest.mouseClick(widget.body.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(3, 3))
    QGuiApplication.clipboard().clear()
    QTest.keyClick(edit, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == ""


def test_page_keys_in_a_field_of_few_lines_turn_the_messages_pages(view):
    bar = view.transcript.verticalScrollBar()
    before = bar.value()
    QTest.keyClick(view.composer.edit, Qt.Key.Key_PageUp)
    assert bar.value() < before
    QTest.keyClick(view.composer.edit, Qt.Key.Key_PageDown)
    assert bar.value() == before
    view.composer.edit.setPlainText("line\n" * 60)
    QTest.keyClick(view.composer.edit, Qt.Key.Key_PageUp)
    assert bar.value() == before


def shown_place(view):
    """The index of the message with the focus, whether that is in view; None = none has it."""
    transcript, focused = view.transcript, view.window().focusWidget()
    for index, message in enumerate(transcript.views()):
        for widget in transcript.widgets_in_order():
            if widget.view.id == message.id and widget.isAncestorOf(focused):
                box = focused.rect().translated(focused.mapTo(transcript.viewport(), QPoint(0, 0)))
                return index, box.intersects(transcript.viewport().rect())
    return None


@pytest.mark.parametrize("is_back", [False, True])
def test_tab_goes_through_the_messages_in_order_and_shows_where_it_is(view, qtbot, is_back):
    """They are made from the last one up, and those far from the view wait for coming back."""
    view.activateWindow()
    roles = ("user", "assistant")
    messages = tuple(
        MessageView(n + 1, 1, roles[n % 2], f"{n}\n\n```\ncode\n```\n\n" + "hay\n\n" * 9, "done", 0)
        for n in range(12)
    )
    view.show_conversation(ConversationView(2, "title", messages))
    view.transcript.scroll_to_message(1 if not is_back else 12)
    start = view.composer.edit if is_back else view.transcript
    start.setFocus()
    qtbot.waitUntil(start.hasFocus)
    places = []
    for _ in range(200):
        key = Qt.Key.Key_Backtab if is_back else Qt.Key.Key_Tab
        QTest.keyClick(view.window().focusWidget(), key)
        place = shown_place(view)
        if place is not None:
            places.append(place)
        elif places:
            break
    indices = [index for index, _ in places]
    assert indices == sorted(indices, reverse=is_back)
    assert set(indices) == set(range(12))
    assert all(is_shown for _, is_shown in places)
