"""What a model writes never runs, fetches, escapes its message, or holds up the window for good."""

import re
import unicodedata

import pytest
from PySide6.QtCore import QUrl
from PySide6.QtGui import QTextDocument
from PySide6.QtWidgets import QWidget

from bilin_app.controllers.views import MessageView
from bilin_app.pages.chat.attachment_dialog import AttachmentDialog
from bilin_app.pages.chat.formulas import formulas
from bilin_app.pages.chat.message import MessageWidget
from bilin_app.pages.chat.message_body import MessageBody
from bilin_app.pages.chat.text_formats import CODE_PROPERTY
from bilin_app.text.attachments import Attachment, clean_name, with_attachments
from bilin_app.theme.theme import Look, start_theme

pytestmark = pytest.mark.gui

CORPUS = {
    "html": "<script>alert(1)</script><img src='http://a.test/x.png'><b>x</b>",
    "image": "![x](http://a.test/x.png) ![y](file:///etc/passwd)",
    "links": "[x](javascript:alert(1)) [y](file:///etc/passwd) [z](data:text/html,x)",
    "bidi": "safe \u202egnp.exe\u202c \u2066a\u2069 \u200f",
    "controls": "a\x00b\x07c\x1b[31md\x7f\u2028e\ufffcf",
    "quotes": ">" * 2000 + " deep",
    "lists": "\n".join("  " * n + "- x" for n in range(300)),
    "brackets": "[" * 5000 + "x" + "]" * 5000,
    "emphasis": "*a **b " * 2000,
    "long line": "x" * 100_000,
    "long Chinese line": "比邻" * 50_000,
    "table": "|" + "a|" * 300 + "\n|" + "-|" * 300 + "\n" + ("|" + "b|" * 300 + "\n") * 5,
    "maths": "$$" + "{" * 500 + "}" * 500 + "$$ \\(" + "x^" * 200 + "x\\)",
    "dollars": "$" * 5000 + " $a$" * 200,
    "fences": "```\n" * 501,
    "cr in code": "```python\r\nprint(1)\r\nprint(2)\rprint(3)\r\n```\r\n",
    "paragraphs in code": "```\na\u2029b\ufdd0c\ufdd1d\n```\nbehind",
    "think": "<think>" * 500 + "</think>" * 499,
}


@pytest.mark.parametrize("name", CORPUS)
def test_hostile_text_is_shown_as_text(qapp, qtbot, name):
    start_theme(qapp, Look("light", "en"))
    body = MessageBody(None)  # type: ignore[arg-type]
    qtbot.addWidget(body)
    body.show()
    text = CORPUS[name]
    body.set_text(text, is_complete=True)
    formulas().wait()
    assert body.height_for(600) > 0
    body.grab()
    document = body.document()
    for url in ("http://a.test/x.png", "file:///etc/passwd"):
        assert document.resource(QTextDocument.ResourceType.ImageResource, QUrl(url)) is None
    block = document.begin()
    while block.isValid():
        fragments = block.begin()
        while not fragments.atEnd():
            char_format = fragments.fragment().charFormat()
            if char_format.isImageFormat():
                assert char_format.toImageFormat().name().startswith("formula:")
            address = char_format.anchorHref()
            assert not address or address.startswith(("http://", "https://", "mailto:"))
            fragments += 1
        block = block.next()


@pytest.mark.parametrize("name", CORPUS)
def test_hostile_attachments_stay_in_their_fence_and_in_their_dialog(qapp, qtbot, name):
    start_theme(qapp, Look("light", "en"))
    attachment = Attachment(clean_name(CORPUS[name]), CORPUS[name])
    assert "\n" not in attachment.name
    assert len(attachment.name) <= 120
    prompt = with_attachments("the question", (attachment,))
    lines = prompt.split("\n")
    fence = re.match(r"`+", lines[1])
    assert fence is not None
    ends = [line for line in lines[2:] if line.startswith(fence[0])]
    assert ends == [fence[0]]
    assert prompt.endswith(f"\n{fence[0]}\n\nthe question")
    owner = QWidget()
    qtbot.addWidget(owner)
    dialog = AttachmentDialog(attachment, owner, is_draft=True)
    dialog.show()
    dialog.grab()
    shown = dialog.text.toPlainText()
    assert not any(unicodedata.category(char) in ("Cc", "Cf") for char in shown if char != "\n")
    view = MessageView(1, 1, "user", CORPUS[name], "done", 0.0, attachments=(attachment,) * 3)
    widget = MessageWidget(view, "", owner)
    widget.resize(600, min(widget.height_for(600), 20_000))
    widget.grab()
    chip = widget._chips.chips[0].open
    assert not any(unicodedata.category(char) in ("Cc", "Cf") for char in chip.text())


@pytest.mark.parametrize("name", CORPUS)
def test_hostile_text_that_is_streamed_ends_as_the_whole_does(qapp, qtbot, name):
    start_theme(qapp, Look("light", "en"))
    text = CORPUS[name][:3000]
    whole, pieces = MessageBody(None), MessageBody(None)  # type: ignore[arg-type]
    for body in (whole, pieces):
        qtbot.addWidget(body)
    whole.set_text(text, is_complete=True)
    for start in range(0, len(text), 500):
        pieces.append(text[start : start + 500])
    pieces.finish()
    formulas().wait()
    assert pieces.document().toPlainText() == whole.document().toPlainText()


@pytest.mark.parametrize("name", ["cr in code", "paragraphs in code"])
def test_a_frame_has_a_block_a_line_whatever_ends_the_lines(qapp, qtbot, name):
    start_theme(qapp, Look("light", "en"))
    body = MessageBody(None)  # type: ignore[arg-type]
    qtbot.addWidget(body)
    body.set_text(CORPUS[name], is_complete=True)
    [fence] = body.content.fences
    block, num_framed = body.document().begin(), 0
    while block.isValid():
        num_framed += block.blockFormat().hasProperty(CODE_PROPERTY)
        block = block.next()
    assert num_framed == fence.num_lines == fence.code.count("\n") + 1
    assert body.document().blockCount() == num_framed + ("behind" in CORPUS[name])


def test_an_imported_question_shows_no_empty_line_between_its_lines(qapp, qtbot):
    start_theme(qapp, Look("light", "en"))
    body = MessageBody(None)  # type: ignore[arg-type]
    qtbot.addWidget(body)
    body.set_plain_text("one\r\ntwo\r\nthree")
    assert body.document().toPlainText() == "one\ntwo\nthree"


def test_html_is_read_as_letters(qapp, qtbot):
    start_theme(qapp, Look("light", "en"))
    body = MessageBody(None)  # type: ignore[arg-type]
    qtbot.addWidget(body)
    body.set_text(CORPUS["html"], is_complete=True)
    assert "<script>" in body.document().toPlainText()
