"""The bytes of a text file: which encoding they are in, and what ends the lines.

Knows no file system: bytes come in, or the reason why they are no text.
"""

import codecs
import re
from typing import Literal

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LINE_END = re.compile("\r\n?|\n")
_COMMON = re.compile("[\u4e00-\u9fa5\u3000-\u303f\uff00-\uffef“”‘’—…·×°]")


class NotTextError(ValueError):
    """Bytes that hold no text. reason: what they are instead."""

    def __init__(self, reason: Literal["binary", "empty"]) -> None:
        super().__init__(reason)
        self.reason: Literal["binary", "empty"] = reason


def decode(content: bytes) -> str:
    """A file's text, its lines ended by line feeds. Raises NotTextError.

    UTF-8, UTF-16 and UTF-32 by their mark, and GB 18030 where the bytes are no UTF-8.
    """
    text = _decoded(content)[0]
    if text is None:
        raise NotTextError("binary")
    if not text.strip():
        raise NotTextError("empty")
    return _LINE_END.sub("\n", text)


def encode_like(content: bytes, text: str) -> bytes:
    """`text`, whose lines end in line feeds, in the encoding of a file's `content`.

    Its lines end as the first one there does. UTF-8 and line feeds where `content` says nothing
    else; UTF-8 also for what would be taken for no text when it is read again (GB 18030 is guessed
    from characters in everyday use).
    """
    before, mark, codec = _decoded(content)
    if before is None:
        return text.encode()
    found = _LINE_END.search(before)
    text = text.replace("\n", found[0] if found else "\n")
    encoded = mark + text.encode(codec)
    return encoded if _decoded(encoded)[0] == text else text.encode()


def _decoded(content: bytes) -> tuple[str | None, bytes, str]:
    """(text or None, mark, codec)."""
    for mark, codec in _MARKS:
        if content.startswith(mark):
            return _strict(content[len(mark) :], codec), mark, codec
    if b"\0" in content:
        return None, b"", ""
    codec = "utf-8"
    text = _strict(content, codec)
    if text is None:
        codec = "gb18030"
        text = _strict(content, codec)
        if text is not None and not _reads_as_chinese(text):
            text = None
    if text is not None and _share_of_controls(text) > 0.02:
        text = None
    return text, b"", codec


def _strict(content: bytes, codec: str) -> str | None:
    try:
        return content.decode(codec)
    except UnicodeDecodeError:
        return None


def _reads_as_chinese(text: str) -> bool:
    """Whether what is not ASCII is mostly in everyday use: any bytes are some GB 18030."""
    beyond = [char for char in text if ord(char) > 127]
    return sum(_COMMON.fullmatch(char) is not None for char in beyond) >= 0.9 * len(beyond)


def _share_of_controls(text: str) -> float:
    controls = sum(ord(char) < 32 and char not in "\t\n\r\f\x1b" for char in text)
    return controls / max(1, len(text))
