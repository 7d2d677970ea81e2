"""Runs GLM-130B's task types on a model: multiple choice, generation, language model.

Multiple choice: the reference packs all choices behind one context, each block blind to the
others. Scoring each choice alone behind the same context therefore gives the same numbers, and
that is what happens here. Log-probs are float32; the reference's are float16, so that ties and
third digits may differ. Source: github THUDM/GLM-130B 212215c, evaluation/dataset.py.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bilin_engine.config import SpecialIds
from bilin_engine.errors import BadRequestError
from bilin_engine.evaluate.metrics import best_over_targets, exact_match, percent, word_f1
from bilin_engine.evaluate.model import EvaluatedModel
from bilin_engine.evaluate.report import FileResult, ItemResult, TaskResult
from bilin_engine.evaluate.tasks import (
    MultipleChoiceLine,
    TaskConfig,
    read_choices,
    read_pile_documents,
    read_targets,
    read_text_document,
    task_files,
)
from bilin_engine.generation.masks import Blank, MaskedSequence, layout_blank, mask_id
from bilin_engine.generation.request import PromptLayout
from bilin_engine.protocol import BlankKind, Sampling

# A window's logits are scored in pieces of this many tokens: 2,047 rows of GLM-130B's 150,528
# logits would take 1.2 GB at once.
SCORED_AT_ONCE = 512

LINES_AT_ONCE = 64  # scored together as slots allow; progress is told in between

SHOWN_CHARACTERS = 200  # of a context, in the report's items

OnProgress = Callable[[float], None]


def run_task(
    model: EvaluatedModel, task: TaskConfig, data_path: Path, on_progress: OnProgress
) -> TaskResult:
    """Runs a task over all its files.

    Raises BadRequestError for data that do not fit, and for a model that fills no blanks.
    """
    if not model.fills_blanks:
        raise BadRequestError(
            f"{task.name}: GLM-130B's task files need a model that fills blanks by mask; ask this "
            "one questions from a .jsonl file"
        )
    started_s = time.perf_counter()
    files = [
        (group, path) for group, paths in task_files(task, data_path).items() for path in paths
    ]
    window = min(task.max_seq_length, model.max_length)
    results = []
    for done, (group, path) in enumerate(files):

        def report(fraction: float, done: int = done) -> None:
            on_progress((done + fraction) / len(files))

        metrics, items, num_samples = _RUN[task.type](model, task, window, path, report)
        results.append(
            FileResult(
                group=group,
                path=str(path.relative_to(data_path) if path.is_relative_to(data_path) else path),
                num_samples=num_samples,
                metrics=metrics,
                items=tuple(items),
            )
        )
    note = f"run with {window} tokens, what the model holds, not {task.max_seq_length}"
    return TaskResult(
        name=task.name,
        type=task.type,
        files=tuple(results),
        seconds=time.perf_counter() - started_s,
        notes=(note,) if window < task.max_seq_length else (),
    )


_FileFindings = tuple[dict[str, float], list[ItemResult], int]


def _run_choices(
    model: EvaluatedModel, task: TaskConfig, window: int, path: Path, on_progress: OnProgress
) -> _FileFindings:
    items = []
    lines = read_choices(path, model.tokenizer)
    for done in range(0, len(lines), LINES_AT_ONCE):
        on_progress(done / len(lines))
        asked = lines[done : done + LINES_AT_ONCE]
        prompts = [_choice_prompt(model, task, line, window) for line in asked]
        choices = [line.choices for line in asked]
        found = model.score_many(list(zip(prompts, choices, strict=True)))
        for line, scores in zip(asked, found, strict=True):
            chosen = scores.index(max(scores))
            items.append(
                ItemResult(
                    question=model.tokenizer.decode(line.text)[-SHOWN_CHARACTERS:],
                    expected=str(line.label),
                    predicted=str(chosen),
                    score=float(chosen == line.label),
                )
            )
    # With one label a sample, micro-averaged precision, recall and F1 are the accuracy.
    accuracy = percent([item.score for item in items])
    return dict.fromkeys(task.shown_metrics, accuracy), items, len(items)


def _choice_prompt(
    model: EvaluatedModel, task: TaskConfig, line: MultipleChoiceLine, window: int
) -> PromptLayout:
    # Choices of one token each share one `sop` in the reference, and so take one place.
    room = sum(map(len, line.choices))
    room = 1 if room == len(line.choices) else room
    return context_prompt(task, line.text, model.tokenizer.specials, window, room)


def _run_generation(
    model: EvaluatedModel, task: TaskConfig, window: int, path: Path, on_progress: OnProgress
) -> _FileFindings:
    values: dict[str, list[float]] = {"EM": [], "F1": []}
    items = []
    lines = read_targets(path, model.tokenizer)
    for done, line in enumerate(lines):
        on_progress(done / len(lines))
        specials = model.tokenizer.specials
        prompt = context_prompt(task, line.text, specials, window, task.max_gen_length)
        predicted = model.tokenizer.decode(model.complete(prompt, _sampling(task)))
        targets = [model.tokenizer.decode(target) for target in line.targets]
        values["EM"].append(best_over_targets(exact_match, predicted, targets))
        values["F1"].append(best_over_targets(word_f1, predicted, targets))
        items.append(
            ItemResult(
                question=model.tokenizer.decode(line.text)[-SHOWN_CHARACTERS:],
                expected=" | ".join(targets),
                predicted=predicted,
                score=values["EM"][-1],
            )
        )
    return {name: percent(values[name]) for name in task.shown_metrics}, items, len(items)


def _run_language_model(
    model: EvaluatedModel, task: TaskConfig, window: int, path: Path, on_progress: OnProgress
) -> _FileFindings:
    is_pile = task.is_pile
    documents = (
        read_pile_documents(path, model.tokenizer)
        if is_pile
        else [read_text_document(path, model.tokenizer)]
    )
    num_windows = 0
    losses: dict[str, float] = defaultdict(float)
    for done, document in enumerate(documents):
        spans = list(text_windows(task, len(document.token_ids), window))
        for span in spans:
            on_progress((done + (num_windows % len(spans)) / len(spans)) / len(documents))
            losses[document.category] += _loss(model, task, document.token_ids, span)
            num_windows += 1
    if not is_pile:
        words = documents[0].num_words
        return {"PPL": math.exp(min(20.0, losses[""] / words))}, [], num_windows
    num_bytes: dict[str, int] = defaultdict(int)
    for document in documents:
        num_bytes[document.category] += document.num_bytes
    metrics = {
        f"BPB {category}": loss / num_bytes[category] / math.log(2)
        for category, loss in losses.items()
    }
    return metrics, [], num_windows


_RUN: dict[str, Callable[..., _FileFindings]] = {
    "mul": _run_choices,
    "gen": _run_generation,
    "lm": _run_language_model,
}


def context_prompt(
    task: TaskConfig, text: Sequence[int], specials: SpecialIds, window: int, room: int
) -> PromptLayout:
    """The prompt of a "mul" or "gen" sample; a context too long is cut from the left.

    The text's own mask is filled, or one put at its end. room: tokens kept for the output.
    """
    kind: BlankKind = "long" if task.use_task_mask else "short"
    mask = mask_id(specials, kind)
    limit = window - room - 2
    if limit < 1:
        message = f"{task.name}: answers of {room} tokens leave no room in {window} tokens"
        raise BadRequestError(message)
    text = tuple(text[-limit:])
    if task.unidirectional:
        if mask in text:
            raise BadRequestError(f"{task.name}: unidirectional text cannot hold a mask")
        return _causal_prompt((), mask, specials, text)
    position = text.index(mask) if mask in text else len(text)
    blank = Blank(index=0, kind=kind, position=position)
    ids = text if mask in text else (*text, mask)
    return layout_blank(MaskedSequence(ids, (blank,)), blank, specials, window)


@dataclass(frozen=True, slots=True)
class TextWindow:
    """Tokens start to text_start are given, text_start to end are predicted."""

    start: int
    text_start: int
    end: int


def text_windows(task: TaskConfig, num_tokens: int, window: int) -> Iterator[TextWindow]:
    """The windows of a "lm" text: the first is predicted whole, later ones in their last stride.

    A unidirectional task predicts every window whole, as the reference does.
    """
    size, stride = window - 1, task.generation_length  # one token is the mask
    if not 0 < stride <= size:
        message = (
            f"{task.name}: generation_length {stride} does not fit a window of {window} tokens; "
            f"use 1 to {size}"
        )
        raise BadRequestError(message)
    count = math.ceil(max(num_tokens - size, 0) / stride) + 1
    for index in range(count):
        start = index * stride
        given = 0 if index == 0 or task.unidirectional else size - stride
        yield TextWindow(start, start + given, min(start + size, num_tokens))


def _loss(
    model: EvaluatedModel, task: TaskConfig, token_ids: Sequence[int], span: TextWindow
) -> float:
    """Minus the sum of log-probs of a window's predicted tokens."""
    specials = model.tokenizer.specials
    mask = mask_id(specials, "long" if task.use_task_mask else "short")
    given = token_ids[span.start : span.text_start]
    text = tuple(token_ids[span.text_start : span.end])
    total = 0.0
    for first in range(0, len(text), SCORED_AT_ONCE):
        prompt = _causal_prompt(given, mask, specials, text[:first])
        total -= model.score(prompt, [text[first : first + SCORED_AT_ONCE]])[0]
    return total


def _causal_prompt(
    given: Sequence[int], mask: int, specials: SpecialIds, text: Sequence[int]
) -> PromptLayout:
    """`given` and the mask seen from both sides, `sop` and `text` causal, positions counting up."""
    if specials.sop is None:
        raise BadRequestError("this model has no sop token: GLM-130B's tasks need one")
    ids = (*given, mask, specials.sop, *text)
    return PromptLayout(
        token_ids=ids,
        position_ids=tuple(range(len(ids))),
        prefix_len=len(given) + 1,
        output_position=None,
        mask_index=len(given),
    )


def _sampling(task: TaskConfig) -> Sampling:
    if task.sampling_strategy == "BaseStrategy":
        return Sampling(temperature=0.0, max_new_tokens=task.max_gen_length, seed=0)
    return Sampling(
        temperature=1.0,
        top_p=1.0,
        num_beams=task.num_beams,
        length_penalty=task.length_penalty,
        no_repeat_ngram_size=task.no_repeat_ngram_size,
        min_new_tokens=task.min_gen_length,
        max_new_tokens=task.max_gen_length,
        deterministic_beams=True,
        seed=0,
    )
