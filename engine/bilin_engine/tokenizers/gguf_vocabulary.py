"""The tokenizer that a GGUF file carries, as the content of a `tokenizer.json`.

Two models are known: `gpt2`, byte-level BPE with a named way to split text beforehand, and `llama`,
SentencePiece's BPE, whose merges follow from its scores. A way to split that is not in SPLITS is
refused by name: with another the ids would be others and the model worse, without a sign of it.
Source: github ggml-org/llama.cpp, src/llama-vocab.cpp; transformers 5.23, convert_slow_tokenizer.py
(generate_merges) and integrations/ggml.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bilin_engine.errors import ModelBrokenError, UnsupportedModelError
from bilin_engine.tokenizers.tiktoken_file import GLM_4_PATTERN

MAX_TOKEN_CHARACTERS = 4096
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)

_GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_QWEN_2 = GLM_4_PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+|"
    r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+((?=[\p{L}])([^A-Z]))*|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class Split:
    """A way to cut text before BPE: each pattern cuts what the one before it left.

    keeps_words: a word that is a token stays one, whatever the merges. normalizer: before it all.
    begins: the tokens that a text of its own begins with, where they are in the vocabulary.
    """

    patterns: tuple[str, ...]
    keeps_words: bool = False
    normalizer: str = ""
    begins: tuple[str, ...] = ()
    adds_bos: bool = False


_LLAMA_3 = Split((GLM_4_PATTERN,), keeps_words=True, adds_bos=True)
_GLM_4 = ("[gMASK]", "<sop>")
_DEFAULT = Split((r"[\p{P}\$\+<=>\^~\|]+", _GPT_2, r"\p{N}+", r"[0-9][0-9][0-9]"))

# `tokenizer.ggml.pre` -> how it splits.
SPLITS: dict[str, Split] = {
    "default": _DEFAULT,
    "llama-bpe": _LLAMA_3,
    "llama3": _LLAMA_3,
    "llama-v3": _LLAMA_3,
    "falcon3": _LLAMA_3,
    "smaug-bpe": Split((GLM_4_PATTERN,)),
    "qwen2": Split((_QWEN_2,), normalizer="NFC"),
    "deepseek-r1-qwen": Split((_QWEN_2,)),
    "megrez": Split((_QWEN_2,)),
    "smollm": Split((r"\p{N}", _GPT_2)),
    "starcoder": Split((r"\p{N}", _GPT_2)),
    "refact": Split((r"\p{N}", _GPT_2)),
    "gpt-2": Split((_GPT_2,)),
    "tekken": Split((_TEKKEN,), keeps_words=True, adds_bos=True),
    "chatglm-bpe": Split((GLM_4_PATTERN,), keeps_words=True, begins=_GLM_4),
    "glm4": Split((GLM_4_PATTERN,), keeps_words=True, begins=_GLM_4),
}
# `tokenizer.ggml.pre` of the model `llama` says nothing of splitting.
_SENTENCEPIECE_KINDS = ("", "default", "llama-spm", "chatglm-spm")

_KNOWN_KEYS = frozenset(
    f"tokenizer.{key}"
    for key in (
        "ggml.model", "ggml.pre", "ggml.tokens", "ggml.token_type", "ggml.token_type_count",
        "ggml.scores", "ggml.merges", "ggml.bos_token_id", "ggml.eos_token_id",
        "ggml.eot_token_id", "ggml.eom_token_id", "ggml.unknown_token_id",
        "ggml.seperator_token_id", "ggml.padding_token_id", "ggml.mask_token_id",
        "ggml.cls_token_id", "ggml.add_bos_token", "ggml.add_eos_token", "ggml.add_sep_token",
        "ggml.add_space_prefix", "ggml.remove_extra_whitespaces", "ggml.fim_pre_token_id",
        "ggml.fim_suf_token_id", "ggml.fim_mid_token_id", "ggml.fim_pad_token_id",
        "ggml.fim_rep_token_id", "ggml.fim_sep_token_id", "ggml.prefix_token_id",
        "ggml.suffix_token_id", "ggml.middle_token_id", "chat_template", "chat_templates",
        "huggingface.json",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GgufTokenizer:
    """content: of tokenizer.json. config: of tokenizer_config.json.

    eos_ids: every id that ends an answer. chat_template: "" = none. token_ids: `bos_token_id` and
    so on, for config.json.
    """

    content: dict[str, Any]
    config: dict[str, Any]
    eos_ids: tuple[int, ...]
    chat_template: str
    token_ids: dict[str, int] = field(default_factory=dict)


def read_tokenizer(metadata: Mapping[str, object], where: str) -> GgufTokenizer:
    """The tokenizer of a file's metadata; `where` names the file in messages.

    Raises ModelBrokenError for lists that are missing or do not fit each other, and
    UnsupportedModelError, by name, for a model, a split or a key that we do not know.
    """
    vocabulary = _Vocabulary(metadata, where)
    unknown = sorted(
        key
        for key in metadata
        if key.startswith("tokenizer.")
        and key not in _KNOWN_KEYS
        and not key.startswith("tokenizer.chat_template.")
    )
    if unknown:
        raise UnsupportedModelError(
            f"{where} has {unknown[0]}, which Bilin does not know and which may change how text "
            "is read"
        )
    model = vocabulary.text("model")
    if model == "gpt2":
        content = _byte_level(vocabulary)
    elif model == "llama":
        content = _sentencepiece(vocabulary)
    else:
        raise UnsupportedModelError(
            f"{where}: tokenizer.ggml.model is {model[:40]!r}; gpt2 (byte-level BPE) and llama "
            "(SentencePiece) can be imported"
        )
    return _described(vocabulary, content, metadata)


class _Vocabulary:
    """The lists of a file, checked against each other."""

    def __init__(self, metadata: Mapping[str, object], where: str) -> None:
        self._metadata = metadata
        self.where = where
        self.tokens: Sequence[str] = self.list_of("tokens", str)
        if not self.tokens:
            raise ModelBrokenError(f"{where} has no tokenizer.ggml.tokens")
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        if len(self.ids) != len(self.tokens):
            double = next(t for i, t in enumerate(self.tokens) if self.ids[t] != i)
            raise ModelBrokenError(f"{where}: the token {double[:40]!r} is there twice")
        longest = max(self.tokens, key=len)
        if len(longest) > MAX_TOKEN_CHARACTERS:
            raise ModelBrokenError(
                f"{where}: a token has {len(longest)} characters; at most "
                f"{MAX_TOKEN_CHARACTERS} are read"
            )
        types: Sequence[int] = self.list_of("token_type", int)
        self.types = types or (_NORMAL,) * len(self.tokens)
        self.scores: Sequence[float] = self.list_of("scores", float)
        for name, values in (("token_type", self.types), ("scores", self.scores)):
            if values and len(values) != len(self.tokens):
                raise ModelBrokenError(
                    f"{where}: tokenizer.ggml.{name} has {len(values)} items for "
                    f"{len(self.tokens)} tokens"
                )

    def list_of(self, name: str, kind: type) -> Any:  # noqa: ANN401 - of `kind`
        """A list; () where there is none."""
        value: Any = self._metadata.get(f"tokenizer.ggml.{name}", ())
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        if not is_list or not all(type(item) is kind for item in value):
            raise ModelBrokenError(
                f"{self.where}: tokenizer.ggml.{name} is no list of {kind.__name__}"
            )
        return value

    def text(self, name: str) -> str:
        """A text; "" where there is none."""
        value = self._metadata.get(f"tokenizer.ggml.{name}", "")
        if not isinstance(value, str):
            raise ModelBrokenError(f"{self.where}: tokenizer.ggml.{name} is no text")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self._metadata.get(f"tokenizer.ggml.{name}", default)
        if not isinstance(value, bool):
            raise ModelBrokenError(f"{self.where}: tokenizer.ggml.{name} is neither true nor false")
        return value

    def token_id(self, name: str) -> int | None:
        """The id that `<name>_token_id` names; None where it names none."""
        value = self._metadata.get(f"tokenizer.ggml.{name}_token_id")
        if value is None or value in (-1, (1 << 32) - 1):
            return None
        if (
            isinstance(value, bool)
            or not isinstance(value, int)
            or not 0 <= value < len(self.tokens)
        ):
            raise ModelBrokenError(
                f"{self.where}: tokenizer.ggml.{name}_token_id is no id of "
                f"{len(self.tokens)} tokens"
            )
        return value

    def added(self) -> list[dict[str, Any]]:
        """`added_tokens`: what is a token as a whole, and never made of parts."""
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        return [
            {"id": index, "content": token, "special": kind != _USER_DEFINED, **flags}
            for index, (token, kind) in enumerate(zip(self.tokens, self.types, strict=True))
            if kind in (_CONTROL, _USER_DEFINED) or (kind == _UNKNOWN and token)
        ]


def _byte_level(vocabulary: _Vocabulary) -> dict[str, Any]:
    kind = vocabulary.text("pre") or "default"
    split = SPLITS.get(kind)
    if split is None:
        raise UnsupportedModelError(
            f"{vocabulary.where}: tokenizer.ggml.pre is {kind[:40]!r}, a way to split text that "
            f"Bilin does not know; known are {', '.join(SPLITS)}"
        )
    merges = []
    for merge in vocabulary.list_of("merges", str):
        left, _, right = merge.partition(" ")
        if " " in right:  # llama.cpp wrote a token's parts where no two make it: no step gives it
            continue
        known = left in vocabulary.ids and right in vocabulary.ids
        if not known or left + right not in vocabulary.ids:
            raise ModelBrokenError(
                f"{vocabulary.where}: the merge {merge[:40]!r} is of no two tokens, or gives none"
            )
        merges.append([left, right])
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    splits = [
        {"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False}
        for p in split.patterns
    ]
    begins = _begins(vocabulary, split)
    return {
        **_frame(vocabulary, begins),
        "normalizer": {"type": split.normalizer} if split.normalizer else None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [*splits, {**byte_level, "use_regex": False}],
        },
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            **_bpe(vocabulary.ids, merges),
            "ignore_merges": split.keeps_words,
        },
    }


def _begins(vocabulary: _Vocabulary, split: Split) -> list[int]:
    if split.begins and all(text in vocabulary.ids for text in split.begins):
        return [vocabulary.ids[text] for text in split.begins]
    bos = vocabulary.token_id("bos")
    adds = vocabulary.flag("add_bos_token", default=split.adds_bos)
    return [bos] if adds and bos is not None else []


def _sentencepiece(vocabulary: _Vocabulary) -> dict[str, Any]:
    kind = vocabulary.text("pre")
    if kind not in _SENTENCEPIECE_KINDS:
        raise UnsupportedModelError(
            f"{vocabulary.where}: tokenizer.ggml.pre is {kind[:40]!r}; a SentencePiece tokenizer "
            f"has {', '.join(filter(None, _SENTENCEPIECE_KINDS))} or none"
        )
    if not vocabulary.scores:
        raise ModelBrokenError(f"{vocabulary.where} has no tokenizer.ggml.scores")
    if vocabulary.flag("remove_extra_whitespaces", default=False):
        raise UnsupportedModelError(
            f"{vocabulary.where}: tokenizer.ggml.remove_extra_whitespaces is true; only false is "
            "supported"
        )
    adds_space = vocabulary.flag("add_space_prefix", default=True)
    bos = vocabulary.token_id("bos")
    is_glm = all(text in vocabulary.ids for text in ("[gMASK]", "sop"))
    begins = (
        [bos] if vocabulary.flag("add_bos_token", default=not is_glm) and bos is not None else []
    )
    if is_glm:
        begins = [vocabulary.ids["[gMASK]"], vocabulary.ids["sop"]]
    unknown = vocabulary.token_id("unknown")
    replaced = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    prepended = [{"type": "Prepend", "prepend": "▁"}] if adds_space else []
    stripped = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if adds_space else []
    return {
        **_frame(vocabulary, begins),
        "normalizer": {"type": "Sequence", "normalizers": [*prepended, replaced]},
        "pre_tokenizer": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                *stripped,
            ],
        },
        "model": {
            **_bpe(vocabulary.ids, _merges_by_score(vocabulary)),
            "byte_fallback": any(kind == _BYTE for kind in vocabulary.types),
            "fuse_unk": True,
            "unk_token": None if unknown is None else vocabulary.tokens[unknown],
        },
    }


def _merges_by_score(vocabulary: _Vocabulary) -> list[list[str]]:
    """Every pair of tokens that makes a token, the likeliest result first."""
    normal = {
        token: index
        for index, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True))
        if kind in (_NORMAL, _USER_DEFINED, _UNUSED)
    }
    merges: list[tuple[float, int, int, str, str]] = []
    for token, index in normal.items():
        pairs = [
            (token[:cut], token[cut:])
            for cut in range(1, len(token))
            if token[:cut] in normal and token[cut:] in normal
        ]
        pairs.sort(key=lambda pair: (normal[pair[0]], normal[pair[1]]))
        score = vocabulary.scores[index]
        merges += [(score, len(left), len(right), left, right) for left, right in pairs]
    merges.sort(key=lambda merge: merge[:3], reverse=True)
    return [[left, right] for *_, left, right in merges]


def _bpe(ids: Mapping[str, int], merges: list[list[str]]) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": dict(ids),
        "merges": merges,
    }


def _frame(vocabulary: _Vocabulary, begins: list[int]) -> dict[str, Any]:
    """What surrounds the model. begins: the ids a text of its own begins with."""
    tokens = [vocabulary.tokens[index] for index in begins]
    first = [{"SpecialToken": {"id": token, "type_id": 0}} for token in tokens]
    sequence = [{"Sequence": {"id": name, "type_id": number}} for number, name in enumerate("AB")]
    template = {
        "type": "TemplateProcessing",
        "single": [*first, sequence[0]],
        "pair": [*first, *sequence],
        "special_tokens": {
            token: {"id": token, "ids": [index], "tokens": [token]}
            for token, index in zip(tokens, begins, strict=True)
        },
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": vocabulary.added(),
        "post_processor": template if begins else None,
    }


def _described(
    vocabulary: _Vocabulary, content: dict[str, Any], metadata: Mapping[str, object]
) -> GgufTokenizer:
    eos = vocabulary.token_id("eos")
    if eos is None:
        raise ModelBrokenError(f"{vocabulary.where} names no tokenizer.ggml.eos_token_id")
    ends = [eos, *(vocabulary.token_id(name) for name in ("eot", "eom"))]
    named = {
        name: token_id
        for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
        if (token_id := vocabulary.token_id(key)) is not None
    }
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **{f"{name}_token": vocabulary.tokens[token_id] for name, token_id in named.items()},
    }
    template = metadata.get("tokenizer.chat_template", "")
    if not isinstance(template, str):
        raise ModelBrokenError(f"{vocabulary.where}: tokenizer.chat_template is no text")
    if "{" not in template:  # llama.cpp wrote the name of one of its own, as "chatglm4"
        template = ""
    return GgufTokenizer(
        content=content,
        config=config,
        eos_ids=tuple(dict.fromkeys(i for i in ends if i is not None)),
        chat_template=template,
        token_ids={f"{n}_token_id": i for n, i in named.items() if n != "unk"},
    )
