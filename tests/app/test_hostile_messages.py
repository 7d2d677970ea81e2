"""What a model writes never runs, fetches, escapes its message, or holds up the window for good."""

import pytest
from PySide6.QtCore import QUrl
from PySide6.QtGui import QTextDocument

from bilin_app.pages.chat.formulas import formulas
from bilin_app.pages.chat.message_body import MessageBody
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


def test_html_is_read_as_letters(qapp, qtbot):
    start_theme(qapp, Look("light", "en"))
    body = MessageBody(None)  # type: ignore[arg-type]
    qtbot.addWidget(body)
    body.set_text(CORPUS["html"], is_complete=True)
    assert "<script>" in body.document().toPlainText()
