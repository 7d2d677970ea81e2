"""The settings file keeps what it does not know and survives what it cannot read."""

import errno
from dataclasses import replace
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bilin_app.controllers.settings import SettingsController
from bilin_app.storage import settings as stored
from bilin_app.storage.settings import Settings, SettingsFile

TEXT = """# mine
theme = "dark"      # at night
future_key = [1, 2]

[shortcuts]
send = "Ctrl+Return"
"""


@pytest.fixture
def file(tmp_path) -> SettingsFile:
    return SettingsFile(tmp_path / "settings.toml")


def test_no_file_means_defaults(file):
    loaded = file.load()
    assert loaded.settings == Settings()
    assert loaded.bad_values == ()
    assert loaded.unreadable == ""
    assert not file.path.exists()


def test_saving_changes_one_value_and_keeps_comments_and_unknown_keys(file):
    file.path.write_text(TEXT, encoding="utf-8")
    settings = replace(file.load().settings, language="zh", theme="light")
    file.save(settings)
    text = file.path.read_text(encoding="utf-8")
    assert '# mine\ntheme = "light"      # at night\nfuture_key = [1, 2]\n' in text
    assert '[shortcuts]\nsend = "Ctrl+Return"' in text
    assert file.load().settings == settings


def test_defaults_are_not_written(file):
    file.save(Settings(ui_font_size=16))
    assert file.path.read_text(encoding="utf-8") == "ui_font_size = 16\n"


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('theme = "purple"', "theme"),
        ("ui_font_size = 4", "ui_font_size"),
        ("ui_font_size = true", "ui_font_size"),
        ('code_font_size = "13"', "code_font_size"),
        ("language = []", "language"),
        ("idle_unload_min = 1.5", "idle_unload_min"),
    ],
)
def test_one_bad_value_falls_back_and_is_told(file, line, key):
    file.path.write_text(f'{line}\nlast_model = "glm"\n', encoding="utf-8")
    loaded = file.load()
    assert loaded.settings == Settings(last_model="glm")
    [bad] = loaded.bad_values
    assert bad.key == key
    assert bad.used == str(getattr(Settings(), key))
    assert bad.allowed


@pytest.mark.parametrize("content", [b"theme = ", b"\xff\xfe\x00", b"theme = 1\ntheme = 2\n"])
def test_an_unreadable_file_is_told_and_kept_aside_when_saving(file, content):
    file.path.write_bytes(content)
    loaded = file.load()
    assert loaded.settings == Settings()
    assert loaded.unreadable
    assert file.path.read_bytes() == content
    file.save(Settings(language="en"))
    assert file.path.with_name("settings.toml.bad").read_bytes() == content
    assert file.load().settings == Settings(language="en")


@pytest.mark.parametrize("content", ["", "ui_font_size = 16\n", "theme = "])
def test_saving_keeps_a_link_and_writes_what_it_names(file, tmp_path, content):
    (tmp_path / "dotfiles").mkdir()
    kept = tmp_path / "dotfiles" / "bilin.toml"
    if content:
        kept.write_text(content, encoding="utf-8")
    file.path.symlink_to("dotfiles/bilin.toml")
    settings = replace(file.load().settings, language="en")
    file.save(settings)
    assert file.path.is_symlink()
    assert SettingsFile(kept).load().settings == settings
    bad = kept.with_name("bilin.toml.bad")
    assert bad.exists() is (content == "theme = ")


@pytest.mark.expects_log
def test_a_refusal_names_the_folder_of_the_file_that_a_link_names(
    qtbot, file, tmp_path, monkeypatch
):
    def refuse(*_arguments, **_options):
        raise OSError(errno.EROFS, "Read-only file system")

    file.path.symlink_to("dotfiles/bilin.toml")
    controller = SettingsController(file)
    monkeypatch.setattr(stored, "write_whole", refuse)
    with qtbot.waitSignal(controller.notice) as told:
        controller.remember_model("x")
    controller.close()
    assert f"{tmp_path / 'dotfiles'} is read-only" in told.args[0]


def test_a_failed_save_leaves_the_old_file(file, monkeypatch):
    file.save(Settings(language="en"))

    def refuse(_self, _target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        file.save(Settings(language="zh"))
    monkeypatch.undo()
    assert file.load().settings == Settings(language="en")
    assert [path.name for path in file.path.parent.iterdir()] == ["settings.toml"]


def test_what_a_person_writes_while_bilin_runs_stays(file):
    file.save(Settings(language="zh", ui_font_size=16, shortcuts=(("send", "Ctrl+S"),)))
    controller = SettingsController(file)
    file.path.write_text(
        'theme = "dark"\nlanguage = "en"\n[shortcuts]\nsend = "Ctrl+J"\nfind = "Ctrl+K"\n'
    )
    controller.remember_model("x")
    controller.set(replace(controller.settings, shortcuts=(("send", "Ctrl+S"), ("new", "Ctrl+M"))))
    controller.set(replace(controller.settings, ui_font_size=18))
    controller.close()
    shortcuts = (("send", "Ctrl+J"), ("find", "Ctrl+K"), ("new", "Ctrl+M"))
    assert file.load().settings == Settings(
        language="en", theme="dark", ui_font_size=18, last_model="x", shortcuts=shortcuts
    )


def test_a_shortcut_that_is_taken_back_leaves_the_file(file):
    file.save(Settings(shortcuts=(("send", "Ctrl+S"), ("new", "Ctrl+M"))))
    controller = SettingsController(file)
    controller.set(replace(controller.settings, shortcuts=(("send", "Ctrl+S"),)))
    controller.close()
    assert file.load().settings == Settings(shortcuts=(("send", "Ctrl+S"),))


def test_a_file_that_could_not_be_read_for_a_moment_keeps_what_it_says(file, monkeypatch):
    file.save(Settings(language="zh", ui_font_size=16))

    def refuse(*_arguments, **_options):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", refuse)
        controller = SettingsController(file)
    assert controller.settings == Settings()
    controller.remember_model("x")
    controller.close()
    assert file.load().settings == Settings(language="zh", ui_font_size=16, last_model="x")


def test_a_file_that_was_spoilt_since_is_written_anew_with_all_of_it(file):
    settings = Settings(language="zh", ui_font_size=16)
    file.path.write_text("theme = ", encoding="utf-8")
    file.save(replace(settings, last_model="x"), settings)
    assert file.load().settings == replace(settings, last_model="x")


@pytest.mark.expects_log
def test_what_was_refused_once_is_written_with_the_next(file, monkeypatch):
    controller = SettingsController(file)

    def refuse(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", refuse)
        controller.set(Settings(language="zh"))
        controller._writer.submit(lambda: None).result()
    controller.remember_model("x")
    controller.close()
    assert file.load().settings == Settings(language="zh", last_model="x")


@hypothesis.settings(max_examples=30)
@given(
    settings=st.builds(
        Settings,
        language=st.sampled_from(["system", "zh", "en"]),
        theme=st.sampled_from(["system", "light", "dark"]),
        ui_font=st.text(max_size=20),
        ui_font_size=st.integers(9, 32),
        last_model=st.text(max_size=20),
        idle_unload_min=st.integers(0, 10_000),
    )
)
def test_what_is_saved_is_loaded(tmp_path_factory, settings):
    file = SettingsFile(tmp_path_factory.mktemp("settings") / "settings.toml")
    file.save(settings)
    assert file.load().settings == settings
