"""Where a person writes: a field that grows to ten lines, the context meter, send or stop."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QLocale, QObject, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QDragEnterEvent,
    QDragLeaveEvent,
    QDropEvent,
    QFocusEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QTextOption,
)
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget
from typing_extensions import override

from bilin_app.pages.chat.attachment_chips import AttachmentChips
from bilin_app.pages.chat.composer_edit import ComposerEdit, local_files
from bilin_app.pages.chat.preedit import PlaceholderGuard, PreeditGuard
from bilin_app.pages.controls import ElidedLabel, IconButton, KeepsEscape, TextButton, label
from bilin_app.pages.keymap import keymap
from bilin_app.text.visible import visible
from bilin_app.theme.theme import theme

if TYPE_CHECKING:
    from bilin_app.controllers.views import TokenCountView
    from bilin_app.text.attachments import Attachment

MAX_LINES = 10
MIN_LINES = 3  # that a long text has in the lowest window
OTHERS_HEIGHT = 300  # px for header, messages and footer, before the field takes more
METER_SIZE = QSize(90, 4)


class Composer(QFrame):
    """Says `submitted` with the text; the owner clears it once the message is stored."""

    submitted = Signal(str)
    stop_requested = Signal()
    draft_changed = Signal(str)
    recall_requested = Signal()  # ↑ in an empty field: edit the last message
    attach_requested = Signal()  # the person wants to choose files
    files_given = Signal(object)  # list[Path]: dropped or pasted
    long_text_pasted = Signal(str)
    attachment_opened = Signal(int)
    attachment_removed = Signal(int)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("composer")
        self._is_running = False
        self._can_send = True
        self._num_queued = 0
        self._sends_with_ctrl = False
        self._count: TokenCountView | None = None
        self.setAcceptDrops(True)
        self.edit = ComposerEdit(self)
        self.edit.setAcceptDrops(False)  # a file dropped anywhere here is attached
        self.edit.long_text_pasted.connect(self.long_text_pasted)
        self.edit.files_given.connect(self.files_given)
        self.chips = AttachmentChips(self, can_remove=True)
        self.chips.opened.connect(self.attachment_opened)
        self.chips.removed.connect(self.attachment_removed)
        self.start_label = label(self, "muted")
        self.start_edit = QLineEdit(self)
        self._start_guard = PreeditGuard(self.start_edit)
        self._start_close = IconButton("x", self)
        self.attach = IconButton("paperclip", self)
        self.attach.clicked.connect(self.attach_requested)
        self.start = IconButton("arrow-elbow-down-right", self)
        self.start.clicked.connect(self._on_start_clicked)
        self._has_attachments = False
        self.edit.setObjectName("composerEdit")
        self.edit.setFrameShape(QFrame.Shape.NoFrame)
        self.edit.setTabChangesFocus(True)
        self.edit.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.edit.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.edit.document().setDocumentMargin(2)
        self._guard = PreeditGuard(self.edit)
        PlaceholderGuard(self.edit)
        self.edit.installEventFilter(self)
        self.edit.textChanged.connect(self._on_text_changed)
        self._hint = ElidedLabel(self)
        self._hint.setProperty("role", "muted")
        self._meter_label = label(self, "muted")
        self._meter = _Meter(self)
        self._meter_text = label(self, "muted")
        self.send = TextButton("primary", self, icon_name="arrow-up", token="on_accent")
        self.stop = TextButton("", self, icon_name="stop-fill", token="ink")
        self._stop_key = label(self, "key")
        self.send.clicked.connect(self._submit)
        self.stop.clicked.connect(self.stop_requested)
        self._build()
        theme().changed.connect(self.fit_height)
        self._retranslate()
        self.fit_height()
        self.set_count(None)
        self._show_state()

    def _build(self) -> None:
        self.start_edit.setObjectName("answerStart")
        self.start_edit.installEventFilter(self)
        KeepsEscape(self.start_edit)
        self._start_close.clicked.connect(self.close_start)
        bar = QHBoxLayout()
        bar.setSpacing(8)
        tools = QHBoxLayout()
        tools.setSpacing(0)
        tools.addWidget(self.attach)
        tools.addWidget(self.start)
        bar.addLayout(tools)
        bar.addWidget(self._hint, 1)
        bar.addWidget(self._meter_label)
        bar.addWidget(self._meter)
        bar.addWidget(self._meter_text)
        bar.addSpacing(2)
        bar.addWidget(self._stop_key, 0, Qt.AlignmentFlag.AlignVCenter)
        bar.addWidget(self.stop)
        bar.addWidget(self.send)
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 10, 10, 10)
        column.setSpacing(6)
        start_row = QHBoxLayout()
        start_row.setSpacing(8)
        start_row.addWidget(self.start_label)
        start_row.addWidget(self.start_edit, 1)
        start_row.addWidget(self._start_close)
        column.addWidget(self.chips)
        column.addWidget(self.edit)
        column.addLayout(start_row)
        column.addLayout(bar)
        self.close_start()

    # --- Data in ----------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        """What is written now, without a preedit."""
        return self.edit.toPlainText()

    def set_text(self, text: str) -> None:
        """Replaces what is written, without `draft_changed`."""
        if text != self.text:
            was_blocked = self.edit.blockSignals(True)
            self.edit.setPlainText(text)
            self.edit.moveCursor(self.edit.textCursor().MoveOperation.End)
            self.edit.blockSignals(was_blocked)
        self.fit_height()
        self._show_state()

    def insert(self, text: str) -> None:
        """Writes at the cursor, as the person would."""
        self.edit.insertPlainText(text)
        self.edit.setFocus()

    def set_attachments(self, attachments: tuple[Attachment, ...]) -> None:
        """Shows what goes with the message."""
        self._has_attachments = bool(attachments)
        self.chips.set_attachments(attachments)
        self._fit_chips()
        self._show_state()

    @property
    def answer_start(self) -> str:
        """The words that the answer is to begin with; "" = the model's own."""
        return "" if self.start_edit.isHidden() else self.start_edit.text()

    def close_start(self) -> None:
        """The answer begins as the model likes."""
        had_focus = self.start_edit.hasFocus()
        self.start_edit.clear()
        for widget in (self.start_label, self.start_edit, self._start_close):
            widget.hide()
        if had_focus:
            self.edit.setFocus()

    def open_start(self) -> None:
        """Offers to write the answer's first words."""
        for widget in (self.start_label, self.start_edit, self._start_close):
            widget.show()
        self.start_edit.setFocus()

    def _on_start_clicked(self) -> None:
        if self.start_edit.isHidden():
            self.open_start()
        else:
            self.close_start()

    def set_running(self, running: bool, num_queued: int = 0) -> None:
        """Whether an answer is being written, and how many messages wait for its end."""
        self._is_running = running
        self._num_queued = num_queued
        self._show_state()

    def set_can_send(self, can_send: bool) -> None:
        """False while nothing could answer and nothing could be queued."""
        self._can_send = can_send
        self._show_state()

    def set_count(self, count: TokenCountView | None) -> None:
        """What sending would use of the context; None = not known."""
        self._count = count
        self._meter.set_count(count)
        known = count is not None and count.context_length > 0
        for widget in (self._meter_label, self._meter, self._meter_text):
            widget.setVisible(known)
        if count is None:
            self._show_state()
            return
        locale = QLocale()
        total, most = locale.toString(count.total), locale.toString(count.context_length)
        self._meter_text.setText(f"{total} / {most}")
        role = "danger" if not count.fits or count.num_dropped else "muted"
        if self._meter_text.property("role") != role:
            self._meter_text.setProperty("role", role)
            self._meter_text.style().polish(self._meter_text)
        self._meter.setAccessibleName(
            self.tr("Context: {0} of {1} tokens").format(total, most)
            if count.fits
            else self.tr("Too long: {0} of {1} tokens").format(total, most)
        )
        self._meter.setToolTip(self._meter.accessibleName())
        self._show_state()

    def set_sends_with_ctrl(self, with_ctrl: bool) -> None:
        """Whether Ctrl+Enter sends, and Enter breaks the line."""
        self._sends_with_ctrl = with_ctrl
        self._retranslate()

    # --- Keys -------------------------------------------------------------------------------------

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QFocusEvent):
            # Not now: the last focus event comes while this widget is being destroyed, and one that
            # is polished then stays in Qt's style sheet cache for ever, to crash at the next sheet.
            QTimer.singleShot(0, self, self._show_focus)
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if watched is self.start_edit:
                return self._take_start_key(event)
            return self._take_key(event)
        return super().eventFilter(watched, event)

    def _show_focus(self) -> None:
        self.setProperty("focused", self.edit.hasFocus() or self.start_edit.hasFocus())
        self.style().polish(self)

    def _take_key(self, event: QKeyEvent) -> bool:
        """Whether a key is ours. While an input method composes, none is."""
        if self._guard.is_composing:
            return False
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            modifiers = event.modifiers()
            if modifiers & Qt.KeyboardModifier.ShiftModifier:
                self.edit.insertPlainText("\n")  # not U+2028, which Qt would insert
                return True
            has_ctrl = bool(modifiers & Qt.KeyboardModifier.ControlModifier)
            if self._sends_with_ctrl and not has_ctrl:
                return False
            self._submit()
            return True
        if keymap().matches(event, "stop") and self._is_running:
            self.stop_requested.emit()
            return True
        is_empty = not self.text and not self._has_attachments
        if is_empty and keymap().matches(event, "recall"):
            self.recall_requested.emit()
            return True
        return False

    def _take_start_key(self, event: QKeyEvent) -> bool:
        if self._start_guard.is_composing:
            return False
        if event.key() == Qt.Key.Key_Escape:
            self.close_start()
            return True
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._submit()
            return True
        return False

    def _submit(self) -> None:
        text = self.text.strip()
        if (text or self._has_attachments) and self._is_sendable():
            self.submitted.emit(text)

    def _is_sendable(self) -> bool:
        return self._can_send and (self._count is None or self._count.fits)

    # --- Showing ----------------------------------------------------------------------------------

    def _on_text_changed(self) -> None:
        self.fit_height()
        self._show_state()
        self.draft_changed.emit(self.text)

    def fit_height(self) -> None:
        """As high as the text, from one line to MAX_LINES, or to what a low window has room for."""
        self.edit.ensurePolished()
        num_lines = 0
        block = self.edit.document().begin()
        # Laid out, a line is higher than the font's own spacing by what is rounded up.
        self.edit.document().documentLayout().blockBoundingRect(block)  # lays it out
        line = block.layout().lineAt(0).height()
        around = self.sizeHint().height() - self.edit.height()  # buttons, attachments
        room = int((self.window().height() - around - OTHERS_HEIGHT) // line)
        most = max(MIN_LINES, min(MAX_LINES, room))
        while block.isValid() and num_lines < most:
            num_lines += max(1, block.layout().lineCount())
            block = block.next()
        num_lines = min(most, max(1, num_lines))
        self.edit.setFixedHeight(math.ceil(num_lines * line) + 6)

    def _show_state(self) -> None:
        has_text = bool(self.text.strip()) or self._has_attachments
        self.stop.setVisible(self._is_running)
        self._stop_key.setVisible(self._is_running and bool(self._stop_key.text()))
        self.send.setVisible(not self._is_running or has_text)
        self.send.setEnabled(has_text and self._is_sendable())
        self.send.set_texts(*self._send_texts())
        self._hint.set_full_text(self._hint_text(has_text))
        dropped = self._count.dropped if self._count is not None else ()
        if dropped:
            self._hint.setToolTip("\n".join(f"· {_first_words(text)}" for text in dropped))

    def _send_texts(self) -> tuple[str, str]:
        """The button's name and description: leaving something out is the person's choice."""
        if self._is_running:
            return self.tr("Queue"), ""
        if self._count is not None and self._count.num_dropped:
            about = self.tr("The model will not see the oldest messages; all stay on show")
            return self.tr("Send without them"), about
        return self.tr("Send"), ""

    def _hint_text(self, has_text: bool) -> str:
        if self._count is not None and not self._count.fits:
            return self.tr("Too long for this model's context")
        if self._count is not None and self._count.num_dropped:
            number = QLocale().toString(self._count.num_dropped)
            if not self._count.dropped:
                return self.tr("Too long: the oldest messages are left out ({0})").format(number)
            first = _first_words(self._count.dropped[0])
            return self.tr("Too long: “{0}” and so on are left out ({1})").format(first, number)
        if self._num_queued:
            return self.tr("Queued: {0}").format(self._num_queued)
        if self._is_running and has_text:
            return self.tr("Sent when this answer ends")
        return ""

    def _fit_chips(self) -> None:
        margins = self.layout().contentsMargins()  # type: ignore[union-attr]
        width = self.width() - margins.left() - margins.right()
        self.chips.setFixedHeight(self.chips.height_for(max(80, width)))

    @override
    def resizeEvent(self, event: QEvent) -> None:  # type: ignore[override]
        super().resizeEvent(event)  # type: ignore[arg-type]
        self.fit_height()
        self._fit_chips()

    @override
    def mousePressEvent(self, event: QMouseEvent) -> None:
        self.edit.setFocus(Qt.FocusReason.MouseFocusReason)  # beside its buttons, too, one writes

    @override
    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if local_files(event.mimeData()):
            event.acceptProposedAction()
            self._show_dropping(True)

    @override
    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self._show_dropping(False)

    @override
    def dropEvent(self, event: QDropEvent) -> None:
        self._show_dropping(False)
        if files := local_files(event.mimeData()):
            event.acceptProposedAction()
            self.files_given.emit(files)

    def _show_dropping(self, is_dropping: bool) -> None:
        self.setProperty("dropping", is_dropping)
        self.style().polish(self)

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
            self._show_state()
            self.set_count(self._count)
        super().changeEvent(event)

    def _retranslate(self) -> None:
        self.edit.setPlaceholderText(
            self.tr("Write a message. Ctrl+Enter sends")
            if self._sends_with_ctrl
            else self.tr("Write a message. Enter sends, Shift+Enter breaks the line")
        )
        self.edit.setAccessibleName(self.tr("Message"))
        self._meter_label.setText(self.tr("Context"))
        self.attach.set_texts("", self.tr("Attach text or code files"))
        self.start.set_texts("", self.tr("Write the answer’s first words"))
        self.start_label.setText(self.tr("Answer begins with"))
        self.start_edit.setAccessibleName(self.tr("Answer begins with"))
        self.start_edit.setPlaceholderText(self.tr("The model goes on from these words"))
        self._start_close.set_texts("", self.tr("Let the model begin the answer"))
        keys = keymap().text("stop")
        self._stop_key.setText(keys)
        about = self.tr("Stop this answer")
        self.stop.set_texts(self.tr("Stop"), f"{about} ({keys})" if keys else about)


def _first_words(text: str) -> str:
    """A message's beginning, to know it by."""
    words = visible(" ".join(text[:200].split()))
    return words if len(words) <= 24 else f"{words[:23]}…"


class _Meter(QWidget):
    """A bar: how much of the context is used. Over the edge it says so with a mark, too."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setFixedSize(METER_SIZE)
        self._share = 0.0
        self._fits = True

    def set_count(self, count: TokenCountView | None) -> None:
        """Shows a count."""
        if count is not None and count.context_length:
            self._share = min(1.0, count.total / count.context_length)
            self._fits = count.fits
        self.update()

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        colors = theme().palette
        painter.setBrush(colors.color("raised"))
        painter.drawRoundedRect(QRectF(self.rect()), 2, 2)
        painter.setBrush(colors.color("accent" if self._fits else "danger"))
        painter.drawRoundedRect(QRectF(0, 0, self._share * self.width(), self.height()), 2, 2)
        painter.end()
