"""What lies over the text without being of it: what the model would not see, unlikely words."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from PySide6.QtCore import QPoint
from PySide6.QtGui import QColor, QTextCursor
from PySide6.QtWidgets import QTextEdit

from bilin_app.controllers.editor_views import WindowRuler, WordFlag
from bilin_app.pages.editor.formats import flag_format
from bilin_app.pages.editor.shown_text import ShownText
from bilin_app.theme.theme import theme

_DIMMED = 0.55


class Overlays:
    """Keeps a field's extra selections."""

    def __init__(self, field: QTextEdit, shown: ShownText) -> None:
        self._field = field
        self._shown = shown
        self._window: WindowRuler | None = None
        self._dimmed: list[QTextEdit.ExtraSelection] = []
        self.flags: Sequence[WordFlag] = ()
        # One for each flag near what is in view, from this one on; they move with the text.
        self._marks: list[QTextEdit.ExtraSelection] = []
        self._first_marked = 0

    def clear(self) -> None:
        """Nothing lies over the text: it is another one."""
        self._window = None
        self.flags, self._marks, self._dimmed = (), [], []
        self._field.setExtraSelections([])

    def refresh(self) -> None:
        """All anew, in the colours of now."""
        self._dim()
        self.mark_flags()

    def show_window(self, ruler: WindowRuler | None) -> None:
        """Dims what the model would not see of the text."""
        self._window = ruler
        self._dim()

    def show_flags(self, flags: Sequence[WordFlag]) -> None:
        """Underlines these words, which are in text order; () = none."""
        self.flags = flags
        self.mark_flags()

    def flag_at(self, place: int) -> int:
        """The number of the flag whose word is at a place of the field; -1 = none."""
        for number, mark in enumerate(self._marks, self._first_marked):
            cursor: QTextCursor = mark.cursor  # type: ignore[attr-defined]
            if cursor.selectionStart() <= place < cursor.selectionEnd():
                return number
        return -1

    @property
    def marked_words(self) -> list[str]:
        """What is underlined now."""
        return [mark.cursor.selectedText() for mark in self._marks]  # type: ignore[attr-defined]

    def mark_flags(self) -> None:
        """Underlines as far as one sees and a screen more: thousands would hold up every key."""
        self._marks = []
        if self.flags:
            height = self._field.viewport().height()
            low, high = (
                self._shown.position_of(self._field.cursorForPosition(QPoint(0, y)).position())
                for y in (-height, 2 * height)
            )
            self._first_marked = bisect_left(self.flags, low, key=lambda flag: flag.end)
            last = bisect_right(self.flags, high, key=lambda flag: flag.start)
            look = flag_format()
            for flag in self.flags[self._first_marked : last]:
                one = self._selection(flag.start, flag.end)
                one.format = look  # type: ignore[attr-defined]
                self._marks.append(one)
        self._decorate()

    def _dim(self) -> None:
        ruler, size = self._window, len(self._shown.document)
        self._dimmed = []
        if ruler is not None:
            for low, high in ((0, ruler.start), (ruler.end, size)):
                if low < high:
                    one = self._selection(low, high)
                    color = QColor(theme().palette.color("muted"))
                    color.setAlphaF(_DIMMED)
                    one.format.setForeground(color)  # type: ignore[attr-defined]
                    self._dimmed.append(one)
        self._decorate()

    def _selection(self, start: int, end: int) -> QTextEdit.ExtraSelection:
        document = self._field.document()
        last = document.characterCount() - 1
        cursor = QTextCursor(document)
        cursor.setPosition(min(self._shown.place_of(start), last))
        cursor.setPosition(min(self._shown.place_of(end), last), QTextCursor.MoveMode.KeepAnchor)
        result = QTextEdit.ExtraSelection()
        result.cursor = cursor  # type: ignore[attr-defined]
        return result

    def _decorate(self) -> None:
        wanted = [*self._dimmed, *self._marks]
        if wanted or self._field.extraSelections():
            self._field.setExtraSelections(wanted)
