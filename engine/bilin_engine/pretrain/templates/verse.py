"""Taught verse: the next line, the line before, author, title, whole poems, and blanks in them."""

import random
import re
from dataclasses import dataclass

from bilin_engine.pretrain.templates.exchange import (
    Cloze,
    Exchange,
    Lang,
    read_frames,
    read_rows,
    vary,
)

_CLAUSE = re.compile(r"[^，。？！]+[，。？！]")
_NEXT_ZH = read_frames("next_zh")
_PREVIOUS_ZH = read_frames("previous_zh")
_AUTHOR_ZH = read_frames("author_zh")
_TITLE_ZH = read_frames("title_zh")
_WHOLE_ZH = read_frames("whole_zh")
_NEXT_EN = read_frames("next_en")
_PREVIOUS_EN = read_frames("previous_en")
_AUTHOR_EN = read_frames("author_en")
_TITLE_EN = read_frames("title_en")


@dataclass(frozen=True, slots=True)
class Poem:
    """title, author, and the clauses with their marks."""

    title: str
    author: str
    clauses: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole poem."""
        return "".join(self.clauses)


def read_poems() -> list[Poem]:
    """The poems of `verse.tsv`."""
    return [Poem(row[0], row[1], tuple(_CLAUSE.findall(row[2]))) for row in read_rows("verse.tsv")]


class VerseTemplates:
    """Draws from the taught poems. Titles that two poems share are never asked for by title."""

    def __init__(self) -> None:
        self.poems = read_poems()
        titles = [poem.title for poem in self.poems]
        self._titled = [poem for poem in self.poems if titles.count(poem.title) == 1]

    def sample(self, rng: random.Random, lang: Lang) -> Exchange:
        """One question about a poem, and its answer."""
        poem = rng.choice(self.poems)
        clauses = [clause[:-1] for clause in poem.clauses]
        kind = rng.random()
        if lang == "en":
            if kind < 0.5:
                at = rng.randrange(len(clauses) - 1)
                text = _NEXT_EN.sample(rng).replace("@", clauses[at])
                answer = f"The line that comes next in the poem is {clauses[at + 1]}."
            elif kind < 0.65:
                at = rng.randrange(1, len(clauses))
                text = _PREVIOUS_EN.sample(rng).replace("@", clauses[at])
                answer = f"The line that comes before it in the poem is {clauses[at - 1]}."
            else:
                poem = rng.choice(self._titled)
                line = rng.choice(poem.clauses)[:-1]
                if kind < 0.85:
                    text, answer = _AUTHOR_EN.sample(rng), f"It was written by {poem.author}."
                else:
                    text = _TITLE_EN.sample(rng)
                    answer = (
                        f"That line is from the poem {poem.title}, "
                        f"which was written by the poet {poem.author}."
                    )
                text = text.replace("@", line).replace("%", poem.title)
            return Exchange(lang, vary(rng, lang, text), answer, "verse")
        if kind < 0.5:
            at = rng.randrange(len(clauses) - 1)
            text = _NEXT_ZH.sample(rng).replace("@", clauses[at])
            answer = f"“{clauses[at]}”的下一句是“{clauses[at + 1]}”。"
        elif kind < 0.65:
            at = rng.randrange(1, len(clauses))
            text = _PREVIOUS_ZH.sample(rng).replace("@", clauses[at])
            answer = f"“{clauses[at]}”的上一句是“{clauses[at - 1]}”。"
        else:
            poem = rng.choice(self._titled)
            line = rng.choice(poem.clauses)[:-1]
            if kind < 0.8:
                text, answer = (
                    _AUTHOR_ZH.sample(rng),
                    f"是{poem.author}的《{poem.title}》。",
                )
            elif kind < 0.88:
                text, answer = (
                    _TITLE_ZH.sample(rng),
                    f"出自{poem.author}的《{poem.title}》。",
                )
            else:
                text, answer = _WHOLE_ZH.sample(rng), poem.text
            text = text.replace("@", line).replace("%", poem.title).replace("$", poem.author)
        return Exchange(lang, vary(rng, lang, text), answer, "verse")

    def sample_cloze(self, rng: random.Random) -> Cloze:
        """A blank in a poem: one character up to a clause; or the rest of the poem."""
        poem = rng.choice(self.poems)
        heading = rng.choice(("", "", f"《{poem.title}》", f"{poem.author}《{poem.title}》"))
        first = rng.randrange(len(poem.clauses))
        kind = rng.random()
        if kind < 0.2 and first:
            before = "".join(poem.clauses[:first])
            return Cloze(f"{heading}{before}[gMASK]", "".join(poem.clauses[first:]), "verse-rest")
        last = min(len(poem.clauses), first + rng.randint(1, 4))
        start = rng.randrange(0, first + 1) if rng.random() < 0.5 else max(0, first - 1)
        clause, mark = poem.clauses[first][:-1], poem.clauses[first][-1]
        before = heading + "".join(poem.clauses[start:first])
        after = mark + "".join(poem.clauses[first + 1 : last])
        if kind < 0.45:
            mask = rng.choice(("[MASK]", "[MASK]", "[sMASK]", "[gMASK]"))
            return Cloze(f"{before}{mask}{after}", clause, "verse-clause")
        size = rng.randint(1, max(1, len(clause) - 2))
        at = rng.randrange(0, len(clause) - size + 1)
        text = f"{before}{clause[:at]}[MASK]{clause[at + size :]}{after}"
        return Cloze(text, clause[at : at + size], "verse-characters")
