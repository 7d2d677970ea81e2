"""What a chat format is, and how a growing chat is made to fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bilin_engine.errors import BadRequestError, ContextOverflowError
from bilin_engine.generation.request import PromptLayout
from bilin_engine.protocol import Message
from bilin_engine.tokenizers.base import Tokenizer


@dataclass(frozen=True, slots=True)
class ChatSize:
    """Tokens of a prompt: `total` with everything, `per_message` in the order of the messages."""

    total: int
    per_message: tuple[int, ...]


class ChatFormat(Protocol):
    """One way of writing a conversation for a model.

    Attributes:
        name: as in bilin.json.
        stop_texts: where an answer ends although no stop token came.
        may_think: an answer may begin with <think>reasoning</think>.
    """

    name: str
    stop_texts: tuple[str, ...]
    may_think: bool

    def without_thinking(self) -> "ChatFormat":
        """The format that asks for an answer without reasoning; itself where there is no such."""
        ...

    def stop_ids(self, tokenizer: Tokenizer) -> frozenset[int]:
        """Ids that end an answer."""
        ...

    def size(
        self, messages: Sequence[Message], tokenizer: Tokenizer, prefill: str = ""
    ) -> ChatSize:
        """Tokens the prompt takes, whether or not it fits. Raises as `layout`."""
        ...

    def layout(
        self,
        messages: Sequence[Message],
        tokenizer: Tokenizer,
        max_length: int,
        prefill: str = "",
    ) -> PromptLayout:
        """The prompt that answers the last message, going on from `prefill`.

        max_length: tokens the model holds, the answer included. Raises BadRequestError unless the
        last message is the user's, ContextOverflowError when no room is left for an answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class FittedChat:
    """The messages that fit. `dropped`: indices of those that fell out; the person is told."""

    messages: tuple[Message, ...]
    dropped: tuple[int, ...]
    size: ChatSize


def fit_messages(
    chat_format: ChatFormat,
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    max_prompt_tokens: int,
    prefill: str = "",
) -> FittedChat:
    """Leaves out the oldest exchanges until the prompt fits.

    An exchange is a question with the answers that follow it; system text and the last question
    always stay. Raises ContextOverflowError when
    what must stay does not fit either.
    """
    dropped: list[int] = []
    while True:
        kept = [index for index in range(len(messages)) if index not in dropped]
        rest = tuple(messages[index] for index in kept)
        size = chat_format.size(rest, tokenizer, prefill)
        if size.total <= max_prompt_tokens:
            return FittedChat(rest, tuple(dropped), size)
        turns = [index for index in kept if messages[index].role != "system"]
        starts = [index for index in turns[1:] if messages[index].role == "user"]
        if not starts:
            message = (
                f"the last message takes {size.total} tokens with what must stay; there is room "
                f"for {max_prompt_tokens}: shorten it by {size.total - max_prompt_tokens} tokens"
            )
            raise ContextOverflowError(message)
        dropped.extend(index for index in turns if index < starts[0])


def require_question(messages: Sequence[Message]) -> None:
    """Raises BadRequestError unless the last message is the user's."""
    if messages and messages[-1].role == "user":
        return
    last = messages[-1].role if messages else "nothing"
    raise BadRequestError(
        f"a chat must end with the user's message, not with {last}; "
        f"an answer already begun belongs into prefill"
    )


def require_room(total: int, max_length: int) -> None:
    """Raises ContextOverflowError unless a prompt of `total` tokens leaves room for an answer."""
    if total >= max_length:
        raise ContextOverflowError(
            f"the conversation is {total} tokens; the model holds {max_length} and needs room "
            f"for an answer: take away at least {total - max_length + 1} tokens"
        )
