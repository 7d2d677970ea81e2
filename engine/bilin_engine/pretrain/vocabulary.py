"""Trains the SentencePiece vocabulary: lossless text, Chinese by the character."""

import io
import logging
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

from bilin_engine.tokenizers.sentencepiece import NEWLINE_PIECE, SPECIAL_NAMES

logger = logging.getLogger(__name__)
TOKENIZER_FILE = "tokenizer.model"
_CJK_CHAR = re.compile(r"([\u3400-\u9fff，。？！：；、“”《》（）])")
_CUT = "\u241f"  # never in the text: where the trainer must not join pieces


def train_vocabulary(
    texts: Iterable[str], model_file: Path, *, vocab_size: int, num_chars: int, needed: str
) -> None:
    """Writes a BPE model so that pieces plus specials are `vocab_size` ids.

    Every Chinese character and full-width mark is a piece of its own: a small model then spells
    any word it was taught whatever stands around it, and a blank of n characters is n tokens.
    Nothing is normalised and no space is added, so decode(encode(text)) == text and the two sides
    of a blank are encoded as they stand. The `num_chars` commonest characters and all of `needed`
    are pieces; the rest are bytes.
    """
    texts = list(texts)
    counts = Counter(char for text in texts for char in text if not char.isspace())
    kept = {char for char, _ in counts.most_common(num_chars)} | set(needed)
    kept |= {chr(code) for code in range(33, 127)}
    lines = [
        "".join(char if char in kept or char == " " else " " for char in part)
        for text in texts
        for part in text.split("\n")
    ]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_CJK_CHAR.sub(rf"{_CUT}\1{_CUT}", line) for line in lines if line),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size - len(SPECIAL_NAMES),
        character_coverage=1.0,
        byte_fallback=True,
        split_digits=True,
        user_defined_symbols=[NEWLINE_PIECE],
        required_chars="".join(sorted(kept - set(" \n"))),
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        pretokenization_delimiter=_CUT,
        max_sentence_length=20000,
        num_threads=1,  # more threads change the order of sums, and so the model
        minloglevel=2,
    )
    model_file.write_bytes(model.getvalue())
    logger.info("vocabulary: %s ids, %s characters kept", vocab_size, len(kept))
