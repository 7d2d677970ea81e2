"""Cuts streamed Markdown into top-level blocks, so that only the last one is laid out again.

A closed block never changes; the open tail is what still may. Blocks and tail joined are the text,
to the character, and depend on the text alone, not on the pieces in which it came. Block rules are
CommonMark's (spec 0.31.2) as far as the cut needs them: blank lines, fences, headings, lists;
what is inside a block is the renderer's business. A long list or table is cut before an item or a
row: its tail stays short, too.
"""

import re
from dataclasses import dataclass
from typing import Literal

from bilin_app.text.paragraphs import with_line_feeds

_FENCE = re.compile(r"( *)(`{3,}(?=[^`]*$)|~{3,})[ \t]*([^\s`]*)")
_HEADING = re.compile(r" {0,3}#{1,6}([ \t]|$)")
_LIST_ITEM = re.compile(r" {0,3}([-*+]|\d{1,9}[.)])([ \t]|$)")
_ITEM_MARKS = re.compile(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*")
_TABLE_RULE = re.compile(r" {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")
_CELL_END = re.compile(r"(?<!\\)\|")
_LIST_FIRST = frozenset("-*+0123456789")
_CODE_INDENT = 4
MAX_SLICE_CHARS = 1000  # a list or table that has more is cut before its next item or row


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of the source. kind "code" = a fenced block: `language` and `code` are set.

    text: the source, with the blank lines that belong to it. code: the lines between the fences,
    each ended by a line feed; of an open fence, all that is certain to stay, so it only ever grows.
    goes_on: the list or table at its end goes on in the next block.
    """

    kind: Literal["text", "code"]
    text: str
    language: str = ""
    code: str = ""
    goes_on: bool = False


@dataclass(slots=True)
class _Fence:
    mark: str  # "```" or "~~~", as long as it was written
    indent: int
    language: str


class BlockSplitter:
    """Takes text in any pieces. `blocks`: closed, only appended to. `tail`: open, "" at a cut."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._lines: list[str] = []  # whole lines of the open block, line ends kept
        self._partial: list[str] = []  # pieces of the line that has no end yet
        self._fence: _Fence | None = None  # the open block is this fence
        self._list_fence: _Fence | None = None  # a fence inside the open list
        self._is_list = False
        self._list_mark = ""  # of its newest item: "-", or "." for "1."
        self._is_table = False
        self._is_indented = False
        self._has_content = False
        self._saw_blank = False  # the last whole line of the open block is blank

    @property
    def tail(self) -> Block:
        """The open block: what no later text can split off any more."""
        partial = "".join(self._partial)
        text = "".join(self._lines) + partial
        if self._fence is None:
            return Block("text", text)
        return Block("code", text, self._fence.language, self._code(partial))

    def feed(self, piece: str) -> list[Block]:
        """Takes more text; returns the blocks that it closed."""
        first_new = len(self.blocks)
        *whole, rest = piece.split("\n")
        for end in whole:
            self._partial.append(end)
            line = "".join(self._partial) + "\n"
            self._partial.clear()
            self._take_line(line)
        if rest:
            self._partial.append(rest)
            if self._saw_blank and self._has_content and self._fence is None:
                self._peek("".join(self._partial))
        return self.blocks[first_new:]

    def finish(self) -> list[Block]:
        """The text is over: closes the tail. Feeding may go on (a continued answer)."""
        first_new = len(self.blocks)
        if self._partial:
            line = "".join(self._partial)
            self._partial.clear()
            self._take_line(line)
        self._close()
        return self.blocks[first_new:]

    def _take_line(self, line: str) -> None:
        content = line.rstrip("\r\n")
        if self._fence is not None:
            if _closes(content, self._fence):
                code = self._code("")
                self._lines.append(line)
                self._close(code)
            else:
                self._lines.append(line)
            return
        if self._list_fence is not None:
            if _closes(content, self._list_fence):
                self._list_fence = None
            self._lines.append(line)
            return
        if not content.strip():
            self._lines.append(line)
            self._saw_blank = True
            return
        self._take_content(line, content)

    def _take_content(self, line: str, content: str) -> None:
        indent = len(content) - len(content.lstrip(" "))
        is_inside_list = self._is_list and indent >= 2
        fence = _FENCE.match(content)
        if self._has_content and not is_inside_list:
            starts_new = self._saw_blank and not self._continues(content, indent)
            interrupts = indent < _CODE_INDENT and (fence or _HEADING.match(content))
            if starts_new or interrupts:
                self._close()
        mark = _top_mark(content)
        self._cut_long(mark, content)
        self._saw_blank = False
        if not self._has_content:
            self._has_content = True
            self._is_list = _LIST_ITEM.match(content) is not None
            self._is_indented = indent >= _CODE_INDENT or content.startswith("\t")
        self._lines.append(line)
        if self._is_list:
            self._list_mark = mark or self._list_mark
            inner_fence = _inner_fence(content)
            if inner_fence and (is_inside_list or mark):
                self._list_fence = _Fence(inner_fence[2], indent, inner_fence[3])
        elif fence and indent < _CODE_INDENT:
            self._fence = _Fence(fence[2], indent, fence[3])
        elif _HEADING.match(content):
            self._close()
        elif len(self._lines) > 1 and not self._is_indented:
            self._is_table = self._is_table or _begins_table(self._lines[-2], content)

    def _cut_long(self, mark: str, content: str) -> None:
        """Closes a long list or table before another item or row of it."""
        is_table = self._is_table = self._is_table and _is_row(content)
        if not is_table and not (self._is_list and mark and mark == self._list_mark):
            return
        if sum(map(len, self._lines)) > MAX_SLICE_CHARS:
            self._close(goes_on=True)
            self._is_table = is_table

    def _continues(self, content: str, indent: int) -> bool:
        """Whether a line after a blank one still belongs to the open block."""
        if self._is_list:
            return indent >= 2 or content.startswith("\t") or bool(_LIST_ITEM.match(content))
        return self._is_indented and (indent >= _CODE_INDENT or content.startswith("\t"))

    def _peek(self, partial: str) -> None:
        """Closes the open block as soon as the line after its blank one cannot belong to it."""
        content = partial.lstrip(" ")
        if not content.strip():
            return
        indent = len(partial) - len(content)
        if self._is_list:
            may_continue = indent >= 2 or content[0] == "\t" or content[0] in _LIST_FIRST
        else:
            may_continue = self._is_indented and (indent >= _CODE_INDENT or content[0] == "\t")
        if not may_continue:
            self._close()

    def _code(self, partial: str) -> str:
        assert self._fence is not None
        if partial and _may_close(partial, self._fence):
            partial = ""
        first = next(i for i, line in enumerate(self._lines) if line.strip())
        indent = self._fence.indent
        lines = [*self._lines[first + 1 :], partial]
        if indent:
            lines = [_outdent(line, indent) for line in lines]
        # A carriage return at the end may be the first half of a line end.
        return with_line_feeds("".join(lines).removesuffix("\r"))

    def _close(self, code: str = "", *, goes_on: bool = False) -> None:
        if not self._lines:
            return
        if self._fence is None:
            self.blocks.append(Block("text", "".join(self._lines), goes_on=goes_on))
        else:
            code = code or self._code("")
            self.blocks.append(Block("code", "".join(self._lines), self._fence.language, code))
        self._lines = []
        self._fence = self._list_fence = None
        self._is_list = self._is_table = self._is_indented = False
        self._has_content = self._saw_blank = False
        self._list_mark = ""


def split_blocks(text: str) -> list[Block]:
    """The blocks of a whole text."""
    splitter = BlockSplitter()
    splitter.feed(text)
    splitter.finish()
    return splitter.blocks


def _top_mark(content: str) -> str:
    """What an item's mark ends with, where no deeper list can have it; "" = this is none."""
    item = _LIST_ITEM.match(content)
    is_top = item is not None and not content.startswith("  ")
    return item[1][-1] if item is not None and is_top else ""


def _inner_fence(content: str) -> re.Match[str] | None:
    """A fence that begins inside an item, on its first line or on a later one."""
    marks = _ITEM_MARKS.match(content)
    return _FENCE.match(content, marks.end() if marks else 0)


def _is_row(content: str) -> bool:
    """Whether a line after a table's is another row; those without a bar are not looked for."""
    is_other = content.startswith((" " * _CODE_INDENT, "\t")) or content.lstrip()[:1] == ">"
    return "|" in content and not is_other and not _LIST_ITEM.match(content)


def _begins_table(head: str, content: str) -> bool:
    """Whether two lines are a table's first: as many cells in the rule as in the head."""
    if not _is_row(head) or "|" not in content or not _TABLE_RULE.fullmatch(content):
        return False
    return _num_cells(head) == _num_cells(content)


def _num_cells(row: str) -> int:
    inner = row.strip().removeprefix("|")
    if inner.endswith("|") and not inner.endswith("\\|"):
        inner = inner[:-1]
    return len(_CELL_END.findall(inner)) + 1


def _closes(content: str, fence: _Fence) -> bool:
    stripped = content.strip(" \t")
    return len(stripped) >= len(fence.mark) and set(stripped) == {fence.mark[0]}


def _may_close(partial: str, fence: _Fence) -> bool:
    """Whether this beginning of a line may yet become the closing fence."""
    stripped = partial.strip(" \t\r")
    return not stripped or set(stripped) == {fence.mark[0]}


def _outdent(line: str, indent: int) -> str:
    num_spaces = min(indent, len(line) - len(line.lstrip(" ")))
    return line[num_spaces:]
