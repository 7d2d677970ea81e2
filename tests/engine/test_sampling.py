"""How a token is chosen, on logits made by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bilin_engine.errors import BadRequestError, ModelBrokenError
from bilin_engine.generation import sampling as module
from bilin_engine.generation.draft import Draft
from bilin_engine.generation.request import GenerationRequest, PromptLayout, check_sampling
from bilin_engine.generation.sampling import (
    LogitRules,
    candidate_generator,
    choose,
    token_logprobs,
)
from bilin_engine.protocol import Sampling

# Probabilities of ids 0 to 4.
PROBABILITIES = [0.05, 0.4, 0.3, 0.15, 0.1]
LOGITS = torch.tensor(PROBABILITIES).log()


def plain(**changes) -> Sampling:
    return Sampling(**{"temperature": 1.0, "top_p": 1.0, **changes})


def drawn(sampling: Sampling, count: int = 300) -> set[int]:
    generator = torch.Generator().manual_seed(0)
    return {choose(LOGITS, sampling, generator) for _ in range(count)}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {0, 1, 2, 3, 4}),
        ({"temperature": 0.0}, {1}),
        ({"top_k": 1}, {1}),
        ({"top_k": 3}, {1, 2, 3}),
        ({"top_k": 99}, {0, 1, 2, 3, 4}),
        ({"top_p": 0.4}, {1}),
        ({"top_p": 0.41}, {1, 2}),  # the first id that crosses p stays
        ({"top_p": 0.86}, {1, 2, 3, 4}),
        ({"top_p": 0.0}, {0, 1, 2, 3, 4}),  # off, as in the reference
        ({"min_p": 0.5}, {1, 2}),  # at least half of 0.4
        ({"top_k": 3, "top_p": 0.5}, {1, 2}),  # half of the 0.85 that top-k keeps is past 0.4
        ({"temperature": 0.1, "min_p": 0.01}, {1, 2}),  # 0.75 ** 10 = 0.056, 0.375 ** 10 = 5e-5
    ],
)
def test_what_survives(changes, expected):
    assert drawn(plain(**changes)) == expected


def test_draws_have_the_models_frequencies():
    """4,000 draws: five standard errors of the largest share are 0.039."""
    generator = torch.Generator().manual_seed(3)
    counts = torch.zeros(5)
    for _ in range(4000):
        counts[choose(LOGITS, plain(), generator)] += 1
    assert (counts / 4000 - torch.tensor(PROBABILITIES)).abs().max() < 0.039


def test_temperature_sharpens():
    generator = torch.Generator().manual_seed(3)
    sampling = plain(temperature=0.5)
    share = sum(choose(LOGITS, sampling, generator) == 1 for _ in range(4000)) / 4000
    squares = [p * p for p in PROBABILITIES]
    assert share == pytest.approx(0.16 / sum(squares), abs=0.04)


@given(
    seed=st.integers(0, 2**31),
    top_p=st.sampled_from([0.1, 0.5, 0.9, 0.999]),
    top_k=st.sampled_from([0, 1, 5, 60]),
)
def test_a_small_first_try_keeps_the_same_ids(seed, top_p, top_k):
    """top-p looks at a few ids first; what it keeps must not depend on how many."""
    probs = torch.softmax(
        torch.randn(200, generator=torch.Generator().manual_seed(seed)).double() * 2, 0
    )
    settings = plain(top_p=top_p, top_k=top_k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_TOP_P_FIRST_TRY", 7)
        few = module._kept(probs, settings)
    all_at_once = module._kept(probs, settings)
    assert few[0].tolist() == all_at_once[0].tolist()


def test_the_same_seed_gives_the_same_draws_and_candidates_differ():
    def run(candidate):
        generator = candidate_generator(7, candidate)
        return [choose(LOGITS, plain(), generator) for _ in range(20)]

    assert run(0) == run(0)
    assert len({tuple(run(c)) for c in range(5)}) == 5


def rules(prompt=(1, 2), stop=(4,), banned=(), **changes) -> LogitRules:
    return LogitRules(plain(**changes), prompt, frozenset(stop), frozenset(banned))


def test_banned_ids_are_never_chosen():
    found = rules(banned=[1, 3, 9]).apply(LOGITS, [])
    assert torch.isneginf(found).nonzero().flatten().tolist() == [1, 3]


def test_what_ends_a_request_is_not_banned_from_it():
    """Code Llama's fills end in a token that no other text may hold."""
    found = rules(banned=[1, 4], stop=[4]).apply(LOGITS, [])
    assert torch.isneginf(found).nonzero().flatten().tolist() == [1]


def test_stop_ids_are_banned_until_min_new_tokens():
    needs_two = rules(min_new_tokens=2)
    assert torch.isneginf(needs_two.apply(LOGITS, [0])[4])
    assert not torch.isneginf(needs_two.apply(LOGITS, [0, 0])[4])


def test_repetition_penalty_lowers_ids_of_prompt_and_output():
    logits = torch.tensor([2.0, 2.0, -2.0, 2.0, -2.0])
    found = rules(prompt=[0, 2], repetition_penalty=2.0).apply(logits, [3])
    assert found.tolist() == [1.0, 2.0, -4.0, 1.0, -2.0]


@pytest.mark.parametrize(
    ("n", "generated", "banned"),
    [
        (1, [0, 3], [0, 3]),
        (2, [3, 0, 3], [0]),  # after 3 came 0
        (2, [1, 3, 1], [3]),
        (2, [2, 0], []),
        (2, [0, 1], []),  # 1 2 is in the prompt only: not banned, as in the reference
        (3, [3, 0, 3, 1, 2], [3]),  # 1 2 (prompt) then 3 (output): ended in the output
    ],
)
def test_repeated_ngrams_are_banned(n, generated, banned):
    found = rules(prompt=[1, 2], no_repeat_ngram_size=n).apply(LOGITS, generated)
    assert torch.isneginf(found).nonzero().flatten().tolist() == banned


def test_rules_never_change_the_callers_logits():
    before = LOGITS.clone()
    rules(banned=[1], repetition_penalty=2.0).apply(LOGITS, [0])
    assert torch.equal(LOGITS, before)


def test_bans_that_leave_nothing_are_refused():
    with pytest.raises(BadRequestError, match="no token is left"):
        rules(stop=(), banned=range(5)).apply(LOGITS, [])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_refused(value):
    with pytest.raises(ModelBrokenError, match="not finite"):
        token_logprobs(torch.tensor([0.0, value]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temperature": -0.1}, r"temperature -0\.1 .* from 0 \(greedy\)"),
        ({"temperature": math.nan}, "temperature nan"),
        ({"top_p": 1.1}, r"top_p 1\.1 .* from 0 to 1"),
        ({"top_k": -1}, "top_k -1"),
        ({"min_p": 2.0}, "min_p 2"),
        ({"repetition_penalty": 0.0}, "repetition_penalty 0"),
        ({"max_new_tokens": 0}, "max_new_tokens 0 .* from 1 to 2147483647"),
        ({"top_k": 2**31}, r"top_k 2147483648 .* from 0 \(off\) to 2147483647"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "min_new_tokens 9 is more than"),
        ({"num_beams": 0}, "num_beams 0"),
        ({"num_beams": 10**6}, r"num_beams 1000000 .* from 1 \(off\) to 65536"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_values_that_cannot_be_are_refused(changes, words):
    with pytest.raises(BadRequestError, match=words):
        check_sampling(Sampling(**changes))


@pytest.mark.parametrize(
    "sampling", [Sampling(top_p=0.9, temperature=1.0), Sampling(temperature=0)]
)
def test_a_model_whose_logits_are_no_numbers_is_told_by_its_sentence(sampling):
    prompt = PromptLayout((1,), (0,), 0, None, None)
    request = GenerationRequest(prompt, sampling, frozenset())
    rules = LogitRules(sampling, (1,), frozenset(), frozenset())
    draft = Draft(0, request, rules, torch.Generator())
    with pytest.raises(ModelBrokenError, match="not finite"):
        draft.choose(torch.full((8,), torch.nan))
