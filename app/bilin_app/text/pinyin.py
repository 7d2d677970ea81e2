"""Titles by their pinyin: 三亚避寒 is found by `sybh`, `sanya` and `sanyabh`.

A title is kept as its readings: for each character the syllables it can be read as, without tones
(`chong,zhong|qing`), a Latin letter or digit as itself, anything else as nothing. Readings come
from pypinyin, which is imported with the first Chinese title and not before.
"""

import os
import re

MIN_LETTERS, MAX_LETTERS = 2, 24
_HAN = re.compile("[\u3007\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")
_QUERY = re.compile(f"[a-z0-9]{{{MIN_LETTERS},{MAX_LETTERS}}}")
# From anywhere in a syllable to the beginning of one of the next character's.
_NEXT = r"(?:[a-z]*(?:,[a-z]+)*\|(?:[a-z]+,)*)?"


def readings(title: str) -> str:
    """The title as `find_reading` searches it; "" if there is nothing to read in it."""
    if not _HAN.search(title):
        return ""
    # Without its words, pypinyin takes 13 MB less; all readings of a character are kept instead.
    os.environ.setdefault("PYPINYIN_NO_PHRASES", "true")
    os.environ.setdefault("PYPINYIN_NO_DICT_COPY", "true")
    from pypinyin import Style, pinyin

    parts = []
    for character in title:
        if _HAN.match(character):
            [found] = pinyin(character, style=Style.NORMAL, heteronym=True, errors="ignore") or [[]]
            parts.append(",".join(dict.fromkeys(found)))
        else:
            letter = character.casefold()
            parts.append(letter if letter.isascii() and letter.isalnum() else "")
    return "|".join(parts)


def reading_pattern(query: str) -> re.Pattern[str] | None:
    """What finds the query in readings: each character by the beginning of a syllable.

    None for a query that cannot be pinyin: not one word of 2 to 24 Latin letters and digits.
    """
    word = query.strip().casefold().replace("ü", "v")
    if not _QUERY.fullmatch(word):
        return None
    return re.compile(r"(?:^|(?<=[|,]))" + _NEXT.join(word))


def find_reading(pattern: re.Pattern[str], read: str) -> tuple[int, int] | None:
    """Which characters of the title (start, end) the query reads; None if it does not."""
    match = pattern.search(read)
    if match is None:
        return None
    start = read.count("|", 0, match.start())
    return start, start + 1 + match[0].count("|")
