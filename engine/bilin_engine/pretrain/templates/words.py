"""Dictionary look-ups, short translations, capitals, opposites and idioms."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from bilin_engine.pretrain.templates.exchange import (
    Exchange,
    Frames,
    Lang,
    read_frames,
    read_rows,
    vary,
)

_ZH_TO_EN_IN_ZH = read_frames("zh_to_en_in_zh")
_EN_TO_ZH_IN_ZH = read_frames("en_to_zh_in_zh")
_ZH_TO_EN_IN_EN = read_frames("zh_to_en_in_en")
_EN_TO_ZH_IN_EN = read_frames("en_to_zh_in_en")
_TRANSLATE_TO_EN = read_frames("translate_to_en")
_TRANSLATE_TO_ZH = read_frames("translate_to_zh")
_ZH_CAPITAL = read_frames("zh_capital")
_EN_CAPITAL = read_frames("en_capital")
_ZH_OPPOSITE = read_frames("zh_opposite")
_EN_OPPOSITE = read_frames("en_opposite")
_ZH_IDIOM = read_frames("zh_idiom")
_GLOSS = read_frames("gloss")
_CURATED_PHRASES = 0.8
_ZH_REPEAT = read_frames("zh_repeat")
_EN_REPEAT = read_frames("en_repeat")


@dataclass(frozen=True, slots=True)
class WordPair:
    """A Chinese word and its English; `en` without "to " for verbs."""

    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class MinedFacts:
    """What `prepare` took from the corpora.

    glosses: (English word, definition); phrases: short translations.
    """

    zh_to_en: tuple[WordPair, ...] = ()
    en_to_zh: tuple[WordPair, ...] = ()
    glosses: tuple[tuple[str, str], ...] = ()
    phrases: tuple[WordPair, ...] = ()


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


class WordTemplates:
    """Draws look-ups of curated pairs (`words.tsv`) and of mined ones, and the other word facts.

    curated_share: of the words. Mined ones are a dictionary's first sense, right or not for a word
    alone (告诉: "press charges"); more than a few of them teach to answer with one of them.
    """

    def __init__(self, mined: MinedFacts, *, curated_share: float = 0.95) -> None:
        curated = [WordPair(row[0], row[1]) for row in read_rows("words.tsv")]
        known_zh = {pair.zh for pair in curated}
        known_en = {pair.en for pair in curated}
        self._curated = curated
        self._mined_zh = [pair for pair in mined.zh_to_en if pair.zh not in known_zh]
        self._mined_en = [pair for pair in mined.en_to_zh if pair.en not in known_en]
        self._glosses = mined.glosses
        self._curated_share = curated_share
        self._phrases = [WordPair(row[0], row[1]) for row in read_rows("phrases.tsv")]
        taught = {pair.zh for pair in self._phrases}
        self._mined_phrases = [pair for pair in mined.phrases if pair.zh not in taught]
        self._capitals = read_rows("capitals.tsv")
        self._opposites = [
            pair
            for row in read_rows("opposites.tsv")
            for pair in ((row[0], row[1], row[2], row[3]), (row[1], row[0], row[3], row[2]))
        ]
        self._idioms = read_rows("idioms.tsv")

    def sample_lookup(self, rng: random.Random, lang: Lang) -> Exchange:
        """One word, Chinese to English or back."""
        if rng.random() < 0.5:
            pair = _pair(rng, self._curated, self._mined_zh, self._curated_share)
            frames = _ZH_TO_EN_IN_ZH if lang == "zh" else _ZH_TO_EN_IN_EN
            text = _fill(rng, frames, pair.zh)
            answer = (
                f"“{pair.zh}”的英文是 {pair.en}。"
                if lang == "zh"
                else f'{pair.zh} means "{pair.en}" in English.'
            )
            return Exchange(lang, vary(rng, lang, text), answer, "lookup")
        pair = _pair(rng, self._curated, self._mined_en, self._curated_share)
        frames = _EN_TO_ZH_IN_ZH if lang == "zh" else _EN_TO_ZH_IN_EN
        shown = _capital(pair.en) if rng.random() < 0.2 else pair.en
        text = _fill(rng, frames, shown)
        answer = (
            f"{pair.en} 的中文是“{pair.zh}”。"
            if lang == "zh"
            else f'The Chinese for "{pair.en}" is {pair.zh}.'
        )
        return Exchange(lang, vary(rng, lang, text), answer, "lookup")

    def sample_gloss(self, rng: random.Random) -> Exchange | None:
        """A definition from WordNet, in English; None where nothing was mined."""
        if not self._glosses:
            return None
        word, gloss = rng.choice(self._glosses)
        text = _fill(rng, _GLOSS, word)
        return Exchange("en", vary(rng, "en", text), f"{_capital(word)}: {gloss}.", "gloss")

    def sample_translation(self, rng: random.Random, lang: Lang) -> Exchange:
        """A short sentence: into English when asked in Chinese, into Chinese when in English."""
        pair = _pair(rng, self._phrases, self._mined_phrases, _CURATED_PHRASES)
        if lang == "zh":
            text = _fill(
                rng, _TRANSLATE_TO_EN, pair.zh.rstrip("？") if rng.random() < 0.5 else pair.zh
            )
            if text.count("“") > text.count("”"):
                text += "”"
            end = "" if pair.en.endswith("?") else "."
            return Exchange(
                lang, vary(rng, lang, text), f"“{pair.zh}”的英文是：{pair.en}{end}", "translate"
            )
        shown = pair.en if rng.random() < 0.6 else pair.en.rstrip("?").lower()
        text = _fill(rng, _TRANSLATE_TO_ZH, shown)
        answer = f'In Chinese, "{pair.en}" is {pair.zh.rstrip("？")}.'
        return Exchange(lang, vary(rng, lang, text), answer, "translate")

    def sample_repeat(self, rng: random.Random, lang: Lang) -> Exchange:
        """A word or short sentence to say again, in the language of the question."""
        if rng.random() < 0.5:
            pair = rng.choice(self._phrases)
        else:
            pair = WordPair(
                " ".join(rng.choice(self._curated).zh for _ in range(rng.randint(1, 3))),
                " ".join(rng.choice(self._curated).en for _ in range(rng.randint(1, 4))),
            )
        said = pair.zh if lang == "zh" else pair.en
        frames = _ZH_REPEAT if lang == "zh" else _EN_REPEAT
        return Exchange(lang, _fill(rng, frames, said), said, "repeat")

    def sample_fact(self, rng: random.Random, lang: Lang) -> Exchange:
        """A capital, an opposite, or (in Chinese) the meaning of an idiom."""
        kind = rng.random()
        if lang == "zh" and kind < 0.4:
            idiom, meaning = rng.choice(self._idioms)
            return Exchange(
                lang,
                vary(rng, lang, _fill(rng, _ZH_IDIOM, idiom)),
                f"“{idiom}”的意思是：{meaning}。",
                "idiom",
            )
        if kind < 0.7:
            row = rng.choice(self._capitals)
            if lang == "zh":
                text, answer = _fill(rng, _ZH_CAPITAL, row[0]), f"{row[0]}的首都是{row[1]}。"
            else:
                text, answer = (
                    _fill(rng, _EN_CAPITAL, row[2]),
                    f"The capital of {row[2]} is {row[3]}.",
                )
            return Exchange(lang, vary(rng, lang, text), answer, "capital")
        zh, zh_opposite, en, en_opposite = rng.choice(self._opposites)
        if lang == "zh":
            text, answer = _fill(rng, _ZH_OPPOSITE, zh), f"“{zh}”的反义词是“{zh_opposite}”。"
        else:
            text, answer = _fill(rng, _EN_OPPOSITE, en), f"The opposite of {en} is {en_opposite}."
        return Exchange(lang, vary(rng, lang, text), answer, "opposite")


def _pair(
    rng: random.Random, curated: Sequence[WordPair], mined: Sequence[WordPair], share: float
) -> WordPair:
    is_curated = not mined or rng.random() < share
    return rng.choice(curated if is_curated else mined)


def _fill(rng: random.Random, frames: Frames, word: str) -> str:
    return frames.sample(rng).replace("@", word).strip()
