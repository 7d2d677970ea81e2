"""Links by reference: `[text][1]`, and `[1]: address` in another block, mostly below."""

import pytest

from bilin_app.pages.chat.message_body import plain_text

pytestmark = pytest.mark.gui

PAPER, GROUP = "https://arxiv.org/abs/2210.02414", "https://github.com/THUDM"
ANSWER = f'See [the paper][1] and [2].\n\nMore.\n\n[1]: {PAPER}\n[2]: {GROUP} "THUDM"\n'


def links(body):
    found = []
    block = body.document().begin()
    while block.isValid():
        fragments = block.begin()
        while not fragments.atEnd():
            fragment = fragments.fragment()
            if fragment.charFormat().isAnchor():
                found.append((fragment.text(), fragment.charFormat().anchorHref()))
            fragments += 1
        block = block.next()
    return found


ALL = [("the paper", PAPER), ("2", GROUP), (PAPER, PAPER), (GROUP, GROUP)]


def test_definitions_below_make_links_and_stay_to_be_read(body):
    body.set_text(ANSWER, is_complete=True)
    assert links(body) == ALL
    text = plain_text(body.document(), 0, body.document().characterCount())
    assert text == f'See the paper and 2.\nMore.\n[1]: {PAPER}\n[2]: {GROUP} "THUDM"'


@pytest.mark.parametrize("size", [1, 7, 40])
def test_the_same_in_pieces_as_in_one(body, size):
    for begin in range(0, len(ANSWER), size):
        body.append(ANSWER[begin : begin + size])
    assert links(body)[-2:] == ALL[-2:]  # nothing is hidden until the end
    body.finish()
    assert links(body) == ALL


def test_a_definition_that_nothing_uses_is_read_too(body):
    body.set_text(f"Sources:\n\n[3]: {PAPER}", is_complete=True)
    assert links(body) == [(PAPER, PAPER)]
    assert body.document().toPlainText() == f"Sources:\n[3]: {PAPER}"


def test_nothing_is_written_twice_where_definitions_come_first(body):
    body.set_text(f"[1]: {PAPER}\n\nSee [the paper][1].", is_complete=True)
    assert links(body) == [(PAPER, PAPER), ("the paper", PAPER)]
    assert body.content.counts.closed_blocks == 2


def test_the_definitions_of_one_answer_are_not_those_of_another(body):
    body.set_text(f"[1]: {PAPER}", is_complete=True)
    body.set_text("See [1].", is_complete=True)
    assert links(body) == []
