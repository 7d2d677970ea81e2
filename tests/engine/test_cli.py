"""`bilin-engine` as a person or a script runs it."""

import json
import subprocess
import sys

import pytest
from tiny_model import write_tiny_model

from bilin_engine.cli.arguments import as_length_limit, length_limit
from bilin_engine.protocol import LengthLimit

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("models")).parent


def run(*arguments, stdin=subprocess.DEVNULL, text_in=None):
    return subprocess.run(
        [sys.executable, "-P", "-m", "bilin_engine", *arguments],
        capture_output=True,
        text=True,
        stdin=None if text_in is not None else stdin,
        input=text_in,
        timeout=50,
        check=False,
    )


def with_model(models_dir, command, *arguments, **options):
    few = ("--models-dir", str(models_dir), "--threads", "1", "--max-tokens", "6", "--seed", "1")
    return run(command, "tiny", *arguments, *few, **options)


def test_models_lists_the_library_for_people_and_programs(models_dir):
    listed = run("models", "--models-dir", str(models_dir))
    assert listed.returncode == 0
    assert "tiny" in listed.stdout
    assert "INT4 · 32" in listed.stdout
    models = json.loads(run("models", "--models-dir", str(models_dir), "--json").stdout)
    assert "tiny" in [model["id"] for model in models]


def test_devices_name_the_cpu():
    devices = json.loads(run("devices", "--json").stdout)
    assert devices[-1]["name"] == "cpu"


def test_chat_once_prints_one_answer(models_dir):
    done = with_model(models_dir, "chat", "--once", "你好", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["stats"]["seed"] == 1
    assert 0 < result["stats"]["new_tokens"] <= 6
    plain = with_model(models_dir, "chat", "--once", "你好")
    assert plain.stdout == result["text"] + "\n"
    assert plain.stderr == ""


def test_chat_without_a_person_shows_one_exchange_in_each_language(models_dir):
    done = with_model(models_dir, "chat")
    assert done.returncode == 0, done.stderr
    assert "> 你好\n" in done.stdout
    assert "> What can you do?\n" in done.stdout


def test_chat_answers_each_line_of_a_pipe(models_dir):
    done = with_model(models_dir, "chat", text_in="你好\n\nHello\n")
    assert done.returncode == 0, done.stderr
    assert ">" not in done.stdout.splitlines()[0][:1]
    assert done.stdout.count("\n") >= 2


def test_fill_gives_exactly_the_documented_json(models_dir):
    done = with_model(models_dir, "fill", "门高[MASK]米，[MASK]", "--candidates", "3", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert set(result) == {"text", "blanks"}
    assert len(result["blanks"]) == 2
    for blank in result["blanks"]:
        assert set(blank) == {"candidates"}
        assert 1 <= len(blank["candidates"]) <= 3
        for candidate in blank["candidates"]:
            assert set(candidate) == {"text", "logprob"}
            assert candidate["logprob"] < 0
    best = [blank["candidates"][0]["text"] for blank in result["blanks"]]
    assert result["text"] == f"门高{best[0]}米，{best[1]}"


def test_fill_reads_a_file_and_marks_what_breaks_a_constraint(models_dir, tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("高[MASK]米\n", encoding="utf-8")
    done = with_model(models_dir, "fill", str(file), "--digits", "--length", "=9字", "--json")
    (candidate,) = json.loads(done.stdout)["blanks"][0]["candidates"]
    assert candidate["text"].strip().isdigit()
    assert candidate["breaks"].startswith("has ")


def test_fill_ranks_choices(models_dir):
    done = with_model(models_dir, "fill", "The [MASK] Night", "--choices", "Starry，blue", "--json")
    candidates = json.loads(done.stdout)["blanks"][0]["candidates"]
    assert {candidate["text"] for candidate in candidates} == {"Starry", "blue"}
    logprobs = [candidate["logprob"] for candidate in candidates]
    assert logprobs == sorted(logprobs, reverse=True)


def test_generate_and_count(models_dir):
    assert with_model(models_dir, "generate", "The Starry").returncode == 0
    counted = run("count", "tiny", "你好", "--models-dir", str(models_dir), "--json")
    assert json.loads(counted.stdout)["context_length"] == 256


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("chat", "nope", "--once", "hi"), 1, "no model 'nope'"),
        (("fill", "tiny", "no blank"), 1, "no blank to fill"),
        (("chat", "tiny", "--once", "x", "--context", "9999"), 1, "context 9999"),
        (("chat", "tiny", "--once", "x", "--temperature", "-1"), 1, "temperature"),
        (("fill", "tiny"), 2, "required: text"),
        (("fill", "tiny", "[MASK]", "--length", "long"), 2, 'length "long"'),
        (("chat", "tiny", "--backend", "magic"), 2, "invalid choice: 'magic'"),
        (("sing",), 2, "invalid choice: 'sing'"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_an_exit_code(models_dir, arguments, code, sentence):
    places = ("--models-dir", str(models_dir)) if len(arguments) > 1 else ()
    done = run(*arguments, *places)
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_failure_with_json_is_json(models_dir):
    done = run("chat", "nope", "--once", "hi", "--json", "--models-dir", str(models_dir))
    assert json.loads(done.stdout)["error"]["code"] == "model_not_found"


@pytest.mark.slow
def test_bench_gives_every_figure(models_dir):
    arguments = ("--prompt-tokens", "32", "--new-tokens", "8", "--threads", "1", "--json")
    done = run("bench", "tiny", *arguments, "--models-dir", str(models_dir))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    for name in ("prefill_tok_s", "decode_tok_s", "time_to_first_token_s", "bytes_per_token"):
        assert report[name] > 0
    used = report["bytes_per_token"] * report["decode_tok_s"]
    assert report["share_of_bandwidth"] == pytest.approx(used / report["read_bytes_s"])
    assert report["peak_memory_bytes"] > report["memory_bytes"]["cpu"]


@pytest.mark.parametrize(
    ("value", "text", "limit"),
    [
        ("12", "门高[MASK]米", LengthLimit(12, "characters")),
        ("12", "The [MASK] Night", LengthLimit(12, "words")),
        ("=4字", "The [MASK]", LengthLimit(4, "characters", exact=True)),
        ("3w", "门[MASK]", LengthLimit(3, "words")),
    ],
)
def test_length_without_unit_counts_what_the_text_is_made_of(value, text, limit):
    assert as_length_limit(length_limit(value), text) == limit
