"""Values on stdout: JSON for programs, lines for people."""

import json
import sys
import unicodedata

import msgspec


def print_json(value: object) -> None:
    """One JSON value, Chinese as it is written. Structs become objects without their tags."""
    print(json.dumps(_plain(value), ensure_ascii=False, indent=2))


def print_json_line(value: object) -> None:
    """One of several JSON values, in a line of its own."""
    print(json.dumps(_plain(value), ensure_ascii=False), flush=True)


def _plain(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def plain_text(text: str) -> str:
    """A model's text without control characters: none may steer the terminal."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) != "Cc" else "\ufffd" for c in text)


def is_for_people() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def dim(text: str) -> str:
    """Quiet text on a terminal, plain text elsewhere."""
    return f"\x1b[2m{text}\x1b[0m" if is_for_people() else text
