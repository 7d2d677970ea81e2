"""What full-text search is made of: words, and pairs of characters where there are no spaces.

FTS5's own tokenizers miss two-character Chinese words (unicode61 keeps a whole run of Han as one
token, trigram needs three). So a run of CJK characters is written into the index as its
overlapping pairs plus its last character; unicode61 then sees them as words. Case, widths and
traditional characters are folded. A change here makes every index stale: raise TERMS_VERSION, and
the store rebuilds.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from bilin_app.text.simplified import simplify

TERMS_VERSION = 2
PIECE = 4096  # characters folded in one call, about: other threads stand still until it ends

# Han with its extensions and compatibility forms, kana, hangul, bopomofo.
_CJK = (
    "\u3005\u3007\u3040-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_REACH = 10  # a snippet is cut from so many times its length on each side: white space goes
_RUN = re.compile(f"[{_CJK}]+")
_TOKEN = re.compile(f"[{_CJK}]+|[^\\W_{_CJK}]+")
# Nothing that follows one of these composes with it, and no term holds one.
_PIECE_END = re.compile(r"[\s,.!?:，。！？：；、]")


def index_terms(text: str) -> str:
    """The text as the index takes it: words as they are, CJK runs as pairs and a last character."""
    return _RUN.sub(_pairs_and_last, fold(text))


def match_expression(query: str) -> str:
    """The FTS5 MATCH expression: all terms must occur, the last word may be unfinished.

    "" when the query holds nothing to search for.
    """
    tokens = _TOKEN.findall(_fold(query))
    parts: list[str] = []
    for index, token in enumerate(tokens):
        if not _RUN.fullmatch(token):
            is_last = index == len(tokens) - 1
            parts.append(f'"{token}"' + (" *" if is_last else ""))
        elif len(token) == 1:
            parts.append(f'"{token}" *')  # begins a pair, or is the last of its run
        else:
            parts.append('"' + " ".join(_pairs(token)) + '"')
    return " AND ".join(parts)


def highlights(text: str, query: str) -> list[tuple[int, int]]:
    """Where the query's terms stand in `text`: sorted (start, end), not overlapping."""
    haystack, origins = _fold_with_origins(text)
    found: list[tuple[int, int]] = []
    for token in set(_TOKEN.findall(_fold(query))):
        boundary = "" if _RUN.fullmatch(token) else r"(?<![^\W_])"
        found.extend(
            (origins[match.start()], origins[match.end() - 1] + 1)
            for match in re.finditer(boundary + re.escape(token), haystack)
        )
    merged: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _fold_with_origins(text: str) -> tuple[str, Sequence[int]]:
    """The folded text, and for each of its characters the one of `text` that it comes from."""
    if unicodedata.is_normalized("NFKC", text):
        whole = _fold(text)
        if len(whole) == len(text):  # casefold only ever makes more: each stands where it stood
            return whole, range(len(text))
    folded: list[str] = []
    origins: list[int] = []
    for index, character in enumerate(text):
        for piece in _fold(character):
            folded.append(piece)
            origins.append(index)
    return "".join(folded), origins


def snippet(text: str, query: str, length: int = 80) -> tuple[str, tuple[tuple[int, int], ...]]:
    """About `length` characters around the first hit, on one line, and the hits in them."""
    first = _first_hit(text, query)
    low, high = max(0, first - _REACH * length), first + _REACH * length
    head = re.sub(r"\s+", " ", text[low:first]).lstrip()
    line = (head + re.sub(r"\s+", " ", text[first:high])).strip()
    hits = [hit for hit in highlights(line, query) if hit[0] >= len(head)]
    start = max(0, hits[0][0] - length // 4) if hits else 0
    end = min(len(line), start + length)
    before = "…" if start or low else ""
    after = "…" if end < len(line) or high < len(text) else ""
    shift = len(before) - start
    inside = tuple(
        (max(hit_start, start) + shift, min(hit_end, end) + shift)
        for hit_start, hit_end in hits
        if hit_start < end and hit_end > start
    )
    return before + line[start:end] + after, inside


def _first_hit(text: str, query: str) -> int:
    """Where the first of the query's terms stands in `text`; 0 for nowhere."""
    tokens = set(query_words(query))
    for at, piece in _pieces(text):
        folded = _fold(piece)
        if any(token in folded for token in tokens):
            hits = highlights(piece, query)
            if hits:
                return at + hits[0][0]
    return 0


def query_words(query: str) -> list[str]:
    """What a text must hold, folded, to match without an index: the query's runs, as they are."""
    return _TOKEN.findall(_fold(query))


def fold(text: str) -> str:
    """The text as comparing takes it: compatibility forms, case and Chinese scripts made one."""
    return "".join(_fold(piece) for _, piece in _pieces(text))


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """The text cut where neither folding nor looking for a term can tell: (start, piece)."""
    at = 0
    while at < len(text):
        found = _PIECE_END.search(text, at + PIECE)
        end = found.end() if found else len(text)
        yield at, text[at:end]
        at = end


def _fold(text: str) -> str:
    return simplify(unicodedata.normalize("NFKC", text).casefold())


def _pairs(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)]


def _pairs_and_last(match: re.Match[str]) -> str:
    run = match[0]
    return f" {' '.join([*_pairs(run), run[-1]])} "
