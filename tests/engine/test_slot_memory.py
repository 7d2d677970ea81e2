"""A growing chat goes on from what its slot holds, and answers as if encoded anew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_causal import random_weights, tiny_config
from tiny_glm import write_tiny_model

from bilin_engine.checkpoints.model_folder import write_model_folder
from bilin_engine.generation.generate import generate
from bilin_engine.generation.request import GenerationRequest, PromptLayout
from bilin_engine.generation.slot_memory import SlotMemory
from bilin_engine.protocol import Sampling
from bilin_engine.runners.base import StoppedError
from bilin_engine.runners.load import load_runner
from bilin_engine.runners.local import LocalRunner

FIRST = [5, 17, 3, 60, 42]


def causal(ids) -> PromptLayout:
    return PromptLayout(tuple(ids), tuple(range(len(ids))), 0, None, None)


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """Counts the tokens that prefills encode, in `runner.encoded`."""
    config = tiny_config("glm4")
    write_model_folder(tmp_path / "m", config, random_weights(config).items())
    runner = load_runner(tmp_path / "m", dtype="float32", num_threads=1, num_slots=3)
    encoded: list[int] = []
    prefill = LocalRunner.prefill

    def counting(self, rows, *args):
        encoded.extend(len(row.token_ids) for row in rows)
        return prefill(self, rows, *args)

    monkeypatch.setattr(LocalRunner, "prefill", counting)
    return runner, encoded


def run(runner, ids, memory=None, should_stop=lambda: False, **options):
    return generation(runner, ids, memory, should_stop, **options).candidates


def generation(runner, ids, memory=None, should_stop=lambda: False, **options):
    candidates = options.pop("num_candidates", 1)
    choices = options.pop("forced_choices", ())
    sampling = Sampling(**{"temperature": 1.0, "max_new_tokens": 4, "seed": 1, **options})
    request = GenerationRequest(
        causal(ids), sampling, frozenset(), num_candidates=candidates, forced_choices=choices
    )
    return generate(runner, request, lambda *_: None, should_stop, memory)


def test_the_next_turn_encodes_only_what_is_new(runner):
    runner, encoded = runner
    memory = SlotMemory()
    answer = run(runner, FIRST, memory)[0].token_ids
    # The answer's last token was chosen and never encoded.
    second = [*FIRST, *answer, 9, 61]
    again = run(runner, second, memory)
    assert encoded == [5, 3]
    assert tokens(again) == tokens(run(runner, second))


def tokens(candidates):
    return [c.token_ids for c in candidates]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_candidates": 3},
        {"num_candidates": 5},
        {"num_beams": 3},
        {"forced_choices": ((1, 2), (3,))},
    ],
)
def test_whatever_ran_before_the_tokens_are_those_of_a_fresh_prompt(runner, options):
    runner, encoded = runner
    memory = SlotMemory()
    run(runner, FIRST, memory, **options)
    second = [*FIRST, 7, 8]
    encoded.clear()
    found = run(runner, second, memory)
    assert encoded == [2]
    assert tokens(found) == tokens(run(runner, second))


def test_another_chat_is_encoded_from_where_it_differs(runner):
    runner, encoded = runner
    memory = SlotMemory()
    run(runner, FIRST, memory)
    other = [5, 17, 44, 45]
    encoded.clear()
    assert tokens(run(runner, other, memory)) == tokens(run(runner, other))
    assert encoded == [2, 4]


def test_the_same_prompt_again_encodes_its_last_token(runner):
    runner, encoded = runner
    memory = SlotMemory()
    first = run(runner, FIRST, memory)
    assert tokens(run(runner, FIRST, memory)) == tokens(first)
    assert encoded == [5, 1]


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"forced_choices": ((1, 2), (3,))}])
def test_it_is_told_how_much_of_the_prompt_was_encoded(runner, options):
    runner, _ = runner
    memory = SlotMemory()
    found = [generation(runner, FIRST, memory, **options).stats for _ in range(2)]
    assert [stats.encoded_tokens for stats in found] == [5, 1]
    assert [stats.prompt_tokens for stats in found] == [5, 5]


@pytest.mark.parametrize("polls", [1, 2, 5, 7])
def test_after_a_stop_nothing_half_written_is_used(runner, polls):
    runner, _ = runner
    memory = SlotMemory()
    run(runner, FIRST, memory)
    left = polls

    def should_stop() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    with pytest.raises(StoppedError):
        run(runner, [5, 17, 44, 45, 46], memory, should_stop)
    for prompt in (FIRST, [5, 17, 44, 45, 46, 47]):
        assert tokens(run(runner, prompt, memory)) == tokens(run(runner, prompt))
        memory.keep(0)


@pytest.mark.parametrize("drawn", [1, 3])
def test_a_stop_in_a_later_candidate_leaves_nothing_of_the_first_to_go_on_from(runner, drawn):
    runner, _ = runner
    runner.num_texts = 1
    first = run(runner, FIRST)[0].token_ids
    memory = SlotMemory()
    chosen: list[int] = []
    request = GenerationRequest(
        causal(FIRST),
        Sampling(temperature=1.0, max_new_tokens=4, seed=1),
        frozenset(),
        num_candidates=2,
    )
    with pytest.raises(StoppedError):
        generate(
            runner,
            request,
            lambda candidate, *_: chosen.append(candidate),
            lambda: chosen.count(1) == drawn,
            memory,
        )
    follow_up = [*FIRST, *first, 7]
    assert tokens(run(runner, follow_up, memory)) == tokens(run(runner, follow_up))


def test_prompts_seen_from_both_sides_are_encoded_whole(tmp_path):
    write_tiny_model(tmp_path / "m")
    runner = load_runner(tmp_path / "m", dtype="float32", num_threads=1)
    memory = SlotMemory()
    prompt = PromptLayout((5, 17, 88, 91, 94), (0, 1, 2, 3, 4), 4, None, 3)
    request = GenerationRequest(prompt, Sampling(max_new_tokens=2, seed=1), frozenset())
    for _ in range(2):
        assert memory.reusable(prompt) == 0
        generate(runner, request, lambda *_: None, lambda: False, memory)


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3), min_size=1))
def test_what_is_reused_is_a_common_beginning_and_never_all(held, wanted):
    memory = SlotMemory()
    memory.hold(causal(held))
    count = memory.reusable(causal(wanted))
    assert held[:count] == wanted[:count]
    assert count < len(wanted)
    assert count == len(wanted) - 1 or held[: count + 1] != wanted[: count + 1]
