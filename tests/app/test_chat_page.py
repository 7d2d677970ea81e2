"""The page and its controllers together: what a person does with the widgets has its effect."""

import errno
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec import structs
from PySide6.QtCore import QEvent, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from bilin_app.application import Application
from bilin_app.controllers.list_views import DeletedItem, ListRow, SearchHit
from bilin_app.engine_client.process import EngineCommand
from bilin_app.pages.chat import conversation_list
from bilin_app.pages.chat.conversation_list import ConversationList
from bilin_app.pages.chat.page import ChatPage
from bilin_app.pages.chat.prompt_dialog import PromptDialog
from bilin_app.paths import app_paths
from bilin_app.theme.theme import Look, start_theme
from bilin_engine.protocol import Sampling

SCRIPT = str(Path(__file__).parents[1] / "helpers" / "scripted_engine.py")

pytestmark = pytest.mark.gui


@pytest.fixture
def start(qapp, qtbot, tmp_path):
    assert isinstance(qapp, QApplication)
    started = []

    def start(*words: str) -> Application:
        command = EngineCommand(sys.executable, ("-P", SCRIPT, *words))
        started.append(Application(qapp, app_paths(tmp_path), command))
        started[0].show()
        qtbot.waitUntil(lambda: started[0].engine.view.state == "ready", timeout=20_000)
        return started[0]

    yield start
    started[0].close()
    started[0].deleteLater()


@pytest.fixture
def application(start):
    return start()


def ask(application, qtbot, text):
    """Types a message, sends it with Enter and waits for the answer's end."""
    with qtbot.waitSignal(application.chat.answer_finished, timeout=20_000):
        edit = application.window.chat.composer.edit
        QTest.keyClicks(edit, text)
        QTest.keyClick(edit, Qt.Key.Key_Return)


def action(menu, text):
    """The menu's entry that begins like this."""
    [found] = [one for one in menu.actions() if one.text().startswith(text)]
    return found


def texts(application):
    return [
        (widget.view.role, widget.body.content.text)
        for widget in application.window.chat.transcript.widgets_in_order()
    ]


def test_what_is_typed_before_anything_stands_behind_the_field_is_a_draft(qapp, qtbot, tmp_path):
    command = EngineCommand(sys.executable, ("-P", SCRIPT))
    application = Application(qapp, app_paths(tmp_path), command)
    composer = application.window.chat.composer
    QTest.keyClicks(composer.edit, "he")
    with qtbot.waitSignal(application.chat.conversation_opened, timeout=20_000):
        application.show()
    assert composer.text == "he"
    application.close()
    application.deleteLater()


def test_after_an_example_one_goes_on_typing(application, qtbot):
    view = application.window.chat
    with qtbot.waitSignal(application.chat.answer_finished, timeout=20_000):
        view.empty.example_chosen.emit("hello")
        assert view.composer.edit.hasFocus()
    assert texts(application)[0] == ("user", "hello")


def test_a_typed_message_is_answered_and_the_field_is_empty(application, qtbot):
    ask(application, qtbot, "hello")
    (first, second) = texts(application)
    assert first == ("user", "hello")
    assert second[0] == "assistant"
    assert second[1]
    assert application.window.chat.composer.text == ""
    assert application.window.windowTitle().startswith("hello")


def test_what_is_typed_while_a_message_is_stored_stays_in_the_field(application, qtbot):
    composer = application.window.chat.composer
    QTest.keyClicks(composer.edit, "hello")
    with qtbot.waitSignal(application.chat.answer_finished, timeout=20_000):
        QTest.keyClick(composer.edit, Qt.Key.Key_Return)
        QTest.keyClicks(composer.edit, " and")
    assert composer.text == "and"
    QTest.keyClicks(composer.edit, " more")
    application.window.chat.list.new_requested.emit()
    assert composer.text == ""


def test_what_is_typed_and_sent_before_the_first_message_is_stored_is_sent_alone(
    application, qtbot
):
    composer = application.window.chat.composer
    is_free = threading.Event()
    application.chat._store.write(lambda _connection: is_free.wait(60))
    finished = []
    application.chat.answer_finished.connect(lambda *facts: finished.append(facts))
    for word in ("hello", "then", "last"):
        QTest.keyClicks(composer.edit, word)
        QTest.keyClick(composer.edit, Qt.Key.Key_Return)
    assert composer.text == "hellothenlast"  # until it is stored
    is_free.set()
    qtbot.waitUntil(lambda: len(finished) == 3, timeout=20_000)
    assert [text for role, text in texts(application) if role == "user"] == [
        "hello",
        "then",
        "last",
    ]
    assert composer.text == ""


def test_again_makes_a_second_version_and_one_can_go_back(application, qtbot):
    ask(application, qtbot, "hello")
    view = application.window.chat.transcript
    answer = view.widgets_in_order()[1].view
    with qtbot.waitSignal(application.chat.answer_finished, timeout=20_000):
        view.regenerate_requested.emit(answer.id)
    newer = view.widgets_in_order()[1].view
    assert (newer.version, newer.num_versions) == (2, 2)
    view.version_requested.emit(newer.id, -1)
    qtbot.waitUntil(lambda: view.widgets_in_order()[1].view.version == 1)
    assert view.widgets_in_order()[1].view.id == answer.id


def test_a_deleted_conversation_can_be_brought_back(application, qtbot):
    ask(application, qtbot, "hello")
    chat = application.window.chat
    with qtbot.waitSignal(application.chat.deleted):
        chat.list.delete_requested.emit(application.chat.conversation_id)
    assert chat.toast.isVisible()
    qtbot.waitUntil(lambda: texts(application) == [])
    chat.toast.acted.emit()
    qtbot.waitUntil(lambda: len(texts(application)) == 2)


def test_deletions_are_undone_one_after_the_other_whatever_is_told_between(application, qtbot):
    ask(application, qtbot, "one")
    ask(application, qtbot, "two")
    chat = application.window.chat
    ids = [widget.view.id for widget in chat.transcript.widgets_in_order()]
    for message_id in (ids[2], ids[1]):
        with qtbot.waitSignal(application.chat.messages_deleted):
            chat.transcript.delete_requested.emit(message_id)
    application.chat.notice.emit("The disk is full.")
    qtbot.waitUntil(lambda: len(texts(application)) == 1)
    chat.toast._action.click()
    qtbot.waitUntil(lambda: len(texts(application)) == 2)
    chat.toast._action.click()
    qtbot.waitUntil(lambda: len(texts(application)) == 4)
    assert chat.toast._text.text() == "The disk is full."


def test_an_answer_that_ends_is_told_with_its_own_conversation_and_how(application, qtbot):
    told = []
    page = application.window.chat.findChild(ChatPage)
    page.answer_ended.connect(lambda *what: told.append(what[1:]))
    ask(application, qtbot, "one")
    first = application.chat.conversation_id
    application.window.chat.list.new_requested.emit()
    application.chat.answer_ended.emit(first, "failed")
    application.chat.answer_ended.emit(first, "stopped")
    assert told == [(first, "one", "done"), (first, "one", "failed")]


def test_an_answer_that_ended_elsewhere_is_told_until_it_is_looked_at(
    application, qtbot, monkeypatch
):
    window = application.window
    monkeypatch.setattr(window, "isActiveWindow", lambda: True)
    ask(application, qtbot, "one")
    first = application.chat.conversation_id
    assert window.windowTitle() == "one · Bilin"
    with qtbot.waitSignal(application.chat.conversation_opened, timeout=5_000):
        window.chat.list.new_requested.emit()
    application.chat.answer_ended.emit(first, "done")
    assert window.windowTitle() == "✓ Answered: one · Bilin"
    with qtbot.waitSignal(application.chat.conversation_opened, timeout=5_000):
        window.chat.list.conversation_chosen.emit(first)
    assert window.windowTitle() == "one · Bilin"
    window.show_page("models")
    application.chat.answer_ended.emit(first, "done")
    assert window.windowTitle() == "✓ Answered: one · Bilin"
    application.chat.deleted.emit(DeletedItem(first, "one"))
    assert window.windowTitle() == "one · Bilin"


def test_a_search_finds_and_opens_the_message(application, qtbot):
    ask(application, qtbot, "needle in a haystack")
    chat = application.window.chat
    with qtbot.waitSignal(application.chat.conversation_opened):
        chat.list.new_requested.emit()
    with qtbot.waitSignal(application.chat.search_done) as found:
        chat.list.search.setText("needle")
    hits = found.args[1]
    assert hits
    with qtbot.waitSignal(application.chat.conversation_opened):
        chat.list.hit_chosen.emit(hits[-1].id, hits[-1].message_id)
    assert texts(application)[0] == ("user", "needle in a haystack")


def test_what_has_no_title_has_a_name_wherever_it_stands(application):
    chat, view = application.chat, application.window.chat
    chat.conversations_changed.emit([ListRow(7, "", time.time())])
    assert view.list.view.model().index(1, 0).data() == "Untitled"
    chat.search_done.emit("", [SearchHit(7, 1, "", "text", (), time.time())])
    assert view.list.view.model().index(0, 0).data() == "Untitled"
    chat.deleted.emit(DeletedItem(7, ""))
    assert view.toast._text.text() == "Deleted: Untitled"


def test_a_new_title_is_shown_wherever_it_was_given(application, qtbot):
    ask(application, qtbot, "hello")
    window = application.window
    number = application.chat.conversation_id
    for give, title in (
        (lambda title: window.chat.list.rename_requested.emit(number, title), "from the list"),
        (window.chat.header.title_changed.emit, "from the header"),
    ):
        give(title)
        qtbot.waitUntil(lambda t=title: window.windowTitle().startswith(t))
        assert window.chat.header.title.label.accessibleName() == title


def test_a_message_that_waits_leaves_the_running_answer_on_show(start, qtbot):
    application = start("--gap", "0.02", "--tokens", "2000")
    chat = application.window.chat
    application.chat.send("one")
    qtbot.waitUntil(lambda: len(texts(application)) == 2 and len(texts(application)[1][1]) > 40)
    before = texts(application)[1][1]
    with qtbot.waitSignal(application.chat.queue_changed):
        application.chat.send("two")
    assert [text for _, text in texts(application)][::2] == ["one", "two"]
    assert texts(application)[1][1].startswith(before)
    chat.transcript.flush()
    assert texts(application)[1][1].startswith(before)


def test_a_clicked_conversation_is_ready_to_be_typed_into(application, qtbot):
    ask(application, qtbot, "one")
    chat = application.window.chat
    qtbot.waitUntil(lambda: len(chat.list._entries.entries) == 2)  # a day, a row
    row = chat.list.view.visualRect(chat.list._entries.index(1, 0)).center()
    with qtbot.waitSignal(application.chat.conversation_opened):
        QTest.mouseClick(chat.list.view.viewport(), Qt.MouseButton.LeftButton, pos=row)
    assert application.window.focusWidget() is chat.composer.edit


def test_what_the_model_saw_opens_with_the_exact_prompt(application, qtbot):
    application.chat.set_system_prompt("be brief")
    ask(application, qtbot, "hello")
    answer = application.window.chat.transcript.widgets_in_order()[1]
    menu = answer.make_menu()
    with qtbot.waitSignal(application.chat.prompt_inspected) as inspected:
        action(menu, "What the model saw").trigger()
    menu.close()
    tokens = inspected.args[0].tokens
    assert [token.text for token in tokens] == ["[gMASK]", "be brief", "hello"]
    assert tokens[0].is_special
    [dialog] = application.window.chat.findChildren(PromptDialog)
    assert dialog._text.toPlainText() == "[gMASK]be briefhello"
    dialog.with_ids.setChecked(True)
    assert "hello 102" in dialog._text.toPlainText()
    dialog.accept()


def test_an_answer_is_copied_as_it_was_written_or_as_it_reads(application, qtbot, qapp):
    ask(application, qtbot, "hello")
    answer = application.window.chat.transcript.widgets_in_order()[1]
    answer.set_view(replace(answer.view, text="**bold** and $x$"))
    menu = answer.make_menu()
    menu.actions()[0].trigger()
    assert qapp.clipboard().text() == "**bold** and $x$"
    menu.actions()[1].trigger()
    assert qapp.clipboard().text() == "bold and $x$"
    menu.close()


def test_the_model_over_a_running_answer_is_named_in_the_language_switched_to(application, qtbot):
    settings = application.settings
    settings.set(replace(settings.settings, language="en"))
    ask(application, qtbot, "hello")
    transcript = application.window.chat.transcript
    assert transcript._name == "Bilin Mini"
    settings.set(replace(settings.settings, language="zh"))
    qtbot.waitUntil(lambda: transcript._name == "比邻小模型", timeout=20_000)
    settings.set(replace(settings.settings, language="en"))


def test_a_model_dropped_on_the_chat_is_added_and_a_text_beside_it_attached(
    application, qtbot, tmp_path
):
    folder, note = tmp_path / "glm", tmp_path / "note.md"
    folder.mkdir()
    note.write_text("# note")
    given = []
    application.window.models.dropped.connect(given.append)
    application.window.chat.composer.files_given.emit([folder, note])
    qtbot.waitUntil(lambda: given == [str(folder)], timeout=20_000)
    assert application.window.models.isVisible()
    qtbot.waitUntil(lambda: len(application.chat.attachments) == 1, timeout=20_000)
    assert application.chat.attachments[0].name == "note.md"
    application.window.chat.composer.files_given.emit([tmp_path / "x.GGUF"])
    assert given[1:] == [str(tmp_path / "x.GGUF")]


def test_a_mount_that_is_broken_or_does_not_answer_holds_up_no_window(
    application, qtbot, tmp_path, monkeypatch
):
    answers = threading.Event()
    threads = []

    def is_dir(path):
        threads.append(threading.current_thread())
        if path.name == "broken":
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        answers.wait(60)
        return True

    notices, given = [], []
    application.chat.notice.connect(notices.append)
    application.window.models.dropped.connect(given.append)
    monkeypatch.setattr(Path, "is_dir", is_dir)
    try:
        files = [tmp_path / "broken", tmp_path / "hangs", tmp_path / "second"]
        application.window.chat.composer.files_given.emit(files)
        qtbot.waitUntil(lambda: len(notices) == 1, timeout=20_000)
        assert "Transport endpoint is not connected" in notices[0]
        assert given == []
    finally:
        answers.set()
    qtbot.waitUntil(lambda: len(notices) == 2, timeout=20_000)
    assert given == [str(tmp_path / "hangs")]
    assert "second is not a file" in notices[1]
    assert threading.main_thread() not in threads


def test_reset_draws_answers_as_the_model_recommends(application):
    popover = application.window.chat.header.popover
    recommended = application.engine.recommended_sampling
    assert recommended != Sampling()
    assert application.chat.sampling == recommended
    popover._top_k.setValue(5)
    assert application.chat.sampling == structs.replace(recommended, top_k=5)
    popover._reset.click()
    assert application.chat.sampling == recommended
    assert popover._top_k.value() == recommended.top_k


def test_what_is_typed_into_sampling_stays_while_a_model_loads(application):
    popover = application.window.chat.header.popover
    popover._seed.setText("77")
    for percent in range(3):
        engine = replace(application.engine.view, state="loading", fraction=percent / 100)
        application.engine.view_changed.emit(engine)
    assert popover._seed.text() == "77"


@pytest.fixture
def conversations(qapp):
    """A list of thirty conversations, the first of them open, with the keys on it."""
    start_theme(qapp, Look("light", "en"))
    owner = QWidget()
    shown = ConversationList(owner)
    owner.resize(260, 500)
    shown.resize(260, 500)
    owner.show()
    owner.activateWindow()
    shown.show_conversations([ListRow(i, f"number {i}", time.time()) for i in range(1, 31)])
    shown.set_current(1)
    shown.view.setFocus()
    qapp.processEvents()
    yield shown
    owner.close()
    owner.deleteLater()


def refreshed(shown, *gone):
    """The list as it is read again, without what is gone."""
    shown.show_conversations([row for row in shown._rows if row.id not in gone])


def test_delete_means_the_conversation_the_keys_stand_on_after_the_list_changed(conversations):
    deleted = []
    conversations.delete_requested.connect(deleted.append)
    for _ in range(2):
        QTest.keyClick(conversations.view, Qt.Key.Key_Down)
    conversations.show_conversations([ListRow(31, "new", time.time()), *conversations._rows])
    conversations.set_current(1)
    QTest.keyClick(conversations.view, Qt.Key.Key_Delete)
    refreshed(conversations, 3)
    QTest.keyClick(conversations.view, Qt.Key.Key_Delete)
    assert deleted == [3, 4]
    conversations.set_current(0)  # a new one
    QTest.keyClick(conversations.view, Qt.Key.Key_Delete)
    assert deleted == [3, 4]


def test_without_the_keys_the_open_conversation_is_marked(conversations):
    QTest.keyClick(conversations.view, Qt.Key.Key_Down)
    conversations.search.setFocus()
    refreshed(conversations)
    assert conversations.view.currentIndex().data() == "number 1"


def test_the_list_stays_where_it_was_scrolled_to(conversations, qapp):
    bar = conversations.view.verticalScrollBar()
    bar.setValue(bar.maximum() - 40)
    place = bar.value()
    refreshed(conversations)
    qapp.processEvents()
    assert bar.value() == place
    conversations.set_current(0)
    refreshed(conversations)
    qapp.processEvents()
    assert bar.value() == place
    conversations.set_current(31)
    conversations.show_conversations([ListRow(31, "new", time.time()), *conversations._rows])
    qapp.processEvents()
    assert bar.value() < 40  # the new one is shown


def test_an_answer_that_begins_or_ends_lays_out_no_row_out_of_view(conversations, qapp):
    asked = []

    class Counted(type(conversations.view.itemDelegate())):
        def sizeHint(self, option, index):  # noqa: N802 - Qt's name
            asked.append(index.row())
            return super().sizeHint(option, index)

    conversations.view.setItemDelegate(Counted(conversations.view))
    rows = [ListRow(i, f"number {i}", time.time() - 60 * i) for i in range(1, 3001)]
    conversations.show_conversations(rows)
    qapp.processEvents()
    assert len(asked) >= 3000
    asked.clear()
    for is_running in (True, False):
        conversations.show_conversations([replace(rows[0], is_running=is_running), *rows[1:]])
        qapp.processEvents()
        row = conversations.view.currentIndex().data(Qt.ItemDataRole.UserRole)
        assert (row.id, row.is_running) == (1, is_running)
    assert len(asked) < 100  # what is painted


def test_conversations_stand_below_their_day_or_month(conversations):
    now = time.time()
    rows = [ListRow(1, "old", 0, is_pinned=True), ListRow(2, "ahead", now + 3600)]
    rows += [ListRow(3 + days, "", now - 86_400 * days) for days in (0, 1, 2, 5, 8)]
    rows.append(ListRow(20, "", datetime(2001, 9, 9, 12).timestamp()))
    rows.append(ListRow(21, "", datetime(2001, 9, 2, 12).timestamp()))
    conversations.show_conversations(rows)
    model = conversations.view.model()
    shown = [model.index(row, 0).data() for row in range(model.rowCount())]
    groups = [one for one in shown if one not in ("", "old", "ahead")]
    assert groups[:4] == ["Pinned", "Today", "Yesterday", "Last 7 days"]
    assert groups[5:] == ["September 2001"]


def test_a_list_that_somebody_comes_back_to_after_midnight_follows_the_day(
    conversations, monkeypatch
):
    now = time.time()
    clock = SimpleNamespace(time=lambda: now)
    monkeypatch.setattr(conversation_list, "time", clock)
    rows = [ListRow(1, "of this day", now), ListRow(2, "of 2001", datetime(2001, 9, 9).timestamp())]
    conversations.show_conversations(rows)
    conversations.set_current(2)
    model = conversations.view.model()
    assert model.index(0, 0).data() == "Today"
    clock.time = lambda: now + 86_400
    window = conversations.window()
    QApplication.sendEvent(window, QEvent(QEvent.Type.WindowActivate))
    assert model.index(0, 0).data() == "Yesterday"
    assert conversations.view.currentIndex().data() == "of 2001"
    window.hide()
    clock.time = lambda: now + 2 * 86_400
    QApplication.sendEvent(window, QEvent(QEvent.Type.WindowActivate))
    window.show()
    assert model.index(0, 0).data() == "Last 7 days"
