"""Fill-in-the-middle tokens: which vocabularies have them, and the prompt they make.

A causal model trained so reads the text before the blank, the text after it, and then writes what
belongs between. Published formats, by the names of their tokens:

Qwen2.5-Coder, CodeGemma   <|fim_prefix|> before <|fim_suffix|> after <|fim_middle|>
StarCoder, StarCoder2      <fim_prefix> before <fim_suffix> after <fim_middle>
SantaCoder                 the same with hyphens
Code Llama                 ▁<PRE> before ▁<SUF> after ▁<MID>, ends in ▁<EOT>
DeepSeek-Coder             <｜fim▁begin｜> before <｜fim▁hole｜> after <｜fim▁end｜>
Codestral                  [SUFFIX] after [PREFIX] before
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
    FimFormat("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", ("<|EOT|>",)),
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
