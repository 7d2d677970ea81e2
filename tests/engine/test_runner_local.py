"""LocalRunner: slots, refusals, and a stop that is obeyed between layers."""

import time

import pytest
import torch
from tiny_glm import tiny_config, write_tiny_model

from bilin_engine.models import glm130b
from bilin_engine.runners.base import PrefillRow, StoppedError
from bilin_engine.runners.load import load_runner


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "model"
    write_tiny_model(folder)
    runner = load_runner(folder, dtype="float32", num_threads=1, num_slots=3, context=20)
    yield runner
    runner.close()


def row(slot=0, ids=(1, 2, 3), prefix_len=2, start=0, positions=None):
    ids = list(ids)
    positions = list(range(start, start + len(ids))) if positions is None else positions
    return PrefillRow(slot, ids, positions, prefix_len, start)


def test_says_what_it_is(runner):
    assert (runner.num_slots, runner.max_length, runner.vocab_size) == (3, 20, 96)
    assert runner.num_threads == 1


def test_logits_at_chosen_positions(runner):
    everything = runner.prefill([row()], "all")[0]
    assert everything.shape == (3, 96)
    assert everything.dtype == torch.float32
    assert torch.allclose(runner.prefill([row()])[0], everything[2:], atol=1e-5)
    assert torch.allclose(runner.prefill([row()], [2, 0])[0], everything[[2, 0]], atol=1e-5)


def test_copied_slots_go_on_as_the_original(runner):
    runner.prefill([row(0)])
    runner.copy_slots([0, 0], [1, 2])
    assert [runner.length(slot) for slot in range(3)] == [3, 3, 3]
    logits = runner.decode([0, 1, 2], [5, 5, 7], [3, 3, 3])
    assert torch.allclose(logits[0], logits[1], atol=1e-5)
    assert not torch.allclose(logits[0], logits[2], atol=1e-2)


def test_truncating_forgets(runner):
    runner.prefill([row(0)])
    first = runner.decode([0], [5], [3])
    runner.decode([0], [6], [4])
    runner.truncate(0, 3)
    assert runner.length(0) == 3
    assert torch.allclose(runner.decode([0], [5], [3]), first, atol=1e-5)


def test_a_slot_can_be_filled_to_its_last_token(runner):
    runner.prefill([row(0, ids=range(19), prefix_len=5)])
    runner.decode([0], [1], [19])
    with pytest.raises(ValueError, match="slot 0 is full: it holds 20 of 20"):
        runner.decode([0], [1], [19])


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (row(ids=range(21)), r"0 \+ 21 tokens do not fit 20"),
        (row(ids=()), "at least one token"),
        (row(slot=3), "slot 3 is not one of 0 to 2"),
        (row(ids=(96,), prefix_len=0), "token id 96 is outside the vocabulary of 96"),
        (row(ids=(-1,), prefix_len=0), "token id -1"),
        (row(positions=[0, 1, 64]), "position 64 is outside the model's context of 64"),
        (row(positions=[0, 1]), "3 tokens with 2 positions"),
        (row(prefix_len=4), "prefix_len 4 of 3"),
        (row(start=9, prefix_len=0), "cannot start at 9"),
    ],
)
def test_rows_that_cannot_be_are_refused(runner, bad, words):
    runner.prefill([row(0)])
    with pytest.raises(ValueError, match=words):
        runner.prefill([bad])


def test_appended_tokens_cannot_be_bidirectional(runner):
    runner.prefill([row(0)])
    with pytest.raises(ValueError, match="appended at 3 are causal only"):
        runner.prefill([row(0, start=3, prefix_len=1)])


def test_the_same_slot_twice_is_refused(runner):
    with pytest.raises(ValueError, match="different ones are needed"):
        runner.prefill([row(0), row(0)])


class SlowLayer:
    """A layer that takes `layer_s` and changes nothing."""

    layer_s = 0.1

    def __call__(self, x, _rotate, _spans, poll):
        del poll
        time.sleep(self.layer_s)
        return x


@pytest.fixture
def slow_runner(tmp_path, monkeypatch):
    """30 layers of a tenth of a second: a whole pass would take 3 s."""
    write_tiny_model(tmp_path / "model", tiny_config(num_layers=30))
    monkeypatch.setattr(glm130b, "Layer", lambda *_: SlowLayer())
    runner = load_runner(tmp_path / "model", dtype="float32", num_threads=1)
    yield runner
    runner.close()


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_a_stop_is_obeyed_within_two_layers(slow_runner, phase):
    """Counted in layers run after the wish, so a busy machine changes nothing."""
    started = 0
    original = SlowLayer.__call__
    wish_after = 2

    def counted(self, *arguments):
        nonlocal started
        started += 1
        return original(self, *arguments)

    def should_stop():
        return started >= wish_after

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SlowLayer, "__call__", counted)
        if phase == "prefill":
            with pytest.raises(StoppedError):
                slow_runner.prefill([row()], should_stop=should_stop)
        else:
            patch.setattr(SlowLayer, "layer_s", 0)
            slow_runner.prefill([row()])
            patch.setattr(SlowLayer, "layer_s", 0.1)
            started = 0
            with pytest.raises(StoppedError):
                slow_runner.decode([0], [1], [3], should_stop=should_stop)
            assert slow_runner.length(0) == 3
    assert started <= wish_after + 2


def test_a_stop_is_polled_between_blocks_of_a_long_prompt(runner, monkeypatch):
    monkeypatch.setattr(glm130b, "MLP_ROWS", 4)
    polls = 0

    def should_stop():
        nonlocal polls
        polls += 1
        return False

    runner.prefill([row(ids=range(16), prefix_len=15)], should_stop=should_stop)
    # Three layers of four blocks, once before each layer, once between what the prefix and what
    # the rest attends to, once before the head.
    assert polls == 3 * (1 + 1 + 4) + 1


def test_a_closed_runner_says_so(tmp_path):
    write_tiny_model(tmp_path / "model")
    runner = load_runner(tmp_path / "model", num_threads=1)
    runner.close()
    runner.close()
    with pytest.raises(ValueError, match="closed"):
        runner.prefill([row()])
