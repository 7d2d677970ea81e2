"""What the model sees of a text with blanks: ids, positions, and how a fill goes back.

The rules are the published inference code's (github THUDM/GLM-130B 212215c, generate.py): every
stretch between masks is encoded alone; `eos` follows unless the text ends in a mask; `sop` begins
the output; everything before `sop` is seen from both sides. Knows nothing of models or sampling.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bilin_engine.config import SpecialIds
from bilin_engine.errors import BadRequestError, ContextOverflowError
from bilin_engine.generation.request import PromptLayout
from bilin_engine.protocol import BlankKind, BlankSegment, Segment, TextSegment
from bilin_engine.tokenizers.base import Tokenizer

MASK_TEXTS: dict[BlankKind, str] = {"short": "[MASK]", "long": "[gMASK]", "sentence": "[sMASK]"}
_KIND_OF_TEXT: dict[str, BlankKind] = {text: kind for kind, text in MASK_TEXTS.items()}
_MASK_TEXT = re.compile(r"(\[[sg]?MASK\])")
_FILL_ORDER: tuple[BlankKind, ...] = ("short", "sentence", "long")
_NO_SPACE_AFTER = "([{\"'"
_NO_SPACE_BEFORE = ")]}\"'.,;:!?"


@dataclass(frozen=True, slots=True)
class Blank:
    """One mask of a sequence. index: its place among the request's blanks; position: its id's."""

    index: int
    kind: BlankKind
    position: int


@dataclass(frozen=True, slots=True)
class MaskedSequence:
    """A text with blanks as ids, without `sop`. `blanks` in the order of the text."""

    token_ids: tuple[int, ...]
    blanks: tuple[Blank, ...]

    def next_blank(self) -> Blank | None:
        """The blank the reference fills next: first [MASK], then [sMASK], then [gMASK]."""
        by_kind = sorted(self.blanks, key=lambda blank: _FILL_ORDER.index(blank.kind))
        return by_kind[0] if by_kind else None

    def blank(self, index: int) -> Blank:
        """The blank with the request's number `index`. Raises BadRequestError for no such one."""
        for blank in self.blanks:
            if blank.index == index:
                return blank
        known = ", ".join(str(blank.index) for blank in self.blanks) or "none"
        message = f"there is no blank {index} to fill; blanks left: {known}"
        raise BadRequestError(message)

    def fill(self, blank: Blank, token_ids: Sequence[int]) -> "MaskedSequence":
        """The sequence with a fill's ids in place of `blank` (stop token already taken off)."""
        grown = len(token_ids) - 1
        before, after = self.token_ids[: blank.position], self.token_ids[blank.position + 1 :]
        return MaskedSequence(
            token_ids=(*before, *token_ids, *after),
            blanks=tuple(
                Blank(b.index, b.kind, b.position + (grown if b.position > blank.position else 0))
                for b in self.blanks
                if b != blank
            ),
        )


def parse_mask_text(text: str) -> tuple[Segment, ...]:
    """Segments of a text in which [MASK], [gMASK] and [sMASK] are typed: for the command line."""
    return tuple(
        BlankSegment(_KIND_OF_TEXT[part]) if part in _KIND_OF_TEXT else TextSegment(part)
        for part in _MASK_TEXT.split(text)
        if part
    )


def encode_segments(segments: Iterable[Segment], tokenizer: Tokenizer) -> MaskedSequence:
    """Ids of a text with blanks; a [gMASK] is added at its end when it has no blank.

    Neighbouring text segments count as one. Raises BadRequestError for a kind of blank whose mask
    the vocabulary lacks.
    """
    parts = _joined(segments)
    if not any(isinstance(part, BlankSegment) for part in parts):
        parts.append(BlankSegment("long"))
    token_ids: list[int] = []
    blanks: list[Blank] = []
    for part in parts:
        if isinstance(part, BlankSegment):
            blanks.append(Blank(len(blanks), part.kind, len(token_ids)))
            token_ids.append(mask_id(tokenizer.specials, part.kind))
        else:
            token_ids.extend(tokenizer.encode(part.text))
    if isinstance(parts[-1], TextSegment):
        token_ids.append(tokenizer.specials.eos)
    return MaskedSequence(tuple(token_ids), tuple(blanks))


def layout_blank(
    sequence: MaskedSequence,
    blank: Blank,
    specials: SpecialIds,
    max_length: int,
    begun: Sequence[int] = (),
) -> PromptLayout:
    """The prompt that fills `blank`: the sequence, `sop`, then `begun` (output already there).

    A [MASK] or [sMASK] gives `sop` and all output its own position; after a [gMASK] they count up.
    max_length: tokens the model holds, output included. Raises ContextOverflowError when no room
    is left for output.
    """
    if specials.sop is None:
        message = "this model has no sop token: it cannot fill blanks by mask"
        raise BadRequestError(message)
    num_prefix = len(sequence.token_ids)
    output = (specials.sop, *begun)
    token_ids = (*sequence.token_ids, *output)
    if len(token_ids) >= max_length:
        too_many = len(token_ids) - max_length + 1
        message = (
            f"the text is {len(token_ids)} tokens with its masks; the model holds {max_length} and "
            f"needs room for an answer: take away at least {too_many} tokens"
        )
        raise ContextOverflowError(message)
    if blank.kind == "long":
        output_position = None
        output_positions = range(num_prefix, len(token_ids))
    else:
        output_position = blank.position
        output_positions = [blank.position] * len(output)
    return PromptLayout(
        token_ids=token_ids,
        position_ids=(*range(num_prefix), *output_positions),
        prefix_len=num_prefix,
        output_position=output_position,
        mask_index=blank.position,
    )


def mask_id(specials: SpecialIds, kind: BlankKind) -> int:
    """The id of a kind's mask. Raises BadRequestError where the vocabulary lacks it."""
    found = {"short": specials.mask, "long": specials.gmask, "sentence": specials.smask}[kind]
    if found is None:
        message = f"this model has no {MASK_TEXTS[kind]} token: it cannot fill such a blank by mask"
        raise BadRequestError(message)
    return found


def stop_ids(specials: SpecialIds) -> frozenset[int]:
    """Ids that end an output: `eos`, and `eop` where there is one."""
    return frozenset({specials.eos} if specials.eop is None else {specials.eos, specials.eop})


def ids_without_text(tokenizer: Tokenizer, vocab_size: int) -> frozenset[int]:
    """Ids of a model's table (width `vocab_size`) that an answer to a person must not hold.

    Masks and other specials, rows that only pad the table, GLM-130B's image tokens; never a stop
    token. The reference bans none of them.
    """
    stops = stop_ids(tokenizer.specials)
    return frozenset(i for i in range(vocab_size) if tokenizer.is_special(i) and i not in stops)


def filled_text(
    segments: Iterable[Segment], fills: Mapping[int, str], *, is_spaced: bool = True
) -> str:
    """The person's text with fills (by blank index) in place; open blanks as their mask text.

    In pure ASCII text a fill is set off by spaces, since the model's words carry none. Unlike the
    reference's display, which always puts both, a space is left out where the text has one, at the
    text's ends, after an opening bracket and before closing punctuation. Not is_spaced: fills bring
    their own.
    """
    parts = _joined(segments)
    blanks = [i for i, part in enumerate(parts) if isinstance(part, BlankSegment)]
    shown = [
        part.text if isinstance(part, TextSegment) else MASK_TEXTS[part.kind] for part in parts
    ]
    for index, place in enumerate(blanks):
        shown[place] = fills.get(index, shown[place])
    if not (is_spaced and "".join(shown).isascii()):
        return "".join(shown)
    text = ""
    fill_places = {place for index, place in enumerate(blanks) if index in fills}
    for place, piece in enumerate(shown):
        at_fill = place in fill_places or place - 1 in fill_places
        if at_fill and text and piece and _needs_space(text[-1], piece[0]):
            text += " "
        text += piece
    return text


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a document that a prompt holds.

    segments: that part, `blank` the chosen blank's number in it. start, end: what it covers of the
    document in characters (code points; a blank counts as one). num_tokens: the prompt's, `sop`
    included.
    """

    segments: tuple[Segment, ...]
    blank: int
    start: int
    end: int
    num_tokens: int


def window_around(
    segments: Sequence[Segment], blank: int, tokenizer: Tokenizer, max_prompt_tokens: int
) -> Window:
    """The nearest text on both sides of a blank that fits `max_prompt_tokens`.

    Each side gets half of the room, and what the other leaves over; a side that is cut is cut
    between words. Raises BadRequestError for no such blank, ContextOverflowError when not even
    the blank alone fits.
    """
    document = _Document.of(segments)
    if not 0 <= blank < len(document.blanks):
        message = f"there is no blank {blank}; the text has {len(document.blanks)}"
        raise BadRequestError(message)
    here = sorted(document.blanks)[blank]
    size = len(document.text)

    def cost(start: int, end: int) -> int:
        parts = document.slice(start, end)
        return sum(
            1 if isinstance(p, BlankSegment) else len(tokenizer.encode(p.text)) for p in parts
        )

    room = max_prompt_tokens - 3  # the blank, sop, and eos after a text that ends in no blank
    if room < 0:
        message = f"a window of {max_prompt_tokens} tokens cannot hold a blank; it needs 3"
        raise ContextOverflowError(message)

    def fitting_before(tokens: int) -> int:
        return _most(here, tokens, lambda count: cost(here - count, here) <= tokens)

    def fitting_after(tokens: int) -> int:
        return _most(size - here - 1, tokens, lambda n: cost(here + 1, here + 1 + n) <= tokens)

    start = here - fitting_before(room // 2)
    end = here + 1 + fitting_after(room - room // 2)
    if start == 0:
        end = here + 1 + fitting_after(room - cost(0, here))
    elif end == size:
        start = here - fitting_before(room - cost(here + 1, size))
    while 0 < start < here and document.is_inside_word(start):
        start += 1
    while here + 1 < end < size and document.is_inside_word(end):
        end -= 1
    inside = document.slice(start, end)
    return Window(
        segments=inside,
        blank=sum(start <= position < here for position in document.blanks),
        start=start,
        end=end,
        num_tokens=cost(start, end) + isinstance(inside[-1], TextSegment) + 1,
    )


@dataclass(frozen=True, slots=True)
class _Document:
    """A text with blanks as one string, one character a blank. blanks: kind by position."""

    text: str
    blanks: dict[int, BlankKind]

    @classmethod
    def of(cls, segments: Iterable[Segment]) -> "_Document":
        text, blanks = "", {}
        for segment in segments:
            if isinstance(segment, BlankSegment):
                blanks[len(text)] = segment.kind
                text += "\ufffc"  # any one character: only `blanks` says what is a blank
            else:
                text += segment.text
        return cls(text, blanks)

    def slice(self, start: int, end: int) -> tuple[Segment, ...]:
        segments: list[Segment] = []
        for position in sorted(p for p in self.blanks if start <= p < end):
            if start < position:
                segments.append(TextSegment(self.text[start:position]))
            segments.append(BlankSegment(self.blanks[position]))
            start = position + 1
        if start < end:
            segments.append(TextSegment(self.text[start:end]))
        return tuple(segments)

    def is_inside_word(self, cut: int) -> bool:
        """Whether a cut before character `cut` parts a word of Latin letters or a number."""
        around = self.text[cut - 1 : cut + 1]
        return around.isascii() and around.isalnum()


def _most(limit: int, guess: int, fits: Callable[[int], bool]) -> int:
    """The most of 0..limit that fits, if fitting ends once; asks first near `guess`."""
    low, high = 0, max(1, guess)
    while high < limit and fits(high):
        low, high = high, high * 2
    high = min(high, limit)
    if fits(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _joined(segments: Iterable[Segment]) -> list[Segment]:
    """Neighbouring texts made one, empty ones left out."""
    parts: list[Segment] = []
    for segment in segments:
        if isinstance(segment, BlankSegment):
            parts.append(segment)
        elif segment.text and parts and isinstance(last := parts[-1], TextSegment):
            parts[-1] = TextSegment(last.text + segment.text)
        elif segment.text:
            parts.append(segment)
    return parts


def _needs_space(before: str, after: str) -> bool:
    if before.isspace() or after.isspace():
        return False
    return before not in _NO_SPACE_AFTER and after not in _NO_SPACE_BEFORE
