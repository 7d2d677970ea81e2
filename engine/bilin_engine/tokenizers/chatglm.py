"""The SentencePiece tokenizers of ChatGLM-6B (`ice_text.model`) and ChatGLM2/3 (`tokenizer.model`).

Source: glm.md 3.1, 10.3 and 11; THUDM/chatglm-6b's and chatglm3-6b's tokenization_chatglm.py.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import sentencepiece

from bilin_engine.config import SpecialIds
from bilin_engine.errors import ModelBrokenError
from bilin_engine.tokenizers.streaming import StreamDecoder

CHATGLM2_SPECIALS = ("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop")
CHATGLM3_ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
MAX_BLANKS = 80

_BLANKS = re.compile(rf" {{2,{MAX_BLANKS}}}")
_BLANK_PIECE = re.compile(r"<\|blank_(\d+)\|>")
_CHATGLM_6B_MARKERS = ("[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<n>", "<|tab|>")


class _Pieces:
    """What both have in common: a SentencePiece model, and ids that text never gives."""

    newline_id: int | None = None
    leading_space: Literal["keep", "one", "all"] = "one"
    vocab_size: int
    specials: SpecialIds

    def __init__(self, model_file: Path) -> None:
        self._pieces = _load(model_file)
        self.num_pieces = self._pieces.vocab_size()
        self._names: dict[int, str] = {}

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of ids; specials are printed as `[name]`."""
        stream = StreamDecoder(self)  # pyright: ignore[reportArgumentType] - a subclass is whole
        return "".join([*map(stream.feed, token_ids), stream.flush()])

    def token_bytes(self, token_id: int) -> bytes:
        """UTF-8 of one token; specials and unused ids as `[name]`, control pieces as nothing."""
        if self.is_special(token_id):
            return f"[{self.token_text(token_id)}]".encode()
        piece = self._pieces.id_to_piece(token_id)
        if self._pieces.is_byte(token_id):
            return bytes([int(piece[3:5], 16)])
        if self._pieces.is_unknown(token_id):
            return " \u2047 ".encode()
        if self._pieces.is_control(token_id):
            return b""
        return piece.replace("▁", " ").encode()

    def token_text(self, token_id: int) -> str:
        """The piece as trained (▁ = space), specials by name or number."""
        if self.is_special(token_id):
            return self._names.get(token_id, str(token_id))
        return self._pieces.id_to_piece(token_id)

    def is_special(self, token_id: int) -> bool:
        """Whether the id is not text."""
        return token_id in self._names or not 0 <= token_id < self.num_pieces

    def _encode_behind(self, anchor: str, piece: str, text: str) -> list[int]:
        """Ids of text behind `anchor`, which is one piece: no space is put before the text."""
        if not text:
            return []
        anchored = self._pieces.encode(anchor + text)
        return anchored[anchored.index(self._pieces.piece_to_id(piece)) + 1 :]


class ChatGLMTokenizer(_Pieces):
    """ChatGLM2-6B and ChatGLM3-6B: pieces, then five specials, then (3) four roles.

    markers: text -> id of what prompts are framed with; text itself never gives them. frame: the
    ids that every text begins with.
    """

    def __init__(self, model_file: Path) -> None:
        super().__init__(model_file)
        names = (*CHATGLM2_SPECIALS, *CHATGLM3_ROLES)
        self.markers: Mapping[str, int] = {
            name: self.num_pieces + index for index, name in enumerate(names)
        }
        eos = self._pieces.eos_id()
        self._names = {token_id: name for name, token_id in self.markers.items()} | {eos: "</s>"}
        self.vocab_size = self.num_pieces + len(names)
        self.specials = SpecialIds(
            eos=eos,
            mask=self.markers["[MASK]"],
            gmask=self.markers["[gMASK]"],
            smask=self.markers["[sMASK]"],
            sop=self.markers["sop"],
            eop=self.markers["eop"],
        )
        self.frame = (self.markers["[gMASK]"], self.markers["sop"])

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, with the space that SentencePiece puts before the first word."""
        return self._pieces.encode(text) if text else []

    def encode_after(self, text: str) -> list[int]:
        """Ids of `text` without that space; a line break is a byte piece and takes none along."""
        return self._encode_behind("\n", "<0x0A>", text)


class ChatGLM6BTokenizer(_Pieces):
    """ChatGLM-6B: line breaks are `<n>`, tabs `<|tab|>`, runs of spaces `<|blank_k|>`."""

    def __init__(self, model_file: Path) -> None:
        super().__init__(model_file)
        missing = [m for m in _CHATGLM_6B_MARKERS if self._id(m) == self._pieces.unk_id()]
        if missing:
            raise ModelBrokenError(
                f"the tokenizer file {model_file} has no piece {missing[0]}; ChatGLM-6B's "
                "ice_text.model, with 130344 pieces, has"
            )
        framing = _CHATGLM_6B_MARKERS[:5]
        self.markers: Mapping[str, int] = {name: self._id(name) for name in framing}
        self._names = {token_id: name for name, token_id in self.markers.items()}
        self._names[self._pieces.eos_id()] = "</s>"
        self.newline_id: int | None = self._id("<n>")
        self.vocab_size = self.num_pieces
        self.specials = SpecialIds(
            eos=self.markers["<eop>"],
            mask=self.markers["[MASK]"],
            gmask=self.markers["[gMASK]"],
            smask=self.markers["[sMASK]"],
            sop=self.markers["<sop>"],
            eop=self.markers["<eop>"],
        )

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; what reads as a marker stays text."""
        return self._encode_literally(text, starts_segment=True)

    def encode_after(self, text: str) -> list[int]:
        """Ids of `text` in the middle of a segment."""
        return self._encode_literally(text, starts_segment=False)

    def token_bytes(self, token_id: int) -> bytes:
        """UTF-8 of one token; `<n>`, `<|tab|>` and `<|blank_k|>` as what they stand for."""
        if token_id == self.newline_id:
            return b"\n"
        if token_id == self._id("<|tab|>"):
            return b"\t"
        if not self.is_special(token_id):
            match = _BLANK_PIECE.fullmatch(self._pieces.id_to_piece(token_id))
            if match:
                return b" " * int(match[1])
        return super().token_bytes(token_id)

    def _id(self, piece: str) -> int:
        return self._pieces.piece_to_id(piece)

    def _encode_literally(self, text: str, *, starts_segment: bool) -> list[int]:
        ids: list[int] = []
        # What a person typed like a marker is cut inside, so that no half is the marker.
        parts = _TYPED_MARKER.split(text)
        for index, part in enumerate(parts):
            spaced = part.replace("\n", "<n>").replace("\t", "<|tab|>")
            spaced = _BLANKS.sub(lambda match: f"<|blank_{len(match[0])}|>", spaced)
            if not spaced:
                continue
            if starts_segment and index == 0:
                ids += self._pieces.encode(spaced)
            else:
                ids += self._encode_behind("<n>", "<n>", spaced)
        return ids


# The places after the first character of everything that reads as a marker.
_TYPED_MARKER = re.compile(
    r"(?<=\[)(?=[gs]?MASK\])|(?<=<)(?=sop>|eop>|n>|\|tab\|>|\|blank_\d+\|>|/s>|s>|pad>|unk>)"
    r"|(?<=<)(?=ENC>|dBLOCK>|unused_\d>|0x[0-9A-F]{2}>)"
)


def _load(model_file: Path) -> sentencepiece.SentencePieceProcessor:
    if not model_file.is_file():
        raise ModelBrokenError(
            f"the tokenizer file {model_file.name} is missing from {model_file.parent}"
        )
    pieces = sentencepiece.SentencePieceProcessor()
    try:
        pieces.load_from_serialized_proto(model_file.read_bytes())
    except (RuntimeError, OSError) as error:
        message = f"the tokenizer file {model_file} is damaged: not a SentencePiece model"
        raise ModelBrokenError(message, detail=str(error)) from error
    return pieces
