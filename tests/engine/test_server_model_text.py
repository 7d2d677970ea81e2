"""The text sides of a library: how many are kept, and how often a long chat is read."""

import gc
import weakref

from library_folders import make_model

from bilin_engine.library import Library
from bilin_engine.server import model_text
from bilin_engine.server.model_text import ModelTexts


def test_the_text_sides_asked_for_last_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(model_text, "load_tokenizer", lambda _folder: object())
    for name in "abcde":
        make_model(tmp_path / "models", name)
    texts = ModelTexts(Library(tmp_path / "models", bundled_dir=tmp_path / "none"))
    infos = texts.models()
    kept = [weakref.ref(texts.text(infos[number])) for number in (0, 1, 2, 0, 3, 4)]
    gc.collect()
    assert [ref() is not None for ref in kept] == [True, False, False, True, True, True]
    for number, ref in zip((0, 3, 4), kept[3:], strict=True):
        assert texts.text(infos[number]) is ref()
