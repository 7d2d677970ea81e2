import pytest

from bilin_app.storage import conversations as c
from bilin_app.storage.deletion import delete_message, restore_message
from bilin_app.storage.search import find
from bilin_app.storage.store import Store


@pytest.fixture
def store(tmp_path):
    result = Store(tmp_path / "bilin.db")
    result.open().result()
    yield result
    result.close()


def exchange(store, conversation_id, parent_id, text):
    made = store.write(
        c.begin_exchange,
        conversation_id=conversation_id,
        parent_id=parent_id,
        message=c.NewMessage(text),
        new=c.NewConversation("t"),
        now=1.0,
    ).result()
    end = c.AnswerEnd(made.answer_id, "done", f"answer to {text}")
    store.write(c.end_answer, end, 1.0).result()
    return made


def texts(store, conversation_id):
    content = store.read(c.load_conversation, conversation_id).result()
    return [message.text for message in content.messages]


def found(store, query):
    return [hit.text for hit in store.read(find, query).result() if hit.message_id]


def test_a_message_goes_with_all_below_it_and_comes_back(store):
    one = exchange(store, 0, None, "one")
    two = exchange(store, one.conversation_id, one.answer_id, "two")
    exchange(store, one.conversation_id, two.answer_id, "three")
    assert store.write(delete_message, two.message_id, 2.0).result() == 4
    assert texts(store, one.conversation_id) == ["one", "answer to one"]
    assert found(store, "three") == []
    assert found(store, "one") == ["answer to one", "one"]
    assert store.write(delete_message, two.message_id, 2.0).result() == 0  # gone already
    assert store.write(restore_message, two.message_id).result() == one.conversation_id
    assert texts(store, one.conversation_id)[2:] == [
        "two", "answer to two", "three", "answer to three",
    ]  # fmt: skip
    assert len(found(store, "three")) == 2


def test_the_version_beside_takes_the_place_of_a_deleted_one(store):
    one = exchange(store, 0, None, "one")
    second = exchange(store, one.conversation_id, None, "one, again")
    assert store.write(delete_message, second.message_id, 2.0).result() == 2
    content = store.read(c.load_conversation, one.conversation_id).result()
    assert content is not None
    assert content.messages[0].text == "one"
    assert (content.messages[0].version, content.messages[0].num_versions) == (1, 1)
    assert store.write(c.show_version, one.message_id, 1).result() == one.message_id
    store.write(restore_message, second.message_id).result()
    assert texts(store, one.conversation_id)[0] == "one, again"


def test_a_question_stays_when_its_only_answer_goes(store):
    one = exchange(store, 0, None, "one")
    assert store.write(delete_message, one.answer_id, 2.0).result() == 1
    assert texts(store, one.conversation_id) == ["one"]


def test_what_is_being_written_or_waits_is_not_deleted(store):
    made = store.write(
        c.begin_exchange, conversation_id=0, parent_id=None, message=c.NewMessage("one"),
        new=c.NewConversation("t"), now=1.0,
    ).result()  # fmt: skip
    queued = store.write(
        c.queue_message, conversation_id=made.conversation_id, message=c.NewMessage("two"),
        new=c.NewConversation("t"), now=1.0,
    ).result()  # fmt: skip
    assert store.write(delete_message, made.answer_id, 2.0).result() == 0
    assert store.write(delete_message, queued.message_id, 2.0).result() == 0


def test_the_next_start_removes_it_for_good(tmp_path, store):
    one = exchange(store, 0, None, "one")
    two = exchange(store, one.conversation_id, one.answer_id, "secret")
    store.write(delete_message, two.message_id, 2.0).result()
    store.close()
    again = Store(tmp_path / "bilin.db")
    again.open().result()
    count = again.read(lambda db: db.execute("SELECT count(*) FROM messages").fetchone()[0])
    assert count.result() == 2
    assert again.write(restore_message, two.message_id).result() == 0
    assert texts(again, one.conversation_id) == ["one", "answer to one"]
    assert found(again, "secret") == []
    again.close()


def test_what_is_deleted_is_neither_revealed_nor_answered(store):
    """A hit of an old search leads nowhere: what is written below it would be purged with it."""
    one = exchange(store, 0, None, "one")
    two = exchange(store, one.conversation_id, one.answer_id, "two")
    beside = exchange(store, one.conversation_id, one.answer_id, "two, again")
    store.write(delete_message, two.message_id, 2.0).result()
    for gone in (two.message_id, two.answer_id):
        assert store.write(c.reveal_message, gone).result() == 0
    assert store.read(c.answer_context, two.answer_id).result() is None
    assert texts(store, one.conversation_id)[2:] == ["two, again", "answer to two, again"]
    assert store.write(c.reveal_message, beside.message_id).result() == one.conversation_id
    assert store.read(c.answer_context, beside.answer_id).result() is not None


def test_what_was_deleted_alone_stays_so_when_what_is_above_it_comes_back(store):
    one = exchange(store, 0, None, "one")
    two = exchange(store, one.conversation_id, one.answer_id, "two")
    three = exchange(store, one.conversation_id, two.answer_id, "three")
    assert store.write(delete_message, three.message_id, 2.0).result() == 2
    assert store.write(delete_message, two.message_id, 3.0).result() == 2  # those not gone yet
    store.write(restore_message, two.message_id).result()
    assert len(found(store, "two")) == 2
    assert found(store, "three") == []
    assert store.write(restore_message, three.message_id).result() == one.conversation_id
    assert len(found(store, "three")) == 2
