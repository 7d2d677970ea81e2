"""The commands of `bilin-engine`, in this process, with a scripted model behind real workers."""

import contextlib
import io
import json
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from letter_models import LetterTexts, letter_model, scripted_worker

from bilin_engine.cli.arguments import (
    ArgumentParser,
    add_load_arguments,
    add_sampling_arguments,
    as_length_limit,
    length_limit,
    load_settings,
    text_argument,
)
from bilin_engine.cli.main import run
from bilin_engine.cli.session import Session
from bilin_engine.errors import BadRequestError
from bilin_engine.library import read_description
from bilin_engine.protocol import ChatResult, GenerationStats, LengthLimit
from bilin_engine.server.supervisor import SupervisorSettings

pytestmark = pytest.mark.e2e


@pytest.fixture
def cli(capsys):
    """Runs a command; (exit code, stdout, stderr)."""

    def run_it(*arguments, worker=("--reply", "你好"), texts=None):
        def open_session(_options):
            settings = SupervisorSettings(scripted_worker(*worker))
            return Session(texts or LetterTexts(), settings)

        try:
            code = run(arguments, open_session)
        except SystemExit as left:
            code = left.code
        out, err = capsys.readouterr()
        return code, out, err

    return run_it


def test_models_are_listed_for_people_and_for_programs(cli):
    texts = LetterTexts(letter_model(), letter_model("broken", problem="config.json is missing"))
    code, out, _ = cli("models", texts=texts)
    assert code == 0
    assert "字母 Letters" in out
    assert "broken" in out
    assert "! config.json is missing" in out
    models = json.loads(cli("models", "--json", texts=texts)[1])["models"]
    assert [model["id"] for model in models] == ["letters", "broken"]
    assert models[0]["blank_kinds"] == ["short", "long", "sentence"]


def test_devices_end_with_the_cpu(cli):
    code, out, _ = cli("devices")
    assert code == 0
    assert "GiB free" in out
    assert json.loads(cli("devices", "--json")[1])[-1]["name"] == "cpu"


def test_chat_once_prints_one_answer(cli):
    assert cli("chat", "letters", "--once", "谁？") == (0, "你好\n", "")
    result = json.loads(cli("chat", "letters", "--once", "谁？", "--json", "--seed", "3")[1])
    assert (result["text"], result["finish_reason"]) == ("你好", "stop")
    assert result["stats"]["seed"] == 3


def test_model_s_text_cannot_steer_the_terminal(cli):
    worker = ("--reply", "\x1b[31mred\x07　ok\n")
    assert cli("chat", "letters", "--once", "hi", worker=worker)[1] == "\ufffd[31mred\ufffd　ok\n\n"


@pytest.mark.parametrize("stdin", [None, ""])
def test_chat_without_a_person_shows_one_exchange_in_each_language(cli, monkeypatch, stdin):
    monkeypatch.setattr(sys, "stdin", None if stdin is None else io.StringIO(stdin))
    code, out, _ = cli("chat", "letters")
    assert code == 0
    assert out == "> 你好\n你好\n\n> What can you do?\n你好\n\n"


def test_chat_answers_each_line_of_a_pipe_and_keeps_the_conversation(cli, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n\none\n"))
    code, out, _ = cli("chat", "letters", "--system", "Be kind", worker=("--reply", "{length}"))
    assert code == 0
    first, second = map(int, out.split())  # the model says how long its prompt is
    assert second > first > len("Be kind one")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stdin", [None, io.StringIO("\n"), Terminal()])
def test_chat_with_json_and_no_message_says_what_is_needed(cli, monkeypatch, stdin):
    monkeypatch.setattr(sys, "stdin", stdin)
    code, out, err = cli("chat", "letters", "--json")
    assert code == 1
    assert json.loads(out)["error"]["code"] == "bad_request"
    assert err == "bilin-engine: --json needs --once, or messages on stdin, one a line\n"


def test_chat_with_json_answers_each_line_of_a_pipe_in_a_line(cli, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo\n"))
    code, out, _ = cli("chat", "letters", "--json")
    assert code == 0
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["你好", "你好"]


def type_lines(monkeypatch, *lines):
    """A person at a terminal who types these, or does that (an exception), one after the other."""
    typed = iter(lines)

    def type_line(_prompt=""):
        line = next(typed)
        if isinstance(line, BaseException):
            raise line
        return line

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", type_line)


def test_terminal_chat_streams_starts_over_and_leaves(cli, monkeypatch):
    type_lines(monkeypatch, "你好", "/new", "", EOFError())
    code, out, _ = cli("chat", "letters")
    assert code == 0
    assert "Bilin 比邻 · Letters · scripted · 2048 tokens" in out
    assert "\n你好\n2 tokens" in out
    assert "新对话 A new chat" in out


def test_terminal_chat_survives_a_line_in_another_encoding(cli, monkeypatch):
    other = UnicodeDecodeError("utf-8", "你好".encode("gb18030"), 0, 1, "invalid")
    type_lines(monkeypatch, other, "hi", EOFError())
    code, out, err = cli("chat", "letters")
    assert code == 0
    assert "! stdin is no UTF-8 text: byte 0 is 0xc4" in err
    assert "你好\n2 tokens" in out


def test_what_a_terminal_has_no_letters_for_is_told_all_the_same(cli, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), "latin-1")
    monkeypatch.setattr(sys, "stdout", terminal)
    code, _, err = cli("chat", "letters", "--once", "hi")
    terminal.flush()
    assert (code, err) == (0, "")
    assert terminal.buffer.getvalue().strip() == b"??"


def test_terminal_chat_survives_a_question_that_fails(cli, monkeypatch):
    type_lines(monkeypatch, "x" * 3000, "hi", KeyboardInterrupt())
    code, out, err = cli("chat", "letters")
    assert code == 0
    assert "! the conversation is" in err
    assert "/new" in out
    assert "你好\n2 tokens" in out


def test_fill_gives_exactly_the_documented_json(cli):
    arguments = ("fill", "letters", "一[MASK]二[gMASK]", "--candidates", "3", "--json")
    result = json.loads(cli(*arguments, worker=("--reply", "<{n}>"))[1])
    assert result == {
        "text": "一<0>二<0>",
        "blanks": [
            {"candidates": [{"text": f"<{n}>", "logprob": -1.5} for n in range(3)]}
            for _ in range(2)
        ],
    }


def test_fill_prints_the_text_and_its_candidates(cli):
    code, out, _ = cli(
        "fill", "letters", "好[MASK]", "--candidates", "2", worker=("--reply", "{n}")
    )
    assert code == 0
    assert out.splitlines() == ["好0", "", "blank 空 0", "  1     -0.50  0", "  2     -0.50  1"]


def test_fill_says_why_there_are_fewer_candidates_than_asked_for(cli):
    fill = ("fill", "letters", "好[MASK]", "--candidates", "3")
    told = "bilin-engine: blank 0: 1 different answer came of 3 draws; a higher --temperature or "
    assert told + "--beams 3 gives more\n" in cli(*fill, worker=("--reply", "same"))[2]
    assert "different" not in cli(*fill, worker=("--reply", "{n}"))[2]
    assert "different" not in cli(*fill, "--choices", "高,矮")[2]
    assert "different" not in cli(*fill, "--json", worker=("--reply", "same"))[2]


def test_fill_reads_a_file_and_marks_what_breaks_a_constraint(cli, tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("高[MASK]米\n", encoding="utf-8")
    arguments = ("fill", "letters", str(file), "--digits", "--length", "=3字", "--json")
    result = json.loads(cli(*arguments, worker=("--reply", "25"))[1])
    assert result["text"] == "高25米"
    (candidate,) = result["blanks"][0]["candidates"]
    assert candidate["breaks"] == "has 2 characters, not exactly 3"


def test_fill_says_what_the_only_candidate_breaks(cli):
    code, out, _ = cli("fill", "letters", "高[MASK]米", "--digits", worker=("--reply", "很"))
    assert code == 0
    assert out.splitlines()[-1] == "  1     -0.50  很  (is not digits only)"


@pytest.mark.parametrize(
    "text",
    [
        "and/or",
        "is it a.txt?",
        "[MASK].txt",
        "he/she [MASK]",
        "v1.2",
        "data",
        "",
        "/etc/fstab是什么？",
        "~/.bashrc怎么改？",
        "总结a，再写b.md",
        " 怎么写README.md",  # as the sentence about the missing file proposes
    ],
)
def test_a_text_that_only_looks_a_little_like_a_path_is_a_text(text, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    assert text_argument(text) == text


def test_a_text_is_the_same_from_stdin_as_from_its_file(monkeypatch, tmp_path):
    (tmp_path / "a.txt").write_text("a b\n", encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", io.StringIO("a b\n"))
    assert text_argument("-") == text_argument(str(tmp_path / "a.txt")) == "a b"


def test_a_byte_order_mark_is_no_part_of_a_text(cli, monkeypatch, tmp_path):
    content = "a [MASK] b\n".encode("utf-8-sig")
    (tmp_path / "a.txt").write_bytes(content)
    assert text_argument(str(tmp_path / "a.txt")) == "a [MASK] b"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii"))
    code, out, _ = cli("fill", "letters", "-")
    assert (code, out[0]) == (0, "a")


def test_a_file_of_another_encoding_is_told_with_its_byte(cli, tmp_path):
    file = tmp_path / "gb.txt"
    file.write_bytes("ab中".encode("gb18030"))
    code, _, err = cli("fill", "letters", str(file))
    assert code == 2
    assert "byte 2 is 0xd6; convert it" in err


@pytest.mark.parametrize(("words", "num_slots"), [((), 0), (("--beams", "3"), 3)])
def test_beams_asked_for_are_loaded_for(words, num_slots):
    parser = ArgumentParser()
    add_load_arguments(parser)
    add_sampling_arguments(parser)
    assert load_settings(parser.parse_args(words)).num_slots == num_slots


def test_fill_ranks_choices(cli):
    result = json.loads(cli("fill", "letters", "[MASK]", "--choices", "four, to，six", "--json")[1])
    texts = [candidate["text"] for candidate in result["blanks"][0]["candidates"]]
    assert texts == ["to", "six", "four"]


def test_proofread_tells_where_unlikely_words_stand_and_what_is_expected(cli, tmp_path):
    code, out, err = cli("proofread", "letters", "All well.\nOne bad word.")
    assert (code, out) == (0, "2:5  bad  -9.0  -> good\n")
    assert "1 of 5 words are unlikely" in err
    assert "untested" in err
    file = tmp_path / "text.md"
    file.write_text("One bad word.", encoding="utf-8")
    result = json.loads(cli("proofread", "letters", str(file), "--json")[1])
    assert [word["text"] for word in result["words"]] == ["One", "bad", "word"]
    assert result["words"][1]["expected"] == [{"text": "good", "logprob": -1.0}]
    assert (result["num_words"], result["way"], result["measured"]) == (3, "mask", None)


@pytest.mark.parametrize(
    "words",
    [
        ("chat", "letters", "--once", "hi"),
        ("fill", "letters", "a [MASK] b"),
        ("generate", "letters", "a"),
        ("proofread", "letters", "One bad word."),
    ],
    ids=lambda words: words[0],
)
def test_whoever_loads_a_model_can_say_what_that_took(cli, words):
    code, _, quiet = cli(*words)
    assert code == 0
    code, _, told = cli(*words, "--load-report")
    assert code == 0
    assert len(told.splitlines()) > len(quiet.splitlines())


@pytest.mark.parametrize("command", ["evaluate", "logits"])
def test_what_a_command_cannot_say_it_does_not_offer(cli, command):
    assert "--load-report" not in cli(command, "--help")[1]
    assert "--load-report" in cli("score", "--help")[1]


@pytest.mark.parametrize("words", [("bench", "letters"), ("evaluate", "letters", "x.jsonl")])
def test_a_command_that_computes_on_one_device_refuses_several_before_it_loads(cli, words):
    code, _, err = cli(*words, "--device", "cuda:0,cuda:1", texts=LetterTexts())
    assert code == 1
    assert err.endswith("computes on one device, not on cuda:0,cuda:1; name one of them\n")
    assert "cuda:0,cuda:1" not in cli(words[0], "--help")[1]


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")]
)
def test_memory_that_runs_out_in_this_process_is_a_sentence(cli, monkeypatch, tmp_path, error):
    def fails(*_arguments):
        raise error

    monkeypatch.setattr("bilin_engine.evaluate.command.load_model", fails)
    question = {"lang": "en", "q": "What is 2 plus 2?", "must": "4"}
    (tmp_path / "x.jsonl").write_text(json.dumps(question), encoding="utf-8")
    code, _, err = cli("evaluate", "bilin-mini", str(tmp_path / "x.jsonl"))
    assert code == 1
    assert "there is too little free memory for this" in err


def test_proofread_measures_a_probe_file(cli, tmp_path):
    probe = tmp_path / "probe.jsonl"
    line = {"lang": "en", "text": "One two bad four five.", "wrong": "bad", "right": "three"}
    probe.write_text(json.dumps(line), encoding="utf-8")
    figures = json.loads(cli("proofread", "letters", "--probe", str(probe), "--json")[1])["en"]
    assert (figures["num"], figures["hit_rate"], figures["first_rate"]) == (1, 1.0, 1.0)
    assert figures["threshold"] == pytest.approx(-0.5)
    code, _, err = cli("proofread", "letters")
    assert code == 1
    assert "give a text to read, or --probe FILE" in err


def test_proofread_writes_one_language_s_figures_and_keeps_the_other_s(cli, tmp_path):
    probe = tmp_path / "probe.jsonl"
    texts = LetterTexts(msgspec.structs.replace(letter_model(), path=str(tmp_path)))

    def measure(lang):
        line = {"lang": lang, "text": "One two bad four five.", "wrong": "bad", "right": "three"}
        probe.write_text(json.dumps(line), encoding="utf-8")
        return cli("proofread", "letters", "--probe", str(probe), "--write", texts=texts)

    code, out, err = measure("zh")  # no model lies in that folder
    assert code == 1
    assert "bilin.json is missing" in err
    assert "zh: of 1 planted words 100% are among the three" in out  # what took hours is told
    description = {
        "id": "m", "names": {"zh": "模", "en": "M"}, "family": "f", "languages": ["zh"],
        "capabilities": {"blanks": ["short"]}, "licence": "x", "source": "y",
    }  # fmt: skip
    (tmp_path / "bilin.json").write_text(json.dumps(description), encoding="utf-8")
    assert [measure(lang)[0] for lang in ("zh", "en")] == [0, 0]
    figures = read_description(tmp_path).capabilities.proofread
    assert figures is not None
    assert (figures.num_zh, figures.num_en, figures.hit_rate_zh) == (1, 1, 1.0)


@pytest.mark.parametrize("can_chat", [True, False])
def test_bench_asks_another_text_each_time(monkeypatch, can_chat):
    """The same again goes on from what its slot holds: all but its last token were not encoded."""

    class AskedSession(contextlib.AbstractContextManager):
        def __init__(self):
            self.texts = []

        def __exit__(self, *_error): ...

        def model(self, _model_id):
            return msgspec.structs.replace(letter_model(), can_chat=can_chat, blank_kinds=())

        def load(self, *_arguments, **_options): ...

        def ask(self, make, _result_type):
            request = make(1)
            self.texts.append((request.messages if can_chat else request.segments)[0].text)
            stats = GenerationStats(
                prompt_tokens=3, new_tokens=1, time_to_first_token_s=0.1, prefill_s=0.1,
                decode_s=0.0, seed=0,
            )  # fmt: skip
            return ChatResult(text="", finish_reason="stop", stats=stats)

    def measured(*_arguments):
        raise BadRequestError("the answers are there")

    session: Any = AskedSession()
    monkeypatch.setattr("bilin_engine.bench.measure", measured)
    assert run(("bench", "letters"), lambda _options: session) == 1
    assert len({text[0] for text in session.texts}) == len(session.texts) == 3


def test_terminal_chat_survives_its_worker(cli, monkeypatch, tmp_path):
    dies_at = tmp_path / "once"
    dies_at.touch()
    type_lines(monkeypatch, "hi", "hi", EOFError())
    code, out, err = cli("chat", "letters", worker=("--reply", "你好", "--dies-at", str(dies_at)))
    assert code == 0
    assert err.count("! ") == 1
    assert "! The model's process (rank 0) ended unexpectedly" in err
    assert out.count("你好\n2 tokens") == 1


def test_generate_continues(cli):
    worker = ("--reply", "<{prompt}>")
    assert cli("generate", "letters", "Once", worker=worker) == (0, "<Once>\n", "")
    assert json.loads(cli("generate", "letters", "Once", "--json", worker=worker)[1])["text"]


def test_count_counts_the_whole_prompt(cli):
    counted = json.loads(cli("count", "letters", "你好", "--json")[1])
    assert counted["total"] > counted["per_message"][0] > 2
    assert cli("count", "letters", "你好")[1].startswith(f"{counted['total']} of 2048 tokens")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("chat", "nope", "--once", "hi"), 1, 'no model "nope"'),
        (
            ("chat", "letters", "--no-thinking"),
            1,
            '"letters" has no way to leave its reasoning out',
        ),
        (("chat", "letters", "--once", "a\udcc4b"), 1, "the argument once is no UTF-8 text"),
        (("generate", "letters", "a", "\udcc4"), 1, "the argument texts is no UTF-8 text"),
        (("fill", "letters", "no blank"), 1, "no blank to fill"),
        (("fill", "letters", "nowhere.txt"), 2, "there is no file nowhere.txt"),
        (("proofread", "letters", "./nowhere"), 2, "there is no file ./nowhere"),
        (("proofread", "letters", "一、怎么写.md"), 2, "(this one with a space before it)"),
        (("proofread", "letters", "/"), 2, "/ is a folder; give a text"),
        (("proofread", "letters", "…！"), 1, 'there is no word to read in "…！"'),
        (("fill", "letters", "[MASK]", "--candidates", "99"), 1, "99 candidates"),
        (("fill", "letters", "[MASK]", "--blank", "4"), 1, "no blank 4"),
        (("fill", "letters", "[MASK]", "--seed", "9" * 30), 1, "seed 99999"),
        (("fill", "letters", "[MASK]", "--context", "9" * 30), 1, "context 99999"),
        (("chat", "letters", "--once", "hi", "--threads", "9" * 30), 1, "threads 99999"),
        (("logits", ".", "--out", "x", "--ids", "1,4294967296"), 2, "4294967296: ids and"),
        (("fill", "letters"), 2, "required: text"),
        (("fill", "letters", "[MASK]", "--length", "long"), 2, 'length "long"'),
        (("chat", "letters", "--backend", "magic"), 2, "invalid choice: 'magic'"),
        (("sing",), 2, "invalid choice: 'sing'"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_an_exit_code(cli, arguments, code, sentence):
    found, _, err = cli(*arguments)
    assert found == code
    assert sentence in err
    assert len(err.splitlines()) <= 2


def test_failure_with_json_is_json(cli):
    code, out, _ = cli("chat", "nope", "--once", "hi", "--json")
    assert code == 1
    assert json.loads(out)["error"]["code"] == "model_not_found"


def test_broken_model_is_a_sentence(cli):
    worker = ("--load-fails", "model.safetensors is cut short")
    code, _, err = cli("chat", "letters", "--once", "hi", worker=worker)
    assert (code, err) == (1, "bilin-engine: model.safetensors is cut short\n")


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


@pytest.mark.e2e
def test_ctrl_c_while_modules_are_imported_leaves_with_130_and_no_traceback():
    program = """
import os, signal
from bilin_engine import __main__, processes
processes.calm_openmp = lambda: os.kill(os.getpid(), signal.SIGINT)
__main__.main()
"""
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (130, "")
