"""Where Qt begins a paragraph in a text that is inserted, told by line feeds alone."""

import re

# Besides the line feed, all at which QTextCursor.insertText begins a block of the document.
_BREAKS = re.compile("\r\n?|[\u2029\ufdd0\ufdd1]")


def with_line_feeds(text: str) -> str:
    """The text with a line feed for each of Qt's paragraph breaks: a document's block a line."""
    return _BREAKS.sub("\n", text)
