"""Models for evaluation without weights: answers and scores by rule."""

from collections.abc import Callable, Mapping, Sequence

from letter_tokenizer import LetterTokenizer

from bilin_engine.errors import ContextOverflowError
from bilin_engine.generation.request import PromptLayout
from bilin_engine.protocol import Message, Sampling
from bilin_engine.tokenizers.base import Tokenizer


class ScriptedModel:
    """Scores a choice by a rule, completes with a text, and remembers what it was asked."""

    fills_blanks = True

    def __init__(
        self,
        max_length: int = 2048,
        score: Callable[[tuple[int, ...]], float] | None = None,
        reply: str = "",
        answers: Mapping[str, str] | None = None,
    ) -> None:
        self.name = "scripted"
        self.tokenizer: Tokenizer = LetterTokenizer()
        self.max_length = max_length
        self.rule = score or (lambda choice: -float(len(choice)))
        self.reply = reply
        self.answers = answers or {}
        self.prompts: list[PromptLayout] = []
        self.scored: list[list[tuple[int, ...]]] = []
        self.samplings: list[Sampling] = []

    def check_chat(self, messages: Sequence[Message]) -> None:
        if len(messages[-1].text) >= self.max_length:
            raise ContextOverflowError("too long")

    def chat(self, messages: Sequence[Message], max_new_tokens: int) -> str:
        assert max_new_tokens > 0
        return self.answers[messages[-1].text]

    def chat_many(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> list[str]:
        return [self.chat(messages, max_new_tokens) for messages in conversations]

    def complete(self, prompt: PromptLayout, sampling: Sampling) -> tuple[int, ...]:
        self.prompts.append(prompt)
        self.samplings.append(sampling)
        return tuple(self.tokenizer.encode(self.reply))

    def score(self, prompt: PromptLayout, choices: Sequence[tuple[int, ...]]) -> list[float]:
        self.prompts.append(prompt)
        self.scored.append(list(choices))
        return [self.rule(choice) for choice in choices]

    def score_many(
        self, asked: Sequence[tuple[PromptLayout, Sequence[tuple[int, ...]]]]
    ) -> list[list[float]]:
        return [self.score(prompt, choices) for prompt, choices in asked]
