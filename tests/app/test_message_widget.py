"""One message: its seams, its progress, its attachments, what is copied from it."""

from dataclasses import replace

import pytest
from PySide6.QtCore import QEvent, QRectF, Qt
from PySide6.QtGui import QFontMetricsF, QTextCursor
from PySide6.QtWidgets import QApplication, QPlainTextEdit, QToolButton, QWidget

from bilin_app.controllers.engine_views import ModelView
from bilin_app.controllers.views import (
    AnswerFacts,
    AnswerProgress,
    MessageView,
    Seam,
)
from bilin_app.pages.chat.attachment_dialog import MAX_LINE, AttachmentDialog
from bilin_app.pages.chat.document import MAX_BLOCK_CHARS
from bilin_app.pages.chat.message import MessageWidget
from bilin_app.pages.chat.message_body import marker_font, plain_text
from bilin_app.pages.chat.text_formats import (
    CODE_HEADER,
    LIST_INDENT,
)
from bilin_app.pages.keymap import keymap
from bilin_app.text.attachments import Attachment
from bilin_app.theme.theme import Look, start_theme

pytestmark = pytest.mark.gui

MODEL = ModelView("m", "模型", "Model")
FACTS = AnswerFacts(MODEL, 64, 214, 0.4, 38.2, 7, "stop")
ANSWER = MessageView(2, 1, "assistant", "one two three", "done", 0.0, facts=FACTS)


@pytest.fixture
def make(qapp):
    start_theme(qapp, Look("light", "en"))
    owner = QWidget()
    owner.resize(700, 500)
    owner.show()

    def make(view):
        widget = MessageWidget(view, "Model", owner)
        widget.resize(600, widget.height_for(600))
        widget.show()
        return widget

    yield make
    owner.close()
    owner.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


def facts_of(widget):
    return widget._row._facts.accessibleName()


def test_what_is_queued_tells_when_it_is_sent(make):
    widget = make(MessageView(3, 1, "user", "two", "queued", 0.0))
    widget.set_can_act(False)
    assert facts_of(widget) == "Queued: sent when this answer ends"
    widget.set_can_act(True)  # the answer failed, or an earlier run of the app left it
    assert facts_of(widget) == "Queued: sent with your next message"


def test_a_seam_is_told_below_the_answer_and_drawn_where_it_is(make):
    plain = make(ANSWER)
    widget = make(replace(ANSWER, seams=(Seam(7, "The engine crashed (SIGSEGV)."),)))
    assert widget._seam is not None
    assert "SIGSEGV" in widget._seam.accessibleName()
    assert widget.height_for(600) > plain.height_for(600)
    assert widget.body.content.place(0).position() == 7
    [(box, _text)] = widget.body._seam_boxes()
    cursor = QTextCursor(widget.body.document())
    cursor.setPosition(7)
    assert box.left() == widget.body.cursorRect(cursor).left()
    widget.grab()


def test_a_seam_stays_in_its_block_while_the_answer_grows(make):
    text = "first\n\nsecond **bo"
    running = replace(ANSWER, text=text, state="running", facts=None)
    widget = make(running)
    widget.set_view(replace(running, seams=(Seam(len(text), "why"),)))
    widget.append_text("ld** word\n\nthird")
    cursor = widget.body.content.place(0)
    assert cursor.block().text() == "second bold word"
    assert widget.body.content.text == text + "ld** word\n\nthird"


def test_a_seam_counts_from_the_answer_behind_a_thought(make):
    text = "<think>\nhm\n</think>\n\none two"
    widget = make(replace(ANSWER, text=text, seams=(Seam(len(text) - 1, "why"),)))
    assert widget.body.content.place(0).position() == 6


def test_an_open_thought_is_only_appended_to_and_a_folded_one_not_set_at_all(make):
    lines = [f"<b>line {i}</b>, of which there are many in a thought\n" for i in range(40)]
    widget = make(replace(ANSWER, text="<think>", state="running", facts=None))
    thought = widget._thought
    assert thought is not None
    document = thought.text.document()
    changes = []
    document.contentsChange.connect(lambda *change: changes.append(change))
    for line in lines[:20]:
        widget.append_text(line)
    assert changes == []
    folded = widget.height_for(600)
    widget.unfold_thought()
    assert document.toPlainText() == "".join(lines[:20]).strip()
    before = document.characterCount()
    changes.clear()
    for line in lines[20:]:
        widget.append_text(line)
    assert len(changes) == 20
    assert min(position for position, _removed, _added in changes) >= before - 1
    widget.append_text("</think>The answer")
    widget.resize(600, widget.height_for(600))
    assert document.toPlainText() == "".join(lines).strip()
    assert widget.body.content.text == "The answer"
    assert thought.text.height() == document.size().height() > 500
    assert widget.height_for(600) > folded + 500
    assert thought.text.verticalScrollBar().maximum() == 0


def test_words_of_the_persons_are_said_to_be_theirs(make):
    begun = make(replace(ANSWER, seams=(Seam(3, "", "begun"),)))
    assert facts_of(begun).startswith("begun by you")
    assert begun._seam is None
    edited = make(replace(ANSWER, facts=None, seams=(Seam(13, "", "begun"),)))
    assert facts_of(edited) == "edited by you"


def test_where_the_persons_words_end_is_marked_once_letters_follow(make):
    started = replace(ANSWER, text="one", state="running", seams=(Seam(3, "", "begun"),))
    widget = make(started)
    assert widget.body._seam_boxes() == []  # nothing behind it yet
    widget.append_text(" two\n\nthree\n\nfour")
    assert len(widget.body._seam_boxes()) == 1
    counts = replace(widget.body.content.counts)
    widget.set_view(replace(started, text="one two\n\nthree\n\nfour", state="done"))
    assert widget.body.content.counts.closed_blocks == counts.closed_blocks + 1  # the last alone
    assert len(widget.body._seam_boxes()) == 1
    assert widget.body.content.place(0).position() == 3


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        (AnswerProgress(), "Reading the prompt …"),
        (
            AnswerProgress(first_token_s=12.2, rest_s=41.0),
            "First word in about 12 s, the whole in 40 s at most",
        ),
        (AnswerProgress(first_token_s=0.0, rest_s=30.0), "First word any moment"),
        (AnswerProgress(214, 38.25, rest_s=7.6), "38.2 tok/s · 214 tokens · 8 s more at most"),
        (AnswerProgress(214, 38.25), "38.2 tok/s · 214 tokens"),
    ],
)
def test_the_time_is_told_while_an_answer_is_written(make, progress, said):
    widget = make(replace(ANSWER, text="", state="running", facts=None))
    widget.show_progress(progress)
    assert facts_of(widget).replace("38.3", "38.2") == said


def test_what_an_answer_took_names_model_and_seed(make):
    widget = make(ANSWER)
    assert facts_of(widget) == "38.2 tok/s · 214 tokens · first 0.4 s"
    quick = make(replace(ANSWER, facts=replace(FACTS, time_to_first_token_s=0.031)))
    assert facts_of(quick).endswith("first 0.03 s")
    assert "Model: Model" in widget._row._facts.toolTip()
    assert "Seed: 7" in widget._row._facts.toolTip()


def test_attachments_stand_over_the_words_and_open(make):
    attachments = (Attachment("a.py", "x = 1"), Attachment("b" * 200 + ".py", "y", 12))
    view = MessageView(1, 1, "user", "look", "done", 0.0, attachments=attachments)
    widget, opened = make(view), []
    widget.attachment_opened.connect(opened.append)
    widget._chips.chips[1].open.click()
    assert opened == [attachments[1]]
    assert widget._bubble.y() > widget._chips.y()
    alone = make(replace(view, text=""))
    assert alone.height_for(600) < widget.height_for(600)
    assert alone._bubble.isHidden()


def test_an_attachment_hides_nothing_and_breaks_long_lines_on_show_alone(make):
    owner = make(ANSWER)
    text = "a\u202eb\n" + "x" * 5000
    dialog = AttachmentDialog(Attachment("n", text), owner, is_draft=True)
    shown = dialog.text.toPlainText()
    assert "a\\u202eb" in shown
    assert max(map(len, shown.split("\n"))) == MAX_LINE
    assert shown.count("x") == 5000
    assert not dialog.inline.isHidden()
    dialog.inline.click()
    assert dialog.is_inlined


def test_a_selection_of_everything_reads_as_it_looks(make):
    source = (
        "Intro **bold**\n\n- one\n  - inner\n- [x] done\n\n1. first\n2. second\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nx = 1\ny = 2\n```\n\nend"
    )
    widget = make(replace(ANSWER, text=source))
    document = widget.body.document()
    lines = plain_text(document, 0, document.characterCount()).split("\n")
    assert [line for line in lines if line] == [
        "Intro bold", "• one", "  ◦ inner", "☑ done", "1. first", "2. second",
        "a\tb", "1\t2", "x = 1", "y = 2", "end",
    ]  # fmt: skip
    widget.body.selectAll()
    assert widget.body.createMimeDataFromSelection().text().split("\n") == lines


@pytest.mark.parametrize("streamed", [False, True])
def test_a_code_block_begins_below_the_table_before_it(make, streamed):
    source = "| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nx = 1\n```\n\nend"
    widget = make(replace(ANSWER, text="" if streamed else source))
    content = widget.body.content
    if streamed:
        for letter in source:
            content.append(letter)
        content.finish()
    layout = content.qt.documentLayout()
    [table] = content.qt.rootFrame().childFrames()
    [frame] = widget.body.code_frames()
    last_cell = layout.blockBoundingRect(table.lastCursorPosition().block())
    assert frame.top() > last_cell.bottom() + 6  # the cell's padding
    assert frame.top() < last_cell.bottom() + 60
    lines = plain_text(content.qt, 0, content.qt.characterCount()).split("\n")
    assert [line for line in lines if line] == ["a\tb", "1\t2", "x = 1", "end"]


def _copy_button_places(widget):
    """Of each frame, and of each button shown: the right edge and the middle of the header."""
    frames = [(frame.right(), frame.top() + CODE_HEADER / 2) for frame in widget.body.code_frames()]
    buttons = [
        (button.geometry().right(), button.geometry().center().y())
        for button in widget.body.findChildren(QToolButton)
        if button.isVisibleTo(widget) and button.accessibleName() == "Copy this code"
    ]
    return frames, buttons


def test_a_copy_button_stands_in_every_frame_while_code_comes_and_the_window_changes(make):
    widget = make(replace(ANSWER, text="", state="running"))
    source = "a line\n\n```python\nx = 1\ny = 2\n```\n\nand " + "word " * 60 + "\n\n"

    def check(count):
        frames, buttons = _copy_button_places(widget)
        assert len(frames) == len(buttons) == count
        for (right, middle), (button_right, button_middle) in zip(frames, buttons, strict=True):
            assert 0 < right - button_right < 12
            assert abs(middle - button_middle) <= 2

    for count in (1, 2, 3):
        for letter in source:
            widget.append_text(letter)
        check(count)
    for width in (420, 700):  # the words above a frame break differently
        widget.resize(width, widget.height_for(width))
        check(3)
    widget.set_view(replace(ANSWER, text="no code"))
    check(0)


def test_frames_in_a_part_of_a_message_are_found_without_the_others(make):
    widget = make(replace(ANSWER, text="text\n\n```\ncode\n```\n\n" * 30))
    widget.resize(700, widget.height_for(700))
    body, frames = widget.body, widget.body.code_frames()
    for top in range(0, body.height(), 37):
        clip = QRectF(0, top, 700, 90)
        found = [frame for _fence, frame in body._frames_within(clip)]
        assert found == [frame for frame in frames if frame.intersects(clip)]


def test_a_deleted_answers_question_offers_to_be_answered(make):
    asked, wanted = MessageView(1, 1, "user", "why?", "done", 0.0, is_unanswered=True), []
    widget = make(asked)
    widget.regenerate_requested.connect(wanted.append)
    assert widget._row.again.isVisibleTo(widget)
    assert widget._row.again.accessibleName() == "Answer this message"
    widget._row.again.click()
    assert wanted == [1]
    assert not make(replace(asked, is_unanswered=False))._row.again.isVisibleTo(widget)
    answer = MessageView(2, 1, "assistant", "so", "done", 0.0)
    for view, is_offered in ((answer, True), (replace(answer, is_opening=True), False)):
        widget = make(view)
        assert widget._row.again.isVisibleTo(widget) == is_offered


def test_editing_an_answer_keeps_it_or_lets_the_model_go_on(make):
    written = []
    widget = make(replace(ANSWER, text="<think>\nhm\n</think>\n\nhere"))
    widget.write_answer_requested.connect(lambda *said: written.append(said))
    for goes_on in (False, True):
        widget.start_editing()
        editor = widget._editor
        assert editor is not None
        assert editor.edit.toPlainText() == "here"
        editor.edit.insertPlainText(" and there")
        (editor.go_on if goes_on else editor._submit).click()
    assert written == [(2, "here and there", False), (2, "here and there", True)]


def test_an_edited_question_is_sent_by_the_key_that_sends(make, qtbot):
    keymap().set_sends_with_ctrl(True)
    sent = []
    widget = make(MessageView(3, 1, "user", "one", "done", 0.0))
    widget.edit_submitted.connect(lambda _id, text: sent.append(text))
    widget.start_editing()
    edit = widget._editor.edit
    qtbot.keyClick(edit, Qt.Key.Key_Return)
    qtbot.keyClicks(edit, "two")
    assert (edit.toPlainText(), sent) == ("one\ntwo", [])
    qtbot.keyClick(edit, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert sent == ["one\ntwo"]


def test_a_message_is_deleted_from_its_menu(make):
    for view in (ANSWER, MessageView(1, 1, "user", "why?", "done", 0.0)):
        widget, gone = make(view), []
        widget.delete_requested.connect(gone.append)
        menu = widget.make_menu()
        menu.actions()[-1].trigger()
        menu.close()
        assert gone == [view.id]


def test_letters_are_copied_as_they_are_selected_behind_a_character_of_two_units(make):
    widget = make(replace(ANSWER, text="😀 hello 𠮷 world"))
    document = widget.body.document()
    for wanted in ("hello", "world", "😀 h", "𠮷"):
        cursor = document.find(wanted)
        assert plain_text(document, cursor.selectionStart(), cursor.selectionEnd()) == wanted


def test_the_buttons_of_a_question_show_while_the_keyboard_is_on_them(make, qtbot):
    question = MessageView(1, 1, "user", "why?", "done", 0.0)
    widget = make(question)
    widget._row.set_hovered(False)  # the pointer may lie where it is shown
    button = widget._row.copy
    assert button._is_faint
    button.setFocus()
    qtbot.waitUntil(lambda: not button._is_faint)
    button.clearFocus()
    qtbot.waitUntil(lambda: button._is_faint)


@pytest.mark.parametrize("marker", ["•", "9.", "10.", "99.", "100.", "2024."])
def test_no_item_s_number_is_cut_off_at_the_left(qapp, marker):
    start_theme(qapp, Look("light", "en"))
    font, end = marker_font(marker, LIST_INDENT)
    assert QFontMetricsF(font).horizontalAdvance(marker) <= end + 0.5
    assert end < LIST_INDENT
    ordinary, _ = marker_font("9.", LIST_INDENT)
    assert font.pixelSize() == ordinary.pixelSize() or len(marker) > 3


def test_a_long_line_is_edited_without_being_broken(make):
    wraps = QPlainTextEdit.LineWrapMode.WidgetWidth
    short = make(MessageView(3, 1, "user", "one two", "done", 0.0)).open_editor("one two").edit
    assert short.lineWrapMode() == wraps
    long = "x" * 200_000
    edit = make(MessageView(3, 1, "user", long, "done", 0.0)).open_editor(long).edit
    assert edit.lineWrapMode() == QPlainTextEdit.LineWrapMode.NoWrap
    assert edit.toPlainText() == long
    QApplication.clipboard().setText("a line\n" * 10_000)
    short.paste()
    assert short.lineWrapMode() == wraps
    QApplication.clipboard().setText(long)
    short.paste()
    assert short.lineWrapMode() == QPlainTextEdit.LineWrapMode.NoWrap
    assert short.toPlainText() == "one two" + "a line\n" * 10_000 + long


def test_a_long_line_of_a_thought_is_cut(make):
    widget = make(replace(ANSWER, text="<think>", state="running", facts=None))
    thought = widget._thought
    assert thought is not None
    widget.unfold_thought()
    for _ in range(40):
        widget.append_text("x" * 1000)
    widget.append_text("x" * 50_000 + "\ny")
    document = thought.text.document()
    assert document.toPlainText().replace("\n", "") == "x" * 90_000 + "y"
    assert document.lastBlock().text() == "y"
    blocks = [document.findBlockByNumber(number) for number in range(document.blockCount())]
    assert max(block.length() for block in blocks) <= 2 * MAX_BLOCK_CHARS
