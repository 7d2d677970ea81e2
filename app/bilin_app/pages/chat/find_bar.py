"""Finding in what is on show: a field, where one stands, next and previous."""

from PySide6.QtCore import QCoreApplication, QEvent, QLocale, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QApplication, QFrame, QHBoxLayout, QLineEdit, QWidget
from typing_extensions import override

from bilin_app.pages.controls import IconButton, KeepsEscape, label

FIELD_WIDTH = 280


class FindBar(QFrame):
    """query_changed(str): "" when it closes. step_requested(int): +1 next, -1 previous."""

    query_changed = Signal(str)
    step_requested = Signal(int)
    left = Signal()  # it was closed with the cursor in it

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("findBar")
        self.field = QLineEdit(self)
        self.field.setFixedWidth(FIELD_WIDTH)
        self.field.installEventFilter(self)
        KeepsEscape(self.field)
        self.field.textChanged.connect(self.query_changed)
        self._place = label(self, "muted")
        self._previous = IconButton("caret-left", self)
        self._next = IconButton("caret-right", self)
        self._close = IconButton("x", self)
        self._previous.clicked.connect(lambda: self.step_requested.emit(-1))
        self._next.clicked.connect(lambda: self.step_requested.emit(1))
        self._close.clicked.connect(self.close_bar)
        row = QHBoxLayout(self)
        row.setContentsMargins(24, 6, 16, 6)
        row.setSpacing(6)
        row.addWidget(self.field)
        row.addWidget(self._previous)
        row.addWidget(self._next)
        row.addWidget(self._place, 1)
        row.addWidget(self._close)
        self._position = self._total = 0
        self._retranslate()
        self.hide()

    @property
    def controls(self) -> tuple[QWidget, ...]:
        """What can have the focus, in order."""
        return (self.field, self._previous, self._next, self._close)

    def open_bar(self) -> None:
        """Shows the bar with the cursor in its field."""
        self.show()
        self.field.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.field.selectAll()
        self.query_changed.emit(self.field.text())

    def close_bar(self) -> None:
        """Hides the bar; nothing is marked any more."""
        if not self.isHidden():
            focus = QApplication.focusWidget()
            was_here = focus is not None and self.isAncestorOf(focus)
            self.hide()
            self.query_changed.emit("")
            if was_here:
                self.left.emit()

    def show_place(self, position: int, total: int) -> None:
        """Which of the messages found is in view (from 1), and how many there are."""
        self._position, self._total = position, total
        self._show_place()

    def _show_place(self) -> None:
        locale = QLocale()
        text = self._place_text(self._total > 0) if self.field.text() else ""
        self._place.setText(
            text.format(locale.toString(self._position), locale.toString(self._total))
        )
        for button in (self._previous, self._next):
            button.setEnabled(self._total > 1)

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() == Qt.Key.Key_Escape:
                self.close_bar()
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                back = event.modifiers() & Qt.KeyboardModifier.ShiftModifier
                self.step_requested.emit(-1 if back else 1)
                return True
        return super().eventFilter(watched, event)

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def _place_text(self, is_found: bool) -> str:
        """Where one stands: {0} of {1}."""
        if not is_found:
            return self.tr("Not in this conversation")
        return self.tr("Message {0} of {1}")

    def _names(self) -> tuple[str, str, str]:
        """The field's name, and what the two arrows do."""
        return (
            self.tr("Find in this conversation"),
            self.tr("Previous message with it (Shift+Enter)"),
            self.tr("Next message with it (Enter)"),
        )

    def _retranslate(self) -> None:
        name, previous, following = self._names()
        self.field.setPlaceholderText(name)
        self.field.setAccessibleName(name)
        self._previous.set_texts("", previous)
        self._next.set_texts("", following)
        self._close.set_texts("", QCoreApplication.translate("FindBar", "Close (Esc)"))
        self._show_place()
