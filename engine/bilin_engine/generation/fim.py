"""Fill-in-the-middle tokens: which vocabularies have them, and the prompt they make.

A causal model trained so reads the text before the blank, the text after it, and then writes what
belongs between. Published formats, by the names of their tokens, and where each is published:

Qwen2.5-Coder, Qwen3-Coder  <|fim_prefix|> before <|fim_suffix|> after <|fim_middle|>
    README of github.com/QwenLM/Qwen2.5-Coder, "File-Level Code Completion (Fill in the middle)".
CodeGemma                   the same tokens, and <|file_separator|> as an end
    ai.google.dev/gemma/docs/codegemma/prompt-structure; Google's Keras quickstart stops at any of
    the four tokens.
StarCoder, StarCoder2, CodeQwen1.5  <fim_prefix> before <fim_suffix> after <fim_middle>
    Model card of huggingface.co/bigcode/starcoder (discussion 31 has it in code); README of
    CodeQwen1.5 in the repository above.
SantaCoder                  the same with hyphens
    special_tokens_map.json and demo of huggingface.co/bigcode/santacoder.
Code Llama                  ▁<PRE> before ▁<SUF> after ▁<MID>, ends in ▁<EOT>
    `infilling_prompt_tokens` in llama/generation.py, `encode_infilling` (no space is put before
    `after`) in llama/tokenizer.py of github.com/meta-llama/codellama.
DeepSeek-Coder              <｜fim▁begin｜> before <｜fim▁hole｜> after <｜fim▁end｜>
    README of github.com/deepseek-ai/DeepSeek-Coder, "Code Insertion"; ends as any text of its base.
Codestral                   [SUFFIX] after [PREFIX] before
    `encode_fim` in tokens/tokenizers/instruct.py of github.com/mistralai/mistral-common, whose test
    has <s>[SUFFIX]return▁a▁+▁b[PREFIX]▁def▁f( for it.

What a text of the vocabulary begins with (<s>) stands before all of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bilin_engine.generation.request import PromptLayout
from bilin_engine.tokenizers.base import Tokenizer


@dataclass(frozen=True, slots=True)
class FimFormat:
    """Token texts. middle: "" where what follows the last part is the blank. ends: beside eos.

    after_first: the text after the blank comes before the text before it.
    """

    prefix: str
    suffix: str
    middle: str
    ends: tuple[str, ...] = ()
    after_first: bool = False


FIM_FORMATS = (
    FimFormat(
        "<|fim_prefix|>",
        "<|fim_suffix|>",
        "<|fim_middle|>",
        ("<|endoftext|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<|file_separator|>"),
    ),
    FimFormat(
        "<fim_prefix>",
        "<fim_suffix>",
        "<fim_middle>",
        ("<|endoftext|>", "<fim_pad>", "<file_sep>", "<repo_name>"),
    ),
    FimFormat("<fim-prefix>", "<fim-suffix>", "<fim-middle>", ("<|endoftext|>", "<fim-pad>")),
    FimFormat("▁<PRE>", "▁<SUF>", "▁<MID>", ("▁<EOT>",)),
    FimFormat("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    FimFormat("[PREFIX]", "[SUFFIX]", "", after_first=True),
)


@dataclass(frozen=True, slots=True)
class FimTokens:
    """A format's ids in one vocabulary. stop_ids: what ends a fill, the usual end first."""

    prefix: int
    suffix: int
    middle: int | None
    stop_ids: tuple[int, ...]
    after_first: bool
    frame: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        """What the format itself takes of a prompt."""
        return len(self.frame) + 2 + (self.middle is not None)

    def prompt(self, before: Sequence[int], after: Sequence[int]) -> tuple[int, ...]:
        """The ids that ask for what stands between `before` and `after`."""
        if self.after_first:
            parts = (self.suffix, *after, self.prefix, *before)
        else:
            parts = (self.prefix, *before, self.suffix, *after)
        return (*self.frame, *parts, *(() if self.middle is None else (self.middle,)))


def fim_tokens(tokenizer: Tokenizer) -> FimTokens | None:
    """The fill-in-the-middle tokens of a vocabulary, or None."""
    markers: Mapping[str, int] = getattr(tokenizer, "markers", {})
    for known in FIM_FORMATS:
        names = [name for name in (known.prefix, known.suffix, known.middle) if name]
        if not all(name in markers for name in names):
            continue
        ends = [markers[name] for name in known.ends if name in markers]
        ids = [tokenizer.specials.eos, *ends, *(markers[name] for name in names)]
        first = markers[known.ends[0]] if known.ends and known.ends[0] in markers else ids[0]
        return FimTokens(
            prefix=markers[known.prefix],
            suffix=markers[known.suffix],
            middle=markers[known.middle] if known.middle else None,
            stop_ids=tuple(dict.fromkeys((first, *ids))),
            after_first=known.after_first,
            frame=tuple(getattr(tokenizer, "frame", ())),
        )
    return None


def fim_layout(tokenizer: Tokenizer, fim: FimTokens, before: str, after: str) -> PromptLayout:
    """The prompt for what stands between two texts; the second goes on in mid-text."""
    token_ids = fim.prompt(tokenizer.encode(before), tokenizer.encode_after(after))
    return PromptLayout(token_ids, tuple(range(len(token_ids))), 0, None, None)
