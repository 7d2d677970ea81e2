"""What changes a library: trash, tokenizers, measurements, names. What is known moves with it."""

import hashlib
import json

import pytest
from library_folders import make_model, speed

from bilin_engine import processes
from bilin_engine.errors import BadRequestError, BilinError
from bilin_engine.library import (
    FileRecord,
    Library,
    read_description,
)
from bilin_engine.server import library_ops
from bilin_engine.server.library_ops import LibraryOps


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path / "models", bundled_dir=tmp_path / "none")


def test_a_deleted_model_is_in_the_trash_with_its_size_until_that_is_emptied(library):
    make_model(library.models_dir, "田中　模型")
    make_model(library.models_dir, "glm 🙂")
    ops = LibraryOps(library)
    size = library.find("tiny").size_bytes
    deleted = ops.delete("tiny")
    assert deleted.freed_bytes == size
    (trashed,) = library.trash()
    assert (trashed.name, trashed.size_bytes) == ("glm 🙂", size)
    ops.restore(trashed.trashed)
    assert library.trash() == []
    assert [info.name_en for info in library.models()] == ["glm 🙂", "田中　模型"]
    ops.delete("tiny")
    ops.empty_trash()
    assert library.trash() == []
    assert [info.name_en for info in library.models()] == ["田中　模型"]


@pytest.fixture
def any_tokenizer(monkeypatch):
    """Takes the file whose content is b"good", as icetk's own is not in the repository."""

    def load(folder):
        if (folder / "ice_text.model").read_bytes() != b"good":
            raise BilinError("no model")

    monkeypatch.setattr(library_ops, "load_tokenizer", load)


@pytest.mark.usefixtures("any_tokenizer")
def test_a_missing_tokenizer_can_be_added_later_and_the_model_stays_verified(library, tmp_path):
    folder = make_model(library.models_dir, "glm", has_tokenizer=False)
    ops = LibraryOps(library)
    ops.mark_verified(folder)
    info = library.find("tiny")
    assert info.lacks_tokenizer
    assert "tokenizer_config.json is missing" in info.problem
    file = tmp_path / "ice_text.model"
    file.write_bytes(b"good")
    ops.add_tokenizer("tiny", str(file))
    info = library.find("tiny")
    assert (info.problem, info.lacks_tokenizer) == ("", False)
    assert info.verified_at > 0
    record = read_description(folder).files["ice_text.model"]
    assert record == FileRecord(4, hashlib.sha256(b"good").hexdigest())


@pytest.mark.usefixtures("any_tokenizer")
@pytest.mark.parametrize("content", [b"bad", None])
def test_a_file_that_is_no_tokenizer_changes_nothing(library, tmp_path, content):
    folder = make_model(library.models_dir, "glm", has_tokenizer=False)
    before = {path.name for path in folder.iterdir()}
    file = tmp_path / "notes.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadRequestError, match=r"ice_text\.model"):
        LibraryOps(library).add_tokenizer("tiny", str(file))
    assert {path.name for path in folder.iterdir()} == before


def test_a_measurement_is_kept_per_model_and_machine(library):
    make_model(library.models_dir, "one")
    make_model(library.models_dir, "two")
    ops, here = LibraryOps(library), processes.cpu_label()
    ops.keep_speed("tiny", speed("another machine", 99.0, at=9.0))
    assert library.find("tiny").speed is None
    ops.keep_speed("tiny", speed(here, 5.0))
    ops.keep_speed("tiny", speed(here, 7.0, at=2.0))
    found = library.find("tiny").speed
    assert found is not None
    assert found.decode_tok_s == 7.0
    assert library.find("tiny-2").speed is None
    assert len(library.speeds()["one"]) == 2


def test_what_was_verified_and_measured_is_known_wherever_the_library_lies(library, tmp_path):
    folder = make_model(library.models_dir, "glm")
    ops = LibraryOps(library)
    ops.mark_verified(folder)
    ops.keep_speed("tiny", speed(processes.cpu_label(), 5.0))
    moved = tmp_path / "elsewhere"
    library.models_dir.rename(moved)
    info = Library(moved, bundled_dir=tmp_path / "none").find("tiny")
    assert info.verified_at > 0
    assert info.speed is not None


@pytest.mark.parametrize("name", ["田中　模型", "glm 🙂"])
def test_a_model_takes_the_name_a_person_gives_it(library, name):
    make_model(library.models_dir, "one")
    LibraryOps(library).rename("tiny", name)
    assert library.find("tiny").name_zh == name


def test_a_rename_keeps_what_a_later_version_wrote(library):
    path = make_model(library.models_dir, "one") / "bilin.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "later": {"key": 1}}))
    LibraryOps(library).rename("tiny", "new")
    content = json.loads(path.read_text())
    assert (content["later"], content["names"]) == ({"key": 1}, {"zh": "new", "en": "new"})


@pytest.mark.parametrize("name", ["", "　", "a\nb", "a\u202eb", "x" * 81])
def test_a_name_that_cannot_be_shown_is_refused(library, name):
    make_model(library.models_dir, "one")
    with pytest.raises(BadRequestError, match="is not possible"):
        LibraryOps(library).rename("tiny", name)


def test_a_record_by_whole_path_of_an_earlier_version_still_counts(library):
    folder = make_model(library.models_dir, "glm")
    LibraryOps(library).mark_verified(folder)
    path = library.state_dir / "verified.json"
    records = json.loads(path.read_text())
    path.write_text(json.dumps({str(folder): records["glm"]}))
    assert library.find("tiny").verified_at > 0


def test_a_disk_that_refuses_leaves_the_model_and_says_why(library, monkeypatch):
    folder = make_model(library.models_dir, "glm")

    def refuse(*_args, **_options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(library_ops.tempfile, "mkstemp", refuse)
    with pytest.raises(BilinError, match="Read-only file system"):
        LibraryOps(library).rename("tiny", "新名字 🙂")
    assert read_description(folder).names.en == "glm"


def ids_by_folder(library):
    return {info.path.rpartition("/")[2]: info.id for info in library.models()}


def test_the_id_of_a_model_does_not_change_when_another_goes_or_comes_back(library):
    for name in ("a", "b", "c"):
        make_model(library.models_dir, name)
    ops = LibraryOps(library)
    before = ids_by_folder(library)
    assert before == {"a": "tiny", "b": "tiny-2", "c": "tiny-3"}
    trashed = [ops.delete("tiny").trashed, ops.delete("tiny-2").trashed]
    assert ids_by_folder(library) == {"c": "tiny-3"}
    ops.restore(trashed[1])
    assert ids_by_folder(library) == {"b": "tiny-2", "c": "tiny-3"}
    ops.restore(trashed[0])
    assert ids_by_folder(library) == before


def set_id(folder, model_id):
    path = folder / "bilin.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "id": model_id}))


def test_the_id_of_a_deleted_model_is_not_for_the_next_one_in_its_folder(library):
    for name in ("a", "b"):
        make_model(library.models_dir, name)
    ops = LibraryOps(library)
    ops.delete("tiny-2")
    assert library.ids() == {"a": "tiny"}
    set_id(make_model(library.models_dir, "b"), "other")
    assert ids_by_folder(library) == {"a": "tiny", "b": "other"}


def test_the_id_of_a_model_taken_off_the_list_is_not_for_the_next_one_there(library, tmp_path):
    linked = make_model(tmp_path / "elsewhere", "linked")
    make_model(library.models_dir, "a")
    ops = LibraryOps(library)
    ops.add_in_place(str(linked))
    assert ids_by_folder(library) == {"a": "tiny", "linked": "tiny-2"}
    ops.delete("tiny-2")
    assert library.ids() == {"a": "tiny"}


def test_another_model_put_into_a_folder_without_bilin_has_its_own_id(library):
    long = "x" * 64
    for name in ("a", "b", "c", "d"):
        make_model(library.models_dir, name)
    for name in ("c", "d"):
        set_id(library.models_dir / name, long)
    LibraryOps(library).keep_ids()
    before = {"a": "tiny", "b": "tiny-2", "c": long, "d": f"{long[:62]}-2"}
    assert ids_by_folder(library) == before
    make_model(library.models_dir, "0")  # nothing that was kept is given up
    assert ids_by_folder(library) == {"0": "tiny-3", **before}
    set_id(library.models_dir / "b", "other")
    assert ids_by_folder(library) == {"0": "tiny-2", **before, "b": "other"}


def test_a_full_disk_keeps_no_model_from_being_deleted(library, monkeypatch):
    for name in ("a", "b"):
        make_model(library.models_dir, name)

    def refuse(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(library_ops.tempfile, "mkstemp", refuse)
    LibraryOps(library).delete("tiny-2")
    assert ids_by_folder(library) == {"a": "tiny"}


def test_a_restored_model_leaves_the_id_to_the_one_that_has_it_now(library):
    make_model(library.models_dir, "a")
    ops = LibraryOps(library)
    trashed = ops.delete("tiny").trashed
    make_model(library.models_dir, "b")
    ops.restore(trashed)
    assert ids_by_folder(library) == {"a": "tiny-2", "b": "tiny"}


def test_the_id_of_a_model_added_in_place_stays_and_takes_none_away(library, tmp_path):
    linked = make_model(tmp_path / "elsewhere", "linked")
    ops = LibraryOps(library)
    ops.add_in_place(str(linked))
    other = make_model(tmp_path / "elsewhere", "other")
    ops.add_in_place(str(other))
    assert ids_by_folder(library) == {"linked": "tiny", "other": "tiny-2"}
    make_model(library.models_dir, "copied by hand")
    ids = {"copied by hand": "tiny-3", "linked": "tiny", "other": "tiny-2"}
    assert ids_by_folder(library) == ids
    assert read_description(other).id == "tiny"  # nothing is written into a folder that is not ours
    ops.delete("tiny")
    (other / "bilin.json").rename(other / "away")
    ops.add_in_place(str(linked))
    assert ids_by_folder(library) == ids


def test_a_model_whose_disk_is_away_gets_its_own_id_when_it_is_back(library, tmp_path):
    linked = make_model(tmp_path / "disk", "linked")
    library.state_dir.mkdir(parents=True)
    (library.state_dir / "linked.json").write_text(json.dumps([str(linked)]))  # an earlier version
    (tmp_path / "disk").rename(tmp_path / "away")
    make_model(library.models_dir, "a")
    LibraryOps(library).delete("tiny")
    (tmp_path / "away").rename(tmp_path / "disk")
    assert ids_by_folder(library) == {"linked": "tiny"}
