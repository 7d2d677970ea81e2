"""How people really type: other words for the same thing, keywords alone, slips of the finger.

Applied to questions whose answer is fixed (greetings, how-tos), never to ones whose words come
back in the answer. A small model that has seen each intent in hundreds of wordings must look for
what they share, and so finds it in wordings it has not seen.
"""

import random
import re
import tomllib

from bilin_engine.pretrain.templates.exchange import FACTS, Lang

_TABLES: dict[str, list[str]] = tomllib.loads((FACTS / "wording.toml").read_text(encoding="utf-8"))


def _finder(lang: Lang, group: tuple[str, ...]) -> re.Pattern[str]:
    """Finds the words of `group`; a lone Chinese character may be part of another word."""
    words = sorted((word for word in group if len(word) > 1), key=len, reverse=True)
    edge = r"\b" if lang == "en" else ""
    return re.compile(f"{edge}(?:{'|'.join(map(re.escape, words))}){edge}", re.IGNORECASE)


def _finders(lang: Lang) -> list[tuple[re.Pattern[str], tuple[str, ...]]]:
    groups = [tuple(line.split("|")) for line in _TABLES[f"{lang}_same"]]
    return [(_finder(lang, group), group) for group in groups]


_FIND: dict[Lang, list[tuple[re.Pattern[str], tuple[str, ...]]]] = {
    "zh": _finders("zh"),
    "en": _finders("en"),
}
_EN_FILLER = frozenset(_TABLES["en_filler"])
_WORDS_ZH = re.compile(
    "|".join(sorted(map(re.escape, _TABLES["zh_filler"]), key=len, reverse=True))
)


def reword(rng: random.Random, lang: Lang, text: str, *, share: float = 0.35) -> str:
    """`text` with some of its words exchanged for others of the same meaning."""
    for pattern, group in _FIND[lang]:
        if pattern.search(text) and rng.random() < share:
            chosen = rng.choice(group)
            text = pattern.sub(lambda _, to=chosen: to, text, count=1)
    return text


def keywords(rng: random.Random, lang: Lang, text: str) -> str:
    """What is left of `text` when it is typed as into a search box; `text` itself if nothing is."""
    if lang == "zh":
        left = _WORDS_ZH.sub(lambda match: match[0] if rng.random() < 0.1 else "", text)
        return left if len(left) >= 2 else text
    words = [w for w in re.sub(r"[?.!,]+", " ", text).split() if w.lower() not in _EN_FILLER]
    if len(words) > 2 and rng.random() < 0.3:
        rng.shuffle(words)
    return " ".join(words).lower() if words else text


def slip(rng: random.Random, lang: Lang, text: str) -> str:
    """One slip: a letter doubled, dropped or swapped with its neighbour; a character left out."""
    at = rng.randrange(max(1, len(text) - 1))
    if lang == "zh":
        if not "\u4e00" <= text[at : at + 1] <= "\u9fff" or len(text) < 5:
            return text
        return (
            text[:at] + text[at + 1 :] if rng.random() < 0.6 else text[:at] + text[at] + text[at:]
        )
    if not text[at : at + 2].isalpha() or len(text) < 8:
        return text
    kind = rng.random()
    if kind < 0.4:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + text[at + 1 :] if kind < 0.7 else text[:at] + text[at] + text[at:]


def colloquial(rng: random.Random, lang: Lang, text: str) -> str:
    """One of the ways above or several, or `text` as it is."""
    if rng.random() < 0.7:
        text = reword(rng, lang, text)
    kind = rng.random()
    if kind < 0.12:
        return keywords(rng, lang, text)
    if kind < 0.32:
        text = rng.choice(_TABLES[f"{lang}_before"]) + text
    if 0.22 < kind < 0.45:
        text = text.rstrip("？?。.") + rng.choice(_TABLES[f"{lang}_after"])
    if rng.random() < 0.08:
        text = slip(rng, lang, text)
    if lang == "en" and rng.random() < 0.25:
        text = text.lower().rstrip("?." if rng.random() < 0.5 else "")
    return text
