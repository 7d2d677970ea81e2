import textwrap
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Literal

import pytest
from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QFocusEvent, QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from shown_transcript import shown_transcript

from bilin_app.controllers.views import MessageState, MessageView
from bilin_app.pages.chat.document import MAX_BLOCK_CHARS, MessageDocument
from bilin_app.pages.chat.highlight import WAIT_MS, prepare_lexer
from bilin_app.pages.chat.message_body import plain_text
from bilin_app.pages.chat.text_formats import CODE_PROPERTY, MARKER_PROPERTY, MAX_LINE_CHARS
from bilin_app.theme.fonts import families
from bilin_app.theme.theme import Look, start_theme
from bilin_app.tour_texts import TEXTS

pytestmark = pytest.mark.gui

RICH = TEXTS["zh"].rich + "\n\n" + TEXTS["zh"].text + "\n\n" + TEXTS["en"].rich


@pytest.fixture
def document(qapp):
    start_theme(qapp, Look("light", "zh"))
    owner = QObject()
    yield MessageDocument(owner)
    owner.deleteLater()


@pytest.fixture
def transcript(qapp):
    with shown_transcript(qapp, "zh") as widget:
        yield widget


def message(
    message_id: int,
    text: str = "text",
    role: Literal["user", "assistant"] = "assistant",
    state: MessageState = "done",
    **more: Any,
):
    return MessageView(message_id, 1, role, text, state, 0.0, **more)


def conversation(count):
    return [
        message(i + 1, TEXTS["zh"].long if i % 2 else "问题", "assistant" if i % 2 else "user")
        for i in range(count)
    ]


def shown(document):
    """What is seen, with the formats that make it look so."""
    result = []
    block = document.qt.begin()
    while block.isValid():
        block_format = block.blockFormat()
        result.append(
            (
                block.text(),
                block_format.leftMargin(),
                block_format.topMargin(),
                block_format.bottomMargin(),
                block_format.lineHeight(),
                block_format.property(CODE_PROPERTY),
            )
        )
        block = block.next()
    return result


# --- The document ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 7, 50])
def test_streaming_in_pieces_shows_what_the_whole_text_shows(document, size):
    document.set_text(RICH, is_complete=True)
    whole = shown(document)
    document.set_text("", is_complete=False)
    for start in range(0, len(RICH), size):
        document.append(RICH[start : start + size])
    document.finish()
    assert shown(document) == whole


def test_a_closed_block_is_written_once(document):
    paragraphs = [f"paragraph {i}\n\n" for i in range(50)]
    document.set_text("", is_complete=False)
    for paragraph in paragraphs:
        for char in paragraph:
            document.append(char)
    document.finish()
    assert document.counts.closed_blocks == 50


def test_an_open_fence_is_only_appended_to(document):
    document.set_text("```python\n", is_complete=False)
    tail_writes = document.counts.tail_writes
    for i in range(400):
        document.append(f"x = {i}\n")
    assert document.counts.tail_writes == tail_writes
    assert document.counts.closed_blocks == 0
    assert document.counts.appends >= 400
    document.append("```\n")
    assert document.counts.closed_blocks == 1
    assert document.fences[0].code.endswith("x = 399")
    assert document.fences[0].num_lines == 400


def test_a_huge_paragraph_is_only_appended_to_and_cut(document):
    document.set_text("字" * (MAX_BLOCK_CHARS + 1), is_complete=False)
    tail_writes = document.counts.tail_writes
    for _ in range(100):
        document.append("字" * 400)
    assert document.counts.tail_writes == tail_writes
    document.finish()
    block = document.qt.begin()
    while block.isValid():
        assert block.length() <= MAX_LINE_CHARS + 1
        block = block.next()
    assert document.qt.toPlainText().count("字") == MAX_BLOCK_CHARS + 1 + 40_000


STEPS = [f"**Step {i}**, then `code`, so that it, in all, is {i}." for i in range(1, 201)]
LONG_LIST = "".join(
    textwrap.indent(f"{text}\n\n```\na, b, {i}\n```\n\n", " " * len(f"{i}. ")).replace(
        " " * len(f"{i}. "), f"{i}. ", 1
    )
    for i, text in enumerate(STEPS, 1)
)
TIGHT_LIST = "".join(f"1. {text}\n   - deeper\n" for text in STEPS)
ROWS = [f"| **row {i}**, one | `c{i}` | last {i} |" for i in range(1, 151)]
LONG_TABLE = "| a | b | c |\n|---|---|:-:|\n" + "\n".join(ROWS)


def stream(document, text, size=300):
    document.set_text("", is_complete=False)
    for start in range(0, len(text), size):
        document.append(text[start : start + size])
    document.finish()


def marked(document):
    """The marks of list items, and the letters beside them."""
    block, result = document.qt.begin(), []
    while block.isValid():
        if marker := block.blockFormat().property(MARKER_PROPERTY):
            result.append((marker, block.text()))
        block = block.next()
    return result


@pytest.mark.parametrize("source", [LONG_LIST, TIGHT_LIST], ids=["loose", "tight"])
def test_a_long_list_is_set_as_one_and_only_its_end_is_written_again(document, source):
    assert len(source) > 2 * MAX_BLOCK_CHARS
    stream(document, source)
    streamed = shown(document)
    document.set_text(source, is_complete=True)
    assert shown(document) == streamed
    marks = [item for item in marked(document) if item[0] != "◦"]
    assert marks == [
        (f"{i}.", text.replace("**", "").replace("`", "")) for i, text in enumerate(STEPS, 1)
    ]
    assert "```" not in document.qt.toPlainText()
    gaps = {b[3] for b in streamed[:-1] if "Step" in b[0]}
    assert gaps == ({6} if source is LONG_LIST else {2})  # no wider one where it was cut
    assert document.counts.appends == 0


@pytest.mark.parametrize("before", ["", "Before it:\n"])
def test_a_long_table_is_one_table(document, before):
    stream(document, before + LONG_TABLE + "\n\nend")
    streamed = shown(document)
    text = plain_text(document.qt, 0, document.qt.characterCount())
    document.set_text(before + LONG_TABLE + "\n\nend", is_complete=True)
    assert shown(document) == streamed
    rows = [f"row {i}, one\tc{i}\tlast {i}" for i in range(1, 151)]
    lines = [line for line in text.split("\n") if line]
    assert lines == [line for line in before.split("\n") if line] + ["a\tb\tc", *rows, "end"]
    [table] = {id(f): f for f in document.qt.rootFrame().childFrames()}.values()
    assert table.rows() == 151
    assert document.counts.appends == 0


def test_an_open_end_of_a_long_table_shows_as_rows(document):
    document.set_text(LONG_TABLE, is_complete=False)
    assert "|" not in document.qt.toPlainText()
    assert "**" not in document.qt.toPlainText()


def test_a_long_paragraph_is_not_broken_and_a_longer_one_is_copied_whole(document):
    words = "**bold words**, then others, " * 250
    document.set_text(words, is_complete=True)
    assert document.qt.blockCount() == 1
    document.set_text(words * 3, is_complete=True)
    assert document.qt.blockCount() > 1
    text = plain_text(document.qt, 0, document.qt.characterCount())
    assert text == (words * 3).replace("**", "").strip()


def test_highlighting_colours_every_line_once(document):
    document.set_text("```python\ndef f():\n    return 1\n```\n", is_complete=True)
    document.finish_highlighting()
    block = document.fences[0].first
    assert [bool(b.layout().formats()) for b in (block, block.next())] == [True, True]


@pytest.mark.parametrize("step", [700, 20_000])
def test_code_with_a_line_that_is_cut_has_no_colours_in_wrong_places(document, step):
    source = "```python\nx = '" + "a" * 9000 + "'\nimport os\n```\n"
    document.set_text("", is_complete=False)
    for begin in range(0, len(source), step):
        document.append(source[begin : begin + step])
    document.finish()
    document.finish_highlighting()
    block = document.fences[0].first
    assert document.fences[0].num_lines > 2
    while block.isValid():
        assert block.layout().formats() == []
        block = block.next()


@pytest.mark.parametrize(
    ("source", "narrow"),
    [
        ("“A friend isn’t far.” 天涯若比邻", "“’”"),
        ("他说“Hello”。", ""),
        ("“你好 Bob” it is", ""),
        ("“OK” 是“好”的意思", "“”"),
    ],
)
def test_quotation_marks_are_wide_only_beside_chinese(document, source, narrow):
    document.set_text(source, is_complete=True)
    found = ""
    fragments = document.qt.begin().begin()
    while not fragments.atEnd():
        fragment = fragments.fragment()
        if fragment.charFormat().fontFamilies() == families("en", "text"):
            found += fragment.text()
        fragments += 1
    assert found == narrow
    assert document.qt.toPlainText() == source


def test_a_language_that_nobody_knows_stays_uncoloured(document):
    document.set_text("```klingon\nnuqneH\n```\n", is_complete=True)
    document.finish_highlighting()
    assert document.fences[0].first.layout().formats() == []


def test_code_is_coloured_when_its_lexer_is_made(document, qtbot, monkeypatch):
    lexer = prepare_lexer("python").result()
    made = Future()
    monkeypatch.setattr("bilin_app.pages.chat.highlight.prepare_lexer", lambda _language: made)
    document.set_text("```python\nreturn 1\n```\n", is_complete=True)
    qtbot.wait(2 * WAIT_MS)  # it neither waits nor gives up
    assert document.fences[0].first.layout().formats() == []
    made.set_result(lexer)
    qtbot.waitUntil(lambda: document.fences[0].first.layout().formats() != [])


@pytest.mark.parametrize(
    "source",
    [
        "<script>alert(1)</script>",
        "<img src='http://x.org/a.png'>",
        "![picture](http://x.org/a.png)",
        "[click](javascript:alert(1))",
        "[file](file:///etc/passwd)",
        "> " * 400 + "deep",
        "- " * 400 + "deep",
        "[" * 3000,
        "*" * 3000,
        "|a|\n|-|\n" + "|b|\n" * 200,
        "a\x00b\u202egnp.exe",
        "```" * 200,
    ],
)
def test_hostile_markdown_stays_text(document, source):
    document.set_text(source, is_complete=True)
    block = document.qt.begin()
    while block.isValid():
        iterator = block.begin()
        while not iterator.atEnd():
            char_format = iterator.fragment().charFormat()
            assert not char_format.isImageFormat()
            assert char_format.anchorHref() in ("", "http://x.org/a.png")
            iterator += 1
        block = block.next()


def test_raw_html_is_shown_as_it_is(document):
    document.set_text("a <b>c</b>", is_complete=True)
    assert document.qt.toPlainText() == "a <b>c</b>"


# --- The column -----------------------------------------------------------------------------------


def test_only_messages_near_the_view_have_widgets(transcript):
    transcript.set_messages(conversation(5000))
    assert 0 < transcript.num_widgets < 30


def test_a_long_conversation_opens_at_its_end(transcript):
    transcript.set_messages(conversation(200))
    assert transcript.is_following
    bar = transcript.verticalScrollBar()
    assert bar.value() == bar.maximum() > 0


@pytest.mark.parametrize(
    ("reason", "ring"),
    [(Qt.FocusReason.MouseFocusReason, False), (Qt.FocusReason.TabFocusReason, True)],
)
def test_only_keys_put_a_ring_around_the_messages(transcript, reason, ring):
    QApplication.sendEvent(transcript, QFocusEvent(QEvent.Type.FocusIn, reason))
    assert bool(transcript.property("ring")) == ring
    QApplication.sendEvent(transcript, QFocusEvent(QEvent.Type.FocusOut, reason))
    assert not transcript.property("ring")


def test_scrolling_through_everything_keeps_few_widgets_and_ends_at_the_top(transcript, qapp):
    transcript.set_messages(conversation(60))
    bar = transcript.verticalScrollBar()
    most = 0
    for _ in range(400):
        if bar.value() == 0:
            break
        bar.setValue(max(0, bar.value() - 300))
        most = max(most, transcript.num_widgets)
    qapp.processEvents()
    assert bar.value() == 0
    assert most < 40


def test_text_that_comes_while_reading_above_does_not_move_the_view(transcript):
    messages = conversation(20)
    transcript.set_messages([*messages, message(99, "", state="running")])
    bar = transcript.verticalScrollBar()
    bar.setValue(bar.value() - 500)
    assert not transcript.is_following
    place = bar.value()
    transcript.append_text(99, "line\n\n" * 100)
    transcript.flush()
    assert bar.value() == place
    transcript.scroll_to_end()
    assert transcript.is_following


def test_the_end_stays_in_view_while_an_answer_grows(transcript):
    transcript.set_messages([message(1, "q", "user"), message(2, "", state="running")])
    for _ in range(50):
        transcript.append_text(2, "another line\n\n")
        transcript.flush()
    bar = transcript.verticalScrollBar()
    assert bar.value() == bar.maximum() > 0


def test_one_flush_arranges_once_however_many_tokens_came(transcript):
    transcript.set_messages([message(1, "q", "user"), message(2, "", state="running")])
    before = transcript.num_arrangements
    for _ in range(500):
        transcript.append_text(2, "x ")
    transcript.flush()
    assert transcript.num_arrangements == before + 1


def test_an_answer_that_ends_out_of_view_is_whole(transcript):
    messages = [*conversation(30), message(99, "start ", state="running")]
    transcript.set_messages(messages)
    transcript.verticalScrollBar().setValue(0)
    transcript.append_text(99, "more")
    transcript.update_message(message(99, "start more end"))
    transcript.scroll_to_end()
    texts = [body.content.text for body in transcript.findChildren(QObject, "messageBody")]
    assert "start more end" in texts


def test_a_change_of_one_message_leaves_the_others_alone(transcript):
    messages = conversation(6)
    transcript.set_messages(messages)
    bodies = {body.content.text: body for body in transcript.findChildren(QObject, "messageBody")}
    counts = {text: replace(body.content.counts) for text, body in bodies.items()}
    transcript.set_messages([*messages, message(50, "new")], is_same=True)
    assert {text: body.content.counts for text, body in bodies.items()} == counts


def test_copying_code_copies_the_code_alone(transcript, qtbot):
    transcript.set_messages([message(1, "Look:\n\n```python\nx = 1\ny = 2\n```\n")])
    (button,) = [
        b
        for b in transcript.findChildren(QObject)
        if hasattr(b, "accessibleName") and b.accessibleName() in ("Copy this code", "复制这段代码")
    ]
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == "x = 1\ny = 2"


def test_buttons_say_what_is_wanted(transcript, qtbot):
    asked = []
    transcript.regenerate_requested.connect(lambda i: asked.append(("again", i)))
    transcript.version_requested.connect(lambda i, step: asked.append(("version", i, step)))
    transcript.set_messages([message(1, "q", "user"), message(2, "a", version=2, num_versions=3)])
    buttons = {b.accessibleName(): b for b in transcript.findChildren(QObject) if _is_shown(b)}
    qtbot.mouseClick(buttons["重新回答，作为另一个版本"], Qt.MouseButton.LeftButton)
    qtbot.mouseClick(buttons["上一个版本"], Qt.MouseButton.LeftButton)
    qtbot.mouseClick(buttons["下一个版本"], Qt.MouseButton.LeftButton)
    assert asked == [("again", 2), ("version", 2, -1), ("version", 2, 1)]


def test_editing_submits_the_new_text(transcript):
    asked = []
    transcript.edit_submitted.connect(lambda i, text: asked.append((i, text)))
    transcript.set_messages([message(1, "old", "user"), message(2, "a")])
    assert transcript.start_editing_last()
    (edit,) = transcript.findChildren(QObject, "composerEdit")
    edit.setPlainText("new")
    QTest.keyClick(edit, Qt.Key.Key_Return)
    assert asked == [(1, "new")]


def test_an_open_edit_is_still_there_when_one_comes_back_to_the_conversation(transcript):
    messages = [message(1, "old", "user"), message(2, "a")]
    transcript.set_messages(messages)
    transcript.start_editing_last()
    transcript.widgets_in_order()[0]._editor.edit.setPlainText("new")
    transcript.set_messages([message(3, "elsewhere", "user")])
    transcript.set_messages(messages)
    [first, second] = transcript.widgets_in_order()
    assert (first.edited_text, second.edited_text) == ("new", None)
    assert first.height() > second.height()
    first._editor.cancelled.emit()
    transcript.set_messages([message(3, "elsewhere", "user")])
    transcript.set_messages(messages)
    assert transcript.widgets_in_order()[0].edited_text is None


def _is_shown(child):
    return hasattr(child, "accessibleName") and child.accessibleName() and child.isVisible()


@pytest.mark.parametrize("look", [Look("dark", "zh"), Look("light", "en")])
def test_a_change_of_look_or_language_loses_no_word_of_a_running_answer(transcript, qapp, look):
    transcript.set_messages([message(1, "question", "user"), message(2, "", state="running")])
    transcript.append_text(2, "one two **three**")
    transcript.flush()
    start_theme(qapp, look)
    transcript.append_text(2, " four")
    transcript.flush()
    [_, answer] = transcript.widgets_in_order()
    assert answer.body.content.text == "one two **three** four"
    assert transcript.look_for("two") == [2]
    answer._on_copy()
    assert QGuiApplication.clipboard().text() == "one two **three** four"
