"""GLM-4-9B's own `tokenizer.model`: lines of base64 and rank, as the tiktoken package reads them.

It becomes the content of a `tokenizer.json`, the same way in which the published one was made: for
every token all pairs of tokens that it can come from, in the order of ranks. Source: transformers
5.23, convert_slow_tokenizer.py, TikTokenConverter; THUDM/glm-4-9b's tokenization_chatglm.py.
"""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bilin_engine.errors import ModelBrokenError
from bilin_engine.tokenizers.huggingface import character_of_byte

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_TOKEN_BYTES = 1024
GLM_4_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GLM_4_SPECIALS = (
    "<|endoftext|>",
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "<sop>",
    "<eop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
    "<|begin_of_image|>",
    "<|end_of_image|>",
    "<|begin_of_video|>",
    "<|end_of_video|>",
)


def tokenizer_json_of(file: Path, specials: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The content of a tokenizer.json with the vocabulary of `file`.

    specials: text -> id; None = GLM-4's, which follow the last rank. Raises ModelBrokenError,
    naming the line, for a file that is not one of these.
    """
    ranks = read_ranks(file)
    if specials is None:
        first = len(ranks)
        specials = {text: first + index for index, text in enumerate(GLM_4_SPECIALS)}
    written = character_of_byte()

    def shown(token: bytes) -> str:
        return "".join(written[byte] for byte in token)

    merges: list[tuple[int, list[str]]] = []
    for token, rank in ranks.items():
        pairs = []
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in ranks and right in ranks:
                pairs.append((ranks[left], ranks[right], left, right))
        merges += [(rank, [shown(left), shown(right)]) for _, _, left, right in sorted(pairs)]
    merges.sort(key=lambda merge: merge[0])
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    split = {"type": "Split", "pattern": {"Regex": GLM_4_PATTERN}, "behavior": "Isolated"}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": token_id, "content": text, "special": True, **flags}
            for text, token_id in sorted(specials.items(), key=lambda item: item[1])
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{**split, "invert": False}, {**byte_level, "use_regex": False}],
        },
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,  # a word that is a token is taken before anything is joined
            "vocab": {shown(token): rank for token, rank in ranks.items()},
            "merges": [pair for _, pair in merges],
        },
    }


def read_ranks(file: Path) -> dict[bytes, int]:
    """Token -> rank. Raises ModelBrokenError, naming the line."""
    try:
        size = file.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ModelBrokenError(
                f"{file}: {size} bytes is no vocabulary; at most 64 MiB are read"
            )
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise ModelBrokenError(f"{file} cannot be read: {error.strerror}") from error
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            encoded, rank = line.split()
            token = base64.b64decode(encoded, validate=True)
            value = int(rank)
        except (ValueError, binascii.Error) as error:
            raise ModelBrokenError(
                f"{file}, line {number}: base64 and a rank are needed ({error})"
            ) from error
        if not 0 < len(token) <= MAX_TOKEN_BYTES or not 0 <= value < 1 << 24 or token in ranks:
            raise ModelBrokenError(f"{file}, line {number}: no token, or one that was there before")
        ranks[token] = value
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise ModelBrokenError(f"{file} lacks {len(missing)} of the 256 single bytes")
    return ranks
