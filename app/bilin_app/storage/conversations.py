"""Conversations and their messages: every question and change as one function of a connection.

The changes expect a transaction around them (`Store` opens it). Nothing here knows a thread.
Times are seconds since the epoch. The trees are described in schema.py.
"""

import sqlite3
from dataclasses import dataclass
from typing import Literal

from bilin_app.storage.search import index_message, index_title, unindex_message, unindex_title
from bilin_app.text.attachments import encode_attachments
from bilin_app.text.conversation_file import FileConversation

Role = Literal["user", "assistant"]
StoredState = Literal["queued", "running", "done", "stopped", "failed", "interrupted"]

# A branch longer than this is taken for a loop in a damaged file.
MAX_BRANCH = 100_000
_NEW_DRAFT_KEY = "draft"
_NEW_DRAFT_ATTACHMENTS_KEY = "draft_attachments"


@dataclass(frozen=True, slots=True)
class ConversationRecord:
    """A conversation without its messages. sampling, draft_attachments: the controllers' JSON."""

    id: int
    title: str
    created_at: float
    updated_at: float
    pinned_at: float | None
    system_prompt: str
    sampling: str
    model: str
    draft: str
    draft_attachments: str


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message. version: 1 to num_versions. attachments, facts, seams: the controllers' JSON."""

    id: int
    conversation_id: int
    parent_id: int | None
    role: Role
    state: StoredState
    text: str
    created_at: float
    attachments: str
    facts: str
    seams: str
    failure: str
    failure_detail: str
    version: int
    num_versions: int


@dataclass(frozen=True, slots=True)
class ConversationContent:
    """messages: the branch on show, oldest first. queued: in the order they were sent."""

    record: ConversationRecord
    messages: tuple[MessageRecord, ...]
    queued: tuple[MessageRecord, ...]


@dataclass(frozen=True, slots=True)
class AnswerContext:
    """An answer with the messages that lead to it, oldest first, and how it is to be written.

    model: the one chosen for the conversation; "" = whichever is loaded.
    """

    system_prompt: str
    sampling: str
    model: str
    messages: tuple[MessageRecord, ...]
    answer: MessageRecord


@dataclass(frozen=True, slots=True)
class NewConversation:
    """What a conversation starts with. `sampling` is the controllers' JSON."""

    title: str
    system_prompt: str = ""
    sampling: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """What a person sends. attachments: the controllers' JSON."""

    text: str
    attachments: str = ""


@dataclass(frozen=True, slots=True)
class AnswerStart:
    """What an answer begins with: words of the person's, and the controllers' JSON about them."""

    text: str = ""
    seams: str = ""


@dataclass(frozen=True, slots=True)
class NewExchange:
    """What `begin_exchange` made."""

    conversation_id: int
    message_id: int
    answer_id: int


@dataclass(frozen=True, slots=True)
class AnswerEnd:
    """How an answer ended, with its whole text."""

    message_id: int
    state: StoredState
    text: str
    facts: str = ""
    seams: str = ""
    failure: str = ""
    failure_detail: str = ""


_CONVERSATION = (
    "id, title, created_at, updated_at, pinned_at, system_prompt, sampling, model, draft,"
    " draft_attachments"
)
_BRANCH = (
    "WITH RECURSIVE path (id, depth) AS ("
    " SELECT active_root_id, 0 FROM conversations WHERE id = ?"
    " UNION ALL SELECT n.active_child_id, depth + 1 FROM path JOIN messages n USING (id)"
    f" WHERE n.active_child_id IS NOT NULL LIMIT {MAX_BRANCH})"
)
_SIBLINGS = (
    "SELECT count(*) FROM messages s WHERE s.conversation_id = m.conversation_id"
    " AND s.parent_id IS m.parent_id AND s.state != 'queued' AND s.deleted_at IS NULL"
)
_MESSAGE = (
    "m.id, m.conversation_id, m.parent_id, m.role, m.state, m.text, m.created_at, m.attachments,"
    f" m.facts, m.seams, m.failure, m.failure_detail, ({_SIBLINGS} AND s.id <= m.id), ({_SIBLINGS})"
)


# --- Questions ------------------------------------------------------------------------------------


def list_conversations(connection: sqlite3.Connection) -> list[ConversationRecord]:
    """All but the trash: pinned ones first, then the newest."""
    rows = connection.execute(
        f"SELECT {_CONVERSATION} FROM conversations WHERE trashed_at IS NULL"
        " ORDER BY pinned_at IS NULL, updated_at DESC, id DESC"
    )
    return [ConversationRecord(*row) for row in rows]


def load_conversation(
    connection: sqlite3.Connection, conversation_id: int
) -> ConversationContent | None:
    """The conversation with the branch on show; None if there is no such one (or in the trash)."""
    row = connection.execute(
        f"SELECT {_CONVERSATION} FROM conversations WHERE id = ? AND trashed_at IS NULL",
        (conversation_id,),
    ).fetchone()
    if row is None:
        return None
    messages = connection.execute(
        f"{_BRANCH} SELECT {_MESSAGE} FROM path JOIN messages m ON m.id = path.id ORDER BY depth",
        (conversation_id,),
    )
    branch = tuple(MessageRecord(*row) for row in messages)
    queued = connection.execute(
        f"SELECT {_MESSAGE} FROM messages m"
        " WHERE m.conversation_id = ? AND m.state = 'queued' ORDER BY m.id",
        (conversation_id,),
    )
    return ConversationContent(
        ConversationRecord(*row), branch, tuple(MessageRecord(*row) for row in queued)
    )


def answer_context(connection: sqlite3.Connection, answer_id: int) -> AnswerContext | None:
    """What an answer answers, whatever branch is on show; None if it is gone or in the trash.

    Gone is also what is deleted, alone or with a message above it.
    """
    rows = connection.execute(
        "WITH RECURSIVE path (id, depth) AS (SELECT ?, 0"
        " UNION ALL SELECT n.parent_id, depth + 1 FROM path JOIN messages n USING (id)"
        f" WHERE n.parent_id IS NOT NULL LIMIT {MAX_BRANCH})"
        f" SELECT {_MESSAGE} FROM path JOIN messages m ON m.id = path.id"
        " WHERE NOT EXISTS (SELECT 1 FROM path JOIN messages d USING (id)"
        "  WHERE d.deleted_at IS NOT NULL) ORDER BY depth DESC",
        (answer_id,),
    )
    *messages, answer = [MessageRecord(*row) for row in rows] or [None]
    if answer is None:
        return None
    row = connection.execute(
        "SELECT system_prompt, sampling, model FROM conversations"
        " WHERE id = ? AND trashed_at IS NULL",
        (answer.conversation_id,),
    ).fetchone()
    if row is None:
        return None
    system_prompt, sampling, model = row
    before = tuple(message for message in messages if message is not None)
    return AnswerContext(system_prompt, sampling, model, before, answer)


def new_draft(connection: sqlite3.Connection) -> NewMessage:
    """What was being written for a conversation that does not exist yet."""
    keys = (_NEW_DRAFT_KEY, _NEW_DRAFT_ATTACHMENTS_KEY)
    found = dict(connection.execute("SELECT key, value FROM meta WHERE key IN (?, ?)", keys))
    return NewMessage(*(found.get(key, "") for key in keys))


# --- Messages -------------------------------------------------------------------------------------


def begin_exchange(
    connection: sqlite3.Connection,
    *,
    conversation_id: int,
    parent_id: int | None,
    message: NewMessage,
    new: NewConversation,
    now: float,
    start: AnswerStart = AnswerStart(),
    keeps_draft: bool = False,
) -> NewExchange:
    """A person's message after `parent_id`, and the answer to it as it starts; clears the draft.

    conversation_id 0: makes the conversation `new`. keeps_draft: it was not the draft. A parent
    that has children already gets another version beside them.
    """
    if not keeps_draft:
        _clear_draft(connection, conversation_id)
    conversation_id = _ensure_conversation(connection, conversation_id, new, now)
    message_id = _insert(
        connection, conversation_id, parent_id, "user", "done", message.text, now,
        attachments=message.attachments,
    )  # fmt: skip
    index_message(connection, message_id, message.text)
    answer_id = _insert_answer(connection, conversation_id, message_id, start, now)
    return NewExchange(conversation_id, message_id, answer_id)


def send_message(
    connection: sqlite3.Connection,
    *,
    conversation_id: int,
    message: NewMessage,
    new: NewConversation,
    now: float,
    start: AnswerStart,
) -> NewExchange:
    """As `begin_exchange`, at the end of the branch on show, which no page knows for certain."""
    row = connection.execute(
        f"{_BRANCH} SELECT m.id FROM path JOIN messages m ON m.id = path.id ORDER BY depth DESC",
        (conversation_id,),
    ).fetchone()
    return begin_exchange(
        connection, conversation_id=conversation_id, parent_id=row[0] if row else None,
        message=message, new=new, now=now, start=start,
    )  # fmt: skip


def queue_message(
    connection: sqlite3.Connection,
    *,
    conversation_id: int,
    message: NewMessage,
    new: NewConversation,
    now: float,
) -> NewExchange:
    """A message that waits for its turn; clears the draft. `answer_id` is 0."""
    _clear_draft(connection, conversation_id)
    conversation_id = _ensure_conversation(connection, conversation_id, new, now)
    message_id = connection.execute(
        "INSERT INTO messages (conversation_id, role, state, text, attachments, created_at)"
        " VALUES (?, 'user', 'queued', ?, ?, ?)",
        (conversation_id, message.text, message.attachments, now),
    ).lastrowid
    assert message_id is not None
    return NewExchange(conversation_id, message_id, 0)


def send_queued(connection: sqlite3.Connection, message_id: int, now: float) -> NewExchange | None:
    """A queued message takes its place at the end of the branch on show, with an empty answer.

    None if it is queued no more, or in the trash with its conversation: there it stays queued.
    """
    row = connection.execute(
        "SELECT conversation_id, text FROM messages WHERE id = ? AND state = 'queued'",
        (message_id,),
    ).fetchone()
    if row is None or (content := load_conversation(connection, row[0])) is None:
        return None
    conversation_id, text = row
    parent_id = content.messages[-1].id if content.messages else None
    connection.execute(
        "UPDATE messages SET state = 'done', parent_id = ? WHERE id = ?", (parent_id, message_id)
    )
    index_message(connection, message_id, text)
    activate(connection, conversation_id, parent_id, message_id)
    answer_id = _insert_answer(connection, conversation_id, message_id, AnswerStart(), now)
    return NewExchange(conversation_id, message_id, answer_id)


def withdraw_queued(connection: sqlite3.Connection, message_id: int) -> NewMessage | None:
    """Takes a message out of the queue and returns it; None if it is queued no more."""
    row = connection.execute(
        "DELETE FROM messages WHERE id = ? AND state = 'queued' RETURNING text, attachments",
        (message_id,),
    ).fetchone()
    return NewMessage(*row) if row else None


def add_answer(
    connection: sqlite3.Connection,
    conversation_id: int,
    question_id: int | None,
    now: float,
    start: AnswerStart = AnswerStart(),
    *,
    is_written: bool = False,
) -> int:
    """Another answer to the same message; returns its id.

    question_id None: to none, it begins the conversation. is_written: the person wrote all of it;
    else it runs, from what it starts with.
    """
    answer_id = _insert_answer(connection, conversation_id, question_id, start, now)
    if is_written:
        connection.execute("UPDATE messages SET state = 'done' WHERE id = ?", (answer_id,))
        index_message(connection, answer_id, start.text)
    return answer_id


def give_up_answer(connection: sqlite3.Connection, message_id: int) -> None:
    """An answer that was to be written, and never began, is stopped."""
    connection.execute(
        "UPDATE messages SET state = 'stopped' WHERE id = ? AND state = 'running'", (message_id,)
    )


def resume_answer(connection: sqlite3.Connection, message_id: int, seams: str) -> None:
    """An answer that ended early runs again from its text."""
    connection.execute(
        "UPDATE messages SET state = 'running', failure = '', failure_detail = '', seams = ?"
        " WHERE id = ?",
        (seams, message_id),
    )


def append_journal(
    connection: sqlite3.Connection, message_id: int, sequence: int, text: str
) -> None:
    """Keeps what a running answer got since the last time."""
    connection.execute("INSERT INTO journal VALUES (?, ?, ?)", (message_id, sequence, text))


def end_answer(connection: sqlite3.Connection, end: AnswerEnd, now: float) -> None:
    """The answer runs no more: its whole text takes the place of its journal."""
    unindex_message(connection, end.message_id)
    connection.execute(
        "UPDATE messages SET state = ?, text = ?, facts = ?, seams = ?, failure = ?,"
        " failure_detail = ? WHERE id = ?",
        (
            end.state,
            end.text,
            end.facts,
            end.seams,
            end.failure,
            end.failure_detail,
            end.message_id,
        ),
    )
    connection.execute("DELETE FROM journal WHERE message_id = ?", (end.message_id,))
    index_message(connection, end.message_id, end.text)
    connection.execute(
        "UPDATE conversations SET updated_at = max(updated_at, ?)"
        " WHERE id = (SELECT conversation_id FROM messages WHERE id = ?)",
        (now, end.message_id),
    )


def recover_running(connection: sqlite3.Connection) -> int:
    """After a crash: answers that ran are interrupted, with all that the journal kept of them."""
    rows = connection.execute(
        "SELECT id, text FROM messages WHERE state = 'running' ORDER BY id"
    ).fetchall()
    for message_id, text in rows:
        pieces = connection.execute(
            "SELECT text FROM journal WHERE message_id = ? ORDER BY sequence", (message_id,)
        )
        whole = text + "".join(piece for (piece,) in pieces)
        unindex_message(connection, message_id)
        connection.execute(
            "UPDATE messages SET state = 'interrupted', text = ? WHERE id = ?", (whole, message_id)
        )
        index_message(connection, message_id, whole)
    connection.execute("DELETE FROM journal")
    return len(rows)


def show_version(connection: sqlite3.Connection, message_id: int, delta: int) -> int:
    """Puts the version `delta` steps beside this one on show, with its whole branch.

    Returns the id of the message on show then; at either end, this one's.
    """
    conversation_id, parent_id = connection.execute(
        "SELECT conversation_id, parent_id FROM messages WHERE id = ?", (message_id,)
    ).fetchone()
    versions = [
        row[0]
        for row in connection.execute(
            "SELECT id FROM messages WHERE conversation_id = ? AND parent_id IS ?"
            " AND state != 'queued' AND deleted_at IS NULL ORDER BY id",
            (conversation_id, parent_id),
        )
    ]
    index = min(max(versions.index(message_id) + delta, 0), len(versions) - 1)
    activate(connection, conversation_id, parent_id, versions[index])
    return versions[index]


def reveal_message(connection: sqlite3.Connection, message_id: int) -> int:
    """Puts the branch that holds a message on show; returns its conversation, 0 if it is gone.

    Also where it is deleted, or stands below a deleted one: what hung there would go with it.
    """
    conversation_id = 0
    path: list[tuple[int | None, int]] = []
    child_id: int | None = message_id
    for _ in range(MAX_BRANCH):
        row = connection.execute(
            "SELECT conversation_id, parent_id, state, deleted_at FROM messages WHERE id = ?",
            (child_id,),
        ).fetchone()
        if row is None or child_id is None:
            break
        conversation_id, parent_id, state, deleted_at = row
        if deleted_at is not None:
            return 0
        if state == "queued":
            break
        path.append((parent_id, child_id))
        child_id = parent_id
    for parent_id, child_id in path:
        activate(connection, conversation_id, parent_id, child_id)
    return conversation_id


# --- Conversations --------------------------------------------------------------------------------


def import_conversation(
    connection: sqlite3.Connection, conversation: FileConversation, now: float
) -> int:
    """Stores a conversation that came from a file; returns its id."""
    new = NewConversation(conversation.title, conversation.system_prompt)
    conversation_id = _new_conversation(connection, new, conversation.created_at or now)
    parent_id: int | None = None
    for message in conversation.messages:
        parent_id = _insert(
            connection,
            conversation_id,
            parent_id,
            message.role,
            "done",
            message.text,
            message.created_at or now,
            attachments=encode_attachments(message.attachments),
        )
        index_message(connection, parent_id, message.text)
    return conversation_id


def rename(connection: sqlite3.Connection, conversation_id: int, title: str) -> None:
    """Gives a conversation another title."""
    row = connection.execute(
        "SELECT title FROM conversations WHERE id = ?", (conversation_id,)
    ).fetchone()
    if row is not None:
        unindex_title(connection, conversation_id, row[0])
        connection.execute(
            "UPDATE conversations SET title = ? WHERE id = ?", (title, conversation_id)
        )
        index_title(connection, conversation_id, title)


def set_pinned(connection: sqlite3.Connection, conversation_id: int, at: float | None) -> None:
    """Pins a conversation at this time, or (None) unpins it."""
    connection.execute("UPDATE conversations SET pinned_at = ? WHERE id = ?", (at, conversation_id))


def set_trashed(connection: sqlite3.Connection, conversation_id: int, at: float | None) -> None:
    """Puts a conversation into the trash at this time, or (None) brings it back."""
    connection.execute(
        "UPDATE conversations SET trashed_at = ? WHERE id = ?", (at, conversation_id)
    )


def purge(connection: sqlite3.Connection, conversation_ids: list[int]) -> None:
    """Deletes conversations for good, with their messages; one not in the trash stays."""
    for conversation_id in conversation_ids:
        row = connection.execute(
            "SELECT title FROM conversations WHERE id = ? AND trashed_at IS NOT NULL",
            (conversation_id,),
        ).fetchone()
        if row is None:
            continue
        unindex_title(connection, conversation_id, row[0])
        messages = connection.execute(
            "SELECT id FROM messages WHERE conversation_id = ?", (conversation_id,)
        )
        for (message_id,) in messages.fetchall():
            unindex_message(connection, message_id)
            connection.execute("DELETE FROM journal WHERE message_id = ?", (message_id,))
        connection.execute("DELETE FROM messages WHERE conversation_id = ?", (conversation_id,))
        connection.execute("DELETE FROM conversations WHERE id = ?", (conversation_id,))


def set_draft(connection: sqlite3.Connection, conversation_id: int, text: str) -> None:
    """Keeps what is being typed. conversation_id 0: for a new conversation."""
    _set_draft_part(connection, conversation_id, "draft", _NEW_DRAFT_KEY, text)


def set_draft_attachments(
    connection: sqlite3.Connection, conversation_id: int, attachments: str
) -> None:
    """Keeps what is attached to the draft: the controllers' JSON. 0: for a new conversation."""
    key = _NEW_DRAFT_ATTACHMENTS_KEY
    _set_draft_part(connection, conversation_id, "draft_attachments", key, attachments)


def _set_draft_part(
    connection: sqlite3.Connection, conversation_id: int, column: str, key: str, value: str
) -> None:
    if conversation_id:
        connection.execute(
            f"UPDATE conversations SET {column} = ? WHERE id = ?", (value, conversation_id)
        )
    else:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def set_system_prompt(connection: sqlite3.Connection, conversation_id: int, text: str) -> None:
    """Sets what the model is told before everything else."""
    connection.execute(
        "UPDATE conversations SET system_prompt = ? WHERE id = ?", (text, conversation_id)
    )


def set_sampling(connection: sqlite3.Connection, conversation_id: int, sampling: str) -> None:
    """Sets how answers in this conversation are drawn: the controllers' JSON."""
    connection.execute(
        "UPDATE conversations SET sampling = ? WHERE id = ?", (sampling, conversation_id)
    )


def set_model(connection: sqlite3.Connection, conversation_id: int, model: str) -> None:
    """Sets which model answers in this conversation; "" = whichever is loaded."""
    connection.execute("UPDATE conversations SET model = ? WHERE id = ?", (model, conversation_id))


def _clear_draft(connection: sqlite3.Connection, conversation_id: int) -> None:
    set_draft(connection, conversation_id, "")
    set_draft_attachments(connection, conversation_id, "")


def _ensure_conversation(
    connection: sqlite3.Connection, conversation_id: int, new: NewConversation, now: float
) -> int:
    """The conversation with its time set; a new one for id 0."""
    if conversation_id:
        connection.execute(
            "UPDATE conversations SET updated_at = ? WHERE id = ?", (now, conversation_id)
        )
        return conversation_id
    return _new_conversation(connection, new, now)


def _new_conversation(connection: sqlite3.Connection, new: NewConversation, now: float) -> int:
    new_id = connection.execute(
        "INSERT INTO conversations"
        " (title, created_at, updated_at, system_prompt, sampling, model)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (new.title, now, now, new.system_prompt, new.sampling, new.model),
    ).lastrowid
    assert new_id is not None
    index_title(connection, new_id, new.title)
    return new_id


def _insert(
    connection: sqlite3.Connection,
    conversation_id: int,
    parent_id: int | None,
    role: Role,
    state: StoredState,
    text: str,
    now: float,
    *,
    attachments: str = "",
    seams: str = "",
) -> int:
    message_id = connection.execute(
        "INSERT INTO messages"
        " (conversation_id, parent_id, role, state, text, created_at, attachments, seams)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (conversation_id, parent_id, role, state, text, now, attachments, seams),
    ).lastrowid
    assert message_id is not None
    activate(connection, conversation_id, parent_id, message_id)
    return message_id


def _insert_answer(
    connection: sqlite3.Connection,
    conversation_id: int,
    question_id: int | None,
    start: AnswerStart,
    now: float,
) -> int:
    return _insert(
        connection, conversation_id, question_id, "assistant", "running", start.text, now,
        seams=start.seams,
    )  # fmt: skip


def activate(
    connection: sqlite3.Connection,
    conversation_id: int,
    parent_id: int | None,
    child_id: int | None,
) -> None:
    """Puts a child (None: none) of a message, or of the conversation, on show."""
    if parent_id is None:
        connection.execute(
            "UPDATE conversations SET active_root_id = ? WHERE id = ?", (child_id, conversation_id)
        )
    else:
        connection.execute(
            "UPDATE messages SET active_child_id = ? WHERE id = ?", (child_id, parent_id)
        )
