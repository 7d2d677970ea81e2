"""A conversation's title from its first message: its first words, no model asked; files' names."""

import os
import re
import unicodedata

MAX_TITLE_COLUMNS = 36  # a CJK character takes two
MAX_NAME_CHARS = 80

# A line of marks alone, a code block's fence, or what makes a heading, a quotation, a list's item.
_LEAD = re.compile(r"^[\s>#*+\-`~|]+$|^\s*`{3,}[^`]*$|^(?:\s*(?:#{1,6}|>|[-*+])(?=\s))+")
# Not what a question is likelier to mean as itself: 2**10, src/**/*.py, and any single * or _.
_PAIR = re.compile(
    r"(?<![A-Za-z0-9*`])(\*{2,3}(?!/)|`{1,3})(?=[^\s*`])([^`]{1,100}?)(?<=\S)\1(?![A-Za-z0-9*`])"
)
_NOT_IN_NAMES = re.compile(r'[\\/:*?"<>|\x00-\x1f]+')
_SENTENCE_END = re.compile(r"(?<=[。！？!?])\s*|(?<=\.)\s+")


def title_from(text: str) -> str:
    """The first line with words in it, without markup, cut at a word.

    Where none has any, the first that shows anything: "？", "👍"; "" if there is none.
    """
    wordless = ""
    for line in text.splitlines():
        words = re.sub(r"\s+", " ", _PAIR.sub(r"\2", _LEAD.sub("", line))).strip()
        if any(character.isalnum() for character in words):
            return _cut(words)
        if not wordless and any(c.isprintable() and not c.isspace() for c in words):
            wordless = _cut(words) or words
    return wordless


def _cut(words: str) -> str:
    first_sentence = _SENTENCE_END.split(words, maxsplit=1)[0]
    if _columns(first_sentence) >= 8:
        words = first_sentence
    if _columns(words) <= MAX_TITLE_COLUMNS:
        return words.rstrip("。.，,；;：:")
    kept = ""
    for character in words:
        if _columns(kept + character) > MAX_TITLE_COLUMNS - 1:
            break
        kept += character
    head, space, _ = kept.rpartition(" ")
    is_cut_in_a_word = words[len(kept) : len(kept) + 1] != " "
    if is_cut_in_a_word and space and _columns(head) > MAX_TITLE_COLUMNS // 2:
        kept = head
    return kept.rstrip(" 。.，,；;：:、") + "…"


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def printable(name: str) -> str:
    """A file's name for people: what is no UTF-8 in it becomes U+FFFD."""
    return os.fsencode(name).decode("utf-8", "replace")


def file_name_of(title: str) -> str:
    """A name for a file, without its end: what a title has that no file system takes is a space."""
    name = " ".join(_NOT_IN_NAMES.sub(" ", title).split()).strip(" .…")
    return name[:MAX_NAME_CHARS] or "bilin"
