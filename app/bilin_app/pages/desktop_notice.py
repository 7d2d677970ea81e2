"""A message of the desktop's when a long answer ends out of view, if the person wants it."""

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QSystemTrayIcon, QWidget

LONG_ANSWER_S = 10.0
MESSAGE_MS = 10_000


class DesktopNotice(QObject):
    """clicked(): the person wants to see the answer.

    The icon in the tray is there only while it has something to say.
    """

    clicked = Signal()

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._icon: QSystemTrayIcon | None = None
        self.is_wanted = False

    def tell(self, title: str, text: str, seconds: float) -> bool:
        """Tells of an answer that took so long; False if that is nothing to tell now."""
        is_seen = self._window.isActiveWindow()
        if not self.is_wanted or is_seen or seconds < LONG_ANSWER_S:
            return False
        if not QSystemTrayIcon.isSystemTrayAvailable():
            return False
        if self._icon is None:
            self._icon = QSystemTrayIcon(self._window.windowIcon(), self)
            self._icon.messageClicked.connect(self._on_clicked)
            self._icon.activated.connect(lambda _reason: self._on_clicked())
        self._icon.setToolTip(title)
        self._icon.show()
        self._icon.showMessage(title, text, QIcon(self._window.windowIcon()), MESSAGE_MS)
        return True

    def take_back(self) -> None:
        """The window is looked at: there is nothing to tell any more."""
        if self._icon is not None:
            self._icon.hide()

    def _on_clicked(self) -> None:
        self.take_back()
        self.clicked.emit()
