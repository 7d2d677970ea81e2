"""The one answer that is being written, whatever conversation is on show: begun, stopped, ended.

When the engine dies in the middle of it, it is started again and the same answer goes on, once; a
second death in a row leaves that to the person.
"""

import sqlite3
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TypeVar

from PySide6.QtCore import QObject, QTimer, Signal

from bilin_app.controllers.answer_ends import AnswerEnds
from bilin_app.controllers.answer_run import AnswerJob, AnswerOutcome, AnswerRun
from bilin_app.controllers.answer_speeds import AnswerSpeeds
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.engine_views import EngineView
from bilin_app.controllers.mailbox import Mailbox
from bilin_app.controllers.message_views import (
    ShownConversation,
    encode,
    load_shown,
    message_view,
)
from bilin_app.controllers.prompt import AnswerPrompt
from bilin_app.controllers.views import MessageView, Seam
from bilin_app.storage import conversations as stored
from bilin_app.storage.conversations import AnswerContext
from bilin_app.storage.errors import StorageError
from bilin_app.storage.store import Store

T = TypeVar("T")


class RunningAnswer(QObject):
    """Nothing is begun while something else is on its way to or from the database (`begin`).

    begun(int, ShownConversation | None, int): the answer, its conversation, the visit to show it
    in. started(int), text_appended(int, str), progressed(int, AnswerProgress): of the answer.
    ended(int, AnswerOutcome): for good, not before it goes on by itself. idle(): what waits may be
    sent. free(): something else may be begun. model_gone(str): the conversation's model is not
    there; another answers. refused, journal_refused (StorageError): a write, a piece of the text.
    """

    begun = Signal(int, object, int)
    started = Signal(int)
    text_appended = Signal(int, str)
    progressed = Signal(int, object)
    ended = Signal(int, object)
    idle = Signal()
    free = Signal()
    model_gone = Signal(str)
    refused = Signal(object)
    journal_refused = Signal(object)

    def __init__(
        self,
        store: Store,
        engine: EngineController,
        speeds: AnswerSpeeds,
        visit_of: Callable[[int], int],
    ) -> None:
        """visit_of: the number of the visit to a conversation, if it is on show."""
        super().__init__()
        self._store = store
        self._engine = engine
        engine.interrupted.connect(self.stop)
        self._speeds = speeds
        self._visit_of = visit_of
        self._mailbox = Mailbox(self)
        self._run: AnswerRun | None = None
        self._actions: deque[Callable[[], None]] = deque()  # once nothing runs, before `idle`
        self._resume_id = 0  # the answer that mending the engine goes on with
        self._is_revived = False  # it goes on after a death already
        self._dead: tuple[AnswerJob, AnswerOutcome] | None = None  # what is to go on after a death
        self.is_beginning = False
        self.ends = AnswerEnds(store)
        engine.ready.connect(self._on_engine_ready)
        engine.mended.connect(self._on_engine_mended)
        engine.view_changed.connect(self._on_engine_view)

    @property
    def is_running(self) -> bool:
        """Whether an answer is being written, or waits for the engine."""
        return self._run is not None

    @property
    def message_id(self) -> int:
        """The message being written, 0 = none."""
        return self._run.job.message_id if self._run else 0

    @property
    def conversation_id(self) -> int:
        """Its conversation, 0 = none."""
        return self._run.job.conversation_id if self._run else 0

    def overlay(self, view: MessageView) -> MessageView:
        """A message with what the database does not know yet of it."""
        if self._run is not None and view.id == self.message_id:
            state = "running" if self._run.is_streaming else "waiting"
            return replace(view, text=self._run.text, state=state, seams=self._run.job.seams)
        return self.ends.overlay(view)

    def begin(
        self,
        future: Future[T],
        done: Callable[[T], None],
        refused: Callable[[StorageError], None] | None = None,
    ) -> None:
        """Nothing else is begun until `end_beginning`, or the refusal."""
        self.is_beginning = True

        def on_refused(error: StorageError) -> None:
            (refused or self.refused.emit)(error)
            self.end_beginning()

        self._mailbox.when(future, done, on_refused)

    def end_beginning(self) -> None:
        """What was begun runs, or came to nothing."""
        if self._dead is not None:
            self._revive_soon()
            return
        self.is_beginning = False
        self._act()
        self.free.emit()

    @property
    def is_taken(self) -> bool:
        """Whether something is being begun, or waits for the running answer to stop."""
        return self.is_beginning or bool(self._actions)

    def when_stopped(self, action: Callable[[], None]) -> None:
        """Ends the running answer, then acts; one after the other, each in its turn."""
        self._actions.append(action)
        self._act()

    def _act(self) -> None:
        while self._actions and not self.is_beginning:
            if self._run is not None:
                self._run.stop()  # its end goes on with this
                return
            self._actions.popleft()()

    def start(
        self,
        conversation_id: int,
        answer_id: int,
        visit: int,
        given_up: Callable[[], None] = lambda: None,
    ) -> None:
        """Reads what the answer answers, starts it and shows it (in that very visit).

        given_up: called where it comes to nothing.
        """

        def read(
            connection: sqlite3.Connection,
        ) -> tuple[AnswerPrompt | None, ShownConversation | None]:
            context = stored.answer_context(connection, answer_id)
            prompt = None if context is None else AnswerPrompt.of(context)
            return prompt, load_shown(connection, conversation_id)

        def start(found: tuple[AnswerPrompt | None, ShownConversation | None]) -> None:
            prompt, content = found
            if prompt is None:  # deleted within these milliseconds
                future = self._store.write(stored.give_up_answer, answer_id)
                self._mailbox.when(future, None, self.refused.emit)
                given_up()
                self.end_beginning()
                self.idle.emit()
                return
            self._start_run(prompt, content, visit)

        self.begin(self._store.read(read), start, self._refusal(given_up))

    def _start_run(
        self, prompt: AnswerPrompt, content: ShownConversation | None, visit: int
    ) -> None:
        job = prompt.job(self._engine.recommended_sampling)
        answer_id = job.message_id
        if job.model and self._engine.infos and not self._engine.can_load(job.model):
            self.model_gone.emit(job.model)
        run = AnswerRun(job, self._engine, self._store, self._speeds, self)
        run.started.connect(lambda: self.started.emit(answer_id))
        run.text_appended.connect(lambda text: self.text_appended.emit(answer_id, text))
        run.progressed.connect(lambda progress: self.progressed.emit(answer_id, progress))
        run.ended.connect(self._on_ended)
        run.journal_refused.connect(self.journal_refused)
        self._run = run
        self._resume_id = 0
        self.begun.emit(answer_id, content, visit)
        self.is_beginning = False
        run.dispatch()
        self.end_beginning()

    def resume(self, message_id: int, given_up: Callable[[], None] = lambda: None) -> None:
        """Goes on with an answer that ended early; a seam where it was broken off.

        given_up: called where it does not.
        """
        kept, now = self.ends.kept(message_id), time.time()

        def resume(connection: sqlite3.Connection) -> AnswerContext | None:
            # The text to go on from, if it is not saved yet; refused together, or neither.
            if kept is not None:
                stored.end_answer(connection, kept, now)
            context = stored.answer_context(connection, message_id)
            if context is None:
                return None
            view = message_view(context.answer, is_last=True)
            seams = view.seams
            broken_at = seams[-1].offset if seams and seams[-1].kind == "break" else 0
            if view.state == "interrupted" and len(view.text) > broken_at:
                seams = (*seams, Seam(len(view.text), view.failure))
            stored.resume_answer(connection, message_id, encode(seams))
            return context

        def resumed(context: AnswerContext | None) -> None:
            self.ends.forget(message_id)
            if context is None:
                given_up()
                self.end_beginning()
            else:
                conversation_id = context.answer.conversation_id
                self.start(conversation_id, message_id, self._visit_of(conversation_id), given_up)

        self.begin(self._store.write(resume), resumed, self._refusal(given_up))

    def _refusal(self, given_up: Callable[[], None]) -> Callable[[StorageError], None]:
        def refused(error: StorageError) -> None:
            self.refused.emit(error)
            given_up()

        return refused

    def choose_model(self, conversation_id: int, model_id: str) -> None:
        """An answer in this conversation that was not asked for yet is another model's."""
        run = self._run
        if run is not None and run.is_waiting and conversation_id == self.conversation_id:
            run.job = replace(run.job, model=model_id)

    def stop(self) -> None:
        """Ends the running answer; what it has stays."""
        if self._run is not None:
            self._run.stop()

    def close(self, failure: str) -> None:
        """The app is closing: keeps the answer as it is. failure: why it ends early."""
        if self._run is not None:
            outcome = self._run.close(failure)
            if outcome is not None:
                self.ends.keep(self._run.job, outcome)
            self._run = None
        self._dead = None
        self.ends.save()
        while self._actions:  # what was typed is still written down
            self._actions.popleft()()

    # --- Ends -------------------------------------------------------------------------------------

    def _on_ended(self, outcome: AnswerOutcome) -> None:
        run, self._run = self._run, None
        assert run is not None
        run.deleteLater()
        message_id = run.job.message_id
        self.ends.keep(run.job, outcome)
        if outcome.is_death and not self._actions and not self._is_revived:
            self.ends.save()
            self._dead = (run.job, outcome)
            if not self.is_beginning:  # else after the message that is being stored
                self._revive_soon()
            return
        self._is_revived = False
        self._tell_end(message_id, outcome)
        self._act()
        # Where nothing is loaded, what waits would load it: the next message may.
        if outcome.state in ("done", "stopped") and self._engine.view.state != "empty":
            self.idle.emit()

    def _tell_end(self, message_id: int, outcome: AnswerOutcome) -> None:
        self.ended.emit(message_id, outcome)
        if outcome.is_engine_trouble:
            self._resume_id = message_id
        self.ends.save()

    def _revive_soon(self) -> None:
        self.is_beginning = True
        # Later: the engine's own end, which says what to start again, is told after this.
        QTimer.singleShot(0, self, self._revive)

    def _revive(self) -> None:
        if self._dead is None:  # closed meanwhile
            return
        (job, outcome), self._dead = self._dead, None
        if self._engine.recover():
            self._is_revived = True
            self.resume(job.message_id, lambda: self._give_up(job, outcome))
        else:
            self._tell_end(job.message_id, outcome)
            self.end_beginning()

    def _give_up(self, job: AnswerJob, outcome: AnswerOutcome) -> None:
        """Ends what was to go on by itself: it still shows, or is even stored, as running."""
        self._is_revived = False
        self.ends.keep(job, outcome)
        self._tell_end(job.message_id, outcome)

    # --- The engine -------------------------------------------------------------------------------

    def _on_engine_ready(self, _model: str) -> None:
        if self._run is not None:
            self._run.dispatch()

    def _on_engine_view(self, _view: EngineView) -> None:
        if self._run is not None and self._run.is_waiting:
            self._run.dispatch()

    def _on_engine_mended(self) -> None:
        if self._resume_id and self._run is None and not self.is_beginning:
            self.resume(self._resume_id)
