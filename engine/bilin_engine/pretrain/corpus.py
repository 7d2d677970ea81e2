"""The text that training reads: sources with licence, weight and the reason for it; cleaning.

A corpus folder holds `NAME.zh.txt.xz` and `NAME.en.txt.xz` (UTF-8, a passage a line) and
`dialogues.jsonl.xz`. A source whose file is absent is passed over with a warning, and so is a file
that no source names.
"""

import json
import logging
import lzma
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bilin_engine.pretrain.templates.exchange import Lang
from bilin_engine.pretrain.templates.words import MinedFacts, WordPair

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """One corpus file. weight: share of self-supervised characters, relative to the others."""

    name: str
    lang: Lang
    weight: float
    licence: str
    reason: str

    @property
    def file_name(self) -> str:
        """Its file inside the corpus folder."""
        return f"{self.name}.{self.lang}.txt.xz"


_GPL_DOCS = "GPL-2+ / GFDL / CC BY-SA mixes"
SOURCES = (
    Source(
        "hsk_sentences_audio",
        "zh",
        6,
        "CC BY-SA 4.0",
        "everyday sentences, the most natural short Chinese here",
    ),
    Source("wesnoth_1_16_data", "zh", 3, _GPL_DOCS, "told stories and dialogue"),
    Source("python_docs", "zh", 3, "PSF; translations CC0 / PSF", "clear explaining prose"),
    Source("libreoffice_help", "zh", 3, "MPL-2.0", "how-to sentences about an application"),
    Source("debian_handbook", "zh", 2, _GPL_DOCS, "connected technical prose"),
    Source("rust_book", "zh", 2, "MIT / Apache-2.0", "tutorial prose"),
    Source("vue_docs", "zh", 1, "CC BY 4.0", "tutorial prose"),
    Source("react_docs", "zh", 1, "CC BY 4.0", "tutorial prose"),
    Source(
        "chinese_poetry_quantangshi_song_poems",
        "zh",
        4,
        "public domain; collection MIT",
        "Tang and Song verse, for blanks in verse",
    ),
    Source("chinese_poetry_ci_qu", "zh", 1, "public domain; collection MIT", "other verse forms"),
    Source("chinese_poetry_classics", "zh", 1, "public domain; collection MIT", "quoted classics"),
    Source(
        "fortunes_zh",
        "zh",
        2,
        "public domain verse; collection GPL-3+",
        "well-known verse with authors",
    ),
    Source("bible_web", "en", 4, "public domain", "plain, simple English narrative"),
    Source(
        "wordnet_3_0_glosses", "en", 5, "WordNet 3.0", "definitions and short example sentences"
    ),
    Source("wesnoth_1_16_data", "en", 3, _GPL_DOCS, "told stories and dialogue"),
    Source("python_docs", "en", 3, "PSF", "clear explaining prose"),
    Source("libreoffice_help", "en", 3, "MPL-2.0", "how-to sentences about an application"),
    Source("debian_handbook", "en", 2, _GPL_DOCS, "connected technical prose"),
    Source("gnome_user_docs", "en", 2, _GPL_DOCS, "how-to sentences about a desktop"),
    Source("dict_foldoc", "en", 1, "GFDL", "terms of computing"),
)
_DICTIONARY = "cc_cedict"
# Read for facts or dialogue, not as running text.
OTHER_LICENCES = (
    (_DICTIONARY, "CC BY-SA 4.0", "look-ups, short translations"),
    ("dialogues: kdconv, crosswoz", "Apache-2.0", "multi-turn dialogue"),
    ("dialogues: taskmaster4", "CC BY 4.0", "multi-turn dialogue"),
)

HELD_OUT_BLOCK = 20
HELD_OUT_EVERY = 50
_SPACES = re.compile(r"[ \t\v\f\x1c-\x1e\x85\u2028\u2029\u3000]+")
_FORMULA = re.compile(r"\$[^$]{2,}\$|\\[a-z]{3,}|[{}<>|]{3,}|https?://|[│├└]|\$[a-z]")
_CJK = re.compile(r"[\u4e00-\u9fff]")


def read_lines(folder: Path, file_name: str) -> list[str]:
    """The lines of one corpus file; [] with a warning where it is absent."""
    path = folder / file_name
    if not path.is_file():
        logger.warning(
            "corpus file %s is absent from %s; training goes on without it", file_name, folder
        )
        return []
    text = read_xz(path, errors="replace")
    # Not splitlines: a line may hold U+2028 and the like.
    return text.removesuffix("\n").split("\n") if text else []


def read_xz(path: Path, *, errors: str = "strict") -> str:
    """The text of a compressed file. Raises ValueError where it is damaged."""
    try:
        with lzma.open(path, "rt", encoding="utf-8", errors=errors) as stream:
            return stream.read()
    except (EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        message = f"{path} is damaged: {error}"
        raise ValueError(message) from error


def read_parallel(folder: Path, name: str) -> list[tuple[str, str]]:
    """The lines (zh, en) of two corpus files; [] with a warning where one is absent.

    Raises ValueError where they have not as many lines.
    """
    zh_name, en_name = f"{name}.zh.txt.xz", f"{name}.en.txt.xz"
    zh, en = read_lines(folder, zh_name), read_lines(folder, en_name)
    if not all((folder / file_name).is_file() for file_name in (zh_name, en_name)):
        return []
    if len(zh) != len(en):
        message = (
            f"{folder}: {zh_name} has {len(zh)} lines and {en_name} {len(en)}; "
            "each line of one must translate that line of the other"
        )
        raise ValueError(message)
    return list(zip(zh, en, strict=True))


def warn_of_unread_files(folder: Path) -> None:
    """Of corpus files that nothing here reads."""
    read = {source.file_name for source in SOURCES}
    read |= {f"{_DICTIONARY}.{lang}.txt.xz" for lang in ("zh", "en")}
    for path in sorted(folder.glob("*.txt.xz")):
        if path.name not in read:
            logger.warning("%s is not read: no source in corpus.py names it", path)


def clean(line: str) -> str:
    """`line` without markup noise and runs of spaces; "" where too little text is left.

    Dropped whole: lines with formulas, links or replacement characters, and lines that are mostly
    punctuation or digits.
    """
    line = _SPACES.sub(" ", line).strip()
    if len(line) < 4 or "\ufffd" in line or _FORMULA.search(line):
        return ""
    letters = sum(char.isalpha() for char in line)
    return line if letters >= 0.6 * len(line.replace(" ", "")) else ""


def passages(lines: list[str], rng: random.Random, *, max_chars: int) -> Iterator[str]:
    """Endless passages: runs of consecutive cleaned lines joined by line breaks."""
    lines = [text for text in map(clean, lines) if text]
    if not lines:
        return
    while True:
        at = rng.randrange(len(lines))
        budget = int(max_chars * rng.uniform(0.3, 1.0))
        taken: list[str] = []
        while at < len(lines) and budget > 0:
            line = lines[at]
            if len(line) > budget and taken:
                break
            if len(line) > max_chars:
                start = rng.randrange(len(line) - max_chars + 1)
                line = line[start : start + max_chars]
            taken.append(line)
            budget -= len(line)
            at += 1
        yield "\n".join(taken)


def is_held_out(index: int) -> bool:
    """Whether line `index` of a corpus file is for measuring: blocks of 20 lines, one in fifty."""
    return index // HELD_OUT_BLOCK % HELD_OUT_EVERY == HELD_OUT_EVERY - 1


def draw_passages(
    folder: Path, *, total_chars: int, max_chars: int, seed: int, held_out: bool = False
) -> list[str]:
    """Passages of all sources by weight, about `total_chars` characters of each language.

    English gets 2.2 times the characters, since a token of it holds about twice as many. held_out:
    from the lines kept for measuring instead of from those for training.
    """
    drawn: list[str] = []
    for lang, scale in (("zh", 1.0), ("en", 2.2)):
        sources = [source for source in SOURCES if source.lang == lang]
        weights = sum(source.weight for source in sources)
        for source in sources:
            rng = random.Random(f"{seed} {source.file_name}")
            budget = int(total_chars * scale * source.weight / weights)
            lines = [
                line
                for index, line in enumerate(read_lines(folder, source.file_name))
                if is_held_out(index) == held_out
            ]
            for text in passages(lines, rng, max_chars=int(max_chars * scale)):
                drawn.append(text)
                budget -= len(text)
                if budget <= 0:
                    break
    random.Random(seed).shuffle(drawn)
    return drawn


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Turns by user and assistant in turn."""

    lang: Lang
    turns: tuple[str, ...]


def read_dialogues(folder: Path) -> list[Dialogue]:
    """The dialogues whose language is known; [] with a warning where the file is absent."""
    found: list[Dialogue] = []
    for line in read_lines(folder, "dialogues.jsonl.xz"):
        entry = json.loads(line)
        if entry["lang"] in ("zh", "en") and len(entry["turns"]) >= 2:
            found.append(Dialogue(entry["lang"], tuple(entry["turns"])))
    return found


NUM_PHRASES = 200  # from the dictionary, and as many from parallel documentation
_SHORT_ZH = re.compile(r"[\u4e00-\u9fff]{4,13}[。？]")
_SHORT_EN = re.compile(r"[A-Z][a-z]+( [a-z'-]+){3,6}[.?]")
_SENSE_NOISE = re.compile(
    r"\([^)]*\)|CL:.*|\[[^\]]*\]|\bsb\b|\bsth\b|abbr\.|variant of.*|see .*|surname.*|used in.*"
)


def _first_sense(definition: str) -> str:
    """In plain letters; "" where it is a name or holds anything else."""
    sense = _SENSE_NOISE.sub("", definition.split(";")[0]).strip(" ,;.")
    sense = sense.removeprefix("to ").strip()
    return sense if re.fullmatch(r"[a-z][A-Za-z '-]{1,40}", sense) else ""


def mine_facts(folder: Path, *, num_words: int, num_glosses: int) -> MinedFacts:
    """Look-ups for the commonest words, phrases to translate, and definitions.

    Common = often in the everyday sentences and the dialogues (Chinese), in WordNet's example
    sentences (English). A Chinese word's English is its first sense, if of three words at most.
    """
    everyday = read_lines(folder, "hsk_sentences_audio.zh.txt.xz")
    for dialogue in read_dialogues(folder):
        if dialogue.lang == "zh":
            everyday.extend(dialogue.turns[:2])
    entries = read_parallel(folder, _DICTIONARY)
    senses: dict[str, str] = {}
    phrases: dict[str, str] = {}
    for zh, definition in entries:
        sense = _first_sense(definition)
        if not sense or not all(map(_CJK.match, zh)):
            continue
        size = len(sense.split())
        if size <= 3 and len(sense) <= 23:
            senses.setdefault(zh, sense)
        if size >= 3 and len(zh) >= 3 and "  " not in sense:  # two spaces: noise was cut out
            phrases.setdefault(zh, sense)
    counts: Counter[str] = Counter()
    known = {zh for zh, _ in entries}
    for line in everyday:
        at = 0
        while at < len(line):
            size = next((n for n in (4, 3, 2) if line[at : at + n] in known), 1)
            counts[line[at : at + size]] += 1
            at += size
    common = [zh for zh, _ in counts.most_common() if zh in senses and len(zh) >= 2][:num_words]
    zh_to_en = tuple(WordPair(zh, senses[zh]) for zh in common)
    back: dict[str, str] = {}
    for zh in common:
        if " " not in senses[zh]:
            back.setdefault(senses[zh], zh)
    en_to_zh = tuple(WordPair(zh, en) for en, zh in back.items())
    sayings = [WordPair(zh, phrases[zh]) for zh, _ in counts.most_common() if zh in phrases]
    return MinedFacts(
        zh_to_en,
        en_to_zh,
        _common_glosses(folder, num_glosses),
        (*sayings[:NUM_PHRASES], *_short_sentences(folder)[:NUM_PHRASES]),
    )


def _short_sentences(folder: Path) -> list[WordPair]:
    """Sentences of four to seven words from the documentation that is parallel line by line.

    Without their full stops, as the taught phrases are; the shortest first.
    """
    found: dict[str, str] = {}
    for index, (zh, en) in enumerate(read_parallel(folder, "python_docs")):
        is_short = _SHORT_ZH.fullmatch(zh) and _SHORT_EN.fullmatch(en)
        if is_short and zh.endswith("？") == en.endswith("?") and not is_held_out(index):
            found.setdefault(zh.rstrip("。"), en.rstrip("."))
    return sorted((WordPair(zh, en) for zh, en in found.items()), key=lambda pair: len(pair.zh))


def _common_glosses(folder: Path, num_glosses: int) -> tuple[tuple[str, str], ...]:
    lines = [
        line
        for index, line in enumerate(read_lines(folder, "wordnet_3_0_glosses.en.txt.xz"))
        if not is_held_out(index)
    ]
    used: Counter[str] = Counter()
    glosses: dict[str, str] = {}
    for line in lines:
        head, _, rest = line.partition(": ")
        used.update(re.findall(r"[a-z]{3,}", rest))
        gloss = re.sub(r"\([^)]*\)", "", rest.split(";")[0]).strip()
        is_noun = gloss.startswith(("a ", "an ", "the ", "any "))  # verbs come first in the file
        if re.fullmatch(r"[a-z]{3,}", head) and 10 <= len(gloss) <= 70 and is_noun:
            if head in glosses:
                continue
            glosses[head] = " ".join(gloss.split())
    common = [
        word for word, _ in used.most_common(num_glosses * 6) if word in glosses and len(word) > 3
    ]
    return tuple((word, glosses[word]) for word in common[:num_glosses])
