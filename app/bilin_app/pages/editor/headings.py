"""Shows headings larger: lines that begin with "#", and a short first line above the text."""

import re

from PySide6.QtGui import QSyntaxHighlighter, QTextCharFormat, QTextDocument
from typing_extensions import override

from bilin_app.text.document import BLANK_MARK, to_units
from bilin_app.theme.fonts import BOLD
from bilin_app.theme.theme import theme

MAX_TITLE_CHARACTERS = 40
_MARK = re.compile(r"#{1,6}\s")
_SENTENCE_END = "。！？.!?；;，,：:"


class Headings(QSyntaxHighlighter):
    """Changes the look alone, never the text."""

    def __init__(self, document: QTextDocument) -> None:
        super().__init__(document)
        document.blockCountChanged.connect(self._on_block_count_changed)

    @override
    def highlightBlock(self, text: str) -> None:
        size = self._size(text)
        if size:
            look = QTextCharFormat()
            look.setFontWeight(BOLD)
            look.setProperty(QTextCharFormat.Property.FontPixelSize, size)
            self.setFormat(0, len(to_units(text)), look)

    def _on_block_count_changed(self, _count: int) -> None:
        self.rehighlightBlock(self.document().firstBlock())

    def _size(self, text: str) -> int:
        """The letters' height in px; 0 = ordinary text."""
        if (mark := _MARK.match(text)) is not None:
            return theme().sizes.text + max(2, 9 - 2 * (mark.end() - 1))
        block = self.currentBlock()
        is_title = (
            block.blockNumber() == 0
            and 0 < len(text.strip()) <= MAX_TITLE_CHARACTERS
            and BLANK_MARK not in text
            and text.rstrip()[-1:] not in _SENTENCE_END
            and block.next().isValid()
        )
        return theme().sizes.text + 7 if is_title else 0
