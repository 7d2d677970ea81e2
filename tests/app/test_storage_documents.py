import sqlite3

import pytest

from bilin_app.storage import documents as stored
from bilin_app.storage.schema import migrate
from bilin_app.storage.trash import TrashedRecord, list_trashed
from bilin_app.text.document import Document, parse_slice
from bilin_app.text.document_file import BlankFill, Snapshot, decode_document, encode_document
from bilin_engine.protocol import Candidate, FillConstraints, LengthLimit


@pytest.fixture
def connection(tmp_path):
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, tmp_path)
    yield connection
    connection.close()


def snapshot(text="凯旋门[MASK]而建 🏛 [gMASK]", title="凯旋门"):
    return Snapshot(title, parse_slice(text, Document()))


def test_a_document_comes_back_as_it_was_saved(connection):
    fill = BlankFill(
        (Candidate(text="为纪念", logprob=-0.5, num_tokens=2, breaks="has 3 characters"),),
        0,
        FillConstraints(length=LengthLimit(2, "characters", exact=True), choices=("一", "二")),
        is_exact=True,
    )
    saved = Snapshot("凯旋门", snapshot().content, ((1, fill),))
    number = stored.save_document(connection, 0, saved, 1.0)
    assert stored.load_document(connection, number) == saved
    changed = snapshot("改了", "新")
    assert stored.save_document(connection, number, changed, 2.0) == number
    assert stored.load_document(connection, number) == changed


def test_the_list_is_newest_first_and_the_trash_gives_back(connection):
    first = stored.save_document(connection, 0, snapshot(title="一"), 1.0)
    second = stored.save_document(connection, 0, snapshot(title="二"), 2.0)
    assert [r.id for r in stored.list_documents(connection)] == [second, first]
    stored.set_document_trashed(connection, second, 3.0)
    assert [r.id for r in stored.list_documents(connection)] == [first]
    assert stored.load_document(connection, second) is None
    assert stored.find_documents(connection, "二") == []
    stored.set_document_trashed(connection, second, None)
    assert stored.load_document(connection, second) is not None


@pytest.mark.parametrize("query", ["凯旋", "而建", "TRIUMPH arch", "１８０７"])
def test_search_finds_two_characters_words_and_other_widths(connection, query):
    stored.save_document(connection, 0, snapshot("巴黎", "别的"), 1.0)
    text = "凯旋门 1807 而建, a triumphal Arch"
    found = stored.save_document(connection, 0, snapshot(text), 2.0)
    hits = stored.find_documents(connection, query)
    assert [(hit.id, hit.text) for hit in hits] == [(found, text)]


def test_revisions_are_kept_once_and_the_oldest_make_room(connection):
    number = stored.save_document(connection, 0, snapshot("a"), 1.0)
    for i in range(stored.MAX_REVISIONS + 5):
        for _ in range(2):
            stored.keep_revision(connection, number, snapshot(f"text {i}"), "typed", float(i))
    revisions = stored.list_revisions(connection, number)
    assert len(revisions) == stored.MAX_REVISIONS
    assert revisions[0].created_at == stored.MAX_REVISIONS + 4
    restored = stored.load_revision(connection, number, revisions[0].id)
    assert restored is not None
    assert restored.content.plain_text == f"text {stored.MAX_REVISIONS + 4}"
    other = stored.save_document(connection, 0, snapshot("b"), 1.0)
    assert stored.load_revision(connection, other, revisions[0].id) is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("{", "no document of Bilin"),
        ('{"format":"x","version":1,"title":"","segments":[]}', "'x' version 1"),
        ('{"format":"bilin-document","version":9,"title":"","segments":[]}', "version 9"),
    ],
)
def test_what_is_no_document_is_refused_with_its_reason(data, reason):
    with pytest.raises(ValueError, match=reason):
        decode_document(data)


def test_a_file_with_the_same_blank_twice_gives_two_blanks():
    saved = snapshot("a[MASK]b[MASK]c")
    data = encode_document(saved).replace(b'"id":2', b'"id":1')
    ids = [blank.id for _, blank in decode_document(data).content.blanks]
    assert len(set(ids)) == 2


def test_documents_are_found_in_the_other_script_and_by_the_pinyin_of_their_title(connection):
    found = stored.save_document(connection, 0, snapshot("臺灣的冬天", "凱旋門"), 1.0)
    by_script = stored.find_documents(connection, "台湾")
    assert [(hit.id, hit.read) for hit in by_script] == [(found, None)]
    assert [(hit.id, hit.read) for hit in stored.find_documents(connection, "kxm")] == [
        (found, (0, 3))
    ]


def test_a_revision_tells_its_characters_as_a_person_counts_them(connection):
    number = stored.save_document(connection, 0, snapshot(), 1.0)
    stored.keep_revision(connection, number, snapshot("𠮷，\n[MASK] a b"), "opened", 2.0)
    assert [r.num_characters for r in stored.list_revisions(connection, number)] == [4]


def test_only_what_is_in_the_trash_is_purged_with_its_revisions(connection):
    gone = stored.save_document(connection, 0, snapshot(title="一"), 1.0)
    kept = stored.save_document(connection, 0, snapshot(title="二"), 2.0)
    for number in (gone, kept):
        stored.keep_revision(connection, number, snapshot("x"), "opened", 2.0)
    stored.set_document_trashed(connection, gone, 3.0)
    assert list_trashed(connection, "documents") == [TrashedRecord(gone, "一", 3.0)]
    stored.purge_documents(connection, [gone, kept])
    assert [r.id for r in stored.list_documents(connection)] == [kept]
    assert list_trashed(connection, "documents") == []
    assert stored.list_revisions(connection, gone) == []
    assert len(stored.list_revisions(connection, kept)) == 1
