"""ChatGLM-6B and ChatGLM2-6B: numbered rounds of 问 and 答 (glm.md 10.3).

Their own code writes them as one text, so a person's line that reads like a turn is not told from
one: here it gets a space before its colon, as in `qa`.
"""

from collections.abc import Sequence
from typing import Literal

from bilin_engine.chat_format.base import ChatSize, require_question, require_room
from bilin_engine.chat_format.causal import causal_layout
from bilin_engine.chat_format.qa import no_marker
from bilin_engine.generation.masks import mask_id, stop_ids
from bilin_engine.generation.request import PromptLayout
from bilin_engine.protocol import Message
from bilin_engine.tokenizers.base import Tokenizer


class RoundsFormat:
    """`chatglm` (ChatGLM-6B) and `chatglm2`.

    chatglm: rounds from 0, a single question bare, [gMASK] and `sop` last; everything before `sop`
    is seen from both sides, and all output has the [gMASK]'s position. chatglm2: [gMASK] and `sop`
    first, rounds from 1, blank lines between, causal. System text comes before the first round.
    """

    stop_texts: tuple[str, ...] = ()
    may_think = False
    lead = ""

    def __init__(self, name: Literal["chatglm", "chatglm2"]) -> None:
        self.name = name

    def without_thinking(self) -> "RoundsFormat":
        """Itself: it asks for no reasoning."""
        return self

    def stop_ids(self, tokenizer: Tokenizer) -> frozenset[int]:
        """The end of the text, and `eop`."""
        return stop_ids(tokenizer.specials)

    def size(
        self, messages: Sequence[Message], tokenizer: Tokenizer, prefill: str = ""
    ) -> ChatSize:
        """Tokens the prompt takes; a message's are those of its own text."""
        total = len(self._ids(messages, tokenizer)) + len(tokenizer.encode_after(prefill))
        return ChatSize(total, tuple(len(tokenizer.encode(m.text)) for m in messages))

    def layout(
        self,
        messages: Sequence[Message],
        tokenizer: Tokenizer,
        max_length: int,
        prefill: str = "",
    ) -> PromptLayout:
        """The prompt that answers the last message."""
        prompt = self._ids(messages, tokenizer)
        begun = tokenizer.encode_after(prefill)
        require_room(len(prompt) + len(begun), max_length)
        if self.name == "chatglm2":
            return causal_layout([*prompt, *begun])
        prefix_len = len(prompt) - 1  # `sop` is causal
        output = [prefix_len - 1] * (1 + len(begun))
        return PromptLayout(
            token_ids=(*prompt, *begun),
            position_ids=(*range(prefix_len), *output),
            prefix_len=prefix_len,
            output_position=prefix_len - 1,
            mask_index=prefix_len - 1,
        )

    def _ids(self, messages: Sequence[Message], tokenizer: Tokenizer) -> list[int]:
        require_question(messages)
        specials = tokenizer.specials
        sop = specials.sop
        assert sop is not None, "both vocabularies have sop"
        frame = [mask_id(specials, "long"), sop]
        text = self._text(messages)
        if self.name == "chatglm2":
            return [*frame, *tokenizer.encode(text)]
        return [*tokenizer.encode(text), *frame]

    def _text(self, messages: Sequence[Message]) -> str:
        is_first = self.name == "chatglm"
        line = "\n" if is_first else "\n\n"
        text = "".join(m.text + line for m in messages if m.role == "system")
        turns = [m for m in messages if m.role != "system"]
        if is_first and len(turns) == 1:
            return text + turns[0].text
        number = -1 if is_first else 0
        for turn in turns:
            shown = "\n".join(map(no_marker, turn.text.split("\n")))
            if turn.role == "user":
                number += 1
                text += f"[Round {number}]{line}问：{shown}{line}答："
            else:
                text += f"{shown}{line}"
        return text
