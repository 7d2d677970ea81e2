"""Text whose hidden characters are written out: for names and addresses that others chose."""

import unicodedata

_HIDDEN = ("Cc", "Cf", "Zl", "Zp")


def visible(text: str, *, keep: str = "") -> str:
    """The text with control and direction characters as escapes, except those in `keep`."""
    return "".join(
        char if unicodedata.category(char) not in _HIDDEN or char in keep else f"\\u{ord(char):04x}"
        for char in text
    )
