"""Greetings, identity, honest refusals, and every how-to of Bilin in both languages."""

import random
from functools import cache

from bilin_engine.pretrain.templates.exchange import (
    WRITTEN_SHARE,
    Exchange,
    Lang,
    read_frames,
    read_intents,
    read_rows,
    vary,
    vary_message,
    with_emoji,
)
from bilin_engine.pretrain.templates.grammar import Pool
from bilin_engine.pretrain.templates.wording import colloquial

_EN_TAIL = ("", "", "", "", " in Bilin", " in this app", " here", " in the app")
# Shares of questions that are worded as people type; the rest are as the grammars give them.
_COLLOQUIAL_HOW_TO = 0.65
_COLLOQUIAL_TALK = 0.3
_COLLOQUIAL_WRITTEN = 0.4


@cache
def written_questions() -> dict[tuple[str, str, str], list[str]]:
    """`questions.tsv` by (family, intent, language)."""
    questions: dict[tuple[str, str, str], list[str]] = {}
    for family, intent, lang, text in read_rows("questions.tsv"):
        questions.setdefault((family, intent, lang), []).append(text)
    return questions


def fixed_answers() -> list[str]:
    """The answers of every greeting and how-to, in both languages."""
    return [
        intent[lang]
        for name in ("talk.toml", "howto.toml")
        for intent in read_intents(name)
        for lang in ("zh", "en")
    ]


def _as_written(rng: random.Random, family: str, intent: str, lang: Lang) -> str | None:
    """A written question of an intent, often with the small changes typing makes.

    None for the share of questions that the grammars are to make: all, where none is written.
    """
    written = written_questions().get((family, intent, lang))
    if not written or rng.random() >= WRITTEN_SHARE:
        return None
    text = with_emoji(rng, rng.choice(written))
    if rng.random() < _COLLOQUIAL_WRITTEN:
        return colloquial(rng, lang, text)
    if rng.random() < 0.3:
        text = text.rstrip("？?。.！!") + rng.choice(
            ("？", "", "。") if lang == "zh" else ("?", "", ".")
        )
    return text.lower() if lang == "en" and rng.random() < 0.15 else text


class TalkTemplates:
    """Draws exchanges of `talk.toml`: intents by weight; written questions, or by grammar."""

    def __init__(self) -> None:
        self._intents = read_intents("talk.toml")
        self._weights = [float(intent.get("weight", 1.0)) for intent in self._intents]
        self._pools = {
            (intent["id"], lang): Pool(intent[f"{lang}_ask"])
            for intent in self._intents
            for lang in ("zh", "en")
        }

    def sample(self, rng: random.Random, lang: Lang) -> Exchange:
        """One exchange; the answer is the intent's own, in `lang`."""
        intent = rng.choices(self._intents, self._weights)[0]
        question = _as_written(rng, "talk", intent["id"], lang)
        if question is not None:
            return Exchange(lang, question, intent[lang], intent["id"])
        text = self._pools[intent["id"], lang].sample(rng)
        is_question = intent["id"] == "unknown" or rng.random() < 0.15
        question = (
            vary(rng, lang, text, start=True) if is_question else vary_message(rng, lang, text)
        )
        if rng.random() < _COLLOQUIAL_TALK:
            question = colloquial(rng, lang, question)
        return Exchange(lang, question, intent[lang], intent["id"])


class HowToTemplates:
    """Draws how-tos: written questions, a verb phrase in a question frame, or a whole question."""

    def __init__(self) -> None:
        self._intents = read_intents("howto.toml")
        self._frames = {
            "zh": read_frames("zh_how_to"),
            "en": read_frames("en_how_to"),
        }
        self._pools = {
            (intent["id"], lang, part): Pool(intent[f"{lang}_{part}"])
            for intent in self._intents
            for lang in ("zh", "en")
            for part in ("do", "ask")
        }

    def intent_ids(self) -> list[str]:
        """Every how-to there is."""
        return [intent["id"] for intent in self._intents]

    def sample(self, rng: random.Random, lang: Lang) -> Exchange:
        """One exchange; intents equally likely."""
        intent = rng.choice(self._intents)
        question = _as_written(rng, "howto", intent["id"], lang)
        if question is not None:
            return Exchange(lang, question, intent[lang], "howto:" + intent["id"])
        asks = self._pools[intent["id"], lang, "ask"]
        if rng.random() < 0.45:
            text = asks.sample(rng)
        else:
            doing = self._pools[intent["id"], lang, "do"].sample(rng)
            frame = self._frames[lang].sample(rng)
            text = frame.replace("@", doing if lang == "zh" else " " + doing)
            if lang == "en" and not any(word in text for word in ("Bilin", "app")):
                text += rng.choice(_EN_TAIL)
        question = vary(rng, lang, text)
        if rng.random() < _COLLOQUIAL_HOW_TO:
            question = colloquial(rng, lang, question)
        return Exchange(lang, question, intent[lang], "howto:" + intent["id"])
