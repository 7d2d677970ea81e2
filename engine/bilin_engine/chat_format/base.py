"""What a chat format is, and how a growing chat is made to fit."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
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

    @property
    def lead(self) -> str:
        """White space between role and text that a prompt leaves to the model, or "".

        An answer begins with it, and it is no part of the answer.
        """
        ...

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
    check: Callable[[], None] = lambda: None,
    whole: ChatSize | None = None,
) -> FittedChat:
    """Leaves out the oldest exchanges until the prompt fits.

    An exchange is a question with the answers that follow it; system text and the last question
    always stay. check: called between countings, to end them by what it raises. whole: the size
    with all messages, where it was counted already. Raises ContextOverflowError when what must
    stay does not fit either.
    """
    turns = [index for index, message in enumerate(messages) if message.role != "system"]
    starts = [0, *(index for index in turns[1:] if messages[index].role == "user")]

    def fitted(number: int) -> FittedChat:
        """The messages from an exchange on, whether or not they fit."""
        check()
        dropped = tuple(index for index in turns if index < starts[number])
        gone = set(dropped)
        rest = tuple(message for index, message in enumerate(messages) if index not in gone)
        return FittedChat(rest, dropped, chat_format.size(rest, tokenizer, prefill))

    misses = fitted(0) if whole is None else FittedChat(tuple(messages), (), whole)
    fits = None
    if misses.size.total <= max_prompt_tokens:
        return misses
    # To count is to encode all that is left, so the first counting says where to look.
    guess = _first_that_fits(misses.size, turns, starts, max_prompt_tokens)
    probes = [guess - 1, guess]
    low, high = 0, len(starts)  # too long; short enough, or past the end
    while high - low > 1:
        probe = probes.pop() if probes else (low + high) // 2
        probe = min(max(probe, low + 1), high - 1)
        tried = fitted(probe)
        if tried.size.total <= max_prompt_tokens:
            fits, high = tried, probe
        else:
            misses, low = tried, probe
    if fits is not None:
        return fits
    total = misses.size.total
    message = (
        f"the last message takes {total} tokens with what must stay; there is room "
        f"for {max_prompt_tokens}: shorten it by {total - max_prompt_tokens} tokens"
    )
    raise ContextOverflowError(message)


def _first_that_fits(
    size: ChatSize, turns: Sequence[int], starts: Sequence[int], max_prompt_tokens: int
) -> int:
    """About which of `starts` would do, were every message's frame of the same size."""
    frame = (size.total - sum(size.per_message)) / len(size.per_message)
    gone = [0.0, *accumulate(size.per_message[index] + frame for index in turns)]
    for number, start in enumerate(starts):
        if size.total - gone[bisect_left(turns, start)] <= max_prompt_tokens:
            return number
    return len(starts) - 1


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
