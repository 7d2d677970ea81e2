"""Stored messages as pages show them. JSON columns are read leniently: a bad one is left out."""

import logging
import sqlite3
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from bilin_app.controllers import sentences
from bilin_app.controllers.views import (
    AnswerFacts,
    MessageState,
    MessageView,
    Seam,
)
from bilin_app.storage import conversations as stored
from bilin_app.storage.conversations import ConversationRecord, MessageRecord
from bilin_app.text.attachments import decode_attachments

logger = logging.getLogger(__name__)

T = TypeVar("T")


def encode(value: object) -> str:
    """A frozen dataclass (or a tuple of them) as the JSON of a column; None and () as ""."""
    return "" if value is None or value == () else msgspec.json.encode(value).decode()


@dataclass(frozen=True, slots=True)
class ShownConversation:
    """messages: the branch on show, oldest first. queued: in the order they were sent."""

    record: ConversationRecord
    messages: tuple[MessageView, ...]
    queued: tuple[MessageView, ...]


def load_shown(connection: sqlite3.Connection, conversation_id: int) -> ShownConversation | None:
    """None if it is gone. Not for the GUI thread: a few thousand messages take some frames."""
    content = stored.load_conversation(connection, conversation_id)
    if content is None:
        return None
    last = len(content.messages) - 1
    return ShownConversation(
        content.record,
        tuple(message_view(m, is_last=i == last) for i, m in enumerate(content.messages)),
        tuple(message_view(m, is_last=False) for m in content.queued),
    )


def message_view(record: MessageRecord, *, is_last: bool) -> MessageView:
    """A message as it is in the database. An answer under way is shown as waiting."""
    state: MessageState = "waiting" if record.state == "running" else record.state
    failure = record.failure
    if state == "interrupted" and not failure:
        failure = sentences.app_was_closed()  # nobody was left to write down why
    facts = decode(record.facts, AnswerFacts)
    is_opening = record.role == "assistant" and record.parent_id is None
    is_last_answer = is_last and record.role == "assistant" and not is_opening
    return MessageView(
        id=record.id,
        conversation_id=record.conversation_id,
        role=record.role,
        text=record.text,
        state=state,
        created_at=record.created_at,
        version=record.version,
        num_versions=record.num_versions,
        attachments=decode_attachments(record.attachments),
        facts=facts,
        seams=decode(record.seams, tuple[Seam, ...]) or (),
        failure=failure,
        detail=record.failure_detail,
        can_continue=is_last_answer and is_open_ended(state, facts),
        is_unanswered=is_last and record.role == "user",
        is_opening=is_opening,
    )


def is_open_ended(state: MessageState, facts: AnswerFacts | None) -> bool:
    """Whether there may be more to come after an answer that ended like this."""
    if state == "done":
        return facts is not None and facts.finish_reason == "length"
    return state in ("stopped", "failed", "interrupted")


def decode(text: str, kind: type[T]) -> T | None:
    """What `encode` made; None for "" and for what is not of this kind."""
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        logger.info("a column of a message is left out: %s", error)
        return None
