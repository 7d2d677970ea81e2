"""Other versions of messages: edited, asked for again, or written by the person.

Each is begun once the running answer has stopped, in the conversation that was on show when it was
asked for, whatever is on show by then.
"""

import time

from PySide6.QtCore import QObject, Signal

from bilin_app.controllers.message_views import encode
from bilin_app.controllers.running_answer import RunningAnswer
from bilin_app.controllers.transcript import Transcript
from bilin_app.controllers.views import Seam
from bilin_app.storage import conversations as stored
from bilin_app.storage.conversations import (
    AnswerStart,
    NewConversation,
    NewExchange,
    NewMessage,
)
from bilin_app.storage.errors import StorageError
from bilin_app.storage.store import Store
from bilin_app.text.attachments import encode_attachments


class Versions(QObject):
    """written(int): a conversation has another answer, of the person's own.

    refused(int, str, StorageError): a conversation, and the text that it did not get.
    """

    written = Signal(int)
    refused = Signal(int, str, object)

    def __init__(self, store: Store, running: RunningAnswer, transcript: Transcript) -> None:
        super().__init__()
        self._store = store
        self._running = running
        self._transcript = transcript

    def edit_message(self, message_id: int, text: str) -> None:
        """Sends another version of a person's message, with a branch of its own."""
        index, messages = self._transcript.index(message_id), self._transcript.messages
        if index is None or messages[index].role != "user":
            return
        attachments = messages[index].attachments
        if not text.strip() and not attachments:
            return
        conversation_id = self._transcript.conversation_id
        parent_id = messages[index - 1].id if index else None

        def begin() -> None:
            future = self._store.write(
                stored.begin_exchange,
                conversation_id=conversation_id,
                parent_id=parent_id,
                message=NewMessage(text, encode_attachments(attachments)),
                new=NewConversation(""),
                now=time.time(),
                keeps_draft=True,
            )
            self._running.begin(future, begun, refused)

        def begun(made: NewExchange) -> None:
            self._start(conversation_id, made.answer_id)

        def refused(error: StorageError) -> None:
            self.refused.emit(conversation_id, text, error)

        self._running.when_stopped(begin)

    def regenerate(self, message_id: int) -> None:
        """Writes another version of an answer (or, for a person's message, an answer to it)."""
        if not self._running.is_taken:  # pressed twice
            self._add_answer(message_id, AnswerStart())

    def write_answer(self, message_id: int, text: str, *, goes_on: bool) -> None:
        """Another version of an answer, in the person's words; goes_on: the model adds the rest."""
        text = text.rstrip() if goes_on else text
        if text.strip():
            self._add_answer(message_id, begun_answer(text), is_written=not goes_on)

    def _add_answer(self, message_id: int, start: AnswerStart, *, is_written: bool = False) -> None:
        index, messages = self._transcript.index(message_id), self._transcript.messages
        if index is None:
            return
        asked = index if messages[index].role == "user" else index - 1
        if not is_written:  # a model answers a person; an import may have answers in a row
            while asked >= 0 and messages[asked].role != "user":
                asked -= 1
        question_id = messages[asked].id if asked >= 0 else None  # an import may begin with it
        conversation_id = self._transcript.conversation_id

        def begin() -> None:
            future = self._store.write(
                stored.add_answer,
                conversation_id,
                question_id,
                time.time(),
                start,
                is_written=is_written,
            )
            self._running.begin(future, added, refused)

        def added(answer_id: int) -> None:
            if is_written:
                self._running.end_beginning()
                self.written.emit(conversation_id)
            else:
                self._start(conversation_id, answer_id)

        def refused(error: StorageError) -> None:
            self.refused.emit(conversation_id, start.text, error)

        self._running.when_stopped(begin)

    def _start(self, conversation_id: int, answer_id: int) -> None:
        visit = self._transcript.visit_of(conversation_id)
        self._running.start(conversation_id, answer_id, visit)


def begun_answer(text: str) -> AnswerStart:
    """An answer that the person began, marked as such."""
    return AnswerStart(text, encode((Seam(len(text), "", "begun"),)))
