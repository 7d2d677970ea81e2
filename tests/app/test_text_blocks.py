"""Blocks joined are the text, and the pieces it came in do not matter."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bilin_app.text import blocks
from bilin_app.text.blocks import BlockSplitter, split_blocks

LINES = st.sampled_from(
    ["", " ", "para", "more words", "# Heading", "- item", "  deeper", "1. one", "2) two",
     "    code", "\tcode", "```", "```python", "~~~", "~~~~", "  ```", "``", "````", "> quote",
     "| a | b |", "|---|---|", "---", "===", "* * *", "\r", "a\rb\r", "字", "```a`b", "#no heading",
     "   ```js", "10", "-"]
)  # fmt: skip
TEXTS = st.one_of(
    st.lists(LINES, max_size=14).map("\n".join),
    st.text(alphabet="ab \n\r\t`~#-*1.>字", max_size=60),
)


def feed(text: str, cuts: list[int]) -> BlockSplitter:
    splitter = BlockSplitter()
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    for start, end in itertools.pairwise(bounds):
        splitter.feed(text[start:end])
    return splitter


@given(TEXTS, st.lists(st.integers(0, 80), max_size=12))
def test_blocks_and_tail_are_the_text_however_it_is_cut(text, cuts):
    whole, cut = feed(text, []), feed(text, cuts)
    assert cut.blocks == whole.blocks
    assert cut.tail == whole.tail
    assert "".join(block.text for block in whole.blocks) + whole.tail.text == text


@given(TEXTS)
def test_a_closed_block_never_changes_and_open_code_only_grows(text):
    splitter = BlockSplitter()
    num_blocks = 0
    code = None
    for character in text:
        new = splitter.feed(character)
        assert len(splitter.blocks) == num_blocks + len(new)
        if len(splitter.blocks) != num_blocks:
            if code is not None:
                assert splitter.blocks[num_blocks].kind == "code"
                assert splitter.blocks[num_blocks].code.startswith(code)
            code = None
            num_blocks = len(splitter.blocks)
        tail = splitter.tail
        if tail.kind == "code":
            assert code is None or tail.code.startswith(code)
            code = tail.code
        else:
            assert code is None
    splitter.finish()
    assert "".join(block.text for block in splitter.blocks) == text
    assert splitter.tail.text == ""


@given(TEXTS)
def test_code_is_a_part_of_its_source(text):
    for block in split_blocks(text):
        for line in block.code.splitlines():
            assert line in block.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\n\ntwo\n", ["one\n\n", "two\n"]),
        ("# Title\ntext", ["# Title\n", "text"]),
        ("text\n# Title\n", ["text\n", "# Title\n"]),
        ("- a\n\n- b\n\n  more\n\nend", ["- a\n\n- b\n\n  more\n\n", "end"]),
        ("1. a\n\n   ```\n   x\n\n   y\n   ```\n2. b\n", None),
        ("a\n```py\nx\n\ny\n```\nb", ["a\n", "```py\nx\n\ny\n```\n", "b"]),
        ("````\n```\n````\nx", ["````\n```\n````\n", "x"]),
        ("~~~\n```\n~~~\n", ["~~~\n```\n~~~\n"]),
        ("```\nnever closed\n\nmore", None),
        ("    code\n\n    more\n\ntext", ["    code\n\n    more\n\n", "text"]),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n\nx", ["| a | b |\n|---|---|\n| 1 | 2 |\n\n", "x"]),
        ("``` not`a fence\nx\n\ny", ["``` not`a fence\nx\n\n", "y"]),
        ("\n\nx", None),
    ],
)
def test_cuts(text, expected):
    assert [block.text for block in split_blocks(text)] == (expected or [text])


@given(TEXTS, st.lists(st.integers(0, 80), max_size=12), st.integers(0, 30))
def test_long_lists_and_tables_are_cut_the_same_however_they_come(text, cuts, limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "MAX_SLICE_CHARS", limit)
        whole, cut = feed(text, []), feed(text, cuts)
    assert cut.blocks == whole.blocks
    assert cut.tail == whole.tail
    assert "".join(block.text for block in whole.blocks) + whole.tail.text == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1. a\n\n   b\n\n2. c\n", ["1. a\n\n   b\n\n", "2. c\n"]),
        ("- a\n  - b\n- c\n", ["- a\n  - b\n", "- c\n"]),
        ("- a\n1. b\n", None),  # another list
        ("- a\n  ```\n- b\n  ```\n", None),
        ("- ```\n  x\n  ```\n- b\n", ["- ```\n  x\n  ```\n", "- b\n"]),
        ("|a|b|\n|-|-|\n|1|2|\n\nx", ["|a|b|\n|-|-|\n", "|1|2|\n\n", "x"]),
        ("|a|b|\n|-|-|-|\n|1|2|\n", None),  # no table
        ("|a|b|\n|-|-|\n> |1|2|\n|3|4|\n", None),  # a quotation ends it
        ("one\ntwo\n- three", None),
    ],
)
def test_a_long_block_is_cut_before_an_item_or_a_row(monkeypatch, text, expected):
    monkeypatch.setattr(blocks, "MAX_SLICE_CHARS", 2)
    found = split_blocks(text)
    assert [block.text for block in found] == (expected or [text])
    cut = [block for block in found[:-1] if block.text.strip()[:1] in "-1|"]
    assert all(block.goes_on == (not block.text.startswith("|1|2|")) for block in cut)


def test_a_fence_on_an_items_first_line_ends_where_it_says():
    text = "- ```sh\n  x\n  ```\n\ntext\n\n```py\ny\n```\n"
    assert [block.kind for block in split_blocks(text)] == ["text", "text", "code"]


def test_a_code_block_knows_its_language_and_its_lines():
    [block] = split_blocks("  ```python title=x\n  def f():\n      pass\n  ```\n")
    assert (block.kind, block.language, block.code) == (
        "code",
        "python",
        "def f():\n    pass\n",
    )


def test_a_possible_closing_fence_is_withheld_until_it_is_decided():
    splitter = BlockSplitter()
    splitter.feed("```\nx = 1\n``")
    assert splitter.tail.code == "x = 1\n"
    splitter.feed("y")
    assert splitter.tail.code == "x = 1\n``y"


def test_a_paragraph_closes_at_the_first_letter_of_the_next():
    splitter = BlockSplitter()
    splitter.feed("one\n\n")
    assert splitter.blocks == []
    [closed] = splitter.feed("t")
    assert closed.text == "one\n\n"
    assert splitter.tail.text == "t"
