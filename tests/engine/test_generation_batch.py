"""Requests decoded together: each gets what it would get alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_causal import random_weights, tiny_config
from tiny_glm import write_tiny_model

from bilin_engine.checkpoints.model_folder import write_model_folder
from bilin_engine.errors import BadRequestError, ContextOverflowError
from bilin_engine.generation.batch import generate_batch
from bilin_engine.generation.generate import generate
from bilin_engine.generation.request import GenerationRequest, PromptLayout
from bilin_engine.protocol import Sampling
from bilin_engine.runners.base import StoppedError
from bilin_engine.runners.load import load_runner
from bilin_engine.runners.local import LocalRunner

STOP = frozenset({0, 1, 2, 3, 4, 5, 6, 7})


def masked(ids) -> PromptLayout:
    """[MASK] in the middle: the output keeps its position."""
    token_ids = (*ids, 90, *ids, 94)
    positions = (*range(len(token_ids) - 1), len(ids))
    return PromptLayout(token_ids, positions, len(token_ids) - 1, len(ids), len(ids))


def counted(ids, prefix=True) -> PromptLayout:
    """[gMASK] at the end, or a causal prompt: the output counts up."""
    token_ids = (*ids, 91, 94) if prefix else tuple(ids)
    prefix_len = len(token_ids) - 1 if prefix else 0
    return PromptLayout(token_ids, tuple(range(len(token_ids))), prefix_len, None, None)


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "model"
    write_tiny_model(folder, head_scale=0.2)
    runner = load_runner(folder, dtype="float32", num_threads=1, num_slots=3)
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "model"
    config = tiny_config("glm4")
    write_model_folder(folder, config, random_weights(config).items())
    runner = load_runner(folder, dtype="float32", num_threads=1, num_slots=4)
    yield runner
    runner.close()


def batch(runner, requests, **options):
    return generate_batch(runner, requests, lambda *_: None, lambda: False, **options)


def alone(runner, request):
    return generate(runner, request, lambda *_: None, lambda: False)


def same(together, apart):
    for one, other in zip(together.candidates, apart.candidates, strict=True):
        assert one.token_ids == other.token_ids
        assert one.finish_reason == other.finish_reason
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    assert together.stats.prompt_tokens == apart.stats.prompt_tokens
    assert together.stats.encoded_tokens == apart.stats.encoded_tokens
    assert together.stats.new_tokens == apart.stats.new_tokens
    assert together.stats.seed == apart.stats.seed


ids_lists = st.lists(st.integers(8, 85), min_size=1, max_size=12)
samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.7, 1.5]),
    top_k=st.sampled_from([0, 5]),
    top_p=st.sampled_from([1.0, 0.8]),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
    no_repeat_ngram_size=st.sampled_from([0, 2]),
    min_new_tokens=st.integers(0, 2),
    max_new_tokens=st.integers(2, 9),
    seed=st.integers(0, 2**40),
)
drawn = st.builds(
    lambda layout, ids, sampling, stop: GenerationRequest(layout(ids), sampling, stop),
    st.sampled_from([masked, counted]),
    ids_lists,
    samplings,
    st.sampled_from([frozenset(), STOP, frozenset(range(8, 40))]),
)


@settings(max_examples=15)
@given(st.lists(drawn, min_size=1, max_size=7))
def test_every_row_draws_what_it_would_draw_alone(runner, requests):
    """More rows than slots, each with its own prompt, sampling, seed and stops."""
    for together, request in zip(batch(runner, requests), requests, strict=True):
        same(together, alone(runner, request))


def test_causal_rows_draw_what_they_would_draw_alone(causal):
    requests = [
        GenerationRequest(
            counted(range(10, 11 + n), prefix=False),
            Sampling(temperature=1.0, max_new_tokens=3 + n, seed=n),
            STOP,
        )
        for n in range(9)
    ]
    for together, request in zip(batch(causal, requests), requests, strict=True):
        same(together, alone(causal, request))


@pytest.mark.parametrize("options", [{"kv_dtype": "int8"}, {"backend": "cpu", "dtype": None}])
def test_every_precision_draws_the_same_tokens(tmp_path, options):
    write_tiny_model(tmp_path / "m", head_scale=0.2)
    runner = load_runner(
        tmp_path / "m", **{"dtype": "float32", "num_threads": 1, "num_slots": 4, **options}
    )
    requests = [
        GenerationRequest(
            counted([9 + n, 30, 40 + n]), Sampling(max_new_tokens=6, seed=n), frozenset()
        )
        for n in range(6)
    ]
    for together, request in zip(batch(runner, requests), requests, strict=True):
        expected = alone(runner, request).candidates[0].token_ids
        assert together.candidates[0].token_ids == expected
    runner.close()


def test_rows_are_decoded_together_and_a_free_slot_is_taken_at_once(runner, monkeypatch):
    steps = []
    decode = LocalRunner.decode

    def counting(self, slots, *rest):
        steps.append(len(slots))
        return decode(self, slots, *rest)

    monkeypatch.setattr(LocalRunner, "decode", counting)
    lengths = [2, 6, 6, 4]  # three slots: the fourth joins when the first has ended
    batch(
        runner,
        [
            GenerationRequest(counted([20 + n]), Sampling(max_new_tokens=n, seed=1), frozenset())
            for n in lengths
        ],
    )
    # The first token of each comes from its prefill.
    assert steps == [3, 3, 3, 3, 2]
    assert sum(steps) == sum(lengths) - len(lengths)


def test_prompts_are_scored_together_up_to_a_limit(runner, monkeypatch):
    passes = []
    prefill = LocalRunner.prefill

    def counting(self, rows, *rest):
        passes.append(sum(len(row.token_ids) for row in rows))
        return prefill(self, rows, *rest)

    monkeypatch.setattr(LocalRunner, "prefill", counting)
    monkeypatch.setattr("bilin_engine.generation.batch.MAX_PASS_TOKENS", 30)
    requests = [
        GenerationRequest(
            counted(range(10, 10 + n)), Sampling(seed=1), frozenset(), forced_choices=((9,),)
        )
        for n in (10, 10, 10, 40)
    ]
    batch(runner, requests)
    assert passes == [24, 12, 42]


def test_tokens_are_told_row_by_row_and_a_listener_ends_its_own_row(runner):
    told: dict[int, list[int]] = {0: [], 1: [], 2: []}
    requests = [
        GenerationRequest(counted([20 + n]), Sampling(max_new_tokens=8, seed=n), frozenset())
        for n in range(3)
    ]
    results = generate_batch(
        runner,
        requests,
        lambda row, token, _logprob: told[row].append(token),
        lambda: False,
        lambda row: row == 1 and len(told[1]) == 3,
    )
    for row, result in enumerate(results):
        assert list(result.candidates[0].token_ids) == told[row]
    assert [len(tokens) for tokens in told.values()] == [8, 3, 8]
    assert [r.candidates[0].finish_reason for r in results] == ["length", "stop_text", "length"]


choices = st.lists(
    st.lists(st.integers(8, 85), min_size=1, max_size=4).map(tuple),
    min_size=1,
    max_size=4,
    unique=True,
)


@settings(max_examples=15)
@given(st.lists(st.tuples(st.sampled_from([masked, counted]), ids_lists, choices), max_size=6))
def test_scores_are_those_of_every_prompt_alone(runner, asked):
    requests = [
        GenerationRequest(layout(ids), Sampling(seed=0), frozenset(), forced_choices=tuple(choices))
        for layout, ids, choices in asked
    ]
    for together, request in zip(batch(runner, requests), requests, strict=True):
        found = {c.token_ids: c.logprobs for c in together.candidates}
        apart = {c.token_ids: c.logprobs for c in alone(runner, request).candidates}
        assert found.keys() == apart.keys()
        for choice, logprobs in apart.items():
            assert found[choice] == pytest.approx(logprobs, abs=1e-4)
        assert [c.score for c in together.candidates] == sorted(
            (c.score for c in together.candidates), reverse=True
        )


def test_many_prompts_with_one_choice_each_are_scored_in_few_passes(runner, monkeypatch):
    """A text with each of its words masked in turn."""
    passes = []
    prefill = LocalRunner.prefill

    def counting(self, rows, *rest):
        passes.append(len(rows))
        return prefill(self, rows, *rest)

    monkeypatch.setattr(LocalRunner, "prefill", counting)
    requests = [
        GenerationRequest(
            masked([20 + n, 30]), Sampling(seed=0), frozenset(), forced_choices=((40, 41 + n),)
        )
        for n in range(7)
    ]
    results = batch(runner, requests)
    assert passes == [3, 3, 1]
    assert all(len(r.candidates[0].logprobs) == 2 for r in results)


def test_beams_candidates_and_draws_in_one_call(runner):
    requests = [
        GenerationRequest(counted([20, 21]), Sampling(max_new_tokens=4, num_beams=3, seed=1), STOP),
        GenerationRequest(counted([22]), Sampling(max_new_tokens=4, seed=2), STOP),
        GenerationRequest(masked([23]), Sampling(max_new_tokens=4, seed=3), STOP, num_candidates=5),
    ]
    for together, request in zip(batch(runner, requests), requests, strict=True):
        same(together, alone(runner, request))


def test_what_cannot_be_is_refused_by_number_before_anything_runs(runner, monkeypatch):
    monkeypatch.setattr(LocalRunner, "prefill", None)
    good = GenerationRequest(counted([20]), Sampling(max_new_tokens=4, seed=1), frozenset())
    long = GenerationRequest(counted(range(8, 72)), Sampling(seed=1), frozenset())
    with pytest.raises(ContextOverflowError, match="request 2 of 2: the prompt has 66 tokens"):
        batch(runner, [good, long])
    wrong = GenerationRequest(counted([20]), Sampling(top_p=2.0), frozenset())
    with pytest.raises(BadRequestError, match=r"^top_p 2.0 is not possible"):
        batch(runner, [wrong])
    empty = GenerationRequest(counted([20]), Sampling(), frozenset(), forced_choices=((),))
    with pytest.raises(BadRequestError, match="request 1 of 2: a forced choice is empty"):
        batch(runner, [empty, good])
    sampling = Sampling(num_beams=runner.num_slots + 1)
    beams = GenerationRequest(counted([20]), sampling, frozenset())
    with pytest.raises(BadRequestError, match=r"request 2 of 2: beam search over 4 .* for 3:"):
        batch(runner, [good, beams])


def test_a_stop_ends_all_rows_and_the_runner_goes_on(runner):
    request = GenerationRequest(counted([20]), Sampling(max_new_tokens=8, seed=1), frozenset())
    heard = []
    with pytest.raises(StoppedError):
        generate_batch(
            runner,
            [request, request],
            lambda *token: heard.append(token),
            lambda: len(heard) >= 4,
        )
    assert len(heard) == 4
    same(batch(runner, [request])[0], alone(runner, request))


def test_no_requests_are_no_results(runner):
    assert batch(runner, []) == []


def test_torch_random_state_is_left_alone(runner):
    before = torch.random.get_rng_state()
    batch(runner, [GenerationRequest(counted([20]), Sampling(max_new_tokens=3), frozenset())])
    assert torch.equal(before, torch.random.get_rng_state())
