r"""Markdown rules for formulas: `\(…\)`, `\[…\]`, `$$…$$`, and `$…$` where it can be no price.

`$…$` is Pandoc's rule: nothing blank inside the dollars, and no digit after the second.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline

FORMULA = "formula"

_INLINE = re.compile(
    r"\\\((?P<round>.{1,2000}?)\\\)|\\\[(?P<square>.{1,2000}?)\\\]|\$\$(?P<two>[^$]{1,2000}?)\$\$"
    r"|\$(?P<one>(?=[^\s$])(?:\\.|[^$\\\n]){1,400}?(?<=[^\s\\]))\$(?!\d)",
    re.DOTALL,
)
_OPEN = {"$$": "$$", "\\[": "\\]"}
MAX_LINES = 60


def add_math(parser: MarkdownIt) -> None:
    """Teaches a parser the rules; a formula is a token of type "formula" with its source."""
    parser.inline.ruler.before("escape", FORMULA, _inline_rule)
    options = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    parser.block.ruler.before("fence", FORMULA, _block_rule, options)  # type: ignore[arg-type]


def _inline_rule(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] not in "\\$":
        return False
    match = _INLINE.match(state.src, state.pos)
    if match is None:
        return False
    if not silent:
        token = state.push(FORMULA, "", 0)
        token.content = next(group for group in match.groups() if group is not None)
        token.markup = match[0]
        token.hidden = match.lastgroup in ("square", "two")  # set by itself
    state.pos = match.end()
    return True


def _block_rule(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    begin = state.bMarks[start_line] + state.tShift[start_line]
    first = state.src[begin : state.eMarks[start_line]]
    close = _OPEN.get(first[:2])
    if close is None:
        return False
    lines = [first[2:]]
    line = start_line
    while close not in lines[-1]:
        line += 1
        if line >= end_line or line - start_line > MAX_LINES or state.isEmpty(line):
            return False
        lines.append(state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]])
    head, _, rest = lines[-1].partition(close)
    if rest.strip(" .,。，；;"):
        return False
    if silent:
        return True
    lines[-1] = head
    opening = state.push("paragraph_open", "p", 1)
    opening.map = [start_line, line + 1]
    token = state.push("inline", "", 0)
    latex = "\n".join(lines)
    token.content = f"$${latex}$$" + rest if close == "$$" else f"\\[{latex}\\]" + rest
    token.map = [start_line, line + 1]
    token.children = []
    state.push("paragraph_close", "p", -1)
    state.line = line + 1
    return True
