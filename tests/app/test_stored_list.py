"""What the lists of conversations and of documents have in common, on a real database."""

from dataclasses import replace
from threading import Event

import pytest
from PySide6.QtWidgets import QWidget

from bilin_app.controllers.conversation_list import ConversationList
from bilin_app.controllers.document_list import DocumentList
from bilin_app.controllers.list_views import TrashRow
from bilin_app.pages.deletion_question import DeletionQuestion
from bilin_app.pages.trash import TrashDialog
from bilin_app.storage import conversations, documents
from bilin_app.storage.store import Store
from bilin_app.text.document import Document, parse_slice
from bilin_app.text.document_file import Snapshot

pytestmark = pytest.mark.gui


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "bilin.db")
    store.open().result()
    yield store
    store.close()


def conversation(store, title):
    return (
        store.write(
            conversations.begin_exchange,
            conversation_id=0,
            parent_id=None,
            message=conversations.NewMessage("去哪裡避寒"),
            new=conversations.NewConversation(title),
            now=1.0,
        )
        .result()
        .conversation_id
    )


def document(store, title):
    snapshot = Snapshot(title, parse_slice("去哪裡避寒", Document()))
    return store.write(documents.save_document, 0, snapshot, 1.0).result()


@pytest.fixture(params=["conversations", "documents"])
def listed(request, store, qtbot):
    """A list with two things in it, 三亚 and 厦门, and their ids."""
    if request.param == "conversations":
        ids = [conversation(store, title) for title in ("三亚", "厦门")]
        stored_list = ConversationList(store, lambda: 0)
    else:
        ids = [document(store, title) for title in ("三亚", "厦门")]
        stored_list = DocumentList(store)
    with qtbot.waitSignal(stored_list.changed):
        stored_list.refresh()
    return stored_list, ids


def test_the_trash_shows_what_was_deleted_and_gives_it_back(listed, qtbot):
    stored_list, (first, second) = listed
    with qtbot.waitSignals([stored_list.deleted, stored_list.changed]):
        stored_list.delete(first)
    assert [row.id for row in stored_list.rows] == [second]
    with qtbot.waitSignal(stored_list.trash_listed) as told:
        stored_list.list_trash()
    assert [(row.id, row.title) for row in told.args[0]] == [(first, "三亚")]
    with qtbot.waitSignals([stored_list.restored, stored_list.changed, stored_list.trash_listed]):
        stored_list.restore(first)
    assert {row.id for row in stored_list.rows} == {first, second}
    stored_list.undo_delete(first)  # has nothing to bring back any more
    with qtbot.waitSignal(stored_list.trash_listed) as told:
        stored_list.list_trash()
    assert told.args == [[]]


def test_what_is_purged_does_not_come_back_by_undo(listed, qtbot):
    stored_list, (first, second) = listed
    with qtbot.waitSignals([stored_list.deleted, stored_list.changed]):
        stored_list.delete(first)
    with qtbot.waitSignal(stored_list.trash_listed) as told:
        stored_list.purge([first, second])  # the second is not in the trash
    assert told.args == [[]]
    stored_list.undo_delete(first)
    with qtbot.waitSignal(stored_list.changed):
        stored_list.refresh()
    assert [row.id for row in stored_list.rows] == [second]


def test_undo_brings_back_what_it_names_and_nothing_else(listed, qtbot):
    stored_list, (first, second) = listed
    for item_id in (first, second):
        with qtbot.waitSignals([stored_list.deleted, stored_list.changed]):
            stored_list.delete(item_id)
    with qtbot.waitSignals([stored_list.restored, stored_list.changed]):
        stored_list.restore(second)
    stored_list.undo_delete(second)
    with qtbot.waitSignal(stored_list.changed):
        stored_list.refresh()
    assert [row.id for row in stored_list.rows] == [second]
    with qtbot.waitSignals([stored_list.restored, stored_list.changed]):
        stored_list.undo_delete(first)
    assert {row.id for row in stored_list.rows} == {first, second}


@pytest.mark.parametrize(
    ("query", "title_marks", "snippet_marks"),
    [("sanya", ((0, 2),), ()), ("哪里", (), ((1, 3),)), ("三亞", ((0, 2),), ())],
)
def test_both_are_found_alike(listed, qtbot, query, title_marks, snippet_marks):
    stored_list, (first, second) = listed
    with qtbot.waitSignal(stored_list.search_done) as told:
        stored_list.search(query)
    asked, hits = told.args
    assert asked == query
    assert {hit.id for hit in hits} == ({first} if title_marks else {first, second})
    assert {(hit.title_highlights, hit.highlights) for hit in hits} == {
        (title_marks, snippet_marks)
    }


def test_a_search_that_is_outdated_when_its_turn_comes_is_not_made(listed, qtbot):
    stored_list, _ids = listed
    made: list[str] = []
    find = stored_list._storage.find

    def counted(connection, query):
        made.append(query)
        return find(connection, query)

    stored_list._storage = replace(stored_list._storage, find=counted)
    turn = Event()
    stored_list._store.read(lambda _connection: turn.wait(10))
    with qtbot.waitSignal(stored_list.search_done) as told:
        for query in ("避", "避寒", "三亚"):
            stored_list.search(query)
        turn.set()
    assert (told.args[0], made) == ("三亚", ["三亚"])


def test_the_trash_asks_before_anything_goes_for_good(qtbot, monkeypatch):
    parent = QWidget()
    qtbot.addWidget(parent)
    dialog = TrashDialog(parent)
    purged, asked, restored = [], [], []
    dialog.purge_requested.connect(purged.append)
    dialog.restore_requested.connect(restored.append)
    dialog.show_rows([TrashRow(7, "三亚", 1.0), TrashRow(9, "", 2.0)])
    answers = iter([False, True, True, False])
    monkeypatch.setattr(dialog, "_ask", lambda text: asked.append(text) or next(answers))
    dialog._delete.click()
    assert purged == []
    dialog._delete.click()
    dialog._empty.click()
    assert purged == [[7], [7, 9]]
    assert asked[0] == "Delete for good: 三亚?"
    dialog._restore_button.click()
    assert restored == [7]
    dialog._list.selectAll()
    dialog._delete.click()
    assert asked[-1] == "Delete 2 items for good?"
    dialog.show_rows([])
    assert not dialog._restore_button.isEnabled()
    box = DeletionQuestion(dialog, "Trash", "?")
    assert box.defaultButton().text() == "Cancel"
