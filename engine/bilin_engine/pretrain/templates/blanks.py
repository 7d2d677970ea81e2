"""Blanks in everyday sentences, idioms and stated facts."""

import random
import re

from bilin_engine.pretrain.templates.exchange import Cloze, Exchange, read_rows

_BRACKETED = re.compile(r"\[([^\]]+)\]")


class BlankTemplates:
    """Draws blanks of `sentences.tsv` and `idioms.tsv`."""

    def __init__(self) -> None:
        self._sentences = [row[1] for row in read_rows("sentences.tsv")]
        self._idioms = read_rows("idioms.tsv")

    def sample(self, rng: random.Random) -> Cloze:
        """One sentence or idiom with a blank, sometimes between two others."""
        if rng.random() < 0.75:
            sentence = rng.choice(self._sentences)
            found = _BRACKETED.search(sentence)
            if found is None:
                message = f"sentences.tsv: no [blank] in {sentence!r}"
                raise ValueError(message)
            text = sentence[: found.start()] + "[MASK]" + sentence[found.end() :]
            if rng.random() < 0.15:
                other = _BRACKETED.sub(r"\1", rng.choice(self._sentences))
                text = f"{text} {other}" if text.isascii() else text + other
            return Cloze(text, found.group(1), "sentence")
        idiom, meaning = rng.choice(self._idioms)
        at = rng.randrange(len(idiom))
        size = rng.randint(1, min(2, len(idiom) - at))
        text = f"{idiom[:at]}[MASK]{idiom[at + size :]}"
        kind = rng.random()
        if kind < 0.3:
            text = f"成语：{text}"
        elif kind < 0.6:
            text = f"{text}：{meaning}。"
        return Cloze(text, idiom[at : at + size], "idiom")


def cloze_of(exchange: Exchange, rng: random.Random) -> Cloze | None:
    """A blank in a stated fact: one word of an answer, or None where the answer is too short."""
    words = re.findall(r"[A-Za-z]{3,}|[\u4e00-\u9fff]{1,2}|\d+", exchange.answer)
    if len(words) < 3:
        return None
    word = rng.choice(words[1:])
    at = exchange.answer.rfind(word)
    text = exchange.answer[:at] + "[MASK]" + exchange.answer[at + len(word) :]
    return Cloze(text, word, "fact")
