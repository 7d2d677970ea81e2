"""A title in a page's header that can be changed in its place."""

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QSizePolicy, QWidget
from typing_extensions import override

from bilin_app.pages.controls import ElidedLabel, IconButton, KeepsEscape


class TitleEdit(QWidget):
    """The title, and a pencil that makes a field of it; Return keeps, Esc gives up.

    changed(str): a person gave another title.
    """

    changed = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._text = ""
        self._can_rename = False
        self.label = ElidedLabel(self)
        self.label.setObjectName("headerTitle")
        self.field = QLineEdit(self)
        self.field.setObjectName("titleEdit")
        self.field.hide()
        self.field.installEventFilter(self)
        KeepsEscape(self.field)
        self.field.editingFinished.connect(self._on_edited)
        self.rename = IconButton("pencil-simple", self)
        self.rename.clicked.connect(self.start_editing)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(10)
        row.addWidget(self.label)
        row.addWidget(self.field, 100)
        row.addWidget(self.rename)
        row.addStretch(1)

    def show_title(self, title: str, *, can_rename: bool) -> None:
        """Shows a title; "" for what has none yet."""
        self._text = title
        self._can_rename = can_rename
        self.rename.setVisible(can_rename and self.field.isHidden())

    def give_up(self) -> None:
        """Ends an edit without keeping it: it was of another title than the one to come."""
        if not self.field.isHidden():
            self._end_editing()

    def set_texts(self, untitled: str, rename: str, name: str) -> None:
        """What stands there without a title, what the pencil does, what the field is called."""
        self.label.set_full_text(self._text or untitled)
        self.rename.set_texts("", rename)
        self.field.setAccessibleName(name)

    def start_editing(self) -> None:
        """Makes a field of it."""
        self.field.setText(self._text)
        self.label.hide()
        self.rename.hide()
        self.setSizePolicy(QSizePolicy.Policy.MinimumExpanding, QSizePolicy.Policy.Preferred)
        self.field.show()
        self.field.setFocus(Qt.FocusReason.OtherFocusReason)
        self.field.selectAll()

    def _on_edited(self) -> None:
        if self.field.isHidden():
            return
        title = self.field.text().strip()
        self._end_editing()
        if title and title != self._text:
            self.changed.emit(title)

    def _end_editing(self) -> None:
        self.field.hide()
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self.label.show()
        self.rename.setVisible(self._can_rename)

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if (
            isinstance(event, QKeyEvent)
            and event.type() == QEvent.Type.KeyPress
            and event.key() == Qt.Key.Key_Escape
        ):
            self._end_editing()
            return True
        return super().eventFilter(watched, event)
