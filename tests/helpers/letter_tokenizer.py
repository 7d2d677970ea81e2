"""A tokenizer whose ids are code points: what is laid out can be read, lengths are plain."""

from collections.abc import Sequence
from typing import Literal

from bilin_engine.config import SpecialIds

FIRST_SPECIAL = 0x110000  # after the last code point


class LetterTokenizer:
    """One id a character; the line break is its own id 10."""

    vocab_size = FIRST_SPECIAL + 6
    specials = SpecialIds(
        eos=FIRST_SPECIAL,
        mask=FIRST_SPECIAL + 1,
        gmask=FIRST_SPECIAL + 2,
        smask=FIRST_SPECIAL + 3,
        sop=FIRST_SPECIAL + 4,
        eop=FIRST_SPECIAL + 5,
    )
    newline_id: int | None = 10
    leading_space: Literal["keep", "one", "all"] = "keep"
    _names = ("</s>", "[MASK]", "[gMASK]", "[sMASK]", "sop", "eop")

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def encode_after(self, text: str) -> list[int]:
        return self.encode(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        return b"".join(map(self.token_bytes, token_ids)).decode()

    def token_bytes(self, token_id: int) -> bytes:
        text = self.token_text(token_id)
        return (f"[{text}]" if self.is_special(token_id) else text).encode()

    def token_text(self, token_id: int) -> str:
        if self.is_special(token_id):
            return self._names[token_id - FIRST_SPECIAL]
        return chr(token_id)

    def is_special(self, token_id: int) -> bool:
        return token_id >= FIRST_SPECIAL
