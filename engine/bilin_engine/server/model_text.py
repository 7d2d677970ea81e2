"""The text side of a model: its tokenizer and chat format, without its weights.

Models need not be loaded for it, so tokens are counted and prompts shown at any time. Thread-safe:
both lanes of the supervisor ask here.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bilin_engine.chat_format import ChatFormat, ChatSize, fit_messages, load_chat_format
from bilin_engine.chat_format.base import require_room
from bilin_engine.chat_format.causal import causal_layout
from bilin_engine.chat_format.thought import CLOSE_TAG, OPEN_TAG, begins_with_thought
from bilin_engine.errors import BadRequestError, ContextOverflowError
from bilin_engine.generation.fim import FimTokens, fim_tokens
from bilin_engine.generation.masks import encode_segments, layout_blank, stop_ids
from bilin_engine.generation.request import PromptLayout
from bilin_engine.library import Library, LibraryEntry
from bilin_engine.protocol import (
    BlankKind,
    CountTokens,
    FillWay,
    InspectPrompt,
    Message,
    ModelInfo,
    PromptToken,
    PromptView,
    Segment,
    TextSegment,
    TokenCount,
)
from bilin_engine.tokenizers.base import Tokenizer
from bilin_engine.tokenizers.load import load_tokenizer
from bilin_engine.tokenizers.streaming import StreamDecoder

_TAG_TOKENS = 16  # more than "<think>\n" takes in any vocabulary
MAX_TEXTS = 3  # a tokenizer takes some 100 MB
MIN_ANSWER_TOKENS = 128  # room a growing chat leaves for its answer, a quarter of a small context


def answer_room(context_length: int) -> int:
    """Tokens that a prompt which may be cut leaves for the answer."""
    return min(MIN_ANSWER_TOKENS, context_length // 4)


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A conversation ready for the model. `dropped`: messages (by index) that no longer fit.

    may_think: the answer may begin with reasoning; opens_thinking: the prompt has begun it.
    drops_lead: white space that the answer begins with belongs to its turn.
    """

    layout: PromptLayout
    stop_ids: frozenset[int]
    stop_texts: tuple[str, ...]
    dropped: tuple[int, ...]
    may_think: bool
    opens_thinking: bool
    drops_lead: bool


class ModelText:
    """One model's tokenizer and chat format."""

    def __init__(
        self, info: ModelInfo, tokenizer: Tokenizer, chat_format: ChatFormat | None
    ) -> None:
        """chat_format: None for a model that cannot chat."""
        self.info = info
        self.tokenizer = tokenizer
        self._chat_format = chat_format
        self._lock = threading.Lock()
        self._banned: dict[tuple[int, bool], tuple[int, ...]] = {}

    @property
    def blank_kinds(self) -> frozenset[BlankKind]:
        """The blanks it fills by mask: those it was made for, of which it has the tokens.

        Vocabularies of causal GLMs (GLM-4, ChatGLM2) hold the masks too, and mean nothing by them.
        """
        specials = self.tokenizer.specials
        ids: dict[BlankKind, int | None] = {
            "short": specials.mask,
            "long": specials.gmask,
            "sentence": specials.smask,
        }
        if specials.sop is None:
            return frozenset()
        return frozenset(kind for kind in self.info.blank_kinds if ids[kind] is not None)

    @property
    def fim_tokens(self) -> FimTokens | None:
        """Its fill-in-the-middle tokens, where it was made for them.

        Chat models hold those of their family's coders (Qwen2.5, Qwen3) and mean nothing by them.
        All coders have "code" in their names; of these, id and source stay when one is renamed.
        """
        is_coder = "code" in f"{self.info.id} {self.info.source}".lower()
        return fim_tokens(self.tokenizer) if is_coder or not self.info.can_chat else None

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end whatever it says: the vocabulary's, and those that end its chat answers."""
        stops = stop_ids(self.tokenizer.specials)
        if self._chat_format is not None:
            stops |= self._chat_format.stop_ids(self.tokenizer)
        return stops

    def chat_prompt(
        self,
        messages: tuple[Message, ...],
        prefill: str,
        context_length: int,
        *,
        thinks: bool = True,
        check: Callable[[], None] = lambda: None,
    ) -> ChatPrompt:
        """The prompt of a chat; the oldest exchanges fall out when it has outgrown the model.

        thinks: as in `Sampling`. check: as in `fit_messages`.
        """
        chat_format = self._format(thinks=thinks)
        chat_format.layout(messages[-1:], self.tokenizer, context_length, prefill)  # must fit alone
        most = context_length - answer_room(context_length)
        fitted = fit_messages(chat_format, messages, self.tokenizer, most, prefill, check)
        layout = chat_format.layout(fitted.messages, self.tokenizer, context_length, prefill)
        return ChatPrompt(
            layout=layout,
            stop_ids=chat_format.stop_ids(self.tokenizer),
            stop_texts=chat_format.stop_texts,
            dropped=fitted.dropped,
            may_think=chat_format.may_think,
            opens_thinking=chat_format.may_think and self._opens_thinking(layout, prefill),
            drops_lead=bool(chat_format.lead) and not prefill,
        )

    def continuation(self, segments: tuple[Segment, ...], context_length: int) -> PromptLayout:
        """The prompt that continues raw segments: at their first blank, or where the text ends.

        Raises BadRequestError for a blank that the model cannot fill, ContextOverflowError.
        """
        if self.blank_kinds:
            sequence = encode_segments(segments, self.tokenizer)
            blank = sequence.next_blank()
            assert blank is not None, "encode_segments adds one"
            return layout_blank(sequence, blank, self.tokenizer.specials, context_length)
        frame = getattr(self.tokenizer, "frame", None)
        if frame is None:
            raise BadRequestError(f'the model "{self.info.id}" continues no raw text; chat with it')
        if not all(isinstance(segment, TextSegment) for segment in segments):
            raise BadRequestError(
                f'the model "{self.info.id}" has no masks: it continues text only'
            )
        text = "".join(s.text for s in segments if isinstance(s, TextSegment))
        token_ids = [*frame, *self.tokenizer.encode(text)]
        if not token_ids:
            raise BadRequestError("there is no text to continue; give some")
        require_room(len(token_ids), context_length)
        return causal_layout(token_ids)

    def count_tokens(self, request: CountTokens, context_length: int) -> TokenCount:
        """What the whole conversation takes, also when that is more than fits.

        context_length: what a `Chat` would have.
        """
        chat_format = self._format(thinks=request.thinks)
        size = chat_format.size(request.messages, self.tokenizer, request.prefill)
        return TokenCount(
            total=size.total,
            context_length=context_length,
            per_message=size.per_message,
            dropped_messages=self._would_drop(chat_format, request, size, context_length),
        )

    def _would_drop(
        self, chat_format: ChatFormat, request: CountTokens, size: ChatSize, context_length: int
    ) -> tuple[int, ...]:
        """What a `Chat` would leave out; () also where not even the last message fits."""
        most = context_length - answer_room(context_length)
        if size.total <= most:
            return ()
        try:
            return fit_messages(
                chat_format, request.messages, self.tokenizer, most, request.prefill, whole=size
            ).dropped
        except ContextOverflowError:
            return ()

    def inspect_chat(self, request: InspectPrompt, context_length: int) -> PromptView:
        """The exact prompt of a chat, token by token. context_length: what the chat would have."""
        prompt = self.chat_prompt(
            request.messages, request.prefill, context_length, thinks=request.thinks
        )
        return self.prompt_view(prompt.layout, context_length)

    def prompt_view(
        self, layout: PromptLayout, context_length: int, way: FillWay | None = None
    ) -> PromptView:
        """A prompt token by token. way: how it asks for a fill."""
        tokens = zip(layout.token_ids, layout.position_ids, strict=True)
        return PromptView(
            tokens=tuple(
                PromptToken(
                    token_id,
                    self.tokenizer.token_text(token_id),
                    position,
                    self.tokenizer.is_special(token_id),
                )
                for token_id, position in tokens
            ),
            prefix_len=layout.prefix_len,
            context_length=context_length,
            way=way,
        )

    def decoder(self, *, continues: bool = False) -> StreamDecoder:
        """Ids to text, for one candidate."""
        return StreamDecoder(self.tokenizer, continues=continues)

    def choice_ids(self, choice: str) -> list[tuple[int, ...]]:
        """The ids a choice may come as: at a word's beginning, and within a run of characters."""
        text = choice.strip()
        spellings = {tuple(self.tokenizer.encode(text)), tuple(self.tokenizer.encode_after(text))}
        spellings.discard(())
        if not spellings:
            raise BadRequestError(f"the choice {choice!r} is empty; give some text")
        return sorted(spellings)

    def banned_ids(self, vocab_size: int, *, digits_only: bool = False) -> tuple[int, ...]:
        """Ids of a model's table (width `vocab_size`) that an answer must not contain.

        Masks and other specials, rows that only pad the table, GLM-130B's image tokens; with
        `digits_only` whatever holds more than digits and a leading space. Never a stop token.
        """
        with self._lock:
            key = (vocab_size, digits_only)
            if key not in self._banned:
                may_say = self._is_digits if digits_only else bool
                stops = self.stop_ids
                self._banned[key] = tuple(
                    token_id
                    for token_id in range(vocab_size)
                    if token_id not in stops and not may_say(self._text_of(token_id))
                )
            return self._banned[key]

    def _opens_thinking(self, layout: PromptLayout, prefill: str) -> bool:
        """Whether the prompt ends inside <think>: the template's own, or that of the prefill."""
        if prefill:  # one without reasoning comes after the template's: `join_thought`
            return begins_with_thought(prefill) and CLOSE_TAG not in prefill
        end = self.tokenizer.decode(layout.token_ids[-_TAG_TOKENS:])
        return end.rstrip().endswith(OPEN_TAG)

    def _text_of(self, token_id: int) -> bytes:
        """What a token says; b"" for one that is no text."""
        tokenizer = self.tokenizer
        if token_id >= tokenizer.vocab_size or tokenizer.is_special(token_id):
            return b""
        try:
            return tokenizer.token_bytes(token_id)
        except ValueError:
            return b""

    @staticmethod
    def _is_digits(text: bytes) -> bool:
        return text.removeprefix(b" ").isdigit()

    def _format(self, *, thinks: bool) -> ChatFormat:
        if self._chat_format is None:
            raise BadRequestError(f'the model "{self.info.id}" cannot chat; it fills blanks')
        return self._chat_format if thinks else self._chat_format.without_thinking()


class ModelTexts:
    """The library with its text sides; those asked for last are kept until their folders change.

    `models` and `info` read the disk, which may be slow; `listed` is what `models` found last.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._lock = threading.Lock()
        self._texts: dict[ModelInfo, ModelText] = {}  # the last used last
        self._listed: tuple[LibraryEntry, ...] | None = None

    @property
    def library(self) -> Library:
        """Where the models are."""
        return self._library

    def models(self) -> tuple[ModelInfo, ...]:
        """The library, bundled model first."""
        entries = tuple(self._library.entries())
        self._listed = entries
        return tuple(entry.info for entry in entries)

    def listed(self, model_id: str) -> LibraryEntry | None:
        """A model as it was when the library was last read; None where that did not tell of it."""
        return next((e for e in self._listed or () if e.info.id == model_id), None)

    def listed_models(self) -> tuple[ModelInfo, ...]:
        """The library as it was when it was last read, or as it is where it never was."""
        listed = self._listed
        return self.models() if listed is None else tuple(entry.info for entry in listed)

    def info(self, model_id: str) -> ModelInfo:
        """The library's entry. Raises ModelNotFoundError."""
        return self._library.find(model_id)

    def get(self, model_id: str) -> ModelText:
        """The text side of a model of the library, as it was last read."""
        entry = self.listed(model_id)
        return self.text(self.info(model_id) if entry is None else entry.info)

    def text(self, info: ModelInfo) -> ModelText:
        """The text side of `info`'s folder.

        Raises ModelBrokenError or UnsupportedModelError, naming the file.
        """
        with self._lock:
            text = self._texts.get(info) or self._read(info)
            # What the folder was called or measured before is asked for no more.
            others = [(k, t) for k, t in self._texts.items() if k.path != info.path]
            self._texts = dict([*others[-(MAX_TEXTS - 1) :], (info, text)])
            return text

    def _read(self, info: ModelInfo) -> ModelText:
        listed = self.listed(info.id)
        if listed is None or listed.info != info:
            listed = self._library.entry(info.id)
        name = listed.chat_format
        return ModelText(
            info,
            load_tokenizer(Path(info.path)),
            load_chat_format(name, Path(info.path)) if name else None,
        )
