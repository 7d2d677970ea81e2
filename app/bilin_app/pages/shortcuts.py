"""The window's keyboard shortcuts and the list of them (F1)."""

from dataclasses import dataclass

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication, QEvent, Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QDialog, QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget
from typing_extensions import override

from bilin_app.pages.controls import TextButton, label


@dataclass(frozen=True, slots=True)
class Shortcut:
    """keys: as QKeySequence reads them. text: a str, what it does, in English, for translation."""

    name: str
    keys: str
    text: object  # as QT_TRANSLATE_NOOP is typed


SHORTCUTS = (
    Shortcut("chat", "Ctrl+1", QT_TRANSLATE_NOOP("Shortcuts", "Chat")),
    Shortcut("editor", "Ctrl+2", QT_TRANSLATE_NOOP("Shortcuts", "Editor")),
    Shortcut("models", "Ctrl+3", QT_TRANSLATE_NOOP("Shortcuts", "Models")),
    Shortcut("new", "Ctrl+N", QT_TRANSLATE_NOOP("Shortcuts", "New chat")),
    Shortcut("search", "Ctrl+K", QT_TRANSLATE_NOOP("Shortcuts", "Search conversations")),
    Shortcut("find", "Ctrl+F", QT_TRANSLATE_NOOP("Shortcuts", "Find in this conversation")),
    Shortcut("settings", "Ctrl+,", QT_TRANSLATE_NOOP("Shortcuts", "Settings")),
    Shortcut("stop", "Esc", QT_TRANSLATE_NOOP("Shortcuts", "Stop the answer")),
    Shortcut("shortcuts", "F1", QT_TRANSLATE_NOOP("Shortcuts", "This list")),
)

# Keys that belong to a field and not to the window: listed, not bound.
FIELD_KEYS = (
    Shortcut("send", "Return", QT_TRANSLATE_NOOP("Shortcuts", "Send the message")),
    Shortcut("line", "Shift+Return", QT_TRANSLATE_NOOP("Shortcuts", "Break the line")),
    Shortcut("recall", "Up", QT_TRANSLATE_NOOP("Shortcuts", "Edit the last message (empty field)")),
    Shortcut("end", "End", QT_TRANSLATE_NOOP("Shortcuts", "Latest message (in the messages)")),
    Shortcut("blank", "Ctrl+M", QT_TRANSLATE_NOOP("Shortcuts", "Short blank (in the editor)")),
    Shortcut("long", "Ctrl+Shift+M", QT_TRANSLATE_NOOP("Shortcuts", "Long blank")),
    Shortcut("fill", "Ctrl+Return", QT_TRANSLATE_NOOP("Shortcuts", "Fill the blank")),
    Shortcut("fill_all", "Ctrl+Shift+Return", QT_TRANSLATE_NOOP("Shortcuts", "Fill all blanks")),
    Shortcut("next", "Alt+Down", QT_TRANSLATE_NOOP("Shortcuts", "Next candidate")),
    Shortcut("accept", "Tab", QT_TRANSLATE_NOOP("Shortcuts", "Accept the candidate")),
    Shortcut("word", "Ctrl+Right", QT_TRANSLATE_NOOP("Shortcuts", "Accept its next word")),
    Shortcut("again", "Ctrl+R", QT_TRANSLATE_NOOP("Shortcuts", "Other candidates")),
    Shortcut("rename", "F2", QT_TRANSLATE_NOOP("Shortcuts", "Rename (in the conversations)")),
    Shortcut("delete", "Del", QT_TRANSLATE_NOOP("Shortcuts", "Delete (in the conversations)")),
)


class ShortcutsDialog(QDialog):
    """Lists every shortcut."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._heading = label(self, "heading")
        self._close = TextButton("", self)
        self._close.clicked.connect(self.accept)
        self._rows: list[tuple[QLabel, Shortcut]] = []
        grid = QGridLayout()
        grid.setHorizontalSpacing(32)
        grid.setVerticalSpacing(10)
        shortcuts = (*SHORTCUTS, *FIELD_KEYS)
        num_rows = -(-len(shortcuts) // 2)
        for index, shortcut in enumerate(shortcuts):
            side, row = divmod(index, num_rows)
            text = label(self)
            grid.addWidget(text, row, 2 * side)
            keys = QHBoxLayout()
            keys.setSpacing(4)
            keys.addStretch()
            for key in shortcut.keys.split("+"):
                cap = label(self, "key")
                cap.setText(QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText))
                cap.setText(cap.text() or key)
                keys.addWidget(cap)
            grid.addLayout(keys, row, 2 * side + 1)
            self._rows.append((text, shortcut))
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 20)
        column.setSpacing(16)
        column.addWidget(self._heading)
        column.addLayout(grid)
        column.addWidget(self._close, 0, Qt.AlignmentFlag.AlignRight)
        self._retranslate()

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        self.setWindowTitle(self.tr("Keyboard shortcuts"))
        self._heading.setText(self.tr("Keyboard shortcuts"))
        self._close.set_texts(self.tr("Close"))
        for text, shortcut in self._rows:
            text.setText(QCoreApplication.translate("Shortcuts", str(shortcut.text)))
