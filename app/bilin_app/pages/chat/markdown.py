"""Writes Markdown into a QTextDocument: CommonMark with tables and strikethrough.

Raw HTML is text; an image is a link and never fetched; a link that is not http, https or mailto is
text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from PySide6.QtGui import (
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextTable,
)

from bilin_app.pages.chat.cjk_emphasis import add_cjk_emphasis
from bilin_app.pages.chat.formula_picture import WaitingFormula, insert_formula
from bilin_app.pages.chat.formulas import formulas
from bilin_app.pages.chat.highlight import prepare_lexer
from bilin_app.pages.chat.math_rules import FORMULA, add_math
from bilin_app.pages.chat.text_formats import (
    BEHIND_TABLE_PROPERTY,
    GOES_ON_PROPERTY,
    LIST_INDENT,
    MARKER_PROPERTY,
    MAX_LINE_CHARS,
    PARAGRAPH_GAP,
    QUOTE_INDENT,
    QUOTE_PROPERTY,
    RULE_PROPERTY,
    code_char_format,
    cut,
    inline_code_format,
    insert_text,
    is_behind_table,
    link_format,
    set_first_format,
    spacer_format,
    table_format,
    text_block_format,
    text_char_format,
)
from bilin_app.theme.fonts import BOLD
from bilin_app.theme.theme import theme

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

MAX_DEPTH = 12
_HEADING_EXTRA = {1: 6, 2: 4, 3: 2}
_TASK = re.compile(r"\[([ xX])\]\s+")
_TASK_MARKS = {" ": "☐", "x": "☑"}


@cache
def _parser() -> MarkdownIt:
    # Imported at first use: the first paint does not wait for it. See `warm_up`.
    from markdown_it import MarkdownIt

    # A definition that is no token leaves nothing behind: an address that no link uses was lost.
    options = {"html": False, "maxNesting": 4 * MAX_DEPTH, "inline_definitions": True}
    parser = MarkdownIt("commonmark", options)
    parser.enable(["table", "strikethrough"])
    parser.disable(["html_block", "html_inline"])
    add_math(parser)
    add_cjk_emphasis(parser)
    parser.validateLink = is_safe_link  # type: ignore[method-assign]
    return parser


def warm_up() -> None:
    """Loads parser and lexers ahead of their first use: the first answer does not wait for them."""
    _parser()
    prepare_lexer("python")


def is_safe_link(url: str) -> bool:
    """Whether an address may be offered for opening at all."""
    return url.lower().startswith(("http://", "https://", "mailto:"))


@dataclass(slots=True)
class _List:
    number: int | None  # of the next item; None = bullets
    mark: str  # "-", or "." for "1."
    is_loose: bool = False


@dataclass(frozen=True, slots=True)
class OpenList:
    """A list that goes on in the next source: how its items are marked and set."""

    number: int | None
    mark: str
    is_loose: bool


@dataclass(frozen=True, slots=True)
class OpenTable:
    """A table that goes on. head: the source of its two first lines.

    table: what more rows are added to; None = they are put in a table of their own.
    """

    head: str
    table: QTextTable | None


class MarkdownWriter:
    """Appends blocks at a cursor, which stands at the end of its document."""

    def __init__(
        self,
        cursor: QTextCursor,
        *,
        is_fresh: bool,
        after: OpenList | OpenTable | None = None,
        references: dict[str, object] | None = None,
    ) -> None:
        """is_fresh: the block at the cursor is unused and is to be filled first.

        after: what the source goes on with, if that is how it begins. references: the parser's
        definitions of links; those of the source are added.
        """
        self._cursor = cursor
        self.is_fresh = is_fresh
        self.waiting: list[WaitingFormula] = []
        self.unfinished: OpenList | OpenTable | None = None
        self._after = after
        self._references = {} if references is None else references
        self._source = ""
        self._goes_on = False
        self._lists: list[_List] = []
        self._has_marker = False
        self._is_task = False  # the next text begins with a task's box
        self._quote_depth = 0
        self._heading_level = 0

    def write(self, source: str, *, goes_on: bool = False) -> None:
        """Writes the blocks of a Markdown source.

        goes_on: the list or table at its end does, in another source; `unfinished` is set then.
        """
        self._goes_on = goes_on
        self._source = source
        if isinstance(self._after, OpenTable):
            self._source = self._after.head + source
        tokens = _parser().parse(self._source, {"references": self._references})
        index = 0
        while index < len(tokens):
            index = self._write_token(tokens, index)

    def write_plain(self, text: str, gap: int = PARAGRAPH_GAP) -> None:
        """Writes text as it is, a block a line."""
        lines = text.split("\n")
        for index, line in enumerate(lines):
            self._start_block(text_block_format(gap if index == len(lines) - 1 else 0))
            insert_text(self._cursor, line, text_char_format(line))

    # --- Blocks -----------------------------------------------------------------------------------

    def _write_token(self, tokens: list[Token], index: int) -> int:
        token = tokens[index]
        match token.type:
            case "table_open":
                return self._write_table(tokens, index)
            case "inline":
                self._write_inline(token, self._inline_format(token))
            case "fence" | "code_block":
                self._write_inner_code(token.content)
            case "definition":
                self._write_definition(token)
            case "hr":
                rule = text_block_format(PARAGRAPH_GAP, line_height=9)
                rule.setProperty(RULE_PROPERTY, 1)
                self._start_block(rule)
            case "heading_open":
                self._start_heading(int(token.tag[1]))
            case "heading_close":
                self._heading_level = 0
            case "paragraph_open":
                self._start_paragraph(tokens[index + 1].content, is_tight=token.hidden)
            case "bullet_list_open" | "ordered_list_open":
                self._begin_list(token, is_first=index == 0)
            case "bullet_list_close" | "ordered_list_close":
                self._end_list(is_last=index == len(tokens) - 1)
            case _:
                self._track(token)
        return index + 1

    def _begin_list(self, token: Token, *, is_first: bool) -> None:
        is_ordered = token.type == "ordered_list_open"
        new = _List(int(token.attrs.get("start", 1)) if is_ordered else None, token.markup)
        after = self._after
        if is_first and isinstance(after, OpenList) and after.mark == new.mark:
            new.number, new.is_loose = after.number, after.is_loose
        if not self._lists and self._goes_on:
            last_line = self._source.removesuffix("\n").rpartition("\n")[2]
            new.is_loose = new.is_loose or not last_line.strip()
        self._lists.append(new)

    def _end_list(self, *, is_last: bool) -> None:
        ended = self._lists.pop()
        if self._lists:
            return
        if is_last and self._goes_on:
            self.unfinished = OpenList(ended.number, ended.mark, ended.is_loose)
            return
        block_format = self._cursor.blockFormat()
        block_format.setBottomMargin(PARAGRAPH_GAP)
        self._cursor.setBlockFormat(block_format)

    def _track(self, token: Token) -> None:
        """Follows items and quotations in and out."""
        match token.type:
            case "list_item_open":
                self._has_marker = True
            case "list_item_close" if self._has_marker:
                self._start_paragraph("", is_tight=True)  # an item without text
            case "blockquote_open":
                self._quote_depth += 1
            case "blockquote_close":
                self._quote_depth -= 1

    def _start_heading(self, level: int) -> None:
        self._heading_level = level
        block_format = text_block_format(6, line_height=round(self._heading_size() * 1.5))
        block_format.setTopMargin(8 if level < 3 else 4)
        block_format.setHeadingLevel(level)
        self._start_block(block_format)

    def _heading_size(self) -> int:
        return theme().sizes.text + _HEADING_EXTRA.get(self._heading_level, 0)

    def _start_paragraph(self, text: str, *, is_tight: bool) -> None:
        if not self._lists:
            self._start_block(text_block_format(PARAGRAPH_GAP))
            return
        depth = min(len(self._lists), MAX_DEPTH)
        current = self._lists[-1]
        block_format = text_block_format(2 if is_tight and not current.is_loose else 6)
        block_format.setLeftMargin(LIST_INDENT * depth)
        if self._has_marker:
            self._has_marker = False
            if task := _TASK.match(text):  # the box takes the bullet's place
                self._is_task = True
                block_format.setProperty(MARKER_PROPERTY, _TASK_MARKS[task[1].lower()])
            elif current.number is None:
                block_format.setProperty(MARKER_PROPERTY, "•" if depth == 1 else "◦")
            else:
                block_format.setProperty(MARKER_PROPERTY, f"{current.number}.")
                current.number += 1
        self._start_block(block_format)

    def _write_definition(self, token: Token) -> None:
        """What a link by reference leads to: it is read and copied like the rest."""
        address = str(token.meta["url"])
        base = text_char_format(address)
        self._start_paragraph("", is_tight=False)
        self._cursor.insertText(f"[{token.meta['label']}]: ", base)
        for piece in cut(address, MAX_LINE_CHARS):
            self._make_room()
            self._cursor.insertText(piece, link_format(base, address))
        if title := token.meta["title"]:
            self._make_room()
            self._cursor.insertText(f' "{title}"', base)

    def _write_inner_code(self, code: str) -> None:
        """Code inside a list or a quotation, or indented: set as code, without a frame."""
        for line in code.rstrip("\n").split("\n"):
            block_format = text_block_format(0, line_height=theme().sizes.code_line_height)
            block_format.setLeftMargin(LIST_INDENT * (min(len(self._lists), MAX_DEPTH) + 1))
            for piece in tuple(cut(line, MAX_LINE_CHARS)) or ("",):
                self._start_block(QTextBlockFormat(block_format))
                self._cursor.insertText(piece, code_char_format())

    def _make_room(self) -> None:
        """Goes on with a very long paragraph in another block, for Qt's sake."""
        if self._cursor.block().length() <= MAX_LINE_CHARS:
            return
        upper = self._cursor.blockFormat()
        lower = QTextBlockFormat(upper)
        upper.setBottomMargin(0)
        self._cursor.setBlockFormat(upper)
        lower.setTopMargin(0)
        lower.clearProperty(MARKER_PROPERTY)
        lower.clearProperty(BEHIND_TABLE_PROPERTY)
        lower.setProperty(GOES_ON_PROPERTY, True)
        self._cursor.insertBlock(lower)

    def _start_block(self, block_format: QTextBlockFormat) -> None:
        if self._quote_depth:
            depth = min(self._quote_depth, MAX_DEPTH)
            block_format.setProperty(QUOTE_PROPERTY, depth)
            block_format.setLeftMargin(block_format.leftMargin() + QUOTE_INDENT * depth)
        if self.is_fresh:
            set_first_format(self._cursor, block_format)
            self.is_fresh = False
        else:
            self._cursor.insertBlock(block_format)

    # --- Tables -----------------------------------------------------------------------------------

    def _write_table(self, tokens: list[Token], index: int) -> int:
        begin = index
        rows: list[list[Token]] = []
        while tokens[index].type != "table_close":
            token = tokens[index]
            if token.type == "tr_open":
                rows.append([])
            elif token.type == "inline":
                rows[-1].append(token)
            index += 1
        num_columns = max(len(row) for row in rows)
        after = self._after if begin == 0 else None
        is_rest = isinstance(after, OpenTable)
        if is_rest:
            rows = rows[1:]  # the head is on show
        table = after.table if isinstance(after, OpenTable) else None
        if rows:
            table = self._write_rows(rows, num_columns, table, has_head=not is_rest)
        if is_rest and table is not None and not self._goes_on:
            table.setFormat(table_format(has_head=True))  # with the margin below
        if self._goes_on and index == len(tokens) - 1:
            head = after.head if isinstance(after, OpenTable) else self._table_head(tokens[begin])
            self.unfinished = OpenTable(head, table)
        return index + 1

    def _table_head(self, token: Token) -> str:
        assert token.map is not None
        lines = self._source.split("\n")[token.map[0] : token.map[0] + 2]
        return "".join(f"{line}\n" for line in lines)

    def _write_rows(
        self, rows: list[list[Token]], num_columns: int, table: QTextTable | None, *, has_head: bool
    ) -> QTextTable:
        """Adds rows to a table, or to a new one."""
        if table is not None:
            first = table.rows()
            table.appendRows(len(rows))
        else:
            first = 0
            if self.is_fresh:
                behind_table = is_behind_table(self._cursor.block())
                self._cursor.setBlockFormat(spacer_format(behind_table=behind_table))
            else:
                self._cursor.insertBlock(spacer_format())
            made = table_format(has_head=has_head)
            if self._goes_on:
                made.setBottomMargin(0)  # so that its open end stands close below
            table = self._cursor.insertTable(len(rows), num_columns, made)
        for row_index, row in enumerate(rows, first):
            for column, token in enumerate(row):
                self._cursor = table.cellAt(row_index, column).firstCursorPosition()
                self._cursor.setBlockFormat(text_block_format(0))
                base = text_char_format(token.content)
                if row_index == 0 and has_head:
                    base.setFontWeight(BOLD)
                self._write_inline(token, base)
        self._cursor = table.lastCursorPosition()
        self._cursor.movePosition(QTextCursor.MoveOperation.End)
        self._cursor.setBlockFormat(spacer_format(behind_table=True))
        self.is_fresh = True
        return table

    # --- Inline -----------------------------------------------------------------------------------

    def _inline_format(self, token: Token) -> QTextCharFormat:
        if not self._heading_level:
            return text_char_format(token.content)
        result = text_char_format(token.content, size=self._heading_size())
        result.setFontWeight(BOLD)
        return result

    def _write_inline(self, token: Token, base: QTextCharFormat) -> None:
        stack = [base]
        for child in token.children or ():
            current = stack[-1]
            if child.nesting == 1:
                stack.append(_nested_format(child, current))
            elif child.nesting == -1:
                if len(stack) > 1:
                    stack.pop()
            else:
                self._write_leaf(child, current)

    def _write_leaf(self, child: Token, current: QTextCharFormat) -> None:
        match child.type:
            case "code_inline":
                for piece in cut(child.content, MAX_LINE_CHARS):
                    self._make_room()
                    self._cursor.insertText(piece, inline_code_format(current))
            case "softbreak" | "hardbreak":
                self._break_line(current)
            case _ if child.type == FORMULA:
                self._write_formula(child, current)
            case "image":
                address = str(child.attrs.get("src", ""))
                link = link_format(current, address) if is_safe_link(address) else current
                for piece in cut(child.content or address, MAX_LINE_CHARS):
                    self._make_room()
                    self._cursor.insertText(piece, link)
            case _:
                text = child.content
                if self._is_task:
                    self._is_task = False
                    text = _TASK.sub("", text, count=1)
                for piece in cut(text, MAX_LINE_CHARS):
                    self._make_room()
                    insert_text(self._cursor, piece, current)

    def _break_line(self, current: QTextCharFormat) -> None:
        before = self._cursor.block()
        self._make_room()
        if self._cursor.block() == before:
            self._cursor.insertText("\u2028", current)
        else:  # that broke it
            block_format = self._cursor.blockFormat()
            block_format.clearProperty(GOES_ON_PROPERTY)
            self._cursor.setBlockFormat(block_format)

    def _write_formula(self, child: Token, current: QTextCharFormat) -> None:
        key = formulas().key(child.content, is_display=child.hidden)
        formula = formulas().get(key)
        if formula is not None:
            insert_formula(self._cursor, formula, key, child.markup)
            return
        start = self._cursor.position()
        self._cursor.insertText(child.markup.replace("\n", "\u2028"), inline_code_format(current))
        begin = QTextCursor(self._cursor)
        begin.setPosition(start)
        begin.setKeepPositionOnInsert(True)
        self.waiting.append(WaitingFormula(key, child.markup, begin))


def _nested_format(token: Token, outer: QTextCharFormat) -> QTextCharFormat:
    result = QTextCharFormat(outer)
    match token.type:
        case "strong_open":
            result.setFontWeight(BOLD)
        case "em_open":
            result.setFontItalic(True)
        case "s_open":
            result.setFontStrikeOut(True)
        case "link_open":
            return link_format(outer, str(token.attrs.get("href", "")))
    return result
