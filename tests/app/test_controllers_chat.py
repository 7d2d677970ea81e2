"""The chat controller against a scripted engine and a real database, as a page sees it."""

import errno
import json
import os
import signal
import sys
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from chat_page import ChatPage

from bilin_app.controllers import attachments, exchange, message_views, prompt, transcript
from bilin_app.controllers.chat import ChatController
from bilin_app.controllers.drafts import Drafts
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.message_views import ShownConversation
from bilin_app.controllers.running_answer import RunningAnswer
from bilin_app.controllers.transcript import Transcript
from bilin_app.engine_client.client import EngineClient
from bilin_app.engine_client.process import EngineCommand, EngineLimits
from bilin_app.storage import conversations as stored
from bilin_app.storage.conversations import ConversationRecord, set_trashed
from bilin_app.storage.errors import StorageError
from bilin_app.storage.store import Store
from bilin_app.text.conversation_file import (
    FileConversation,
    FileMessage,
    read_conversations,
    to_json,
)
from bilin_engine.protocol import EngineStatus, Sampling

SCRIPT = str(Path(__file__).parents[1] / "helpers" / "scripted_engine.py")
# A busy machine is not to be taken for an engine that hangs.
PATIENT = EngineLimits(hello_s=60, stop_s=0.3, silence_s=5, answer_s=20, cancel_s=20)
QUICK = replace(PATIENT, silence_s=0.3, answer_s=0.6, cancel_s=0.5)  # for one that does hang
WHOLE = "".join(f"w{i} " for i in range(12))


class App:
    """All below the widgets, started as the app starts it."""

    def __init__(self, folder: Path, *arguments: str, limits: EngineLimits = PATIENT) -> None:
        command = EngineCommand(sys.executable, ("-P", SCRIPT, *arguments))
        self.client = EngineClient(command, limits)
        self.engine = EngineController(self.client)
        self.store = Store(folder / "bilin.db")
        self.chat = ChatController(self.store, self.engine)
        self.page = ChatPage(self.chat, self.engine)
        self.is_closed = False

    def start(self) -> None:
        self.chat.start()
        self.engine.start()

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.chat.close()
            self.engine.finish()


@pytest.fixture
def start_app(qtbot, tmp_path):
    apps: list[App] = []

    def start(*arguments: str, is_ready: bool = True, limits: EngineLimits = PATIENT) -> App:
        app = App(tmp_path, *arguments, limits=limits)
        apps.append(app)
        app.start()
        qtbot.waitUntil(lambda: app.page.conversation is not None, timeout=10_000)
        if is_ready:
            qtbot.waitUntil(lambda: app.engine.view.state == "ready", timeout=20_000)
        return app

    yield start
    for app in apps:
        app.close()


@pytest.fixture
def until(qtbot):
    def wait(claim, timeout=20_000):
        qtbot.waitUntil(lambda: bool(claim()), timeout=timeout)

    return wait


def reopened(app: App, until):
    """The page as signals built it, and as it is when the conversation is opened again."""
    before = list(app.page.messages)
    app.page.conversation = None
    app.chat.open_conversation(app.chat.conversation_id)
    until(lambda: app.page.conversation is not None)
    return before, list(app.page.messages)


# --- Turns ----------------------------------------------------------------------------------------


def test_a_message_is_stored_shown_and_answered(start_app, until):
    app = start_app()
    page = app.page
    app.chat.set_draft("Hello there")
    app.chat.send("Hello there")
    assert page.messages == []  # shown once it is stored
    until(lambda: page.finished)
    assert page.texts == ["Hello there", WHOLE]
    assert page.states == ["done", "done"]
    assert page.num_cleared == 1
    facts = page.messages[1].facts
    assert facts is not None
    assert (facts.model.name_zh, facts.new_tokens, facts.finish_reason) == (
        "比邻小模型",
        12,
        "stop",
    )
    until(lambda: page.rows and not page.rows[0].is_running)
    assert page.rows[0].title == "Hello there"
    before, after = reopened(app, until)
    assert before == after


def test_four_thousand_tokens_come_in_at_most_thirty_appends_a_second(start_app, until):
    app = start_app("--tokens", "4000", "--gap", "0.0002")
    started = time.monotonic()
    app.chat.send("go")
    until(lambda: app.page.finished, 40_000)
    seconds = time.monotonic() - started
    assert app.page.texts[1] == "".join(f"w{i} " for i in range(4000))
    assert app.page.num_appends <= seconds / 0.033 + 2


def test_a_message_sent_while_an_answer_runs_waits_for_it(start_app, until, go):
    app = start_app("--behave", "waits", "--after", "1", "--go", str(go))
    page = app.page
    app.chat.send("one")
    until(lambda: page.states[1:] == ["running"])
    app.chat.send("two")
    app.chat.send("three")
    until(lambda: [m.text for m in page.queued] == ["two", "three"])
    assert page.num_cleared == 3
    app.chat.withdraw_queued(page.queued[1].id)
    until(lambda: page.drafts == ["three"])
    go.touch()
    until(lambda: len(page.finished) == 2)
    assert page.texts == ["one", WHOLE, "two", WHOLE]
    until(lambda: page.queued == [])
    before, after = reopened(app, until)
    assert before == after


def test_a_message_that_an_earlier_run_left_waiting_is_sent_after_the_answer(start_app, until, go):
    app = start_app("--behave", "waits", "--after", "1", "--go", str(go))
    app.chat.send("one")
    until(lambda: app.page.num_appends)
    app.chat.send("two")
    until(lambda: app.page.queued)
    conversation_id = app.chat.conversation_id
    app.close()
    again = start_app()
    page = again.page
    again.chat.open_conversation(conversation_id)
    until(lambda: [m.text for m in page.queued] == ["two"])
    assert page.states == ["done", "interrupted"]
    again.chat.continue_answer(page.messages[1].id)
    until(lambda: len(page.finished) == 2)
    assert page.texts == ["one", WHOLE, "two", WHOLE]
    assert page.queued == []


def test_enter_pressed_twice_sends_once(start_app, until):
    app = start_app()
    app.chat.send("one")
    app.chat.send("one")
    until(lambda: app.page.finished)
    assert app.page.texts == ["one", WHOLE]


def type_and_send(app: App, *fields: str) -> None:
    """What the field has each time Enter is pressed: it keeps what is not stored yet."""
    for field in fields:
        app.chat.set_draft(field)
        app.chat.send(field.strip())


def test_what_is_typed_behind_a_message_that_is_being_stored_is_sent_alone(start_app, until):
    app = start_app()
    page = app.page
    type_and_send(app, "hello ", "hello then", "hello then", "hello thenlast")
    until(lambda: len(page.finished) == 3)
    assert page.texts == ["hello", WHOLE, "then", WHOLE, "last", WHOLE]
    app.chat.new_conversation()
    assert page.conversation is not None
    assert page.conversation.draft == ""
    app.chat.open_conversation(page.rows[0].id)
    until(lambda: page.messages)
    assert page.conversation.draft == ""


def test_what_is_typed_behind_a_message_is_sent_alone_in_a_conversation_opened_again(
    start_app, until
):
    app = start_app()
    page = app.page
    app.chat.send("first")
    until(lambda: len(page.finished) == 1)
    type_and_send(app, "hello")
    app.chat.open_conversation(page.rows[0].id)
    type_and_send(app, "hello then")
    until(lambda: len(page.finished) == 3)
    assert page.texts[::2] == ["first", "hello", "then"]
    app.chat.new_conversation()
    app.chat.open_conversation(page.rows[0].id)
    until(lambda: page.messages)
    assert page.conversation is not None
    assert page.conversation.draft == ""


def test_messages_that_the_disk_refuses_are_a_draft_again_line_by_line(
    start_app, until, monkeypatch
):
    app = start_app()

    def refuse(*_arguments, **_named):
        raise StorageError("full", "no space")

    monkeypatch.setattr(stored, "send_message", refuse)
    type_and_send(app, "hello", "hellothen", "hellothenlast")
    app.chat.set_draft("hellothenlast one")
    until(lambda: app.page.notices)
    assert app.page.drafts[-1] == "hello\nthen\nlast one"
    assert app.page.messages == []


def test_what_is_sent_while_a_conversation_is_being_made_goes_into_it_too(start_app, until):
    app = start_app()
    page = app.page
    app.chat.send("one")
    app.chat.send("two")
    app.chat.new_conversation()
    until(lambda: len(page.finished) == 2)
    assert page.messages == []
    [row] = page.rows
    app.chat.open_conversation(row.id)
    until(lambda: page.texts == ["one", WHOLE, "two", WHOLE])


def test_blank_text_is_not_sent(start_app, qtbot):
    app = start_app()
    app.chat.send("  \n ")
    qtbot.wait(50)
    assert app.page.messages == []


def test_stop_keeps_the_text_and_continue_goes_on_from_it(start_app, until, tmp_path, go):
    requests = tmp_path / "requests"
    app = start_app("--behave", "waits", "--go", str(go), "--requests", str(requests))
    page = app.page
    app.chat.send("one")
    until(lambda: len(page.texts) == 2 and "w3" in page.texts[1])
    app.chat.stop()
    until(lambda: page.stopped)
    go.touch()
    so_far = page.texts[1]
    assert WHOLE.startswith(so_far)
    assert page.messages[1].can_continue
    assert page.messages[1].facts is not None
    app.chat.continue_answer(page.messages[1].id)
    until(lambda: page.finished)
    assert page.texts[1] == WHOLE
    assert page.messages[1].seams == ()  # the person's own stop leaves no seam
    assert requests.read_text().splitlines()[-1] == repr((["user:one"], so_far))
    before, after = reopened(app, until)
    assert before == after


def test_regenerate_and_edit_keep_every_version(start_app, until, tmp_path):
    requests = tmp_path / "requests"
    app = start_app("--requests", str(requests))
    page = app.page
    app.chat.send("one")
    until(lambda: len(page.finished) == 1)
    app.chat.send("two")
    until(lambda: len(page.finished) == 2)
    first_answer = page.messages[1].id
    app.chat.regenerate(first_answer)
    until(lambda: len(page.finished) == 3)
    assert page.texts == ["one", WHOLE]
    assert (page.messages[1].version, page.messages[1].num_versions) == (2, 2)
    app.chat.show_version(page.messages[1].id, -1)
    until(lambda: page.texts == ["one", WHOLE, "two", WHOLE])
    assert page.messages[1].id == first_answer
    app.chat.edit_message(page.messages[2].id, "zwei")
    until(lambda: len(page.finished) == 4)
    assert page.texts == ["one", WHOLE, "zwei", WHOLE]
    assert requests.read_text().splitlines()[-1] == repr(
        (["user:one", f"assistant:{WHOLE}", "user:zwei"], "")
    )
    before, after = reopened(app, until)
    assert before == after


def test_regenerate_while_it_is_written_stops_it_first(start_app, until, go):
    app = start_app("--behave", "waits", "--after", "1", "--go", str(go))
    page = app.page
    app.chat.send("one")
    until(lambda: page.states[1:] == ["running"])
    app.chat.regenerate(page.messages[1].id)
    until(lambda: page.stopped)
    go.touch()
    until(lambda: page.finished)
    assert len(page.stopped) == 1
    assert (page.messages[1].version, page.messages[1].num_versions) == (2, 2)


def written(app: App) -> list[str]:
    """What persons wrote, in all conversations and versions."""
    question = "SELECT text FROM messages WHERE role = 'user' ORDER BY id"
    return app.store.read_latest(lambda db: [row[0] for row in db.execute(question)]).result()


def test_an_edit_goes_to_its_conversation_whatever_is_on_show_when_it_begins(start_app, until):
    app = start_app("--gap", "0.02")
    page = app.page
    app.chat.send("one")
    until(lambda: page.states[1:] == ["running"])
    first = app.chat.conversation_id
    app.chat.edit_message(page.messages[0].id, "one, corrected")
    app.chat.new_conversation()
    until(lambda: page.finished)
    assert page.texts == []
    app.chat.open_conversation(first)
    until(lambda: page.texts == ["one, corrected", WHOLE])
    assert page.messages[0].num_versions == 2


def test_edits_wait_for_one_another_and_for_what_is_being_begun(start_app, until):
    app = start_app()
    page = app.page
    app.chat.send("one")
    until(lambda: len(page.finished) == 1)
    question, answer = page.messages
    app.chat.regenerate(answer.id)
    app.chat.regenerate(answer.id)  # pressed twice
    app.chat.edit_message(question.id, "two")
    app.chat.write_answer(answer.id, "mine", goes_on=False)
    app.chat.edit_message(question.id, "three")
    until(lambda: page.texts == ["three", WHOLE])
    assert written(app) == ["one", "two", "three"]
    app.chat.show_version(page.messages[0].id, -2)
    until(lambda: page.texts == ["one", "mine"])
    assert page.messages[1].num_versions == 3


def test_what_was_typed_is_kept_when_the_app_closes_before_it_begins(start_app, until):
    app = start_app("--behave", "ignores_cancel", "--gap", "0.1", "--tokens", "200")
    app.chat.send("one")
    until(lambda: app.page.states[1:] == ["running"])
    app.chat.edit_message(app.page.messages[0].id, "one, corrected")
    app.close()
    assert written(start_app(is_ready=False)) == ["one", "one, corrected"]


def test_a_message_deleted_while_it_is_answered_does_not_hold_up_what_waits(start_app, until, go):
    app = start_app("--behave", "waits", "--after", "1", "--go", str(go))
    page = app.page
    app.chat.send("one")
    until(lambda: page.states[1:] == ["running"])
    app.chat.send("two")
    until(lambda: page.queued)
    app.chat.delete_message(page.messages[0].id)
    until(lambda: page.stopped)
    go.touch()
    until(lambda: page.finished)
    assert page.texts == ["two", WHOLE]
    assert page.queued == []


def test_another_conversation_can_be_read_while_an_answer_runs(start_app, until, go):
    app = start_app("--behave", "waits", "--after", "3", "--go", str(go))
    page = app.page
    app.chat.send("one")
    until(lambda: len(page.texts) == 2 and "w2" in page.texts[1])
    first = app.chat.conversation_id
    app.chat.new_conversation()
    assert page.messages == []
    app.chat.send("elsewhere")
    until(lambda: [m.text for m in page.queued] == ["elsewhere"])
    app.chat.open_conversation(first)
    until(lambda: page.conversation is not None and page.conversation.id == first)
    assert page.states[1] == "running"
    assert "w2" in page.texts[1]
    go.touch()
    until(lambda: len(page.finished) == 2)
    assert page.texts == ["one", WHOLE]
    second = next(row.id for row in page.rows if row.id != first)
    app.chat.open_conversation(second)
    until(lambda: page.texts == ["elsewhere", WHOLE])


def test_a_failed_request_is_told_and_may_be_tried_again(start_app, until):
    app = start_app("--behave", "fails")
    page = app.page
    app.chat.send("one")
    until(lambda: page.failures)
    [(message_id, sentence, detail)] = page.failures
    assert (message_id, detail) == (page.messages[1].id, "trace")
    assert "cuda:0 needs 9 GiB" in sentence
    assert page.messages[1].state == "failed"
    assert page.messages[1].failure == sentence
    before, after = reopened(app, until)
    assert before == after


def test_the_system_prompt_comes_first(start_app, until, tmp_path):
    requests = tmp_path / "requests"
    app = start_app("--requests", str(requests))
    app.chat.send("one")
    until(lambda: len(app.page.finished) == 1)
    app.chat.set_system_prompt("Be short.")
    app.chat.send("two")
    until(lambda: len(app.page.finished) == 2)
    assert requests.read_text().splitlines()[-1].startswith("(['system:Be short.', 'user:one'")


# --- Drafts, list, search, counting ---------------------------------------------------------------


def test_drafts_belong_to_their_conversation_and_survive(start_app, until):
    app = start_app()
    page = app.page
    app.chat.send("one")
    until(lambda: page.finished)
    first = app.chat.conversation_id
    app.chat.set_draft("half a thought")
    app.chat.new_conversation()
    assert page.conversation is not None
    assert page.conversation.draft == ""
    app.chat.set_draft("another")
    app.chat.open_conversation(first)
    until(lambda: page.conversation is not None and page.conversation.draft == "half a thought")
    app.close()
    again = start_app()
    assert again.page.conversation is not None
    assert again.page.conversation.draft == "another"
    again.chat.open_conversation(first)
    until(lambda: again.page.conversation.draft == "half a thought")


def test_what_is_written_before_the_database_is_open_follows_what_it_has(
    start_app, until, tmp_path
):
    app = start_app()
    app.chat.set_draft("stored")
    app.chat.attach_text("first")
    app.close()
    again = App(tmp_path)
    again.start()
    again.chat.set_draft("h")  # the first key, at the first picture
    again.chat.attach_text("second")
    until(lambda: again.page.conversation is not None)
    assert again.page.conversation is not None
    assert again.page.conversation.draft == "stored\nh"
    assert [a.text for a in again.chat.attachments] == ["first", "second"]
    again.close()
    third = start_app()
    assert third.page.conversation is not None
    assert third.page.conversation.draft == "stored\nh"
    assert [a.text for a in third.chat.attachments] == ["first", "second"]


def test_closing_before_the_database_is_open_keeps_both_drafts(start_app, tmp_path):
    app = start_app()
    app.chat.set_draft("stored")
    app.close()
    again = App(tmp_path)
    again.start()
    again.chat.set_draft("typed")
    again.close()
    third = start_app()
    assert third.page.conversation is not None
    assert third.page.conversation.draft == "stored\ntyped"


def test_a_message_sent_before_the_database_is_open_costs_no_stored_draft(
    start_app, until, tmp_path
):
    app = start_app()
    app.chat.set_draft("stored")
    app.close()
    again = App(tmp_path)
    again.start()
    again.chat.set_draft("now")
    again.chat.send("now")
    until(lambda: again.page.finished)
    assert again.page.texts == ["now", WHOLE]
    again.close()
    third = start_app()
    until(lambda: third.page.rows)
    third.chat.open_conversation(third.page.rows[0].id)
    until(lambda: third.page.conversation is not None and third.page.conversation.id)
    assert third.page.conversation is not None
    assert third.page.conversation.draft == "stored"


@pytest.mark.parametrize("leaves", [False, True])
def test_what_is_typed_right_after_the_first_message_stays_with_it(start_app, until, leaves):
    app = start_app()
    page = app.page
    app.chat.send("zero")
    until(lambda: page.finished)
    zero = app.chat.conversation_id
    app.chat.new_conversation()
    app.chat.set_draft("hello")
    app.chat.send("hello")
    app.chat.set_draft("hello and")
    app.chat.attach_text("a text")
    if leaves:
        app.chat.open_conversation(zero)
    until(lambda: len(page.finished) == 2)
    app.chat.new_conversation()
    assert page.conversation is not None
    assert page.conversation.draft == ""
    assert app.chat.attachments == ()
    app.chat.open_conversation(zero + 1)
    until(lambda: page.texts == ["hello", WHOLE])
    assert page.conversation.draft == "and"
    assert [a.text for a in app.chat.attachments] == ["a text"]
    app.close()
    again = start_app()
    assert again.page.conversation is not None
    assert again.page.conversation.draft == ""
    again.chat.open_conversation(zero + 1)
    until(lambda: again.page.texts == ["hello", WHOLE])
    assert again.page.conversation.draft == "and"
    assert [a.text for a in again.chat.attachments] == ["a text"]


def test_delete_goes_to_the_trash_and_undo_brings_it_back(start_app, until):
    app = start_app()
    page = app.page
    app.chat.send("one")
    until(lambda: page.finished)
    first = app.chat.conversation_id
    app.chat.rename(first, "  My\n title ")
    until(lambda: page.rows[0].title == "My title")
    app.chat.set_pinned(first, True)
    until(lambda: page.rows[0].is_pinned)
    app.chat.delete_conversation(first)
    until(lambda: page.deleted)
    assert page.deleted[0].title == "My title"
    assert app.chat.conversation_id == 0
    until(lambda: page.rows == [])
    app.chat.undo_delete(first)
    until(lambda: page.texts == ["one", WHOLE])
    until(lambda: [row.id for row in page.rows] == [first])


def test_a_queued_message_waits_in_the_trash_while_another_conversation_is_answered(
    start_app, until, go
):
    go.touch()
    app = start_app("--behave", "waits", "--after", "1", "--go", str(go))
    page = app.page
    app.chat.send("one")
    until(lambda: len(page.finished) == 1)
    go.unlink()
    first = app.chat.conversation_id
    app.chat.new_conversation()
    app.chat.send("elsewhere")
    until(lambda: page.states[1:] == ["running"])
    app.chat.open_conversation(first)
    until(lambda: page.texts == ["one", WHOLE])
    app.chat.send("two")
    until(lambda: page.queued)
    app.chat.delete_conversation(first)
    go.touch()
    until(lambda: len(page.finished) == 2)
    until(lambda: not app.chat._running.is_beginning)
    assert app.chat.running_id == 0
    app.chat.undo_delete(first)
    until(lambda: len(page.finished) == 3)
    assert page.texts == ["one", WHOLE, "two", WHOLE]
    assert page.queued == []
    before, after = reopened(app, until)
    assert before == after


@pytest.mark.parametrize("loads", [False, True])
def test_a_conversation_deleted_while_it_is_answered_keeps_what_is_queued(
    start_app, until, go, loads
):
    behave = "load_waits" if loads else "waits"
    app = start_app("--behave", behave, "--after", "1", "--go", str(go), is_ready=not loads)
    page = app.page
    app.chat.send("one")
    until(lambda: page.states[1:] == ["waiting" if loads else "running"])
    app.chat.send("two")
    until(lambda: page.queued)
    app.chat.delete_conversation(app.chat.conversation_id)
    until(lambda: page.deleted and page.stopped)
    until(lambda: not app.chat._running.is_beginning)
    assert app.chat.running_id == 0
    go.touch()
    app.chat.undo_delete(page.deleted[0].id)
    until(lambda: page.finished)
    assert page.texts[0::2] == ["one", "two"]
    assert page.states == ["done", "stopped", "done", "done"]


def test_a_conversation_deleted_before_its_answer_began_has_a_stopped_one(start_app, until):
    app = start_app()
    page = app.page
    app.chat.send("one")
    until(lambda: page.finished)
    first = app.chat.conversation_id
    app.chat.draft_cleared.connect(lambda: app.store.write(set_trashed, first, 9.0).result())
    app.chat.send("two")
    until(lambda: page.num_cleared == 2 and not app.chat._running.is_beginning)
    app.chat.conversations.restore(first)
    until(lambda: page.texts == ["one", WHOLE, "two", ""])
    assert page.states[3] == "stopped"
    assert page.messages[3].can_continue


def test_search_answers_the_last_question_only(start_app, until):
    app = start_app("--reply", "冬天去三亚避寒")
    app.chat.send("去哪里？")
    until(lambda: app.page.finished)
    until(lambda: app.chat._running.ends.is_empty)
    app.chat.search("w")
    app.chat.search("避寒")
    until(lambda: app.page.hits)
    [(text, [hit])] = app.page.hits
    assert text == "避寒"
    assert [hit.snippet[start:end] for start, end in hit.highlights] == ["避寒"]
    app.chat.new_conversation()
    app.chat.open_message(hit.message_id)
    until(lambda: app.page.texts == ["去哪里？", "冬天去三亚避寒"])


def counted(app: App) -> int | None:
    """The last count that a page was told."""
    count = app.page.counts[-1] if app.page.counts else None
    return count and count.total


def test_the_draft_is_counted_with_the_conversation(start_app, until):
    app = start_app()
    app.chat.send("four")
    until(lambda: app.page.finished)
    app.chat.set_draft("12345")
    until(lambda: counted(app) == 4 + len(WHOLE) + 5)
    assert app.page.counts[-1].fits


def test_too_long_is_taken_back_as_soon_as_the_attachment_is_gone(start_app, until):
    app = start_app()
    app.chat.attach_text("x" * 100_000)
    until(lambda: app.page.counts and app.page.counts[-1] and not app.page.counts[-1].fits)
    app.chat.detach(0)
    assert app.page.counts[-1] is None


def test_the_context_is_counted_for_each_conversation_without_a_draft(start_app, until):
    app = start_app()
    app.chat.send("four")
    until(lambda: counted(app) == 4 + len(WHOLE))
    first = app.chat.conversation_id
    app.chat.new_conversation()
    assert counted(app) is None
    until(lambda: counted(app) == 0)
    app.chat.open_conversation(first)
    until(lambda: counted(app) == 4 + len(WHOLE))
    app.engine.unload()
    until(lambda: counted(app) is None)


# --- The engine's troubles ------------------------------------------------------------------------


BREAKS = ["dies", "exits", "hangs", "stray_print", "bad_frame", "closes"]


@pytest.mark.expects_log
@pytest.mark.parametrize("behave", BREAKS)
def test_when_the_engine_dies_the_same_answer_goes_on_by_itself(start_app, until, tmp_path, behave):
    requests = tmp_path / "requests"
    options = ("--behave", behave, "--once", str(tmp_path / "once"), "--requests", str(requests))
    app = start_app(*options, limits=QUICK if behave in ("hangs", "closes") else PATIENT)
    page = app.page
    app.chat.send("one")
    until(lambda: page.finished)
    assert page.texts == ["one", WHOLE]
    assert page.failures == []
    assert page.runs == [page.messages[1].id, page.messages[1].id, 0]  # it never ended in between
    [seam] = page.messages[1].seams
    assert (seam.offset, seam.kind) == (15, "break")
    assert "engine" in seam.reason
    assert requests.read_text().splitlines()[1] == repr((["user:one"], "w0 w1 w2 w3 w4 "))
    before, after = reopened(app, until)
    assert before == after


@pytest.mark.expects_log
@pytest.mark.parametrize("is_refused", [False, True])
def test_a_message_sent_as_the_engine_dies_waits_for_the_answer_that_goes_on(
    start_app, until, tmp_path, monkeypatch, is_refused
):
    app = start_app("--behave", "dies", "--once", str(tmp_path / "died"))
    page, running = app.page, app.chat._running
    on_ended, queue_message = RunningAnswer._on_ended, stored.queue_message

    def send_and_end(self, outcome):
        if outcome.is_death:
            app.chat.send("two")
            assert running.is_beginning
        on_ended(self, outcome)

    def refuse_once(*_arguments, **_named):
        monkeypatch.setattr(stored, "queue_message", queue_message)
        raise StorageError("full", "no space")

    monkeypatch.setattr(RunningAnswer, "_on_ended", send_and_end)
    if is_refused:
        monkeypatch.setattr(stored, "queue_message", refuse_once)
    app.chat.send("one")
    until(lambda: len(page.finished) == (1 if is_refused else 2))
    assert page.texts == ["one", WHOLE] if is_refused else ["one", WHOLE, "two", WHOLE]
    assert set(page.states) == {"done"}
    assert len(page.messages[1].seams) == 1
    assert page.drafts == (["two"] if is_refused else [])
    until(lambda: running.ends.is_empty)
    before, after = reopened(app, until)
    assert before == after


@pytest.mark.expects_log
def test_an_answer_that_the_disk_keeps_from_going_on_has_ended(
    start_app, until, tmp_path, monkeypatch
):
    app = start_app("--behave", "dies", "--once", str(tmp_path / "died"))
    page = app.page
    resume_answer = stored.resume_answer

    def refuse_once(*_arguments):
        monkeypatch.setattr(stored, "resume_answer", resume_answer)
        raise StorageError("full", "no space")

    monkeypatch.setattr(stored, "resume_answer", refuse_once)
    app.chat.send("one")
    until(lambda: page.failures)
    assert page.runs == [page.messages[1].id, 0]
    assert page.messages[1].state == "interrupted"
    assert page.messages[1].can_continue
    until(lambda: app.engine.view.state == "ready")
    app.chat.continue_answer(page.messages[1].id)
    until(lambda: page.finished)
    assert page.texts == ["one", WHOLE]
    assert page.runs[2:] == [page.messages[1].id, 0]


@pytest.mark.expects_log
def test_a_second_death_in_a_row_leaves_it_to_the_person(start_app, until, tmp_path):
    deaths = tmp_path / "deaths"
    app = start_app("--behave", "dies", "--once", str(deaths), "--times", "2")
    page = app.page
    app.chat.send("one")
    until(lambda: page.failures)
    so_far = "w0 w1 w2 w3 w4 " + "w5 w6 w7 w8 w9 "
    assert page.texts == ["one", so_far]
    assert page.messages[1].state == "interrupted"
    assert page.messages[1].failure == page.failures[0][1]
    assert len(page.messages[1].seams) == 1
    until(lambda: app.engine.view.state == "fault")
    assert app.engine.view.action == "restart"
    assert app.engine.view.reason == page.failures[0][1]
    app.engine.mend()
    until(lambda: page.finished)
    assert page.texts == ["one", WHOLE]
    assert [seam.offset for seam in page.messages[1].seams] == [15, len(so_far)]
    assert page.messages[1].seams[1].reason == page.failures[0][1]
    before, after = reopened(app, until)
    assert before == after


@pytest.mark.expects_log
def test_a_death_in_the_next_answer_is_the_first_again(start_app, until, tmp_path):
    app = start_app("--behave", "dies", "--once", str(tmp_path / "died"))
    page = app.page
    app.chat.send("one")
    until(lambda: len(page.finished) == 1)
    (tmp_path / "died").unlink()
    app.client.stop()
    until(lambda: app.engine.view.state == "stopped")
    app.chat.send("two")  # starts an engine that dies once more
    until(lambda: len(page.finished) == 2)
    assert page.texts == ["one", WHOLE, "two", WHOLE]
    assert len(page.messages[3].seams) == 1


@pytest.mark.expects_log
def test_an_engine_that_died_too_often_is_not_started_again_for_an_answer(
    start_app, until, monkeypatch
):
    app = start_app("--behave", "dies")
    monkeypatch.setattr(app.engine._restart_limit, "num_restarts", 3)
    app.chat.send("one")
    until(lambda: app.page.failures)
    assert app.page.states[1] == "interrupted"
    assert app.engine.view.action == "restart"


@pytest.mark.expects_log
def test_killed_mid_answer_the_text_stays_and_goes_on(start_app, until):
    app = start_app("--behave", "pauses")
    app.chat.send("one")
    until(lambda: app.page.texts[1:] == ["w0 w1 w2 w3 w4 "])
    os.kill(app.client.process_id, signal.SIGKILL)
    until(lambda: "w9" in app.page.texts[1])
    [seam] = app.page.messages[1].seams
    assert (seam.offset, "killed" in seam.reason) == (15, True)


@pytest.mark.expects_log
def test_an_engine_that_dies_while_a_message_waits_for_it_is_started_again(start_app, until, go):
    app = start_app("--behave", "load_waits", "--go", str(go), is_ready=False)
    until(lambda: app.engine.view.state == "loading")
    app.chat.send("one")
    until(lambda: app.page.states == ["done", "waiting"])
    os.kill(app.client.process_id, signal.SIGKILL)
    go.touch()
    until(lambda: app.page.finished)
    assert app.page.texts == ["one", WHOLE]
    assert app.page.messages[1].seams == ()  # nothing was written yet


@pytest.mark.expects_log
def test_an_engine_that_dies_instead_of_stopping_does_not_go_on(start_app, until):
    options = ("--behave", "ignores_cancel", "--gap", "0.1", "--tokens", "200")
    app = start_app(*options, limits=QUICK)
    app.chat.send("one")
    until(lambda: app.page.states[1:] == ["running"])
    app.chat.stop()
    until(lambda: app.page.failures)
    assert app.page.states[1] == "interrupted"


@pytest.mark.expects_log
def test_an_idle_engine_that_dies_is_started_again_by_itself(start_app, until, tmp_path):
    app = start_app("--behave", "dies_idle", "--once", str(tmp_path / "died"), is_ready=False)
    until(lambda: app.page.notices)
    assert "started again" in app.page.notices[0]
    until(lambda: app.engine.view.state == "ready")
    app.chat.send("one")
    until(lambda: app.page.finished)


@pytest.mark.expects_log
def test_an_engine_that_keeps_dying_is_left_alone(start_app, until):
    app = start_app("--behave", "dies_idle", is_ready=False)
    until(lambda: app.engine.view.state == "fault" and len(app.page.notices) == 3)
    assert app.engine.view.action == "restart"
    assert "4 times" in app.engine.view.reason


@pytest.mark.expects_log
def test_a_message_to_an_engine_at_fault_is_kept_and_answered_after_mending(
    start_app, until, tmp_path
):
    app = start_app("--behave", "dies", "--once", str(tmp_path / "died"), "--times", "2")
    page = app.page
    app.chat.send("one")
    until(lambda: page.failures)
    so_far = page.texts[1]
    app.chat.send("two")
    until(lambda: len(page.failures) == 2)
    assert page.states == ["done", "interrupted", "done", "interrupted"]
    app.engine.mend()
    until(lambda: page.finished)
    assert page.texts == ["one", so_far, "two", WHOLE]


def test_a_message_sent_before_the_engine_is_ready_waits_for_it(start_app, until, go):
    app = start_app("--behave", "load_waits", "--go", str(go), is_ready=False)
    app.chat.send("one")
    until(lambda: app.page.states == ["done", "waiting"])
    go.touch()
    until(lambda: app.page.finished)
    states = [view.state for view in app.page.engine_views]
    assert states[0] == "starting"
    assert "loading" in states
    assert app.page.texts == ["one", WHOLE]


def test_stop_while_waiting_for_the_engine(start_app, until):
    app = start_app("--behave", "no_hello", is_ready=False)
    app.chat.send("one")
    until(lambda: app.page.states == ["done", "waiting"])
    app.chat.stop()
    assert app.page.states == ["done", "stopped"]


def test_stopping_the_load_stops_the_answer_that_waits_for_it(start_app, until, qtbot, go):
    app = start_app("--behave", "load_waits", "--go", str(go), is_ready=False)
    page = app.page
    until(lambda: app.engine.view.state == "loading")
    app.chat.send("one")
    until(lambda: page.states == ["done", "waiting"])
    app.chat.send("two")
    until(lambda: page.queued)
    app.engine.stop_loading()
    until(lambda: page.stopped)
    qtbot.wait(50)
    assert app.engine.view.state == "empty"
    assert page.states == ["done", "stopped"]
    assert [m.text for m in page.queued] == ["two"]
    go.touch()
    app.chat.send("three")  # loads again
    until(lambda: len(page.finished) == 2)
    assert page.texts == ["one", "", "two", WHOLE, "three", WHOLE]


@pytest.mark.expects_log
def test_a_model_that_cannot_be_loaded_is_a_fault_that_names_it(start_app, until):
    app = start_app("--behave", "load_fails", is_ready=False)
    until(lambda: app.engine.view.state == "fault")
    assert "truncated: 10 bytes, 5000 expected" in app.engine.view.reason
    assert app.engine.view.action == "models"
    app.chat.send("one")
    until(lambda: app.page.failures)
    assert app.page.states == ["done", "interrupted"]


def test_a_message_that_found_no_model_is_answered_by_the_first_that_arrives(start_app, until):
    app = start_app("--empty-lists", "1", is_ready=False)
    until(lambda: app.engine.view.action == "models")
    app.chat.send("one")
    until(lambda: app.page.failures)
    app.engine.refresh_models()
    until(lambda: app.page.finished)
    assert app.page.texts == ["one", WHOLE]
    assert [v.state for v in app.page.engine_views].count("empty") == 1


def test_the_examples_of_the_loaded_model_are_shown(start_app, until):
    app = start_app()
    assert [example.text for example in app.engine.examples] == ["你好", "What can you do?"]
    app.engine.load("second")
    until(lambda: app.engine.view.state == "ready")
    assert app.engine.view.model is not None
    assert app.engine.view.model.id == "second"
    assert app.engine.examples == []


def test_unload_frees_and_the_next_message_loads_again(start_app, until):
    app = start_app()
    app.engine.unload()
    until(lambda: app.engine.view.state == "empty")
    app.chat.send("one")
    until(lambda: app.page.finished)


# --- The database's troubles ----------------------------------------------------------------------


def limit_pages(app: App, extra: int) -> None:
    """Makes the database as full as a full disk does."""

    def limit(connection):
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + extra}").fetchone()

    app.store.write(limit).result()


def test_a_full_disk_keeps_the_draft_and_says_so(start_app, until):
    app = start_app()
    page = app.page
    app.chat.send("one")
    until(lambda: page.finished)
    until(lambda: app.chat._running.ends.is_empty)
    limit_pages(app, 0)
    text = "x" * 50_000
    app.chat.set_draft(text)
    app.chat.send(text)
    until(lambda: page.notices)
    assert "full" in page.notices[0]
    assert page.num_cleared == 1
    assert page.texts == ["one", WHOLE]
    app.chat.new_conversation()
    app.chat.open_conversation(page.rows[0].id)
    until(lambda: page.conversation is not None and page.conversation.draft == text)
    limit_pages(app, 100_000)
    app.chat.send(text)
    until(lambda: len(page.finished) == 2)
    assert page.num_cleared == 2


@pytest.mark.expects_log
def test_a_fault_of_our_own_is_told_and_what_comes_after_it_is_sent(start_app, until):
    app = start_app()
    app.chat.send("half a pair: \ud83d")  # nothing that the database takes
    until(lambda: app.page.notices)
    assert "A fault in Bilin" in app.page.notices[0]
    app.chat.send("one")
    until(lambda: app.page.finished)
    assert app.page.texts == ["one", WHOLE]


def test_an_edit_on_a_full_disk_is_kept_with_the_draft(start_app, until):
    app = start_app()
    page = app.page
    app.chat.send("one")
    until(lambda: page.finished)
    until(lambda: app.chat._running.ends.is_empty)
    app.chat.set_draft("half a thought")
    limit_pages(app, 0)
    text = "x" * 50_000
    app.chat.edit_message(page.messages[0].id, text)
    app.chat.write_answer(page.messages[1].id, text, goes_on=True)
    until(lambda: len(page.notices) == 2)
    assert page.drafts[-1] == f"{text}\nhalf a thought"
    limit_pages(app, 100_000)
    app.chat.edit_message(page.messages[0].id, text)
    until(lambda: len(page.finished) == 2)


def test_an_answer_on_a_full_disk_stays_on_show_and_is_saved_when_there_is_room(
    start_app, until, go
):
    waits = ("--behave", "waits", "--after", "100", "--go", str(go))
    app = start_app("--tokens", "6000", "--gap", "0.0001", *waits)
    page = app.page
    app.chat._running.ends._timer.setInterval(50)
    app.chat.send("one")
    until(lambda: page.states[1:] == ["running"])
    limit_pages(app, 0)
    go.touch()
    until(lambda: page.finished, 40_000)
    until(lambda: page.notices)
    assert len(page.notices) == 1
    whole = "".join(f"w{i} " for i in range(6000))
    assert page.texts[1] == whole
    app.chat.open_conversation(app.chat.conversation_id)
    until(lambda: page.texts[1] == whole and page.states[1] == "done")
    assert not app.chat._running.ends.is_empty
    limit_pages(app, 100_000)
    until(lambda: app.chat._running.ends.is_empty)
    before, after = reopened(app, until)
    assert before == after


@pytest.mark.expects_log
def test_a_damaged_database_is_told_and_the_app_goes_on(start_app, until, tmp_path):
    (tmp_path / "bilin.db").write_bytes(b"garbage" * 1000)
    app = start_app()
    assert "damaged" in app.page.notices[0]
    [kept] = tmp_path.glob("bilin.damaged-*.db")
    assert str(kept) in app.page.notices[0]
    app.chat.send("one")
    until(lambda: app.page.finished)


@pytest.mark.expects_log
def test_without_a_usable_folder_the_app_goes_on_in_memory(until, tmp_path):
    (tmp_path / "file").write_text("in the way")
    app = App(tmp_path / "file")
    try:
        app.start()
        until(lambda: app.page.notices)
        assert "lasts only until Bilin is closed" in app.page.notices[0]
        app.chat.send("one")
        until(lambda: app.page.finished)
        before, after = reopened(app, until)
        assert before == after
    finally:
        app.close()


def test_closing_mid_answer_keeps_it_and_says_why(start_app, until):
    app = start_app("--behave", "pauses")
    app.chat.send("one")
    until(lambda: app.page.texts[1:] == ["w0 w1 w2 w3 w4 "])
    conversation_id = app.chat.conversation_id
    app.close()
    again = start_app()
    again.chat.open_conversation(conversation_id)
    until(lambda: again.page.texts == ["one", "w0 w1 w2 w3 w4 "])
    answer = again.page.messages[1]
    assert answer.state == "interrupted"
    assert "closed" in answer.failure
    again.chat.continue_answer(answer.id)
    until(lambda: again.page.finished)
    assert again.page.texts[1] == WHOLE


def test_a_thought_is_kept_with_its_answer_and_is_not_sent_again(start_app, until, tmp_path):
    requests = tmp_path / "requests"
    app = start_app("--thinking", "first this", "--requests", str(requests))
    app.chat.send("one")
    until(lambda: app.page.finished)
    assert app.page.texts[1] == f"<think>\nfirst this \n</think>\n\n{WHOLE}"
    app.chat.send("two")
    until(lambda: len(app.page.finished) == 2)
    assert "think" not in requests.read_text()
    before, after = reopened(app, until)
    assert before == after


def test_an_answer_that_goes_on_from_a_thought_ends_it(start_app, until):
    app = start_app("--reply", "<think>\naHi")
    app.chat.send("one", "<think>\na")
    until(lambda: app.page.finished)
    assert app.page.texts[1] == "<think>\na\n</think>\n\nHi"
    before, after = reopened(app, until)
    assert before == after


def test_a_conversation_without_thoughts_asks_for_none(start_app, until):
    """In its answers, in what is counted, and in what the model is said to have seen."""
    app = start_app("--thinking", "first this")
    app.chat.set_draft("one")
    until(lambda: app.page.counts and app.page.counts[-1] is not None)
    assert app.page.counts[-1].total == len("one")
    app.chat.set_sampling(Sampling(thinks=False))
    until(lambda: app.page.counts[-1].total > len("one"))
    app.chat.send("one")
    until(lambda: app.page.finished)
    assert app.page.texts == ["one", WHOLE]
    seen = []
    app.chat.prompt_inspected.connect(seen.append)
    app.chat.inspect_prompt(app.page.messages[1].id)
    until(lambda: seen)
    assert seen[0].tokens[-1].text == "<think></think>"


@pytest.mark.parametrize("name", ["kept.json", "read.md"])
def test_a_conversation_goes_to_a_file_and_comes_back(start_app, until, tmp_path, name):
    app = start_app()
    app.chat.send("needle 针")
    until(lambda: app.page.finished)
    app.chat.export_conversation(app.chat.conversation_id, tmp_path / name)
    until(lambda: app.page.notices)
    assert str(tmp_path / name) in app.page.notices[0]
    first = app.chat.conversation_id
    app.chat.import_file(tmp_path / name)
    until(lambda: len(app.page.notices) == 2)
    if name.endswith(".md"):
        assert "read.md could not be imported: this is no JSON" in app.page.notices[1]
        return
    until(lambda: app.chat.conversation_id not in (0, first))
    until(lambda: len(app.page.texts) == 2)  # the answer comes after its question
    assert app.page.texts == ["needle 针", WHOLE]
    app.chat.search("针")
    until(lambda: app.page.hits)
    assert {hit.id for hit in app.page.hits[-1][1]} == {first, first + 1}


def test_chatgpt_s_export_is_imported_as_it_comes(start_app, until, tmp_path):
    app = start_app(is_ready=False)
    node = {"message": {"author": {"role": "user"}, "content": {"parts": ["from there"]}}}
    entry = {"title": "t", "current_node": "a", "mapping": {"a": node}}
    with zipfile.ZipFile(tmp_path / "export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("conversations.json", json.dumps([entry]))
        archive.writestr("chat.html", "<p>")
    app.chat.import_file(tmp_path / "export.zip")
    until(lambda: app.page.texts == ["from there"])
    (tmp_path / "cut.zip").write_bytes((tmp_path / "export.zip").read_bytes()[:60])
    app.chat.import_file(tmp_path / "cut.zip")
    until(lambda: len(app.page.notices) == 2)
    assert "cut.zip could not be imported: the zip cannot be read: " in app.page.notices[1]


def test_a_conversation_that_is_gone_is_not_said_to_be_exported(start_app, until, tmp_path):
    app = start_app()
    app.chat.export_conversation(77, tmp_path / "kept.json")
    until(lambda: app.page.notices)
    assert app.page.notices[0].endswith("could not be written: the conversation was deleted")
    assert not (tmp_path / "kept.json").exists()


def test_an_export_has_the_answer_as_far_as_it_is_written(start_app, until, tmp_path):
    app = start_app("--behave", "pauses")
    app.chat.send("one")
    until(lambda: app.page.num_appends)
    app.chat.export_conversation(app.chat.conversation_id, tmp_path / "kept.json")
    until(lambda: app.page.notices)
    assert app.page.finished == []
    [kept] = read_conversations((tmp_path / "kept.json").read_text())
    assert [m.role for m in kept.messages] == ["user", "assistant"]
    assert kept.messages[1].text
    assert WHOLE.startswith(kept.messages[1].text)


def test_an_export_that_fails_leaves_the_file_that_is_there(
    start_app, until, tmp_path, monkeypatch
):
    app = start_app()
    app.chat.send("one")
    until(lambda: app.page.finished)
    path = tmp_path / "read.md"
    path.write_text("from before")

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        app.chat.export_conversation(app.chat.conversation_id, path)
        until(lambda: app.page.notices)
    assert app.page.notices[0].endswith("could not be written: the disk is full")
    assert path.read_text() == "from before"
    assert not list(tmp_path.glob(".bilin-*"))


def test_a_disk_that_takes_no_export_holds_up_no_conversation(
    start_app, until, tmp_path, monkeypatch
):
    app = start_app()
    app.chat.send("one")
    until(lambda: app.page.finished)
    answers = threading.Event()
    monkeypatch.setattr(exchange, "write_whole", lambda *_: answers.wait(60))
    try:
        app.chat.export_conversation(app.chat.conversation_id, tmp_path / "read.md")
        reopened(app, until)
        app.chat.send("two")
        until(lambda: len(app.page.finished) == 2)
        app.close()
    finally:
        answers.set()


def test_another_version_of_an_answer_to_nothing_begins_the_conversation(
    start_app, until, tmp_path
):
    app = start_app()
    page = app.page
    turns = (FileMessage("assistant", "hello"), FileMessage("user", "hi"))
    path = tmp_path / "kept.json"
    path.write_text(to_json(FileConversation("t", turns)), encoding="utf-8")
    app.chat.import_file(path)
    until(lambda: page.texts == ["hello", "hi"])
    assert [m.is_opening for m in page.messages] == [True, False]  # nothing to answer again
    app.chat.write_answer(page.messages[0].id, "good day", goes_on=False)
    until(lambda: page.texts == ["good day"])
    assert (page.messages[0].version, page.messages[0].num_versions) == (2, 2)
    app.chat.show_version(page.messages[0].id, -1)
    until(lambda: page.texts == ["hello", "hi"])


# --- Deleting, beginning an answer, attachments, presets, models ----------------------------------


def test_a_message_is_deleted_with_all_below_it_and_comes_back(start_app, until):
    app = start_app()
    page = app.page
    for number, text in enumerate(("one", "two"), 1):
        app.chat.send(text)
        until(lambda number=number: len(page.finished) == number)
    whole = list(page.texts)
    app.chat.delete_message(page.messages[2].id)
    until(lambda: page.deleted_messages)
    until(lambda: page.texts == whole[:2])
    assert page.deleted_messages[0].count == 2
    app.chat.restore_messages(page.deleted_messages[0].id)
    until(lambda: page.texts == whole)
    before, after = reopened(app, until)
    assert before == after


def test_what_is_sent_while_a_message_is_being_deleted_takes_its_place(start_app, until):
    app = start_app()
    page = app.page
    app.chat.send("one")
    until(lambda: page.finished)
    disk = threading.Event()
    app.store.write(lambda _connection: disk.wait(60))
    app.chat.delete_message(page.messages[0].id)
    app.chat.send("two")
    disk.set()
    until(lambda: len(page.finished) == 2)
    assert page.texts == ["two", WHOLE]
    before, after = reopened(app, until)
    assert before == after


def test_a_question_without_its_answer_can_be_answered_again(start_app, until):
    app = start_app()
    page = app.page
    app.chat.send("one")
    until(lambda: page.finished)
    app.chat.delete_message(page.messages[1].id)
    until(lambda: page.texts == ["one"])
    assert page.messages[0].is_unanswered
    app.chat.regenerate(page.messages[0].id)
    until(lambda: len(page.finished) == 2)
    assert page.texts == ["one", WHOLE]
    assert not page.messages[0].is_unanswered


def test_deleting_above_the_running_answer_stops_it_first(start_app, until):
    app = start_app("--behave", "pauses")
    page = app.page
    app.chat.send("one")
    until(lambda: page.states[1:] == ["running"])
    app.chat.delete_message(page.messages[0].id)
    until(lambda: page.deleted_messages)
    assert page.stopped == [page.deleted_messages[0].id + 1]
    until(lambda: page.texts == [])


def test_an_answer_goes_on_from_the_persons_first_words(start_app, until, tmp_path):
    requests = tmp_path / "requests"
    app = start_app("--requests", str(requests))
    page = app.page
    app.chat.send("one", "w0 w1 ")
    until(lambda: page.finished)
    assert requests.read_text() == repr((["user:one"], "w0 w1")) + "\n"
    assert page.texts == ["one", WHOLE]
    [seam] = page.messages[1].seams
    assert (seam.offset, seam.kind) == (5, "begun")
    before, after = reopened(app, until)
    assert before == after


def test_an_edited_answer_is_kept_as_a_version_and_the_model_can_go_on_from_it(
    start_app, until, tmp_path
):
    requests = tmp_path / "requests"
    app = start_app("--requests", str(requests))
    page = app.page
    app.chat.send("one")
    until(lambda: page.finished)
    app.chat.write_answer(page.messages[1].id, "mine", goes_on=False)
    until(lambda: page.texts == ["one", "mine"])
    assert (page.messages[1].version, page.messages[1].state) == (2, "done")
    app.chat.write_answer(page.messages[1].id, "w0 w1 w2\n", goes_on=True)
    until(lambda: len(page.finished) == 2)
    assert page.texts == ["one", WHOLE]
    assert page.messages[1].version == 3
    assert requests.read_text().splitlines()[-1] == repr((["user:one"], "w0 w1 w2"))


def test_what_the_model_saw_holds_the_persons_first_words(start_app, until):
    app = start_app()
    page = app.page
    app.chat.send("one", "w0 w1 ")
    until(lambda: page.finished)
    seen = []
    app.chat.prompt_inspected.connect(seen.append)
    app.chat.inspect_prompt(page.messages[1].id)
    until(lambda: seen)
    assert [token.text for token in seen[0].tokens][-2:] == ["one", "w0 w1"]


def test_the_time_is_told_once_it_was_measured(start_app, until):
    app = start_app("--tokens", "40", "--gap", "0.01")
    page = app.page
    app.chat.send("one")
    until(lambda: page.finished)
    assert all(p.first_token_s is None and p.rest_s is None for _, p in page.progress)
    page.progress.clear()
    app.chat.send("two")
    until(lambda: len(page.finished) == 2)
    message_id, first = page.progress[0]
    assert message_id == page.messages[3].id
    assert first.first_token_s is not None
    assert first.first_token_s <= 0.01 + 0.01
    assert first.rest_s is not None
    assert first.rest_s > first.first_token_s


def test_attachments_go_with_the_message_and_come_before_its_words(start_app, until, tmp_path):
    requests = tmp_path / "requests"
    app = start_app("--requests", str(requests))
    page = app.page
    path = tmp_path / "a.py"
    path.write_text("x = 1\n", encoding="utf-8")
    app.chat.attach_files([path])
    app.chat.send("what is x?")  # at once: it waits until the file is read
    until(lambda: page.finished)
    assert page.attachments == []
    [attached] = page.messages[0].attachments
    assert (attached.name, attached.text) == ("a.py", "x = 1\n")
    assert page.texts[0] == "what is x?"
    prompt = "user:a.py\n```python\nx = 1\n```\n\nwhat is x?"
    assert requests.read_text() == repr(([prompt], "")) + "\n"
    before, after = reopened(app, until)
    assert before == after
    app.chat.edit_message(page.messages[0].id, "and y?")
    until(lambda: len(page.finished) == 2)
    assert page.messages[0].attachments == (attached,)


def test_a_file_on_a_disk_that_does_not_answer_holds_up_its_message_only(
    start_app, until, tmp_path, monkeypatch
):
    app = start_app()
    page = app.page
    answers = threading.Event()
    read = attachments._read

    def read_or_hang(path):
        if path.name == "hangs.txt":
            answers.wait(60)
        return read(path)

    monkeypatch.setattr(attachments, "_read", read_or_hang)
    (tmp_path / "a.txt").write_text("the file")
    app.chat.send("one")
    until(lambda: page.finished)
    first = app.chat.conversation_id
    try:
        app.chat.new_conversation()
        app.chat.attach_files([tmp_path / "hangs.txt"])
        app.chat.set_draft("waits")
        app.chat.send("waits")
        app.chat.open_conversation(first)
        until(lambda: app.chat.conversation_id == first)
        app.chat.attach_files([tmp_path / "a.txt"])
        app.chat.send("two")
        until(lambda: len(page.finished) == 2)
        assert page.texts == ["one", WHOLE, "two", WHOLE]
        assert [a.text for a in page.messages[2].attachments] == ["the file"]
        app.close()
    finally:
        answers.set()
    again = start_app()
    assert again.page.conversation is not None
    assert again.page.conversation.draft == "waits"


@pytest.mark.parametrize("is_new", [False, True])
def test_a_message_waits_for_its_file_in_its_conversation(
    start_app, until, tmp_path, monkeypatch, is_new
):
    app = start_app()
    page = app.page
    app.chat.send("one")
    until(lambda: page.finished)
    first = app.chat.conversation_id
    app.chat.new_conversation()
    app.chat.send("elsewhere")
    until(lambda: len(page.finished) == 2)
    second = app.chat.conversation_id
    if is_new:
        app.chat.new_conversation()
    else:
        app.chat.open_conversation(first)
        until(lambda: app.chat.conversation_id == first)
    is_read = threading.Event()
    read = attachments._read
    monkeypatch.setattr(attachments, "_read", lambda path: is_read.wait() and read(path))
    (tmp_path / "a.txt").write_text("the file")
    app.chat.attach_files([tmp_path / "a.txt"])
    app.chat.set_draft("about the file")
    app.chat.send("about the file")
    app.chat.open_conversation(second)
    until(lambda: app.chat.conversation_id == second)
    is_read.set()
    until(lambda: len(page.finished) == 3)
    assert page.texts == ["elsewhere", WHOLE]
    app.chat.open_conversation(page.rows[0].id)
    until(lambda: page.texts[-2:] == ["about the file", WHOLE])
    assert app.chat.conversation_id == (second + 1 if is_new else first)
    assert [a.text for a in page.messages[-2].attachments] == ["the file"]
    assert page.conversation is not None
    assert page.conversation.draft == ""
    assert app.chat.attachments == ()


@pytest.mark.parametrize("stored_first", [False, True])
def test_what_is_typed_behind_a_message_is_sent_alone_whatever_waits_for_a_file(
    start_app, until, tmp_path, monkeypatch, stored_first
):
    app = start_app()
    page = app.page
    is_read = threading.Event()
    read = attachments._read
    monkeypatch.setattr(attachments, "_read", lambda path: is_read.wait(60) and read(path))
    (tmp_path / "a.txt").write_text("the file")
    try:
        if stored_first:
            type_and_send(app, "hello")
            app.chat.attach_files([tmp_path / "a.txt"])
            type_and_send(app, "hellothen", "hellothen", "hellothenlast")
            until(lambda: page.finished)
        else:
            app.chat.attach_files([tmp_path / "a.txt"])
            type_and_send(app, "hello", "hellothen", "hellothen", "hellothenlast")
    finally:
        is_read.set()
    until(lambda: len(page.finished) == 3)
    assert page.texts == ["hello", WHOLE, "then", WHOLE, "last", WHOLE]
    with_file = page.messages[2 if stored_first else 0]
    assert [a.text for a in with_file.attachments] == ["the file"]
    app.chat.new_conversation()
    app.chat.open_conversation(page.rows[0].id)
    until(lambda: page.messages)
    assert page.conversation is not None
    assert page.conversation.draft == ""


def test_an_attachment_is_counted_kept_with_the_draft_and_taken_away(start_app, until):
    app = start_app()
    app.chat.attach_text("some long text")
    until(lambda: app.page.attachments and app.page.attachments[0].num_tokens)
    assert app.page.attachments[0].num_tokens == len("pasted text 1\n```\nsome long text\n```")
    until(lambda: (counted(app) or 0) > 20)
    app.close()
    again = start_app()
    until(lambda: again.chat.attachments)
    assert [a.text for a in again.chat.attachments] == ["some long text"]
    again.chat.detach(0)
    assert again.chat.attachments == ()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x89PNG\x00\x00", "is not text"),
        (b" \n", "is empty"),
        (b"x" * (2 * 1024 * 1024 + 1), "2.0 MB; a file may have 2 MB"),
    ],
)
def test_what_cannot_be_attached_is_refused_with_a_sentence(
    start_app, until, tmp_path, content, why
):
    app = start_app(is_ready=False)
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    app.chat.attach_files([path, tmp_path / "gone"])
    until(lambda: len(app.page.notices) == 2)
    assert why in app.page.notices[0]
    assert "is not a file" in app.page.notices[1]
    assert app.chat.attachments == ()


def test_a_queued_message_keeps_its_attachments(start_app, until):
    app = start_app("--behave", "pauses")
    page = app.page
    app.chat.send("one")
    until(lambda: page.states[1:] == ["running"])
    app.chat.attach_text("a text")
    app.chat.send("two")
    until(lambda: page.queued)
    assert [a.text for a in page.queued[0].attachments] == ["a text"]
    app.chat.withdraw_queued(page.queued[0].id)
    until(lambda: page.drafts == ["two"])
    assert [a.text for a in app.chat.attachments] == ["a text"]


def test_presets_are_kept_renamed_deleted_and_used(start_app, until):
    app = start_app()
    presets = app.chat.presets
    presets.save(" Referee ", "Check figures.", Sampling(temperature=0.2))
    presets.save("Letters", "Be warm.", Sampling())
    presets.rename("Letters", "Referee")  # taken: nothing happens
    presets.rename("Letters", "Mail")
    assert [preset.name for preset in app.page.presets] == ["Mail", "Referee"]
    app.close()
    again = start_app()
    until(lambda: len(again.page.presets) == 2)
    again.chat.use_preset(again.page.presets[1])
    assert again.chat.sampling.temperature == 0.2
    again.chat.send("one")
    until(lambda: again.page.finished)
    assert again.store.read(system_prompts).result() == ["Check figures."]
    gone = []
    again.chat.presets.deleted.connect(gone.append)
    again.chat.presets.delete("Mail")
    assert [preset.name for preset in again.page.presets] == ["Referee"]
    assert gone[0].name == "Mail"


def test_a_seed_that_no_engine_takes_is_drawn_instead(start_app, until):
    app = start_app()
    app.chat.set_sampling(Sampling(temperature=0.2, seed=10**24))
    assert app.chat.sampling == Sampling(temperature=0.2)
    app.chat.send("one")
    until(lambda: app.page.finished)


def system_prompts(connection):
    return [row[0] for row in connection.execute("SELECT system_prompt FROM conversations")]


def test_a_conversation_is_answered_by_the_model_chosen_for_it(start_app, until):
    app = start_app()
    page = app.page
    app.chat.send("one")
    until(lambda: page.finished)
    app.chat.set_model("second")
    until(lambda: app.engine.model and app.engine.model.id == "second")
    app.engine.load("bilin-mini")  # another conversation wants another
    until(lambda: app.engine.model and app.engine.model.id == "bilin-mini")
    app.chat.send("two")
    until(lambda: len(page.finished) == 2)
    assert page.messages[3].facts is not None
    assert page.messages[3].facts.model.id == "second"
    reopened(app, until)
    assert page.conversation is not None
    assert page.conversation.model == "second"
    app.chat.new_conversation()
    assert app.chat.model == ""


def loading(app: App) -> set[str]:
    """The models that were on their way, as the page saw it."""
    views = app.page.engine_views
    return {view.model.id for view in views if view.state == "loading" and view.model}


@pytest.mark.parametrize("state", ["empty", "fault"])
def test_no_other_model_is_loaded_for_a_conversation_that_has_its_own(start_app, until, state):
    app = start_app()
    page = app.page
    app.chat.set_model("second")
    until(lambda: app.engine.model and app.engine.model.id == "second")
    app.engine.load("bilin-mini")
    until(lambda: app.engine.model and app.engine.model.id == "bilin-mini")
    app.client.status_changed.emit(EngineStatus(state=state, model="bilin-mini", reason="it died"))
    page.engine_views.clear()
    app.chat.send("one")
    until(lambda: page.finished)
    assert page.messages[1].facts is not None
    assert page.messages[1].facts.model.id == "second"
    assert loading(app) == {"second"}


@pytest.mark.expects_log
def test_a_conversations_own_model_that_cannot_be_loaded_is_tried_once(start_app, until):
    app = start_app("--behave", "load_fails", is_ready=False)
    page = app.page
    until(lambda: app.engine.view.state == "fault")
    page.engine_views.clear()
    app.chat._transcript.model = "second"  # chosen in an earlier run of the app
    app.chat.send("one")
    until(lambda: page.failures)
    assert [view.state for view in page.engine_views] == ["loading", "fault"]
    assert loading(app) == {"second"}


def test_a_model_chosen_while_an_answer_waits_writes_it(start_app, until, go):
    app = start_app("--behave", "load_waits", "--go", str(go), is_ready=False)
    page = app.page
    app.chat.set_model("bilin-mini")
    app.chat.send("one")
    until(lambda: page.states == ["done", "waiting"])
    app.chat.set_model("second")
    go.touch()
    until(lambda: page.finished)
    assert page.messages[1].facts is not None
    assert page.messages[1].facts.model.id == "second"
    assert app.engine.model is not None
    assert app.engine.model.id == "second"


def test_a_model_that_is_gone_leaves_the_answer_to_the_loaded_one(start_app, until):
    app = start_app()
    app.chat.set_model("gone")
    app.chat.send("one")
    until(lambda: app.page.finished)
    assert any("gone of this conversation" in notice for notice in app.page.notices)


@pytest.mark.usefixtures("qapp")
def test_news_of_the_conversation_before_are_not_shown_as_those_of_the_next():
    """It was left, and the next one is still being read: both have the same visit by then."""
    records = [
        ConversationRecord(number, f"t{number}", 1.0, 1.0, None, "", "", "", "", "")
        for number in (1, 2)
    ]
    first, second = (ShownConversation(record, (), ()) for record in records)
    shown = Transcript(lambda view: view)
    shown.open(first, shown.leave())
    visit = shown.leave()  # to the second
    late = shown.visit_of(1)
    shown.open(second, visit)
    shown.update(first, late)
    assert shown.conversation_id == 2
    shown.update(ShownConversation(replace(records[1], title="new"), (), ()), visit)
    assert shown.record is not None
    assert shown.record.title == "new"


def test_an_exchange_in_a_long_conversation_keeps_the_gui_thread_free(
    start_app, until, monkeypatch
):
    """Its messages were made anew twice there, and each once more: many frames."""
    app = start_app()
    page = app.page
    turns = tuple(FileMessage(role, "said") for role in ("user", "assistant") * 1500)
    made = app.store.write(stored.import_conversation, FileConversation("t", turns), 1.0)
    app.chat.open_conversation(made.result())
    until(lambda: len(page.messages) == 3000)
    replaced, viewed = [], []

    def counted_replace(view, **changes):
        if "can_continue" in changes:
            replaced.append(view)
        return replace(view, **changes)

    def counted_view(record, *, is_last):
        if threading.current_thread() is threading.main_thread():
            viewed.append(record)
        return message_view(record, is_last=is_last)

    message_view = message_views.message_view
    monkeypatch.setattr(transcript, "replace", counted_replace)
    monkeypatch.setattr(message_views, "message_view", counted_view)
    monkeypatch.setattr(prompt, "message_view", counted_view)
    app.chat.send("one more")
    until(lambda: len(page.messages) == 3002 and page.finished)
    assert (len(replaced), len(viewed)) == (0, 0)


def test_a_draft_is_saved_while_somebody_types_on(tmp_path, qtbot):
    store = Store(tmp_path / "bilin.db")
    store.open().result()
    drafts = Drafts(store)
    written = []
    drafts._timer.timeout.connect(lambda: written.append(drafts.get(0)))
    drafts._timer.setInterval(60)
    for number in range(12):
        drafts.set(0, "x" * number)
        qtbot.wait(20)
    assert len(written) >= 2
    store.close()


def test_the_second_of_two_answers_in_a_row_answers_the_question_again(start_app, until, tmp_path):
    requests = tmp_path / "requests"
    app = start_app("--requests", str(requests))
    page = app.page
    question, answer = FileMessage("user", "hi"), FileMessage("assistant", "hello")
    turns = (question, answer, FileMessage("assistant", "and how are you?"))
    path = tmp_path / "kept.json"
    path.write_text(to_json(FileConversation("t", turns)), encoding="utf-8")
    app.chat.import_file(path)
    until(lambda: len(page.messages) == 3)
    app.chat.write_answer(page.messages[2].id, "good day", goes_on=False)
    until(lambda: page.texts == ["hi", "hello", "good day"])  # one's own words stay in their place
    app.chat.regenerate(page.messages[2].id)
    until(lambda: page.finished)
    assert page.texts == ["hi", WHOLE]
    assert requests.read_text() == repr((["user:hi"], "")) + "\n"
    app.chat.show_version(page.messages[1].id, -1)
    until(lambda: page.texts == ["hi", "hello", "good day"])


def test_a_file_that_no_disk_gives_is_given_up_with_the_message_that_waits_for_it(
    start_app, until, tmp_path, monkeypatch
):
    app = start_app()
    page = app.page
    answers, late = threading.Event(), threading.Event()

    def read_at_last(_path):
        answers.wait(60)
        late.set()
        return attachments._Read("too late")

    monkeypatch.setattr(attachments, "_read", read_at_last)
    monkeypatch.setattr(attachments, "READ_LIMIT_MS", 200)
    try:
        app.chat.attach_files([tmp_path / "hangs.txt", tmp_path / "hangs too.txt"])
        app.chat.set_draft("waits")
        app.chat.send("waits")
        until(lambda: len(page.notices) == 2)
        assert page.notices == [
            f"{name} cannot be read: its disk does not answer"
            for name in ("hangs.txt", "hangs too.txt")
        ]
        app.chat.new_conversation()
        assert page.conversation is not None
        assert page.conversation.draft == "waits"
        app.chat.send("other")
        until(lambda: page.finished)
    finally:
        answers.set()
    assert late.wait(10)
    app.chat.send("another")
    until(lambda: len(page.finished) == 2)
    assert page.texts == ["other", WHOLE, "another", WHOLE]
    assert app.chat.attachments == ()
    assert len(page.notices) == 2


def test_files_are_attached_in_their_order_without_the_one_that_no_disk_gives(
    start_app, until, tmp_path, monkeypatch
):
    app = start_app(is_ready=False)
    answers = threading.Event()
    read = attachments._read

    def read_or_hang(path):
        if path.name == "hangs.txt":
            answers.wait(60)
        if path.name == "first.txt":
            time.sleep(0.1)
        return read(path)

    monkeypatch.setattr(attachments, "_read", read_or_hang)
    monkeypatch.setattr(attachments, "READ_LIMIT_MS", 500)
    files = [tmp_path / f"{name}.txt" for name in ("first", "second", "hangs", "behind")]
    for file in files:
        file.write_text(file.name)
    try:
        app.chat.attach_files(files)
        until(lambda: len(app.chat.attachments) == 2)
        assert app.page.notices == []
        until(lambda: len(app.chat.attachments) == 3)
    finally:
        answers.set()
    assert [a.text for a in app.chat.attachments] == ["first.txt", "second.txt", "behind.txt"]
    assert app.page.notices == ["hangs.txt cannot be read: its disk does not answer"]


def test_of_two_folders_the_first_is_handed_back(start_app, until, tmp_path):
    app = start_app(is_ready=False)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    given = []
    app.chat.folder_given.connect(given.append)
    app.chat.attach_files(folders)
    until(lambda: app.page.notices)
    assert given == [str(folders[0])]
    assert app.page.notices == ["two is not a file; attach text or code files."]


def test_files_that_come_one_by_one_are_waited_for(start_app, until, tmp_path, monkeypatch):
    app = start_app()

    def read_slowly(path):
        time.sleep(0.25 * "abcde".index(path.name))
        return attachments._Read(path.name)

    monkeypatch.setattr(attachments, "_read", read_slowly)
    monkeypatch.setattr(attachments, "READ_LIMIT_MS", 800)
    app.chat.attach_files([tmp_path / name for name in "abcde"])
    app.chat.send("hi")
    until(lambda: app.page.finished)
    assert [a.text for a in app.page.messages[0].attachments] == list("abcde")
    assert app.page.notices == []


@pytest.mark.expects_log
def test_tries_that_added_nothing_are_no_seams(start_app, until, tmp_path):
    app = start_app("--behave", "dies", "--once", str(tmp_path / "deaths"), "--times", "2")
    page = app.page
    app.chat.send("one")
    until(lambda: page.failures)
    until(lambda: app.engine.view.state == "fault")
    reason = page.failures[0][1]
    for tries in (2, 3):
        app.chat.continue_answer(page.messages[1].id)
        until(lambda tries=tries: len(page.failures) == tries)
    app.engine.mend()
    until(lambda: page.finished)
    assert page.texts == ["one", WHOLE]
    assert [seam.offset for seam in page.messages[1].seams] == [15, 30]
    assert page.messages[1].seams[1].reason == reason


def test_an_import_that_the_disk_refuses_half_way_shows_and_tells_what_it_took(
    start_app, until, tmp_path, monkeypatch
):
    app = start_app()
    page = app.page
    node = {"message": {"author": {"role": "user"}, "content": {"parts": ["hi"]}}}
    exported = [
        {"title": f"t{number}", "current_node": "a", "mapping": {"a": node}} for number in range(4)
    ]
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps(exported))
    import_conversation = stored.import_conversation

    def refuse_the_third(connection, conversation, now):
        if conversation.title == "t2":
            raise StorageError("full", "no space")
        return import_conversation(connection, conversation, now)

    monkeypatch.setattr(stored, "import_conversation", refuse_the_third)
    app.chat.import_file(path)
    until(lambda: len(page.rows) == 2)
    until(lambda: page.texts == ["hi"])
    assert sorted(row.title for row in page.rows) == ["t0", "t1"]
    assert [row.title for row in page.rows if row.id == app.chat.conversation_id] == ["t0"]
    assert len(page.notices) == 1
    assert "The disk is full" in page.notices[0]
    assert page.notices[0].endswith("\nConversations imported: 2")


def test_what_was_read_before_an_answer_was_written_shows_its_end(start_app, until, monkeypatch):
    app = start_app("--gap", "0.02")
    page, running = app.page, app.chat._running
    app.chat.send("one")
    until(lambda: page.states[1:] == ["running"])
    answered = app.chat.conversation_id
    app.chat.new_conversation()
    load_conversation = stored.load_conversation
    is_read, goes_on = threading.Event(), threading.Event()

    def read_and_wait(connection, conversation_id):
        content = load_conversation(connection, conversation_id)
        is_read.set()
        goes_on.wait(60)
        return content

    monkeypatch.setattr(stored, "load_conversation", read_and_wait)
    app.chat.open_conversation(answered)
    try:
        assert is_read.wait(10)
        monkeypatch.setattr(stored, "load_conversation", load_conversation)
        until(lambda: not running.is_running and running.ends.is_empty)
    finally:
        goes_on.set()
    until(lambda: page.messages)
    assert (page.texts, page.states) == (["one", WHOLE], ["done", "done"])
    until(lambda: not running.ends._written)
    before, after = reopened(app, until)
    assert before == after
