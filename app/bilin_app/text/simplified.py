"""Traditional Chinese characters as their simplified ones: for comparing, never for showing."""

from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("simplified.txt")


def simplify(text: str) -> str:
    """The text with one simplified form for each traditional character; as long as it was."""
    return text if text.isascii() else text.translate(_table())


@cache
def _table() -> dict[int, str]:
    lines = _FILE.read_text(encoding="utf-8").splitlines()
    pairs = "".join(line for line in lines if not line.startswith("#"))
    return str.maketrans(dict(zip(pairs[::2], pairs[1::2], strict=True)))
