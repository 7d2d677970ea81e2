"""Fill-in-the-middle tokens: found by name, laid out as published, used where they are."""

from dataclasses import replace

import msgspec
import pytest
from letter_models import letter_model
from letter_tokenizer import FIRST_SPECIAL, LetterTokenizer

from bilin_engine.errors import BadRequestError, ContextOverflowError
from bilin_engine.generation.fim import FIM_FORMATS, fim_tokens
from bilin_engine.generation.masks import parse_mask_text
from bilin_engine.protocol import InspectPrompt
from bilin_engine.server.fill_prompts import FillPrompts, inspect_fill
from bilin_engine.server.model_text import ModelText

PREFIX, SUFFIX, MIDDLE, END = (FIRST_SPECIAL + 10 + n for n in range(4))


class FimTokenizer(LetterTokenizer):
    """Letters, and the markers of a format; a text of its own begins with `frame`."""

    specials = replace(LetterTokenizer.specials, mask=None, smask=None, gmask=None, sop=None)
    frame = (9,)

    def __init__(self, number=0):
        known = FIM_FORMATS[number]
        self.markers = {known.prefix: PREFIX, known.suffix: SUFFIX}
        self.markers |= {known.middle: MIDDLE} if known.middle else {}
        self.markers |= {known.ends[0]: END} if known.ends else {}

    def token_text(self, token_id):
        return "<>" if token_id > FIRST_SPECIAL else super().token_text(token_id)


def model_text(number=0, *, can_chat=False, context=200):
    info = msgspec.structs.replace(letter_model(context=context), can_chat=can_chat)
    return ModelText(info, FimTokenizer(number), None)


def ids(*parts):
    return tuple(i for part in parts for i in ([part] if isinstance(part, int) else map(ord, part)))


def prompts(text, number=0, *, takes_nearest=True, context=200):
    made = FillPrompts(
        model_text(number, context=context),
        parse_mask_text(text),
        context,
        takes_nearest=takes_nearest,
    )
    assert made.way == "fim"
    return made


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, ids(9, PREFIX, "ab", SUFFIX, "cd", MIDDLE)),  # Qwen2.5-Coder, CodeGemma
        (1, ids(9, PREFIX, "ab", SUFFIX, "cd", MIDDLE)),  # StarCoder
        (3, ids(9, PREFIX, "ab", SUFFIX, "cd", MIDDLE)),  # Code Llama
        (4, ids(9, PREFIX, "ab", SUFFIX, "cd", MIDDLE)),  # DeepSeek-Coder
        (5, ids(9, SUFFIX, "cd", PREFIX, "ab")),  # Codestral: the text after it first
    ],
)
def test_ids_are_those_of_the_published_format(number, expected):
    layout = prompts("ab[MASK]cd", number).prompt(0).layout
    assert layout.token_ids == expected
    assert layout.position_ids == tuple(range(len(expected)))
    assert layout.prefix_len == 0
    assert layout.output_position is None


def test_blanks_see_earlier_fills_and_other_blanks_as_a_line():
    made = prompts("a[MASK]b[MASK]c")
    assert made.prompt(0).layout.token_ids == ids(9, PREFIX, "a", SUFFIX, "b____c", MIDDLE)
    made.fill(0, "xy", ())
    assert made.prompt(1).layout.token_ids == ids(9, PREFIX, "axyb", SUFFIX, "c", MIDDLE)


def test_a_fill_ends_at_the_formats_end_and_a_short_one_with_its_line():
    made = prompts("a[MASK]b[gMASK]")
    tokenizer = FimTokenizer()
    assert made.prompt(0).stop_ids == {tokenizer.specials.eos, PREFIX, SUFFIX, MIDDLE, END}
    assert made.prompt(0).stop_texts == ("\n",)
    assert made.prompt(1).stop_texts == ()
    fim = fim_tokens(tokenizer)
    assert fim is not None
    assert fim.stop_ids[0] == END


def test_a_long_text_gives_its_nearest_part_or_is_refused():
    text = "a" * 500 + "[MASK]" + "b" * 500
    layout = prompts(text).prompt(0).layout
    letters = [i for i in layout.token_ids if i < FIRST_SPECIAL]
    assert letters.count(ord("a")) == pytest.approx(letters.count(ord("b")), abs=1)
    assert len(layout.token_ids) < 200
    with pytest.raises(ContextOverflowError):
        prompts(text, takes_nearest=False).prompt(0)


def test_masks_win_over_middles_and_middles_over_a_chat():
    both = FimTokenizer()
    both.specials = LetterTokenizer.specials
    segments = parse_mask_text("a[MASK]b")
    masked = ModelText(letter_model(), both, None)
    assert FillPrompts(masked, segments, 200, takes_nearest=True).way == "mask"
    request = InspectPrompt(id=1, model="letters", segments=segments)
    assert inspect_fill(model_text(can_chat=True), request).way == "fim"


def test_a_vocabulary_with_half_of_the_tokens_has_none():
    half = FimTokenizer()
    del half.markers[FIM_FORMATS[0].suffix]
    assert fim_tokens(half) is None
    assert fim_tokens(LetterTokenizer()) is None
    mute = ModelText(msgspec.structs.replace(letter_model(), can_chat=False), half, None)
    with pytest.raises(BadRequestError, match="fills no blanks"):
        FillPrompts(mute, parse_mask_text("a[MASK]"), 100, takes_nearest=True)
