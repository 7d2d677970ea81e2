import pytest
from PySide6.QtCore import QEvent, QMimeData, QPoint, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QInputMethodEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget

from bilin_app.controllers.views import TokenCountView
from bilin_app.pages.chat.composer import MAX_LINES, Composer
from bilin_app.text.attachments import Attachment
from bilin_app.theme.theme import Look, start_theme

pytestmark = pytest.mark.gui

RETURN = Qt.Key.Key_Return
SHIFT = Qt.KeyboardModifier.ShiftModifier
CTRL = Qt.KeyboardModifier.ControlModifier


@pytest.fixture
def composer(qapp):
    start_theme(qapp, Look("light", "zh"))
    owner = QWidget()
    owner.resize(700, 700)
    widget = Composer(owner)
    widget.resize(600, 120)
    owner.show()
    yield widget
    owner.close()
    owner.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


@pytest.fixture
def sent(composer):
    texts = []
    composer.submitted.connect(texts.append)
    return texts


def test_enter_sends_and_leaves_the_text_until_it_is_stored(composer, sent):
    QTest.keyClicks(composer.edit, "hello")
    QTest.keyClick(composer.edit, RETURN)
    assert sent == ["hello"]
    assert composer.text == "hello"


def test_shift_enter_breaks_the_line(composer, sent):
    QTest.keyClicks(composer.edit, "a")
    QTest.keyClick(composer.edit, RETURN, SHIFT)
    QTest.keyClicks(composer.edit, "b")
    assert composer.text == "a\nb"
    assert sent == []


def test_ctrl_enter_sends_where_that_is_chosen(composer, sent):
    composer.set_sends_with_ctrl(True)
    QTest.keyClicks(composer.edit, "a")
    QTest.keyClick(composer.edit, RETURN)
    assert sent == []
    QTest.keyClick(composer.edit, RETURN, CTRL)
    assert sent == ["a"]


def test_enter_while_an_input_method_composes_never_sends(composer, sent, qapp):
    QTest.keyClicks(composer.edit, "x")
    qapp.sendEvent(composer.edit, QInputMethodEvent("nihao", []))
    QTest.keyClick(composer.edit, RETURN)
    assert sent == []
    commit = QInputMethodEvent("", [])
    commit.setCommitString("你好")
    qapp.sendEvent(composer.edit, commit)
    QTest.keyClick(composer.edit, RETURN)
    assert len(sent) == 1
    assert "你好" in sent[0]


def test_the_cursor_stays_where_an_input_method_composes(composer, qapp):
    edit = composer.edit
    composer.set_text("first\nb")
    cursor = edit.textCursor()
    cursor.setPosition(6)
    edit.setTextCursor(cursor)
    qapp.sendEvent(edit, QInputMethodEvent("ni", []))
    qapp.processEvents()
    for key in (Qt.Key.Key_Left, Qt.Key.Key_Down):  # Qt would end two beyond the text
        QTest.keyClick(edit, key)
    assert edit.textCursor().position() == 6
    qapp.sendEvent(edit, QInputMethodEvent("", []))
    QTest.keyClick(edit, Qt.Key.Key_Left)
    assert edit.textCursor().position() == 5


def test_what_is_composed_does_not_stand_on_the_placeholder(composer, qapp):
    placeholder = composer.edit.placeholderText()
    assert placeholder
    qapp.sendEvent(composer.edit, QInputMethodEvent("n", []))
    qapp.sendEvent(composer.edit, QInputMethodEvent("ni", []))
    assert composer.edit.placeholderText() == ""
    qapp.sendEvent(composer.edit, QInputMethodEvent("", []))  # given up
    assert composer.edit.placeholderText() == placeholder


def test_escape_while_an_input_method_composes_does_not_stop(composer, qapp):
    stops = []
    composer.stop_requested.connect(lambda: stops.append(1))
    composer.set_running(True)
    qapp.sendEvent(composer.edit, QInputMethodEvent("ni", []))
    QTest.keyClick(composer.edit, Qt.Key.Key_Escape)
    assert stops == []
    qapp.sendEvent(composer.edit, QInputMethodEvent("", []))
    QTest.keyClick(composer.edit, Qt.Key.Key_Escape)
    assert stops == [1]


@pytest.mark.parametrize("text", ["", "   ", "\n\n"])
def test_nothing_is_not_sent(composer, sent, text):
    composer.set_text(text)
    QTest.keyClick(composer.edit, RETURN)
    assert sent == []
    assert not composer.send.isEnabled()


def test_a_text_that_does_not_fit_is_not_sent(composer, sent):
    composer.set_text("long")
    composer.set_count(TokenCountView(2391, 2048))
    QTest.keyClick(composer.edit, RETURN)
    assert sent == []
    composer.set_count(TokenCountView(2000, 2048))
    QTest.keyClick(composer.edit, RETURN)
    assert sent == ["long"]


def test_what_can_no_longer_be_counted_can_be_sent(composer, sent):
    composer.set_text("long")
    composer.set_count(TokenCountView(2391, 2048))
    composer.set_count(None)
    assert composer.send.isEnabled()
    assert "Too long" not in composer._hint.text()
    QTest.keyClick(composer.edit, RETURN)
    assert sent == ["long"]


def test_it_grows_to_ten_lines_and_no_further(composer):
    composer.window().resize(700, 900)
    heights, scrolls = [], []
    for num_lines in (1, 2, 3, MAX_LINES, MAX_LINES + 5):
        composer.set_text("\n".join("字" * num_lines))
        heights.append(composer.edit.height())
        scrolls.append(composer.edit.verticalScrollBar().maximum() > 0)
    line = heights[1] - heights[0]
    assert line >= composer.edit.fontMetrics().lineSpacing()
    assert heights[2] - heights[0] == 2 * line
    assert heights[3] - heights[0] == (MAX_LINES - 1) * line
    assert heights[4] == heights[3]
    assert scrolls == [False, False, False, False, True]
    composer.window().resize(700, 460)
    composer.fit_height()
    assert heights[1] < composer.edit.height() < heights[3]


def test_set_text_is_no_draft_of_the_person(composer):
    drafts = []
    composer.draft_changed.connect(drafts.append)
    composer.set_text("restored")
    assert drafts == []
    QTest.keyClicks(composer.edit, "!")
    assert drafts == ["restored!"]


def test_up_in_an_empty_field_recalls(composer):
    recalls = []
    composer.recall_requested.connect(lambda: recalls.append(1))
    QTest.keyClick(composer.edit, Qt.Key.Key_Up)
    composer.set_text("text")
    QTest.keyClick(composer.edit, Qt.Key.Key_Up)
    assert recalls == [1]


def test_while_an_answer_runs_a_message_queues(composer, sent):
    composer.set_running(True)
    assert composer.stop.isVisible()
    assert not composer.send.isVisible()
    composer.set_text("next")
    assert composer.send.isVisible()
    QTest.keyClick(composer.edit, RETURN)
    assert sent == ["next"]


def test_what_falls_out_is_said_before_it_is_sent_and_sending_is_a_choice(composer, sent):
    QTest.keyClicks(composer.edit, "more")
    composer.set_count(TokenCountView(2391, 2048))
    assert not composer.send.isEnabled()
    composer.set_count(TokenCountView(2391, 2048, 4))
    assert "4" in composer._hint.text()
    assert composer.send.text() == "照此发送"
    composer.send.click()
    assert sent == ["more"]
    composer.set_count(TokenCountView(100, 2048))
    assert composer._hint.text() == ""
    assert composer.send.text() == "发送"


def paste(composer, text="", files=()):
    data = QMimeData()
    if files:
        data.setUrls([QUrl.fromLocalFile(str(path)) for path in files])
    else:
        data.setText(text)
    composer.edit.insertFromMimeData(data)


def test_a_long_paste_is_handed_on_to_be_attached(composer, qapp):
    pasted = []
    composer.long_text_pasted.connect(pasted.append)
    paste(composer, "x" * 4000)
    assert composer.text == "x" * 4000
    composer.set_text("")
    paste(composer, "x" * 4001)
    paste(composer, "line\r\n" * 80)
    assert composer.text == ""
    assert pasted == ["x" * 4001, "line\n" * 80]
    qapp.clipboard().setText("y" * 5000)
    QTest.keyClick(composer.edit, Qt.Key.Key_V, CTRL | SHIFT)
    assert composer.text == "y" * 5000


def test_pasted_and_dropped_files_are_handed_on(composer, tmp_path):
    given = []
    composer.files_given.connect(given.append)
    paste(composer, files=[tmp_path / "a.py", tmp_path / "b.py"])
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path / "c.py")), QUrl("http://a.test/d.py")])
    place, action = QPoint(5, 5), Qt.DropAction.CopyAction
    buttons, modifiers = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    composer.dragEnterEvent(QDragEnterEvent(place, action, data, buttons, modifiers))
    assert composer.property("dropping")
    composer.dropEvent(QDropEvent(place.toPointF(), action, data, buttons, modifiers))
    assert not composer.property("dropping")
    assert given == [[tmp_path / "a.py", tmp_path / "b.py"], [tmp_path / "c.py"]]
    assert composer.text == ""


def test_html_is_pasted_as_its_letters(composer):
    data = QMimeData()
    data.setHtml("<b>bold</b>")
    data.setText("bold")
    composer.edit.insertFromMimeData(data)
    assert composer.text == "bold"


def test_attachments_alone_can_be_sent_and_are_taken_away_by_their_cross(composer, sent):
    removed, opened = [], []
    composer.attachment_removed.connect(removed.append)
    composer.attachment_opened.connect(opened.append)
    composer.set_attachments((Attachment("a.py", "x"), Attachment("b\u202e.py", "y", 7)))
    assert composer.send.isEnabled()
    QTest.keyClick(composer.edit, RETURN)
    assert sent == [""]
    first, second = composer.chips.chips
    first.remove.click()
    second.open.click()
    assert (removed, opened) == ([0], [1])
    assert "b" in second.open.accessibleName()
    composer.set_attachments(())
    assert not composer.send.isEnabled()


def test_the_answers_first_words_are_written_below_the_message(composer, sent, qapp):
    composer.start.click()
    QTest.keyClicks(composer.edit, "why?")
    QTest.keyClicks(composer.start_edit, "Because")
    assert composer.answer_start == "Because"
    event = QInputMethodEvent("yin", [])
    qapp.sendEvent(composer.start_edit, event)
    QTest.keyClick(composer.start_edit, RETURN)  # chooses in the input method
    assert sent == []
    qapp.sendEvent(composer.start_edit, QInputMethodEvent("", []))
    QTest.keyClick(composer.start_edit, RETURN)
    assert sent == ["why?"]
    QTest.keyClick(composer.start_edit, Qt.Key.Key_Escape)
    assert composer.answer_start == ""
    assert composer.start_edit.isHidden()


def test_the_messages_that_fall_out_are_named_before_sending(composer):
    composer.set_text("more")
    composer.set_count(TokenCountView(2391, 2048, 2, ("冬天去哪里？", "去三亚\u202e")))
    assert "冬天去哪里？" in composer._hint.toolTip()
    assert "去三亚\\u202e" in composer._hint.toolTip()
    assert "冬天去哪里？" in composer._hint.accessibleName()
    assert composer.send.isEnabled()
