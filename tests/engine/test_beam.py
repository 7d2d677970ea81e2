"""Beam scores on hand-made logits, and whole searches against the reference's own code."""

import json
import math
from pathlib import Path

import pytest
import torch

from bilin_engine.generation.beam import BeamSearch
from bilin_engine.generation.sampling import LogitRules, candidate_generator
from bilin_engine.protocol import Sampling

GOLDENS = Path(__file__).parents[1] / "data" / "beam" / "goldens.json"


def new_search(prompt=(1, 2, 3), stop=(0,), seed=0, **sampling) -> BeamSearch:
    settings = Sampling(**sampling)
    rules = LogitRules(settings, prompt, frozenset(stop), frozenset())
    return BeamSearch(settings, len(prompt), frozenset(stop), rules, candidate_generator(seed, 0))


def logits_of(*rows) -> torch.Tensor:
    """Rows of probabilities as logits."""
    return torch.tensor(rows).log()


def test_scores_by_hand():
    """Two beams, three ids, stop = 0; a prompt of 3: every number below is worked out by hand."""
    search = new_search(num_beams=2)
    parents = search.step(logits_of([0.2, 0.5, 0.3]))
    # Best four of one beam: id 1 (0.5), id 2 (0.3), stop (0.2): both ids live, stop finished.
    assert parents == [0, 0]
    assert [beam.token_ids for beam in search.live] == [(1,), (2,)]
    # The finished one counts prompt 3 + stop = 4 tokens: log 0.2 / ((5 + 4) / 6).
    assert search.finished[0].score == pytest.approx(math.log(0.2) / 1.5)
    assert not search.is_done
    parents = search.step(logits_of([0.6, 0.3, 0.1], [0.9, 0.05, 0.05]))
    # Joint: (1, stop) 0.30, (2, stop) 0.27, (1, 1) 0.15, (1, 2) 0.05: top four of six.
    assert parents == [0, 0]
    penalty = (5 + 5) / 6
    scores = [scored.score for scored in search.finished]
    assert scores == pytest.approx([math.log(0.3) / penalty, math.log(0.27) / penalty])
    assert [scored.beam.token_ids for scored in search.finished] == [(1,), (2,)]
    # Live best log 0.15 over ((5 + 5) / 6) is worse than the worst finished: done.
    assert search.is_done


def test_length_penalty_zero_is_the_plain_sum():
    search = new_search(num_beams=2, length_penalty=0.0)
    search.step(logits_of([0.2, 0.5, 0.3]))
    assert search.finished[0].score == pytest.approx(math.log(0.2))


def test_live_beams_take_part_at_the_end_with_their_reason():
    search = new_search(num_beams=2)
    search.step(logits_of([0.001, 0.6, 0.399]))
    results = search.results("context")
    assert [r.finish_reason for r in results] == ["context", "context"]
    # A live beam has no stop token: 3 + 1 tokens.
    assert results[0].score == pytest.approx(math.log(0.6) / 1.5)


def test_stop_is_banned_until_min_new_tokens():
    search = new_search(num_beams=1, min_new_tokens=2)
    search.step(logits_of([0.98, 0.01, 0.01]))
    search.step(logits_of([0.98, 0.01, 0.01]))
    assert search.finished == []
    search.step(logits_of([0.98, 0.01, 0.01]))
    assert [scored.beam.token_ids for scored in search.finished] == [(1, 1)]


def test_logprobs_are_of_the_models_own_distribution():
    """min_new_tokens renormalises what beams are compared by, never the reported log-probs."""
    search = new_search(num_beams=1, min_new_tokens=1)
    search.step(logits_of([0.5, 0.4, 0.1]))
    assert search.live[0].logprobs == pytest.approx((math.log(0.4),))
    assert search.live[0].total == pytest.approx(math.log(0.8))


def test_drawn_beams_repeat_with_the_seed_and_differ_without():
    rows = torch.randn(1, 50, generator=torch.Generator().manual_seed(1))

    def draw(seed):
        search = new_search(num_beams=4, deterministic_beams=False, seed=seed)
        search.step(rows)
        return [beam.token_ids for beam in search.live]

    assert draw(1) == draw(1)
    assert len({tuple(draw(seed)) for seed in range(8)}) > 1


def test_drawing_without_replacement_has_the_right_frequencies():
    """First of one beam: P(id) = its probability. 4,000 draws: 5 standard errors are 0.04."""
    probabilities = [0.1, 0.6, 0.3]
    counts = [0, 0, 0]
    search = new_search(num_beams=1, stop=(7,), deterministic_beams=False)
    joint = torch.tensor(probabilities, dtype=torch.float64).log()
    # Two are drawn for one beam, then sorted; the one left out identifies the draw.
    for _ in range(4000):
        left_out = {0, 1, 2} - set(search._candidates(joint))
        counts[left_out.pop()] += 1
    p = probabilities
    for out in range(3):
        a, b = [i for i in range(3) if i != out]
        expected = p[a] * p[b] / (1 - p[a]) + p[b] * p[a] / (1 - p[b])
        assert counts[out] / 4000 == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("case", json.loads(GOLDENS.read_text()), ids=lambda c: c["name"])
def test_whole_searches_equal_the_references_code(case):
    """Goldens: the published strategies.py on a table of logits (tests/data/beam)."""
    generator = torch.Generator().manual_seed(case["seed"])
    table = torch.randn(case["vocab_size"], case["vocab_size"], generator=generator) * 2
    prompt = case["prompt"]
    search = new_search(
        prompt=prompt,
        stop=case["stop_ids"],
        num_beams=case["num_beams"],
        length_penalty=case["length_penalty"],
        no_repeat_ngram_size=case["no_repeat_ngram_size"],
        min_new_tokens=case["min_new_tokens"],
    )
    logits = table[prompt[-1]].unsqueeze(0)
    for _ in range(case["max_new_tokens"]):
        search.step(logits)
        if search.is_done:
            break
        logits = table[[beam.token_ids[-1] for beam in search.live]]
    found = search.results("length")
    assert [list(r.beam.token_ids) for r in found] == [b["token_ids"] for b in case["beams"]]
    assert [r.score for r in found] == pytest.approx([b["score"] for b in case["beams"]], abs=1e-5)
    assert [r.finish_reason == "stop" for r in found] == [b["stopped"] for b in case["beams"]]
