"""What a person asked of a fill, checked. A candidate that breaks it is marked, never dropped."""

import unicodedata

from bilin_engine.protocol import FillConstraints, LengthLimit


def broken_constraint(text: str, constraints: FillConstraints) -> str:
    """The sentence why `text` breaks `constraints`, or ""."""
    stripped = text.strip()
    if constraints.choices and stripped not in {c.strip() for c in constraints.choices}:
        return "is none of the choices"
    if constraints.digits_only and not (stripped and all("0" <= c <= "9" for c in stripped)):
        return "is not digits only"
    if constraints.length is not None:
        return _broken_length(stripped, constraints.length)
    return ""


def _broken_length(text: str, limit: LengthLimit) -> str:
    count = num_characters(text) if limit.unit == "characters" else num_words(text)
    if limit.exact and count != limit.count:
        return f"has {count} {limit.unit}, not exactly {limit.count}"
    if count > limit.count:
        return f"has {count} {limit.unit}, more than {limit.count}"
    return ""


def num_characters(text: str) -> int:
    """Characters as a person counts them (字): no white space, no combining marks."""
    return sum(not c.isspace() and not unicodedata.combining(c) for c in text)


def num_words(text: str) -> int:
    """Words: runs between white space; each Chinese, Japanese or Korean character is one."""
    words = 0
    in_word = False
    for c in text:
        if _is_cjk(c):
            words += 1
            in_word = False
        elif c.isalnum():
            words += not in_word
            in_word = True
        elif c.isspace():
            in_word = False
    return words


def _is_cjk(c: str) -> bool:
    return unicodedata.name(c, "").startswith(("CJK UNIFIED", "HIRAGANA", "KATAKANA", "HANGUL"))
