"""A model on a Runner as evaluation sees it: greedy answers that end where a chat would end."""

from pathlib import Path

import pytest
import torch

from bilin_engine.chat_format import find_chat_format
from bilin_engine.errors import BadRequestError, ContextOverflowError
from bilin_engine.evaluate.model import RunnerModel
from bilin_engine.protocol import Message
from bilin_engine.runners.base import Runner, StoppedError
from bilin_engine.tokenizers.sentencepiece import SentencePieceTokenizer

TINY = SentencePieceTokenizer(Path(__file__).parents[1] / "data" / "tokenizers" / "tiny.model")


class SayingRunner(Runner):
    """Says the ids given, whatever is asked; second best is [gMASK] throughout."""

    def __init__(self, token_ids: list[int]) -> None:
        self.num_slots = self.num_texts = 1
        self.max_length, self.vocab_size = 128, 512
        self.backend, self.num_threads = "scripted", 1
        self.said = 0
        self._token_ids = token_ids

    def _next(self) -> torch.Tensor:
        logits = torch.zeros(1, self.vocab_size)
        logits[0, TINY.specials.gmask or 0] = 5.0
        logits[0, self._token_ids[self.said]] = 10.0
        self.said += 1
        return logits

    def prefill(self, rows, logits="last", should_stop=None):
        del rows, logits, should_stop
        return [self._next()]

    def decode(self, slots, token_ids, position_ids, should_stop=None):
        del slots, token_ids, position_ids
        if should_stop is not None and should_stop():
            raise StoppedError
        return self._next()

    def copy_slots(self, src, dst): ...

    def truncate(self, slot, length): ...

    def length(self, slot):
        return slot

    def memory_bytes(self):
        return {}

    def close(self): ...


def ask(token_ids: list[int], max_new_tokens: int = 50) -> tuple[str, SayingRunner]:
    runner = SayingRunner(token_ids)
    model = RunnerModel("m", runner, TINY, find_chat_format("qa"))
    return model.chat([Message("user", "你好")], max_new_tokens), runner


def test_an_answer_ends_at_the_stop_token():
    reply, _ = ask([*TINY.encode("你好，我在。"), TINY.specials.eop or 0])
    assert reply == "你好，我在。"


def test_an_answer_ends_where_a_turn_of_the_user_begins():
    said = TINY.encode("你好。\n问：再见 and much more text")
    reply, runner = ask(said)
    assert reply == "你好。"
    assert runner.said < len(said)


def test_an_answer_ends_at_its_longest():
    reply, runner = ask(TINY.encode_after("你好" * 20), max_new_tokens=4)
    assert reply == "你好你好"
    assert runner.said == 4


def test_masks_are_never_said():
    runner = SayingRunner([TINY.specials.sop or 0, TINY.specials.eop or 0])
    model = RunnerModel("m", runner, TINY, find_chat_format("qa"))
    reply = model.chat([Message("user", "你好")], 5)
    assert "sop" not in reply
    assert "MASK" not in reply


def test_a_model_that_cannot_chat_is_refused():
    model = RunnerModel("m", SayingRunner([]), TINY, None)
    with pytest.raises(BadRequestError, match="m cannot chat; probe files need a model that can"):
        model.chat([Message("user", "你好")], 5)


def test_a_question_that_leaves_no_room_is_told_before_it_is_asked():
    model = RunnerModel("m", SayingRunner([]), TINY, find_chat_format("qa"))
    model.check_chat([Message("user", "你好")])
    with pytest.raises(ContextOverflowError):
        model.check_chat([Message("user", "你好" * model.max_length)])
