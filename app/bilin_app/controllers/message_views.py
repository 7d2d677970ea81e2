"""Stored messages as pages show them. JSON columns are read leniently: a bad one is left out."""

import logging
from typing import TypeVar

import msgspec

from bilin_app.controllers import sentences
from bilin_app.controllers.views import AnswerFacts, MessageState, MessageView, Seam
from bilin_app.storage.conversations import MessageRecord

logger = logging.getLogger(__name__)

T = TypeVar("T")


def encode(value: object) -> str:
    """A frozen dataclass (or a tuple of them) as the JSON of a column; None as ""."""
    return "" if value is None else msgspec.json.encode(value).decode()


def message_view(record: MessageRecord, *, is_last: bool) -> MessageView:
    """A message as it is in the database. An answer under way is shown as waiting."""
    state: MessageState = "waiting" if record.state == "running" else record.state
    failure = record.failure
    if state == "interrupted" and not failure:
        failure = sentences.app_was_closed()  # nobody was left to write down why
    facts = _decode(record.facts, AnswerFacts)
    return MessageView(
        id=record.id,
        conversation_id=record.conversation_id,
        role=record.role,
        text=record.text,
        state=state,
        created_at=record.created_at,
        version=record.version,
        num_versions=record.num_versions,
        facts=facts,
        seams=_decode(record.seams, tuple[Seam, ...]) or (),
        failure=failure,
        detail=record.failure_detail,
        can_continue=is_last and record.role == "assistant" and is_open_ended(state, facts),
    )


def is_open_ended(state: MessageState, facts: AnswerFacts | None) -> bool:
    """Whether there may be more to come after an answer that ended like this."""
    if state == "done":
        return facts is not None and facts.finish_reason == "length"
    return state in ("stopped", "failed", "interrupted")


def _decode(text: str, kind: type[T]) -> T | None:
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        logger.info("a column of a message is left out: %s", error)
        return None
