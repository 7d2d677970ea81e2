"""What every tokenizer offers. Text never becomes a special id: callers add those by name."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """Special ids by name; None where the vocabulary lacks one."""

    eos: int
    mask: int | None = None  # [MASK], short blank
    gmask: int | None = None  # [gMASK], long blank
    smask: int | None = None  # [sMASK], sentence blank
    sop: int | None = None
    eop: int | None = None
    pad: int = 0


class Tokenizer(Protocol):
    """A vocabulary with its rules. Pure: no state between calls."""

    vocab_size: int
    specials: SpecialIds

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, each call a segment of its own. Never a special id."""
        ...

    def decode(self, token_ids: list[int]) -> str:
        """Text of ids; specials are printed as `[name]`."""
        ...

    def token_text(self, token_id: int) -> str:
        """How one token is shown to a person (▁ for its leading space, specials by name)."""
        ...

    def is_special(self, token_id: int) -> bool:
        """Whether the id is not text."""
        ...
