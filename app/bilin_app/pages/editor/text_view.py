"""The text with its blanks: Qt's text field as a view of the document, with its own undo off.

What a person types goes into Qt's field first and is told from its `contentsChange`; everything
else comes as edits of the document. A fill that is offered stands here as ordinary text in a
format of its own and counts, in the document's positions, as the one character of its blank.
Data in, signals out.
"""

import re
from collections.abc import Iterable, Sequence
from html import escape

from PySide6.QtCore import QEvent, QMimeData, Qt, Signal
from PySide6.QtGui import (
    QAction,
    QContextMenuEvent,
    QDropEvent,
    QHelpEvent,
    QInputMethodEvent,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QResizeEvent,
    QTextCharFormat,
    QTextCursor,
    QTextFrameFormat,
    QTextOption,
)
from PySide6.QtWidgets import QFrame, QTextEdit, QToolTip, QWidget
from typing_extensions import override

from bilin_app.controllers.editor_views import (
    BlankState,
    BlankView,
    DocumentView,
    WindowRuler,
    WordFlag,
)
from bilin_app.pages.chat.composer_edit import local_files
from bilin_app.pages.editor.blank_object import OBJECT_TYPE, BlankObject, blank_format
from bilin_app.pages.editor.formats import block_format, offer_format, text_format
from bilin_app.pages.editor.headings import Headings
from bilin_app.pages.editor.overlays import Overlays
from bilin_app.pages.editor.shown_text import ShownText
from bilin_app.pages.keymap import event_keys, keymap
from bilin_app.text.document import (
    BLANK_MARK,
    Edit,
    Origin,
    Slice,
    clean,
    common_ends,
    ends_at_caret,
    from_units,
    to_units,
)
from bilin_app.theme.theme import theme
from bilin_engine.protocol import BlankKind

COLUMN_WIDTH = 680
MIN_MARGIN = 37
TOP_MARGIN, BOTTOM_MARGIN = 36, 96
# Shortcuts that mean the same where the focus is beside the text: in the panel, in the list.
_BESIDE = ("fill", "fill_all", "next", "previous", "again", "proofread")


class TextView(QTextEdit):
    """Signals carry positions of the document (text.document) and blank ids.

    moved(int, int, int): the stretch from one position to another was dragged to a third.
    adopted(int, str): the offer on show, this text, is changed by hand and belongs to the text now.
    flag_entered(int): the cursor was put into this one of the words that `show_flags` marked.
    files_given(list[Path]): files that were dropped or pasted.
    """

    text_edited = Signal(int, int, str)
    pasted = Signal(int, int, str)
    files_given = Signal(object)
    moved = Signal(int, int, int)
    adopted = Signal(int, str)
    blank_requested = Signal(int, int, str)
    undo_requested = Signal()
    redo_requested = Signal()
    accept_requested = Signal(int)
    word_requested = Signal(int)
    reject_requested = Signal(int)
    cycle_requested = Signal(int, int)
    fill_requested = Signal(int)
    fill_all_requested = Signal()
    again_requested = Signal(int)
    stop_requested = Signal()
    current_changed = Signal(int)
    flag_entered = Signal(int)
    proofread_requested = Signal()

    _is_composing = False  # Qt sends events before the constructor has ended

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("editorText")
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setAcceptRichText(False)
        self.setUndoRedoEnabled(False)
        self.setTabChangesFocus(True)
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.verticalScrollBar().valueChanged.connect(self._on_scrolled)
        self._shown = ShownText()
        self._overlays = Overlays(self, self._shown)
        self._blanks: dict[int, BlankView] = {}  # those with something to show or to tell
        self._current = 0
        self._can_undo = self._can_redo = False
        self._shows_origins = True
        self._depth = 0  # > 0 while the change under way is ours
        self._is_adopting = False
        self._held: dict[int, BlankView | None] = {}  # what came while an input method composed
        self._object = BlankObject(self, self._look)
        document = self.document()
        document.setDocumentMargin(0)
        document.documentLayout().registerHandler(OBJECT_TYPE, self._object)
        document.contentsChange.connect(self._on_contents_change)
        self._headings = Headings(document)
        self.cursorPositionChanged.connect(self._on_cursor_moved)
        theme().changed.connect(self._restyle)
        self._restyle()
        self.show_document(DocumentView(0, "", Slice()))

    # --- Positions --------------------------------------------------------------------------------

    @property
    def selection(self) -> tuple[int, int]:
        """The document's positions of what is selected."""
        cursor = self.textCursor()
        start = self._shown.position_of(cursor.selectionStart())
        end = self._shown.position_of(cursor.selectionEnd())
        inside = any(a < cursor.selectionEnd() < b for a, b, _ in self._shown.regions())
        return start, end + (inside and cursor.hasSelection())

    @property
    def paragraph_end(self) -> tuple[int, bool]:
        """Where the cursor's paragraph ends in the document, and whether it is empty."""
        block = self.textCursor().block()
        return self._shown.position_of(block.position() + block.length() - 1), block.length() <= 1

    @property
    def current(self) -> int:
        """The blank in hand: the one at the cursor, or the last one that was. 0 = none."""
        return self._current

    @property
    def is_offered(self) -> bool:
        """Whether a fill of the blank in hand is on show."""
        return self._shown.is_offered(self._current)

    @property
    def is_composing(self) -> bool:
        """Whether an input method has a preedit: then nothing appears and nothing is accepted."""
        return self._is_composing

    def adopt_selection(self) -> tuple[int, int]:
        """`selection`, for an act that changes it.

        Offers that it begins or ends inside of are taken into the text first.
        """
        cursor = self.textCursor()
        self._adopt_around(cursor.selectionStart(), cursor.selectionEnd())
        return self.selection

    # --- Data in ----------------------------------------------------------------------------------

    def show_document(self, view: DocumentView) -> None:
        """Shows a document from its beginning."""
        self._overlays.clear()
        self._shown.show(view.content)
        self._blanks = {blank.id: blank for blank in view.blanks}
        self._held = {}
        blanks = self._shown.document.blanks
        self._current = blanks[0][1].id if blanks else 0
        self._depth += 1
        self.setUpdatesEnabled(False)
        self.clear()
        self._fit_column()
        cursor = QTextCursor(self.document())
        cursor.beginEditBlock()
        cursor.setBlockFormat(block_format())
        self._insert(cursor, view.content)
        cursor.endEditBlock()
        self._depth -= 1
        for blank in view.blanks:
            self._show_offer(blank.id, to_units(blank.text))
        self.setUpdatesEnabled(True)
        self.moveCursor(QTextCursor.MoveOperation.Start)
        self.current_changed.emit(self._current)

    def apply_edit(self, edit: Edit, is_ahead: bool) -> None:
        """Makes an edit of the document here; is_ahead: its text stands here already."""
        start = self._shown.place_of(edit.start)
        end = self._shown.place_of(edit.start + len(edit.removed.text))
        gone = {blank.id for _, blank in edit.removed.blanks}
        gone -= {blank.id for _, blank in edit.inserted.blanks}
        stay = {blank.id for _, blank in edit.removed.blanks} - gone
        if is_ahead:
            self._shown.document.apply(edit)
            for blank_id in gone:
                self._shown.take(blank_id)
            if not self._is_adopting:  # else the field is ahead of this edit, too
                self._format(start, edit.inserted)
        else:
            old = self._read(start, end)
            self._shown.document.apply(edit)
            for blank_id in gone:
                self._shown.take(blank_id)
            offers = {blank_id: self._shown.take(blank_id) for blank_id in stay}
            self._replace(start, end, old, edit)
            for blank_id, text in offers.items():
                self._show_offer(blank_id, text)
        for blank_id in gone:
            self._blanks.pop(blank_id, None)
        if self._current in gone:
            self._set_current(0)
        if edit.removed.blanks or edit.inserted.blanks:
            self._renumber()
        if not is_ahead:
            self._on_cursor_moved()

    def show_blank(self, blank_id: int, view: BlankView | None) -> None:
        """Shows what is offered for a blank, once no input method composes."""
        if self._is_composing:
            self._held[blank_id] = view
            return
        self._held.pop(blank_id, None)
        if view is None:
            self._blanks.pop(blank_id, None)
            return
        known = self._blanks.get(blank_id)
        self._blanks[blank_id] = view
        self._show_offer(blank_id, to_units(view.text))
        place = self._shown.document.place(blank_id)
        if place and (known is None or (known.kind, known.state) != (view.kind, view.state)):
            start = self._shown.place_of(place[0])
            self._lay_out([(start, start + 1, blank_id)])

    def show_undo(self, can_undo: bool, can_redo: bool) -> None:
        """Whether there is a step to take back, and one to make again: for the menu."""
        self._can_undo, self._can_redo = can_undo, can_redo

    def show_window(self, ruler: WindowRuler | None) -> None:
        """Dims what the model would not see of the text."""
        self._overlays.show_window(ruler)

    def show_flags(self, flags: Sequence[WordFlag]) -> None:
        """Underlines the words that the second reader finds unlikely; () = none. In text order."""
        self._overlays.show_flags(flags)

    def select_stretch(self, start: int, end: int) -> None:
        """Selects a stretch, in view."""
        cursor = self.textCursor()
        cursor.setPosition(self._shown.place_of(start))
        cursor.setPosition(self._shown.place_of(end), QTextCursor.MoveMode.KeepAnchor)
        self.setTextCursor(cursor)
        self.ensureCursorVisible()

    def places_of(self, query: str) -> list[tuple[int, int]]:
        """Where a text stands in the document, whatever the case of its letters.

        A space finds one that breaks no line as well.
        """
        pattern = re.escape(to_units(query)).replace(r"\ ", "[ \xa0]")
        found = re.finditer(pattern, self._shown.document.text, re.IGNORECASE)
        return [match.span() for match in found] if query else []

    def flag_at(self, place: int) -> int:
        """The number of the flag whose word is at a place of the field; -1 = none."""
        return self._overlays.flag_at(place)

    @property
    def marked_words(self) -> list[str]:
        """What the second reader's underlines stand under now."""
        return self._overlays.marked_words

    def set_shows_origins(self, shows: bool) -> None:
        """Whether text tells by its underline who wrote it."""
        self._shows_origins = shows
        self._restyle()

    def select_blank(self, blank_id: int) -> None:
        """Puts the cursor behind a blank, in view."""
        place = self._shown.document.place(blank_id)
        if place is not None:
            cursor = self.textCursor()
            cursor.setPosition(self._shown.place_of(place[0] + 1))
            self.setTextCursor(cursor)
            self._set_current(blank_id)
            self.ensureCursorVisible()

    def set_cursor(self, position: int) -> None:
        """Puts the cursor at a position of the document."""
        cursor = self.textCursor()
        cursor.setPosition(self._shown.place_of(position))
        self.setTextCursor(cursor)

    # --- Showing ----------------------------------------------------------------------------------

    def _show_offer(self, blank_id: int, text: str) -> None:
        """Puts an offer ("" = the blank itself) in a blank's place: only what differs."""
        place = self._shown.document.place(blank_id)
        if place is None:
            return
        old = self._shown.text_of(blank_id)
        new = text or BLANK_MARK
        view = self._blanks.get(blank_id)
        start = self._shown.place_of(place[0])
        own = self.textCursor()
        is_before = not own.hasSelection() and own.position() == start
        self._depth += 1
        cursor = QTextCursor(self.document())
        cursor.beginEditBlock()
        if old != new:
            head, tail = common_ends(old, new)
            cursor.setPosition(start + head)
            cursor.setPosition(start + len(old) - tail, QTextCursor.MoveMode.KeepAnchor)
            cursor.removeSelectedText()
            if text:
                cursor.insertText(from_units(new[head : len(new) - tail]), offer_format(view))
            else:
                cursor.insertText(BLANK_MARK, blank_format(blank_id))
        self._shown.put(blank_id, text)
        if text:
            cursor.setPosition(start)
            cursor.setPosition(start + len(text), QTextCursor.MoveMode.KeepAnchor)
            cursor.setCharFormat(offer_format(view))
        cursor.endEditBlock()
        if is_before:  # an offer begins behind whom it finds there, not around
            own.setPosition(start)
            self.setTextCursor(own)
        self._depth -= 1

    def _replace(self, start: int, end: int, old: str, edit: Edit) -> None:
        new = edit.inserted.text
        head, tail = (0, 0) if edit.inserted.blanks or BLANK_MARK in old else common_ends(old, new)
        self._depth += 1
        cursor = QTextCursor(self.document())
        cursor.beginEditBlock()
        cursor.setPosition(start + head)
        cursor.setPosition(end - tail, QTextCursor.MoveMode.KeepAnchor)
        cursor.removeSelectedText()
        self._insert(cursor, edit.inserted, head, len(new) - tail)
        cursor.endEditBlock()
        self._depth -= 1
        self._format(start, edit.inserted)

    def _insert(self, cursor: QTextCursor, content: Slice, low: int = 0, high: int = -1) -> None:
        """Inserts content, blanks as objects, from `low` to `high` of its text."""
        high = len(content.text) if high < 0 else high
        for start, end, origin, blank in content.pieces():
            if blank is not None and low <= start < high:
                cursor.insertText(BLANK_MARK, blank_format(blank.id))
            elif blank is None and max(start, low) < min(end, high):
                text = from_units(content.text[max(start, low) : min(end, high)])
                cursor.insertText(text, self._text_format(origin))

    def _format(self, at: int, content: Slice) -> None:
        """Gives content, which stands in the field from a place on, its origins' formats."""
        last = self.document().characterCount() - 1
        cursor = QTextCursor(self.document())
        self._depth += 1
        for start, end, origin, blank in content.pieces():
            if blank is not None:
                at += len(self._shown.text_of(blank.id))
                continue
            cursor.setPosition(min(at, last))
            at += end - start
            cursor.setPosition(min(at, last), QTextCursor.MoveMode.KeepAnchor)
            wanted = self._text_format(origin)
            if cursor.charFormat() != wanted or end - start > 1:
                cursor.setCharFormat(wanted)
        self._depth -= 1

    def _read(self, start: int, end: int) -> str:
        """The field's text, in units."""
        cursor = QTextCursor(self.document())
        cursor.setPosition(start)
        cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
        return to_units(cursor.selectedText().replace("\u2029", "\n").replace("\u2028", "\n"))

    def _renumber(self) -> None:
        """Lays the blanks out again: their numbers or their letters have changed."""
        self._lay_out(self._shown.stretches())

    def _lay_out(self, stretches: Iterable[tuple[int, int, int]]) -> None:
        """Lays blanks (ShownText.stretches) out again, but for those with an offer."""
        self._depth += 1
        laid_out = -1  # a paragraph is laid out as a whole: once is enough for all its blanks
        for place, _, blank_id in stretches:
            if place > laid_out and not self._shown.is_offered(blank_id):
                block = self.document().findBlock(place)
                self.document().markContentsDirty(place, 1)
                laid_out = block.position() + block.length() - 1
        self._depth -= 1
        self.viewport().update()

    def _look(self, blank_id: int) -> tuple[int, BlankKind, BlankState, bool]:
        number = self._shown.document.index(blank_id) + 1
        place = self._shown.document.place(blank_id)
        view = self._blanks.get(blank_id)
        state: BlankState = view.state if view is not None else "open"
        return number, place[1].kind if place else "short", state, blank_id == self._current

    def _text_format(self, origin: Origin) -> QTextCharFormat:
        return text_format(origin, shows_origins=self._shows_origins)

    def _on_scrolled(self) -> None:
        if self._overlays.flags:
            self._overlays.mark_flags()

    def _restyle(self) -> None:
        """Takes up the theme's letters and colours."""
        self.ensurePolished()
        self._depth += 1
        cursor = QTextCursor(self.document())
        cursor.beginEditBlock()
        for low, high, origin in self._shown.document.content.runs():
            content = self._shown.document.slice(low, high)
            if origin != "mine" or content.blanks:
                self._format(self._shown.place_of(low), content)
        for start, end, blank_id in self._shown.regions():
            cursor.setPosition(start)
            cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
            cursor.setCharFormat(offer_format(self._blanks.get(blank_id)))
        cursor.endEditBlock()
        self._depth -= 1
        self._headings.rehighlight()
        self._renumber()
        self._overlays.refresh()

    # --- What a person does -----------------------------------------------------------------------

    def _on_contents_change(self, place: int, num_removed: int, num_added: int) -> None:
        if self._depth:
            return
        old_size = self._shown.size
        new_size = self.document().characterCount() - 1
        num_removed = min(num_removed, old_size - place)
        num_added = min(num_added, new_size - place)
        if old_size - num_removed + num_added != new_size:
            num_removed, num_added = old_size - place, new_size - place
        new = self._read(place, place + num_added)
        if num_removed and num_added:  # Qt tells whole paragraphs at times, or formats alone
            old = self._shown.between(place, place + num_removed)
            head, tail = ends_at_caret(old, new, self.textCursor().position() - place)
            place, num_removed = place + head, num_removed - head - tail
            new = new[head : len(new) - tail]
        if num_removed or new:
            self._tell_edit(place, place + num_removed, from_units(new))

    def _tell_edit(self, start: int, end: int, text: str) -> None:
        """An offer that was edited inside is taken into the text first, as it stood."""
        first, last = start, end
        for low, high, _ in self._shown.regions():
            if low < start < high or low < end < high:
                first, last = min(first, low), max(last, high)
        self._is_adopting = True
        self._adopt_around(start, end)
        self._is_adopting = False
        position, stop = self._shown.position_of(start), self._shown.position_of(end)
        self.text_edited.emit(position, stop, clean(text))
        if len(to_units(clean(text))) != len(to_units(text)):
            self._resync()
        elif (first, last) != (start, end):
            last += len(to_units(text)) - (end - start)
            low, high = self._shown.position_of(first), self._shown.position_of(last)
            self._format(first, self._shown.document.slice(low, high))

    def _adopt_around(self, *places: int) -> None:
        """Takes the offers that any of these places is inside of into the text, as they stand."""
        for low, high, blank_id in self._shown.regions():
            if any(low < place < high for place in places):
                self.adopted.emit(blank_id, from_units(self._shown.text_of(blank_id)))

    def _resync(self) -> None:
        """Shows the document anew where the field took in what no document may hold."""
        at = self.selection[0]
        blanks = tuple(self._blanks.values())
        self.show_document(DocumentView(0, "", self._shown.document.content, blanks))
        self.set_cursor(min(at, len(self._shown.document)))

    def _on_cursor_moved(self) -> None:
        if self._depth or self._is_adopting:
            return
        self._set_current(self._shown.blank_at(self.textCursor().position()) or self._current)

    def _set_current(self, blank_id: int) -> None:
        if blank_id != self._current:
            self._current = blank_id
            self.viewport().update()
            self.current_changed.emit(blank_id)

    @override
    def inputMethodEvent(self, event: QInputMethodEvent) -> None:
        self._is_composing = bool(event.preeditString())
        super().inputMethodEvent(event)
        if not self._is_composing:
            held, self._held = self._held, {}
            for blank_id, view in held.items():
                self.show_blank(blank_id, view)

    @override
    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            self._show_expected(event)
            return True
        is_press = event.type() == QEvent.Type.KeyPress
        if self._is_composing and is_press and isinstance(event, QKeyEvent):
            if event.key() == Qt.Key.Key_Tab:
                return True  # neither a tab character nor another field in mid-word
        elif isinstance(event, QKeyEvent):
            if event.type() == QEvent.Type.ShortcutOverride and self._key_act(event) is not None:
                event.accept()
                return True
            if event.type() == QEvent.Type.KeyPress and event.key() == Qt.Key.Key_Tab:
                act = self._key_act(event)
                if act is not None:
                    act()
                    return True
        return super().event(event)

    def _show_expected(self, event: QHelpEvent) -> None:
        """What the second reader would put in place of the word under the pointer."""
        place = self.viewport().mapFrom(self, event.pos())
        number = self.flag_at(self.cursorForPosition(place).position())
        if number < 0:
            QToolTip.hideText()
            return
        expected = self._overlays.flags[number].expected
        text = self.tr("Expected: {0}").format(self.tr(", ").join(expected) or "…")
        QToolTip.showText(event.globalPos(), f"<p>{escape(text)}</p>", self)

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        act = None if self._is_composing else self._key_act(event)
        if act is not None:
            act()
            return
        super().keyPressEvent(event)

    def act_on(self, event: QKeyEvent) -> bool:
        """Does what a key means for the blank in hand, pressed beside the text; False = nothing."""
        if self._is_composing or not any(keymap().matches(event, name) for name in _BESIDE):
            return False
        act = self._key_act(event)
        if act is None:
            return False
        act()
        return True

    def _key_act(self, event: QKeyEvent):  # noqa: ANN202, C901 - a table of keys
        """What a key does here, or None where it is Qt's."""
        if self.isReadOnly():
            return None
        current, keys, pressed = self._current, keymap(), event_keys(event)
        view = self._blanks.get(current)
        if event.matches(QKeySequence.StandardKey.Undo):
            return self.undo_requested.emit
        if event.matches(QKeySequence.StandardKey.Redo) or pressed == "Ctrl+Y":
            return self.redo_requested.emit
        for name, kind in (("blank", "short"), ("long", "long")):
            if keys.matches(event, name):
                return lambda k=kind: self.blank_requested.emit(*self.adopt_selection(), k)
        if keys.matches(event, "proofread"):
            return self.proofread_requested.emit
        if keys.matches(event, "fill"):
            return lambda: self.fill_requested.emit(self._nearest_blank())
        if keys.matches(event, "fill_all"):
            return self.fill_all_requested.emit
        if pressed == "Shift+Return":
            return lambda: self.textCursor().insertBlock()
        if keys.matches(event, "stop") and view is not None:
            if view.state in ("waiting", "streaming"):
                return self.stop_requested.emit
            if self.is_offered:
                return lambda: self.reject_requested.emit(current)
        if view is None or not view.candidates:
            return None
        for name, step in (("next", 1), ("previous", -1)):
            if keys.matches(event, name):
                return lambda s=step: self.cycle_requested.emit(current, s)
        if keys.matches(event, "again"):
            return lambda: self.again_requested.emit(current)
        if not self.is_offered or view.state != "offered":
            return None
        if keys.matches(event, "accept"):
            return lambda: self.accept_requested.emit(current)
        if keys.matches(event, "word"):
            return lambda: self.word_requested.emit(current)
        return None

    def _nearest_blank(self) -> int:
        """The blank in hand, or the next one after the cursor, or the last one."""
        if self._current:
            return self._current
        here = self.selection[0]
        blanks = self._shown.document.blanks
        after = [blank.id for position, blank in blanks if position >= here]
        return after[0] if after else blanks[-1][1].id if blanks else 0

    @override
    def mousePressEvent(self, e: QMouseEvent) -> None:
        super().mousePressEvent(e)
        cursor = self.cursorForPosition(e.position().toPoint())
        place = cursor.position()
        is_behind = e.position().x() >= self.cursorRect(cursor).center().x()
        blank_id = self._shown.blank_at(place, is_behind=is_behind)
        self._set_current(blank_id or self._current)
        number = self.flag_at(place)
        if number >= 0:
            self.flag_entered.emit(number)

    @override
    def contextMenuEvent(self, e: QContextMenuEvent) -> None:
        menu = self.createStandardContextMenu()
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for name, signal, can_act in (
            ("edit-undo", self.undo_requested, self._can_undo),
            ("edit-redo", self.redo_requested, self._can_redo),
        ):
            act = menu.findChild(QAction, name)
            if act is not None:  # there is none where nothing can be written
                act.triggered.connect(signal)
                act.setEnabled(can_act)
        menu.popup(e.globalPos())

    # --- Copy and paste ---------------------------------------------------------------------------

    @override
    def createMimeDataFromSelection(self) -> QMimeData:
        cursor = self.textCursor()
        start, end = cursor.selectionStart(), cursor.selectionEnd()
        low, high = self.selection
        data = QMimeData()
        if any(a < start < b or a < end < b for a, b, _ in self._shown.regions()):
            data.setText(from_units(self._read(start, end).replace(BLANK_MARK, "")))
        else:
            data.setText(self._shown.document.slice(low, high).plain_text)
        return data

    @override
    def canInsertFromMimeData(self, source: QMimeData) -> bool:
        return source.hasText()

    @override
    def insertFromMimeData(self, source: QMimeData) -> None:
        cursor = self.textCursor()
        self._take_in(source, cursor.selectionStart(), cursor.selectionEnd())

    def _take_in(self, source: QMimeData, start: int, end: int) -> None:
        """Files are opened; text comes in place of what stands between two places."""
        if files := local_files(source):
            self.files_given.emit(files)
        elif source.hasText():
            self._adopt_around(start, end)
            low, high = self._shown.position_of(start), self._shown.position_of(end)
            self.pasted.emit(low, high, source.text())

    @override
    def dropEvent(self, e: QDropEvent) -> None:
        place = self.cursorForPosition(e.position().toPoint()).position()
        cursor = self.textCursor()
        start, end = cursor.selectionStart(), cursor.selectionEnd()
        is_own = e.source() is self.viewport() and e.dropAction() == Qt.DropAction.MoveAction
        e.setDropAction(Qt.DropAction.CopyAction)  # Qt is to take nothing away by itself
        e.accept()
        if not is_own:
            self._take_in(e.mimeData(), place, place)
        elif not start <= place <= end:
            self._adopt_around(start, end, place)
            self.moved.emit(*self.selection, self._shown.position_of(place))
        # Qt's own end of the drag, with nothing to insert: its caret goes, its scrolling stops.
        nothing = QMimeData()
        super().dropEvent(
            QDropEvent(e.position(), e.possibleActions(), nothing, e.buttons(), e.modifiers())
        )

    # --- Size -------------------------------------------------------------------------------------

    @override
    def resizeEvent(self, e: QResizeEvent) -> None:
        super().resizeEvent(e)
        self._fit_column()
        self._on_scrolled()

    def _fit_column(self) -> None:
        """The text stands in a column in the middle; its margins belong to the document."""
        side = max(MIN_MARGIN, (self.viewport().width() - COLUMN_WIDTH) // 2)
        frame = self.document().rootFrame()
        wanted = QTextFrameFormat(frame.frameFormat())
        wanted.setLeftMargin(side)
        wanted.setRightMargin(side)
        wanted.setTopMargin(TOP_MARGIN)
        wanted.setBottomMargin(BOTTOM_MARGIN)
        if frame.frameFormat() != wanted:
            self._depth += 1
            frame.setFrameFormat(wanted)
            self._depth -= 1
