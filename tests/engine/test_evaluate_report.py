"""Probe files, reports, comparisons, and the command on a real folder."""

import argparse
import json
from pathlib import Path

import pytest
from evaluated_models import ScriptedModel
from tiny_model import write_tiny_model

from bilin_engine.cli.evaluate import add_arguments
from bilin_engine.errors import BadRequestError, ContextOverflowError, ModelBrokenError
from bilin_engine.evaluate import command
from bilin_engine.evaluate.command import Evaluation, evaluate, find_files, run, runnable_files
from bilin_engine.evaluate.model import load_model
from bilin_engine.evaluate.probe import read_probe, run_probe
from bilin_engine.evaluate.report import (
    FileResult,
    ItemResult,
    Report,
    TaskResult,
    as_json,
    as_text,
    comparison_as_json,
    comparison_as_text,
)
from bilin_engine.library import Library
from bilin_engine.protocol import LoadSettings

PROBE = [
    {"lang": "zh", "q": "你好", "must": "你好|您好"},
    {"lang": "zh", "q": "dog 的中文是什么？", "must": "狗|犬"},
    {"lang": "en", "q": "What is 2 plus 2?", "must": "(?i)4|four"},
    {"lang": "en", "q": "Thanks", "must": "(?i)welcome"},
]
ANSWERS = {
    "你好": "你好！我是比邻。",
    "dog 的中文是什么？": "It is a dog.",
    "What is 2 plus 2?": "FOUR",
    "Thanks": "",
}


@pytest.fixture
def probe_file(tmp_path) -> Path:
    path = tmp_path / "dev.jsonl"
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in PROBE) + "\n\n")
    return path


def test_answers_are_searched_and_counted_by_language(probe_file):
    result = run_probe(ScriptedModel(answers=ANSWERS), probe_file, lambda _: None)
    assert [(file.group, file.num_samples) for file in result.files] == [("zh", 2), ("en", 2)]
    assert result.files[0].metrics == {"Passed": 50.0, "Reply language": 50.0}
    assert result.files[1].metrics == {"Passed": 50.0, "Reply language": 50.0}
    assert result.summary()["overall"]["Passed"]["average"] == 50.0
    assert [item.score for file in result.files for item in file.items] == [1.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"lang": "zh", "q": "x"}', "missing required field `must`"),
        ('{"lang": "fr", "q": "x", "must": "y"}', "Invalid enum value 'fr'"),
        ('{"lang": "zh", "q": "x", "must": "("}', "unterminated subpattern"),
        ("nonsense", "malformed"),
    ],
)
def test_a_wrong_probe_line_is_named(probe_file, line, sentence):
    probe_file.write_text(probe_file.read_text() + line)
    with pytest.raises(BadRequestError, match=f"dev.jsonl, line 6: .*{sentence}"):
        read_probe(probe_file)


def test_an_empty_probe_is_refused(probe_file):
    probe_file.write_text("\n")
    with pytest.raises(BadRequestError, match="holds no questions"):
        read_probe(probe_file)


def test_the_report_shows_metrics_and_what_was_not_answered(probe_file):
    report = evaluate(ScriptedModel(answers=ANSWERS), [probe_file], None, lambda *_: None)
    lines = as_text(report).splitlines()
    assert lines[0] == "scripted"
    assert lines[2].split() == ["task", "group", "metric", "average", "median", "max", "samples"]
    assert "dev   overall  Passed           50.000  50.000  50.000        4" in lines
    assert "dog 的中文是什么？  ->  It is a dog.  (/狗|犬/)" in lines
    assert not any(line.startswith("你好") for line in lines)
    parsed = json.loads(json.dumps(as_json(report)))
    assert parsed["tasks"][0]["summary"]["zh"]["Passed"]["average"] == 50.0
    assert parsed["tasks"][0]["files"][0]["items"][1]["predicted"] == "It is a dog."


def report_of(model: str, accuracy: float, *predicted: str) -> Report:
    items = tuple(ItemResult("q", "0", choice, float(choice == "0")) for choice in predicted)
    file = FileResult("all", "a.jsonl", len(items), {"Accuracy": accuracy}, items)
    return Report(model, (TaskResult("cola", "mul", (file,), 1.0),))


def test_a_comparison_shows_both_and_how_often_they_agree():
    first = report_of("INT8", 50.0, "0", "1", "0", "1")
    second = report_of("INT4", 25.0, "0", "1", "2", "1")
    text = comparison_as_text(first, second)
    assert "cola  all    Accuracy  50.000  25.000     -25.000" in text
    assert "both gave the same answer to 75.0 % of the questions" in text
    assert comparison_as_json(first, second)["agreement"] == {"cola": 75.0}


def test_files_are_checked_before_a_model_is_loaded(tmp_path, probe_file):
    task = tmp_path / "tasks" / "deep" / "a.yaml"
    task.parent.mkdir(parents=True)
    task.write_text("name: x")
    assert find_files([probe_file, tmp_path / "tasks"]) == [probe_file, task]
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    for name, sentence in (
        ("missing.yaml", "there is no file"),
        ("empty", "holds no task files"),
        ("notes.txt", "probe questions end in .jsonl"),
    ):
        with pytest.raises(BadRequestError, match=sentence):
            find_files([tmp_path / name])


def write_task(path: Path, name: str, **values: str) -> Path:
    """A task of multiple choice with one line of data beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{key}: {value}" for key, value in values.items()]
    path.write_text("\n".join([f"name: {name}", "type: mul", f"path: {name}", *lines]))
    line = {"inputs_pretokenized": "sky is", "choices_pretokenized": ["red", "blue"], "label": 1}
    (path.parent / name).mkdir()
    (path.parent / name / "val.jsonl").write_text(json.dumps(line))
    return path


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(arguments)


def test_the_command_runs_two_models_side_by_side(tmp_path, probe_file):
    write_tiny_model(tmp_path / "models", "one", context=64)
    write_tiny_model(tmp_path / "models", "two", context=64)
    write_task(tmp_path / "task.yaml", "colours")
    library = Library(tmp_path / "models", bundled_dir=tmp_path / "none")
    settings = LoadSettings(num_threads=1)
    stages = []
    found = run(
        options("one", str(probe_file), str(tmp_path / "task.yaml"), "--compare", "two"),
        library,
        settings,
        lambda stage, fraction: stages.append((stage, fraction)),
    )
    # The same random numbers: every answer is the same, and so is every figure.
    assert found.as_json()["agreement"] == {"dev": 100.0, "colours": 100.0}
    assert [name for name, _ in dict.fromkeys((s, 0) for s, _ in stages)] == [
        "load one",
        "dev.jsonl",
        "task.yaml",
        "load two",
    ]
    assert all(0 <= fraction <= 1 for _, fraction in stages)
    assert "one (INT4 · 32)" in found.as_text()
    assert found.is_whole


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("bad.jsonl", "nonsense", "bad.jsonl, line 1: "),
        ("bad.yaml", "name: x\ntype: other\npath: p", "bad.yaml: "),
        ("bad.yaml", "name: x\ntype: mul\npath: p", "x: no file .* below .*p; is the data path"),
    ],
)
def test_every_file_is_read_before_a_model_is_loaded(
    tmp_path, probe_file, monkeypatch, name, content, sentence
):
    """A later file that is refused cost the hours of all before it."""

    def load(*_arguments):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("bilin_engine.evaluate.command.load_model", load)
    (tmp_path / name).write_text(content)
    library = Library(tmp_path / "models", bundled_dir=tmp_path / "none")
    asked = options("m", str(probe_file), str(tmp_path / name))
    with pytest.raises(BadRequestError, match=sentence):
        run(asked, library, LoadSettings(), lambda *_: None)


def test_of_a_folder_what_cannot_be_run_is_skipped_and_named(tmp_path):
    folder = tmp_path / "tasks"
    usable = write_task(folder / "colours.yaml", "colours")
    python = write_task(folder / "ethnic" / "e.yaml", "e", module="tasks.ethnic.task.E")
    (folder / "elsewhere.yaml").write_text("name: far\ntype: mul\npath: far")
    files, skipped = runnable_files([folder], None)
    assert files == [usable]
    assert ["no file" in skipped[0], "is Python of" in skipped[1]] == [True, True]
    with pytest.raises(BadRequestError, match=r"e\.yaml: module .* is Python of"):
        runnable_files([folder, python], None)
    usable.unlink()
    with pytest.raises(BadRequestError, match="no task file can be run; the first: far: no file"):
        runnable_files([folder], None)
    report = evaluate(ScriptedModel(), [], None, lambda *_: None)
    text = Evaluation(report, skipped=skipped).as_text()
    assert text.splitlines()[-2:] == [f"skipped: {sentence}" for sentence in skipped]


def test_a_file_that_fails_costs_no_other_file_its_result(tmp_path, probe_file):
    task = write_task(tmp_path / "colours.yaml", "colours")
    long = tmp_path / "long.jsonl"
    questions = [PROBE[0], {**PROBE[0], "q": "long " * 500}]
    long.write_text("\n".join(json.dumps(line) for line in questions))
    model = ScriptedModel(answers=ANSWERS)
    report = evaluate(model, [probe_file, long, task], None, lambda *_: None)
    sentence = f"{long}, line 2: too long"
    assert [task.problem for task in report.tasks] == ["", sentence, ""]
    assert [bool(task.files) for task in report.tasks] == [True, False, True]
    found = Evaluation(report)
    assert not found.is_whole
    assert f"long has no result: {sentence}" in found.as_text().splitlines()
    assert found.as_json()["tasks"][1]["problem"] == sentence
    both = Evaluation(report, report)
    assert both.as_text().count(sentence) == 1
    assert both.as_json()["agreement"] == {"dev": 100.0, "long": None, "colours": 100.0}
    with pytest.raises(ContextOverflowError, match=r"long\.jsonl, line 2: too long"):
        evaluate(model, [long], None, lambda *_: None)


def test_ids_of_another_vocabulary_cost_no_other_file_its_result(tmp_path, probe_file):
    pile = tmp_path / "pile.yaml"
    pile.write_text(
        "name: pile\ntype: lm\nmodule: tasks.language-modeling.pile.Pile\npath: pile\n"
        "use_task_mask: true\n"
    )
    (tmp_path / "pile").mkdir()
    line = {"text": [9999999], "text_pretokenized": "x", "meta": {}}
    (tmp_path / "pile" / "lines.jsonl").write_text(json.dumps(line))
    report = evaluate(ScriptedModel(answers=ANSWERS), [probe_file, pile], None, lambda *_: None)
    assert report.tasks[0].files
    assert report.tasks[1].problem == (
        f"{tmp_path}/pile/lines.jsonl, line 1: token id 9999999 is not in this model's vocabulary "
        "of 1114118; the file is tokenized for another model"
    )


def test_a_second_model_that_cannot_be_loaded_costs_the_first_nothing(tmp_path, probe_file):
    write_tiny_model(tmp_path / "models", "one", context=64)
    (tmp_path / "models" / "broken").mkdir()
    library = Library(tmp_path / "models", bundled_dir=tmp_path / "none")
    asked = options("one", str(probe_file), "--compare", "broken")
    found = run(asked, library, LoadSettings(num_threads=1), lambda *_: None)
    assert not found.is_whole
    last = found.as_text().splitlines()[-1]
    assert last.startswith("broken has no results: ")
    assert "config.json is missing" in last
    assert found.as_json()["tasks"][0]["name"] == "dev"


def test_a_second_model_that_does_not_fit_costs_the_first_nothing(
    tmp_path, probe_file, monkeypatch
):
    write_tiny_model(tmp_path / "models", "one", context=64)
    library = Library(tmp_path / "models", bundled_dir=tmp_path / "none")
    failures = iter((None, RuntimeError("CUDA out of memory"), None, RuntimeError("a fault")))

    def load_or_fail(*arguments):
        failure = next(failures)
        if failure is not None:
            raise failure
        return load_model(*arguments)

    monkeypatch.setattr(command, "load_model", load_or_fail)
    asked = options("one", str(probe_file), "--compare", "one")
    found = run(asked, library, LoadSettings(num_threads=1), lambda *_: None)
    assert found.first.tasks[0].files
    assert found.problem.startswith("one has no results: there is too little free memory")
    with pytest.raises(RuntimeError, match="a fault"):
        run(asked, library, LoadSettings(num_threads=1), lambda *_: None)


def test_a_broken_model_is_refused_with_its_problem(tmp_path, probe_file):
    folder = tmp_path / "models" / "broken"
    folder.mkdir(parents=True)
    library = Library(tmp_path / "models", bundled_dir=tmp_path / "none")
    with pytest.raises(ModelBrokenError, match=r"config\.json is missing"):
        run(options("broken", str(probe_file)), library, LoadSettings(), lambda *_: None)
