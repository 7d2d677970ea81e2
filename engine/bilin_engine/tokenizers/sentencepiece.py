"""SentencePiece vocabularies with GLM-130B's special ids appended: Bilin Mini's tokenizer.

The model needs the user-defined piece `<n>`: a line break is that id, in both directions. Knows
nothing of prompts; which special goes where is `generation/masks.py`.
"""

import io
import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import sentencepiece

from bilin_engine.config import SpecialIds
from bilin_engine.errors import ModelBrokenError
from bilin_engine.tokenizers.streaming import StreamDecoder

NEWLINE_PIECE = "<n>"
SPECIAL_NAMES = ("[MASK]", "[gMASK]", "[sMASK]", "eod", "sop", "eop", "ENC", "dBLOCK")

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_INSIDE_NEWLINE_PIECE = re.compile(r"(?<=<)(?=n>)")


class SentencePieceTokenizer:
    """Text id = piece id + `first_text_id`; the specials follow the last text id.

    `encode` keeps line breaks as `<n>` and keeps a typed "<n>" as three characters. Raises
    ModelBrokenError for a file that is missing or not a SentencePiece model with `<n>` and `</s>`.
    """

    def __init__(self, model_file: Path, *, first_text_id: int = 0) -> None:
        self._pieces = _load(model_file)
        self._first = first_text_id
        self.num_pieces = self._pieces.vocab_size()
        specials_start = first_text_id + self.num_pieces
        self.vocab_size = specials_start + len(SPECIAL_NAMES)
        eos = first_text_id + self._pieces.eos_id()
        self._special_names = {specials_start + i: name for i, name in enumerate(SPECIAL_NAMES)}
        self._special_names[eos] = "</s>"
        self.specials = SpecialIds(
            eos=eos,
            mask=specials_start,
            gmask=specials_start + 1,
            smask=specials_start + 2,
            sop=specials_start + 4,
            eop=specials_start + 5,
        )
        self.newline_id: int | None = first_text_id + self._pieces.piece_to_id(NEWLINE_PIECE)
        self.leading_space: Literal["keep", "one", "all"] = _leading_space(self._pieces)

    def encode(self, text: str) -> list[int]:
        """Ids of `text` as a segment of its own; each line break is `newline_id`."""
        return self._encode_lines(text, starts_segment=True)

    def encode_after(self, text: str) -> list[int]:
        """Ids of `text` in the middle of a segment; a typed "<n>" stays three characters."""
        return self._encode_lines(text, starts_segment=False)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of ids; each run between specials is decoded alone, as the reference does."""
        stream = StreamDecoder(self)
        return "".join([*map(stream.feed, token_ids), stream.flush()])

    def token_bytes(self, token_id: int) -> bytes:
        """UTF-8 of one token; b"" for control pieces, specials and unused ids as `[name]`."""
        if self.is_special(token_id):
            return f"[{self.token_text(token_id)}]".encode()
        piece_id = token_id - self._first
        piece = self._pieces.id_to_piece(piece_id)
        if self._pieces.is_byte(piece_id):
            return bytes([int(piece[3:5], 16)])  # pieces are named <0x00> to <0xFF>
        if self._pieces.is_unknown(piece_id):
            return " \u2047 ".encode()  # SentencePiece's own surface for what it does not know
        if self._pieces.is_control(piece_id):
            return b""
        if token_id == self.newline_id:
            return b"\n"
        return piece.replace("▁", " ").encode()

    def token_text(self, token_id: int) -> str:
        """The piece as trained (▁ = space), ⏎ for a line break, specials by name or number."""
        if self.is_special(token_id):
            return self._special_names.get(token_id, str(token_id))
        if token_id == self.newline_id:
            return "⏎"
        return self._pieces.id_to_piece(token_id - self._first)

    def is_special(self, token_id: int) -> bool:
        """Whether the id is `</s>`, one after the vocabulary, or unused: anything but text."""
        is_piece = 0 <= token_id - self._first < self.num_pieces
        return not is_piece or token_id in self._special_names

    def _encode_lines(self, text: str, *, starts_segment: bool) -> list[int]:
        ids: list[int] = []
        for index, line in enumerate(_LINE_BREAK.split(text)):
            if index and self.newline_id is not None:
                ids.append(self.newline_id)
            ids.extend(self._encode_literally(line, starts_segment and index == 0))
        return ids

    def _encode_literally(self, line: str, starts_segment: bool) -> list[int]:
        # A typed "<n>" is cut inside, so that neither half is the line-break piece.
        chunks = _INSIDE_NEWLINE_PIECE.split(line)
        ids: list[int] = []
        for index, chunk in enumerate(chunks):
            found = self._encode_chunk(chunk, starts_segment and index == 0)
            if self.newline_id in found:  # the model's normalization made "<n>" of ＜n＞ or so
                parts = _before_each_n(chunk)
                found = [i for part in parts for i in self._encode_chunk(part, False)]
            ids.extend(found)
        return ids

    def _encode_chunk(self, text: str, starts_segment: bool) -> list[int]:
        if not text:
            return []
        if starts_segment:
            return [self._first + i for i in self._pieces.encode(text)]
        # No option of SentencePiece leaves out the space it adds before the first word; after a
        # `<n>` it adds none, so one is put in front and taken off again.
        anchored = self._pieces.encode(NEWLINE_PIECE + text)
        start = anchored.index(self._pieces.piece_to_id(NEWLINE_PIECE)) + 1
        return [self._first + i for i in anchored[start:]]


def _before_each_n(text: str) -> list[str]:
    """The text cut before every letter that normalizes to n: no part can hold "<n>"."""
    starts = [i for i, c in enumerate(text) if unicodedata.normalize("NFKC", c) == "n"]
    return [text[a:b] for a, b in itertools.pairwise([0, *starts, len(text)])]


def train_sentencepiece(lines: Iterable[str], model_file: Path, *, vocab_size: int) -> None:
    """Trains a unigram model that `SentencePieceTokenizer` reads and writes it to `model_file`.

    lines: text without line breaks. Nothing is normalized (full-width punctuation and runs of
    spaces survive), digits are single, unknown characters become bytes: any text comes back as it
    went in. Raises ValueError when the text does not hold `vocab_size` pieces.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="unigram",
            vocab_size=vocab_size,
            character_coverage=0.9995,
            byte_fallback=True,
            split_digits=True,
            user_defined_symbols=[NEWLINE_PIECE],
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            num_threads=1,  # more threads change the order of sums, and so the model
            minloglevel=2,
        )
    except RuntimeError as error:
        message = f"no vocabulary of {vocab_size} pieces can be trained on this text: {error}"
        raise ValueError(message) from error
    model_file.write_bytes(model.getvalue())


def _load(model_file: Path) -> sentencepiece.SentencePieceProcessor:
    if not model_file.is_file():
        message = f"the tokenizer file {model_file.name} is missing from {model_file.parent}"
        raise ModelBrokenError(message)
    pieces = sentencepiece.SentencePieceProcessor()
    try:
        pieces.load_from_serialized_proto(model_file.read_bytes())
    except (RuntimeError, OSError) as error:
        message = f"the tokenizer file {model_file} is damaged: not a SentencePiece model"
        raise ModelBrokenError(message, detail=str(error)) from error
    for piece, is_there in (
        (NEWLINE_PIECE, pieces.piece_to_id(NEWLINE_PIECE) != pieces.unk_id()),
        ("</s>", pieces.eos_id() >= 0),
    ):
        if not is_there:
            message = f"the tokenizer file {model_file} has no piece {piece}, which Bilin needs"
            raise ModelBrokenError(message)
    return pieces


def _leading_space(
    pieces: sentencepiece.SentencePieceProcessor,
) -> Literal["keep", "one", "all"]:
    """What SentencePiece's own decoder does at the start, found by asking it."""
    space = "▁"
    if pieces.decode_pieces([space, space, "a"]) == "a":
        return "all"
    return "one" if pieces.decode_pieces([space, "a"]) == "a" else "keep"
