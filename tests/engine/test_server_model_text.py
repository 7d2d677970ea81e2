"""The text sides of a library: how many are kept, and how often a long chat is read."""

import gc
import weakref

from letter_models import letter_model
from letter_tokenizer import LetterTokenizer
from library_folders import make_model

from bilin_engine.chat_format import find_chat_format
from bilin_engine.library import Library
from bilin_engine.protocol import CountTokens, Message, Role
from bilin_engine.server import model_text
from bilin_engine.server.model_text import ModelText, ModelTexts


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


def test_a_chat_that_has_outgrown_the_model_is_read_once_for_its_size():
    """What fits is read twice more, once with the exchange before it: it is the most that does."""
    read = []

    class Counted(LetterTokenizer):
        def encode(self, text):
            read.append(text)
            return super().encode(text)

    exchange: list[Role] = ["user", "assistant"]
    roles: list[Role] = [*exchange * 200, "user"]
    messages = tuple(Message(role, f"<{number:03d}>" * 5) for number, role in enumerate(roles))
    text = ModelText(letter_model(), Counted(), find_chat_format("qa"))
    count = text.count_tokens(CountTokens(id=1, model="letters", messages=messages), 2048)
    times = [sum(said.count(message.text) for said in read) for message in messages]
    num_dropped = len(count.dropped_messages)
    assert count.dropped_messages == tuple(range(num_dropped))
    assert num_dropped > 200
    assert set(times[: num_dropped - 2]) == {1}
    assert set(times[num_dropped:]) == {3}
