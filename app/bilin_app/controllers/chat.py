"""Conversations for the chat page: sending, the answer under way, the queue, versions.

The one place that knows both the database and the engine. QtCore only; all on the GUI thread, all
storage beside it. What the person sent is shown once it is stored ("acknowledged").
"""

import sqlite3
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from PySide6.QtCore import QObject, Signal

from bilin_app.controllers import sentences
from bilin_app.controllers.answer_ends import AnswerEnds
from bilin_app.controllers.answer_run import AnswerOutcome, AnswerRun
from bilin_app.controllers.context_meter import ContextMeter
from bilin_app.controllers.conversation_list import ConversationList
from bilin_app.controllers.drafts import Drafts
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.exchange import Exchange
from bilin_app.controllers.mailbox import Mailbox
from bilin_app.controllers.message_views import encode, message_view
from bilin_app.controllers.prompt import answer_job, decode_sampling, prompt_messages
from bilin_app.controllers.prompt_inspection import PromptInspector
from bilin_app.controllers.transcript import Transcript
from bilin_app.controllers.views import DeletedItem, EngineView, MessageView, Seam
from bilin_app.storage import conversations as stored
from bilin_app.storage.conversations import (
    AnswerContext,
    ConversationContent,
    NewConversation,
    NewExchange,
)
from bilin_app.storage.database import OpenReport
from bilin_app.storage.errors import StorageError
from bilin_app.storage.store import Store
from bilin_app.text.titles import title_from
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
    running_changed = Signal(int)
    draft_cleared = Signal()
    draft_replaced = Signal(str)
    notice = Signal(str)
    context_counted = Signal(object)
    search_done = Signal(str, object)
    deleted = Signal(object)
    prompt_inspected = Signal(object)

    def __init__(
        self, store: Store, engine: EngineController, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._store = store
        self._engine = engine
        self._mailbox = Mailbox(self)
        self._run: AnswerRun | None = None
        self._is_beginning = False  # an exchange is on its way to or from the database
        self._sending = ""  # its text
        self._outbox: deque[str] = deque()
        self._queue: deque[int] = deque()  # ids of queued messages, in the order they were sent
        self._then: Callable[[], None] | None = None  # when the run has ended, before the queue
        self._resume_id = 0  # the answer that mending the engine goes on with
        self._told_problem = ""
        self._transcript = Transcript(self._overlay)
        self._ends = AnswerEnds(store)
        self._drafts = Drafts(store)
        self._meter = ContextMeter(engine, self._counted_messages)
        self._inspector = PromptInspector(store, engine)
        self._exchange = Exchange(store)
        self._list = ConversationList(store, self._running_conversation)
        self._connect()

    def _connect(self) -> None:
        transcript = self._transcript
        transcript.opened.connect(self._on_opened)
        transcript.messages_replaced.connect(self.messages_replaced)
        transcript.queue_changed.connect(self.queue_changed)
        transcript.message_added.connect(self.message_added)
        transcript.message_changed.connect(self.message_changed)
        self._ends.refused.connect(self._tell_once)
        self._ends.saved.connect(lambda _id: self._list.refresh())
        self._drafts.refused.connect(self._tell_once)
        self._meter.counted.connect(self.context_counted)
        self._inspector.inspected.connect(self.prompt_inspected)
        self._inspector.failed.connect(self.notice)
        self._exchange.told.connect(self.notice)
        self._exchange.imported.connect(self._on_imported)
        self._list.changed.connect(self.conversations_changed)
        self._list.search_done.connect(self.search_done)
        self._list.refused.connect(self._tell)
        self._list.deleted.connect(self._on_deleted)
        self._list.restored.connect(self.open_conversation)
        self._engine.ready.connect(self._on_engine_ready)
        self._engine.mended.connect(self._on_engine_mended)
        self._engine.view_changed.connect(self._on_engine_view)

    # --- Start and end ----------------------------------------------------------------------------

    def start(self) -> None:
        """Opens the database; conversations_changed and conversation_opened (a new one) follow."""
        self._mailbox.when(self._store.open(), self._on_store_open)
        self._ask(self._store.read(stored.new_draft), self._on_new_draft)
        self._list.refresh()

    def close(self) -> None:
        """Keeps the running answer and the draft, then closes the database. Blocks shortly."""
        self._meter.stop()
        if self._run is not None:
            outcome = self._run.close(sentences.app_was_closed())
            if outcome is not None:
                self._ends.keep(self._run.job, outcome)
            self._run = None
        self._drafts.save()
        self._ends.save()
        self._store.close()

    def _on_store_open(self, report: OpenReport) -> None:
        sentence = sentences.opened(report)
        if sentence:
            self.notice.emit(sentence)

    def _on_new_draft(self, draft: str) -> None:
        if self._transcript.record is None and not self._transcript.messages:
            self._drafts.set(0, self._drafts.get(0) or draft)
            self._transcript.opened.emit()

    # --- What is on show --------------------------------------------------------------------------

    @property
    def conversation_id(self) -> int:
        """The one on show; 0 = a new one."""
        return self._transcript.conversation_id

    @property
    def running_id(self) -> int:
        """The message being written, 0 = none."""
        return self._run.job.message_id if self._run else 0

    @property
    def sampling(self) -> Sampling:
        """How answers in the conversation on show are drawn."""
        return decode_sampling(self._transcript.sampling, self._engine.recommended_sampling)

    def new_conversation(self) -> None:
        """Shows an empty conversation; it is stored with its first message."""
        self._drafts.save()
        self._transcript.open_new()

    def open_conversation(self, conversation_id: int) -> None:
        """Shows a conversation; conversation_opened follows."""
        self._drafts.save()
        visit = self._transcript.leave()
        future = self._store.read(stored.load_conversation, conversation_id)
        self._ask(future, lambda content: self._transcript.open(content, visit))

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
        draft = self._drafts.get(self.conversation_id, record.draft if record else "")
        self.conversation_opened.emit(self._transcript.view(draft))
        self._meter.count_soon()

    def _reload(self, conversation_id: int) -> None:
        """Reads the conversation on show again and tells what changed."""
        visit = self._transcript.visit
        future = self._store.read(stored.load_conversation, conversation_id)
        self._ask(future, lambda content: self._update(content, visit))

    def _update(self, content: ConversationContent | None, visit: int) -> None:
        self._transcript.update(content, visit)
        self._meter.count_soon()

    def _overlay(self, view: MessageView) -> MessageView:
        """What the database does not know yet: the running answer, an end that is not saved."""
        if self._run is not None and view.id == self.running_id:
            state = "running" if self._run.is_streaming else "waiting"
            return replace(view, text=self._run.text, state=state, seams=self._run.job.seams)
        return self._ends.overlay(view)

    # --- Sending ----------------------------------------------------------------------------------

    def send(self, text: str) -> None:
        """Stores a message and has it answered: now, or after the answers before it."""
        is_same = self._is_beginning and text == self._sending  # Enter, pressed twice
        if text.strip() and not is_same:
            self._outbox.append(text)
            self._send_next()

    def _send_next(self) -> None:
        if self._is_beginning or not self._outbox:
            return
        self._sending = text = self._outbox.popleft()
        visit, conversation_id = self._transcript.visit, self.conversation_id
        messages = self._transcript.messages
        self._drafts.sent(conversation_id)

        def refused(error: StorageError) -> None:
            unsent = "\n".join([text, *self._outbox])
            self._outbox.clear()
            self._drafts.set(conversation_id, unsent)
            self._tell(error)

        def begun(made: NewExchange) -> None:
            self._acknowledge(visit, conversation_id)
            self._start_run(made.conversation_id, made.answer_id, visit)

        def queued(made: NewExchange) -> None:
            self._acknowledge(visit, conversation_id)
            self._queue.append(made.message_id)
            if visit == self._transcript.visit:
                self._reload(made.conversation_id)
            self._end_beginning()
            self._pump()

        # Those an earlier run of the app left waiting go first.
        waiting = [m.id for m in self._transcript.queued if m.id not in self._queue]
        self._queue.extend(waiting)
        new = NewConversation(
            title_from(text), self._transcript.system_prompt, self._transcript.sampling
        )
        if self._run is not None or self._queue:
            future = self._store.write(
                stored.queue_message,
                conversation_id=conversation_id,
                text=text,
                new=new,
                now=time.time(),
            )
            self._begin(future, queued, refused)
        else:
            future = self._store.write(
                stored.begin_exchange,
                conversation_id=conversation_id,
                parent_id=messages[-1].id if messages else None,
                text=text,
                new=new,
                now=time.time(),
            )
            self._begin(future, begun, refused)

    def _acknowledge(self, visit: int, conversation_id: int) -> None:
        self._told_problem = ""
        self._list.refresh()
        is_untouched = self._drafts.get(conversation_id) in ("", self._sending)
        if visit == self._transcript.visit and is_untouched:
            self._drafts.sent(conversation_id)
            self.draft_cleared.emit()

    def _begin(
        self,
        future: Future[T],
        done: Callable[[T], None],
        refused: Callable[[StorageError], None] | None = None,
    ) -> None:
        """Nothing else is begun until `_end_beginning`, or the refusal."""
        self._is_beginning = True

        def on_refused(error: StorageError) -> None:
            self._is_beginning = False
            (refused or self._tell)(error)

        self._mailbox.when(future, done, on_refused)

    def _end_beginning(self) -> None:
        self._is_beginning = False
        self._sending = ""
        self._send_next()

    def _pump(self) -> None:
        """Sends what waits, if nothing runs."""
        if self._run is not None or self._is_beginning or not self._queue:
            return
        message_id = self._queue.popleft()

        def sent(made: NewExchange | None) -> None:
            if made is None:  # withdrawn meanwhile
                self._end_beginning()
                self._pump()
            else:
                visit = self._visit_of(made.conversation_id)
                self._start_run(made.conversation_id, made.answer_id, visit)

        def refused(error: StorageError) -> None:
            self._queue.appendleft(message_id)
            self._tell(error)

        self._begin(self._store.write(stored.send_queued, message_id, time.time()), sent, refused)

    def _visit_of(self, conversation_id: int) -> int:
        """The present visit if it is to this conversation, else one that never is."""
        is_shown = conversation_id == self.conversation_id
        return self._transcript.visit if is_shown else -1

    def withdraw_queued(self, message_id: int) -> None:
        """Takes a queued message back; its text returns to the input box (draft_replaced)."""

        def done(text: str | None) -> None:
            if text is None:
                return
            if message_id in self._queue:
                self._queue.remove(message_id)
            draft = self._drafts.get(self.conversation_id)
            draft = f"{draft}\n{text}" if draft.strip() else text
            self._drafts.set(self.conversation_id, draft)
            self.draft_replaced.emit(draft)
            self._reload(self.conversation_id)

        self._ask(self._store.write(stored.withdraw_queued, message_id), done)

    # --- Versions and going on --------------------------------------------------------------------

    def edit_message(self, message_id: int, text: str) -> None:
        """Sends another version of a person's message, with a branch of its own."""
        index, messages = self._transcript.index(message_id), self._transcript.messages
        if index is None or messages[index].role != "user" or not text.strip():
            return
        if self._must_wait(lambda: self.edit_message(message_id, text)):
            return
        visit = self._transcript.visit
        future = self._store.write(
            stored.begin_exchange,
            conversation_id=self.conversation_id,
            parent_id=messages[index - 1].id if index else None,
            text=text,
            new=NewConversation(""),
            now=time.time(),
        )
        self._begin(
            future, lambda made: self._start_run(made.conversation_id, made.answer_id, visit)
        )

    def regenerate(self, message_id: int) -> None:
        """Writes another version of an answer (or, for a person's message, of the one to it)."""
        index, messages = self._transcript.index(message_id), self._transcript.messages
        if index is None or self._must_wait(lambda: self.regenerate(message_id)):
            return
        question = messages[index if messages[index].role == "user" else index - 1]
        visit, conversation_id = self._transcript.visit, self.conversation_id
        self._begin(
            self._store.write(stored.add_answer, question.id, time.time()),
            lambda answer_id: self._start_run(conversation_id, answer_id, visit),
        )

    def _must_wait(self, action: Callable[[], None]) -> bool:
        """Ends the running answer first, then acts. While one is being begun, refuses."""
        if self._is_beginning:
            return True
        if self._run is None:
            return False
        self._then = action
        self._run.stop()
        return True

    def continue_answer(self, message_id: int) -> None:
        """Goes on with an answer that ended early, from the text it has."""
        index = self._transcript.index(message_id)
        if index is None or not self._transcript.messages[index].can_continue:
            return
        if self._run is not None or self._is_beginning:
            self.notice.emit(sentences.not_while_running())
            return
        self._continue(message_id)

    def _continue(self, message_id: int) -> None:
        def resume(connection: sqlite3.Connection) -> AnswerContext | None:
            context = stored.answer_context(connection, message_id)
            if context is None:
                return None
            view = message_view(context.answer, is_last=True)
            seams = view.seams
            if view.state == "interrupted" and view.text:
                seams = (*seams, Seam(len(view.text), view.failure))
            stored.resume_answer(connection, message_id, encode(seams))
            return context

        def resumed(context: AnswerContext | None) -> None:
            self._ends.forget(message_id)
            if context is None:
                self._end_beginning()
            else:
                conversation_id = context.answer.conversation_id
                self._start_run(conversation_id, message_id, self._visit_of(conversation_id))

        self._ends.save()  # the text to go on from, if it is not saved yet
        self._begin(self._store.write(resume), resumed)

    def inspect_prompt(self, message_id: int) -> None:
        """Asks for what the model saw before this answer; prompt_inspected follows."""
        self._inspector.inspect(message_id, self._tell)

    # --- The running answer -----------------------------------------------------------------------

    def stop(self) -> None:
        """Ends the running answer; what it has stays."""
        if self._run is not None:
            self._run.stop()

    def _running_conversation(self) -> int:
        return self._run.job.conversation_id if self._run else 0

    def _start_run(self, conversation_id: int, answer_id: int, visit: int) -> None:
        """Reads what the answer answers, starts it and shows it (in that very visit)."""

        def read(
            connection: sqlite3.Connection,
        ) -> tuple[AnswerContext | None, ConversationContent | None]:
            return (
                stored.answer_context(connection, answer_id),
                stored.load_conversation(connection, conversation_id),
            )

        def start(found: tuple[AnswerContext | None, ConversationContent | None]) -> None:
            context, content = found
            if context is None:  # deleted within these milliseconds
                self._end_beginning()
                return
            job = answer_job(context, self._engine.recommended_sampling)
            run = AnswerRun(job, self._engine, self._store, self)
            run.started.connect(lambda: self._transcript.refresh(answer_id))
            run.text_appended.connect(lambda text: self._on_text_appended(answer_id, text))
            run.ended.connect(self._on_run_ended)
            run.journal_refused.connect(self._tell_once)
            self._run = run
            self._resume_id = 0
            self._update(content, visit)
            self.running_changed.emit(answer_id)
            self._list.tell_changed()
            self._is_beginning = False
            run.dispatch()
            self._end_beginning()

        self._begin(self._store.read(read), start)

    def _on_text_appended(self, message_id: int, text: str) -> None:
        self._transcript.append_text(message_id, text)
        self.text_appended.emit(message_id, text)

    def _on_run_ended(self, outcome: AnswerOutcome) -> None:
        run, self._run = self._run, None
        assert run is not None
        run.deleteLater()
        message_id = run.job.message_id
        self._ends.keep(run.job, outcome)
        self.running_changed.emit(0)
        self._show_end(message_id, outcome)
        if outcome.is_engine_trouble:
            self._resume_id = message_id
        self._ends.save()
        self._list.tell_changed()
        self._meter.count_soon()
        then, self._then = self._then, None
        if then is not None:
            then()
        elif outcome.state in ("done", "stopped"):
            self._pump()

    def _show_end(self, message_id: int, outcome: AnswerOutcome) -> None:
        self._transcript.refresh(message_id)
        if outcome.state == "done":
            self.answer_finished.emit(message_id, outcome.facts)
        elif outcome.state == "stopped":
            self.answer_stopped.emit(message_id)
        else:
            self.answer_failed.emit(message_id, outcome.failure, outcome.detail)

    # --- The engine -------------------------------------------------------------------------------

    def _on_engine_ready(self, _model: str) -> None:
        if self._run is not None:
            self._run.dispatch()
        self._meter.count_soon()

    def _on_engine_view(self, _view: EngineView) -> None:
        if self._run is not None and self._run.is_waiting:
            self._run.dispatch()

    def _on_engine_mended(self) -> None:
        if self._resume_id and self._run is None and not self._is_beginning:
            self._continue(self._resume_id)

    def _counted_messages(self) -> tuple[Message, ...]:
        messages = prompt_messages(self._transcript.system_prompt, self._transcript.messages)
        draft = self._drafts.get(self.conversation_id)
        return (*messages, Message("user", draft)) if draft.strip() else messages

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

    def set_sampling(self, sampling: Sampling) -> None:
        """How answers in this conversation, and in new ones after it, are drawn."""
        self._transcript.sampling = encode(sampling)
        if self.conversation_id:
            future = self._store.write(
                stored.set_sampling, self.conversation_id, self._transcript.sampling
            )
            self._mailbox.when(future, None, self._tell)

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
        if conversation_id and self._running_conversation() == conversation_id:
            self.stop()
        self._list.delete(conversation_id)

    def undo_delete(self) -> None:
        """Brings back what was deleted last and shows it."""
        self._list.undo_delete()

    @property
    def conversations(self) -> ConversationList:
        """The list itself, for its trash."""
        return self._list

    def _on_deleted(self, gone: DeletedItem) -> None:
        if gone.id == self.conversation_id:
            self.new_conversation()
        self.deleted.emit(gone)

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
