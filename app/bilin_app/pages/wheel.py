"""Fields on a page that scrolls: the wheel turns the page, not what was chosen in them."""

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtWidgets import QAbstractSpinBox, QComboBox, QSlider, QWidget
from typing_extensions import override


class _ScrollsPast(QObject):
    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        # A list may have the focus only because it is the page's first field.
        is_turned = isinstance(watched, QAbstractSpinBox | QSlider) and watched.hasFocus()
        if event.type() != QEvent.Type.Wheel or is_turned:
            return False
        event.ignore()  # the page takes it
        return True


def leave_wheel_to_page(page: QWidget) -> None:
    """Lets a page's lists take no wheel, and its numbers only while they have the focus."""
    guard = _ScrollsPast(page)
    for kind in (QComboBox, QAbstractSpinBox, QSlider):
        for field in page.findChildren(kind):
            field.setFocusPolicy(Qt.FocusPolicy.StrongFocus)  # which the wheel does not give
            field.installEventFilter(guard)
