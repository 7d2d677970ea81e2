"""The conversation on show: its branch, what waits below it, and telling the page what changed."""

from collections.abc import Callable
from dataclasses import replace

from PySide6.QtCore import QObject, Signal

from bilin_app.controllers.message_views import ShownConversation
from bilin_app.controllers.views import ConversationView, MessageView
from bilin_app.storage.conversations import ConversationRecord

# Adds to a stored message what the database does not know yet.
Overlay = Callable[[MessageView], MessageView]


class Transcript(QObject):
    """What the page shows. `visit` counts what was put on show: what comes late is dropped.

    shown_visit: the one that is seen, until what is to be shown next was read.

    named(int): the new conversation on show is stored, and has this id.

    system_prompt, sampling and model are those of the conversation, also of one not stored yet.
    """

    opened = Signal()
    named = Signal(int)
    messages_replaced = Signal(int, object)
    queue_changed = Signal(object)
    message_added = Signal(object)
    message_changed = Signal(object)

    def __init__(self, overlay: Overlay) -> None:
        super().__init__()
        self._overlay = overlay
        self.visit = self.shown_visit = 0
        self.record: ConversationRecord | None = None
        self.messages: list[MessageView] = []
        self.queued: list[MessageView] = []
        self.system_prompt = ""
        self.sampling = ""
        self.model = ""

    @property
    def conversation_id(self) -> int:
        """0 = a new one."""
        return self.record.id if self.record else 0

    def visit_of(self, conversation_id: int) -> int:
        """The present visit if it is to this conversation, else one that never is."""
        return self.visit if conversation_id == self.conversation_id else -1

    def view(self, draft: str) -> ConversationView:
        """All of it, with this draft."""
        return ConversationView(
            id=self.conversation_id,
            title=self.record.title if self.record else "",
            messages=tuple(self.messages),
            queued=tuple(self.queued),
            draft=draft,
            system_prompt=self.system_prompt,
            model=self.model,
        )

    def leave(self) -> int:
        """Something else is going to be shown; returns the number of its visit."""
        self.visit += 1
        return self.visit

    def open_new(self) -> None:
        """Shows an empty conversation, drawn as the one before it."""
        self.leave()
        self.shown_visit = self.visit
        self.record, self.messages, self.queued = None, [], []
        self.system_prompt = self.model = ""
        self.opened.emit()

    def open(self, content: ShownConversation | None, visit: int) -> None:
        """Shows a conversation from its start, if `visit` is still the one."""
        if content is not None and visit == self.visit:
            self.shown_visit = visit
            self._take(content)
            self.opened.emit()

    def update(self, content: ShownConversation | None, visit: int) -> None:
        """Tells the page what differs from what it shows, from the first other message on."""
        if content is None or visit != self.visit:
            return
        if self.record is not None and content.record.id != self.record.id:
            return  # the visit is to a conversation that is still being read
        if self.record is None:  # the page learns the id; the messages follow one by one
            self.record = content.record
            self.named.emit(self.record.id)
            self.opened.emit()
        old, old_queued = self.messages, self.queued
        self._take(content)
        new = self.messages
        common = 0
        while common < min(len(old), len(new)) and old[common].id == new[common].id:
            if old[common] != new[common]:
                self.message_changed.emit(new[common])
            common += 1
        if common < len(old):
            self.messages_replaced.emit(common, new[common:])
        else:
            for view in new[common:]:
                self.message_added.emit(view)
        if self.queued != old_queued:
            self.queue_changed.emit(list(self.queued))

    def index(self, message_id: int) -> int | None:
        """Where a message stands in the branch; None if it is not on show."""
        return next((i for i, m in enumerate(self.messages) if m.id == message_id), None)

    def refresh(self, message_id: int) -> None:
        """Asks the overlay about one message again and tells the page."""
        index = self.index(message_id)
        if index is not None:
            is_last = index == len(self.messages) - 1
            self.messages[index] = self._overlaid(self.messages[index], is_last=is_last)
            self.message_changed.emit(self.messages[index])

    def append_text(self, message_id: int, text: str) -> None:
        """Keeps in step with the text that the page is told of elsewhere."""
        if self.messages and self.messages[-1].id == message_id:
            last = self.messages[-1]
            self.messages[-1] = replace(last, text=last.text + text)

    def _take(self, content: ShownConversation) -> None:
        last = len(content.messages) - 1
        self.record = content.record
        self.system_prompt = content.record.system_prompt
        self.sampling = content.record.sampling
        self.model = content.record.model
        self.messages = [
            self._overlaid(view, is_last=i == last) for i, view in enumerate(content.messages)
        ]
        self.queued = list(content.queued)

    def _overlaid(self, view: MessageView, *, is_last: bool) -> MessageView:
        view = self._overlay(view)
        if is_last or not (view.can_continue or view.is_unanswered):
            return view
        return replace(view, can_continue=False, is_unanswered=False)
