"""Conversations for the chat page: the branch on show, the answer under way, the queue.

The one place that knows both the database and the engine. QtCore only; all on the GUI thread, all
storage beside it. What the person sent is shown once it is stored ("acknowledged").
"""

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TypeVar

from PySide6.QtCore import QObject, QTimer, Signal

from bilin_app.controllers import sentences
from bilin_app.controllers.answer_run import AnswerJob, AnswerOutcome, AnswerRun
from bilin_app.controllers.conversation_list import ConversationList
from bilin_app.controllers.drafts import Drafts
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.mailbox import Mailbox
from bilin_app.controllers.message_views import encode, ended_view, message_view
from bilin_app.controllers.views import (
    ConversationView,
    DeletedConversation,
    EngineView,
    MessageView,
    Seam,
    TokenCountView,
)
from bilin_app.storage import conversations as stored
from bilin_app.storage.conversations import (
    AnswerContext,
    AnswerEnd,
    ConversationContent,
    ConversationRecord,
    MessageRecord,
    NewExchange,
)
from bilin_app.storage.database import OpenReport
from bilin_app.storage.errors import StorageError
from bilin_app.storage.store import Store
from bilin_app.text.titles import title_from
from bilin_engine.protocol import CountTokens, Message, TokenCount

logger = logging.getLogger(__name__)

COUNT_MS = 300
RETRY_MS = 3_000

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

    def __init__(
        self, store: Store, engine: EngineController, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._store = store
        self._engine = engine
        self._mailbox = Mailbox(self)
        self._record: ConversationRecord | None = None
        self._messages: list[MessageView] = []
        self._queued: list[MessageView] = []
        self._visit = 0  # counts what was put on show: late answers about another are dropped
        self._run: AnswerRun | None = None
        self._is_beginning = False  # an exchange is on its way to the database
        self._sending = ""  # its text
        self._outbox: deque[str] = deque()
        self._queue: deque[int] = deque()  # ids of queued messages, in the order they were sent
        self._then: Callable[[], None] | None = None  # when the run has ended, before the queue
        self._resume_id = 0  # the answer that mending the engine goes on with
        self._unsaved_ends: dict[int, AnswerEnd] = {}
        self._told_problem = ""
        self._count_query = 0
        self._drafts = Drafts(store)
        self._drafts.refused.connect(self._tell_once)
        self._list = ConversationList(
            store, lambda: self._run.job.conversation_id if self._run else 0
        )
        self._list.changed.connect(self.conversations_changed)
        self._list.search_done.connect(self.search_done)
        self._list.refused.connect(self._tell)
        self._list.deleted.connect(self._on_deleted)
        self._list.restored.connect(self.open_conversation)
        self._count_timer = self._timer(COUNT_MS, self._count_tokens)
        self._retry_timer = self._timer(RETRY_MS, self._save_ends)
        engine.ready.connect(self._on_engine_ready)
        engine.mended.connect(self._on_engine_mended)
        engine.view_changed.connect(self._on_engine_view)

    # --- Start and end ----------------------------------------------------------------------------

    def start(self) -> None:
        """Opens the database; conversations_changed and conversation_opened (a new one) follow."""
        self._mailbox.when(self._store.open(), self._on_store_open)
        self._ask(self._store.read(stored.new_draft), self._on_new_draft)
        self._list.refresh()

    def close(self) -> None:
        """Keeps the running answer and the draft, then closes the database. Blocks shortly."""
        self._count_timer.stop()
        self._retry_timer.stop()
        if self._run is not None:
            outcome = self._run.close(sentences.app_was_closed())
            if outcome is not None:
                self._keep_end(self._run.job, outcome)
            self._run = None
        self._drafts.save()
        self._save_ends()
        self._store.close()

    def _on_store_open(self, report: OpenReport) -> None:
        sentence = sentences.opened(report)
        if sentence:
            self.notice.emit(sentence)

    def _on_new_draft(self, draft: str) -> None:
        if self._record is None and not self._messages:
            draft = self._drafts.get(0) or draft
            self._drafts.set(0, draft)
            self.conversation_opened.emit(self._view())

    # --- What is on show --------------------------------------------------------------------------

    @property
    def conversation_id(self) -> int:
        """The one on show; 0 = a new one."""
        return self._record.id if self._record else 0

    @property
    def running_id(self) -> int:
        """The message being written, 0 = none."""
        return self._run.job.message_id if self._run else 0

    def _running_conversation(self) -> int:
        return self._run.job.conversation_id if self._run else 0

    def new_conversation(self) -> None:
        """Shows an empty conversation; it is stored with its first message."""
        self._drafts.save()
        self._visit += 1
        self._record, self._messages, self._queued = None, [], []
        self.conversation_opened.emit(self._view())
        self._count_timer.start()

    def open_conversation(self, conversation_id: int) -> None:
        """Shows a conversation; conversation_opened follows."""
        self._drafts.save()
        self._visit += 1
        visit = self._visit

        def show(content: ConversationContent | None) -> None:
            if visit == self._visit and content is not None:
                self._take(content)
                self.conversation_opened.emit(self._view())
                self._count_timer.start()

        self._ask(self._store.read(stored.load_conversation, conversation_id), show)

    def open_message(self, message_id: int) -> None:
        """Shows the conversation and branch that hold a message."""

        def show(conversation_id: int) -> None:
            if conversation_id:
                self.open_conversation(conversation_id)

        self._ask(self._store.write_soon(stored.reveal_message, message_id), show)

    def show_version(self, message_id: int, delta: int) -> None:
        """Shows the version before (-1) or after (+1) this one, with the branch below it."""
        future = self._store.write_soon(stored.show_version, message_id, delta)
        self._ask(future, lambda _id: self._reload())

    def _view(self) -> ConversationView:
        record = self._record
        return ConversationView(
            id=self.conversation_id,
            title=record.title if record else "",
            messages=tuple(self._messages),
            queued=tuple(self._queued),
            draft=self._drafts.get(self.conversation_id, record.draft if record else ""),
            system_prompt=record.system_prompt if record else "",
            model=record.model if record else "",
        )

    def _take(self, content: ConversationContent) -> None:
        last = len(content.messages) - 1
        self._record = content.record
        self._messages = [
            self._message_view(m, is_last=i == last) for i, m in enumerate(content.messages)
        ]
        self._queued = [message_view(m, is_last=False) for m in content.queued]

    def _message_view(self, record: MessageRecord, *, is_last: bool) -> MessageView:
        """With what the database does not know yet: the running answer, an unsaved end."""
        view = message_view(record, is_last=is_last)
        if self._run is not None and view.id == self.running_id:
            state = "running" if self._run.is_streaming else "waiting"
            return replace(view, text=self._run.text, state=state, seams=self._run.job.seams)
        end = self._unsaved_ends.get(view.id)
        return view if end is None else ended_view(view, end, is_last=is_last)

    def _show(self, content: ConversationContent | None, visit: int) -> None:
        """Tells the page what differs from what it shows, from the first other message on."""
        if content is None or visit != self._visit:
            return
        if self._record is None:  # the page learns the id; the messages follow one by one
            self._record = content.record
            self.conversation_opened.emit(self._view())
        old, old_queued = self._messages, self._queued
        self._take(content)
        new = self._messages
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
        if self._queued != old_queued:
            self.queue_changed.emit(list(self._queued))
        self._count_timer.start()

    def _reload(self, conversation_id: int = 0) -> None:
        """Reads the conversation on show again and tells what changed."""
        visit = self._visit
        future = self._store.read(stored.load_conversation, conversation_id or self.conversation_id)
        self._ask(future, lambda content: self._show(content, visit))

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
        visit, conversation_id = self._visit, self.conversation_id
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
            self._end_beginning()
            if visit == self._visit:
                self._reload(made.conversation_id)
            self._pump()

        title, now = title_from(text), time.time()
        # Those an earlier run of the app left waiting go first.
        self._queue.extend(m.id for m in self._queued if m.id not in self._queue)
        if self._run is not None or self._queue:
            future = self._store.write(
                stored.queue_message,
                conversation_id=conversation_id,
                text=text,
                title=title,
                now=now,
            )
            self._begin(future, queued, refused)
        else:
            future = self._store.write(
                stored.begin_exchange,
                conversation_id=conversation_id,
                parent_id=self._messages[-1].id if self._messages else None,
                text=text,
                title=title,
                now=now,
            )
            self._begin(future, begun, refused)

    def _acknowledge(self, visit: int, conversation_id: int) -> None:
        self._told_problem = ""
        self._list.refresh()
        if visit == self._visit and self._drafts.get(conversation_id) in ("", self._sending):
            self._drafts.sent(conversation_id)
            self.draft_cleared.emit()

    def _begin(
        self,
        future: Future[T],
        done: Callable[[T], None],
        refused: Callable[[StorageError], None] | None = None,
    ) -> None:
        """Nothing else is begun until `_start_run` or `_end_beginning`, or the refusal."""
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
                return
            is_shown = made.conversation_id == self.conversation_id
            self._start_run(made.conversation_id, made.answer_id, self._visit if is_shown else -1)

        def refused(error: StorageError) -> None:
            self._queue.appendleft(message_id)
            self._tell(error)

        self._begin(self._store.write(stored.send_queued, message_id, time.time()), sent, refused)

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
            self._reload()

        self._ask(self._store.write(stored.withdraw_queued, message_id), done)

    def edit_message(self, message_id: int, text: str) -> None:
        """Sends another version of a person's message, with a branch of its own."""
        index = self._index(message_id)
        if index is None or self._messages[index].role != "user" or not text.strip():
            return
        if self._must_wait(lambda: self.edit_message(message_id, text)):
            return
        visit = self._visit
        future = self._store.write(
            stored.begin_exchange,
            conversation_id=self.conversation_id,
            parent_id=self._messages[index - 1].id if index else None,
            text=text,
            title="",
            now=time.time(),
        )
        self._begin(
            future, lambda made: self._start_run(made.conversation_id, made.answer_id, visit)
        )

    def regenerate(self, message_id: int) -> None:
        """Writes another version of an answer (or, for a person's message, of the one to it)."""
        index = self._index(message_id)
        if index is None or self._must_wait(lambda: self.regenerate(message_id)):
            return
        question = self._messages[index if self._messages[index].role == "user" else index - 1]
        visit, conversation_id = self._visit, self.conversation_id
        self._begin(
            self._store.write(stored.add_answer, question.id, time.time()),
            lambda answer_id: self._start_run(conversation_id, answer_id, visit),
        )

    def continue_answer(self, message_id: int) -> None:
        """Goes on with an answer that ended early, from the text it has."""
        index = self._index(message_id)
        if index is None or not self._messages[index].can_continue:
            return
        if self._run is not None or self._is_beginning:
            self.notice.emit(sentences.not_while_running())
            return
        self._continue(message_id)

    def _continue(self, message_id: int) -> None:
        visit = self._visit

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
            self._unsaved_ends.pop(message_id, None)
            if context is None:
                self._end_beginning()
            else:
                conversation_id = context.answer.conversation_id
                is_shown = conversation_id == self.conversation_id
                self._start_run(conversation_id, message_id, visit if is_shown else -1)

        # After a refused end of the same answer: what is on its way comes first.
        self._save_ends()
        self._begin(self._store.write(resume), resumed)

    def _must_wait(self, action: Callable[[], None]) -> bool:
        """Ends the running answer first, then acts. While one is being begun, refuses."""
        if self._is_beginning:
            return True
        if self._run is None:
            return False
        self._then = action
        self._run.stop()
        return True

    def _index(self, message_id: int) -> int | None:
        return next((i for i, m in enumerate(self._messages) if m.id == message_id), None)

    # --- The running answer -----------------------------------------------------------------------

    def stop(self) -> None:
        """Ends the running answer; what it has stays."""
        if self._run is not None:
            self._run.stop()

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
            run = AnswerRun(_answer_job(context), self._engine, self._store, self)
            run.started.connect(self._on_run_started)
            run.text_appended.connect(self._on_text_appended)
            run.ended.connect(self._on_run_ended)
            run.journal_refused.connect(self._tell_once)
            self._run = run
            self._resume_id = 0
            self._show(content, visit)
            self.running_changed.emit(answer_id)
            self._list.show_running()
            self._is_beginning = False
            run.dispatch()
            self._end_beginning()

        self._begin(self._store.read(read), start)

    def _on_run_started(self) -> None:
        index = self._index(self.running_id)
        if index is not None:
            self._messages[index] = replace(self._messages[index], state="running")
            self.message_changed.emit(self._messages[index])

    def _on_text_appended(self, text: str) -> None:
        message_id = self.running_id
        if self._messages and self._messages[-1].id == message_id:
            last = self._messages[-1]
            self._messages[-1] = replace(last, text=last.text + text)
        self.text_appended.emit(message_id, text)

    def _on_run_ended(self, outcome: AnswerOutcome) -> None:
        run, self._run = self._run, None
        assert run is not None
        run.deleteLater()
        message_id = run.job.message_id
        end = self._keep_end(run.job, outcome)
        self.running_changed.emit(0)
        index = self._index(message_id)
        if index is not None:
            is_last = index == len(self._messages) - 1
            self._messages[index] = ended_view(self._messages[index], end, is_last=is_last)
            self.message_changed.emit(self._messages[index])
        if outcome.state == "done":
            self.answer_finished.emit(message_id, outcome.facts)
        elif outcome.state == "stopped":
            self.answer_stopped.emit(message_id)
        else:
            self.answer_failed.emit(message_id, outcome.failure, outcome.detail)
        if outcome.is_engine_trouble:
            self._resume_id = message_id
        self._save_ends()
        self._list.show_running()
        self._count_timer.start()
        then, self._then = self._then, None
        if then is not None:
            then()
        elif outcome.state in ("done", "stopped"):
            self._pump()

    def _keep_end(self, job: AnswerJob, outcome: AnswerOutcome) -> AnswerEnd:
        end = AnswerEnd(
            message_id=job.message_id,
            state=outcome.state,
            text=outcome.text,
            facts=encode(outcome.facts),
            seams=encode(job.seams),
            failure=outcome.failure,
            failure_detail=outcome.detail,
        )
        self._unsaved_ends[job.message_id] = end
        return end

    def _save_ends(self) -> None:
        """Writes how answers ended; what is refused is kept and tried again."""
        for end in self._unsaved_ends.values():
            self._save_end(end)

    def _save_end(self, end: AnswerEnd) -> None:
        def done(_none: None) -> None:
            if self._unsaved_ends.get(end.message_id) is end:
                del self._unsaved_ends[end.message_id]
                self._list.refresh()

        def refused(error: StorageError) -> None:
            self._tell_once(error)
            self._retry_timer.start()

        self._mailbox.when(self._store.write(stored.end_answer, end, time.time()), done, refused)

    # --- The engine -------------------------------------------------------------------------------

    def _on_engine_ready(self, _model: str) -> None:
        if self._run is not None:
            self._run.dispatch()
        self._count_timer.start()

    def _on_engine_view(self, _view: EngineView) -> None:
        if self._run is not None and self._run.is_waiting:
            self._run.dispatch()

    def _on_engine_mended(self) -> None:
        if self._resume_id and self._run is None and not self._is_beginning:
            self._continue(self._resume_id)

    def _count_tokens(self) -> None:
        model = self._engine.model
        if model is None:
            return
        self._count_query += 1
        number = self._count_query
        record = self._record
        messages = _prompt(record.system_prompt if record else "", self._messages)
        draft = self._drafts.get(self.conversation_id)
        if draft.strip():
            messages = (*messages, Message("user", draft))

        def counted(count: TokenCount) -> None:
            if number == self._count_query:
                self.context_counted.emit(TokenCountView(count.total, count.context_length))

        handle = self._engine.send(lambda i: CountTokens(id=i, model=model.id, messages=messages))
        handle.done.connect(counted)

    # --- The list, drafts, the rest ---------------------------------------------------------------

    def set_draft(self, text: str) -> None:
        """Keeps what is being typed; call it with every change."""
        self._drafts.set(self.conversation_id, text)
        self._count_timer.start()

    def set_system_prompt(self, text: str) -> None:
        """What the model is told before everything else in this conversation."""
        if self._record is not None:
            self._record = replace(self._record, system_prompt=text)
            future = self._store.write(stored.set_system_prompt, self._record.id, text)
            self._ask(future, lambda _none: self._count_timer.start())

    def search(self, text: str) -> None:
        """search_done follows, unless another search is asked."""
        self._list.search(text)

    def rename(self, conversation_id: int, title: str) -> None:
        """Gives a conversation a title of the person's own."""
        self._list.rename(conversation_id, title)

    def set_pinned(self, conversation_id: int, is_pinned: bool) -> None:
        """Pins or unpins a conversation."""
        self._list.set_pinned(conversation_id, is_pinned)

    def delete_conversation(self, conversation_id: int) -> None:
        """Puts a conversation into the trash; `deleted` follows, for the offer to undo."""
        if self._run is not None and self._run.job.conversation_id == conversation_id:
            self._run.stop()
        self._list.delete(conversation_id)

    def undo_delete(self) -> None:
        """Brings back what was deleted last and shows it."""
        self._list.undo_delete()

    def _on_deleted(self, gone: DeletedConversation) -> None:
        if gone.id == self.conversation_id:
            self.new_conversation()
        self.deleted.emit(gone)

    def _ask(self, future: Future[T], done: Callable[[T], None]) -> None:
        self._mailbox.when(future, done, self._tell)

    def _tell(self, error: StorageError) -> None:
        self._told_problem = error.problem
        self.notice.emit(sentences.storage_refused(error.problem, self._store.path))

    def _tell_once(self, error: StorageError) -> None:
        """For what is tried again by itself: one sentence per trouble, not one per try."""
        if error.problem != self._told_problem:
            self._tell(error)

    def _timer(self, interval_ms: int, slot: Callable[[], None]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(interval_ms)
        timer.timeout.connect(slot)
        return timer


def _answer_job(context: AnswerContext) -> AnswerJob:
    answer = message_view(context.answer, is_last=True)
    views = [message_view(record, is_last=False) for record in context.messages]
    return AnswerJob(
        conversation_id=answer.conversation_id,
        message_id=answer.id,
        messages=_prompt(context.system_prompt, views),
        prefix=answer.text,
        seams=answer.seams,
    )


def _prompt(system_prompt: str, views: list[MessageView]) -> tuple[Message, ...]:
    """What is sent of a branch: answers that never got a word are left out."""
    messages = [Message(view.role, view.text) for view in views if view.text]
    if system_prompt.strip():
        messages.insert(0, Message("system", system_prompt))
    return tuple(messages)
