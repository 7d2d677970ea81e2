"""How a conversation becomes a prompt: a `ChatFormat` by name, and what it says of its size.

A person's text stays text: it never gives a mask token, a line-break mark or a turn of its own.
Knows nothing of models, sampling or the protocol's requests.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from bilin_engine.errors import BadRequestError, ContextOverflowError, UnsupportedModelError
from bilin_engine.generation.masks import Blank, MaskedSequence, layout_blank, mask_id
from bilin_engine.generation.request import PromptLayout
from bilin_engine.protocol import Message
from bilin_engine.tokenizers.base import Tokenizer

Language = Literal["zh", "en"]


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
    """

    name: str
    stop_texts: tuple[str, ...]

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


class QaFormat:
    """Questions and answers as plain lines, for models trained with masks.

    System text first, then `问：…` / `答：…` or `Question: …` / `Answer: …`, a line each, in the
    language of each question; the last answer is a [gMASK]. The prefill follows `sop`, as output
    already there. A line of a message that begins like a turn gets a space before its colon, so
    that only real turns begin with a marker.
    """

    name = "qa"
    stop_texts = tuple(
        f"\n{marker}" for marker in ("问：", "问:", "答：", "答:", "Question:", "Answer:")
    )

    def size(
        self, messages: Sequence[Message], tokenizer: Tokenizer, prefill: str = ""
    ) -> ChatSize:
        """Tokens the prompt takes; total also counts the answer's marker, [gMASK] and `sop`."""
        turns, opening = _encode_turns(messages, tokenizer)
        begun = _encode_start(prefill, tokenizer)
        per_message = tuple(map(len, turns))
        return ChatSize(sum(per_message) + len(opening) + 2 + len(begun), per_message)

    def layout(
        self,
        messages: Sequence[Message],
        tokenizer: Tokenizer,
        max_length: int,
        prefill: str = "",
    ) -> PromptLayout:
        """The prompt; everything before `sop` is the prefix, `sop` and the prefill are causal."""
        total = self.size(messages, tokenizer, prefill).total
        if total >= max_length:
            message = (
                f"the conversation is {total} tokens; the model holds {max_length} and needs room "
                f"for an answer: take away at least {total - max_length + 1} tokens"
            )
            raise ContextOverflowError(message)
        turns, opening = _encode_turns(messages, tokenizer)
        prompt = [token_id for part in (*turns, opening) for token_id in part]
        blank = Blank(index=0, kind="long", position=len(prompt))
        gmask = mask_id(tokenizer.specials, "long")
        return layout_blank(
            MaskedSequence((*prompt, gmask), (blank,)),
            blank,
            tokenizer.specials,
            max_length,
            begun=_encode_start(prefill, tokenizer),
        )


CHAT_FORMATS: dict[str, ChatFormat] = {QaFormat.name: QaFormat()}


def find_chat_format(name: str) -> ChatFormat:
    """The format called `name` in bilin.json. Raises UnsupportedModelError for an unknown one."""
    try:
        return CHAT_FORMATS[name]
    except KeyError:
        known = ", ".join(CHAT_FORMATS)
        message = f"chat_format {name!r} is not one Bilin has; use one of: {known}"
        raise UnsupportedModelError(message) from None


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


# --- Language ----------------------------------------------------------------------------------

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_LATIN_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)*")
# Words that Chinese sentences do not borrow: an English sentence has one, a name or a term none.
_ENGLISH_WORD = re.compile(
    r"\b(?:a|an|and|are|as|at|be|but|by|can|could|did|do|does|for|from|give|had|has|have|he"
    r"|her|his|how|i|if|in|into|is|it|its|like|me|mean|means|my|not|of|on|or|please|say|she"
    r"|should|tell|than|that|the|their|them|then|there|these|they|this|to|translate|us|was|we"
    r"|were|what|when|where|which|who|why|will|with|would|you|your)\b",
    re.IGNORECASE | re.ASCII,
)


def text_language(text: str) -> Language | None:
    """The language a text is written in, None where it has neither (numbers, signs).

    Foreign words inside do not count: "What does 狗 mean?" is English, "用 Rust 写 hello" Chinese.
    """
    num_han = len(_HAN.findall(text))
    words = _LATIN_WORD.findall(text)
    if not num_han:
        return "en" if words else None
    is_english = len(words) >= num_han and _ENGLISH_WORD.search(text) is not None
    return "en" if is_english else "zh"


# --- qa: lines and ids -------------------------------------------------------------------------

_QUESTION: dict[Language, str] = {"zh": "问：", "en": "Question:"}
_ANSWER: dict[Language, str] = {"zh": "答：", "en": "Answer:"}
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_MARKERS = ("问:", "答:", "Question:", "Answer:")  # in NFKC, which some vocabularies apply


def _encode_turns(
    messages: Sequence[Message], tokenizer: Tokenizer
) -> tuple[list[list[int]], list[int]]:
    """Ids of every message, and of the marker of the answer to come."""
    if not messages or messages[-1].role != "user":
        last = messages[-1].role if messages else "nothing"
        message = (
            f"a chat must end with the user's message, not with {last}; "
            f"an answer already begun belongs into prefill"
        )
        raise BadRequestError(message)
    language: Language | None = None
    texts: list[str] = []
    for turn in messages:
        if turn.role == "system":
            language = language or text_language(turn.text)
            texts.append(_line("", turn.text))
            continue
        if turn.role == "user":
            language = text_language(turn.text) or language
        markers = _QUESTION if turn.role == "user" else _ANSWER
        texts.append(_line(markers[language or "en"], turn.text))
    first, *rest = texts
    turns = [_encode_start(first, tokenizer), *map(tokenizer.encode_after, rest)]
    return turns, tokenizer.encode_after(_ANSWER[language or "en"])


def _encode_start(text: str, tokenizer: Tokenizer) -> list[int]:
    """Ids of text that begins a segment, everything in it taken as text; none for ""."""
    if not text:
        return []
    # A segment's first word carries a space in SentencePiece; `encode` would do as much, but in
    # GLM-130B's vocabulary it also reads a typed "<n>" as a line break.
    lead = "" if tokenizer.leading_space == "keep" else " "
    return tokenizer.encode_after(lead + text)


def _line(marker: str, text: str) -> str:
    lines = _LINE_BREAK.split(text.strip())
    shown = [_no_marker(line) for line in lines]
    if marker:
        shown[0] = marker + (" " if marker.isascii() else "") + lines[0]
    return "\n".join(shown) + "\n"


def _no_marker(line: str) -> str:
    """The line, with a space before the colon of what would read as a marker at its start."""
    plain = [unicodedata.normalize("NFKC", character) for character in line]
    seen = "".join(p for c, p in zip(line, plain, strict=True) if _is_visible(c))
    if not seen.startswith(_MARKERS):
        return line
    colon = plain.index(":")
    return f"{line[:colon]} {line[colon:]}"


def _is_visible(character: str) -> bool:
    return unicodedata.category(character) not in ("Cf", "Cc", "Mn")
