"""Positions of the document and places of the field, with offers in the text."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bilin_app.pages.editor.shown_text import ShownText
from bilin_app.text.document import BLANK_MARK, Document, parse_slice

PARTS = st.lists(st.one_of(st.just("[MASK]"), st.text("ab空", max_size=3)), max_size=8)
OFFERS = st.lists(st.text("xy字", max_size=4), min_size=8, max_size=8)


def shown_of(text: str, offers: list[str]) -> ShownText:
    shown = ShownText()
    shown.show(parse_slice(text, Document()))
    for (_, blank), offer in zip(shown.document.blanks, offers, strict=False):
        shown.put(blank.id, offer)
    return shown


@given(PARTS, OFFERS)
def test_every_position_has_a_place_and_every_place_a_position(parts, offers):
    shown = shown_of("".join(parts), offers)
    text = shown.expanded(shown.document.content)
    assert len(text) == shown.size
    for position in range(len(shown.document) + 1):
        assert shown.position_of(shown.place_of(position)) == position
    for start, end, blank_id in shown.regions():
        assert text[start:end] == shown.text_of(blank_id)
        assert {shown.position_of(at) for at in range(start, end)} == {shown.position_of(start)}
    for start in range(len(text) + 1):
        for end in range(start, len(text) + 1):
            assert shown.between(start, end) == text[start:end]


def test_between_two_blanks_the_one_behind_is_that_which_is_pointed_at():
    shown = shown_of("a[MASK][MASK]", ["x", ""])
    first, second = (blank.id for _, blank in shown.document.blanks)
    assert shown.expanded(shown.document.content) == f"ax{BLANK_MARK}"
    assert (shown.blank_at(2), shown.blank_at(2, is_behind=True)) == (first, second)
    assert (shown.blank_at(0), shown.blank_at(3)) == (0, second)


def test_an_offer_that_is_taken_leaves_the_blank():
    shown = shown_of("[MASK]", ["xy"])
    [(_, blank)] = shown.document.blanks
    assert (shown.is_offered(blank.id), shown.size) == (True, 2)
    assert shown.take(blank.id) == "xy"
    assert (shown.is_offered(blank.id), shown.size) == (False, 1)


ASKED = {
    "place_of": lambda shown: shown.place_of(600),
    "position_of": lambda shown: shown.position_of(1200),
    "blank_at": lambda shown: shown.blank_at(1199),
    "the_blank_behind": lambda shown: shown.blank_at(1, is_behind=True),
    "regions": lambda shown: shown.regions(),
}


@pytest.mark.parametrize("question", ASKED)
def test_many_offers_are_looked_through_once(monkeypatch, question):
    shown = shown_of("a[MASK]" * 300, ["xyz"] * 300)
    calls = Counter()

    def count(owner: type, name: str) -> None:
        asked = getattr(owner, name)

        def counted(self, argument):
            calls[name] += 1
            return asked(self, argument)

        monkeypatch.setattr(owner, name, counted)

    count(Document, "place")
    count(Document, "index")
    count(ShownText, "text_of")
    assert ASKED[question](shown)
    assert calls.total() <= 300
