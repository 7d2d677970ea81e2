"""Conversations and their messages: every question and change as one function of a connection.

The changes expect a transaction around them (`Store` opens it). Nothing here knows a thread.
Times are seconds since the epoch. The trees are described in schema.py.
"""

import sqlite3
from dataclasses import dataclass
from typing import Literal

from bilin_app.storage.search import index_message, index_title, unindex_message, unindex_title
from bilin_app.text.conversation_file import FileConversation

Role = Literal["user", "assistant"]
StoredState = Literal["queued", "running", "done", "stopped", "failed", "interrupted"]

# A branch longer than this is taken for a loop in a damaged file.
_MAX_BRANCH = 100_000
_NEW_DRAFT_KEY = "draft"


@dataclass(frozen=True, slots=True)
class ConversationRecord:
    """A conversation without its messages. `sampling` is the controllers' JSON."""

    id: int
    title: str
    created_at: float
    updated_at: float
    pinned_at: float | None
    system_prompt: str
    sampling: str
    model: str
    draft: str


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message. version counts from 1 to num_versions. facts, seams: the controllers' JSON."""

    id: int
    conversation_id: int
    parent_id: int | None
    role: Role
    state: StoredState
    text: str
    created_at: float
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
    """An answer with the messages that lead to it, oldest first, and how it is to be written."""

    system_prompt: str
    sampling: str
    messages: tuple[MessageRecord, ...]
    answer: MessageRecord


@dataclass(frozen=True, slots=True)
class NewConversation:
    """What a conversation starts with. `sampling` is the controllers' JSON."""

    title: str
    system_prompt: str = ""
    sampling: str = ""


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
    "id, title, created_at, updated_at, pinned_at, system_prompt, sampling, model, draft"
)
_SIBLINGS = (
    "SELECT count(*) FROM messages s WHERE s.conversation_id = m.conversation_id"
    " AND s.parent_id IS m.parent_id AND s.state != 'queued'"
)
_MESSAGE = (
    "m.id, m.conversation_id, m.parent_id, m.role, m.state, m.text, m.created_at, m.facts,"
    f" m.seams, m.failure, m.failure_detail, ({_SIBLINGS} AND s.id <= m.id), ({_SIBLINGS})"
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
        "WITH RECURSIVE path (id, depth) AS ("
        " SELECT active_root_id, 0 FROM conversations WHERE id = ?"
        " UNION ALL SELECT n.active_child_id, depth + 1 FROM path JOIN messages n USING (id)"
        f" WHERE n.active_child_id IS NOT NULL LIMIT {_MAX_BRANCH})"
        f" SELECT {_MESSAGE} FROM path JOIN messages m ON m.id = path.id ORDER BY depth",
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
    """What an answer answers, whatever branch is on show; None if it is gone or in the trash."""
    rows = connection.execute(
        "WITH RECURSIVE path (id, depth) AS (SELECT ?, 0"
        " UNION ALL SELECT n.parent_id, depth + 1 FROM path JOIN messages n USING (id)"
        f" WHERE n.parent_id IS NOT NULL LIMIT {_MAX_BRANCH})"
        f" SELECT {_MESSAGE} FROM path JOIN messages m ON m.id = path.id ORDER BY depth DESC",
        (answer_id,),
    )
    *messages, answer = [MessageRecord(*row) for row in rows] or [None]
    if answer is None:
        return None
    row = connection.execute(
        "SELECT system_prompt, sampling FROM conversations WHERE id = ? AND trashed_at IS NULL",
        (answer.conversation_id,),
    ).fetchone()
    if row is None:
        return None
    return AnswerContext(row[0], row[1], tuple(m for m in messages if m is not None), answer)


def new_draft(connection: sqlite3.Connection) -> str:
    """What was being typed for a conversation that does not exist yet."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (_NEW_DRAFT_KEY,)).fetchone()
    return row[0] if row else ""


# --- Messages -------------------------------------------------------------------------------------


def begin_exchange(
    connection: sqlite3.Connection,
    *,
    conversation_id: int,
    parent_id: int | None,
    text: str,
    new: NewConversation,
    now: float,
) -> NewExchange:
    """A person's message after `parent_id`, and the empty answer to it; clears the draft.

    conversation_id 0: makes the conversation `new`. A parent that has children already gets
    another version beside them.
    """
    conversation_id = _ensure_conversation(connection, conversation_id, new, now)
    message_id = _insert(connection, conversation_id, parent_id, "user", "done", text, now)
    index_message(connection, message_id, text)
    answer_id = _insert(connection, conversation_id, message_id, "assistant", "running", "", now)
    return NewExchange(conversation_id, message_id, answer_id)


def queue_message(
    connection: sqlite3.Connection,
    *,
    conversation_id: int,
    text: str,
    new: NewConversation,
    now: float,
) -> NewExchange:
    """A message that waits for its turn; clears the draft. `answer_id` is 0."""
    conversation_id = _ensure_conversation(connection, conversation_id, new, now)
    message_id = connection.execute(
        "INSERT INTO messages (conversation_id, role, state, text, created_at)"
        " VALUES (?, 'user', 'queued', ?, ?)",
        (conversation_id, text, now),
    ).lastrowid
    assert message_id is not None
    return NewExchange(conversation_id, message_id, 0)


def send_queued(connection: sqlite3.Connection, message_id: int, now: float) -> NewExchange | None:
    """A queued message takes its place at the end of the branch on show, with an empty answer.

    None if it is queued no more.
    """
    row = connection.execute(
        "SELECT conversation_id, text FROM messages WHERE id = ? AND state = 'queued'",
        (message_id,),
    ).fetchone()
    if row is None:
        return None
    conversation_id, text = row
    content = load_conversation(connection, conversation_id)
    parent_id = content.messages[-1].id if content and content.messages else None
    connection.execute(
        "UPDATE messages SET state = 'done', parent_id = ? WHERE id = ?", (parent_id, message_id)
    )
    index_message(connection, message_id, text)
    _activate(connection, conversation_id, parent_id, message_id)
    answer_id = _insert(connection, conversation_id, message_id, "assistant", "running", "", now)
    return NewExchange(conversation_id, message_id, answer_id)


def withdraw_queued(connection: sqlite3.Connection, message_id: int) -> str | None:
    """Takes a message out of the queue and returns its text; None if it is queued no more."""
    row = connection.execute(
        "DELETE FROM messages WHERE id = ? AND state = 'queued' RETURNING text", (message_id,)
    ).fetchone()
    return row[0] if row else None


def add_answer(connection: sqlite3.Connection, question_id: int, now: float) -> int:
    """Another, empty answer to the same message; returns its id."""
    conversation_id = connection.execute(
        "SELECT conversation_id FROM messages WHERE id = ?", (question_id,)
    ).fetchone()[0]
    return _insert(connection, conversation_id, question_id, "assistant", "running", "", now)


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
            " AND state != 'queued' ORDER BY id",
            (conversation_id, parent_id),
        )
    ]
    index = min(max(versions.index(message_id) + delta, 0), len(versions) - 1)
    _activate(connection, conversation_id, parent_id, versions[index])
    return versions[index]


def reveal_message(connection: sqlite3.Connection, message_id: int) -> int:
    """Puts the branch that holds a message on show; returns its conversation, 0 if it is gone."""
    conversation_id = 0
    child_id: int | None = message_id
    for _ in range(_MAX_BRANCH):
        row = connection.execute(
            "SELECT conversation_id, parent_id, state FROM messages WHERE id = ?", (child_id,)
        ).fetchone()
        if row is None or child_id is None:
            break
        conversation_id, parent_id, state = row
        if state == "queued":
            break
        _activate(connection, conversation_id, parent_id, child_id)
        child_id = parent_id
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
    if conversation_id:
        connection.execute(
            "UPDATE conversations SET draft = ? WHERE id = ?", (text, conversation_id)
        )
    else:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_NEW_DRAFT_KEY, text))


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


def _ensure_conversation(
    connection: sqlite3.Connection, conversation_id: int, new: NewConversation, now: float
) -> int:
    """The conversation with its draft cleared and its time set; a new one for id 0."""
    set_draft(connection, conversation_id, "")
    if conversation_id:
        connection.execute(
            "UPDATE conversations SET updated_at = ? WHERE id = ?", (now, conversation_id)
        )
        return conversation_id
    return _new_conversation(connection, new, now)


def _new_conversation(connection: sqlite3.Connection, new: NewConversation, now: float) -> int:
    new_id = connection.execute(
        "INSERT INTO conversations (title, created_at, updated_at, system_prompt, sampling)"
        " VALUES (?, ?, ?, ?, ?)",
        (new.title, now, now, new.system_prompt, new.sampling),
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
) -> int:
    message_id = connection.execute(
        "INSERT INTO messages (conversation_id, parent_id, role, state, text, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (conversation_id, parent_id, role, state, text, now),
    ).lastrowid
    assert message_id is not None
    _activate(connection, conversation_id, parent_id, message_id)
    return message_id


def _activate(
    connection: sqlite3.Connection, conversation_id: int, parent_id: int | None, child_id: int
) -> None:
    if parent_id is None:
        connection.execute(
            "UPDATE conversations SET active_root_id = ? WHERE id = ?", (child_id, conversation_id)
        )
    else:
        connection.execute(
            "UPDATE messages SET active_child_id = ? WHERE id = ?", (child_id, parent_id)
        )
