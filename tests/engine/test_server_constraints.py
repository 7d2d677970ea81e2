import pytest

from bilin_engine.protocol import FillConstraints, LengthLimit
from bilin_engine.server.constraints import broken_constraint, num_characters, num_words


@pytest.mark.parametrize(
    ("text", "characters", "words"),
    [
        ("", 0, 0),
        ("拿破仑 胜利", 5, 5),
        ("two words", 8, 2),
        ("don't stop", 9, 2),
        ("用Rust写", 6, 3),
        ("e\u0301t", 2, 1),
        ("  -- ", 2, 0),
    ],
)
def test_characters_and_words_are_counted_as_a_person_does(text, characters, words):
    assert (num_characters(text), num_words(text)) == (characters, words)


@pytest.mark.parametrize(
    ("text", "constraints", "sentence"),
    [
        ("拿破仑", FillConstraints(length=LengthLimit(3, "characters")), ""),
        (
            "拿破仑胜利",
            FillConstraints(length=LengthLimit(3, "characters")),
            "has 5 characters, more than 3",
        ),
        (
            "one two",
            FillConstraints(length=LengthLimit(3, "words", exact=True)),
            "has 2 words, not exactly 3",
        ),
        ("1889", FillConstraints(digits_only=True), ""),
        ("１８", FillConstraints(digits_only=True), "is not digits only"),
        ("", FillConstraints(digits_only=True), "is not digits only"),
        (" yes", FillConstraints(choices=("yes", "no")), ""),
        ("maybe", FillConstraints(choices=("yes", "no")), "is none of the choices"),
    ],
)
def test_broken_constraint_is_said(text, constraints, sentence):
    assert broken_constraint(text, constraints) == sentence
