"""Texts that go with a message: read from a file, named, and written into the prompt.

Knows no file system: bytes come in, or the reason why they are no text.
"""

import codecs
import logging
import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

import msgspec

from bilin_app.text.visible import visible

logger = logging.getLogger(__name__)

MAX_BYTES = 2 * 1024 * 1024
MAX_NAME = 120

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LANGUAGES = {
    "py": "python", "pyi": "python", "js": "javascript", "mjs": "javascript", "ts": "typescript",
    "tsx": "tsx", "jsx": "jsx", "c": "c", "h": "c", "cc": "cpp", "cpp": "cpp", "hpp": "cpp",
    "cu": "cuda", "cuh": "cuda", "rs": "rust", "go": "go", "java": "java", "kt": "kotlin",
    "swift": "swift", "rb": "ruby", "php": "php", "cs": "csharp", "sh": "bash", "zsh": "bash",
    "ps1": "powershell", "sql": "sql", "html": "html", "css": "css", "scss": "scss",
    "json": "json", "toml": "toml", "yaml": "yaml", "yml": "yaml", "xml": "xml", "md": "markdown",
    "tex": "latex", "r": "r", "jl": "julia", "lua": "lua", "diff": "diff", "patch": "diff",
    "csv": "csv", "ini": "ini", "cmake": "cmake",
}  # fmt: skip


_COMMON = re.compile("[\u4e00-\u9fa5\u3000-\u303f\uff00-\uffef“”‘’—…·×°]")


class NotTextError(ValueError):
    """Bytes that cannot be attached. reason: what they are instead."""

    def __init__(self, reason: Literal["binary", "empty"]) -> None:
        super().__init__(reason)
        self.reason: Literal["binary", "empty"] = reason


@dataclass(frozen=True, slots=True)
class Attachment:
    """A text beside a message. num_tokens: counted when it was attached; 0 = not counted."""

    name: str
    text: str
    num_tokens: int = 0

    @property
    def language(self) -> str:
        """For a code block's label, "" where the name says nothing."""
        return _LANGUAGES.get(PurePath(self.name).suffix.lower().removeprefix("."), "")


def encode_attachments(attachments: tuple[Attachment, ...]) -> str:
    """As JSON; "" for none."""
    return msgspec.json.encode(attachments).decode() if attachments else ""


def decode_attachments(text: str) -> tuple[Attachment, ...]:
    """What `encode_attachments` made; none where it is something else."""
    try:
        return msgspec.json.decode(text, type=tuple[Attachment, ...]) if text else ()
    except msgspec.DecodeError as error:
        logger.info("attachments are left out: %s", error)
        return ()


def clean_name(name: str) -> str:
    """A file's name on one line, with nothing hidden in it, cut in the middle where it is long."""
    shown = visible(re.sub(r"[`/\\\s]+", " ", name).strip()) or "text"
    if len(shown) <= MAX_NAME:
        return shown
    return f"{shown[: MAX_NAME - 21]}…{shown[-20:]}"


def decode(content: bytes) -> str:
    """A file's text, its lines ended by line feeds. Raises NotTextError.

    UTF-8, UTF-16 and UTF-32 by their mark, and GB 18030 where the bytes are no UTF-8.
    """
    text = _decoded(content)
    if text is None:
        raise NotTextError("binary")
    if not text.strip():
        raise NotTextError("empty")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decoded(content: bytes) -> str | None:
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return _strict(content, encoding)
    if b"\0" in content:
        return None
    text = _strict(content, "utf-8")
    if text is None:
        text = _strict(content, "gb18030")
        if text is not None and not _reads_as_chinese(text):
            return None
    if text is not None and _share_of_controls(text) > 0.02:
        return None
    return text


def _strict(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return None


def _reads_as_chinese(text: str) -> bool:
    """Whether what is not ASCII is mostly in everyday use: any bytes are some GB 18030."""
    beyond = [char for char in text if ord(char) > 127]
    return sum(_COMMON.fullmatch(char) is not None for char in beyond) >= 0.9 * len(beyond)


def _share_of_controls(text: str) -> float:
    controls = sum(ord(char) < 32 and char not in "\t\n\r\f\x1b" for char in text)
    return controls / max(1, len(text))


def fenced(attachment: Attachment) -> str:
    """The attachment as the model reads it: its name, then its text in a fence it cannot end."""
    longest = max((len(run) for run in re.findall(r"`+", attachment.text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{attachment.name}\n{fence}{attachment.language}\n{attachment.text.rstrip()}\n{fence}"


def with_attachments(text: str, attachments: tuple[Attachment, ...]) -> str:
    """A message as the model reads it: the attachments first, the words after them."""
    parts = [fenced(attachment) for attachment in attachments]
    return "\n\n".join([*parts, text] if text.strip() else parts) if parts else text
