"""Bold and strikethrough beside Chinese, Japanese and Korean, which set no spaces around words.

CommonMark tells by spaces and punctuation where `**` opens and closes: after `**第一步：**打开` it
finds no end. Here CJK punctuation counts as a letter, and a CJK character beside the mark as a
space does. Source: the rules of github tats-u/markdown-cjk-friendly, for marks of two and more;
one star between characters is mostly a product.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline
    from markdown_it.rules_inline.state_inline import Scanned

    Rule = Callable[[StateInline, bool], bool]

_CJK = re.compile(
    "[\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]"
)
_MARKS = "*~"


def add_cjk_emphasis(parser: MarkdownIt) -> None:
    """Teaches a parser where marks open and close beside CJK."""
    from markdown_it.rules_inline import emphasis, strikethrough

    parser.inline.ruler.at("emphasis", _beside_cjk(emphasis.tokenize))
    parser.inline.ruler.at("strikethrough", _beside_cjk(strikethrough.tokenize))


def _beside_cjk(rule: Rule) -> Rule:
    def tokenize(state: StateInline, silent: bool) -> bool:
        if state.src[state.pos] not in _MARKS:
            return rule(state, silent)
        # WORKAROUND: markdown-it asks its own method and has no place for another.
        state.scanDelims = partial(_scan, state)  # type: ignore[method-assign]
        try:
            return rule(state, silent)
        finally:
            del state.scanDelims

    return tokenize


def _scan(state: StateInline, start: int, can_split_word: bool) -> Scanned:
    from markdown_it.common.utils import isMdAsciiPunct, isPunctChar, isWhiteSpace

    found = type(state).scanDelims(state, start, can_split_word)
    end = start + found.length
    before = state.src[start - 1] if start else " "
    after = state.src[end] if end < state.posMax else " "
    is_cjk_before, is_cjk_after = bool(_CJK.match(before)), bool(_CJK.match(after))
    if found.length < 2 or not (is_cjk_before or is_cjk_after):
        return found

    def is_mark(character: str) -> bool:
        return isMdAsciiPunct(ord(character)) or isPunctChar(character)

    is_space_before, is_space_after = isWhiteSpace(ord(before)), isWhiteSpace(ord(after))
    is_mark_before = is_mark(before) and not is_cjk_before
    is_mark_after = is_mark(after) and not is_cjk_after
    can_open = not is_mark_after or is_space_before or is_mark_before or is_cjk_before
    can_close = not is_mark_before or is_space_after or is_mark_after or is_cjk_after
    return found._replace(
        can_open=not is_space_after and can_open, can_close=not is_space_before and can_close
    )
