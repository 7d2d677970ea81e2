"""What templates yield, and the small changes of wording that every question may get."""

import random
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from bilin_engine.pretrain.templates.grammar import Phrase, parse

Lang = Literal["zh", "en"]
FACTS = Path(__file__).parent.parent / "facts"
WRITTEN_SHARE = 0.6  # of questions and frames that were written one by one, where there are some


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer, in the language of the question. `family` names the template."""

    lang: Lang
    question: str
    answer: str
    family: str


@dataclass(frozen=True, slots=True)
class Cloze:
    """A text with one or more literal mask tokens; `answer` fills the first of its kind."""

    text: str
    answer: str
    family: str


def read_rows(name: str) -> list[list[str]]:
    """The rows of a tab-separated file of facts."""
    lines = (FACTS / name).read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if line.strip()]


@dataclass(frozen=True, slots=True)
class Frames:
    """Question frames of one kind: by grammar, written one by one, or both.

    Grammars yield more wordings, but all from the same few words; what a question shares with
    others of its meaning shows in the written ones.
    """

    by_grammar: tuple[Phrase, ...]
    written: tuple[str, ...]

    def sample(self, rng: random.Random) -> str:
        """One frame, its placeholders still in it."""
        if self.written and (not self.by_grammar or rng.random() < WRITTEN_SHARE):
            return rng.choice(self.written)
        return rng.choice(self.by_grammar).sample(rng)


@cache
def _all_frames() -> dict[str, list[str]]:
    return tomllib.loads((FACTS / "frames.toml").read_text(encoding="utf-8"))


@cache
def _written_frames() -> dict[str, list[str]]:
    frames: dict[str, list[str]] = {}
    for name, text in read_rows("written_frames.tsv"):
        frames.setdefault(name, []).append(text)
    return frames


def read_frames(name: str) -> Frames:
    """The frames under `name` of `frames.toml` and `written_frames.tsv`.

    Raises KeyError for a name that neither has.
    """
    by_grammar = tuple(parse(pattern) for pattern in _all_frames().get(name, ()))
    written = tuple(_written_frames().get(name, ()))
    if not by_grammar and not written:
        raise KeyError(name)
    return Frames(by_grammar, written)


def read_intents(name: str) -> list[dict[str, Any]]:
    """The `[[intent]]` tables of a TOML file of facts."""
    return tomllib.loads((FACTS / name).read_text(encoding="utf-8"))["intent"]


_ZH_START = (
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "请问，",
    "请问",
    "你好，",
    "那",
    "比邻，",
    "我想问一下，",
    "问一下，",
    "想请教一下，",
)
_EN_START = (
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "Please: ",
    "Hi, ",
    "Excuse me, ",
    "Bilin, ",
    "So ",
    "Hello, ",
    "Please tell me: ",
)
_ZH_END = ("？", "？", "？", "", "", "?", "。", "呢？", "？谢谢")
_EN_END = ("?", "?", "?", "", "", ".", "??", ", please?", "? Thanks")
# Four bytes that no vocabulary of this size has as one piece: to be met, so as not to derail.
_EMOJI = (
    "😀😂🤣😊😅😭😍🥰😘🤔😎🙄😴🥺😱🤯😡🙂😉😄😁😆👍🙏👀💪👋🎉🔥💡✨🌟💯🍎🐶🐱🌸📚📖🚗💰🌞🌙🍂🎵⚽"
)
_EMOJI_SHARE = 0.04


def vary(rng: random.Random, lang: Lang, text: str, *, start: bool = True) -> str:
    """`text` with an opening, an end and letter case as people write them."""
    if lang == "zh":
        opening = rng.choice(_ZH_START) if start else ""
        end = rng.choice(_ZH_END)
        if text.endswith(("吗", "呢", "吧", "啊", "呀", "了")) and end.startswith("呢"):
            end = "？"
        return with_emoji(rng, opening + text + end)
    opening = rng.choice(_EN_START) if start else ""
    if opening and not text.startswith(("I ", "Bilin", "English", "Chinese", "INT4", "GGUF")):
        text = text[:1].lower() + text[1:]
    text = with_emoji(rng, opening + text + rng.choice(_EN_END))
    if rng.random() < 0.2:
        return text.lower()
    return text[:1].upper() + text[1:] if rng.random() < 0.9 else text


def with_emoji(rng: random.Random, text: str) -> str:
    """`text`, now and then with a picture or two behind it."""
    if rng.random() >= _EMOJI_SHARE:
        return text
    return text + rng.choice(("", "", " ")) + rng.choice(_EMOJI) * rng.choice((1, 1, 1, 2))


def vary_message(rng: random.Random, lang: Lang, text: str) -> str:
    """Like `vary` for what is not a question: a greeting, a thank-you, a name."""
    if lang == "zh":
        return with_emoji(rng, text + rng.choice(("", "", "", "！", "。", "!", "～", "？", "？")))
    text = with_emoji(rng, text + rng.choice(("", "", "", "!", ".", "!!", "?", "?")))
    return text.lower() if rng.random() < 0.25 else text
