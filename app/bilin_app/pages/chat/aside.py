"""Text beside an answer, a thought or a notice: selected with the mouse, it takes no focus.

Keys and input methods go on meaning the composer: an input method would miss the first letter of
what is typed after a click.
"""

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QLabel, QPlainTextEdit, QTextEdit, QWidget

Aside = QLabel | QTextEdit | QPlainTextEdit


def make_aside(widget: Aside, focus: Qt.FocusPolicy = Qt.FocusPolicy.NoFocus) -> None:
    """Makes the text of a label or a read-only field one that a mouse selects in."""
    widget.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    widget.setFocusPolicy(focus)  # the flags bring one of their own


def pressed_part(widget: Aside) -> QWidget:
    """What gets the mouse's events."""
    return widget if isinstance(widget, QLabel) else widget.viewport()


def copy_selected(widget: Aside) -> None:
    """Brings what is selected to the clipboard; nothing where nothing is."""
    if not isinstance(widget, QLabel):
        widget.copy()
    elif widget.hasSelectedText():
        text = widget.selectedText().replace("\u2029", "\n")
        QGuiApplication.clipboard().setText(text)


def deselect(widget: Aside) -> None:
    """Selects nothing."""
    if isinstance(widget, QLabel):
        if widget.hasSelectedText():
            widget.setSelection(0, 0)
        return
    cursor = widget.textCursor()
    if cursor.hasSelection():
        cursor.clearSelection()
        widget.setTextCursor(cursor)
