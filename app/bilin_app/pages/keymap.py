"""The keyboard shortcuts in force: what they do, their keys, and which a person has changed.

Keys are written as QKeySequence's portable text ("Ctrl+Shift+M"); "" = none.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent, QKeySequence

Scope = Literal["window", "editor", "composer", "list", "fixed"]


@dataclass(frozen=True, slots=True)
class Shortcut:
    """keys: by default. text: a str, what it does, in English, for translation.

    scope: everywhere in the window, in the editor, where a message is written, in the list of
    conversations; or "fixed": as it is in every program, and not to be changed.
    """

    name: str
    keys: str
    text: object  # as QT_TRANSLATE_NOOP is typed
    scope: Scope = "window"


SHORTCUTS = (
    Shortcut("chat", "Ctrl+1", QT_TRANSLATE_NOOP("Shortcuts", "Chat")),
    Shortcut("editor", "Ctrl+2", QT_TRANSLATE_NOOP("Shortcuts", "Editor")),
    Shortcut("models", "Ctrl+3", QT_TRANSLATE_NOOP("Shortcuts", "Models")),
    Shortcut("new", "Ctrl+N", QT_TRANSLATE_NOOP("Shortcuts", "New chat")),
    Shortcut("search", "Ctrl+K", QT_TRANSLATE_NOOP("Shortcuts", "Search conversations")),
    Shortcut("find", "Ctrl+F", QT_TRANSLATE_NOOP("Shortcuts", "Find in what is shown")),
    Shortcut("settings", "Ctrl+,", QT_TRANSLATE_NOOP("Shortcuts", "Settings")),
    Shortcut("stop", "Esc", QT_TRANSLATE_NOOP("Shortcuts", "Stop the answer")),
    Shortcut("shortcuts", "F1", QT_TRANSLATE_NOOP("Shortcuts", "This list")),
    Shortcut("blank", "Ctrl+M", QT_TRANSLATE_NOOP("Shortcuts", "Short blank"), "editor"),
    Shortcut("long", "Ctrl+Shift+M", QT_TRANSLATE_NOOP("Shortcuts", "Long blank"), "editor"),
    Shortcut("fill", "Ctrl+Return", QT_TRANSLATE_NOOP("Shortcuts", "Fill the blank"), "editor"),
    Shortcut(
        "fill_all", "Ctrl+Shift+Return", QT_TRANSLATE_NOOP("Shortcuts", "Fill all blanks"), "editor"
    ),
    Shortcut("next", "Alt+Down", QT_TRANSLATE_NOOP("Shortcuts", "Next candidate"), "editor"),
    Shortcut("previous", "Alt+Up", QT_TRANSLATE_NOOP("Shortcuts", "Candidate before"), "editor"),
    Shortcut("accept", "Tab", QT_TRANSLATE_NOOP("Shortcuts", "Accept the candidate"), "editor"),
    Shortcut(
        "word", "Ctrl+Right", QT_TRANSLATE_NOOP("Shortcuts", "Accept its next word"), "editor"
    ),
    Shortcut(
        "proofread", "F7", QT_TRANSLATE_NOOP("Shortcuts", "Proofread (in the editor)"), "editor"
    ),
    Shortcut(
        "open", "Ctrl+O", QT_TRANSLATE_NOOP("Shortcuts", "Open a file (in the editor)"), "editor"
    ),
    Shortcut("save", "Ctrl+S", QT_TRANSLATE_NOOP("Shortcuts", "Save as (in the editor)"), "editor"),
    Shortcut("again", "Ctrl+R", QT_TRANSLATE_NOOP("Shortcuts", "Other candidates"), "editor"),
    Shortcut(
        "recall",
        "Up",
        QT_TRANSLATE_NOOP("Shortcuts", "Edit the last message (empty field)"),
        "composer",
    ),
    Shortcut(
        "rename", "F2", QT_TRANSLATE_NOOP("Shortcuts", "Rename (in the conversations)"), "list"
    ),
    Shortcut(
        "delete", "Del", QT_TRANSLATE_NOOP("Shortcuts", "Delete (in the conversations)"), "list"
    ),
    Shortcut("send", "Return", QT_TRANSLATE_NOOP("Shortcuts", "Send the message"), "fixed"),
    Shortcut("line", "Shift+Return", QT_TRANSLATE_NOOP("Shortcuts", "Break the line"), "fixed"),
    Shortcut(
        "end", "End", QT_TRANSLATE_NOOP("Shortcuts", "Latest message (in the messages)"), "fixed"
    ),
)
# Keys that stand for nothing but these where nothing is written, or where the field is empty.
_BARE = {"list": ("Del", "Backspace"), "composer": ("Up",)}

# What writing needs: these keys are never taken from a text field.
_EDITING = (
    QKeySequence.StandardKey.Copy,
    QKeySequence.StandardKey.Cut,
    QKeySequence.StandardKey.Paste,
    QKeySequence.StandardKey.SelectAll,
    QKeySequence.StandardKey.Undo,
    QKeySequence.StandardKey.Redo,
)
_BY_NAME = {shortcut.name: shortcut for shortcut in SHORTCUTS}


class Keymap(QObject):
    """Which keys do what. `changed`: a person changed some."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._custom: dict[str, str] = {}
        self._sends_with_ctrl = False

    @property
    def sends_with_ctrl(self) -> bool:
        """Whether Ctrl+Enter sends a message and Enter breaks the line."""
        return self._sends_with_ctrl

    def set_sends_with_ctrl(self, wanted: bool) -> None:
        """Makes Ctrl+Enter send a message, or Enter alone."""
        if wanted != self._sends_with_ctrl:
            self._sends_with_ctrl = wanted
            self.changed.emit()

    @property
    def custom(self) -> tuple[tuple[str, str], ...]:
        """What differs from the defaults, as settings keep it; names that are not known stay."""
        return tuple(sorted(self._custom.items()))

    def set_custom(self, custom: Iterable[tuple[str, str]]) -> None:
        """Puts a person's keys in force; what cannot be read as keys counts as the default."""
        before, self._custom = self._custom, {}
        for name, keys in custom:
            known = _BY_NAME.get(name)
            if known is None or known.scope == "fixed":
                self._custom[name] = keys  # kept, not obeyed
            elif (read := _normal(keys)) != known.keys and (read or not keys):
                self._custom[name] = read
        if before != self._custom:
            self.changed.emit()

    def bind(self, name: str, keys: str) -> None:
        """Gives a shortcut other keys ("" = none); they are taken from whatever had them."""
        custom = dict(self._custom)
        other = self.conflict(name, keys)
        if other is not None and other.scope != "fixed":
            custom[other.name] = ""
        custom[name] = keys
        self.set_custom(custom.items())

    def reset(self) -> None:
        """Puts all defaults in force again."""
        self.set_custom((n, k) for n, k in self._custom.items() if n not in _BY_NAME)

    def keys(self, name: str) -> str:
        """The keys in force. Raises KeyError for a name that does not exist."""
        if self._sends_with_ctrl and name in ("send", "line"):
            return {"send": "Ctrl+Return", "line": "Return"}[name]
        known = _BY_NAME[name]
        return known.keys if known.scope == "fixed" else self._custom.get(name, known.keys)

    def text(self, name: str) -> str:
        """The keys for a person to read: "Ctrl+Enter"; "" where there are none."""
        return keys_text(self.keys(name))

    def matches(self, event: QKeyEvent, name: str) -> bool:
        """Whether a key press is this shortcut."""
        keys = self.keys(name)
        return bool(keys) and event_keys(event) == keys

    def conflict(self, name: str, keys: str) -> Shortcut | None:
        """What else these keys do where `name` is in force, or None."""
        scope = _BY_NAME[name].scope
        for other in SHORTCUTS:
            if not keys or other.name == name or self.keys(other.name) != keys:
                continue
            if "window" in (scope, other.scope) or scope == other.scope:
                return other
        return None


def allowed(keys: str, scope: Scope = "window") -> bool:
    """Whether these keys may be a shortcut there: none that writing itself needs."""
    if keys in _BARE.get(scope, ()):
        return True
    sequence = QKeySequence(keys)
    if sequence.count() != 1 or any(
        sequence in QKeySequence.keyBindings(standard) for standard in _EDITING
    ):
        return False
    *modifiers, key = sequence.toString(_PORTABLE).replace("++", "+Plus").split("+")
    is_free = key in ("Esc", "Tab") or re.fullmatch(r"F\d+", key) is not None
    return is_free or not {"Ctrl", "Alt", "Meta"}.isdisjoint(modifiers)


def event_keys(event: QKeyEvent) -> str:
    """The keys of an event as a shortcut has them; "" while only Ctrl, Shift or Alt are held."""
    key = event.key()
    if key in (
        Qt.Key.Key_Control,
        Qt.Key.Key_Shift,
        Qt.Key.Key_Alt,
        Qt.Key.Key_Meta,
        Qt.Key.Key_AltGr,
        Qt.Key.Key_unknown,
    ):
        return ""
    if key == Qt.Key.Key_Enter:
        key = Qt.Key.Key_Return
    if key == Qt.Key.Key_Backtab:
        key = Qt.Key.Key_Tab
    modifiers = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
    return _normal(QKeySequence(modifiers.value | int(key)).toString(_PORTABLE))


def keys_text(keys: str) -> str:
    """Keys for a person to read."""
    # Not Qt's native text: on Linux it would be 回车 in a window whose keyboard says Enter.
    text = QKeySequence(keys).toString(_PORTABLE)
    return "+".join(_SIGNS.get(part, part) for part in text.split("+"))


def what(shortcut: Shortcut) -> str:
    """What a shortcut does, in the language of the window."""
    return QCoreApplication.translate("Shortcuts", str(shortcut.text))


_SIGNS = {"Return": "Enter", "Up": "↑", "Down": "↓", "Left": "←", "Right": "→"}
_PORTABLE = QKeySequence.SequenceFormat.PortableText


def _normal(keys: str) -> str:
    sequence = QKeySequence(keys)
    return sequence.toString(_PORTABLE) if sequence.count() == 1 else ""


_keymap: Keymap | None = None


def keymap() -> Keymap:
    """The one keymap of the process."""
    global _keymap
    if _keymap is None:
        _keymap = Keymap()
    return _keymap
