"""Messages that a person deleted: off the conversation at once, gone for good at the next start.

Only the top of what was deleted is marked: what follows it can be reached by no branch.
"""

import sqlite3

from bilin_app.storage.conversations import MAX_BRANCH, activate
from bilin_app.storage.search import index_message, unindex_message

_SUBTREE = (
    "WITH RECURSIVE below (id, conversation_id) AS ("
    " SELECT id, conversation_id FROM messages WHERE id = ?"
    " UNION SELECT m.id, m.conversation_id FROM below JOIN messages m"
    "  ON m.conversation_id = below.conversation_id AND m.parent_id = below.id{condition}"
    f" LIMIT {MAX_BRANCH}) SELECT id FROM below"
)


def delete_message(connection: sqlite3.Connection, message_id: int, now: float) -> int:
    """Takes a message off its conversation with all that follows it, in all versions.

    The version beside it is shown then, if there is one. Returns how many messages went; 0 for one
    that is gone already, that waits or that is being written.
    """
    row = connection.execute(
        "SELECT conversation_id, parent_id FROM messages"
        " WHERE id = ? AND deleted_at IS NULL AND state NOT IN ('queued', 'running')",
        (message_id,),
    ).fetchone()
    if row is None:
        return 0
    conversation_id, parent_id = row
    below = _subtree(connection, message_id, with_deleted=False)
    for one in below:
        unindex_message(connection, one)
    connection.execute("UPDATE messages SET deleted_at = ? WHERE id = ?", (now, message_id))
    beside = connection.execute(
        "SELECT id FROM messages WHERE conversation_id = ? AND parent_id IS ?"
        " AND state != 'queued' AND deleted_at IS NULL ORDER BY id > ?, abs(id - ?) LIMIT 1",
        (conversation_id, parent_id, message_id, message_id),
    ).fetchone()
    activate(connection, conversation_id, parent_id, beside[0] if beside else None)
    return len(below)


def restore_message(connection: sqlite3.Connection, message_id: int) -> int:
    """Brings back what `delete_message` took and shows it; returns its conversation, 0 if gone."""
    row = connection.execute(
        "UPDATE messages SET deleted_at = NULL WHERE id = ? AND deleted_at IS NOT NULL"
        " RETURNING conversation_id, parent_id",
        (message_id,),
    ).fetchone()
    if row is None:
        return 0
    for one in _subtree(connection, message_id, with_deleted=False):
        text, state = connection.execute(
            "SELECT text, state FROM messages WHERE id = ?", (one,)
        ).fetchone()
        if state not in ("queued", "running"):
            index_message(connection, one, text)
    activate(connection, row[0], row[1], message_id)
    return row[0]


def purge_deleted(connection: sqlite3.Connection) -> None:
    """Removes for good what was deleted: nothing offers to bring it back any more."""
    tops = connection.execute("SELECT id FROM messages WHERE deleted_at IS NOT NULL").fetchall()
    for (top,) in tops:
        for one in _subtree(connection, top, with_deleted=True):
            unindex_message(connection, one)
            connection.execute("DELETE FROM messages WHERE id = ?", (one,))


def _subtree(connection: sqlite3.Connection, message_id: int, *, with_deleted: bool) -> list[int]:
    """A message and what follows it. Not with_deleted: without what was deleted before, alone."""
    condition = "" if with_deleted else " AND m.deleted_at IS NULL"
    query = _SUBTREE.replace("{condition}", condition)
    return [row[0] for row in connection.execute(query, (message_id,))]
