"""The prompts that fill the blanks of one text, in order: by mask, in the middle, or in a chat.

A model fills by mask where it has the masks of all the text's blanks; by fill-in-the-middle tokens
where it was made for those; otherwise a chat asks it for one blank at a time and
its answer is read strictly. Knows no workers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bilin_engine.chat_format.base import require_room
from bilin_engine.errors import BadRequestError
from bilin_engine.generation.fim import FimTokens, fim_layout
from bilin_engine.generation.masks import (
    MASK_TEXTS,
    MaskedSequence,
    Window,
    encode_segments,
    filled_text,
    layout_blank,
    stop_ids,
    window_around,
)
from bilin_engine.generation.request import PromptLayout
from bilin_engine.protocol import (
    BlankKind,
    BlankSegment,
    FillConstraints,
    FillWay,
    InspectPrompt,
    InspectWindow,
    Message,
    PromptView,
    Segment,
    TextSegment,
    WindowView,
)
from bilin_engine.server.model_text import ModelText, answer_room

FILL_OPEN, FILL_CLOSE = "<fill>", "</fill>"

_FILL_ORDER: tuple[BlankKind, ...] = ("short", "sentence", "long")
_INSTRUCTION_TOKENS = 160  # what the request around the text takes, at most, in a chat
_LONG_ANSWER_TOKENS = 512  # room that a passage takes, a quarter of a small context
_OTHER_BLANK = "____"
_WHOLE_TEXT = 1 << 40  # tokens: more than any text has

_ASK_ZH = (
    "下面的文字里有一处空白，写作【空】。写出填在那里的{kind}，使前后文连贯。{constraints}"
    "只写填空的内容，写在 <fill> 和 </fill> 之间。\n\n{text}"
)
_ASK_EN = (
    "The text below has a gap, written 【gap】. Write the {kind} that belongs there, so that it "
    "reads well with what stands before and after. {constraints}Write only what fills the gap, "
    "between <fill> and </fill>.\n\n{text}"
)
_KINDS_ZH: dict[BlankKind, str] = {"short": "词语", "sentence": "一句话", "long": "一段文字"}
_KINDS_EN: dict[BlankKind, str] = {
    "short": "word or phrase",
    "sentence": "sentence",
    "long": "passage",
}


@dataclass(frozen=True, slots=True)
class FillPrompt:
    """One blank's prompt. stop_texts end an answer.

    continues: the answer goes on in the middle of a line, and its first space is real. is_enclosed:
    it must end with FILL_CLOSE, and space at its ends counts for nothing.
    """

    layout: PromptLayout
    stop_ids: frozenset[int]
    stop_texts: tuple[str, ...] = ()
    continues: bool = False
    is_enclosed: bool = False


class FillPrompts:
    """A text whose blanks are filled one after the other; each fill stays for the next prompt."""

    def __init__(
        self,
        text: ModelText,
        segments: Sequence[Segment],
        context_length: int,
        *,
        takes_nearest: bool,
        constraints: FillConstraints | None = None,
    ) -> None:
        """Raises BadRequestError where the model has neither the masks nor a chat format."""
        self._text = text
        self._segments = tuple(segments)
        self._context_length = context_length
        self._takes_nearest = takes_nearest
        self._constraints = constraints or FillConstraints()
        self._fills: dict[int, str] = {}
        self.way: FillWay = fill_way(text, segments)
        self._sequence: MaskedSequence | None = None
        self.kinds: tuple[BlankKind, ...]
        if self.way == "mask":
            self._sequence = encode_segments(segments, text.tokenizer)
            self.kinds = tuple(blank.kind for blank in self._sequence.blanks)
        else:
            self.kinds = tuple(s.kind for s in segments if isinstance(s, BlankSegment))
        self._fim = text.fim_tokens if self.way == "fim" else None

    def order(self, wanted: int | None) -> tuple[int, ...]:
        """The numbers of the blanks to fill: the reference's order, or the one that is wanted."""
        if wanted is not None:
            if not 0 <= wanted < len(self.kinds):
                known = ", ".join(map(str, range(len(self.kinds)))) or "none"
                message = f"there is no blank {wanted} to fill; blanks left: {known}"
                raise BadRequestError(message)
            return (wanted,)
        numbers = range(len(self.kinds))
        return tuple(sorted(numbers, key=lambda i: _FILL_ORDER.index(self.kinds[i])))

    def prompt(self, index: int) -> FillPrompt:
        """The prompt for a blank. Raises ContextOverflowError where the text is too long."""
        if self._sequence is None:
            return self._causal_prompt(index, self._window(index))
        tokenizer = self._text.tokenizer
        sequence, blank = self._sequence, self._sequence.blank(index)
        if self._takes_nearest and len(sequence.token_ids) + 1 > self._max_prompt_tokens(index):
            window = self._window(index)
            sequence = encode_segments(window.segments, tokenizer)
            blank = sequence.blank(window.blank)
        layout = layout_blank(sequence, blank, tokenizer.specials, self._context_length)
        return FillPrompt(layout, stop_ids(tokenizer.specials))

    def fill(self, index: int, text: str, token_ids: Sequence[int]) -> None:
        """Puts a fill in its blank's place, for the prompts to come."""
        self._fills[index] = text
        if self._sequence is not None:
            self._sequence = self._sequence.fill(self._sequence.blank(index), token_ids)

    def filled_text(self) -> str:
        """The whole text with the fills in place."""
        return filled_text(self._segments, self._fills, is_spaced=self.way != "fim")

    def view(self, index: int) -> WindowView:
        """What of the text the prompt for a blank holds."""
        window = self._window(index)
        if self._sequence is not None:
            document_tokens = len(self._sequence.token_ids) + 1
            num_tokens = window.num_tokens
        else:
            prompt = self._causal_prompt(index, window)
            num_tokens = len(prompt.layout.token_ids)
            encode = self._text.tokenizer.encode
            document_tokens = sum(
                len(encode(s.text)) for s in self._segments if isinstance(s, TextSegment)
            )
            document_tokens = max(num_tokens, document_tokens)
        return WindowView(
            start=window.start,
            end=window.end,
            num_tokens=num_tokens,
            document_tokens=document_tokens,
            context_length=self._context_length,
            way=self.way,
        )

    def _max_prompt_tokens(self, index: int) -> int:
        room = self._context_length - self._answer_room(index)
        if self._fim is not None:
            return room - self._fim.num_tokens
        return room if self.way == "mask" else room - _INSTRUCTION_TOKENS - self._told_tokens

    @property
    def _told_tokens(self) -> int:
        """What the constraints take in a chat, in whichever language they are told."""
        encode = self._text.tokenizer.encode
        told = [_told(self._constraints, is_chinese=is_chinese) for is_chinese in (False, True)]
        return max(len(encode(text)) for text in told)

    def _answer_room(self, index: int) -> int:
        """Tokens that a window leaves for a blank's fill."""
        room = answer_room(self._context_length)
        if self.kinds[index] == "long":
            room = max(room, min(_LONG_ANSWER_TOKENS, self._context_length // 4))
        if (limit := self._constraints.length) is not None:
            room = max(room, min(limit.room_tokens, self._context_length // 2))
        return room

    def _window(self, index: int) -> Window:
        """The nearest text, fills in place; `start` and `end` count the text as it is filled."""
        current: list[Segment] = []
        number = here = -1
        for segment in self._segments:
            if isinstance(segment, BlankSegment):
                number += 1
                if number in self._fills:
                    current.append(TextSegment(self._fills[number]))
                    continue
                here += number <= index
            current.append(segment)
        if number < 0:
            current.append(BlankSegment("long"))  # as encode_segments adds one
            here = 0
        room = self._max_prompt_tokens(index) if self._takes_nearest else _WHOLE_TEXT
        return window_around(current, here, self._text.tokenizer, room)

    def _causal_prompt(self, index: int, window: Window) -> FillPrompt:
        """The prompt of a model without masks for the blank that a window is around."""
        if self._fim is not None:
            return self._in_the_middle(index, window, self._fim)
        return self._instruction(index, window)

    def _in_the_middle(self, index: int, window: Window, fim: FimTokens) -> FillPrompt:
        """Text before the blank, text after it; a short blank ends with its line."""
        sides = ["", ""]
        number = -1
        for segment in window.segments:
            if isinstance(segment, BlankSegment):
                number += 1
                if number == window.blank:
                    continue
            is_after = number >= window.blank
            sides[is_after] += segment.text if isinstance(segment, TextSegment) else _OTHER_BLANK
        layout = fim_layout(self._text.tokenizer, fim, *sides)
        stop_texts = () if self.kinds[index] == "long" else ("\n",)
        require_room(len(layout.token_ids), self._context_length)
        return FillPrompt(layout, frozenset(fim.stop_ids), stop_texts, continues=True)

    def _instruction(self, index: int, window: Window) -> FillPrompt:
        is_chinese = any("㐀" <= c <= "鿿" for s in window.segments for c in _text_of(s))
        shown, number = "", -1
        for segment in window.segments:
            if isinstance(segment, TextSegment):
                shown += segment.text
                continue
            number += 1
            mark = "【空】" if is_chinese else "【gap】"
            shown += mark if number == window.blank else _OTHER_BLANK
        kind = self.kinds[index]
        constraints = _told(self._constraints, is_chinese=is_chinese)
        ask = (_ASK_ZH if is_chinese else _ASK_EN).format(
            kind=(_KINDS_ZH if is_chinese else _KINDS_EN)[kind], constraints=constraints, text=shown
        )
        prompt = self._text.chat_prompt(
            (Message("user", ask),), FILL_OPEN, self._context_length, thinks=False
        )
        return FillPrompt(
            prompt.layout,
            prompt.stop_ids,
            (FILL_CLOSE, *prompt.stop_texts),
            continues=True,
            is_enclosed=True,
        )


def fill_way(text: ModelText, segments: Sequence[Segment]) -> FillWay:
    """How a model fills these blanks. Raises BadRequestError where it cannot."""
    kinds: set[BlankKind] = {s.kind for s in segments if isinstance(s, BlankSegment)} or {"long"}
    missing = kinds - text.blank_kinds
    if not missing:
        return "mask"
    if text.fim_tokens is not None:
        return "fim"
    if text.info.can_chat:
        return "instruction"
    names = ", ".join(MASK_TEXTS[kind] for kind in _FILL_ORDER if kind in missing)
    message = f'the model "{text.info.id}" cannot fill {names}, and cannot chat: it fills no blanks'
    raise BadRequestError(message)


def inspect_fill(text: ModelText, request: InspectPrompt, context_length: int) -> PromptView:
    """The exact prompt of a `Fill`, token by token. context_length: what the fill would have."""
    prompts = FillPrompts(
        text,
        request.segments,
        context_length,
        takes_nearest=request.takes_nearest,
        constraints=request.constraints,
    )
    [index] = prompts.order(request.blank)
    return text.prompt_view(prompts.prompt(index).layout, context_length, way=prompts.way)


def inspect_window(text: ModelText, request: InspectWindow) -> WindowView:
    """Which text a `Fill` of a blank would see."""
    longest = text.info.context_length
    context_length = min(longest, request.context_length or longest)
    prompts = FillPrompts(
        text,
        request.segments,
        context_length,
        takes_nearest=True,
        constraints=request.constraints,
    )
    [index] = prompts.order(request.blank)
    return prompts.view(index)


def _told(constraints: FillConstraints, *, is_chinese: bool) -> str:
    """The constraints as sentences; they are checked afterwards whatever the model does."""
    told: list[str] = []
    if (limit := constraints.length) is not None:
        if is_chinese:
            unit = "个字" if limit.unit == "characters" else "个词"
            told.append(f"{'正好' if limit.exact else '最多'} {limit.count} {unit}。")
        else:
            how = "Exactly" if limit.exact else "At most"
            told.append(f"{how} {limit.count} {limit.unit}. ")
    if constraints.choices:
        choices = "、".join(constraints.choices) if is_chinese else ", ".join(constraints.choices)
        told.append(f"从这些里选一个：{choices}。" if is_chinese else f"One of: {choices}. ")
    if constraints.digits_only:
        told.append("只用数字。" if is_chinese else "Digits only. ")
    return "".join(told)


def _text_of(segment: Segment) -> str:
    return segment.text if isinstance(segment, TextSegment) else ""
