"""GLM-130B's own task files: a YAML configuration and the JSON lines or text it points to.

Source: github THUDM/GLM-130B 212215c, evaluation/configs.py, dataset.py and
docs/evaluate-your-own-tasks.md. Keys may be written with hyphens or underscores, as there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeGuard

import msgspec
import yaml

from bilin_engine.errors import BadRequestError
from bilin_engine.text_file import numbered_lines, read_text
from bilin_engine.tokenizers.base import Tokenizer

# Classes of the reference whose work ours includes; other modules are Python that is not run.
KNOWN_MODULES = {"tasks.mmlu.task.MMLU": "mul", "tasks.language-modeling.pile.Pile": "lm"}
METRICS = {
    "mul": ("Accuracy", "Precision", "Recall", "F1_mul"),
    "gen": ("EM", "F1"),
    "lm": ("PPL",),
}


class TaskConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One task.

    path: data folder, below the data path given to the evaluation. use_task_mask: [gMASK] instead
    of [MASK]. unidirectional: nothing is seen from both sides. file_pattern: glob, or group ->
    glob. max_gen_length: output tokens of "gen". generation_length: the stride of "lm".
    micro_batch_size and use_multitask_encoding are read for the file format's sake.
    """

    name: str
    type: Literal["mul", "gen", "lm"]
    path: str
    module: str = ""
    metrics: list[str] = msgspec.field(default_factory=list)
    use_task_mask: bool = False
    use_multitask_encoding: bool = False
    unidirectional: bool = False
    max_seq_length: int = 2048
    file_pattern: str | dict[str, str] = "**/*.json*"
    micro_batch_size: int = 1
    sampling_strategy: Literal["BaseStrategy", "BeamSearchStrategy"] = "BaseStrategy"
    num_beams: int = 4
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 3
    min_gen_length: int = 0
    max_gen_length: int = 128
    generation_length: int = 256

    @property
    def is_pile(self) -> bool:
        """Whether the data are the Pile's tokenized lines, scored in bits per byte."""
        return self.module == "tasks.language-modeling.pile.Pile"

    @property
    def shown_metrics(self) -> tuple[str, ...]:
        """The metrics to report: those named, or the type's usual ones."""
        usual = {"mul": ("Accuracy",), "gen": ("EM", "F1"), "lm": ("PPL",)}[self.type]
        return tuple(self.metrics) or usual


def read_task(path: Path) -> TaskConfig:
    """A task's configuration. Raises BadRequestError naming the file and what is wrong."""
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise BadRequestError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise BadRequestError(f"{path} holds no task: keys such as name, type and path are needed")
    values = {str(key).replace("-", "_"): value for key, value in content.items()}
    try:
        task = msgspec.convert(values, TaskConfig)
    except msgspec.ValidationError as error:
        raise BadRequestError(f"{path}: {error}") from error
    for is_wrong, sentence in (
        (
            task.module and KNOWN_MODULES.get(task.module) != task.type,
            f"module {task.module} is Python of the reference's program, which Bilin does not "
            f"run; known: {', '.join(KNOWN_MODULES)}",
        ),
        (task.use_multitask_encoding, "use_multitask_encoding is not supported, nor was it there"),
        (
            task.unidirectional and not task.use_task_mask,
            "unidirectional needs use_task_mask: [MASK] is seen from both sides",
        ),
        (
            task.unidirectional and task.type == "mul",
            'unidirectional is not defined for type "mul"',
        ),
        (
            unknown := [m for m in task.metrics if m not in METRICS[task.type]],
            f"metrics {', '.join(unknown)} are not known for type {task.type}; "
            f"known: {', '.join(METRICS[task.type])}",
        ),
    ):
        if is_wrong:
            raise BadRequestError(f"{path}: {sentence}")
    return task


def task_files(task: TaskConfig, data_path: Path) -> dict[str, list[Path]]:
    """Data files by group, sorted. Raises BadRequestError for a group without any."""
    patterns = task.file_pattern
    groups = {"all": patterns} if isinstance(patterns, str) else patterns
    folder = data_path / task.path
    found = {
        name: sorted(path for path in folder.glob(pattern) if path.is_file())
        for name, pattern in groups.items()
    }
    for name, files in found.items():
        if not files:
            message = f"{task.name}: no file {groups[name]} below {folder}; is the data path right?"
            raise BadRequestError(message)
    return found


# --- Data lines ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MultipleChoiceLine:
    """text: the context's ids. label: index of the right choice."""

    text: tuple[int, ...]
    choices: tuple[tuple[int, ...], ...]
    label: int


@dataclass(frozen=True, slots=True)
class GenerationLine:
    """text: the context's ids. targets: ids of every right answer."""

    text: tuple[int, ...]
    targets: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A text to be predicted. num_words: split at spaces. category: the Pile's set, or ""."""

    token_ids: tuple[int, ...]
    num_words: int
    num_bytes: int
    category: str


def read_choices(path: Path, tokenizer: Tokenizer) -> list[MultipleChoiceLine]:
    """The samples of a "mul" file. Raises BadRequestError naming file and line."""
    samples = []
    for where, line in _json_lines(path):
        choices = _id_lists(line, "choices", tokenizer, where)
        label = line.get("label")
        if not isinstance(label, int) or not 0 <= label < len(choices):
            raise BadRequestError(f"{where}: label {label!r} is no index of {len(choices)} choices")
        samples.append(MultipleChoiceLine(_ids(line, "inputs", tokenizer, where), choices, label))
    return samples


def read_targets(path: Path, tokenizer: Tokenizer) -> list[GenerationLine]:
    """The samples of a "gen" file. Raises BadRequestError naming file and line."""
    return [
        GenerationLine(
            _ids(line, "inputs", tokenizer, where), _id_lists(line, "targets", tokenizer, where)
        )
        for where, line in _json_lines(path)
    ]


def read_text_document(path: Path, tokenizer: Tokenizer) -> Document:
    """A whole file as one text, for "lm"."""
    text = read_text(path)
    return Document(
        token_ids=tuple(tokenizer.encode(text)),
        num_words=len(text.strip().split(" ")),
        num_bytes=len(text.encode()),
        category="",
    )


def read_pile_documents(path: Path, tokenizer: Tokenizer) -> list[Document]:
    """The Pile's lines, tokenized beforehand. Raises BadRequestError naming file and line."""
    documents = []
    for where, line in _json_lines(path):
        ids, text, meta = line.get("text"), line.get("text_pretokenized"), line.get("meta")
        if not (_is_ids(ids) and isinstance(text, str) and isinstance(meta, dict)):
            raise BadRequestError(f"{where}: text (ids), text_pretokenized and meta are needed")
        _check_ids(ids, tokenizer, where)
        if ids:
            category = str(meta.get("pile_set_name", ""))
            num_words = len(text.strip().split(" "))
            documents.append(Document(tuple(ids), num_words, len(text.encode()), category))
    return documents


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, text in numbered_lines(path):
        try:
            line = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise BadRequestError(f"{where}: {error}") from error
        if not isinstance(line, dict):
            raise BadRequestError(f"{where}: an object is needed")
        yield where, line


def _ids(line: dict[str, Any], key: str, tokenizer: Tokenizer, where: str) -> tuple[int, ...]:
    """`key` as ids, or the text of `key_pretokenized` encoded."""
    if _is_ids(line.get(key)):
        _check_ids(line[key], tokenizer, where)
        return tuple(line[key])
    text = line.get(f"{key}_pretokenized")
    if key in line or not isinstance(text, str):
        raise BadRequestError(f"{where}: {key} (ids) or {key}_pretokenized (text) is needed")
    return tuple(tokenizer.encode(text))


def _id_lists(
    line: dict[str, Any], key: str, tokenizer: Tokenizer, where: str
) -> tuple[tuple[int, ...], ...]:
    ids, texts = line.get(key), line.get(f"{key}_pretokenized")
    if isinstance(ids, list) and all(map(_is_ids, ids)):
        for each in ids:
            _check_ids(each, tokenizer, where)
        lists = tuple(tuple(each) for each in ids)
    elif key not in line and isinstance(texts, list) and all(isinstance(t, str) for t in texts):
        lists = tuple(tuple(tokenizer.encode(text)) for text in texts)
    else:
        message = f"{where}: {key} (lists of ids) or {key}_pretokenized (texts) is needed"
        raise BadRequestError(message)
    if not lists or not all(lists):
        raise BadRequestError(f"{where}: {key} holds an empty entry or none")
    return lists


def _is_ids(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(isinstance(item, int) for item in value)


def _check_ids(token_ids: Sequence[int], tokenizer: Tokenizer, where: str) -> None:
    """Refused even where the text is there: other lines' ids may be within by chance."""
    unknown = next((i for i in token_ids if not 0 <= i < tokenizer.vocab_size), None)
    if unknown is not None:
        raise BadRequestError(
            f"{where}: token id {unknown} is not in this model's vocabulary of "
            f"{tokenizer.vocab_size}; the file is tokenized for another model"
        )
