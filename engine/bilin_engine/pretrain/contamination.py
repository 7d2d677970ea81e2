"""Keeps training apart from the probes: no equal question, no shared run of eight tokens."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from bilin_engine.errors import BadRequestError
from bilin_engine.text_file import numbered_lines
from bilin_engine.tokenizers.base import Tokenizer

NGRAM_TOKENS = 8
_NOT_WORD = re.compile(r"[\W_]+")


def normalized(text: str) -> str:
    """`text` in lower case without punctuation, spaces and line breaks."""
    return _NOT_WORD.sub("", text).lower()


def read_probe_questions(files: Iterable[Path]) -> list[str]:
    """What probe files ask about: JSON lines with the key "q", or "text" for a text to read.

    Raises BadRequestError naming file, line and what is wrong.
    """
    questions = []
    for path in files:
        for where, line in numbered_lines(path):
            try:
                entry = json.loads(line)
            except ValueError as error:
                raise BadRequestError(f"{where}: {error}") from error
            question = entry.get("q", entry.get("text")) if isinstance(entry, dict) else None
            if not isinstance(question, str):
                raise BadRequestError(f'{where}: no question; use {{"q": "…"}} or {{"text": "…"}}')
            questions.append(question)
    return questions


class ProbeGuard:
    """Says of a text whether it must stay out of training."""

    def __init__(self, questions: Iterable[str], tokenizer: Tokenizer) -> None:
        questions = list(questions)
        self._equal = {normalized(question) for question in questions}
        self._ngrams: set[tuple[int, ...]] = set()
        for question in questions:
            for form in (question, " " + question):  # the first token depends on a space before it
                self._ngrams.update(ngrams(tokenizer.encode(form)))

    def is_known_question(self, question: str) -> bool:
        """Whether a probe asks exactly this, letter case and punctuation aside."""
        return normalized(question) in self._equal

    def shares_ngram(self, token_ids: Sequence[int]) -> bool:
        """Whether eight tokens in a row are also in a probe question."""
        return any(ngram in self._ngrams for ngram in ngrams(token_ids))


def ngrams(token_ids: Sequence[int]) -> Iterable[tuple[int, ...]]:
    """Every run of NGRAM_TOKENS tokens."""
    return zip(*(token_ids[start:] for start in range(NGRAM_TOKENS)), strict=False)
