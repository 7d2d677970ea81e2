"""A chat page without widgets: keeps what the signals of the controllers add up to."""

from dataclasses import replace

from bilin_app.controllers.chat import ChatController
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.views import ConversationView, MessageView


class ChatPage:
    def __init__(self, chat: ChatController, engine: EngineController) -> None:
        self.conversation: ConversationView | None = None
        self.messages: list[MessageView] = []
        self.queued: list[MessageView] = []
        self.rows = []
        self.notices: list[str] = []
        self.failures: list[tuple[int, str, str]] = []
        self.finished: list[tuple[int, object]] = []
        self.stopped: list[int] = []
        self.num_appends = 0
        self.num_cleared = 0
        self.drafts: list[str] = []
        self.counts = []
        self.hits: list[tuple[str, list]] = []
        self.deleted = []
        self.engine_views = []
        self.runs: list[int] = []  # what ran, in turn; 0 = nothing
        self.progress: list[tuple[int, object]] = []
        self.deleted_messages = []
        self.attachments = []
        self.presets = []
        chat.running_changed.connect(self.runs.append)
        chat.answer_progressed.connect(lambda *progress: self.progress.append(progress))
        chat.messages_deleted.connect(self.deleted_messages.append)
        chat.attachments_changed.connect(self._on_attachments)
        chat.presets.changed.connect(self._on_presets)
        chat.conversation_opened.connect(self._on_opened)
        chat.message_added.connect(self.messages.append)
        chat.messages_replaced.connect(self._on_replaced)
        chat.message_changed.connect(self._on_changed)
        chat.text_appended.connect(self._on_appended)
        chat.queue_changed.connect(self._on_queue)
        chat.conversations_changed.connect(self._on_rows)
        chat.notice.connect(self.notices.append)
        engine.notice.connect(self.notices.append)
        chat.answer_failed.connect(lambda *failure: self.failures.append(failure))
        chat.answer_finished.connect(lambda *facts: self.finished.append(facts))
        chat.answer_stopped.connect(self.stopped.append)
        chat.draft_cleared.connect(self._on_cleared)
        chat.draft_replaced.connect(self.drafts.append)
        chat.context_counted.connect(self.counts.append)
        chat.search_done.connect(lambda *hits: self.hits.append(hits))
        chat.deleted.connect(self.deleted.append)
        engine.view_changed.connect(self.engine_views.append)

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.messages]

    @property
    def states(self) -> list[str]:
        return [message.state for message in self.messages]

    def _on_opened(self, view: ConversationView) -> None:
        self.conversation = view
        self.messages[:] = view.messages
        self.queued[:] = view.queued

    def _on_replaced(self, index: int, views: list[MessageView]) -> None:
        assert index < len(self.messages)
        self.messages[index:] = views

    def _on_changed(self, view: MessageView) -> None:
        [index] = [i for i, message in enumerate(self.messages) if message.id == view.id]
        self.messages[index] = view

    def _on_appended(self, message_id: int, text: str) -> None:
        self.num_appends += 1
        for index, message in enumerate(self.messages):
            if message.id == message_id:
                self.messages[index] = replace(message, text=message.text + text)

    def _on_queue(self, views: list[MessageView]) -> None:
        self.queued[:] = views

    def _on_attachments(self, attachments) -> None:
        self.attachments[:] = attachments

    def _on_presets(self, presets) -> None:
        self.presets[:] = presets

    def _on_rows(self, rows) -> None:
        self.rows[:] = rows

    def _on_cleared(self) -> None:
        self.num_cleared += 1
