"""`python -m bilin_engine` with a model of real (random) weights: every process as installed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from stdio_app import children_of, wait_gone
from tiny_model import write_tiny_model

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

COMMAND = (sys.executable, "-P", "-m", "bilin_engine")


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("models")).parent


def run(models_dir, command, *arguments, stdin=subprocess.DEVNULL):
    places = ("--models-dir", str(models_dir), "--threads", "1")
    return subprocess.run(
        [*COMMAND, command, "tiny", *arguments, *places],
        capture_output=True,
        text=True,
        stdin=stdin,
        timeout=50,
        check=False,
    )


def test_chat_without_stdin_shows_one_exchange_in_each_language(models_dir):
    done = run(models_dir, "chat", "--max-tokens", "6")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("> 你好\n")
    assert "\n> What can you do?\n" in done.stdout


@pytest.mark.parametrize("command", [("chat", "tiny"), ("count", "tiny", "-")])
def test_stdin_that_is_no_utf8_is_told_as_a_file_would_be(models_dir, command):
    done = subprocess.run(
        [*COMMAND, *command, "--models-dir", str(models_dir)],
        input="你好\n".encode("gbk"),
        capture_output=True,
        timeout=50,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    told = done.stderr.decode()
    assert done.returncode in (1, 2)
    assert "stdin is no UTF-8 text: byte 0 is 0xc4; convert it" in told
    assert "Traceback" not in told


def test_chat_once_with_one_seed_says_the_same_twice(models_dir):
    few = ("--once", "你好", "--max-tokens", "6", "--seed", "1")
    first, second = (run(models_dir, "chat", *few).stdout for _ in range(2))
    assert first == second != ""


def test_fill_gives_candidates_with_their_logprobs(models_dir):
    few = ("--max-tokens", "4", "--seed", "1", "--json")
    done = run(models_dir, "fill", "门高[MASK]米，[gMASK]", "--candidates", "3", *few)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert set(result) == {"text", "blanks"}
    assert len(result["blanks"]) == 2
    for blank in result["blanks"]:
        logprobs = [candidate["logprob"] for candidate in blank["candidates"]]
        assert 1 <= len(logprobs) <= 3  # equal ones are one
        assert logprobs == sorted(logprobs, reverse=True)
        assert logprobs[0] < 0


def test_loading_arguments_reach_the_worker(models_dir):
    done = run(models_dir, "chat", "--once", "x", "--context", "9999")
    assert done.returncode == 1
    assert "context 9999" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_leaves_with_130_and_no_worker(models_dir):
    # A session of its own, so that the signal can go to its whole group, as a terminal's does.
    child = subprocess.Popen(
        [*COMMAND, "chat", "tiny", "--models-dir", str(models_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while not (workers := children_of(child.pid)):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGINT)
    _, told = child.communicate(timeout=30)
    assert child.returncode == 130, told.decode()
    assert b"Traceback" not in told
    assert wait_gone(workers) == []


def test_bench_gives_every_figure(models_dir):
    done = run(models_dir, "bench", "--prompt-tokens", "32", "--new-tokens", "8", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    for name in ("prefill_tok_s", "decode_tok_s", "time_to_first_token_s", "ready_s"):
        assert report[name] > 0
    used = report["read_per_token"] * report["decode_tok_s"]
    assert report["share_of_bandwidth"] == pytest.approx(used / report["read_bytes_s"])
    assert report["peak_memory_bytes"] > report["memory_bytes"]["cpu"]
