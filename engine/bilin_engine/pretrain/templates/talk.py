"""Greetings, identity, honest refusals, and every how-to of Bilin in both languages."""

import random

from bilin_engine.pretrain.templates.exchange import (
    Exchange,
    Lang,
    read_frames,
    read_intents,
    vary,
    vary_message,
)
from bilin_engine.pretrain.templates.grammar import Pool
from bilin_engine.pretrain.templates.wording import colloquial

_EN_TAIL = ("", "", "", "", " in Bilin", " in this app", " here", " in the app")
# Shares of questions that are worded as people type; the rest are as the grammars give them.
_COLLOQUIAL_HOW_TO = 0.65
_COLLOQUIAL_TALK = 0.3


class TalkTemplates:
    """Draws exchanges of `talk.toml`: intents by weight, phrasings by their grammars."""

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
        text = self._pools[intent["id"], lang].sample(rng)
        is_question = intent["id"] == "unknown" or rng.random() < 0.15
        question = (
            vary(rng, lang, text, start=True) if is_question else vary_message(rng, lang, text)
        )
        if rng.random() < _COLLOQUIAL_TALK:
            question = colloquial(rng, lang, question)
        return Exchange(lang, question, intent[lang], intent["id"])


class HowToTemplates:
    """Draws how-tos: a verb phrase in a question frame, or a whole question."""

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
        asks = self._pools[intent["id"], lang, "ask"]
        if rng.random() < 0.45:
            text = asks.sample(rng)
        else:
            doing = self._pools[intent["id"], lang, "do"].sample(rng)
            frame = rng.choice(self._frames[lang]).sample(rng)
            text = frame.replace("@", doing if lang == "zh" else " " + doing)
            if lang == "en" and not any(word in text for word in ("Bilin", "app")):
                text += rng.choice(_EN_TAIL)
        question = vary(rng, lang, text)
        if rng.random() < _COLLOQUIAL_HOW_TO:
            question = colloquial(rng, lang, question)
        return Exchange(lang, question, intent[lang], "howto:" + intent["id"])
