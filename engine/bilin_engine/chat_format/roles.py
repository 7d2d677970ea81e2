"""ChatGLM3-6B and GLM-4-9B as their own code frames turns: role ids, each text encoded alone.

`chatglm3`: [gMASK] sop, then a role's id, an empty line's ids, the text. `glm4`: the same with
`<sop>`. A role typed by a person stays text, since only this code makes role ids (glm.md 10.3).
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from bilin_engine.chat_format.base import ChatSize, require_question, require_room
from bilin_engine.chat_format.causal import causal_layout
from bilin_engine.errors import UnsupportedModelError
from bilin_engine.generation.masks import stop_ids
from bilin_engine.generation.request import PromptLayout
from bilin_engine.protocol import Message
from bilin_engine.tokenizers.base import Tokenizer

_STOP_ROLES = ("<|user|>", "<|observation|>")


class RolesFormat:
    """`chatglm3` and `glm4`."""

    stop_texts: tuple[str, ...] = ()
    may_think = True
    lead = "\n"

    def __init__(self, name: Literal["chatglm3", "glm4"]) -> None:
        self.name = name

    def without_thinking(self) -> "RolesFormat":
        """Itself: it asks for no reasoning."""
        return self

    def stop_ids(self, tokenizer: Tokenizer) -> frozenset[int]:
        """The end of the text, and the roles that are not the model's to play."""
        markers = _markers(tokenizer)
        roles = {markers[role] for role in _STOP_ROLES if role in markers}
        return stop_ids(tokenizer.specials) | roles

    def size(
        self, messages: Sequence[Message], tokenizer: Tokenizer, prefill: str = ""
    ) -> ChatSize:
        """Tokens the prompt takes; a message's are those of its text with its role."""
        require_question(messages)
        per_message = tuple(len(self._turn(message, tokenizer)) for message in messages)
        begun = len(self._begun(prefill, tokenizer))
        return ChatSize(2 + sum(per_message) + 1 + begun, per_message)

    def layout(
        self,
        messages: Sequence[Message],
        tokenizer: Tokenizer,
        max_length: int,
        prefill: str = "",
    ) -> PromptLayout:
        """The prompt that answers the last message."""
        require_room(self.size(messages, tokenizer, prefill).total, max_length)
        markers = _markers(tokenizer)
        token_ids = [markers["[gMASK]"], markers["sop" if self.name == "chatglm3" else "<sop>"]]
        for message in messages:
            token_ids += self._turn(message, tokenizer)
        token_ids.append(markers["<|assistant|>"])
        return causal_layout([*token_ids, *self._begun(prefill, tokenizer)])

    def _turn(self, message: Message, tokenizer: Tokenizer) -> list[int]:
        role = _markers(tokenizer)[f"<|{message.role}|>"]
        # As their own code does with answers; what was generated then begins the next prompt too.
        text = message.text.strip() if message.role == "assistant" else message.text
        return [role, *tokenizer.encode(self.lead), *tokenizer.encode(text)]

    def _begun(self, prefill: str, tokenizer: Tokenizer) -> list[int]:
        """What a begun answer adds behind the assistant's role."""
        if not prefill:
            return []
        return [*tokenizer.encode(self.lead), *tokenizer.encode(prefill.lstrip())]


def _markers(tokenizer: Tokenizer) -> Mapping[str, int]:
    markers = getattr(tokenizer, "markers", None)
    if markers is None:
        raise UnsupportedModelError(
            "this tokenizer has no role markers; the chat formats chatglm3 and glm4 need them"
        )
    return markers
