"""What every tokenizer offers. Text never becomes a special id: callers add those by name."""

from collections.abc import Sequence
from typing import Literal, Protocol

from bilin_engine.config import SpecialIds


class Tokenizer(Protocol):
    """A vocabulary with its rules. Pure: no state between calls.

    Attributes:
        vocab_size: ids in use, specials included (a model's table may be padded beyond it).
        specials: the ids that text never gives.
        newline_id: the id of a line break, None where a line break is ordinary text.
        leading_space: what decoding does with white space at the start: keep it, drop one, or all.
    """

    vocab_size: int
    specials: SpecialIds
    newline_id: int | None
    leading_space: Literal["keep", "one", "all"]

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, each call a segment of its own. Never a special id."""
        ...

    def encode_after(self, text: str) -> list[int]:
        """Ids of `text` in the middle of a segment: no leading space is added.

        Line breaks become `newline_id`; whatever else a person typed stays text.
        """
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of ids; specials are printed as `[name]`."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """UTF-8 of one token, its leading space included; part of a character is possible."""
        ...

    def token_text(self, token_id: int) -> str:
        """How one token is shown to a person (▁ for its leading space, specials by name)."""
        ...

    def is_special(self, token_id: int) -> bool:
        """Whether the id is not text."""
        ...
