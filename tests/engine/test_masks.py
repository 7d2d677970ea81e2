"""Prompts with blanks: ids, positions, fills and windows.

The ids of the full prompts were made with the published inference code and its tokenizer.
"""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from letter_tokenizer import LetterTokenizer

from bilin_engine.config import SpecialIds
from bilin_engine.errors import BadRequestError, ContextOverflowError
from bilin_engine.generation.masks import (
    encode_segments,
    filled_text,
    ids_without_text,
    layout_blank,
    mask_id,
    parse_mask_text,
    stop_ids,
    window_around,
)
from bilin_engine.protocol import BlankSegment, TextSegment
from bilin_engine.tokenizers.icetk import IceTokenizer
from bilin_engine.tokenizers.sentencepiece import SentencePieceTokenizer

ROOT = Path(__file__).parents[2]
ICETK_MODEL = Path(
    os.environ.get(
        "BILIN_ICETK_MODEL", ROOT.parent / "shared" / "data" / "tokenizers" / "ice_text.model"
    )
)
TINY = SentencePieceTokenizer(ROOT / "tests" / "data" / "tokenizers" / "tiny.model")

# Prompt -> ids before `sop`.
VECTORS = {
    "Who is the greatest artist? The greatest artist is [gMASK]": (
        "24767 20107 20100 22768 23471 20031 20123 22768 23471 20107 150001"
    ),
    "The Starry Night is an oil-on-canvas painting by [MASK] in June 1889.": (
        "20123 22871 21957 25337 20107 20125 21331 20011 20361 20011 32863 26697 20117 150000 "
        "20105 21097 20005 20009 20023 20023 20018 20007 20002"
    ),
    "凯旋门位于意大利米兰市古城堡旁。1807年为纪念[MASK]而建，门高25米，"
    "顶上矗立两武士青铜古兵车铸像。": (
        "20005 117333 84066 84683 87049 96039 83970 84484 95581 86996 83823 20009 20023 20008 "
        "20025 83830 129177 150000 20005 116298 20006 84066 83905 20010 20015 84089 20006 111406 "
        "120687 84054 109812 103835 84484 84741 83995 91086 84077 83823 20002"
    ),
    "I have a dream": "20115 20127 20104 24658 150001",
    "[MASK] and [MASK]": "150000 20102 150000",
    "a\tb": "20104 20463 150001",
    "a  b": "20104 20463 150001",
    "x=1;<n>y=2": "20399 20054 20009 20027 20004 20186 20054 20010 150001",
    "x=1;\ny=2": "20399 20054 20009 20027 20548 20054 20010 150001",
    "12345": "20005 20009 20010 20013 20016 20015 150001",
    "": "150001",
}
GOLDENS = json.loads((ROOT / "tests" / "data" / "masks" / "fills.json").read_text("utf-8"))
LETTERS = LetterTokenizer()
SPECIALS = LETTERS.specials
MASK, GMASK, SMASK = SPECIALS.mask, SPECIALS.gmask, SPECIALS.smask
SOP, EOP, EOS = SPECIALS.sop, SPECIALS.eop, SPECIALS.eos


@pytest.fixture(scope="module")
def icetk():
    if not ICETK_MODEL.is_file():
        pytest.skip("GLM-130B's ice_text.model is not here; name it in BILIN_ICETK_MODEL")
    return IceTokenizer(ICETK_MODEL)


@pytest.mark.parametrize(("prompt", "ids"), VECTORS.items())
def test_a_prompt_gives_the_reference_ids(icetk, prompt, ids):
    sequence = encode_segments(parse_mask_text(prompt), icetk)
    assert sequence.token_ids == tuple(int(i) for i in ids.split())


def test_mask_texts_become_segments():
    assert parse_mask_text("a[MASK] b[gMASK][sMASK]") == (
        TextSegment("a"),
        BlankSegment("short"),
        TextSegment(" b"),
        BlankSegment("long"),
        BlankSegment("sentence"),
    )
    assert parse_mask_text("[mask] MASK]") == (TextSegment("[mask] MASK]"),)


def test_gmask_positions_count_up():
    sequence = encode_segments(parse_mask_text("ab[gMASK]"), LETTERS)
    layout = layout_blank(sequence, sequence.blanks[0], SPECIALS, max_length=100)
    assert layout.token_ids == (97, 98, GMASK, SOP)
    assert layout.position_ids == (0, 1, 2, 3)
    assert layout.prefix_len == 3
    assert layout.output_position is None
    assert layout.mask_index == 2


@pytest.mark.parametrize(("mark", "token_id"), [("[MASK]", MASK), ("[sMASK]", SMASK)])
def test_short_blanks_give_all_output_the_mask_position(mark, token_id):
    sequence = encode_segments(parse_mask_text(f"a{mark}b"), LETTERS)
    layout = layout_blank(sequence, sequence.blanks[0], SPECIALS, max_length=100, begun=(7, 8))
    assert layout.token_ids == (97, token_id, 98, EOS, SOP, 7, 8)
    assert layout.position_ids == (0, 1, 2, 3, 1, 1, 1)
    assert layout.prefix_len == 4
    assert layout.output_position == 1
    assert layout.mask_index == 1


def test_output_already_begun_counts_up_after_gmask():
    sequence = encode_segments(parse_mask_text("ab"), LETTERS)
    layout = layout_blank(sequence, sequence.blanks[0], SPECIALS, max_length=100, begun=(7, 8))
    assert layout.token_ids == (97, 98, GMASK, SOP, 7, 8)
    assert layout.position_ids == (0, 1, 2, 3, 4, 5)
    assert layout.prefix_len == 3


def test_eos_follows_unless_the_text_ends_in_a_mask():
    assert encode_segments(parse_mask_text("[MASK]a"), LETTERS).token_ids == (MASK, 97, EOS)
    assert encode_segments(parse_mask_text("a[MASK]"), LETTERS).token_ids == (97, MASK)
    # Even a trailing space is text: the reference asks how the string ends.
    assert encode_segments(parse_mask_text("[MASK] "), LETTERS).token_ids == (MASK, 32, EOS)


def test_neighbouring_and_empty_texts_are_one_segment(icetk):
    split = (TextSegment("I have"), TextSegment(""), TextSegment(" a dream"))
    assert encode_segments(split, icetk).token_ids == (20115, 20127, 20104, 24658, 150001)


def test_several_blanks_are_filled_in_the_reference_order_each_seen_by_the_next():
    segments = parse_mask_text("a[gMASK]b[MASK]c[sMASK]d[MASK]")
    sequence = encode_segments(segments, LETTERS)
    order = []
    while (blank := sequence.next_blank()) is not None:
        order.append(blank.index)
        layout = layout_blank(sequence, blank, SPECIALS, max_length=100)
        assert layout.token_ids[blank.position] == mask_id(SPECIALS, blank.kind)
        sequence = sequence.fill(blank, [1000 + blank.index] * 3)
    assert order == [1, 3, 2, 0]
    expected = (97, 1000, 1000, 1000, 98, 1001, 1001, 1001, 99, 1002, 1002, 1002, 100)
    # The text ended in a mask, so no eos ever follows.
    assert sequence.token_ids == (*expected, 1003, 1003, 1003)


def test_an_empty_fill_takes_the_blank_away():
    sequence = encode_segments(parse_mask_text("a[MASK]b[MASK]c"), LETTERS)
    filled = sequence.fill(sequence.blanks[0], [])
    assert filled.token_ids == (97, 98, MASK, 99, EOS)
    assert [(b.index, b.position) for b in filled.blanks] == [(1, 2)]


def test_a_blank_is_found_by_the_requests_number():
    sequence = encode_segments(parse_mask_text("[MASK]a[sMASK]"), LETTERS)
    assert sequence.blank(1).kind == "sentence"
    with pytest.raises(BadRequestError, match="no blank 2 to fill; blanks left: 0, 1"):
        sequence.blank(2)


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden["prompt"])
def test_every_step_of_the_published_code_is_the_same(golden):
    """Goldens: tests/data/masks, recorded from its own fill_blanks."""
    sequence = encode_segments(parse_mask_text(golden["prompt"]), TINY)
    kind = None
    for step in golden["steps"]:
        blank = sequence.next_blank()
        assert blank is not None
        kind = kind or blank.kind
        assert blank.kind == kind
        layout = layout_blank(sequence, blank, TINY.specials, 200, begun=step["answer"])
        length = len(step["token_ids"])
        assert list(layout.token_ids[:length]) == step["token_ids"]
        assert layout.prefix_len == step["prefix_len"]
        positions = list(layout.position_ids)
        if not step["answer"]:  # the recorded row holds at least one place of output
            positions.append(positions[-1])
        assert positions == step["position_ids"]
        assert layout.output_position == (None if blank.kind == "long" else blank.position)
        sequence = sequence.fill(blank, step["answer"])
    # The published code fills one kind of blank and leaves the others.
    still_open = sequence.next_blank()
    assert still_open is None or still_open.kind != kind
    token_ids = list(sequence.token_ids)
    shown = token_ids[:-1] if token_ids[-1] == TINY.specials.eos else token_ids
    assert TINY.decode(shown) == golden["text"]


def test_stop_ids_are_eop_and_eos():
    assert stop_ids(SPECIALS) == {EOP, EOS}
    assert stop_ids(SpecialIds(eos=2)) == {2}


def test_ids_without_text_are_specials_and_padding_but_no_stop_token():
    banned = ids_without_text(TINY, TINY.vocab_size + 3)
    assert banned == {440, 441, 442, 443, 444, 446, 447, 448, 449, 450}


def test_a_vocabulary_without_masks_is_refused_by_the_mask():
    with pytest.raises(BadRequestError, match=r"no \[sMASK\] token"):
        mask_id(SpecialIds(eos=2, mask=5), "sentence")


@pytest.mark.parametrize(("length", "fits"), [(95, True), (96, False)])
def test_a_prompt_needs_room_for_one_token_of_output(length, fits):
    sequence = encode_segments([TextSegment("x" * length), BlankSegment("long")], LETTERS)
    assert len(sequence.token_ids) == length + 1
    if fits:
        assert len(layout_blank(sequence, sequence.blanks[0], SPECIALS, 98).token_ids) == 97
    else:
        message = "the text is 98 tokens .* holds 98 .* take away at least 1 token"
        with pytest.raises(ContextOverflowError, match=message):
            layout_blank(sequence, sequence.blanks[0], SPECIALS, 98)


@pytest.mark.parametrize(
    ("text", "fills", "expected"),
    [
        ("painted by [MASK] in June", {0: "Vincent"}, "painted by Vincent in June"),
        ("painted by[MASK]in June", {0: "Vincent"}, "painted by Vincent in June"),
        ("painted by[MASK].", {0: "Vincent"}, "painted by Vincent."),
        ("([MASK])", {0: "x"}, "(x)"),
        ("[MASK] and[MASK]", {0: "Tom", 1: "Ann"}, "Tom and Ann"),
        ("[MASK] and [MASK]", {1: "Ann"}, "[MASK] and Ann"),
        ("a[MASK]b", {0: ""}, "a b"),
        ("为纪念[MASK]而建", {0: "拿破仑"}, "为纪念拿破仑而建"),
        ("the city of[MASK]now", {0: "巴黎"}, "the city of巴黎now"),
        ("for [MASK][gMASK]", {0: "me"}, "for me [gMASK]"),
    ],
)
def test_fills_stand_in_the_persons_text(text, fills, expected):
    assert filled_text(parse_mask_text(text), fills) == expected


def test_a_document_that_fits_is_the_whole_window():
    segments = parse_mask_text("one [MASK] two")
    window = window_around(segments, 0, LETTERS, max_prompt_tokens=50)
    assert window.segments == segments
    assert (window.start, window.end, window.blank) == (0, 9, 0)
    assert window.num_tokens == 4 + 1 + 4 + 1 + 1


def test_a_window_holds_the_nearest_text_on_both_sides():
    segments = [TextSegment("一二三四五"), BlankSegment("short"), TextSegment("六七八九十")]
    window = window_around(segments, 0, LETTERS, max_prompt_tokens=3 + 4)
    assert window.segments == (TextSegment("四五"), BlankSegment("short"), TextSegment("六七"))
    assert (window.start, window.end, window.num_tokens) == (3, 8, 7)


def test_room_left_over_on_one_side_goes_to_the_other():
    segments = [TextSegment("一"), BlankSegment("short"), TextSegment("二三四五六七八九")]
    window = window_around(segments, 0, LETTERS, max_prompt_tokens=3 + 6)
    assert window.segments == (TextSegment("一"), BlankSegment("short"), TextSegment("二三四五六"))
    mirrored = [TextSegment("一二三四五六七八"), BlankSegment("short"), TextSegment("九")]
    window = window_around(mirrored, 0, LETTERS, max_prompt_tokens=3 + 6)
    assert window.segments[0] == TextSegment("四五六七八")


def test_other_blanks_inside_the_window_stay_blanks():
    segments = parse_mask_text("一二[MASK]三[gMASK]四[sMASK]五六")
    window = window_around(segments, 1, LETTERS, max_prompt_tokens=3 + 4)
    assert window.segments == parse_mask_text("[MASK]三[gMASK]四[sMASK]")
    assert window.blank == 1
    assert (window.start, window.end) == (2, 7)


def test_a_window_is_cut_between_words():
    segments = [TextSegment("alpha beta"), BlankSegment("short"), TextSegment("gamma delta")]
    window = window_around(segments, 0, LETTERS, max_prompt_tokens=3 + 16)
    assert window.segments == (
        TextSegment(" beta"),
        BlankSegment("short"),
        TextSegment("gamma "),
    )


def test_a_window_too_small_for_a_blank_is_refused():
    with pytest.raises(ContextOverflowError, match="window of 2 tokens cannot hold a blank"):
        window_around([BlankSegment("short")], 0, LETTERS, max_prompt_tokens=2)
    with pytest.raises(BadRequestError, match="no blank 1; the text has 1"):
        window_around([BlankSegment("short")], 1, LETTERS, max_prompt_tokens=9)


segment_lists = st.lists(
    st.text("你好 ab.一二\n", max_size=60).map(TextSegment)
    | st.sampled_from([BlankSegment("short"), BlankSegment("long"), BlankSegment("sentence")]),
    max_size=12,
)


@given(segment_lists, segment_lists, st.integers(3, 80))
def test_a_window_never_exceeds_its_tokens_and_covers_what_it_says(before, after, budget):
    segments = [*before, BlankSegment("short"), *after]
    blank = sum(isinstance(s, BlankSegment) for s in before)
    window = window_around(segments, blank, TINY, budget)
    assert window.num_tokens <= budget
    flat = "".join("\0" if isinstance(s, BlankSegment) else s.text for s in segments)
    shown = "".join("\0" if isinstance(s, BlankSegment) else s.text for s in window.segments)
    assert flat[window.start : window.end] == shown
    here = len("".join("\0" if isinstance(s, BlankSegment) else s.text for s in before))
    assert window.start <= here < window.end
    assert shown[: here - window.start].count("\0") == window.blank
