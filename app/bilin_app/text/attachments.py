"""Texts that go with a message: named, kept as JSON, and written into the prompt."""

import logging
import re
from dataclasses import dataclass
from pathlib import PurePath

import msgspec

from bilin_app.text.visible import visible

logger = logging.getLogger(__name__)

MAX_BYTES = 2 * 1024 * 1024
MAX_NAME = 120

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
_BACKTICKS = re.compile(r"`+")


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


def fenced(attachment: Attachment) -> str:
    """The attachment as the model reads it: its name, then its text in a fence it cannot end."""
    text = attachment.text
    fence, at = "```", 0
    while (at := text.find(fence, at)) >= 0:  # of megabytes, far quicker than to find each run
        run = _BACKTICKS.match(text, at)
        assert run is not None
        fence, at = "`" + run[0], run.end()
    return f"{attachment.name}\n{fence}{attachment.language}\n{text.rstrip()}\n{fence}"


def with_attachments(text: str, attachments: tuple[Attachment, ...]) -> str:
    """A message as the model reads it: the attachments first, the words after them."""
    parts = [fenced(attachment) for attachment in attachments]
    return "\n\n".join([*parts, text] if text.strip() else parts) if parts else text
