"""Probe files: questions to a chat model, one a line, each with what its answer must hold."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from bilin_engine.chat_format import text_language
from bilin_engine.errors import BadRequestError, ContextOverflowError
from bilin_engine.evaluate.metrics import percent
from bilin_engine.evaluate.model import EvaluatedModel
from bilin_engine.evaluate.report import FileResult, ItemResult, TaskResult
from bilin_engine.protocol import Message
from bilin_engine.text_file import numbered_lines

MAX_ANSWER_TOKENS = 256
ASKED_AT_ONCE = 64  # decoded together as slots allow; progress is told in between


class ProbeLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """lang: the language asked in. q: the question. must: searched in the greedy answer."""

    lang: Literal["zh", "en"]
    q: str
    must: str


@dataclass(frozen=True, slots=True)
class _Answer:
    line: ProbeLine
    reply: str
    is_passed: bool

    @property
    def is_in_language(self) -> bool:
        """Whether the reply is in the language asked; numbers and signs are in both."""
        return text_language(self.reply) in (None, self.line.lang) and bool(self.reply)


def read_probe(path: Path) -> list[ProbeLine]:
    """The lines of a probe file. Raises BadRequestError naming file, line and what is wrong."""
    return [line for _, line in _read(path)]


def _read(path: Path) -> list[tuple[str, ProbeLine]]:
    """As `read_probe`, each line behind its place, as "FILE, line 3"."""
    lines = []
    for where, text in numbered_lines(path):
        try:
            line = msgspec.json.decode(text, type=ProbeLine)
            re.compile(line.must)
        except (msgspec.DecodeError, re.error) as error:
            raise BadRequestError(f"{where}: {error}") from error
        lines.append((where, line))
    if not lines:
        raise BadRequestError(f"{path} holds no questions")
    return lines


def run_probe(
    model: EvaluatedModel, path: Path, on_progress: Callable[[float], None]
) -> TaskResult:
    """Asks every question as a chat of its own. Metrics in percent, by the language asked.

    Passed: the answer holds what it must. Reply language: it is in the language asked. Raises
    ContextOverflowError naming the line that is too long, before anything is asked.
    """
    started_s = time.perf_counter()
    numbered = _read(path)
    for where, line in numbered:
        try:
            model.check_chat([Message("user", line.q)])
        except ContextOverflowError as error:
            raise ContextOverflowError(f"{where}: {error.message}") from error
    lines = [line for _, line in numbered]
    answers: list[_Answer] = []
    for done in range(0, len(lines), ASKED_AT_ONCE):
        on_progress(done / len(lines))
        asked = lines[done : done + ASKED_AT_ONCE]
        conversations = [[Message("user", line.q)] for line in asked]
        replies = model.chat_many(conversations, MAX_ANSWER_TOKENS)
        answers += [
            _Answer(line, reply, re.search(line.must, reply) is not None)
            for line, reply in zip(asked, replies, strict=True)
        ]
    return TaskResult(
        name=path.stem,
        type="probe",
        files=tuple(
            _file_result(path, lang, [a for a in answers if a.line.lang == lang])
            for lang in dict.fromkeys(line.lang for line in lines)
        ),
        seconds=time.perf_counter() - started_s,
    )


def _file_result(path: Path, lang: str, answers: list[_Answer]) -> FileResult:
    return FileResult(
        group=lang,
        path=str(path),
        num_samples=len(answers),
        metrics={
            "Passed": percent([float(answer.is_passed) for answer in answers]),
            "Reply language": percent([float(answer.is_in_language) for answer in answers]),
        },
        items=tuple(
            ItemResult(a.line.q, a.line.must, a.reply, float(a.is_passed)) for a in answers
        ),
    )
