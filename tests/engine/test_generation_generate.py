"""Whole generations on a tiny random model."""

import pytest
import torch
from tiny_glm import write_tiny_model

from bilin_engine.errors import BadRequestError, ContextOverflowError
from bilin_engine.generation.generate import generate
from bilin_engine.generation.request import GenerationRequest, PromptLayout
from bilin_engine.protocol import Sampling
from bilin_engine.runners.base import PrefillRow, StoppedError
from bilin_engine.runners.load import load_runner

# [MASK] at index 2 of a prompt of 6, sop last; the output keeps the mask's position.
MASK = PromptLayout((5, 17, 90, 88, 42, 94), (0, 1, 2, 3, 4, 2), 5, 2, 2)
# [gMASK] at the end: the output counts up.
GMASK = PromptLayout((5, 17, 88, 91, 94), (0, 1, 2, 3, 4), 4, None, 3)


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "model"
    write_tiny_model(folder, head_scale=0.2)
    runner = load_runner(folder, dtype="float32", num_threads=1, num_slots=4)
    yield runner
    runner.close()


def run(runner, *, prompt=GMASK, stop=(0, 1), on_token=None, should_stop=None, **options):
    request = {
        key: options.pop(key)
        for key in ("num_candidates", "forced_choices", "banned_ids")
        if key in options
    }
    settings = {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 8, "seed": 1, **options}
    return generate(
        runner,
        GenerationRequest(prompt, Sampling(**settings), frozenset(stop), **request),
        on_token or (lambda *_: None),
        should_stop or (lambda: False),
    )


def fresh_logprobs(runner, prompt, token_ids):
    """Log-probs of `token_ids` after the prompt, by one prefill without any cache."""
    after = range(len(prompt.position_ids), len(prompt.position_ids) + len(token_ids))
    positions = [prompt.output_position] * len(token_ids) if prompt.output_position else after
    row = PrefillRow(
        3, [*prompt.token_ids, *token_ids], [*prompt.position_ids, *positions], prompt.prefix_len
    )
    rows = runner.prefill([row], "all")[0].log_softmax(-1)[len(prompt.token_ids) - 1 :]
    return [float(r[t]) for r, t in zip(rows, token_ids, strict=False)]


@pytest.mark.parametrize("prompt", [MASK, GMASK], ids=["mask", "gmask"])
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"temperature": 0.0}])
def test_logprobs_are_the_models_own(runner, prompt, options):
    """Whatever temperature, penalty or bans chose the tokens; positions as the blank asks."""
    result = run(runner, prompt=prompt, repetition_penalty=1.3, no_repeat_ngram_size=2, **options)
    best = result.candidates[0]
    assert best.token_ids
    expected = fresh_logprobs(runner, prompt, best.token_ids)
    assert best.logprobs == pytest.approx(expected, abs=1e-4)


def test_greedy_takes_the_most_probable_every_time(runner):
    best = run(runner, temperature=0.0, stop=()).candidates[0]
    prompt = list(GMASK.token_ids)
    for token in best.token_ids:
        row = PrefillRow(3, prompt, range(len(prompt)), GMASK.prefix_len)
        assert token == int(runner.prefill([row])[0].argmax())
        prompt.append(token)


def test_the_same_seed_gives_the_same_tokens(runner):
    first, second = run(runner, seed=5), run(runner, seed=5)
    assert first.candidates == second.candidates
    assert first.stats.seed == 5


def test_a_seed_that_was_drawn_is_told_and_repeats(runner):
    first = run(runner, seed=None)
    assert run(runner, seed=first.stats.seed).candidates == first.candidates


def test_candidates_do_not_depend_on_how_many_there_are(runner):
    """Nine candidates on four slots: three batches from one prefill, candidates as if alone."""
    heard = {count: {} for count in (1, 3, 9)}
    for count, tokens in heard.items():

        def on_token(candidate, token, _logprob, tokens=tokens):
            tokens.setdefault(candidate, []).append(token)

        result = run(runner, num_candidates=count, on_token=on_token)
        assert len(result.candidates) == count
        assert sorted(map(list, tokens.values())) == sorted(
            list(c.token_ids) for c in result.candidates if c.token_ids
        )
    assert heard[1][0] == heard[3][0] == heard[9][0]
    assert heard[3][2] == heard[9][2]
    assert len({tuple(tokens) for tokens in heard[9].values()}) > 5


def test_candidates_come_best_first(runner):
    scores = [c.score for c in run(runner, num_candidates=4).candidates]
    assert scores == sorted(scores, reverse=True)


def test_a_stop_token_ends_and_is_not_part_of_it(runner):
    # Single tokens may not repeat, so the fifth does not come earlier.
    options = {"temperature": 0.0, "no_repeat_ngram_size": 1}
    free = run(runner, stop=(), **options).candidates[0]
    cut = run(runner, stop=(free.token_ids[4],), **options).candidates[0]
    assert cut.token_ids == free.token_ids[:4]
    assert cut.finish_reason == "stop"
    assert len(cut.logprobs) == 4


def test_length_and_context_are_told_apart(runner):
    assert run(runner, stop=()).candidates[0].finish_reason == "length"
    result = run(runner, stop=(), max_new_tokens=500)
    best = result.candidates[0]
    assert best.finish_reason == "context"
    # Prompt and output fill the 64 tokens to the last.
    assert len(best.token_ids) == 64 - 5
    exact = run(runner, stop=(), max_new_tokens=59)
    assert exact.candidates[0].finish_reason == "length"


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_prompt_without_room_says_how_much_too_long(runner, num_beams):
    full = PromptLayout((5,) * 64, tuple(range(64)), 63, None, 62)
    with pytest.raises(ContextOverflowError, match=r"64 tokens .* holds 64 .* at least 1"):
        run(runner, prompt=full, num_beams=num_beams)


def test_min_new_tokens_keeps_a_stop_away(runner):
    first = run(runner, temperature=0.0, stop=()).candidates[0].token_ids[0]
    assert run(runner, temperature=0.0, stop=(first,)).candidates[0].token_ids == ()
    kept = run(runner, temperature=0.0, stop=(first,), min_new_tokens=3).candidates[0]
    assert len(kept.token_ids) >= 3
    assert first not in kept.token_ids


def test_banned_ids_never_come(runner):
    free = set(run(runner, temperature=0.0, stop=()).candidates[0].token_ids)
    result = run(runner, temperature=0.0, stop=(), banned_ids=frozenset(free))
    assert not free & set(result.candidates[0].token_ids)


def test_beams_find_at_least_the_greedy_sum(runner):
    options = {"stop": (), "length_penalty": 0.0}
    greedy = run(runner, temperature=0.0, **options).candidates[0]
    found = run(runner, num_beams=4, num_candidates=4, **options)
    assert found.candidates[0].score >= greedy.score - 1e-4
    assert found.candidates[0].score == pytest.approx(sum(found.candidates[0].logprobs), abs=1e-4)
    assert len({c.token_ids for c in found.candidates}) == 4


def test_beams_are_heard_only_when_they_are_over(runner):
    heard = []
    result = run(
        runner, num_beams=3, num_candidates=2, on_token=lambda c, t, _: heard.append((c, t))
    )
    expected = [(i, t) for i, c in enumerate(result.candidates) for t in c.token_ids]
    assert heard == expected


def test_drawn_beams_repeat_with_the_seed(runner):
    options = {"num_beams": 3, "deterministic_beams": False, "num_candidates": 3}
    assert run(runner, seed=4, **options).candidates == run(runner, seed=4, **options).candidates
    drawn = {run(runner, seed=s, **options).candidates[0].token_ids for s in range(5)}
    assert len(drawn) > 1


@pytest.mark.parametrize("prompt", [MASK, GMASK], ids=["mask", "gmask"])
def test_forced_choices_are_scored_and_ranked(runner, prompt):
    """Six choices of lengths 1 to 4 on four slots: the sums of a fresh prefill each."""
    choices = ((7,), (7, 8), (9, 10, 11), (50, 3, 2, 60), (61,), (7, 9, 9))
    result = run(runner, prompt=prompt, forced_choices=choices)
    found = {c.token_ids: c for c in result.candidates}
    assert set(found) == set(choices)
    for choice in choices:
        expected = fresh_logprobs(runner, prompt, choice)
        assert found[choice].logprobs == pytest.approx(expected, abs=1e-4)
        assert found[choice].score == pytest.approx(sum(expected), abs=1e-4)
    scores = [c.score for c in result.candidates]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("prompt", [MASK, GMASK], ids=["mask", "gmask"])
def test_long_choices_are_scored_piece_by_piece(runner, prompt, monkeypatch):
    """All logits of a long text at once would be gigabytes."""
    monkeypatch.setattr("bilin_engine.generation.generate.SCORED_AT_ONCE", 8)
    prefill, counts = runner.prefill, []

    def counted(*args):
        logits = prefill(*args)
        counts.append(sum(len(rows) for rows in logits))
        return logits

    choices = (tuple(range(2, 42)), (7,), tuple(range(40, 20, -1)), (7, 8), tuple(range(50, 60)))
    monkeypatch.setattr(runner, "prefill", counted)
    result = run(runner, prompt=prompt, forced_choices=choices)
    monkeypatch.setattr(runner, "prefill", prefill)
    assert max(counts) <= 8
    found = {c.token_ids: c.logprobs for c in result.candidates}
    for choice in choices:
        assert found[choice] == pytest.approx(fresh_logprobs(runner, prompt, choice), abs=1e-4)


def test_choices_that_do_not_fit_are_refused_with_numbers(runner):
    choice = (7,) * 61
    with pytest.raises(ContextOverflowError, match="5 tokens of prompt and a choice of 61"):
        run(runner, forced_choices=(choice,))
    assert len(run(runner, forced_choices=((7,) * 60,)).candidates[0].logprobs) == 60


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_candidates": 0}, "num_candidates 0"),
        ({"num_beams": 5}, "beam search over 5 candidates .* room for 4:"),
        ({"num_beams": 2, "num_candidates": 3}, "num_candidates 3 is more than the 2 beams"),
        ({"forced_choices": ((1,), ())}, "a forced choice is empty"),
        ({"temperature": -1.0}, "temperature -1"),
    ],
)
def test_requests_that_cannot_be_are_refused(runner, options, words):
    with pytest.raises(BadRequestError, match=words):
        run(runner, **options)


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"num_candidates": 3}])
def test_a_stop_ends_it_and_the_runner_goes_on(runner, options):
    polls = 0

    def should_stop():
        nonlocal polls
        polls += 1
        return polls > 20

    with pytest.raises(StoppedError):
        run(runner, stop=(), max_new_tokens=50, should_stop=should_stop, **options)
    assert run(runner, seed=5).candidates == run(runner, seed=5).candidates


@pytest.mark.parametrize(
    "options", [{"num_candidates": 3}, {"forced_choices": ((7, 8), (9, 10), (11,))}]
)
def test_one_text_at_a_time_gives_what_several_give_and_leaves_room_for_beams(
    runner, monkeypatch, options
):
    together, beams = run(runner, **options), run(runner, num_beams=3, num_candidates=3)
    monkeypatch.setattr(runner, "num_texts", 1)
    used = set()
    block = runner._cache.block

    def used_block(slot):
        used.add(slot)
        return block(slot)

    monkeypatch.setattr(runner._cache, "block", used_block)
    apart = run(runner, **options)
    assert used == {0}
    assert [c.token_ids for c in apart.candidates] == [c.token_ids for c in together.candidates]
    assert run(runner, num_beams=3, num_candidates=3).candidates == beams.candidates
    assert used == {0, 1, 2}


def test_times_and_counts_are_told(runner):
    stats = run(runner, num_candidates=2, stop=()).stats
    assert (stats.prompt_tokens, stats.new_tokens) == (5, 16)
    assert 0 < stats.prefill_s <= stats.time_to_first_token_s
    assert stats.decode_s > 0


def test_torch_random_state_is_left_alone(runner):
    before = torch.random.get_rng_state()
    run(runner)
    assert torch.equal(torch.random.get_rng_state(), before)
