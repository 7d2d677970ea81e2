"""Writes probe/proofread.jsonl: sentences with one planted wrong word each.

`python tests/data/write_proofread_probe.py CORPUS [--seed N] [--out FILE]`; the same corpus and
seed give the same bytes. The sentences are of the lines that `pretrain prepare` keeps out of
training, and none of them stands in a line that is trained on. The planted word takes the place of
another: of two characters (zh) or of small letters (en), about as common as the word it replaces,
so that its rarity does not give it away. `wrong` and `right` stand in `text` exactly once.
"""

import argparse
import json
import random
import re
from collections import Counter
from pathlib import Path

from bilin_engine.pretrain.corpus import clean, is_held_out, read_lines

NUM_SENTENCES = 100  # of each language
SOURCES = {
    "zh": ("hsk_sentences_audio", "wesnoth_1_16_data", "libreoffice_help", "python_docs"),
    "en": ("wesnoth_1_16_data", "gnome_user_docs", "libreoffice_help", "debian_handbook"),
}
LENGTHS = {"zh": (8, 40), "en": (30, 120)}  # characters
MIN_COUNT = 15  # a word rarer than this is neither replaced nor planted

_SENTENCE = {
    "zh": re.compile(r"[\u4e00-\u9fff][\u4e00-\u9fff，、：；“”《》]*[。！？]"),
    "en": re.compile(r"[A-Z][a-z]*(?:[,;:]? [A-Za-z][a-z'-]*)+[.!?]"),
}
_LATIN_WORD = re.compile(r"(?<![\w'-])[a-z]{3,}(?![\w'-])")


def words_zh(sentence: str, known: set[str]) -> list[str]:
    """The sentence cut by longest match with the dictionary's words of up to four characters."""
    found, at = [], 0
    while at < len(sentence):
        size = next((n for n in (4, 3, 2) if sentence[at : at + n] in known), 1)
        found.append(sentence[at : at + size])
        at += size
    return found


def common_words(lang: str, lines: list[str], known: set[str]) -> Counter[str]:
    """How often each word that may be replaced or planted stands in the lines."""
    counts: Counter[str] = Counter()
    for line in lines:
        if lang == "zh":
            counts.update(w for w in words_zh(line, known) if len(w) == 2)
        else:
            counts.update(_LATIN_WORD.findall(line))
    return Counter({word: count for word, count in counts.items() if count >= MIN_COUNT})


def plant(
    sentence: str, lang: str, counts: Counter[str], known: set[str], rng: random.Random
) -> dict[str, str] | None:
    """One line of the probe, or None where no word of the sentence can be replaced."""
    words = words_zh(sentence, known) if lang == "zh" else _LATIN_WORD.findall(sentence)
    chosen = [w for w in words if w in counts and sentence.count(w) == 1]
    if not chosen:
        return None
    right = rng.choice(chosen)
    near = sorted(
        word
        for word, count in counts.items()
        if 0.5 <= count / counts[right] <= 2.0
        and word not in sentence
        and not set(word) & set(right if lang == "zh" else "")
        and abs(len(word) - len(right)) <= 2
    )
    if not near:
        return None
    wrong = rng.choice(near)
    text = sentence.replace(right, wrong)
    if text.count(wrong) != 1:
        return None
    return {"lang": lang, "text": text, "wrong": wrong, "right": right}


def probe_lines(corpus: Path, lang: str, seed: int) -> list[dict[str, str]]:
    """The probe of one language: an equal share of every source, as far as it goes."""
    known = set(read_lines(corpus, "cc_cedict.zh.txt.xz")) if lang == "zh" else set()
    trained: list[str] = []
    sentences: dict[str, list[str]] = {}
    for source in SOURCES[lang]:
        lines = list(enumerate(read_lines(corpus, f"{source}.{lang}.txt.xz")))
        trained += [clean(line) for index, line in lines if not is_held_out(index)]
        low, high = LENGTHS[lang]
        sentences[source] = list(
            dict.fromkeys(
                sentence
                for index, line in lines
                if is_held_out(index)
                for sentence in _SENTENCE[lang].findall(clean(line))
                if low <= len(sentence) <= high
            )
        )
    counts = common_words(lang, trained, known)
    # One source has its sentences in traditional characters, too.
    simplified = {c for line in trained[len(trained) // 2 :] for c in line}
    whole = "\n".join(trained)
    found: list[dict[str, str]] = []
    for number, source in enumerate(SOURCES[lang]):
        rng = random.Random(f"{seed} {source} {lang}")
        rng.shuffle(sentences[source])
        share = round(NUM_SENTENCES * (number + 1) / len(SOURCES[lang]))
        for sentence in sentences[source]:
            if len(found) >= share:
                break
            if sentence in whole or (lang == "zh" and set(sentence) - simplified):
                continue
            if (line := plant(sentence, lang, counts, known, rng)) is not None:
                found.append(line)
    return found


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    default = Path(__file__).parent / "probe" / "proofread.jsonl"
    parser.add_argument("--out", type=Path, default=default)
    options = parser.parse_args()
    lines = [
        line for lang in ("zh", "en") for line in probe_lines(options.corpus, lang, options.seed)
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
