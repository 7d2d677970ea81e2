"""EM, F1 and summaries, by hand."""

import pytest

from bilin_engine.evaluate.metrics import (
    best_over_targets,
    exact_match,
    normalized_answer,
    percent,
    summarize,
    word_f1,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Eiffel-Tower!", "eiffeltower"),
        ("a cat, an owl and the dog", "cat owl and dog"),
        ("theory", "theory"),
        ("，你好。", "，你好。"),  # only ASCII punctuation goes
        ("", ""),
    ],
)
def test_answers_are_compared_without_case_articles_and_punctuation(text, expected):
    assert normalized_answer(text) == expected


def test_exact_match_is_all_or_nothing():
    assert exact_match("The Cat.", "cat") == 1.0
    assert exact_match("cats", "cat") == 0.0


def test_f1_counts_words_as_often_as_they_occur():
    # 2 of 3 predicted words are wanted, 2 of 4 wanted are predicted: 2 * (2/3 * 1/2) / (2/3 + 1/2)
    assert word_f1("red red house", "red house by sea") == pytest.approx(4 / 7)
    assert word_f1("the", "a cat") == 0.0
    assert word_f1("", "") == 0.0


def test_the_best_target_counts():
    assert best_over_targets(exact_match, "cat", ["dog", "a cat"]) == 1.0
    assert best_over_targets(exact_match, "cat", []) == 0.0


def test_summaries_weigh_files_by_their_samples():
    # The CoLA prompts of the published log: max 65.197, median 57.622.
    values = [42.665, 56.951, 65.197, 57.622, 65.197]
    found = summarize(values, [1] * 5)
    assert found["max"] == 65.197
    assert found["median"] == 57.622
    assert found["average"] == pytest.approx(57.526, abs=5e-4)
    assert summarize([0.0, 100.0], [3, 1])["average"] == 25.0


def test_percent_of_nothing_is_zero():
    assert percent([1.0, 0.0]) == 50.0
    assert percent([]) == 0.0
