"""What of a conversation is sent to the engine."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from msgspec import structs

from bilin_app.controllers.answer_run import AnswerJob
from bilin_app.controllers.message_views import message_view
from bilin_app.controllers.views import MessageView
from bilin_app.storage.conversations import AnswerContext
from bilin_app.text.attachments import with_attachments
from bilin_app.text.thinking import part_thought
from bilin_engine.protocol import Message, Sampling

logger = logging.getLogger(__name__)

MAX_SEED = 2**63 - 1  # what an engine takes


def prompt_messages(system_prompt: str, views: Iterable[MessageView]) -> tuple[Message, ...]:
    """The branch as messages. Answers that never got a word, and thoughts, are left out."""
    messages = [Message(view.role, said) for view in views if (said := _said(view))]
    if system_prompt.strip():
        messages.insert(0, Message("system", system_prompt))
    return tuple(messages)


def _said(view: MessageView) -> str:
    if view.role == "user":
        return with_attachments(view.text, view.attachments)
    return part_thought(view.text, is_complete=True).answer


@dataclass(frozen=True, slots=True)
class AnswerPrompt:
    """What an answer goes on from. messages: those that lead to it, as they are sent."""

    answer: MessageView
    messages: tuple[Message, ...]
    sampling: str
    model: str

    @classmethod
    def of(cls, context: AnswerContext) -> "AnswerPrompt":
        """Not for the GUI thread: a few thousand messages take some frames."""
        views = [message_view(record, is_last=False) for record in context.messages]
        return cls(
            message_view(context.answer, is_last=True),
            prompt_messages(context.system_prompt, views),
            context.sampling,
            context.model,
        )

    def job(self, recommended: Sampling) -> AnswerJob:
        """What to ask for the answer: it goes on from the text it has.

        recommended: the model's own sampling, for conversations that chose none.
        """
        return AnswerJob(
            conversation_id=self.answer.conversation_id,
            message_id=self.answer.id,
            messages=self.messages,
            prefix=self.answer.text,
            seams=self.answer.seams,
            sampling=decode_sampling(self.sampling, recommended),
            model=self.model,
        )


def decode_sampling(text: str, recommended: Sampling) -> Sampling:
    """Sampling from a conversation's column; `recommended` where it holds none that we know."""
    if not text:
        return recommended
    try:
        sampling = msgspec.json.decode(text, type=Sampling)
    except msgspec.DecodeError as error:
        logger.info("the sampling of a conversation is left out: %s", error)
        return recommended
    if sampling.seed is not None and not 0 <= sampling.seed <= MAX_SEED:
        return structs.replace(sampling, seed=None)
    return sampling
