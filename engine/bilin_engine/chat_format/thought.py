"""The reasoning at the beginning of an answer: its tags, and how a begun answer carries them.

Knows text and ids only.
"""

import re
from collections.abc import Mapping

from bilin_engine.tokenizers.base import Tokenizer

OPEN_TAG = "<think>"
CLOSE_TAG = "</think>"

# What a template ends a prompt with: reasoning begun, or left out.
_GIVEN = re.compile(rf"{OPEN_TAG}\s*({CLOSE_TAG}\s*)?\Z")
_OWN = re.compile(rf"(\s*){OPEN_TAG}(.*?)(?:({CLOSE_TAG})(.*))?", re.DOTALL)
_NONE = f"{OPEN_TAG}\n\n{CLOSE_TAG}\n\n"


def begins_with_thought(prefill: str) -> bool:
    """Whether a begun answer brings reasoning of its own."""
    return prefill.lstrip().startswith(OPEN_TAG)


def join_thought(prompt: str, prefill: str) -> tuple[str, str]:
    """The prompt and the begun answer with one reasoning between them.

    The answer's own takes the place of the template's; an answer without any comes after reasoning
    that is over, not inside what the template opened.
    """
    given = _GIVEN.search(prompt)
    if given is None or not prefill:
        return prompt, prefill
    if not begins_with_thought(prefill):
        if given[1]:
            return prompt, prefill
        prefill = _NONE + prefill
    return prompt[: given.start()], prefill


def encode_begun(prefill: str, tokenizer: Tokenizer) -> list[int]:
    """Ids of a begun answer; the tags of its reasoning are markers where the vocabulary has them.

    Tags further on are text.
    """
    markers: Mapping[str, int] = getattr(tokenizer, "markers", {})
    own = _OWN.fullmatch(prefill)
    if own is None or not {OPEN_TAG, CLOSE_TAG} <= markers.keys():
        return tokenizer.encode_after(prefill)
    lead, thought, tag, answer = own.groups("")
    encode = tokenizer.encode_after
    ids = [*encode(lead), markers[OPEN_TAG], *encode(thought)]
    if tag:
        ids += [markers[CLOSE_TAG], *encode(answer)]
    return ids
