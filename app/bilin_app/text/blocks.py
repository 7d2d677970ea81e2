"""Cuts Markdown that grows at its end into top-level blocks, so that a closed one stays as it is.

A block closes at a blank line outside a fence, at the start or end of a fence, and before the next
item of a list that is not indented. Nothing is lost: the sources of all blocks, joined, are the
text.
"""

import re
from dataclasses import dataclass
from typing import Literal

# A longer paragraph without a blank line is cut: laying out one huge block again and again freezes.
MAX_BLOCK_CHARS = 4000

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)$")
_ITEM = re.compile(r"(?:[-*+]|\d{1,9}[.)])(?:\s|$)")
_CUT_AFTER = "。！？；!?;.，, 、"

BlockKind = Literal["markdown", "fence"]


@dataclass(frozen=True, slots=True)
class Block:
    """A top-level block. start: where `source` begins in the text.

    For a fence, `source` has its marker lines, `info` is what follows the opening marker, and
    `code` is what lies between.
    """

    kind: BlockKind
    source: str
    start: int
    info: str = ""
    code: str = ""

    @property
    def language(self) -> str:
        """The first word after a fence's marker."""
        words = self.info.split()
        return words[0] if words else ""


class BlockStream:
    """Takes text in pieces; knows which blocks are closed and what the open tail is."""

    def __init__(self) -> None:
        self._closed: list[Block] = []
        self._tail = ""  # the open block's text, complete lines and the unfinished one
        self._tail_start = 0
        self._scanned = 0  # how much of the tail is in complete, seen lines
        self._fence = ""  # the marker that opened the fence of the tail
        self._info = ""
        self._code_start = 0

    @property
    def tail(self) -> Block | None:
        """The open block, or None when there is nothing in it."""
        if not self._tail:
            return None
        if self._fence:
            code = self._tail[self._code_start :]
            return Block("fence", self._tail, self._tail_start, self._info, code)
        return Block("markdown", self._tail, self._tail_start)

    def feed(self, text: str) -> list[Block]:
        """Adds text; returns the blocks that it closed, in order."""
        self._tail += text
        while (end := self._tail.find("\n", self._scanned)) >= 0:
            self._take_line(self._tail[self._scanned : end], end + 1)
        if not self._fence and len(self._tail) > 2 * MAX_BLOCK_CHARS:
            self._cut_long_tail()
        return self._take_closed()

    def finish(self) -> list[Block]:
        """Closes what is open; returns the blocks that this closed."""
        if self._tail:
            self._take_line(self._tail[self._scanned :], len(self._tail))
        if self._tail:
            self._close(len(self._tail))
        return self._take_closed()

    def _take_closed(self) -> list[Block]:
        closed, self._closed = self._closed, []
        return closed

    def _take_line(self, line: str, end: int) -> None:
        """Looks at one complete line of the tail, which ends (with its newline) at `end`."""
        begin, self._scanned = self._scanned, end
        marker = _FENCE.match(line)
        if self._fence:
            is_end = (
                marker is not None
                and marker[1][0] == self._fence[0]
                and len(marker[1]) >= len(self._fence)
                and not marker[2].strip()
            )
            if is_end and begin >= self._code_start:
                self._close(end, code_end=begin)
        elif marker is not None and not (marker[1][0] == "`" and "`" in marker[2]):
            self._close(begin)
            self._fence, self._info = marker[1], marker[2].strip()
            self._code_start = self._scanned = end - begin
        elif not line.strip():
            if not self._is_list() or not self._tail[:begin].strip():
                self._close(end)
        elif self._is_list() and begin > 0 and self._ends_list(line, begin):
            self._close(begin)
            self._scanned = end - begin

    def _is_list(self) -> bool:
        return _ITEM.match(self._tail) is not None

    def _ends_list(self, line: str, begin: int) -> bool:
        """Whether a line is the next item, or no part of the list after a blank line."""
        if _ITEM.match(line):
            return True
        return not line.startswith((" ", "\t")) and self._tail[:begin].endswith("\n\n")

    def _close(self, end: int, code_end: int | None = None) -> None:
        """Closes the tail's first `end` characters as a block."""
        source = self._tail[:end]
        if source.strip() or self._fence:
            code = self._tail[self._code_start : end if code_end is None else code_end]
            self._closed.append(
                Block("fence", source, self._tail_start, self._info, code)
                if self._fence
                else Block("markdown", source, self._tail_start)
            )
        self._tail = self._tail[end:]
        self._tail_start += end
        self._scanned = max(0, self._scanned - end)
        self._fence = self._info = ""
        self._code_start = 0

    def _cut_long_tail(self) -> None:
        while len(self._tail) > MAX_BLOCK_CHARS:
            window = self._tail[:MAX_BLOCK_CHARS]
            cut = max(window.rfind(char) for char in _CUT_AFTER) + 1
            self._close(cut if cut > MAX_BLOCK_CHARS // 2 else MAX_BLOCK_CHARS)


def split_blocks(text: str) -> list[Block]:
    """The blocks of a finished text."""
    stream = BlockStream()
    return [*stream.feed(text), *stream.finish()]
