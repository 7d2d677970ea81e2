"""Asking for files: where dialogs begin, names and their ends, what is never replaced unasked."""

from pathlib import Path

import pytest
from failing_disk import fail_disk
from PySide6.QtWidgets import QFileDialog, QWidget

from bilin_app.pages import file_dialogs
from bilin_app.pages.file_dialogs import (
    ask_folder,
    ask_open,
    ask_open_many,
    ask_save,
    last_folder,
    with_end,
)

pytestmark = pytest.mark.gui
KINDS = ("Markdown (*.md)", "JSON (*.json)")


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(file_dialogs, "_last", {})


@pytest.fixture
def answers(monkeypatch):
    """What the person chooses in each dialog, taken from the front; (begun, kind) are kept."""
    given, begun = [], []

    def choose(_parent, _title, begin, _kinds="", kind=""):
        begun.append((begin, kind))
        return given.pop(0)

    names = ("getExistingDirectory", "getOpenFileName", "getOpenFileNames", "getSaveFileName")
    for name in names:
        monkeypatch.setattr(QFileDialog, name, choose)
    return given, begun


def test_a_dialog_begins_beside_the_last_file_as_long_as_its_folder_is_there(
    qtbot, tmp_path, answers
):
    first, (given, begun) = last_folder(), answers
    assert first.is_dir()
    parent, folder = QWidget(), tmp_path / "here"
    qtbot.addWidget(parent)
    folder.mkdir()
    given += [([str(folder / "a.py")], ""), ("", "")]
    assert ask_open_many(parent, "Attach") == [folder / "a.py"]
    assert ask_save(parent, "Export", "Lakes: deep/wide", KINDS) is None
    assert begun[1] == (str(folder / "Lakes deep wide.md"), KINDS[0])
    folder.rmdir()
    assert last_folder() == first


def test_a_dialog_opens_though_the_disk_of_the_last_file_fails(
    qtbot, tmp_path, answers, monkeypatch
):
    first, (given, begun) = last_folder(), answers
    parent, share = QWidget(), tmp_path / "share"
    qtbot.addWidget(parent)
    given += [(str(share / "a.md"), ""), (str(share / "b"), KINDS[0])]
    assert ask_open(parent, "Open", KINDS[0]) == share / "a.md"
    fail_disk(monkeypatch, share)
    assert last_folder() == first
    # What cannot be looked at is no reason to ask again: writing it tells why it cannot be.
    assert ask_save(parent, "Export", "b", KINDS) == share / "b.md"
    assert begun[1] == (str(first / "b.md"), KINDS[0])


def test_models_are_looked_for_where_the_last_model_was_and_documents_stay_apart(
    qtbot, tmp_path, answers
):
    given, begun = answers
    parent, models = QWidget(), tmp_path / "models"
    qtbot.addWidget(parent)
    models.mkdir()
    documents = last_folder()
    given += [(str(models / "a.gguf"), ""), str(models / "glm"), "", ("", "")]
    assert ask_open(parent, "Model", "GGUF (*.gguf)", sort="models") == models / "a.gguf"
    assert ask_folder(parent, "Model") == models / "glm"
    assert ask_folder(parent, "Model") is None
    assert ask_open(parent, "Text", "Text (*.txt)") is None
    assert [begin for begin, _ in begun[1:]] == [str(models), str(models), str(documents)]


def test_a_file_whose_end_the_kind_changed_is_not_replaced_unasked(qtbot, tmp_path, answers):
    given, begun = answers
    parent = QWidget()
    qtbot.addWidget(parent)
    there = tmp_path / "a.json"
    there.write_text("{}")
    # The dialog asked about a.md; a.json is there and was not asked about: it asks again.
    given += [(str(tmp_path / "a.md"), KINDS[1]), (str(there), KINDS[1])]
    assert ask_save(parent, "Export", "a", KINDS) == there
    assert begun[1] == (str(there), KINDS[1])


@pytest.mark.parametrize(
    ("name", "end", "is_new", "expected"),
    [
        ("a.md", ".md", False, "a.md"),
        ("a.md", ".json", True, "a.json"),  # the kind was chosen, the name only proposed
        ("a.json", ".md", False, "a.json"),  # the name was typed, the kind left as it was
        ("a", ".md", False, "a.md"),
        ("v1.2", ".txt", True, "v1.2.txt"),
        ("a.TXT", ".txt", True, "a.TXT"),
        ("a", "", False, "a"),
    ],
)
def test_a_file_ends_as_its_kind_wants(name, end, is_new, expected):
    assert with_end(Path(name), end, (".md", ".txt", ".json"), is_new=is_new) == Path(expected)
