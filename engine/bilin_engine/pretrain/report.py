"""How good model folders are on text they have not seen: bits per byte and cloze top-1.

The held-out passages come from corpus lines that `prepare` keeps out of training. Scores go
through the engine's own Runner, so what is measured is what a person runs.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bilin_engine.chat_format import text_language
from bilin_engine.pretrain.objective import BlankFilling, draw_spans
from bilin_engine.pretrain.prepare import read_texts
from bilin_engine.pretrain.samples import COUNT_ON, Sample
from bilin_engine.runners.base import PrefillRow, Runner
from bilin_engine.runners.load import load_runner
from bilin_engine.tokenizers.load import load_tokenizer
from bilin_engine.tokenizers.sentencepiece import SentencePieceTokenizer


@dataclass(frozen=True, slots=True)
class HeldOutScore:
    """One language's figures.

    bits_per_byte: of whole passages as one long blank. cloze_top1: short blanks whose every token
    is the most probable one, in percent.
    """

    lang: str
    num_texts: int
    bits_per_byte: float
    cloze_top1: float


def held_out_report(models: Sequence[Path], packed: Path, num_texts: int) -> dict[str, Any]:
    """Scores of every model folder, by its path. num_texts: passages of each language."""
    texts = read_texts(packed / "held_out.txt.xz")
    return {
        str(folder): [asdict(score) for score in score_folder(folder, texts, num_texts)]
        for folder in models
    }


def score_folder(folder: Path, texts: Sequence[str], num_texts: int) -> list[HeldOutScore]:
    """One score a language."""
    tokenizer = load_tokenizer(folder)
    if not isinstance(tokenizer, SentencePieceTokenizer):
        message = f"{folder} has another vocabulary than the toolkit's; it cannot be scored here"
        raise ValueError(message)
    runner = load_runner(folder, num_slots=1)
    try:
        return [
            _score(runner, tokenizer, lang, chosen)
            for lang in ("zh", "en")
            for chosen in ([text for text in texts if text_language(text) == lang][:num_texts],)
        ]
    finally:
        runner.close()


def _score(
    runner: Runner, tokenizer: SentencePieceTokenizer, lang: str, texts: Sequence[str]
) -> HeldOutScore:
    filling = BlankFilling(tokenizer)
    rng = random.Random(7)  # the same blanks for every model
    nats, num_bytes, right, num_blanks = 0.0, 0, 0, 0
    for text in texts:
        token_ids = tokenizer.encode(text)[: runner.max_length - 2]
        whole = filling.long_blank(token_ids, 0, is_closed=False)
        nats -= sum(logprob for logprob, _ in _block_scores(runner, tokenizer, whole, 0))
        num_bytes += len(tokenizer.decode(token_ids).encode())
        blanks = filling.short_blanks(token_ids, draw_spans(rng, len(token_ids), 0.15, 3.0))
        if blanks is None:
            continue
        num_blanks += len(blanks.blocks)
        for index in range(len(blanks.blocks)):
            right += all(top for _, top in _block_scores(runner, tokenizer, blanks, index))
    return HeldOutScore(
        lang, len(texts), nats / math.log(2) / max(1, num_bytes), 100 * right / max(1, num_blanks)
    )


def _block_scores(
    runner: Runner, tokenizer: SentencePieceTokenizer, sample: Sample, index: int
) -> Iterator[tuple[float, bool]]:
    """(natural log-prob, whether it is the most probable) of each token of one block."""
    block = sample.blocks[index]
    sop, num_prefix = tokenizer.specials.sop, len(sample.prefix)
    if sop is None:
        message = "the vocabulary has no sop"
        raise ValueError(message)
    inputs = (*sample.prefix, sop, *block.token_ids[:-1])
    counting = range(num_prefix, num_prefix + len(block.token_ids))
    output = counting if block.mask_index == COUNT_ON else [block.mask_index] * len(block.token_ids)
    row = PrefillRow(0, inputs, (*range(num_prefix), *output), num_prefix)
    (logits,) = runner.prefill([row], range(num_prefix, len(inputs)))
    logprobs = logits.log_softmax(-1)
    for at, token in enumerate(block.token_ids):
        yield float(logprobs[at, token]), int(logprobs[at].argmax()) == token
