"""The list of keyboard shortcuts (F1), where they can be changed."""

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QFocusEvent, QKeyEvent
from PySide6.QtWidgets import (
    QDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from bilin_app.pages.controls import TextButton, is_enter, label
from bilin_app.pages.dialog_size import DialogScroll, resize_within_screen
from bilin_app.pages.keymap import (
    SHORTCUTS,
    Shortcut,
    allowed,
    event_keys,
    keymap,
    keys_text,
    what,
)


class KeyButton(QPushButton):
    """Shows the keys of a shortcut; pressed, it waits for other ones.

    keys_pressed(str): these. Backspace asks for none, Esc leaves all as it is.
    """

    keys_pressed = Signal(str)

    def __init__(self, shortcut: Shortcut, parent: QWidget) -> None:
        self._is_waiting = False  # Qt sends events while it is being made
        super().__init__(parent)
        self.entry = shortcut
        self.setProperty("role", "key")
        self.setAutoDefault(False)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.clicked.connect(self.wait_for_keys)

    def wait_for_keys(self) -> None:
        """The next keys that are pressed are taken."""
        self._is_waiting = True
        self.setFocus()
        self.show_keys()

    def show_keys(self) -> None:
        """Shows the keys in force, or that it waits for some."""
        keys = keymap().text(self.entry.name)
        self.setText(self.tr("Press keys …") if self._is_waiting else keys or "—")
        named = self.tr("{what}: {keys}").format(
            what=what(self.entry), keys=keys or self.tr("no keys")
        )
        self.setAccessibleName(named)
        self.setAccessibleDescription(self.tr("Press to change the keys"))
        self.setToolTip(self.tr("Change the keys"))

    def _stop_waiting(self) -> None:
        self._is_waiting = False
        self.show_keys()

    @override
    def event(self, event: QEvent) -> bool:
        kind = event.type()
        if self._is_waiting and isinstance(event, QKeyEvent):
            if kind == QEvent.Type.ShortcutOverride:
                event.accept()  # the window's own shortcuts rest meanwhile
                return True
            if kind == QEvent.Type.KeyPress:
                self._take(event)
                return True
        elif isinstance(event, QKeyEvent) and kind == QEvent.Type.KeyPress and is_enter(event):
            self.click()
            return True
        return super().event(event)

    def _take(self, event: QKeyEvent) -> None:
        keys = event_keys(event)
        if not keys:
            return
        if keys == "Esc" and self.entry.name != "stop":
            self._stop_waiting()
        elif keys == "Backspace" or (keys == "Del" and not allowed(keys, self.entry.scope)):
            self._stop_waiting()
            self.keys_pressed.emit("")
        else:
            self._stop_waiting()
            self.keys_pressed.emit(keys)

    @override
    def focusOutEvent(self, event: QFocusEvent) -> None:
        if self._is_waiting:
            self._stop_waiting()
        super().focusOutEvent(event)


class ShortcutsDialog(QDialog):
    """Lists every shortcut and changes the keymap."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._heading = label(self, "heading")
        self._about = label(self, "muted", wraps=True)
        self._rows: list[tuple[QLabel, Shortcut]] = []
        self._caps: dict[str, QLabel] = {}  # of the keys that stay
        self._columns = QWidget(self)
        self._fixed = label(self._columns, "muted")
        self._fixed.setContentsMargins(0, 8, 0, 0)
        self.buttons: dict[str, KeyButton] = {}
        self._wanted = ("", "")  # a shortcut's name and the keys that something else has
        self._make_columns()  # before what stands below them: Tab goes in this order
        self._notice = QFrame(self)
        self._notice.setObjectName("notice")
        self._notice_text = label(self._notice, wraps=True)
        self._take = TextButton("", self._notice)
        self._leave = TextButton("", self._notice)
        self._reset = TextButton("link", self)
        self._close = TextButton("primary", self)
        self._take.clicked.connect(self._on_take)
        self._leave.clicked.connect(self._forget)
        self._reset.clicked.connect(self._on_reset)
        self._close.clicked.connect(self.accept)
        keymap().changed.connect(self._show_keys)
        self._build()
        self._retranslate()
        self._forget()
        self._resize()

    def _resize(self) -> None:
        hint = self.sizeHint()
        resize_within_screen(self, hint.width(), hint.height())

    def _make_columns(self) -> None:
        columns = QHBoxLayout(self._columns)
        columns.setContentsMargins(0, 0, 0, 0)
        columns.setSpacing(40)
        half = -(-(len(SHORTCUTS) + 1) // 2)  # with the line above those that stay
        for part in (SHORTCUTS[:half], SHORTCUTS[half:]):
            grid = QGridLayout()
            grid.setHorizontalSpacing(24)
            grid.setVerticalSpacing(6)
            grid.setColumnStretch(0, 1)
            for shortcut in part:
                if shortcut.scope == "fixed" and not self._caps:
                    grid.addWidget(self._fixed, grid.rowCount(), 0, 1, 2)
                row = grid.rowCount()
                text = label(self._columns)
                grid.addWidget(text, row, 0)
                grid.addWidget(self._keys_of(shortcut), row, 1, Qt.AlignmentFlag.AlignRight)
                self._rows.append((text, shortcut))
            grid.setRowStretch(grid.rowCount(), 1)
            columns.addLayout(grid)

    def _build(self) -> None:
        notice = QHBoxLayout(self._notice)
        notice.setContentsMargins(14, 8, 8, 8)
        notice.addWidget(self._notice_text, 1)
        notice.addWidget(self._take)
        notice.addWidget(self._leave)
        bottom = QHBoxLayout()
        bottom.addWidget(self._reset)
        bottom.addStretch()
        bottom.addWidget(self._close)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 20)
        column.setSpacing(14)
        column.addWidget(self._heading)
        column.addWidget(self._about)
        column.addWidget(DialogScroll(self, self._columns), 1)
        column.addStretch()
        column.addWidget(self._notice)
        column.addLayout(bottom)

    def _keys_of(self, shortcut: Shortcut) -> QWidget:
        if shortcut.scope == "fixed":
            cap = label(self._columns, "key")
            self._caps[shortcut.name] = cap
            return cap
        button = KeyButton(shortcut, self._columns)
        button.keys_pressed.connect(lambda keys: self.try_keys(shortcut.name, keys))
        self.buttons[shortcut.name] = button
        return button

    def try_keys(self, name: str, keys: str) -> None:
        """Gives a shortcut other keys, or says what stands against it."""
        if keys and not allowed(keys, self.buttons[name].entry.scope):
            self._say(self.tr("{keys} is needed for writing.").format(keys=keys_text(keys)))
            return
        other = keymap().conflict(name, keys)
        if other is None:
            self._forget()
            keymap().bind(name, keys)
            return
        text = self.tr("{keys} is already there for: {what}")
        self._say(text.format(keys=keys_text(keys), what=what(other)))
        self._wanted = (name, keys)
        self._take.setVisible(other.scope != "fixed")
        if other.scope != "fixed":
            self._take.setFocus()

    def _say(self, text: str) -> None:
        self._wanted = ("", "")
        self._notice_text.setText(text)
        self._take.hide()
        self._notice.show()
        self._resize()

    def _forget(self) -> None:
        self._wanted = ("", "")
        self._notice.hide()

    def _on_take(self) -> None:
        name, keys = self._wanted
        self._forget()
        keymap().bind(name, keys)
        self.buttons[name].setFocus()

    def _on_reset(self) -> None:
        self._forget()
        keymap().reset()

    def _show_keys(self) -> None:
        for button in self.buttons.values():
            button.show_keys()
        for name, cap in self._caps.items():
            cap.setText(keymap().text(name))
        self._reset.setEnabled(bool(keymap().custom))

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        self.setWindowTitle(self.tr("Keyboard shortcuts"))
        self._heading.setText(self.tr("Keyboard shortcuts"))
        self._about.setText(
            self.tr("Press a shortcut’s keys here to change them; Backspace takes them away.")
        )
        self._fixed.setText(self.tr("The same in every program; the send key is in Settings"))
        self._take.set_texts(self.tr("Use it here"))
        self._leave.set_texts(self.tr("Leave it"))
        self._reset.set_texts(self.tr("Reset all"))
        self._close.set_texts(self.tr("Close"))
        for text, shortcut in self._rows:
            text.setText(what(shortcut))
        self._show_keys()
