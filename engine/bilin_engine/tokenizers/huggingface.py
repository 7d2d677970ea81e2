"""`tokenizer.json`, the format of the `tokenizers` package: GLM-4, Llama 3, Qwen and most others.

Two readings of one file: `_full` knows its markers (<|user|>, [gMASK], ...), `_plain` does not, so
that a person's text never becomes one. `encode_prompt` is for prompts that a chat template wrote.
"""

import functools
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import tokenizers

from bilin_engine.config import SpecialIds
from bilin_engine.errors import ModelBrokenError
from bilin_engine.json_file import read_json_object
from bilin_engine.tokenizers.streaming import StreamDecoder

TOKENIZER_FILE = "tokenizer.json"
MAX_FILE_BYTES = 256 * 1024 * 1024

# A batch is never more than one text here: threads would stand idle, and complain in a fork.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A marker is whatever is special, and whatever is written like one: <think>, [MASK].
_MARKER_SHAPE = re.compile(r"<[^<>\s]{1,64}>|\[[^\[\]\s]{1,64}\]")
_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


class HuggingFaceTokenizer:
    """The tokenizer of a `tokenizer.json`; `tokenizer.base` says what its methods do.

    markers: text -> id of every special or marker-like token. frame: the ids that a text of its own
    begins with ([gMASK]<sop>, a begin token, or nothing). Raises ModelBrokenError for a file
    that is missing, too large, damaged, or without an end token.
    """

    newline_id: int | None = None

    def __init__(self, file: Path, *, eos_token: str) -> None:
        """eos_token: the text of the end token, as tokenizer_config.json has it."""
        self._read(read_json_object(file, MAX_FILE_BYTES, called="tokenizer"), str(file), eos_token)

    @classmethod
    def from_json(
        cls, content: dict[str, Any], where: str, eos_token: str
    ) -> "HuggingFaceTokenizer":
        """The same from the file's content; `where` names it in messages."""
        tokenizer = cls.__new__(cls)
        tokenizer._read(content, where, eos_token)
        return tokenizer

    def _read(self, content: dict[str, Any], where: str, eos_token: str) -> None:
        self._full = _build(content, where)
        added = self._full.get_added_tokens_decoder()
        self.markers: Mapping[str, int] = {
            token.content: token_id
            for token_id, token in added.items()
            if token.special or _MARKER_SHAPE.fullmatch(token.content)
        }
        self._special_ids = frozenset(i for i, token in added.items() if token.special)
        self._marker_ids = frozenset(self.markers.values())
        self._added = {token_id: token.content for token_id, token in added.items()}
        plain = _without_markers(content, self.markers)
        self._plain = _build(plain, where)
        self._inside = _build(_without_prefix(plain), where)
        # The package numbers added tokens that the vocabulary lacks in order, whatever the file
        # says: without the markers before them, those that are left get the markers' ids.
        self._renumbered = {
            token_id: own
            for token_id, token in self._plain.get_added_tokens_decoder().items()
            if (own := self._full.token_to_id(token.content)) is not None and own != token_id
        }
        vocabulary = self._full.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values(), default=-1) + 1
        self._is_byte_level = "ByteLevel" in _kinds(content.get("decoder"))
        self.leading_space: Literal["keep", "one", "all"] = self._ask_leading_space()
        if eos_token not in vocabulary:
            raise ModelBrokenError(
                f"{where} has no token {eos_token!r}, which tokenizer_config.json names as the end"
            )
        self.specials = SpecialIds(
            eos=vocabulary[eos_token],
            mask=self.markers.get("[MASK]"),
            gmask=self.markers.get("[gMASK]"),
            smask=self.markers.get("[sMASK]"),
            sop=self.markers.get("<sop>"),
            eop=self.markers.get("<eop>"),
        )
        self._split = _splitter(self.markers, content)
        self._behind = self._ask_behind_a_marker()
        self.frame = tuple(self._full.encode("", add_special_tokens=True).ids)

    def encode(self, text: str) -> list[int]:
        """Ids of `text` as a segment of its own; what looks like a marker stays text."""
        return self._encode_text(self._plain, text)

    def encode_after(self, text: str) -> list[int]:
        """Ids of `text` in the middle of a segment."""
        return self._encode_text(self._inside, text)

    def encode_prompt(self, prompt: str, literal: str) -> list[int]:
        """Ids of what a chat template wrote, markers included.

        literal: the character that `neutralize` put into markers a person typed; it is taken out
        and what it stood in stays text. Without any, the ids are the `tokenizers` package's own.
        """
        if not literal or literal not in prompt:
            return _encode(self._full, prompt)
        ids: list[int] = []
        for index, part in enumerate(self._split.split(prompt)):
            if index % 2:
                ids.append(self.markers[part.strip() if part not in self.markers else part])
            elif part:
                text = part.replace(literal, "")
                ids += self._encode_text(self._behind if ids else self._plain, text)
        return ids

    def neutralize(self, text: str, literal: str) -> str:
        """`text` with `literal` inside everything that reads as a marker."""
        if not self.markers:
            return text
        return self._marker_text.sub(lambda m: m[0][0] + literal + m[0][1:], text)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of ids; special ones are printed as `[name]`."""
        stream = StreamDecoder(self)
        return "".join([*map(stream.feed, token_ids), stream.flush()])

    def token_bytes(self, token_id: int) -> bytes:
        """UTF-8 of one token; a special or unused one as `[name]`."""
        if self.is_special(token_id):
            return f"[{self.token_text(token_id)}]".encode()
        if token_id in self._added:
            return self._added[token_id].encode()
        piece = self._full.id_to_token(token_id) or ""
        if self._is_byte_level:
            table = _byte_of_character()
            if all(character in table for character in piece):
                return bytes(table[character] for character in piece)
            return piece.encode()
        if match := _BYTE_PIECE.fullmatch(piece):
            return bytes([int(match[1], 16)])
        return piece.replace("▁", " ").encode()

    def token_text(self, token_id: int) -> str:
        """The token as text (▁ = its leading space, ⏎ = a line break), specials by name."""
        if token_id in self._added:
            return self._added[token_id]
        if self._full.id_to_token(token_id) is None:
            return str(token_id)
        text = self.token_bytes(token_id).decode("utf-8", "replace")
        shown = text.replace("\n", "⏎")
        return "▁" + shown[1:] if shown.startswith(" ") else shown

    def is_special(self, token_id: int) -> bool:
        """Whether the id is special or unused."""
        return token_id in self._special_ids or self._full.id_to_token(token_id) is None

    @functools.cached_property
    def _marker_text(self) -> re.Pattern[str]:
        longest_first = sorted(self.markers, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)))

    def _encode_text(self, tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
        if not text:
            return []
        ids = self._ids(tokenizer, text)
        if self._marker_ids.isdisjoint(ids):
            return ids
        # The vocabulary itself holds a marker's text as one piece: cut it inside.
        cut = self.neutralize(text, "\x00").split("\x00")
        parts = [tokenizer, *[self._inside] * (len(cut) - 1)]
        return [
            token_id
            for part, part_tokenizer in zip(cut, parts, strict=True)
            for token_id in self._ids(part_tokenizer, part)
        ]

    def _ids(self, tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
        """Ids of `text` by a reading without markers, as `_full` numbers them."""
        ids = _encode(tokenizer, text)
        return [self._renumbered.get(i, i) for i in ids] if self._renumbered else ids

    def _ask_leading_space(self) -> Literal["keep", "one"]:
        """Whether decoding drops the space that SentencePiece puts before the first word."""
        if self._is_byte_level:
            return "keep"
        ids = _encode(self._plain, "a")
        first = self._full.id_to_token(ids[0]) if ids else ""
        return "one" if first and first.startswith("▁") else "keep"

    def _ask_behind_a_marker(self) -> tokenizers.Tokenizer:
        """The reading that is the package's own for text behind a marker.

        Some files put SentencePiece's space before every such text, some only before the first.
        """
        marker = next(iter(self.markers), "")
        behind = _encode(self._full, f"{marker}a")[1:]
        return self._plain if behind == self._ids(self._plain, "a") else self._inside


def _encode(tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
    """The ids of a text, without the frame; other threads run meanwhile.

    As a batch of one: `Tokenizer.encode` holds them all up, for seconds where a text has some MB.
    """
    return tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids


def _build(content: Mapping[str, Any], where: str) -> tokenizers.Tokenizer:
    # What cuts or fills up a batch, and what frames a text, is not for us.
    neutral = {**content, "truncation": None, "padding": None}
    try:
        return tokenizers.Tokenizer.from_str(json.dumps(neutral, ensure_ascii=False))
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise ModelBrokenError(f"{where} is damaged: {error}") from error


def _without_markers(content: dict[str, Any], markers: Mapping[str, int]) -> dict[str, Any]:
    added = content.get("added_tokens") or []
    kept = [t for t in added if isinstance(t, dict) and t.get("content") not in markers]
    return {**content, "added_tokens": kept, "post_processor": None}


def _without_prefix(content: dict[str, Any]) -> dict[str, Any]:
    """The same without the space that some put before the first word."""

    def changed(value: Any) -> Any:  # noqa: ANN401 - JSON
        if isinstance(value, list):
            return [v for v in map(changed, value) if v is not None]
        if not isinstance(value, dict):
            return value
        if value.get("type") == "Prepend":
            return None
        result = {key: changed(inner) for key, inner in value.items()}
        if value.get("type") == "Metaspace":
            result["prepend_scheme"] = "never"
            result.pop("add_prefix_space", None)
        return result

    return {
        **content,
        "normalizer": changed(content.get("normalizer")),
        "pre_tokenizer": changed(content.get("pre_tokenizer")),
    }


def _splitter(markers: Mapping[str, int], content: Mapping[str, Any]) -> re.Pattern[str]:
    """Cuts at markers, with the white space that some of them take along."""
    strips = {
        t.get("content"): (bool(t.get("lstrip")), bool(t.get("rstrip")))
        for t in content.get("added_tokens") or []
        if isinstance(t, dict)
    }
    parts = []
    for text in sorted(markers, key=len, reverse=True):
        left, right = strips.get(text, (False, False))
        parts.append((r"\s*" if left else "") + re.escape(text) + (r"\s*" if right else ""))
    return re.compile("(" + "|".join(parts) + ")") if parts else re.compile("(?!)()")


def _kinds(decoder: object) -> set[str]:
    """The types of a decoder and of those inside it."""
    if isinstance(decoder, list):
        return set().union(*map(_kinds, decoder)) if decoder else set()
    if not isinstance(decoder, dict):
        return set()
    return {str(decoder.get("type"))} | _kinds(decoder.get("decoders"))


@functools.cache
def _byte_of_character() -> dict[str, int]:
    """GPT-2's printable character of every byte, the other way round."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters = {chr(byte): byte for byte in printable}
    hidden = [byte for byte in range(256) if byte not in printable]
    return {**characters, **{chr(256 + i): byte for i, byte in enumerate(hidden)}}


def character_of_byte() -> dict[int, str]:
    """GPT-2's printable character of every byte, in which byte-level vocabularies are written."""
    return {byte: character for character, byte in _byte_of_character().items()}
