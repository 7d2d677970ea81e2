"""Attachments as chips: a name, a size in tokens, a click that opens the text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QLocale, QRect, Signal
from PySide6.QtGui import QFontMetrics, QResizeEvent, Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QWidget
from typing_extensions import override

from bilin_app.pages.controls import IconButton, TextButton, label

if TYPE_CHECKING:
    from bilin_app.text.attachments import Attachment

CHIP_HEIGHT = 30
GAP = 6
MAX_NAME_WIDTH = 220


class AttachmentChips(QWidget):
    """Chips in rows. opened(int), removed(int): the index of one."""

    opened = Signal(int)
    removed = Signal(int)

    def __init__(
        self, parent: QWidget, *, can_remove: bool = False, at_right: bool = False
    ) -> None:
        super().__init__(parent)
        self._can_remove = can_remove
        self._at_right = at_right
        self._attachments: tuple[Attachment, ...] = ()
        self.chips: list[Chip] = []
        self.hide()

    def set_attachments(self, attachments: tuple[Attachment, ...]) -> None:
        """Shows these."""
        if attachments == self._attachments:
            return
        self._attachments = attachments
        for chip in self.chips:
            chip.hide()
            chip.deleteLater()
        self.chips = [self._make(index, one) for index, one in enumerate(attachments)]
        self.setVisible(bool(attachments))
        self._place(self.width())

    def height_for(self, width: int) -> int:
        """The height at a width, px; 0 without chips."""
        rows = self._rows(width)
        return len(rows) * (CHIP_HEIGHT + GAP) - GAP if rows else 0

    def _make(self, index: int, attachment: Attachment) -> Chip:
        chip = Chip(attachment, self, can_remove=self._can_remove)
        chip.open.clicked.connect(lambda: self.opened.emit(index))
        chip.remove.clicked.connect(lambda: self.removed.emit(index))
        chip.show()
        return chip

    def _rows(self, width: int) -> list[list[Chip]]:
        rows: list[list[Chip]] = []
        taken = 0
        for chip in self.chips:
            chip_width = chip.sizeHint().width()
            if not rows or taken + chip_width > width:
                rows.append([])
                taken = 0
            rows[-1].append(chip)
            taken += chip_width + GAP
        return rows

    def _place(self, width: int) -> None:
        y = 0
        for row in self._rows(width):
            widths = [min(chip.sizeHint().width(), width) for chip in row]
            x = width - sum(widths) - GAP * (len(row) - 1) if self._at_right else 0
            for chip, chip_width in zip(row, widths, strict=True):
                chip.setGeometry(QRect(x, y, chip_width, CHIP_HEIGHT))
                x += chip_width + GAP
            y += CHIP_HEIGHT + GAP

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._place(self.width())


class Chip(QFrame):
    """One attachment."""

    def __init__(self, attachment: Attachment, parent: QWidget, *, can_remove: bool) -> None:
        super().__init__(parent)
        self.setObjectName("chip")
        self._attachment = attachment
        self.open = TextButton("chip", self, icon_name="file-text", token="muted")
        self._size = label(self, "muted")
        self.remove = IconButton("x", self)
        self.remove.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonIconOnly)
        self.remove.setVisible(can_remove)
        row = QHBoxLayout(self)
        row.setContentsMargins(2, 0, 3 if can_remove else 10, 0)
        row.setSpacing(2)
        row.addWidget(self.open)
        row.addWidget(self._size)
        row.addWidget(self.remove)
        self._retranslate()

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        name, locale = self._attachment.name, QLocale()
        self.open.ensurePolished()
        metrics = QFontMetrics(self.open.font())
        shown = metrics.elidedText(name, Qt.TextElideMode.ElideMiddle, MAX_NAME_WIDTH)
        if self._attachment.num_tokens:
            size = self.tr("{0} tokens").format(locale.toString(self._attachment.num_tokens))
        else:
            size = self.tr("{0} characters").format(locale.toString(len(self._attachment.text)))
        self._size.setText(size)
        self.open.set_texts(shown, self.tr("Open {0}, {1}").format(name, size))
        self.remove.set_texts("", self.tr("Remove {0}").format(name))
