"""The chat page's widgets in their places. Knows no controller: data in, signals out.

The first picture is an empty conversation: what else the page has is imported when it is used.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QKeyEvent, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractSlider,
    QDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from bilin_app.pages.chat.column import COLUMN_WIDTH, MARGIN
from bilin_app.pages.chat.composer import Composer
from bilin_app.pages.chat.composer_edit import PAGE_KEYS, local_files
from bilin_app.pages.chat.conversation_list import ConversationList
from bilin_app.pages.chat.empty import EmptyConversation
from bilin_app.pages.chat.header import Header
from bilin_app.pages.controls import TextButton, label
from bilin_app.pages.file_dialogs import ask_open, ask_open_many, ask_save

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bilin_app.controllers.engine_views import ModelView
    from bilin_app.controllers.prompt_inspection import PromptInspection
    from bilin_app.controllers.views import ConversationView, ExampleView, MessageView
    from bilin_app.pages.chat.attachment_dialog import AttachmentDialog
    from bilin_app.pages.chat.find_bar import FindBar
    from bilin_app.pages.chat.link_dialog import LinkDialog
    from bilin_app.pages.chat.prompt_dialog import PromptDialog
    from bilin_app.pages.chat.transcript import Transcript
    from bilin_app.text.attachments import Attachment

SIDEBAR_WIDTH = 252
TRASH_HEIGHT = 36  # of the button below the list
_TOAST_MARGIN, _TOAST_WIDTH = 16, 560
TOAST_MS = 8000


class ChatView(QWidget):
    """Conversations at the left, the one on show at the right."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("page")
        self.setAcceptDrops(True)
        self._conversation_id = -1
        self._messages: list[MessageView] = []
        self._queued: list[MessageView] = []
        self.list = ConversationList(self)
        self.header = Header(self)
        self._found: list[int] = []
        self._found_index = 0
        self.empty = EmptyConversation(self)
        self.composer = Composer(self)
        self._footer = label(self, "muted")
        self.splitter = QSplitter(Qt.Orientation.Horizontal, self)
        self._stack = QStackedWidget(self)
        self.toast = Toast(self, above=TRASH_HEIGHT)
        self._build()
        self._retranslate()

    def _build(self) -> None:
        self._stack.addWidget(self.empty)
        # Messages take no focus from a click: keys and input methods then mean the composer.
        self._stack.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self._stack.setFocusProxy(self.composer.edit)
        self._composer_box = QHBoxLayout()
        self._composer_box.addWidget(self.composer)
        main = QWidget(self)
        self._column = column = QVBoxLayout(main)
        column.setContentsMargins(0, 0, 0, 8)
        column.setSpacing(0)
        column.addWidget(self.header)
        column.addWidget(self._stack, 1)
        column.addSpacing(6)
        column.addLayout(self._composer_box)
        column.addSpacing(6)
        column.addWidget(self._footer, 0, Qt.AlignmentFlag.AlignHCenter)
        self.splitter.addWidget(self.list)
        self.splitter.addWidget(main)
        self.splitter.setHandleWidth(1)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setStretchFactor(1, 1)
        self.splitter.setSizes([SIDEBAR_WIDTH, 900])
        self.splitter.splitterMoved.connect(lambda: self._fit())
        self.list.setMinimumWidth(180)
        main.setMinimumWidth(420)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.splitter)

    @cached_property
    def transcript(self) -> Transcript:
        """The messages."""
        from bilin_app.pages.chat.transcript import Transcript

        transcript = Transcript(self)
        transcript.editing_ended.connect(self.composer.edit.setFocus)
        self.composer.edit.copy_requested.connect(transcript.selection.copy)
        self._stack.addWidget(transcript)
        QWidget.setTabOrder(self.header.sampling, transcript)
        return transcript

    @cached_property
    def find_bar(self) -> FindBar:
        """The field that finds something in the conversation, below the header."""
        from bilin_app.pages.chat.find_bar import FindBar

        bar = FindBar(self)
        bar.query_changed.connect(self._on_find)
        bar.step_requested.connect(self._on_find_step)
        bar.left.connect(self.composer.edit.setFocus)
        self._column.insertWidget(1, bar)
        for before, after in pairwise((self.header.sampling, *bar.controls, self.transcript)):
            QWidget.setTabOrder(before, after)
        return bar

    # --- Data in ----------------------------------------------------------------------------------

    def show_conversation(self, conversation: ConversationView) -> None:
        """Shows a conversation: another one at its end, the same one where it was."""
        is_same = conversation.id == self._conversation_id
        if not is_same:
            self.header.title.give_up()
            if "find_bar" in self.__dict__:
                self.find_bar.close_bar()
        self._conversation_id = conversation.id
        self._messages = list(conversation.messages)
        self._queued = list(conversation.queued)
        self._show_messages(is_same=is_same)
        self.header.show_title(conversation.title, can_rename=conversation.id != 0)
        self.list.set_current(conversation.id)

    def replace_messages(self, index: int, messages: Sequence[MessageView]) -> None:
        """Shows another branch from a message on; index counts the messages above it."""
        self._messages[index:] = messages
        self._show_messages(is_same=True)

    def show_queue(self, queued: Sequence[MessageView]) -> None:
        """Shows the messages that wait for the running answer."""
        self._queued = list(queued)
        self._show_messages(is_same=True)

    def add_message(self, message: MessageView) -> None:
        """Shows a new message, below all others but those that wait."""
        self._messages.append(message)
        self._show_messages(is_same=True)

    def change_message(self, message: MessageView) -> None:
        """Shows another state of a message; one that is not on show is ignored."""
        for index, known in enumerate(self._messages):
            if known.id == message.id:
                self._messages[index] = message
                self.transcript.update_message(message)
                return

    def append_text(self, message_id: int, text: str) -> None:
        """Adds text to an answer that is being written."""
        self.transcript.append_text(message_id, text)

    def _show_messages(self, *, is_same: bool) -> None:
        messages = [*self._messages, *self._queued]
        self.transcript.set_messages(messages, is_same=is_same)
        self._stack.setCurrentWidget(self.transcript if messages else self.empty)

    def show_model(
        self,
        model: ModelView | None,
        models: Sequence[ModelView],
        examples: tuple[ExampleView, ...],
    ) -> None:
        """Shows which model answers, and what it was measured to do."""
        self.header.show_models(model, models)
        self.empty.show_model(model, examples)

    def ask_to_open(self, address: str) -> bool:
        """Asks whether to open a link; the address is shown as it is."""
        return self.make_link_dialog(address).exec() == QDialog.DialogCode.Accepted

    def make_link_dialog(self, address: str) -> LinkDialog:
        """The question before a link is opened."""
        from bilin_app.pages.chat.link_dialog import LinkDialog

        return LinkDialog(address, self)

    def make_attachment_dialog(self, attachment: Attachment, *, is_draft: bool) -> AttachmentDialog:
        """The text of an attachment."""
        from bilin_app.pages.chat.attachment_dialog import AttachmentDialog

        return AttachmentDialog(attachment, self, is_draft=is_draft)

    def show_attachment(self, attachment: Attachment) -> None:
        """Opens the text of an attachment that was sent."""
        dialog = self.make_attachment_dialog(attachment, is_draft=False)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def ask_files(self) -> list[Path]:
        """Files to attach."""
        return ask_open_many(self, self.tr("Attach text or code files"))

    def make_prompt_dialog(self, inspection: PromptInspection) -> PromptDialog:
        """What the model saw before an answer."""
        from bilin_app.pages.chat.prompt_dialog import PromptDialog

        return PromptDialog(inspection, self)

    def show_prompt(self, inspection: PromptInspection) -> None:
        """Opens what the model saw before an answer."""
        dialog = self.make_prompt_dialog(inspection)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def ask_export_path(self, title: str) -> Path | None:
        """Where to write a conversation; None = nowhere."""
        kinds = (self.tr("Markdown (*.md)"), self.tr("JSON, to be imported again (*.json)"))
        return ask_save(self, self.tr("Export the conversation"), title, kinds)

    def ask_import_path(self) -> Path | None:
        """A file with conversations; None = none."""
        kinds = self.tr("Bilin’s JSON or ChatGPT’s export (*.json *.zip)")
        return ask_open(self, self.tr("Import conversations"), kinds)

    # --- Finding ----------------------------------------------------------------------------------

    def open_find(self) -> None:
        """Offers to find something in the conversation on show."""
        if self._stack.currentWidget() is self.transcript:
            self.find_bar.open_bar()

    def _on_find(self, query: str) -> None:
        self._found = self.transcript.look_for(query)
        self._found_index = len(self._found) - 1  # the newest first
        self._show_found()

    def _on_find_step(self, delta: int) -> None:
        if self._found:
            self._found = self.transcript.look_for(self.find_bar.field.text())
            self._found_index = (self._found_index + delta) % max(1, len(self._found))
            self._show_found()

    def _show_found(self) -> None:
        self.find_bar.show_place(self._found_index + 1, len(self._found))
        if self._found:
            self.transcript.scroll_to_message(self._found[self._found_index])

    # --- Events -----------------------------------------------------------------------------------

    def _fit(self) -> None:
        """The composer stands in the messages' column."""
        available = self.header.width()
        width = max(200, min(COLUMN_WIDTH, available - 2 * MARGIN))
        side = (available - width) // 2
        self._composer_box.setContentsMargins(side, 0, available - width - side, 0)
        self.toast.place()

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        """What nothing took: letters go into the composer, page keys to the messages."""
        held = event.modifiers() & ~Qt.KeyboardModifier.ShiftModifier
        is_typed = event.text().isprintable() and bool(event.text().strip())
        if is_typed and not held and self.composer.edit.isEnabled():
            self.composer.insert(event.text())
        elif event.key() in PAGE_KEYS and self._stack.currentWidget() is not self.empty:
            is_up = event.key() == Qt.Key.Key_PageUp
            action = QAbstractSlider.SliderAction
            self.transcript.verticalScrollBar().triggerAction(
                action.SliderPageStepSub if is_up else action.SliderPageStepAdd
            )
        else:
            super().keyPressEvent(event)

    @override
    def focusNextPrevChild(self, next: bool) -> bool:
        """Tab, from every control of the page: Qt asks the parents of the one with the focus."""
        if "transcript" not in self.__dict__:
            return super().focusNextPrevChild(next)
        self.transcript.order_tabs()
        has_moved = super().focusNextPrevChild(next)
        self.transcript.show_focused()
        return has_moved

    @override
    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if local_files(event.mimeData()):
            event.acceptProposedAction()

    @override
    def dropEvent(self, event: QDropEvent) -> None:
        if files := local_files(event.mimeData()):
            event.acceptProposedAction()
            self.composer.files_given.emit(files)

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        QTimer.singleShot(0, self, self._fit)
        self._fit()
        self.composer.fit_height()

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        self._footer.setText(self.tr("Everything stays on this computer"))


class Toast(QFrame):
    """A sentence that stays for some seconds, with one action.

    One without an action waits until the action on show is taken or has lapsed.
    """

    acted = Signal()
    lapsed = Signal()  # what was offered is offered no more

    def __init__(self, parent: QWidget, *, above: int = 0) -> None:
        """above: px at the parent's bottom that stay free, for what people click there."""
        super().__init__(parent)
        self.setObjectName("toast")
        self._above = above
        self._has_offer = False
        self._waiting: list[str] = []
        self._text: QLabel = label(self, wraps=True)
        self._action = TextButton("link", self, icon_name="arrow-u-up-left")
        self._action.clicked.connect(self._on_acted)
        self._action.hide()
        row = QHBoxLayout(self)
        row.setContentsMargins(14, 4, 6, 4)
        row.addWidget(self._text)
        row.addWidget(self._action)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._on_timeout)
        self.hide()

    def show_text(self, text: str, action: str = "") -> None:
        """Shows a sentence; `action` names its button ("" = none)."""
        if self._has_offer and not action:
            if text not in self._waiting:
                self._waiting.append(text)
            return
        self._has_offer = bool(action)
        self._text.setText(text)
        self._action.set_texts(action)
        self._action.setVisible(bool(action))
        self.place()
        self.show()
        self.raise_()
        self._timer.start(TOAST_MS)

    def place(self) -> None:
        """At the bottom left of its parent, a long sentence on several lines."""
        parent = self.parentWidget()
        if parent is None:
            return
        one_line = self._text.fontMetrics().horizontalAdvance(self._text.text()) + 2
        around = self._action.sizeHint().width() + 60 + 2 * _TOAST_MARGIN
        self._text.setFixedWidth(max(40, min(one_line, _TOAST_WIDTH, parent.width() - around)))
        self.adjustSize()
        self.move(_TOAST_MARGIN, parent.height() - self.height() - _TOAST_MARGIN - self._above)

    def _on_acted(self) -> None:
        self._has_offer = False
        self.hide()
        self.acted.emit()  # another offer comes before what waits
        self._show_waiting()

    def _on_timeout(self) -> None:
        self.hide()
        if self._has_offer:
            self._has_offer = False
            self.lapsed.emit()
        self._show_waiting()

    def _show_waiting(self) -> None:
        if self._waiting and self.isHidden():
            self.show_text(self._waiting.pop(0))
