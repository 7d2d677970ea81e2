"""Which language a text is written in."""

import re
from typing import Literal

Language = Literal["zh", "en"]

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_LATIN_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)*")
# Words that Chinese sentences do not borrow: an English sentence has one, a name or a term none.
_ENGLISH_WORD = re.compile(
    r"\b(?:a|an|and|are|as|at|be|but|by|can|could|did|do|does|for|from|give|had|has|have|he"
    r"|her|his|how|i|if|in|into|is|it|its|like|me|mean|means|my|not|of|on|or|please|say|she"
    r"|should|tell|than|that|the|their|them|then|there|these|they|this|to|translate|us|was|we"
    r"|were|what|when|where|which|who|why|will|with|would|you|your)\b",
    re.IGNORECASE | re.ASCII,
)


def text_language(text: str) -> Language | None:
    """The language a text is written in, None where it has neither (numbers, signs).

    Foreign words inside do not count: "What does 狗 mean?" is English, "用 Rust 写 hello" Chinese.
    """
    num_han = len(_HAN.findall(text))
    words = _LATIN_WORD.findall(text)
    if not num_han:
        return "en" if words else None
    is_english = len(words) >= num_han and _ENGLISH_WORD.search(text) is not None
    return "en" if is_english else "zh"
