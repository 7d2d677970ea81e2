"""GLM's blank filling: from text to samples (glm.md 3.4, 3.5 and 8)."""

import random
from dataclasses import dataclass

from bilin_engine.chat_format import find_chat_format
from bilin_engine.generation.masks import encode_segments, parse_mask_text
from bilin_engine.pretrain.samples import COUNT_ON, Block, Sample
from bilin_engine.pretrain.templates.exchange import Cloze
from bilin_engine.protocol import Message
from bilin_engine.tokenizers.sentencepiece import SentencePieceTokenizer

_CHAT_FORMAT = find_chat_format("qa")
_ANY_LENGTH = 1 << 20  # samples that are too long are dropped later, with the rest of them


@dataclass(frozen=True, slots=True)
class BlankFilling:
    """Makes samples. Shares and sizes are the paper's unless said otherwise.

    mask_share: sequences with short [MASK] spans, the others end in one [gMASK].
    span_mean: of the Poisson span lengths in tokens; masked_share: of the tokens of a sequence.
    min_suffix_share: the shortest [gMASK] suffix, as a share of the sequence.
    """

    tokenizer: SentencePieceTokenizer
    mask_share: float = 0.3
    span_mean: float = 3.0
    masked_share: float = 0.15
    min_suffix_share: float = 0.2

    def from_text(self, rng: random.Random, text: str, *, is_whole: bool) -> Sample | None:
        """A self-supervised sample, or None where the text is too short.

        is_whole: the text ends where its author ended it, so a suffix ends in `eop`.
        """
        token_ids = self.tokenizer.encode(text)
        if len(token_ids) < 8:
            return None
        if rng.random() < self.mask_share:
            return self.short_blanks(
                token_ids, draw_spans(rng, len(token_ids), self.masked_share, self.span_mean)
            )
        longest = int(len(token_ids) * (1 - self.min_suffix_share))
        return self.long_blank(token_ids, rng.randint(0, max(0, longest)), is_closed=is_whole)

    def long_blank(self, token_ids: list[int], start: int, *, is_closed: bool) -> Sample:
        """The suffix from `start` on as one [gMASK]."""
        prefix = (*token_ids[:start], self._id("gmask"))
        return Sample(prefix, (Block(tuple(token_ids[start:]), COUNT_ON, is_closed),))

    def short_blanks(self, token_ids: list[int], spans: list[tuple[int, int]]) -> Sample | None:
        """Every span (start, end) as one [MASK]; `eos` ends a prefix that ends in text.

        The stretches around a blank are encoded again, each alone, as a prompt is; a space before
        a blanked word stays outside the blank, where a person leaves it. A span that cuts a
        character's bytes is left as it is; None where no span was left.
        """
        decode, encode = self.tokenizer.decode, self.tokenizer.encode
        prefix: list[int] = []
        blocks: list[Block] = []
        pending = ""
        at = 0
        for start, end in spans:
            before, inside = decode(token_ids[at:start]), decode(token_ids[start:end])
            if not inside.strip() or "\ufffd" in before + inside + decode(token_ids[end : end + 4]):
                continue
            pending = before + inside[: len(inside) - len(inside.lstrip(" "))]
            prefix += encode(pending)
            blocks.append(Block(tuple(encode(inside.lstrip(" "))), len(prefix), is_closed=True))
            prefix.append(self._id("mask"))
            at = end
        if not blocks:
            return None
        rest = decode(token_ids[at:])
        if rest:
            prefix += encode(rest)
            prefix.append(self.tokenizer.specials.eos)
        return Sample(tuple(prefix), tuple(blocks))

    def from_cloze(self, cloze: Cloze) -> Sample:
        """A taught blank: the one mask token in the text is a mask here."""
        sequence = encode_segments(parse_mask_text(cloze.text), self.tokenizer)
        blank = sequence.next_blank()
        if blank is None:
            message = f"the text {cloze.text!r} has no mask token to fill"
            raise ValueError(message)
        mask_index = COUNT_ON if blank.kind == "long" else blank.position
        return Sample(sequence.token_ids, (self._closed(cloze.answer, mask_index),))

    def from_chat(self, turns: list[str]) -> Sample:
        """The last of `turns` (user and assistant in turn) as the answer to those before it."""
        messages = [
            Message(role="user" if index % 2 == 0 else "assistant", text=turn)
            for index, turn in enumerate(turns[:-1])
        ]
        layout = _CHAT_FORMAT.layout(messages, self.tokenizer, _ANY_LENGTH)
        prefix = layout.token_ids[: layout.prefix_len]
        return Sample(prefix, (self._closed(turns[-1], COUNT_ON),))

    def _closed(self, text: str, mask_index: int) -> Block:
        return Block(tuple(self.tokenizer.encode(text)), mask_index, is_closed=True)

    def _id(self, name: str) -> int:
        token_id = getattr(self.tokenizer.specials, name)
        if token_id is None:
            message = f"the vocabulary has no [{name}]; blank filling needs it"
            raise ValueError(message)
        return token_id


def draw_spans(
    rng: random.Random, length: int, masked_share: float, span_mean: float
) -> list[tuple[int, int]]:
    """Spans (start, end) in order, apart by a token at least, `masked_share` of `length` at most.

    Lengths are Poisson with mean `span_mean`, at least 1. At least one span.
    """
    budget = max(1, round(length * masked_share))
    sizes: list[int] = []
    while budget > 0:
        size = min(max(1, _poisson(rng, span_mean)), budget)
        sizes.append(size)
        budget -= size
    rng.shuffle(sizes)
    gaps_needed = max(0, len(sizes) - 1)
    free = length - sum(sizes) - gaps_needed
    if free < 0:
        return [(0, min(length, sizes[0]))]
    cuts = sorted(rng.randint(0, free) for _ in sizes)
    spans: list[tuple[int, int]] = []
    used = 0
    for index, (cut, size) in enumerate(zip(cuts, sizes, strict=True)):
        start = cut + used + index
        spans.append((start, start + size))
        used += size
    return spans


def _poisson(rng: random.Random, mean: float) -> int:
    count, product, limit = 0, rng.random(), 2.718281828459045**-mean
    while product > limit:
        count += 1
        product *= rng.random()
    return count
