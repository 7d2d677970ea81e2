"""Conversations for the chat page: sending, the answer under way, the queue, versions.

The one place that knows both the database and the engine. QtCore only; all on the GUI thread, all
storage beside it. What the person sent is shown once it is stored ("acknowledged").
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from PySide6.QtCore import QObject, Signal

from bilin_app.controllers import sentences
from bilin_app.controllers.answer_run import AnswerOutcome
from bilin_app.controllers.answer_speeds import AnswerSpeeds
from bilin_app.controllers.attachments import Attachments
from bilin_app.controllers.context_meter import ContextMeter
from bilin_app.controllers.conversation_list import ConversationList
from bilin_app.controllers.drafts import Drafts
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.exchange import Exchange
from bilin_app.controllers.list_views import DeletedItem
from bilin_app.controllers.mailbox import Mailbox
from bilin_app.controllers.message_views import ShownConversation, encode, load_shown
from bilin_app.controllers.outbox import Outbox
from bilin_app.controllers.presets import Presets
from bilin_app.controllers.prompt import decode_sampling, prompt_messages
from bilin_app.controllers.prompt_inspection import PromptInspector
from bilin_app.controllers.running_answer import RunningAnswer
from bilin_app.controllers.transcript import Transcript
from bilin_app.controllers.versions import Versions
from bilin_app.controllers.views import DeletedMessages, Preset
from bilin_app.storage import conversations as stored
from bilin_app.storage.conversations import NewMessage
from bilin_app.storage.database import OpenReport
from bilin_app.storage.deletion import delete_message, restore_message
from bilin_app.storage.errors import StorageError
from bilin_app.storage.model_notes import ModelNotes
from bilin_app.storage.store import Store
from bilin_app.text.attachments import (
    Attachment,
    decode_attachments,
    with_attachments,
)
from bilin_engine.protocol import Message, Sampling

T = TypeVar("T")


class ChatController(QObject):
    """See controllers/__init__.py for the signals and slots in one table."""

    conversations_changed = Signal(object)
    conversation_opened = Signal(object)
    messages_replaced = Signal(int, object)
    queue_changed = Signal(object)
    message_added = Signal(object)
    message_changed = Signal(object)
    text_appended = Signal(int, str)
    answer_finished = Signal(int, object)
    answer_stopped = Signal(int)
    answer_failed = Signal(int, str, str)
    answer_ended = Signal(int, str)
    running_changed = Signal(int)
    draft_cleared = Signal()
    draft_replaced = Signal(str)
    notice = Signal(str)
    context_counted = Signal(object)
    search_done = Signal(str, object)
    deleted = Signal(object)
    prompt_inspected = Signal(object)
    answer_progressed = Signal(int, object)
    messages_deleted = Signal(object)
    attachments_changed = Signal(object)
    folder_given = Signal(str)
    model_changed = Signal(str)

    def __init__(
        self,
        store: Store,
        engine: EngineController,
        parent: QObject | None = None,
        notes: ModelNotes | None = None,
    ) -> None:
        """notes: where the speed of models on this machine is kept; None = in memory."""
        super().__init__(parent)
        self._store = store
        self._engine = engine
        self._mailbox = Mailbox(self)
        self._told_problem = ""
        self._answered_id = 0  # the conversation of the answer begun last
        speeds = AnswerSpeeds(notes or ModelNotes())
        self._running = RunningAnswer(store, engine, speeds, lambda i: self._transcript.visit_of(i))
        self._transcript = Transcript(self._running.overlay)
        self._versions = Versions(store, self._running, self._transcript)
        self._drafts = Drafts(store)
        self._attachments = Attachments(store, engine)
        self._outbox = Outbox(
            store, self._running, self._transcript, self._drafts, self._attachments
        )
        self._meter = ContextMeter(
            engine, self._counting_model, self._counted_messages, lambda: self.sampling.thinks
        )
        self._inspector = PromptInspector(store, engine)
        self._exchange = Exchange(store, self._running.overlay)
        self._list = ConversationList(store, lambda: self._running.conversation_id)
        self.presets = Presets(store)
        self._connect()

    def _connect(self) -> None:
        transcript = self._transcript
        transcript.opened.connect(self._on_opened)
        transcript.messages_replaced.connect(self.messages_replaced)
        transcript.queue_changed.connect(self.queue_changed)
        transcript.message_added.connect(self.message_added)
        transcript.message_changed.connect(self.message_changed)
        running = self._running
        running.begun.connect(self._on_begun)
        running.started.connect(transcript.refresh)
        running.text_appended.connect(self._on_text_appended)
        running.progressed.connect(self.answer_progressed)
        running.ended.connect(self._on_ended)
        running.model_gone.connect(lambda m: self.notice.emit(sentences.conversation_model_gone(m)))
        running.refused.connect(self._tell)
        running.journal_refused.connect(self._tell_once)
        running.ends.refused.connect(self._tell_once)
        running.ends.saved.connect(lambda _id: self._list.refresh())
        outbox = self._outbox
        outbox.acknowledged.connect(self._on_acknowledged)
        outbox.queue_changed.connect(self._reload)
        outbox.draft_cleared.connect(self.draft_cleared)
        outbox.draft_replaced.connect(self.draft_replaced)
        outbox.told.connect(self.notice)
        outbox.refused.connect(self._tell)
        self._versions.written.connect(self._on_version_written)
        self._versions.refused.connect(self._on_version_refused)
        self._drafts.refused.connect(self._tell_once)
        self._attachments.changed.connect(self._on_attachments_changed)
        self._attachments.refused.connect(self.notice)
        self._attachments.folder_given.connect(self.folder_given)
        self._attachments.store_refused.connect(self._tell_once)
        self.presets.refused.connect(self._tell)
        self._meter.counted.connect(self.context_counted)
        self._inspector.inspected.connect(self.prompt_inspected)
        self._inspector.failed.connect(self.notice)
        self._exchange.told.connect(self.notice)
        self._exchange.imported.connect(self._on_imported)
        self._list.changed.connect(self.conversations_changed)
        self._list.search_done.connect(self.search_done)
        self._list.refused.connect(self._tell)
        self._list.deleted.connect(self._on_deleted)
        self._list.restored.connect(self._on_restored)
        self._engine.ready.connect(lambda _model: self._meter.count_soon())

    # --- Start and end ----------------------------------------------------------------------------

    def start(self) -> None:
        """Opens the database; conversations_changed and conversation_opened (a new one) follow."""
        self._mailbox.when(self._store.open(), self._on_store_open)
        # Where it is written: before a first message, sent at once, clears it.
        self._ask(self._store.write_soon(stored.new_draft), self._on_new_draft)
        self._list.refresh()
        self.presets.load()

    def close(self) -> None:
        """Keeps the running answer and the draft, then closes the database. Blocks shortly."""
        self._meter.stop()
        self._running.close(sentences.app_was_closed())
        self._drafts.close()
        self._store.close()

    def _on_store_open(self, report: OpenReport) -> None:
        sentence = sentences.opened(report)
        if sentence:
            self.notice.emit(sentence)

    def _on_new_draft(self, draft: NewMessage) -> None:
        self._attachments.show_new(decode_attachments(draft.attachments))
        self._drafts.show_new(draft.text)
        if self._transcript.record is None and not self._transcript.messages:
            self._transcript.opened.emit()

    # --- What is on show --------------------------------------------------------------------------

    @property
    def conversation_id(self) -> int:
        """The one on show; 0 = a new one."""
        return self._transcript.conversation_id

    @property
    def running_id(self) -> int:
        """The message being written, 0 = none."""
        return self._running.message_id

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """What is attached to the message being written."""
        return self._attachments.of(self.conversation_id)

    @property
    def model(self) -> str:
        """The model chosen for the conversation on show; "" = whichever is loaded."""
        return self._transcript.model

    @property
    def sampling(self) -> Sampling:
        """How answers in the conversation on show are drawn."""
        return decode_sampling(self._transcript.sampling, self._engine.recommended_sampling)

    def new_conversation(self) -> None:
        """Shows an empty conversation; it is stored with its first message."""
        self._drafts.save()
        self._transcript.open_new()
        self._meter.count_anew()

    def open_conversation(self, conversation_id: int) -> None:
        """Shows a conversation; conversation_opened follows."""
        self._open(conversation_id, lambda: None)

    def _open(self, conversation_id: int, then: Callable[[], None]) -> None:
        self._drafts.save()
        visit = self._transcript.leave()

        def show(content: ShownConversation | None) -> None:
            self._transcript.open(content, visit)
            self._meter.count_anew()
            then()

        self._ask(self._store.read_latest(load_shown, conversation_id), show)

    def open_message(self, message_id: int) -> None:
        """Shows the conversation and branch that hold a message."""

        def show(conversation_id: int) -> None:
            if conversation_id:
                self.open_conversation(conversation_id)

        self._ask(self._store.write_soon(stored.reveal_message, message_id), show)

    def show_version(self, message_id: int, delta: int) -> None:
        """Shows the version before (-1) or after (+1) this one, with the branch below it."""
        future = self._store.write_soon(stored.show_version, message_id, delta)
        self._ask(future, lambda _id: self._reload(self.conversation_id))

    def _on_opened(self) -> None:
        record = self._transcript.record
        if record is not None:
            self._drafts.show_stored(record.id, record.draft)
            attached = decode_attachments(record.draft_attachments)
            self._attachments.show_stored(record.id, attached)
        self.conversation_opened.emit(self._transcript.view(self._drafts.get(self.conversation_id)))
        self._meter.count_soon()

    def _reload(self, conversation_id: int) -> None:
        """Reads the conversation on show again and tells what changed."""
        visit = self._transcript.visit
        future = self._store.read_latest(load_shown, conversation_id)
        self._ask(future, lambda content: self._update(content, visit))

    def _update(self, content: ShownConversation | None, visit: int) -> None:
        self._transcript.update(content, visit)
        self._meter.count_soon()

    # --- Sending ----------------------------------------------------------------------------------

    def send(self, text: str, answer_start: str = "") -> None:
        """Stores a message with what is attached and has it answered: now, or in its turn.

        answer_start: words that the answer is to begin with; not for a message that has to wait.
        """
        self._outbox.send(text, answer_start)

    def _on_acknowledged(self) -> None:
        self._told_problem = ""
        self._list.refresh()

    def withdraw_queued(self, message_id: int) -> None:
        """Takes a queued message back; its text returns to the input box (draft_replaced)."""
        self._outbox.withdraw(message_id)

    # --- Versions and going on --------------------------------------------------------------------

    def edit_message(self, message_id: int, text: str) -> None:
        """Sends another version of a person's message, with a branch of its own."""
        self._versions.edit_message(message_id, text)

    def regenerate(self, message_id: int) -> None:
        """Writes another version of an answer (or, for a person's message, an answer to it)."""
        self._versions.regenerate(message_id)

    def write_answer(self, message_id: int, text: str, *, goes_on: bool) -> None:
        """Another version of an answer, in the person's words; goes_on: the model adds the rest."""
        self._versions.write_answer(message_id, text, goes_on=goes_on)

    def _on_version_written(self, conversation_id: int) -> None:
        if conversation_id == self.conversation_id:
            self._reload(conversation_id)
        self._outbox.pump()

    def _on_version_refused(self, conversation_id: int, text: str, error: StorageError) -> None:
        if text:
            self._outbox.put_back(conversation_id, text)
        self._tell(error)

    def continue_answer(self, message_id: int) -> None:
        """Goes on with an answer that ended early, from the text it has."""
        index = self._transcript.index(message_id)
        if index is None or not self._transcript.messages[index].can_continue:
            return
        if self._running.is_running or self._running.is_beginning:
            self.notice.emit(sentences.not_while_running())
            return
        self._running.resume(message_id)

    def delete_message(self, message_id: int) -> None:
        """Takes a message off with all below it; `messages_deleted` follows, for the undo."""
        if self._transcript.index(message_id) is None:
            return

        def delete() -> None:
            self._ask(self._store.write(delete_message, message_id, time.time()), done)

        def done(count: int) -> None:
            if count:
                self._reload(self.conversation_id)
                self.messages_deleted.emit(DeletedMessages(message_id, count))

        if self._running.conversation_id == self.conversation_id:
            self._running.when_stopped(delete)
        else:
            delete()

    def restore_messages(self, message_id: int) -> None:
        """Brings back what `delete_message` took, and shows it."""

        def done(conversation_id: int) -> None:
            if conversation_id == self.conversation_id:
                self._reload(conversation_id)
            elif conversation_id:
                self.open_conversation(conversation_id)

        self._ask(self._store.write(restore_message, message_id), done)

    def inspect_prompt(self, message_id: int) -> None:
        """Asks for what the model saw before this answer; prompt_inspected follows."""
        self._inspector.inspect(message_id, self._tell)

    # --- The running answer -----------------------------------------------------------------------

    def stop(self) -> None:
        """Ends the running answer; what it has stays."""
        self._running.stop()

    def _on_begun(self, answer_id: int, content: ShownConversation | None, visit: int) -> None:
        self._update(content, visit)
        self._answered_id = self._running.conversation_id
        self.running_changed.emit(answer_id)
        self._list.tell_changed()

    def _on_text_appended(self, message_id: int, text: str) -> None:
        self._transcript.append_text(message_id, text)
        self.text_appended.emit(message_id, text)

    def _on_ended(self, message_id: int, outcome: AnswerOutcome) -> None:
        self.running_changed.emit(0)
        self._transcript.refresh(message_id)
        if outcome.state == "done":
            self.answer_finished.emit(message_id, outcome.facts)
        elif outcome.state == "stopped":
            self.answer_stopped.emit(message_id)
        else:
            self.answer_failed.emit(message_id, outcome.failure, outcome.detail)
        self.answer_ended.emit(self._answered_id, outcome.state)
        self._list.tell_changed()
        self._meter.count_soon()

    def _counted_messages(self) -> tuple[Message, ...]:
        messages = prompt_messages(self._transcript.system_prompt, self._transcript.messages)
        draft = with_attachments(
            self._drafts.get(self.conversation_id), self._attachments.of(self.conversation_id)
        )
        if not draft.strip() and messages and messages[-1].role == "user":
            return messages
        return (*messages, Message("user", draft))  # an engine counts what ends in a question

    def _counting_model(self) -> str:
        """Whose tokenizer counts: the conversation's model, if it has one that can be loaded."""
        if self._transcript.model and self._engine.can_load(self._transcript.model):
            return self._transcript.model
        return self._engine.model.id if self._engine.model else ""

    # --- How a conversation is written ------------------------------------------------------------

    def set_draft(self, text: str) -> None:
        """Keeps what is being typed; call it with every change."""
        self._drafts.set(self.conversation_id, text)
        self._meter.count_soon()

    def set_system_prompt(self, text: str) -> None:
        """What the model is told before everything else in this conversation."""
        self._transcript.system_prompt = text
        self._meter.count_soon()
        if self.conversation_id:
            future = self._store.write(stored.set_system_prompt, self.conversation_id, text)
            self._mailbox.when(future, None, self._tell)

    def set_sampling(self, sampling: Sampling | None) -> None:
        """How answers in this conversation, and in new ones after it, are drawn.

        None: as the model recommends.
        """
        self._transcript.sampling = encode(sampling)
        if self.conversation_id:
            future = self._store.write(
                stored.set_sampling, self.conversation_id, self._transcript.sampling
            )
            self._mailbox.when(future, None, self._tell)
        self._meter.count_soon()

    def set_model(self, model_id: str) -> None:
        """Chooses and loads the model that answers in this conversation; "" = whichever is loaded.

        It is loaded again when a message is sent here.
        """
        self._transcript.model = model_id
        self.model_changed.emit(model_id)
        self._running.choose_model(self.conversation_id, model_id)
        if self.conversation_id:
            future = self._store.write(stored.set_model, self.conversation_id, model_id)
            self._mailbox.when(future, None, self._tell)
        shown = self._engine.view.model
        if self._engine.can_load(model_id) and (shown is None or shown.id != model_id):
            self._engine.load(model_id)
        self._meter.count_soon()

    def use_preset(self, preset: Preset) -> None:
        """Writes this conversation as a preset says."""
        self.set_system_prompt(preset.system_prompt)
        self.set_sampling(preset.sampling)

    # --- Attachments ------------------------------------------------------------------------------

    def attach_files(self, paths: list[Path]) -> None:
        """Attaches text files to the message being written; a notice says which it could not.

        A folder is handed back by `folder_given`: whether a path is one, its disk has to say.
        """
        self._attachments.add_files(self.conversation_id, paths)

    def attach_text(self, text: str) -> None:
        """Attaches a long text that was pasted."""
        self._attachments.add_text(self.conversation_id, text)

    def detach(self, index: int) -> Attachment | None:
        """Takes an attachment away and returns it."""
        gone = self._attachments.remove(self.conversation_id, index)
        if gone is not None:
            self._meter.count_anew()  # what was too long may not be any more
        return gone

    def _on_attachments_changed(self, conversation_id: int) -> None:
        if conversation_id == self.conversation_id:
            self.attachments_changed.emit(self.attachments)
            self._meter.count_soon()

    # --- The list ---------------------------------------------------------------------------------

    def search(self, text: str) -> None:
        """search_done follows, unless another search is asked."""
        self._list.search(text)

    def export_conversation(self, conversation_id: int, path: Path) -> None:
        """Writes a conversation to a file: JSON for `.json`, else Markdown; a notice follows."""
        self._exchange.export(conversation_id, path)

    def import_file(self, path: Path) -> None:
        """Takes the conversations of a file and shows the first; a notice follows."""
        self._exchange.import_file(path)

    def _on_imported(self, conversation_id: int) -> None:
        self._list.refresh()
        self.open_conversation(conversation_id)

    def rename(self, conversation_id: int, title: str) -> None:
        """Gives a conversation a title of the person's own."""
        self._list.rename(conversation_id, title)

    def set_pinned(self, conversation_id: int, is_pinned: bool) -> None:
        """Pins or unpins a conversation."""
        self._list.set_pinned(conversation_id, is_pinned)

    def delete_conversation(self, conversation_id: int) -> None:
        """Puts a conversation into the trash; `deleted` follows, for the offer to undo."""
        self._list.delete(conversation_id)

    def undo_delete(self, conversation_id: int) -> None:
        """Brings back a conversation that was deleted, and shows it."""
        self._list.undo_delete(conversation_id)

    @property
    def conversations(self) -> ConversationList:
        """The list itself, for its trash."""
        return self._list

    def _on_deleted(self, gone: DeletedItem) -> None:
        if gone.id == self._running.conversation_id:
            self.stop()  # only now: what is queued there finds it in the trash
        if gone.id == self.conversation_id:
            self.new_conversation()
        self.deleted.emit(gone)

    def _on_restored(self, conversation_id: int) -> None:
        self._outbox.take_up()
        self._open(conversation_id, self._outbox.pump)

    # --- Storage that refuses ---------------------------------------------------------------------

    def _ask(self, future: Future[T], done: Callable[[T], None]) -> None:
        self._mailbox.when(future, done, self._tell)

    def _tell(self, error: StorageError) -> None:
        self._told_problem = error.problem
        self.notice.emit(sentences.storage_refused(error.problem, self._store.path))

    def _tell_once(self, error: StorageError) -> None:
        """For what is tried again by itself: one sentence per trouble, not one per try."""
        if error.problem != self._told_problem:
            self._tell(error)
