import json
import zipfile
import zlib

import pytest

from bilin_app.text import conversation_texts
from bilin_app.text.conversation_texts import conversation_texts as texts_of


def zipped(path, parts, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return path


def test_a_zip_gives_its_conversations_and_nothing_else(tmp_path):
    parts = {
        "export/conversations-001.json": "[2]",
        "export/conversations-000.json": "\ufeff[1]",
        "export/user.json": "{}",
        "__MACOSX/export/._conversations-000.json": "\0",
        "picture.png": b"\x89PNG",
    }
    assert list(texts_of(zipped(tmp_path / "export.zip", parts))) == ["[1]", "[2]"]


def test_a_plain_file_is_its_own_text(tmp_path):
    (tmp_path / "conversations.json").write_text("\ufeff[3]", encoding="utf-8")
    assert list(texts_of(tmp_path / "conversations.json")) == ["[3]"]


def test_what_is_no_file_or_holds_no_conversations_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a file"):
        list(texts_of(tmp_path))
    with pytest.raises(ValueError, match=r"the zip holds no conversations\.json"):
        list(texts_of(zipped(tmp_path / "export.zip", {"user.json": "{}"})))


def test_a_zip_that_unpacks_to_more_than_is_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(conversation_texts, "MAX_FILE_BYTES", 1000)
    parts = {"conversations-000.json": " " * 600, "conversations-001.json": " " * 600}
    path = zipped(tmp_path / "export.zip", parts)
    with pytest.raises(ValueError, match="1200 bytes; conversations are read up to 1000 bytes"):
        next(texts_of(path))
    monkeypatch.setattr(conversation_texts, "MAX_FILE_BYTES", 1200)
    assert [len(text) for text in texts_of(path)] == [600, 600]


def test_a_zip_that_hides_its_size_is_unpacked_no_further(tmp_path, monkeypatch):
    path = zipped(tmp_path / "export.zip", {"conversations.json": " " * 50_000_000})
    said = (50_000_000).to_bytes(4, "little")
    assert path.read_bytes().count(said) == 2
    path.write_bytes(path.read_bytes().replace(said, (10_000).to_bytes(4, "little")))
    unpacked = []

    class Unpacker:
        def __init__(self, inner):
            self.inner = inner

        def decompress(self, data, limit):
            unpacked.append(self.inner.decompress(data, limit))
            return unpacked[-1]

        def __getattr__(self, name):
            return getattr(self.inner, name)

    begin = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", lambda *what: Unpacker(begin(*what)))
    with pytest.raises(ValueError, match="the zip cannot be read: Bad CRC"):
        list(texts_of(path))
    assert sum(map(len, unpacked)) == 10_000


def test_a_zip_that_cannot_be_read_is_refused_with_a_reason(tmp_path):
    path = tmp_path / "export.zip"
    whole = zipped(path, {"conversations.json": json.dumps([1] * 5000)}).read_bytes()
    begin = whole.index(b"conversations.json") + len("conversations.json")
    locked = bytearray(whole)
    for head, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[whole.index(head) + place] |= 1
    for broken in (
        whole[: len(whole) // 2],
        whole[:begin] + b"\xff" * 20 + whole[begin + 20 :],
        bytes(locked),
        b"PK",
    ):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"the zip cannot be read: ."):
            list(texts_of(path))
    zipped(path, {"conversations.json": "[]"}, zipfile.ZIP_LZMA)
    with pytest.raises(ValueError, match="the zip cannot be read: compression method 14"):
        list(texts_of(path))
