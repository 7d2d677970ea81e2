"""The model under evaluation: three questions that every task is asked through."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bilin_engine.chat_format import ChatFormat, load_chat_format
from bilin_engine.errors import BadRequestError, ModelBrokenError
from bilin_engine.generation.batch import generate_batch
from bilin_engine.generation.generate import generate
from bilin_engine.generation.masks import ids_without_text, stop_ids
from bilin_engine.generation.request import GenerationRequest, PromptLayout
from bilin_engine.library import Library
from bilin_engine.protocol import LoadSettings, Message, Sampling
from bilin_engine.runners.base import Runner
from bilin_engine.runners.load import load_runner
from bilin_engine.tokenizers.base import Tokenizer
from bilin_engine.tokenizers.load import load_tokenizer
from bilin_engine.tokenizers.streaming import StreamDecoder

# Beams of the reference's task files are 4; questions and prompts go eight at a time.
NUM_SLOTS = 8


class EvaluatedModel(Protocol):
    """What evaluation asks of a model. Greedy and repeatable throughout.

    Attributes:
        name: as the report shows it.
        tokenizer: its vocabulary.
        fills_blanks: by mask, as GLM-130B.
    """

    name: str
    tokenizer: Tokenizer
    fills_blanks: bool

    @property
    def max_length(self) -> int:
        """Tokens it holds, output included."""
        ...

    def check_chat(self, messages: Sequence[Message]) -> None:
        """Raises BadRequestError for a model that cannot chat.

        Raises ContextOverflowError for a conversation that leaves no room for an answer.
        """
        ...

    def chat(self, messages: Sequence[Message], max_new_tokens: int) -> str:
        """The greedy answer. Raises as `check_chat`."""
        ...

    def chat_many(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> list[str]:
        """`chat` of each, together where that is faster."""
        ...

    def complete(self, prompt: PromptLayout, sampling: Sampling) -> tuple[int, ...]:
        """The output's ids, stop token left out."""
        ...

    def score(self, prompt: PromptLayout, choices: Sequence[tuple[int, ...]]) -> list[float]:
        """Sum of natural log-probs of each choice's tokens after the prompt, in order."""
        ...

    def score_many(
        self, asked: Sequence[tuple[PromptLayout, Sequence[tuple[int, ...]]]]
    ) -> list[list[float]]:
        """`score` of each prompt and its choices, together where that is faster."""
        ...


@dataclass(slots=True)
class RunnerModel:
    """A model on a `Runner` in this process. chat_format: None for a model that cannot chat."""

    name: str
    runner: Runner
    tokenizer: Tokenizer
    chat_format: ChatFormat | None
    fills_blanks: bool = True

    @property
    def max_length(self) -> int:
        """Tokens one slot holds."""
        return self.runner.max_length

    def check_chat(self, messages: Sequence[Message]) -> None:
        """As `EvaluatedModel.check_chat`."""
        self._format().layout(messages, self.tokenizer, self.max_length)

    def chat(self, messages: Sequence[Message], max_new_tokens: int) -> str:
        """As `EvaluatedModel.chat`; ends at the format's stop texts too."""
        return self.chat_many([messages], max_new_tokens)[0]

    def chat_many(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> list[str]:
        """As `EvaluatedModel.chat_many`: as many at a time as there are slots."""
        chat_format = self._format()
        stops = chat_format.stop_ids(self.tokenizer)
        banned = ids_without_text(self.tokenizer, self.runner.vocab_size) - stops
        requests = [
            GenerationRequest(
                prompt=chat_format.layout(messages, self.tokenizer, self.max_length),
                sampling=Sampling(temperature=0.0, max_new_tokens=max_new_tokens, seed=0),
                stop_ids=stops,
                banned_ids=banned,
            )
            for messages in conversations
        ]
        replies = [_Reply(self.tokenizer, chat_format.stop_texts) for _ in requests]
        generate_batch(
            self.runner,
            requests,
            lambda row, token_id, _logprob: replies[row].on_token(token_id),
            lambda: False,
            lambda row: replies[row].is_ended,
        )
        return [reply.text() for reply in replies]

    def complete(self, prompt: PromptLayout, sampling: Sampling) -> tuple[int, ...]:
        """As `EvaluatedModel.complete`."""
        request = GenerationRequest(
            prompt=prompt, sampling=sampling, stop_ids=stop_ids(self.tokenizer.specials)
        )
        return self._run(request)[0][0]

    def score(self, prompt: PromptLayout, choices: Sequence[tuple[int, ...]]) -> list[float]:
        """As `EvaluatedModel.score`, in float32."""
        return self.score_many([(prompt, choices)])[0]

    def score_many(
        self, asked: Sequence[tuple[PromptLayout, Sequence[tuple[int, ...]]]]
    ) -> list[list[float]]:
        """As `EvaluatedModel.score_many`: short prompts share their passes."""
        stops = stop_ids(self.tokenizer.specials)
        requests = [
            GenerationRequest(
                prompt=prompt,
                sampling=Sampling(temperature=0.0, seed=0),
                stop_ids=stops,
                forced_choices=tuple(choices),
            )
            for prompt, choices in asked
        ]
        results = generate_batch(self.runner, requests, lambda *_: None, lambda: False)
        found = [{c.token_ids: sum(c.logprobs) for c in r.candidates} for r in results]
        return [
            [scores[choice] for choice in choices]
            for scores, (_, choices) in zip(found, asked, strict=True)
        ]

    def _format(self) -> ChatFormat:
        """Without reasoning, where there is a switch for it: it would fill the answer's room."""
        if self.chat_format is None:
            message = f"{self.name} cannot chat; probe files need a model that can"
            raise BadRequestError(message)
        return self.chat_format.without_thinking()

    def _run(self, request: GenerationRequest) -> list[tuple[tuple[int, ...], float]]:
        result = generate(self.runner, request, lambda *_: None, lambda: False)
        return [(c.token_ids, sum(c.logprobs)) for c in result.candidates]


class _Reply:
    """A reply as it comes, cut at the first stop text."""

    def __init__(self, tokenizer: Tokenizer, stop_texts: Sequence[str]) -> None:
        self._decoder = StreamDecoder(tokenizer)
        self._stop_texts = stop_texts
        self._text = ""
        self.is_ended = False

    def on_token(self, token_id: int) -> None:
        self._text += self._decoder.feed(token_id)
        ends = [self._text.find(stop) for stop in self._stop_texts if stop in self._text]
        if ends and not self.is_ended:
            self._text = self._text[: min(ends)]
            self.is_ended = True

    def text(self) -> str:
        rest = "" if self.is_ended else self._decoder.flush()
        return (self._text + rest).strip()


def load_model(library: Library, model_id: str, settings: LoadSettings) -> RunnerModel:
    """Loads a model of the library into this process. Raises with a sentence as loading does.

    settings.num_slots: texts at a time; 0 = NUM_SLOTS.
    """
    entry = library.entry(model_id)
    if entry.info.problem:
        raise ModelBrokenError(entry.info.problem)
    folder = Path(entry.info.path)
    name = library.chat_format(model_id)
    tokenizer = load_tokenizer(folder)
    chat_format = load_chat_format(name, folder) if name else None
    runner = load_runner(
        folder,
        context=settings.context,
        device=settings.device,
        backend=settings.backend,
        num_threads=settings.num_threads,
        num_slots=settings.num_slots or NUM_SLOTS,
        kv_dtype=settings.kv_dtype,
    )
    name, fills_blanks = f"{model_id} ({entry.info.precision})", bool(entry.info.blank_kinds)
    return RunnerModel(name, runner, tokenizer, chat_format, fills_blanks)
