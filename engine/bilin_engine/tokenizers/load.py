"""Which tokenizer a model folder has: `tokenizer_config.json` says its class and file.

Bilin's own classes first; otherwise a `tokenizer.json` is enough, whatever class it was made for,
and after it the files of ChatGLM's and GLM-4's own code.
"""

from pathlib import Path

import msgspec

from bilin_engine.errors import ModelBrokenError, UnsupportedModelError
from bilin_engine.tokenizers.base import Tokenizer
from bilin_engine.tokenizers.chatglm import ChatGLM6BTokenizer, ChatGLMTokenizer
from bilin_engine.tokenizers.huggingface import TOKENIZER_FILE, HuggingFaceTokenizer
from bilin_engine.tokenizers.icetk import IceTokenizer
from bilin_engine.tokenizers.sentencepiece import SentencePieceTokenizer
from bilin_engine.tokenizers.tiktoken_file import GLM_4_SPECIALS, tokenizer_json_of

CONFIG_FILE = "tokenizer_config.json"
DEFAULT_FILES = {"SentencePieceTokenizer": "tokenizer.model", "IceTokenizer": "ice_text.model"}


CHATGLM_6B_FILE = "ice_text.model"
CHATGLM_FILE = "tokenizer.model"


class AddedToken(msgspec.Struct, frozen=True):
    """A token's entry in tokenizer_config.json, as far as it matters here."""

    content: str


class TokenizerConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`tokenizer_config.json`; keys that other programs put there are passed over.

    tokenizer_class: a key of DEFAULT_FILES, or the class of another program. tokenizer_file: "" =
    that class's usual name. keep_newlines: IceTokenizer only, line breaks become `<n>` instead of
    white space. eos_token: the end token of a tokenizer.json: its text, or an object with it.
    added_tokens_decoder: id -> object with `content`, of GLM-4's own tokenizer.
    """

    tokenizer_class: str
    tokenizer_file: str = ""
    keep_newlines: bool = False
    eos_token: str | AddedToken | None = None
    added_tokens_decoder: dict[str, AddedToken] = {}


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder.

    Raises ModelBrokenError, naming the file, for one that is missing or damaged, and
    UnsupportedModelError for a class that Bilin does not have.
    """
    config_path = folder / CONFIG_FILE
    try:
        config = msgspec.json.decode(config_path.read_bytes(), type=TokenizerConfig)
    except OSError as error:
        message = f"{CONFIG_FILE} cannot be read in {folder}: {error.strerror}"
        raise ModelBrokenError(message) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"{config_path} is damaged: {error}"
        raise ModelBrokenError(message) from error
    usual_name = DEFAULT_FILES.get(config.tokenizer_class)
    if usual_name is None:
        return _load_published(folder, config)
    file_name = config.tokenizer_file or usual_name
    if Path(file_name).name != file_name:
        message = f"{config_path}: tokenizer_file {file_name!r} must be a file name in that folder"
        raise ModelBrokenError(message)
    if config.tokenizer_class == "IceTokenizer":
        return IceTokenizer(folder / file_name, keep_newlines=config.keep_newlines)
    return SentencePieceTokenizer(folder / file_name)


def _load_published(folder: Path, config: TokenizerConfig) -> Tokenizer:
    """The tokenizer of a folder that other programs wrote."""
    eos = config.eos_token
    eos_token = eos.content if isinstance(eos, AddedToken) else eos
    if (folder / TOKENIZER_FILE).is_file():
        if not eos_token:
            raise ModelBrokenError(f"{folder / CONFIG_FILE} names no eos_token")
        return HuggingFaceTokenizer(folder / TOKENIZER_FILE, eos_token=eos_token)
    if (folder / CHATGLM_6B_FILE).is_file():
        return ChatGLM6BTokenizer(folder / CHATGLM_6B_FILE)
    if config.tokenizer_class == "ChatGLMTokenizer":
        return ChatGLMTokenizer(folder / CHATGLM_FILE)
    if config.tokenizer_class == "ChatGLM4Tokenizer":
        specials = {
            token.content: int(number)
            for number, token in config.added_tokens_decoder.items()
            if number.isdecimal()
        }
        content = tokenizer_json_of(folder / CHATGLM_FILE, specials or None)
        where = str(folder / CHATGLM_FILE)
        return HuggingFaceTokenizer.from_json(content, where, eos_token or GLM_4_SPECIALS[0])
    known = ", ".join([*DEFAULT_FILES, "ChatGLMTokenizer", "ChatGLM4Tokenizer"])
    raise UnsupportedModelError(
        f"{folder / CONFIG_FILE}: tokenizer_class {config.tokenizer_class!r} is not one of "
        f"{known}, and there is no {TOKENIZER_FILE}, which would do for any class"
    )


def write_tokenizer_config(folder: Path, config: TokenizerConfig) -> None:
    """Writes `tokenizer_config.json` into `folder`."""
    (folder / CONFIG_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(config)) + b"\n")
