"""What a person sends: on its way to the database, then answered at once or queued for its turn.

A message belongs to the conversation it was written in, whatever is on show when its files are
read, when the answer before it ends, or when the database refuses it and its text becomes a draft
again.
"""

import time
from collections import deque
from dataclasses import dataclass, replace

from PySide6.QtCore import QObject, Signal

from bilin_app.controllers import sentences
from bilin_app.controllers.attachments import Attachments
from bilin_app.controllers.drafts import Drafts
from bilin_app.controllers.mailbox import Mailbox
from bilin_app.controllers.running_answer import RunningAnswer
from bilin_app.controllers.transcript import Transcript
from bilin_app.controllers.versions import begun_answer
from bilin_app.storage import conversations as stored
from bilin_app.storage.conversations import (
    AnswerStart,
    NewConversation,
    NewExchange,
    NewMessage,
)
from bilin_app.storage.errors import StorageError
from bilin_app.storage.store import Store
from bilin_app.text.attachments import Attachment, decode_attachments, encode_attachments
from bilin_app.text.titles import title_from


@dataclass(frozen=True, slots=True)
class _Outgoing:
    """A message on its way. visit: the one it was written in; conversation_id 0: of a new one.

    answer_start: the first words of the answer, the person's own.
    """

    visit: int
    conversation_id: int
    new: NewConversation
    text: str
    answer_start: str
    attachments: tuple[Attachment, ...] = ()


class Outbox(QObject):
    """acknowledged(): a message is stored. queue_changed(int): in the conversation on show.

    draft_cleared(), draft_replaced(str): of the conversation on show. told(str): why a message is
    not taken. refused(StorageError): it is a draft again.
    """

    acknowledged = Signal()
    queue_changed = Signal(int)
    draft_cleared = Signal()
    draft_replaced = Signal(str)
    told = Signal(str)
    refused = Signal(object)

    def __init__(
        self,
        store: Store,
        running: RunningAnswer,
        transcript: Transcript,
        drafts: Drafts,
        attachments: Attachments,
    ) -> None:
        super().__init__()
        self._store = store
        self._running = running
        self._transcript = transcript
        self._drafts = drafts
        self._attachments = attachments
        self._mailbox = Mailbox(self)
        self._unsent: deque[_Outgoing] = deque()
        self._sending: _Outgoing | None = None  # on its way to the database
        self._made: dict[int, int] = {}  # the conversation that a visit to a new one began
        self._queue: deque[int] = deque()  # ids of queued messages, in the order they were sent
        self._passed_over: list[int] = []  # of those, what was in the trash when its turn came
        running.idle.connect(self.pump)
        running.free.connect(self._send_next)
        transcript.named.connect(self._take_along)

    def send(self, text: str, answer_start: str) -> None:
        """Sends what was written in the conversation on show, once what is attached is read."""
        shown = self._transcript
        new = NewConversation("", shown.system_prompt, shown.sampling, shown.model)
        out = _Outgoing(shown.visit, shown.conversation_id, new, text, answer_start.strip())
        sent = self._on_its_way(out)
        self._attachments.when_read(self._conversation_of(out), lambda: self._add(out, sent))

    def _on_its_way(self, out: _Outgoing) -> list[_Outgoing]:
        """What the field that this was written in still has, since it is not stored yet."""
        first = [self._sending] if self._sending is not None else []
        conversation_id = self._conversation_of(out)
        return [
            one
            for one in (*first, *self._unsent)
            # A conversation may have been opened again since: its draft came along.
            if one.visit == out.visit
            or (conversation_id and self._conversation_of(one) == conversation_id)
        ]

    def _add(self, out: _Outgoing, sent: list[_Outgoing]) -> None:
        """sent: what was on its way when this was written behind it; it may be stored by now."""
        if out.answer_start and (self._running.is_running or self._queue):
            self.told.emit(sentences.not_while_running())
            return
        conversation_id = self._conversation_of(out)
        attachments = self._attachments.of(conversation_id)
        waited_too = [one for one in self._on_its_way(out) if one not in sent]
        text = out.text
        for one in (*sent, *waited_too):
            text = _behind(one.text, text)  # nothing, where Enter was pressed twice
        if attachments or text.strip():
            self._attachments.sent(conversation_id)
            self._unsent.append(replace(out, text=text, attachments=attachments))
            self._send_next()

    def _conversation_of(self, out: _Outgoing) -> int:
        return out.conversation_id or self._made.get(out.visit, 0)

    def _send_next(self) -> None:
        if self._running.is_beginning or not self._unsent:
            return
        out = self._sending = self._unsent.popleft()
        conversation_id = self._conversation_of(out)
        if self._drafts.get(conversation_id).strip() == out.text.strip():
            self._drafts.sent(conversation_id)

        def refused(error: StorageError) -> None:
            unsent = [out, *self._unsent]
            self._unsent.clear()
            self._sending = None
            for one in unsent[:-1]:  # the draft may have them without a break between them
                one_id = self._conversation_of(one)
                self._drafts.set(one_id, _behind(one.text, self._drafts.get(one_id)))
            for one in reversed(unsent):
                self.put_back(self._conversation_of(one), one.text, one.attachments)
            self.refused.emit(error)

        def begun(made: NewExchange) -> None:
            self._acknowledge(out, conversation_id, made)
            visit = self._visit(out, made.conversation_id)
            self._running.start(made.conversation_id, made.answer_id, visit)

        def queued(made: NewExchange) -> None:
            self._acknowledge(out, conversation_id, made)
            self._queue.append(made.message_id)
            if self._visit(out, made.conversation_id) == self._transcript.visit:
                self.queue_changed.emit(made.conversation_id)
            self._running.end_beginning()
            self.pump()

        is_shown = conversation_id == self._transcript.conversation_id
        if is_shown:
            self._take_up_shown()
        names = [attachment.name for attachment in out.attachments]
        new = replace(out.new, title=title_from("\n".join([out.text, *names])))
        message = NewMessage(out.text, encode_attachments(out.attachments))
        if self._running.is_running or self._queue or (conversation_id and not is_shown):
            future = self._store.write(
                stored.queue_message,
                conversation_id=conversation_id,
                message=message,
                new=new,
                now=time.time(),
            )
            self._running.begin(future, queued, refused)
        else:
            future = self._store.write(
                stored.send_message,
                conversation_id=conversation_id,
                message=message,
                new=new,
                now=time.time(),
                start=begun_answer(out.answer_start) if out.answer_start else AnswerStart(),
            )
            self._running.begin(future, begun, refused)

    def _visit(self, out: _Outgoing, conversation_id: int) -> int:
        """The visit to show a message in: to a new conversation that does not know its id yet."""
        shown = self._transcript
        return out.visit if out.visit == shown.visit else shown.visit_of(conversation_id)

    def _acknowledge(self, out: _Outgoing, conversation_id: int, made: NewExchange) -> None:
        self._sending = None
        self.acknowledged.emit()
        self._clear_draft(conversation_id, out.text)
        if not conversation_id:
            self._made[out.visit] = made.conversation_id
            shown = self._transcript
            is_left = out.visit != shown.visit  # and is not told its id
            is_newer_shown = not shown.conversation_id and out.visit != shown.shown_visit
            if is_left and not is_newer_shown:
                self._take_along(made.conversation_id)

    def _clear_draft(self, conversation_id: int, sent: str) -> None:
        """Takes what was sent out of the draft; what was typed since stays."""
        draft = self._drafts.get(conversation_id).lstrip()
        if draft and not draft.startswith(sent):
            return
        rest = _behind(sent, draft)
        self._drafts.set(conversation_id, rest)
        if conversation_id == self._transcript.conversation_id:
            self.draft_cleared.emit()
            if rest:
                self.draft_replaced.emit(rest)

    def _take_along(self, conversation_id: int) -> None:
        """What was typed or attached since the first message belongs to its conversation."""
        self._drafts.move(0, conversation_id)
        self._attachments.move(0, conversation_id)

    # --- The queue --------------------------------------------------------------------------------

    def pump(self) -> None:
        """Sends what waits, if nothing runs."""
        if self._running.is_running or self._running.is_beginning:
            return
        self._take_up_shown()
        if not self._queue:
            return
        message_id = self._queue.popleft()

        def sent(made: NewExchange | None) -> None:
            if made is None:  # withdrawn meanwhile, or in the trash
                self._passed_over.append(message_id)
                self._running.end_beginning()
                self.pump()
            else:
                visit = self._transcript.visit_of(made.conversation_id)
                self._running.start(made.conversation_id, made.answer_id, visit)

        def refused(error: StorageError) -> None:
            self._queue.appendleft(message_id)
            self.refused.emit(error)

        future = self._store.write(stored.send_queued, message_id, time.time())
        self._running.begin(future, sent, refused)

    def _take_up_shown(self) -> None:
        """What an earlier run of the app left waiting in the conversation on show has its turn."""
        known = {*self._queue, *self._passed_over}
        self._queue.extend(m.id for m in self._transcript.queued if m.id not in known)

    def take_up(self) -> None:
        """What was passed over waits for another turn: it may be out of the trash."""
        self._queue.extend(self._passed_over)
        self._passed_over.clear()

    def withdraw(self, message_id: int) -> None:
        """Takes a queued message back into the draft of the conversation on show."""
        conversation_id = self._transcript.conversation_id

        def done(message: NewMessage | None) -> None:
            if message is None:
                return
            if message_id in self._queue:
                self._queue.remove(message_id)
            attached = decode_attachments(message.attachments)
            self.put_back(conversation_id, message.text, attached)
            if conversation_id == self._transcript.conversation_id:
                self.queue_changed.emit(conversation_id)

        future = self._store.write(stored.withdraw_queued, message_id)
        self._mailbox.when(future, done, self.refused.emit)

    def put_back(
        self, conversation_id: int, text: str, attachments: tuple[Attachment, ...] = ()
    ) -> None:
        """What was not sent is a draft again, before what was typed since."""
        if attachments:
            attached = (*attachments, *self._attachments.of(conversation_id))
            self._attachments.set(conversation_id, attached)
        self._drafts.put_back(conversation_id, text)
        if conversation_id == self._transcript.conversation_id:
            self.draft_replaced.emit(self._drafts.get(conversation_id))


def _behind(sent: str, text: str) -> str:
    """What was written behind a text that was sent; all of it where it does not begin with that."""
    written = text.lstrip()
    return written.removeprefix(sent).lstrip() if written.startswith(sent) else text
