"""Which prompts fill a text: by mask as published, by instruction where there is no mask."""

from dataclasses import replace

import msgspec
import pytest
from letter_models import Engine, LetterTexts, letter_model, scripted_worker
from letter_tokenizer import FIRST_SPECIAL, LetterTokenizer

from bilin_engine.chat_format import find_chat_format
from bilin_engine.errors import BadRequestError
from bilin_engine.generation.masks import (
    encode_segments,
    layout_blank,
    parse_mask_text,
    window_around,
)
from bilin_engine.protocol import (
    Fill,
    FillConstraints,
    InspectPrompt,
    InspectWindow,
    LengthLimit,
    LoadModel,
    Sampling,
)
from bilin_engine.server import fill_prompts
from bilin_engine.server.fill_prompts import FillPrompts, inspect_window
from bilin_engine.server.model_text import ModelText


class MasklessTokenizer(LetterTokenizer):
    specials = replace(LetterTokenizer.specials, mask=None, smask=None)


class MasklessTexts(LetterTexts):
    def text(self, info):
        return ModelText(info, MasklessTokenizer(), find_chat_format("qa"))


def model_text(context=2048, tokenizer=None):
    return ModelText(
        letter_model(context=context), tokenizer or LetterTokenizer(), find_chat_format("qa")
    )


def prompts(text, context=2048, **options):
    options = {"takes_nearest": True, **options}
    return FillPrompts(model_text(context), parse_mask_text(text), context, **options)


def shown(layout):
    return "".join(chr(i) if i < FIRST_SPECIAL else "<>" for i in layout.token_ids)


def test_a_text_that_fits_is_laid_out_as_published():
    text = "a[MASK]b[gMASK]c[sMASK]"
    made = prompts(text)
    tokenizer = LetterTokenizer()
    sequence = encode_segments(parse_mask_text(text), tokenizer)
    assert made.order(None) == (0, 2, 1)  # [MASK], then [sMASK], then [gMASK]
    for index in made.order(None):
        blank = sequence.blank(index)
        assert made.prompt(index).layout == layout_blank(sequence, blank, tokenizer.specials, 2048)
        made.fill(index, "xy", (120, 121))
        sequence = sequence.fill(blank, (120, 121))
    assert made.filled_text() == "a xy b xy c xy"
    assert made.way == "mask"


def test_a_long_text_gives_the_nearest_on_both_sides_with_earlier_fills():
    text = "前" * 300 + "[MASK]" + "中" * 20 + "[MASK]" + "后" * 300
    made = prompts(text, 200)
    first = made.prompt(0)
    assert len(first.layout.token_ids) <= 150
    assert "前前<>" in shown(first.layout)
    assert "<>中中" in shown(first.layout)
    made.fill(0, "填好了", tuple(map(ord, "填好了")))
    second = shown(made.prompt(1).layout)
    assert "填好了" + "中" * 20 + "<>" + "后" in second


@pytest.mark.parametrize(("kinds", "way"), [(("long",), "mask"), ((), "instruction")])
def test_a_long_text_leaves_a_passage_the_room_that_it_takes(kinds, way):
    segments = parse_mask_text("前" * 3000 + "[gMASK]" + "后" * 3000)
    info = msgspec.structs.replace(letter_model(context=2048), blank_kinds=kinds)
    text = ModelText(info, LetterTokenizer(), find_chat_format("qa"))
    made = FillPrompts(text, segments, 2048, takes_nearest=True)
    assert made.way == way
    size = len(made.prompt(0).layout.token_ids)
    assert 512 <= 2048 - size <= 512 + 160
    request = InspectWindow(id=1, model="letters", segments=segments, blank=0)
    assert inspect_window(text, request).num_tokens == size


@pytest.mark.parametrize(("count", "room"), [(10, 128), (200, 400), (2000, 1024)])
def test_a_long_text_leaves_room_for_the_length_asked_for_up_to_half(count, room):
    rule = FillConstraints(length=LengthLimit(count, "words"))
    text = "前" * 3000 + "[MASK]" + "后" * 3000
    size = len(prompts(text, constraints=rule).prompt(0).layout.token_ids)
    assert room <= 2048 - size < room + 32
    request = InspectWindow(
        id=1, model="letters", segments=parse_mask_text(text), blank=0, constraints=rule
    )
    assert inspect_window(model_text(), request).num_tokens == size


def test_without_the_nearest_a_long_text_is_refused():
    from bilin_engine.errors import ContextOverflowError

    with pytest.raises(ContextOverflowError):
        prompts("前" * 300 + "[MASK]", 200, takes_nearest=False).prompt(0)


@pytest.mark.parametrize("size", [10, 500])
def test_the_window_is_what_the_prompt_holds(size):
    text = "前" * size + "[MASK]" + "后" * size
    segments = parse_mask_text(text)
    view = inspect_window(
        model_text(200), InspectWindow(id=1, model="letters", segments=segments, blank=0)
    )
    layout = prompts(text, 200).prompt(0).layout
    document = text.replace("[MASK]", "_")
    inside = document[view.start : view.end]
    assert inside.replace("_", "<>") + "<><>" == shown(layout)
    assert view.num_tokens == len(layout.token_ids)
    assert (view.num_tokens < view.document_tokens) == (size == 500)
    assert view.way == "mask"
    assert (view.start, view.end) == (0, len(document)) if size == 10 else view.start > 0


def test_a_window_is_looked_for_once_for_a_prompt_and_what_it_holds(monkeypatch):
    asked: list[int] = []

    def counted(*arguments):
        asked.append(1)
        return window_around(*arguments)

    monkeypatch.setattr(fill_prompts, "window_around", counted)
    request = InspectWindow(id=1, model="letters", segments=parse_mask_text("春[MASK]秋"), blank=0)
    view = inspect_window(model_text(tokenizer=MasklessTokenizer()), request)
    assert view.way == "instruction"
    assert len(asked) == 1


def test_a_model_without_the_mask_is_asked_in_a_chat():
    text = model_text(tokenizer=MasklessTokenizer())
    made = FillPrompts(
        text,
        parse_mask_text("春[MASK]秋[MASK]"),
        2048,
        takes_nearest=True,
        constraints=FillConstraints(length=LengthLimit(2, "characters")),
    )
    assert made.way == "instruction"
    prompt = made.prompt(0)
    assert prompt.continues
    assert prompt.is_enclosed
    assert prompt.stop_texts[0] == "</fill>"
    asked = shown(prompt.layout)
    assert "春【空】秋____" in asked
    assert "最多 2 个字" in asked
    assert asked.endswith("<fill>")
    made.fill(0, "夏", ())
    assert "春夏秋【空】" in shown(made.prompt(1).layout)


def test_a_list_of_many_choices_leaves_less_of_a_long_text_in_a_chat():
    choices = tuple(f"{number}号" for number in range(60))
    made = FillPrompts(
        model_text(600, MasklessTokenizer()),
        parse_mask_text("春" * 2000 + "[MASK]" + "秋" * 2000),
        600,
        takes_nearest=True,
        constraints=FillConstraints(choices=choices),
    )
    asked = shown(made.prompt(0).layout)
    assert "、".join(choices) in asked
    assert "春【空】秋" in asked
    assert len(asked) <= 600 - 128


def test_masks_that_a_causal_model_has_in_its_vocabulary_alone_mean_nothing():
    """GLM-4 and ChatGLM2/3: GLM's masks are tokens there, and the models see what comes before."""
    causal = msgspec.structs.replace(letter_model(), blank_kinds=())
    text = ModelText(causal, LetterTokenizer(), find_chat_format("qa"))
    made = FillPrompts(text, parse_mask_text("春[MASK]秋"), 2048, takes_nearest=True)
    assert made.way == "instruction"
    some = msgspec.structs.replace(letter_model(), blank_kinds=("short",))
    text = ModelText(some, LetterTokenizer(), find_chat_format("qa"))
    ways = [
        FillPrompts(text, parse_mask_text(asked), 2048, takes_nearest=True).way
        for asked in ("春[MASK]秋", "春[gMASK]")
    ]
    assert ways == ["mask", "instruction"]


def test_a_model_with_neither_mask_nor_chat_is_refused():
    info = letter_model()
    mute = ModelText(msgspec.structs.replace(info, can_chat=False), MasklessTokenizer(), None)
    with pytest.raises(BadRequestError, match=r"cannot fill \[MASK\], and cannot chat"):
        FillPrompts(mute, parse_mask_text("a[MASK]"), 100, takes_nearest=True)


@pytest.mark.e2e
def test_an_instructed_fill_is_read_strictly():
    command = scripted_worker("--reply", "夏</fill>天")
    with Engine(command, texts=MasklessTexts()) as engine:
        engine.ask(lambda i: LoadModel(id=i, model="letters"))
        segments = parse_mask_text("春[MASK]秋")
        fill = lambda i: Fill(  # noqa: E731
            id=i, model="letters", segments=segments, sampling=Sampling(seed=1), num_candidates=2
        )
        result = engine.ask(fill).result
        assert result.text == "春夏秋"
        assert result.way == "instruction"
        [blank] = result.blanks
        assert [(c.text, c.breaks) for c in blank.candidates] == [("夏", "")]
        rule = FillConstraints(length=LengthLimit(2, "characters"))
        inspect = lambda i: InspectPrompt(  # noqa: E731
            id=i, model="letters", segments=segments, constraints=rule
        )
        view = engine.ask(inspect).result
        assert view.way == "instruction"
        assert "最多 2 个字" in "".join(token.text for token in view.tokens)


@pytest.mark.e2e
def test_an_instructed_fill_that_does_not_close_is_marked():
    with Engine(scripted_worker("--reply", "夏 天"), texts=MasklessTexts()) as engine:
        engine.ask(lambda i: LoadModel(id=i, model="letters"))
        segments = parse_mask_text("春[MASK]秋")
        result = engine.ask(lambda i: Fill(id=i, model="letters", segments=segments)).result
        assert "</fill>" in result.blanks[0].candidates[0].breaks


@pytest.mark.e2e
def test_several_blanks_see_earlier_fills_in_the_ids_that_are_sent():
    """The worker's reply is the prompt it got, without specials."""
    with Engine(scripted_worker("--reply", "<{prompt}>")) as engine:
        engine.ask(lambda i: LoadModel(id=i, model="letters"))
        segments = parse_mask_text("a[MASK]b[MASK]c")
        result = engine.ask(lambda i: Fill(id=i, model="letters", segments=segments)).result
        assert [b.candidates[0].text for b in result.blanks] == ["<abc>", "<a<abc>bc>"]
