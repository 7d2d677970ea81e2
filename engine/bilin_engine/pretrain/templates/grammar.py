"""Alternations: `{打开|进入}设置{页|}` stands for every way of choosing one branch per brace."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phrase:
    """One pattern, parsed: literal stretches and choices in turn. Braces may nest."""

    parts: tuple["str | tuple[Phrase, ...]", ...]

    def sample(self, rng: random.Random) -> str:
        """One phrasing, every branch equally likely."""
        return "".join(
            part if isinstance(part, str) else rng.choice(part).sample(rng) for part in self.parts
        )

    def count(self) -> int:
        """How many phrasings there are, equal ones counted once per way of writing them."""
        total = 1
        for part in self.parts:
            if not isinstance(part, str):
                total *= sum(branch.count() for branch in part)
        return total


def parse(pattern: str) -> Phrase:
    """The pattern as a Phrase. Raises ValueError for a brace without its partner."""
    phrase, end = _parse_until(pattern, 0, "")
    if end != len(pattern):
        message = f"pattern {pattern!r} has a closing brace too many at {end}"
        raise ValueError(message)
    return phrase


def _parse_until(pattern: str, start: int, closers: str) -> tuple[Phrase, int]:
    parts: list[str | tuple[Phrase, ...]] = []
    text: list[str] = []
    at = start
    while at < len(pattern) and pattern[at] not in (closers or "}"):
        if pattern[at] != "{":
            text.append(pattern[at])
            at += 1
            continue
        parts.append("".join(text))
        text = []
        branches: list[Phrase] = []
        while True:
            branch, at = _parse_until(pattern, at + 1, "|}")
            branches.append(branch)
            if at >= len(pattern):
                message = f"pattern {pattern!r} has an opening brace without its partner"
                raise ValueError(message)
            if pattern[at] == "}":
                break
        parts.append(tuple(branches))
        at += 1
    parts.append("".join(text))
    return Phrase(tuple(part for part in parts if part != "")), at


class Pool:
    """Patterns drawn in proportion to the square root of their number of phrasings."""

    def __init__(self, patterns: list[str]) -> None:
        if not patterns:
            message = "a pool needs at least one pattern"
            raise ValueError(message)
        self._phrases = [parse(pattern) for pattern in patterns]
        self._weights = [phrase.count() ** 0.5 for phrase in self._phrases]

    def sample(self, rng: random.Random) -> str:
        """One phrasing of one pattern."""
        return rng.choices(self._phrases, self._weights)[0].sample(rng)

    def count(self) -> int:
        """Phrasings of all patterns together."""
        return sum(phrase.count() for phrase in self._phrases)
