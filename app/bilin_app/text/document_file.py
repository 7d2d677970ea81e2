"""A document as JSON: what the database keeps and what "save as JSON" writes.

One list of segments in the order of the text: a stretch with its origin, or a blank with its
candidates. Knows neither files nor the database.
"""

from dataclasses import dataclass, field

import msgspec

from bilin_app.text.document import (
    Blank,
    Document,
    Origin,
    Slice,
    blank_slice,
    from_units,
    plain_slice,
)
from bilin_engine.protocol import BlankKind, Candidate, FillConstraints

FORMAT = "bilin-document"
VERSION = 1


@dataclass(frozen=True, slots=True)
class BlankFill:
    """What the model offered for a blank. chosen: index of the candidate on show, -1 = none.

    is_exact: the candidates bring their own spaces and line breaks.
    """

    candidates: tuple[Candidate, ...] = ()
    chosen: int = -1
    constraints: FillConstraints = field(default_factory=FillConstraints)
    is_exact: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A document at one moment, frozen: safe to hand to another thread. fills: by blank id."""

    title: str
    content: Slice = field(default_factory=Slice)
    fills: tuple[tuple[int, BlankFill], ...] = ()


class _Text(msgspec.Struct, frozen=True, tag="text", tag_field="kind"):
    text: str
    origin: Origin = "mine"


class _Candidate(msgspec.Struct, frozen=True, omit_defaults=True):
    text: str
    logprob: float
    num_tokens: int = 0
    breaks: str = ""


class _Blank(msgspec.Struct, frozen=True, tag="blank", tag_field="kind", omit_defaults=True):
    id: int
    blank: BlankKind
    original: str = ""
    candidates: tuple[_Candidate, ...] = ()
    chosen: int = -1
    constraints: FillConstraints = FillConstraints()
    is_exact: bool = False


class _File(msgspec.Struct, frozen=True):
    format: str
    version: int
    title: str
    segments: tuple[_Text | _Blank, ...]


def encode_document(snapshot: Snapshot) -> bytes:
    """The document as UTF-8 JSON."""
    return msgspec.json.encode(_File(FORMAT, VERSION, snapshot.title, tuple(_segments(snapshot))))


def pretty_document(snapshot: Snapshot) -> bytes:
    """The same, indented, for a person's own file."""
    return msgspec.json.format(encode_document(snapshot), indent=2) + b"\n"


def decode_document(data: bytes | str) -> Snapshot:
    """The inverse of `encode_document`. Raises ValueError that says what is wrong."""
    try:
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"this is no document of Bilin: {error}") from error
    if file.format != FORMAT or file.version > VERSION:
        raise ValueError(
            f"this is {file.format!r} version {file.version}; this Bilin reads {FORMAT!r} up to "
            f"version {VERSION}"
        )
    content = Slice()
    fills: list[tuple[int, BlankFill]] = []
    scratch = Document()
    seen: set[int] = set()
    for segment in file.segments:
        if isinstance(segment, _Text):
            content += plain_slice(segment.text, segment.origin)
            continue
        blank_id = segment.id if segment.id > 0 and segment.id not in seen else 0
        blank_id = blank_id or max([scratch.new_id(), *(known + 1 for known in seen)])
        seen.add(blank_id)
        content += blank_slice(Blank(blank_id, segment.blank, segment.original))
        fill = BlankFill(
            tuple(
                Candidate(text=c.text, logprob=c.logprob, num_tokens=c.num_tokens, breaks=c.breaks)
                for c in segment.candidates
            ),
            segment.chosen if -1 <= segment.chosen < len(segment.candidates) else -1,
            segment.constraints,
            segment.is_exact,
        )
        if fill != BlankFill():
            fills.append((blank_id, fill))
    return Snapshot(file.title, content, tuple(fills))


def _segments(snapshot: Snapshot) -> list[_Text | _Blank]:
    content, fills = snapshot.content, dict(snapshot.fills)
    blanks = iter([*content.blanks, (len(content.text), None)])
    place, blank = next(blanks)
    found: list[_Text | _Blank] = []
    for start, end, origin in content.runs():
        at = start
        while at < end:
            if at == place and blank is not None:
                found.append(_blank_segment(blank, fills.get(blank.id, BlankFill())))
                place, blank = next(blanks)
                at += 1
            else:
                stop = min(end, place)
                found.append(_Text(from_units(content.text[at:stop]), origin))
                at = stop
    return found


def _blank_segment(blank: Blank, fill: BlankFill) -> _Blank:
    return _Blank(
        id=blank.id,
        blank=blank.kind,
        original=blank.original,
        candidates=tuple(
            _Candidate(c.text, c.logprob, c.num_tokens, c.breaks) for c in fill.candidates
        ),
        chosen=fill.chosen,
        constraints=fill.constraints,
        is_exact=fill.is_exact,
    )
