"""Many texts through all processes together: each continued as it would be alone."""

import json

import msgspec
import pytest
from tiny_model import write_tiny_model

from bilin_engine.cli.generate import read_prompts
from bilin_engine.cli.main import run
from bilin_engine.cli.session import Session
from bilin_engine.errors import BadRequestError
from bilin_engine.generation.masks import parse_mask_text
from bilin_engine.library import Library
from bilin_engine.protocol import (
    BatchPrompt,
    BatchResult,
    ChatResult,
    Generate,
    GenerateBatch,
    LoadSettings,
    Sampling,
    Started,
    TextDelta,
)
from bilin_engine.server import batch_answers
from bilin_engine.server.model_text import ModelTexts
from bilin_engine.server.supervisor import SupervisorSettings
from bilin_engine.server.worker_pool import WorkerPool
from bilin_engine.server.worker_process import WorkerCommand


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    models_dir = tmp_path_factory.mktemp("many") / "models"
    write_tiny_model(models_dir)
    settings = SupervisorSettings(WorkerCommand(nice=0, log_level="CRITICAL"))
    with Session(ModelTexts(Library(models_dir)), settings) as session:
        load = LoadSettings(num_threads=1, num_slots=2)
        session.load("tiny", load, tells_memory=False)
        yield session


def prompt(text, **sampling) -> BatchPrompt:
    sampling = {"temperature": 1.0, "max_new_tokens": 6, "seed": 1, **sampling}
    return BatchPrompt(segments=parse_mask_text(text), sampling=Sampling(**sampling))


def together(session, prompts, on_event=lambda _event: None) -> tuple[ChatResult, ...]:
    return session.ask(
        lambda i: GenerateBatch(id=i, model="tiny", prompts=tuple(prompts)), BatchResult, on_event
    ).results


def alone(session, one: BatchPrompt) -> ChatResult:
    return session.ask(
        lambda i: Generate(id=i, model="tiny", segments=one.segments, sampling=one.sampling),
        ChatResult,
    )


@pytest.mark.e2e
def test_every_text_is_continued_as_alone(session):
    prompts = [
        prompt("你好"),
        prompt("The Starry Night", seed=7, max_new_tokens=9),
        prompt("凯旋门[MASK]米兰", temperature=0.0),
        prompt("Question", seed=3, top_p=0.5),
    ]
    events = []
    for found, one in zip(together(session, prompts, events.append), prompts, strict=True):
        expected = alone(session, one)
        assert (found.text, found.finish_reason) == (expected.text, expected.finish_reason)
        assert found.stats.seed == one.sampling.seed
        assert found.stats.new_tokens == expected.stats.new_tokens
    assert len([event for event in events if isinstance(event, Started)]) == 1
    told = ["", "", "", ""]
    for event in events:
        if isinstance(event, TextDelta):
            told[event.candidate] += event.text
    assert [text != "" for text in told] == [True] * 4


@pytest.mark.e2e
def test_what_beams_find_is_told_as_alone(session):
    beams = prompt("The Starry Night", num_beams=2, max_new_tokens=8)
    whole = alone(session, beams)
    assert whole.text
    sampling = msgspec.structs.replace(beams.sampling, stop_texts=(whole.text[2:4],))
    stopped = msgspec.structs.replace(beams, sampling=sampling)
    found = together(session, [beams, prompt("你好"), stopped])
    assert found[0].text == whole.text
    assert (found[2].text, found[2].finish_reason) == (whole.text[:2], "stop_text")


@pytest.mark.e2e
def test_a_stop_text_ends_its_own_row(session):
    free = prompt("The Starry Night", seed=7, max_new_tokens=40)
    stop = alone(session, free).text[3:5]
    prompts = [msgspec.structs.replace(free, sampling=msgspec.structs.replace(
        free.sampling, stop_texts=(stop,))), free]  # fmt: skip
    stopped, whole = together(session, prompts)
    assert stopped.finish_reason == "stop_text"
    assert stop not in stopped.text
    assert whole.text.startswith(stopped.text)
    assert whole.finish_reason != "stop_text"


def spied_batches(monkeypatch) -> list[int]:
    """Rows of each batch that the workers get."""
    batches = []
    generate_batch = WorkerPool.generate_batch

    def spy(pool, task, request, on_tokens):
        batches.append(len(request.requests))
        assert not any(row.banned_ids for row in request.requests)
        return generate_batch(pool, task, request, on_tokens)

    monkeypatch.setattr(WorkerPool, "generate_batch", spy)
    return batches


@pytest.mark.e2e
def test_more_room_than_the_model_has_parts_no_batch(session, monkeypatch):
    batches = spied_batches(monkeypatch)
    prompts = [prompt("The", seed=seed, max_new_tokens=1_000_000) for seed in range(5)]
    assert len(together(session, prompts)) == 5
    assert batches == [5]


@pytest.mark.e2e
def test_more_than_a_frame_holds_goes_in_several_batches(session, monkeypatch):
    prompts = [prompt("The Starry Night", seed=seed, stop_texts=("e",)) for seed in range(5)]
    whole = together(session, prompts)
    batches = spied_batches(monkeypatch)
    monkeypatch.setattr(batch_answers, "MAX_BATCH_TOKENS", 40)
    told = ["", "", "", "", ""]

    def on_event(event):
        if isinstance(event, TextDelta):
            told[event.candidate] += event.text

    parts = together(session, prompts, on_event)
    assert len(batches) > 1
    assert sum(batches) == 5
    assert [found.text for found in parts] == [found.text for found in whole] == told


@pytest.mark.e2e
def test_a_prompt_that_does_not_fit_is_named_by_number(session):
    with pytest.raises(Exception, match=r"prompt 2 of 2: .*tokens"):
        together(session, [prompt("你好"), prompt("你好" * 300)])


def test_prompts_are_read_line_by_line_or_as_objects(tmp_path):
    plain, rich = tmp_path / "p.txt", tmp_path / "p.jsonl"
    plain.write_text("你好\n\nOnce [MASK]\n", encoding="utf-8")
    chosen = Sampling(seed=4)
    assert [one.sampling for one in read_prompts(plain, chosen)] == [chosen, chosen]
    lines = [{"text": "a"}, {"text": "b", "seed": 9, "stop_texts": ["."], "temperature": 0}]
    rich.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    first, second = read_prompts(rich, chosen)
    assert first.sampling == chosen
    assert second.sampling == Sampling(seed=9, stop_texts=(".",), temperature=0.0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"text": "a"}\n{"txt": "b"}', r'line 2: "text" is needed'),
        ('{"text": "a", "sed": 1}', r"line 1: .*unknown field"),
        ('{"text": "a", "seed": "x"}', r"line 1: .*seed"),
        ('{"text": "a"}\n{"text": "b", "temperature": -4}', r"line 2: temperature -4\.0 is not"),
        ('{"text": "a", "seed": 99999999999999999999}', "line 1: seed 99999999999999999999 is not"),
        ("{", "line 1: "),
        ("\n", "holds no prompts"),
    ],
)
def test_lines_that_cannot_be_read_are_named(tmp_path, content, words):
    path = tmp_path / "p.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BadRequestError, match=words):
        read_prompts(path, Sampling())


def test_without_a_text_the_command_says_what_is_needed(capsys):
    assert run(["generate", "bilin-mini"]) == 1
    assert "give one, or --prompts-file FILE" in capsys.readouterr().err
