"""What stands below or in place of a message's text: actions, a notice, the field to edit it."""

from PySide6.QtCore import QEvent, QObject, Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPlainTextEdit, QVBoxLayout, QWidget
from typing_extensions import override

from bilin_app.controllers.views import MessageView
from bilin_app.pages.chat.aside import Aside, make_aside
from bilin_app.pages.chat.long_line_edit import LongLineEdit
from bilin_app.pages.chat.preedit import PreeditGuard
from bilin_app.pages.controls import (
    ElidedLabel,
    IconButton,
    IconMark,
    KeepsEscape,
    TextButton,
    label,
)
from bilin_app.pages.keymap import keymap

COPIED_MS = 1500


class ActionRow(QWidget):
    """Copy, edit, again, versions; at the other end what the answer took.

    A person's row shows while the pointer or the focus is on the message.
    """

    def __init__(self, parent: QWidget, *, is_person: bool) -> None:
        super().__init__(parent)
        self._is_person = is_person
        self._is_hovered = False
        self._is_running = False
        self._num_versions = 1
        self._is_unanswered = False
        self.copy = IconButton("copy", self)
        self.edit = IconButton("pencil-simple", self)
        self.again = IconButton("arrow-clockwise", self)
        self.carry_on = IconButton("play", self)
        self.cancel = IconButton("x", self)
        self.more = IconButton("dots-three", self)
        self.previous = IconButton("caret-left", self)
        self.version = label(self, "muted")
        self.following = IconButton("caret-right", self)
        self._facts = ElidedLabel(self)
        self._facts.setProperty("role", "muted")
        self._layout = QHBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(4)
        if is_person:
            self._layout.addStretch()
            self._layout.addWidget(self._facts)
        for widget in self._buttons():
            self._layout.addWidget(widget)
        for widget in (self.previous, self.version, self.following):
            self._layout.addWidget(widget)
        if not is_person:
            self._layout.addStretch()
            self._layout.addWidget(self._facts)
        self._copied_timer = QTimer(self)
        self._copied_timer.setSingleShot(True)
        self._copied_timer.timeout.connect(self._end_copied)
        if is_person:
            for button in self._buttons():
                button.installEventFilter(self)
        self._retranslate()

    def _buttons(self) -> tuple[IconButton, ...]:
        return (self.copy, self.edit, self.again, self.carry_on, self.cancel, self.more)

    def show_view(self, view: MessageView, facts: str, about_facts: str) -> None:
        """Shows what can be done with a message in its state. about_facts: their tool tip."""
        self._is_running = view.state in ("waiting", "running")
        self._num_versions = view.num_versions
        self._is_unanswered = view.is_unanswered
        is_queued = view.state == "queued"
        is_done = not self._is_running and not is_queued
        self.copy.setVisible(is_done and bool(view.text))
        self.edit.setVisible(is_done)
        is_answer = not self._is_person and not view.is_opening
        self.again.setVisible(is_done and (is_answer or view.is_unanswered))
        self.carry_on.setVisible(is_done and view.can_continue)
        self.cancel.setVisible(is_queued)
        self.more.setVisible(is_done)
        has_versions = view.num_versions > 1 and not is_queued
        for widget in (self.previous, self.version, self.following):
            widget.setVisible(has_versions)
        self.version.setText(f"{view.version}/{view.num_versions}")
        self.previous.setEnabled(view.version > 1)
        self.following.setEnabled(view.version < view.num_versions)
        self._facts.set_full_text(facts)
        self._facts.setToolTip("\n".join(text for text in (facts, about_facts) if text))
        self._show_or_hide()

    def show_facts(self, facts: str) -> None:
        """Shows how far an answer is, while it is being written."""
        self._facts.set_full_text(facts)

    def set_hovered(self, hovered: bool) -> None:
        """Whether the pointer or the focus is on the message."""
        self._is_hovered = hovered
        self._show_or_hide()

    def _show_or_hide(self) -> None:
        if not self._is_person:
            return
        stays = self._num_versions > 1 or self.cancel.isVisibleTo(self) or self._is_unanswered
        focus = any(button.hasFocus() for button in self._buttons())
        shown = self._is_hovered or stays or focus
        for button in (self.copy, self.edit, self.more):
            # Kept in the layout and in the focus order: nothing jumps, the keyboard reaches it.
            button.set_faint(not shown)

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.FocusIn, QEvent.Type.FocusOut):
            QTimer.singleShot(0, self, self._show_or_hide)
        return super().eventFilter(watched, event)

    def show_copied(self) -> None:
        """Says for a moment that the text is in the clipboard."""
        self.copy.set_icon("check")
        self.copy.setText(self.tr("Copied"))
        self._copied_timer.start(COPIED_MS)

    def _end_copied(self) -> None:
        self.copy.set_icon("copy")
        self._retranslate()

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        bare = self._is_person
        self.copy.set_texts("" if bare else self.tr("Copy"), self.tr("Copy this message"))
        self.edit.set_texts("" if bare else self.tr("Edit"), self.tr("Edit this message"))
        if self._is_person:
            self.again.set_texts(self.tr("Answer"), self.tr("Answer this message"))
        else:
            self.again.set_texts(self.tr("Again"), self.tr("Answer again, as another version"))
        self.carry_on.set_texts(self.tr("Continue"), self.tr("Continue this answer"))
        self.cancel.set_texts(self.tr("Do not send"), self.tr("Take this message out of the queue"))
        self.more.set_texts("", self.tr("More"))
        self.previous.set_texts("", self.tr("Previous version"))
        self.following.set_texts("", self.tr("Next version"))


class Notice(QFrame):
    """A sentence that says what went wrong, with the details behind a button."""

    details_toggled = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("notice")
        self._icon = IconMark("warning-circle", "danger", self)
        self._sentence = label(self, wraps=True)
        make_aside(self._sentence)
        self._details = TextButton("link", self)
        self._details.clicked.connect(self._on_details_clicked)
        self._detail = QPlainTextEdit(self)
        self._detail.setObjectName("detail")
        self._detail.setReadOnly(True)
        make_aside(self._detail, Qt.FocusPolicy.TabFocus)  # keys scroll in it
        self._detail.hide()
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self._icon)
        row.addWidget(self._sentence, 1)
        row.addWidget(self._details)
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 4, 6, 4)
        column.addLayout(row)
        column.addWidget(self._detail)
        self._retranslate()

    @property
    def asides(self) -> tuple[Aside, ...]:
        """What can be selected."""
        return (self._sentence, self._detail)

    def set_texts(self, sentence: str, detail: str) -> None:
        """The sentence for everyone and the detail for a report ("" for none)."""
        self._sentence.setText(sentence)
        self._detail.setPlainText(detail)
        self._details.setVisible(bool(detail))
        if not detail:
            self._detail.hide()

    def height_for(self, width: int) -> int:
        """The height at a width, px."""
        taken = 2 * 10 + self._icon.width() + 8
        if self._details.isVisibleTo(self):
            taken += self._details.sizeHint().width() + 4
        text = self._sentence.heightForWidth(max(80, width - taken))
        height = max(text, 30) + 12
        return height + (150 if self._detail.isVisibleTo(self) else 0)

    def _on_details_clicked(self) -> None:
        self._detail.setVisible(not self._detail.isVisibleTo(self))
        self._retranslate()
        self.details_toggled.emit()

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        is_open = self._detail.isVisibleTo(self)
        self._details.set_texts(self.tr("Hide details") if is_open else self.tr("Details"))
        self._icon.setAccessibleName(self.tr("Warning"))
        self._detail.setAccessibleName(self.tr("Details"))


class SeamNote(QWidget):
    """Why an answer was broken off and where it was taken up again: a line below it."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("seam")
        self._mark = IconMark("link-break", "muted", self)
        self._mark.setFixedSize(14, 14)
        self._text = label(self, wraps=True)
        make_aside(self._text)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        row.addWidget(self._mark, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self._text, 1)

    @property
    def asides(self) -> tuple[Aside, ...]:
        """What can be selected."""
        return (self._text,)

    def set_text(self, text: str) -> None:
        """A sentence a line."""
        self._text.setText(text)
        self._text.setAccessibleName(text)
        self.setAccessibleName(text)

    def height_for(self, width: int) -> int:
        """The height at a width, px."""
        self._text.ensurePolished()
        return max(self._mark.height(), self._text.heightForWidth(max(80, width - 20)))


class InlineEditor(QFrame):
    """A field in place of a message. Enter submits as in the composer; Esc gives up.

    Of an answer, `submitted` keeps it as it is now; `go_on_requested`: the model adds the rest.
    """

    submitted = Signal(str)
    go_on_requested = Signal(str)
    cancelled = Signal()

    def __init__(self, text: str, parent: QWidget, *, is_person: bool) -> None:
        super().__init__(parent)
        self.setObjectName("card")
        self._is_person = is_person
        self.edit = LongLineEdit(self)
        self.edit.setObjectName("composerEdit")
        self.edit.setPlainText(text)
        self.edit.moveCursor(self.edit.textCursor().MoveOperation.End)
        self.edit.installEventFilter(self)
        KeepsEscape(self.edit)
        self._guard = PreeditGuard(self.edit)
        self._hint = label(self, "muted")
        self._cancel = TextButton("", self)
        self._submit = TextButton("primary", self)
        self._cancel.clicked.connect(self.cancelled)
        self._submit.clicked.connect(self._on_submit)
        self.go_on = TextButton("", self, icon_name="play", token="ink")
        self.go_on.setVisible(not is_person)
        self.go_on.clicked.connect(self._on_go_on)
        row = QHBoxLayout()
        row.addWidget(self._hint)
        row.addStretch()
        row.addWidget(self._cancel)
        row.addWidget(self.go_on)
        row.addWidget(self._submit)
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 10, 10, 10)
        column.addWidget(self.edit)
        column.addLayout(row)
        self._retranslate()

    @override
    def eventFilter(self, watched: QWidget, event: QEvent) -> bool:  # type: ignore[override]
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if self._guard.is_composing:
                return False
            if event.key() == Qt.Key.Key_Escape:
                self.cancelled.emit()
                return True
            is_enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
            # An answer has paragraphs: there Enter breaks the line, and Ctrl+Enter keeps it.
            with_ctrl = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
            with_shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            needs_ctrl = not self._is_person or keymap().sends_with_ctrl
            if is_enter and not with_shift and (with_ctrl or not needs_ctrl):
                self._on_submit()
                return True
        return super().eventFilter(watched, event)

    def _on_submit(self) -> None:
        text = self.edit.toPlainText().strip()
        if text:
            self.submitted.emit(text)

    def _on_go_on(self) -> None:
        text = self.edit.toPlainText().strip()
        if text:
            self.go_on_requested.emit(text)

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        self.edit.setAccessibleName(self.tr("The message's text"))
        self._hint.setText(self.tr("The version before is kept"))
        self._cancel.set_texts(self.tr("Cancel"))
        self._submit.set_texts(self.tr("Send") if self._is_person else self.tr("Save"))
        self.go_on.set_texts(
            self.tr("Go on from here"), self.tr("The model goes on from the end of this text")
        )
