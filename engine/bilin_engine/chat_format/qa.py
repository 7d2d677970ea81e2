"""Questions and answers as plain lines, for models trained with masks."""

import re
import unicodedata
from collections.abc import Sequence

from bilin_engine.chat_format.base import ChatSize, require_question, require_room
from bilin_engine.chat_format.language import Language, text_language
from bilin_engine.generation.masks import Blank, MaskedSequence, layout_blank, mask_id, stop_ids
from bilin_engine.generation.request import PromptLayout
from bilin_engine.protocol import Message
from bilin_engine.tokenizers.base import Tokenizer


class QaFormat:
    """Questions and answers as plain lines, for models trained with masks.

    System text first, then `问：…` / `答：…` or `Question: …` / `Answer: …`, a line each, in the
    language of each question; the last answer is a [gMASK]. The prefill follows `sop`, as output
    already there. A line of a message that begins like a turn gets a space before its colon, so
    that only real turns begin with a marker.
    """

    name = "qa"
    may_think = False
    lead = ""
    stop_texts = tuple(
        f"\n{marker}" for marker in ("问：", "问:", "答：", "答:", "Question:", "Answer:")
    )

    def without_thinking(self) -> "QaFormat":
        """Itself: it asks for no reasoning."""
        return self

    def stop_ids(self, tokenizer: Tokenizer) -> frozenset[int]:
        """`eos` and `eop`."""
        return stop_ids(tokenizer.specials)

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
        require_room(self.size(messages, tokenizer, prefill).total, max_length)
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


_QUESTION: dict[Language, str] = {"zh": "问：", "en": "Question:"}
_ANSWER: dict[Language, str] = {"zh": "答：", "en": "Answer:"}
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_MARKERS = ("问:", "答:", "Question:", "Answer:")  # in NFKC, which some vocabularies apply


def _encode_turns(
    messages: Sequence[Message], tokenizer: Tokenizer
) -> tuple[list[list[int]], list[int]]:
    """Ids of every message, and of the marker of the answer to come."""
    require_question(messages)
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
    shown = [no_marker(line) for line in lines]
    if marker:
        shown[0] = marker + (" " if marker.isascii() else "") + lines[0]
    return "\n".join(shown) + "\n"


def no_marker(line: str) -> str:
    """The line, with a space before the colon of what would read as a marker at its start."""
    plain = [unicodedata.normalize("NFKC", character) for character in line]
    seen = "".join(p for c, p in zip(line, plain, strict=True) if _is_visible(c))
    if not seen.startswith(_MARKERS):
        return line
    colon = next(index for index, shown in enumerate(plain) if ":" in shown)
    return f"{line[:colon]} {line[colon:]}"


def _is_visible(character: str) -> bool:
    return unicodedata.category(character) not in ("Cf", "Cc", "Mn")
