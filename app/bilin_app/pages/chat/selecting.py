"""What a message's body asks of a selection that may reach beyond it; a text made on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import QMetaType, QMimeData, QPoint
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable

    from bilin_app.pages.chat.message_body import MessageBody


class Selecting(Protocol):
    """A selection that may reach beyond one body (`wide_selection.py`)."""

    def press(self, body: MessageBody, at: QPoint, *, extends: bool) -> bool:
        """The left button went down at a point of the screen; True = the body does nothing."""
        ...

    def drag(self, at: QPoint) -> bool:
        """The mouse moved with it; True = the body does nothing."""
        ...

    def release(self) -> None:
        """The button went up."""
        ...

    def took(self, body: MessageBody) -> None:
        """A body selects by itself now."""
        ...

    def moved(self, body: MessageBody) -> None:
        """The letters of a body have moved, and its cursor with them."""
        ...

    @property
    def is_wide(self) -> bool:
        """Whether several messages are selected."""
        ...

    def text(self) -> str:
        """What is selected over several messages."""
        ...

    def copy(self) -> None:
        """Brings that to the clipboard."""
        ...

    def snapshot(self) -> Callable[[], str]:
        """Makes the text of what is selected now."""
        ...


class TextOnDemand(QMimeData):
    """A text that is made when it is asked for."""

    def __init__(self, make: Callable[[], str]) -> None:
        super().__init__()
        self._make = make

    @override
    def formats(self) -> list[str]:
        return ["text/plain"]

    @override
    def hasFormat(self, mimetype: str) -> bool:
        return mimetype == "text/plain"

    @override
    def retrieveData(self, mimetype: str, preferredType: QMetaType | QMetaType.Type) -> object:
        return self._make() if mimetype.startswith("text/plain") else None
