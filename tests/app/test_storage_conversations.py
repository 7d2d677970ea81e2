"""Trees of messages, the queue, drafts and search, on a real file behind the store's threads."""

import tempfile
import threading
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bilin_app.storage import conversations as c
from bilin_app.storage.conversations import AnswerEnd
from bilin_app.storage.database import open_database, open_reader
from bilin_app.storage.search import find
from bilin_app.storage.store import Store
from bilin_app.storage.trash import list_trashed


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "bilin.db")
    store.open().result()
    yield store
    store.close()


def begin(store, text, conversation_id=0, parent_id=None):
    return store.write(
        c.begin_exchange,
        conversation_id=conversation_id,
        parent_id=parent_id,
        message=c.NewMessage(text),
        new=c.NewConversation(text[:10]),
        now=1.0,
    ).result()


def queue(store, conversation_id, text):
    new = c.NewConversation("")
    return store.write(
        c.queue_message,
        conversation_id=conversation_id,
        message=c.NewMessage(text),
        new=new,
        now=2.0,
    ).result()


def end(store, answer_id, text, state: c.StoredState = "done"):
    store.write(c.end_answer, AnswerEnd(answer_id, state, text), 2.0).result()


def branch(store, conversation_id):
    content = store.read(c.load_conversation, conversation_id).result()
    return [(m.role[0], m.text, f"{m.version}/{m.num_versions}") for m in content.messages]


def test_an_exchange_makes_a_conversation_with_its_title(store):
    made = begin(store, "你好，比邻")
    end(store, made.answer_id, "你好！")
    [row] = store.read(c.list_conversations).result()
    assert (row.id, row.title, row.updated_at) == (made.conversation_id, "你好，比邻", 2.0)
    assert branch(store, row.id) == [("u", "你好，比邻", "1/1"), ("a", "你好！", "1/1")]


def test_versions_keep_their_whole_branch(store):
    first = begin(store, "one")
    conversation_id = first.conversation_id
    end(store, first.answer_id, "A")
    second = begin(store, "two", conversation_id, first.answer_id)
    end(store, second.answer_id, "B")
    again = store.write(c.add_answer, first.conversation_id, first.message_id, 3.0).result()
    end(store, again, "A2")
    assert branch(store, conversation_id) == [("u", "one", "1/1"), ("a", "A2", "2/2")]
    assert store.write(c.show_version, again, -1).result() == first.answer_id
    assert [text for _, text, _ in branch(store, conversation_id)] == ["one", "A", "two", "B"]
    edited = begin(store, "uno", conversation_id, None)
    assert branch(store, conversation_id) == [("u", "uno", "2/2"), ("a", "", "1/1")]
    assert store.write(c.show_version, edited.message_id, 1).result() == edited.message_id
    assert store.write(c.reveal_message, second.answer_id).result() == conversation_id
    assert [text for _, text, _ in branch(store, conversation_id)] == ["one", "A", "two", "B"]


def test_a_queued_message_waits_outside_the_branch(store):
    made = begin(store, "one")
    first = queue(store, made.conversation_id, "two")
    second = queue(store, made.conversation_id, "three")
    content = store.read(c.load_conversation, made.conversation_id).result()
    assert [m.text for m in content.queued] == ["two", "three"]
    assert len(content.messages) == 2
    assert store.write(c.withdraw_queued, first.message_id).result() == c.NewMessage("two")
    assert store.write(c.withdraw_queued, first.message_id).result() is None
    assert store.write(c.withdraw_queued, made.message_id).result() is None
    end(store, made.answer_id, "A")
    sent = store.write(c.send_queued, second.message_id, 3.0).result()
    assert sent is not None
    assert store.write(c.send_queued, second.message_id, 3.0).result() is None
    assert [text for _, text, _ in branch(store, made.conversation_id)] == [
        "one", "A", "three", ""]  # fmt: skip
    context = store.read(c.answer_context, sent.answer_id).result()
    assert [m.text for m in context.messages] == ["one", "A", "three"]
    assert context.answer.id == sent.answer_id
    store.write(c.set_trashed, made.conversation_id, 9.0).result()
    assert store.read(c.answer_context, sent.answer_id).result() is None
    assert store.read(c.answer_context, 999).result() is None


def test_a_message_queued_in_the_trash_stays_queued(store):
    made = begin(store, "one")
    end(store, made.answer_id, "A")
    waiting = queue(store, made.conversation_id, "two")
    store.write(c.set_trashed, made.conversation_id, 9.0).result()
    assert store.write(c.send_queued, waiting.message_id, 3.0).result() is None
    store.write(c.set_trashed, made.conversation_id, None).result()
    assert [text for _, text, _ in branch(store, made.conversation_id)] == ["one", "A"]
    assert store.write(c.send_queued, waiting.message_id, 3.0).result() is not None
    assert [text for _, text, _ in branch(store, made.conversation_id)] == ["one", "A", "two", ""]


def test_sending_clears_the_draft_in_the_same_transaction(store):
    store.write_soon(c.set_draft, 0, "one").result()
    assert store.read(c.new_draft).result() == c.NewMessage("one")
    made = begin(store, "one")
    assert store.read(c.new_draft).result() == c.NewMessage("")
    store.write_soon(c.set_draft, made.conversation_id, "two").result()
    begin(store, "two", made.conversation_id, made.answer_id)
    content = store.read(c.load_conversation, made.conversation_id).result()
    assert content.record.draft == ""


def test_titles_are_found_by_pinyin_after_those_that_match(store):
    chinese = begin(store, "三亚避寒").conversation_id
    latin = begin(store, "SYBH").conversation_id
    other = begin(store, "别的").conversation_id
    hits = store.read(find, "sybh").result()
    assert [(h.conversation_id, h.message_id > 0, h.read) for h in hits] == [
        (latin, False, None),
        (chinese, False, (0, 4)),
        (latin, True, None),
    ]
    store.write(c.rename, other, "三亚").result()
    assert {h.conversation_id for h in store.read(find, "sanya").result()} == {chinese, other}


def test_what_is_purged_is_gone_from_the_file_and_from_the_search(store):
    made = begin(store, "避寒去哪里")
    end(store, made.answer_id, "去三亚避寒")
    kept = begin(store, "避寒").conversation_id
    store.write(c.purge, [made.conversation_id, kept]).result()  # neither is in the trash
    assert len(store.read(c.list_conversations).result()) == 2
    store.write(c.set_trashed, made.conversation_id, 9.0).result()
    [row] = store.read(list_trashed, "conversations").result()
    assert (row.id, row.title, row.trashed_at) == (made.conversation_id, "避寒去哪里", 9.0)
    store.write(c.purge, [made.conversation_id]).result()
    assert store.read(list_trashed, "conversations").result() == []
    assert {h.conversation_id for h in store.read(find, "避寒").result()} == {kept}
    count = "SELECT count(*) FROM messages WHERE conversation_id = ?"
    rows = store.read(lambda db: db.execute(count, [made.conversation_id]).fetchone()).result()
    assert rows == (0,)


def test_pins_come_first_and_the_trash_is_out_of_sight(store):
    first, second = begin(store, "first").conversation_id, begin(store, "second").conversation_id
    store.write(c.set_pinned, first, 5.0).result()
    assert [row.id for row in store.read(c.list_conversations).result()] == [first, second]
    store.write(c.set_trashed, first, 6.0).result()
    assert [row.id for row in store.read(c.list_conversations).result()] == [second]
    assert store.read(c.load_conversation, first).result() is None
    assert store.read(find, "first").result() == []
    store.write(c.set_trashed, first, None).result()
    assert [row.id for row in store.read(c.list_conversations).result()] == [first, second]


def test_search_finds_titles_and_two_characters_and_forgets_old_text(store):
    made = begin(store, "冬天去哪里避寒")
    end(store, made.answer_id, "量子力学", "stopped")
    store.write(c.resume_answer, made.answer_id, "").result()
    end(store, made.answer_id, "量子计算")
    hits = store.read(find, "量子").result()
    assert [(hit.message_id, hit.text) for hit in hits] == [(made.answer_id, "量子计算")]
    assert store.read(find, "力学").result() == []
    store.write(c.rename, made.conversation_id, "海边").result()
    assert [hit.message_id for hit in store.read(find, "海边").result()] == [0]
    [hit] = store.read(find, "避寒").result()  # the message, no more the title
    assert hit.message_id == made.message_id


def test_a_journal_becomes_the_text_of_an_interrupted_answer(tmp_path):
    store = Store(tmp_path / "bilin.db")
    store.open().result()
    made = begin(store, "one")
    end(store, made.answer_id, "so far ", "stopped")
    store.write(c.resume_answer, made.answer_id, "[]").result()
    for sequence, text in enumerate(["and ", "on "]):
        store.write_soon(c.append_journal, made.answer_id, sequence, text).result()
    store.close()  # as after a kill: nobody ended the answer
    store = Store(tmp_path / "bilin.db")
    assert store.open().result().num_interrupted == 1
    content = store.read(c.load_conversation, made.conversation_id).result()
    assert content is not None
    answer = content.messages[1]
    assert (answer.state, answer.text) == ("interrupted", "so far and on ")
    assert len(store.read(find, "far on").result()) == 1
    store.close()
    store = Store(tmp_path / "bilin.db")
    assert store.open().result().num_interrupted == 0
    store.close()


def test_jobs_run_on_their_own_threads_and_a_failed_one_changes_nothing(store):
    assert store.write(lambda _c: threading.current_thread().name).result() == "bilin-storage"
    assert store.read(lambda _c: threading.current_thread().name).result() == "bilin-storage-read"

    def fail(connection):
        connection.execute("INSERT INTO meta VALUES ('x', 'y')")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        store.write(fail).result()
    query = "SELECT count(*) FROM meta WHERE key = 'x'"
    assert store.read(lambda connection: connection.execute(query).fetchone()).result() == (0,)


def test_the_latest_reading_waits_for_what_is_still_being_written(store):
    # An export right after an answer ended once left the answer out.
    may_write = threading.Event()

    def write_late(connection):
        assert may_write.wait(10)
        connection.execute("INSERT INTO meta VALUES ('late', 'y')")

    written = store.write_soon(write_late)
    query = "SELECT count(*) FROM meta WHERE key = 'late'"
    latest = store.read_latest(lambda connection: connection.execute(query).fetchone())
    assert not latest.done()
    may_write.set()
    assert latest.result() == (1,)
    assert written.done()


def test_a_persons_message_is_synchronous_in_full_and_the_journal_normal(store):
    def synchronous(connection):
        return connection.execute("PRAGMA synchronous").fetchone()[0]

    assert store.write(synchronous).result() == 2
    assert store.write_soon(synchronous).result() == 1
    assert store.write(synchronous).result() == 2


def test_five_thousand_messages_are_one_branch(store):
    def fill(connection):
        parent, conversation = None, 0
        for _ in range(2_500):
            made = c.begin_exchange(
                connection,
                conversation_id=conversation,
                parent_id=parent,
                message=c.NewMessage("q"),
                new=c.NewConversation("t"),
                now=1.0,
            )
            parent, conversation = made.answer_id, made.conversation_id
        return conversation

    conversation_id = store.write(fill).result()
    content = store.read(c.load_conversation, conversation_id).result()
    assert len(content.messages) == 5_000
    ids = [message.id for message in content.messages]
    assert ids == sorted(ids)


@hypothesis.settings(max_examples=15, stateful_step_count=25, deadline=None)
class TreeMachine(RuleBasedStateMachine):
    """A branch is always a chain of parents, alternating, and the index is the tables'."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "bilin.db"
        self.connection, _ = open_database(self.path)
        self.conversation_id = 0
        self.words: dict[int, str] = {}
        self.count = 0

    def teardown(self) -> None:
        self.connection.close()
        self.folder.cleanup()

    def content(self):
        content = c.load_conversation(self.connection, self.conversation_id)
        assert content is not None
        return content

    def word(self) -> str:
        self.count += 1
        return f"词{chr(0x4E00 + self.count)}"

    @rule(place=st.integers(0, 50))
    def ask(self, place):
        parent = None
        if self.conversation_id:
            answers = [m.id for m in self.content().messages if m.role == "assistant"]
            parent = [None, *answers][place % (len(answers) + 1)]
        text = self.word()
        made = c.begin_exchange(
            self.connection,
            conversation_id=self.conversation_id,
            parent_id=parent,
            message=c.NewMessage(text),
            new=c.NewConversation(""),
            now=1.0,
        )
        self.conversation_id = made.conversation_id
        self.words[made.message_id] = text

    @precondition(lambda self: self.conversation_id)
    @rule(place=st.integers(0, 50))
    def answer(self, place):
        answers = [m for m in self.content().messages if m.role == "assistant"]
        if answers:
            message = answers[place % len(answers)]
            text = self.word()
            c.end_answer(self.connection, AnswerEnd(message.id, "done", text), 1.0)
            self.words[message.id] = text

    @precondition(lambda self: self.conversation_id)
    @rule(place=st.integers(0, 50))
    def regenerate(self, place):
        questions = [m for m in self.content().messages if m.role == "user"]
        if questions:
            c.add_answer(
                self.connection, self.conversation_id, questions[place % len(questions)].id, 1.0
            )

    @precondition(lambda self: self.conversation_id)
    @rule(place=st.integers(0, 50), delta=st.integers(-2, 2))
    def switch(self, place, delta):
        messages = self.content().messages
        if messages:
            c.show_version(self.connection, messages[place % len(messages)].id, delta)

    @precondition(lambda self: self.words)
    @rule(place=st.integers(0, 50))
    def reveal(self, place):
        message_id = list(self.words)[place % len(self.words)]
        c.reveal_message(self.connection, message_id)
        assert message_id in [m.id for m in self.content().messages]

    @rule()
    def queue(self):
        made = c.queue_message(
            self.connection,
            conversation_id=self.conversation_id,
            message=c.NewMessage(self.word()),
            new=c.NewConversation(""),
            now=1.0,
        )
        self.conversation_id = made.conversation_id

    @precondition(lambda self: self.conversation_id)
    @rule()
    def dequeue(self):
        content = self.content()
        if content.queued and (not content.messages or content.messages[-1].role == "assistant"):
            message = content.queued[0]
            c.send_queued(self.connection, message.id, 1.0)
            self.words[message.id] = message.text

    @invariant()
    def the_branch_is_a_chain(self):
        if not self.conversation_id:
            return
        messages = self.content().messages
        for before, after in zip((None, *messages), messages, strict=False):
            assert after.parent_id == (before.id if before else None)
            is_question = before is None or before.role == "assistant"
            assert after.role == ("user" if is_question else "assistant")
            assert 1 <= after.version <= after.num_versions

    @invariant()
    def every_word_is_found_where_it_stands(self):
        for message_id, word in list(self.words.items())[-3:]:
            assert [hit.message_id for hit in find(self.connection, word)] == [message_id]


TestTree = TreeMachine.TestCase


def test_a_reader_cannot_write(store):
    reader = open_reader(store.path)
    with pytest.raises(Exception, match="readonly"):
        reader.execute("DELETE FROM meta")
    reader.close()
