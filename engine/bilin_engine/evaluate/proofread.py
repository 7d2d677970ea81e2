"""Probe of the second reader: sentences with one planted wrong word, and what was found of them.

Knows no model: it cuts a probe file into requests and counts what came back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from bilin_engine.errors import BadRequestError
from bilin_engine.protocol import ProofreadFigures, ReadWord
from bilin_engine.text_file import numbered_lines

TOP = 3
FALSE_ALARMS = 0.05  # share of right words that the threshold lets be underlined
_BETWEEN = "\n"  # the context of a sentence ends with its paragraph

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")


class PlantedLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sentence in which `wrong` stands once, where `right` stood."""

    lang: Language
    text: str
    wrong: str
    right: str

    def __post_init__(self) -> None:
        if self.text.count(self.wrong) != 1:
            raise ValueError(f"{self.wrong!r} stands {self.text.count(self.wrong)} times in it")


@dataclass(frozen=True, slots=True)
class LanguageFigures:
    """What was measured of one language; see `ProofreadFigures`."""

    num: int
    hit_rate: float
    first_rate: float
    threshold: float
    caught: float
    words_per_s: float


def read_planted(path: Path) -> list[PlantedLine]:
    """The lines of a probe file. Raises BadRequestError naming file, line and what is wrong."""
    lines = []
    for where, text in numbered_lines(path):
        try:
            lines.append(msgspec.json.decode(text, type=PlantedLine))
        except msgspec.DecodeError as error:
            raise BadRequestError(
                f'{where}: {error}; a line is {{"lang": "en", "text": "…", "wrong": '
                f'"…", "right": "…"}}'
            ) from error
    if not lines:
        raise BadRequestError(f"{path} holds no sentences")
    return lines


def one_text(lines: Sequence[PlantedLine]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The sentences as paragraphs of one text, with their spans: none is another's context."""
    spans, text = [], ""
    for line in lines:
        spans.append((len(text), len(text) + len(line.text)))
        text += line.text + _BETWEEN
    return text, tuple(spans)


def measure(
    lines: Sequence[PlantedLine],
    found: Sequence[tuple[ReadWord, ...]],
    num_words: int,
    seconds: float,
) -> LanguageFigures:
    """The figures of one language's lines, whose words were found at `one_text`'s places."""
    _, spans = one_text(lines)
    hits = firsts = 0
    planted_scores: list[float] = []
    other_scores: list[float] = []
    for line, (start, _end), words in zip(lines, spans, found, strict=True):
        low = start + line.text.index(line.wrong)
        high = low + len(line.wrong)
        ranked = sorted(words, key=lambda word: word.score)
        is_planted = [word.start < high and low < word.end for word in ranked]
        hits += any(is_planted[:TOP])
        firsts += any(is_planted[:1])
        scores = [w.score for w, planted in zip(ranked, is_planted, strict=True) if planted]
        planted_scores.append(min(scores, default=0.0))
        other_scores += [
            w.score for w, planted in zip(ranked, is_planted, strict=True) if not planted
        ]
    other_scores.sort()
    place = int(FALSE_ALARMS * len(other_scores))
    threshold = other_scores[place] if other_scores else 0.0
    caught = sum(score < threshold for score in planted_scores)
    count = len(lines)
    return LanguageFigures(
        num=count,
        hit_rate=hits / count,
        first_rate=firsts / count,
        threshold=threshold,
        caught=caught / count,
        words_per_s=num_words / seconds if seconds else 0.0,
    )


def as_figures(
    by_language: dict[Language, LanguageFigures], known: ProofreadFigures | None
) -> ProofreadFigures:
    """As bilin.json holds them, rounded to what a hundred sentences can tell.

    known: what is there; the figures of a language that was not measured now stay.
    """
    values: dict[str, float | int] = {}
    for lang, figures in by_language.items():
        values[f"num_{lang}"] = figures.num
        for name in ("hit_rate", "threshold", "caught"):
            values[f"{name}_{lang}"] = round(getattr(figures, name), 3)
    return msgspec.structs.replace(known or ProofreadFigures(), **values)
