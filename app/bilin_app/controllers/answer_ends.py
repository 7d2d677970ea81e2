"""How answers ended, until all that is read has it: kept on show, written, tried again."""

import time
from dataclasses import replace

from PySide6.QtCore import QObject, QTimer, Signal

from bilin_app.controllers.answer_run import AnswerJob, AnswerOutcome
from bilin_app.controllers.mailbox import Mailbox
from bilin_app.controllers.message_views import encode, is_open_ended
from bilin_app.controllers.views import MessageView
from bilin_app.storage import conversations as stored
from bilin_app.storage.conversations import AnswerEnd
from bilin_app.storage.errors import StorageError
from bilin_app.storage.store import Store

RETRY_MS = 3_000


class AnswerEnds(QObject):
    """saved(int): the database has the end of this answer. refused(StorageError): not yet."""

    saved = Signal(int)
    refused = Signal(object)

    def __init__(self, store: Store, retry_ms: int = RETRY_MS) -> None:
        super().__init__()
        self._store = store
        self._mailbox = Mailbox(self)
        self._kept: dict[int, tuple[AnswerJob, AnswerOutcome]] = {}
        # Written; but what was asked for before may be read without it.
        self._written: dict[int, tuple[AnswerJob, AnswerOutcome]] = {}
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(retry_ms)
        self._timer.timeout.connect(self.save)

    @property
    def is_empty(self) -> bool:
        """Whether all ends are in the database."""
        return not self._kept

    def keep(self, job: AnswerJob, outcome: AnswerOutcome) -> None:
        """Takes an end; `save()` writes it."""
        self._kept[job.message_id] = (job, outcome)

    def forget(self, message_id: int) -> None:
        """The answer goes on: its last end is no longer true."""
        self._kept.pop(message_id, None)
        self._written.pop(message_id, None)

    def kept(self, message_id: int) -> AnswerEnd | None:
        """An end that the database does not have yet, as it is written there."""
        kept = self._kept.get(message_id)
        return _stored(*kept) if kept is not None else None

    def save(self) -> None:
        """Writes what is kept; what is refused stays and is tried again."""
        self._timer.stop()
        for job, outcome in self._kept.values():
            self._save(job, outcome)

    def overlay(self, view: MessageView) -> MessageView:
        """A message with the end that is kept for it, if any."""
        known = self._kept.get(view.id) or self._written.get(view.id)
        if known is None:
            return view
        job, outcome = known
        return replace(
            view,
            text=outcome.text,
            state=outcome.state,
            facts=outcome.facts,
            seams=job.seams,
            failure=outcome.failure,
            detail=outcome.detail,
            can_continue=is_open_ended(outcome.state, outcome.facts),
        )

    def _save(self, job: AnswerJob, outcome: AnswerOutcome) -> None:
        kept = (job, outcome)

        def done(_none: None) -> None:
            if self._kept.get(job.message_id) == kept:
                self._written[job.message_id] = self._kept.pop(job.message_id)
                passed = self._store.read(lambda _connection: None)  # behind all reads so far
                self._mailbox.when(passed, read, read)
                self.saved.emit(job.message_id)

        def read(_passed: object) -> None:
            if self._written.get(job.message_id) == kept:
                del self._written[job.message_id]

        def refused(error: StorageError) -> None:
            self._timer.start()
            self.refused.emit(error)

        future = self._store.write(stored.end_answer, _stored(job, outcome), time.time())
        self._mailbox.when(future, done, refused)


def _stored(job: AnswerJob, outcome: AnswerOutcome) -> AnswerEnd:
    return AnswerEnd(
        message_id=job.message_id,
        state=outcome.state,
        text=outcome.text,
        facts=encode(outcome.facts),
        seams=encode(job.seams),
        failure=outcome.failure,
        failure_detail=outcome.detail,
    )
