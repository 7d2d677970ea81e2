"""How a message's text is set: the formats of its blocks, letters and tables.

What is not set by Qt is painted by the message's widget, which a block asks by a property.
"""

import re
from collections.abc import Iterator

from PySide6.QtGui import (
    QTextBlock,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextFormat,
    QTextFrameFormat,
    QTextLength,
    QTextTableFormat,
)

from bilin_app.theme.fonts import code_families, families, language_of
from bilin_app.theme.theme import theme

CODE_PROPERTY = QTextFormat.Property.UserProperty.value + 1  # the fence's number in its message
QUOTE_PROPERTY = QTextFormat.Property.UserProperty.value + 2  # how deep the quotation is
RULE_PROPERTY = QTextFormat.Property.UserProperty.value + 3  # a thematic break
MARKER_PROPERTY = QTextFormat.Property.UserProperty.value + 4  # a list item's "•" or "3."
FORMULA_PROPERTY = QTextFormat.Property.UserProperty.value + 5  # a picture's source, to be copied
BEHIND_TABLE_PROPERTY = QTextFormat.Property.UserProperty.value + 6  # the block a table ends at
GOES_ON_PROPERTY = QTextFormat.Property.UserProperty.value + 7  # the paragraph of the block before

PARAGRAPH_GAP = 8
CODE_HEADER = 28
CODE_PADDING = 11
CODE_INDENT = 14
LIST_INDENT = 24
QUOTE_INDENT = 16
MAX_LINE_CHARS = 8000  # Qt takes minutes to break one line of 100,000 letters
_CUT_AFTER = "\n。！？；!?;.，, "

_FIXED = QTextBlockFormat.LineHeightTypes.FixedHeight.value
# What the fonts for Chinese draw as wide as a character although only Latin letters are around it.
_LATIN_APOSTROPHE = re.compile(r"(?<=[A-Za-z])’(?=[A-Za-z])")
_LATIN_QUOTATION = re.compile("(?<![^\x00-\x7f])“[^“”\u2e80-\uffef]*”(?![^\x00-\x7f])")


def text_block_format(gap: int, *, line_height: float | None = None) -> QTextBlockFormat:
    """A block of text with `gap` px below and lines `line_height` px apart (the text's own)."""
    result = QTextBlockFormat()
    result.setBottomMargin(gap)
    result.setLineHeight(line_height or theme().sizes.line_height, _FIXED)
    return result


def code_block_format(number: int, *, first: bool, last: bool) -> QTextBlockFormat:
    """A line of a framed code block; the first leaves room for the header."""
    result = text_block_format(0, line_height=theme().sizes.code_line_height)
    result.setLeftMargin(CODE_INDENT)
    result.setRightMargin(CODE_INDENT)
    result.setTopMargin(PARAGRAPH_GAP + CODE_HEADER + CODE_PADDING if first else 0)
    result.setBottomMargin(CODE_PADDING + PARAGRAPH_GAP + 2 if last else 0)
    result.setProperty(CODE_PROPERTY, number)
    return result


def spacer_format(*, behind_table: bool = False) -> QTextBlockFormat:
    """An unused block, such as Qt needs after a table: next to no height."""
    result = text_block_format(0, line_height=1)
    if behind_table:
        result.setProperty(BEHIND_TABLE_PROPERTY, True)
    return result


def set_first_format(cursor: QTextCursor, block_format: QTextBlockFormat) -> None:
    """Gives an unused block its format; behind a table, where Qt heeds no top margin, a new one."""
    if not is_behind_table(cursor.block()):
        cursor.setBlockFormat(block_format)
    elif block_format.topMargin():
        cursor.insertBlock(block_format)
    else:
        block_format.setProperty(BEHIND_TABLE_PROPERTY, True)
        cursor.setBlockFormat(block_format)


def is_behind_table(block: QTextBlock) -> bool:
    """Whether a table ends where a block begins (within an edit Qt's own frames are not yet it)."""
    return block.blockFormat().hasProperty(BEHIND_TABLE_PROPERTY)


def text_char_format(text: str, *, size: int | None = None) -> QTextCharFormat:
    """Letters for a text, in the families of its language."""
    result = QTextCharFormat()
    result.setFontFamilies(families(language_of(text), "text"))
    result.setProperty(QTextFormat.Property.FontPixelSize, size or theme().sizes.text)
    result.setForeground(theme().palette.color("ink"))
    return result


def insert_text(cursor: QTextCursor, text: str, char_format: QTextCharFormat) -> None:
    """Inserts text; marks between Latin letters are narrow in Chinese text, too."""
    marks = [match.start() for match in _LATIN_APOSTROPHE.finditer(text)]
    for match in _LATIN_QUOTATION.finditer(text):
        marks += (match.start(), match.end() - 1)
    if not marks:
        cursor.insertText(text, char_format)
        return
    narrow = QTextCharFormat(char_format)
    narrow.setFontFamilies(families("en", "text"))
    begin = 0
    for mark in sorted(marks):
        cursor.insertText(text[begin:mark], char_format)
        cursor.insertText(text[mark], narrow)
        begin = mark + 1
    cursor.insertText(text[begin:], char_format)


def cut(text: str, max_chars: int) -> Iterator[str]:
    """Pieces of letters of at most max_chars, cut after punctuation where there is some."""
    while len(text) > max_chars:
        window = text[:max_chars]
        end = max(window.rfind(char) for char in _CUT_AFTER) + 1
        if end <= max_chars // 2:
            end = max_chars
        yield text[:end]
        text = text[end:]
    if text:
        yield text


def with_cut_lines(text: str, max_chars: int) -> str:
    """A text whose lines are cut into lines of at most max_chars."""
    lines = (tuple(cut(line, max_chars)) or ("",) for line in text.split("\n"))
    return "\n".join(piece for pieces in lines for piece in pieces)


def code_char_format() -> QTextCharFormat:
    """Letters for code."""
    result = QTextCharFormat()
    result.setFontFamilies(code_families())
    result.setProperty(QTextFormat.Property.FontPixelSize, theme().sizes.code)
    result.setForeground(theme().palette.color("ink"))
    return result


def link_format(outer: QTextCharFormat, address: str) -> QTextCharFormat:
    """Letters of a link."""
    result = QTextCharFormat(outer)
    result.setAnchor(True)
    result.setAnchorHref(address)
    result.setForeground(theme().palette.color("accent"))
    result.setFontUnderline(True)
    return result


def inline_code_format(outer: QTextCharFormat) -> QTextCharFormat:
    """Letters for code within a line."""
    result = QTextCharFormat(outer)
    result.setFontFamilies(code_families())
    result.setProperty(QTextFormat.Property.FontPixelSize, theme().sizes.code)
    result.setBackground(theme().palette.color("raised"))
    return result


def table_format(*, has_head: bool) -> QTextTableFormat:
    """A table with thin lines; has_head: its first row is one."""
    result = QTextTableFormat()
    result.setBorderCollapse(True)
    result.setBorder(1)
    result.setBorderStyle(QTextFrameFormat.BorderStyle.BorderStyle_Solid)
    result.setBorderBrush(theme().palette.color("line"))
    result.setCellPadding(6)
    result.setCellSpacing(0)
    result.setTopMargin(2 if has_head else 0)
    result.setBottomMargin(PARAGRAPH_GAP + 4)
    result.setHeaderRowCount(1 if has_head else 0)
    result.setWidth(QTextLength())
    return result
