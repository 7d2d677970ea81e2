"""The engine's sentences in Chinese: each template is one the engine really writes."""

import errno
import re
import string
from pathlib import Path

import pytest
from engine_sentences import written_templates

from bilin_app.controllers import engine_sentences
from bilin_app.controllers.engine_sentences import SENTENCES, engine_sentence
from bilin_app.controllers.job_views import job_view
from bilin_app.controllers.sentences import file_refused, request_failed
from bilin_app.engine_client.client import NOT_CONNECTED, TOO_LARGE
from bilin_app.theme.theme import Look, start_theme
from bilin_engine.protocol import JobInfo, VerifyModel

pytestmark = pytest.mark.gui


@pytest.fixture
def chinese(qapp):
    start_theme(qapp, Look("light", "zh"))


def filled(template):
    return str(template).format(*string.ascii_uppercase)


def test_every_template_is_a_sentence_that_is_really_written():
    written = written_templates()
    assert [str(t) for t in SENTENCES if str(t) not in written] == []
    assert len(SENTENCES) == len(set(map(str, SENTENCES))) >= 25


@pytest.mark.usefixtures("chinese")
@pytest.mark.parametrize("template", SENTENCES)
def test_every_sentence_is_told_in_chinese_with_all_its_values(template):
    message = filled(template)
    told = engine_sentence(message)
    assert any("\u4e00" <= character <= "\u9fff" for character in told), told
    for value in string.ascii_uppercase[: str(template).count("{}")]:
        assert value in told


@pytest.mark.parametrize("template", SENTENCES)
def test_every_sentence_is_known_by_its_own_template(template):
    found = engine_sentences._found(filled(template))
    assert found is not None
    assert found[0] == template


def test_in_english_it_is_the_engine_s_own_word(qapp):
    start_theme(qapp, Look("light", "en"))
    for template in SENTENCES:
        assert engine_sentence(filled(template)) == filled(template)


def test_a_sentence_that_was_told_before_follows_the_language(qapp):
    message = "config.json is missing: copy or convert the model again"
    told = []
    for language in ("en", "zh", "en"):
        start_theme(qapp, Look("light", language))
        told.append(engine_sentence(message))
    assert told[0] == told[2] == message
    assert told[1] == "缺少 config.json，请重新复制或转换这个模型。"


def test_a_text_is_searched_for_once_and_an_empty_one_never(monkeypatch):
    searched = []

    class Pattern:
        def fullmatch(self, message):
            searched.append(message)

    monkeypatch.setattr(engine_sentences, "_patterns", lambda: ((Pattern(), "none"),))
    message = "no sentence that any other test asks for"
    assert [engine_sentence(text) for text in ("", message, "", message)] == ["", message] * 2
    assert searched == [message]


@pytest.mark.usefixtures("chinese")
def test_what_is_not_known_is_told_as_it_is():
    assert engine_sentence("something new {0} happened") == "something new {0} happened"
    assert "something new" in request_failed("model_broken", "something new")
    told = request_failed("not_loaded", 'the model "{x}" is not loaded; load it first')
    assert "{x}" in told
    assert "load it first" not in told


@pytest.mark.usefixtures("chinese")
def test_values_that_are_the_engine_s_words_are_told_in_chinese_too():
    message = (
        "The model's process (rank 3) ended unexpectedly: signal 9 (SIGKILL). "
        "The log has its last words."
    )
    told = "模型进程（rank 3）意外结束：信号 9（SIGKILL）。日志里有它最后的输出。"
    assert request_failed("worker_died", message) == told


@pytest.mark.usefixtures("chinese")
@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (str(FileNotFoundError(2, "No such file or directory", "/tmp/a.md")), "文件不存在"),
        (str(OSError(errno.ENAMETOOLONG, "File name too long", "/tmp/a.md")), "文件名太长"),
        (str(OSError(errno.EDQUOT, "Disk quota exceeded", "/tmp/a.md")), "磁盘配额已用完"),
        (str(OSError(errno.EPERM, "Operation not permitted", "/tmp/a.md")), "系统不允许"),
        (str(OSError(errno.EIO, "Input/output error", "/tmp/a.md")), "磁盘报告错误"),
        (str(OSError(errno.ETIMEDOUT, "Connection timed out")), "所在磁盘没有响应"),
        (str(OSError(errno.EBUSY, "Device busy", "/tmp/a.md")), "另一个程序正在使用它"),
        (str(OSError(errno.ENXIO, "No such device", "/tmp/a.md")), "No such device"),
        ("this is no JSON: x", "不是 JSON：x"),
        ("the zip cannot be read: Bad CRC-32", "无法读取 zip 文件：Bad CRC-32"),
        ("something else", "something else"),
    ],
)
def test_why_a_file_is_refused_is_told_in_chinese(reason, told):
    assert file_refused(Path("/tmp/a.md"), reason) == f"无法使用 a.md：{told}"


@pytest.mark.usefixtures("chinese")
@pytest.mark.parametrize(
    ("code", "message"),
    [
        (NOT_CONNECTED, "the engine is not running"),
        (TOO_LARGE, "a Chat of 300000000 bytes is too large; the limit is 268435456"),
        ("not_loaded", 'the model "one" is not loaded; "two" is'),
        ("error", "a/b holds no weights: neither safetensors nor GGUF files"),
        ("bad_request", "the queue has other work that makes /m/glm; choose another name"),
    ],
)
def test_a_common_failure_is_told_without_a_word_of_english(code, message):
    told = request_failed(code, message)
    assert not re.search(r"\b(the|engine|is|model|bytes|holds|work)\b", told), told


@pytest.mark.usefixtures("chinese")
def test_a_job_in_the_queue_says_in_chinese_why_it_failed():
    failed = JobInfo(
        job=1,
        work=VerifyModel(folder="/models/glm"),
        state="failed",
        reason="config.json was changed since it was written (sha256 aaaa… instead of bbbb…)",
    )
    told = job_view(failed).reason
    assert told == "config.json 写入后被改过（sha256 是 aaaa…，应为 bbbb…）"


@pytest.mark.usefixtures("chinese")
def test_an_unreachable_hub_is_told_in_chinese_with_the_way_out():
    told = request_failed("hub_unreachable", "huggingface.co cannot be reached: timed out")
    assert told.startswith("连不上 huggingface.co：timed out")
    assert "换一个来源" in told
