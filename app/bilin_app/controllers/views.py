"""What the chat's controllers hand to pages: frozen values, no Qt, no database rows.

Times are seconds since the epoch. Ids are the database's; 0 means "none yet". Sentences are in the
language of the moment they were made and are meant to be read as they are.
"""

from dataclasses import dataclass
from typing import Literal

from bilin_app.controllers.engine_views import ModelView
from bilin_app.text.attachments import Attachment
from bilin_engine.protocol import Sampling

AnswerState = Literal["waiting", "running", "done", "stopped", "failed", "interrupted"]
MessageState = Literal["queued"] | AnswerState  # a person's message is "queued" or "done"
FinishReason = Literal["", "stop", "length", "context", "stop_text"]


@dataclass(frozen=True, slots=True)
class AnswerFacts:
    """What an answer took. Times in seconds; `finish_reason` "" = it did not end by itself."""

    model: ModelView
    prompt_tokens: int
    new_tokens: int
    time_to_first_token_s: float
    rate_tok_s: float
    seed: int
    finish_reason: FinishReason = ""


@dataclass(frozen=True, slots=True)
class Seam:
    """A place in an answer. offset: in characters; reason: a sentence, or "".

    kind: "break" = it was taken up again here; "begun" = the person wrote what is before it.
    """

    offset: int
    reason: str
    kind: Literal["break", "begun"] = "break"


@dataclass(frozen=True, slots=True)
class AnswerProgress:
    """How far an answer is. first_token_s, rest_s: still to wait, at most for the rest.

    None = it is there already, or not known: nothing was measured of this model on this machine.
    """

    new_tokens: int = 0
    rate_tok_s: float = 0.0
    first_token_s: float | None = None
    rest_s: float | None = None


@dataclass(frozen=True, slots=True)
class MessageView:
    """One message as shown. version is 1-based: ‹ version/num_versions ›.

    failure: the sentence why the answer ended early ("failed", "interrupted"), detail behind it.
    can_continue: `continue_answer(id)` would go on from this text. is_unanswered: a person's last
    message, whose answers were deleted; `regenerate(id)` asks for one. is_opening: an answer to
    nothing, with which an imported conversation begins; no model can give another.
    """

    id: int
    conversation_id: int
    role: Literal["user", "assistant"]
    text: str
    state: MessageState
    created_at: float
    version: int = 1
    num_versions: int = 1
    facts: AnswerFacts | None = None
    seams: tuple[Seam, ...] = ()
    failure: str = ""
    detail: str = ""
    can_continue: bool = False
    attachments: tuple[Attachment, ...] = ()
    is_unanswered: bool = False
    is_opening: bool = False


@dataclass(frozen=True, slots=True)
class ConversationView:
    """The conversation on show. id 0: a new one, which is stored with its first message.

    messages: the branch on show, oldest first. queued: messages that wait for the running answer.
    """

    id: int
    title: str
    messages: tuple[MessageView, ...] = ()
    queued: tuple[MessageView, ...] = ()
    draft: str = ""
    system_prompt: str = ""
    model: str = ""  # the one chosen for it, "" = whichever is loaded


@dataclass(frozen=True, slots=True)
class TokenCountView:
    """What sending the draft now would use of the context, counted by the model's tokenizer.

    num_dropped: how many of the oldest messages would be left out for it. dropped: their texts.
    """

    total: int
    context_length: int
    num_dropped: int = 0
    dropped: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the prompt, without what is left out, leaves room for at least one token."""
        return self.total < self.context_length or self.num_dropped > 0


@dataclass(frozen=True, slots=True)
class ExampleView:
    """Something the loaded model was measured to do."""

    lang: Literal["zh", "en"]
    text: str


@dataclass(frozen=True, slots=True)
class Preset:
    """How a conversation is written, under a name."""

    name: str
    system_prompt: str
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class DeletedMessages:
    """A message and all below it: `ChatController.restore_messages(id)` brings them back."""

    id: int
    count: int
