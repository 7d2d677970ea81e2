"""Which tokenizer a model folder has: `tokenizer_config.json` says its class and file."""

from pathlib import Path

import msgspec

from bilin_engine.errors import ModelBrokenError, UnsupportedModelError
from bilin_engine.tokenizers.base import Tokenizer
from bilin_engine.tokenizers.icetk import IceTokenizer
from bilin_engine.tokenizers.sentencepiece import SentencePieceTokenizer

CONFIG_FILE = "tokenizer_config.json"
DEFAULT_FILES = {"SentencePieceTokenizer": "tokenizer.model", "IceTokenizer": "ice_text.model"}


class TokenizerConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`tokenizer_config.json`; keys that other programs put there are passed over.

    tokenizer_class: a key of DEFAULT_FILES. tokenizer_file: "" = that class's usual name.
    keep_newlines: IceTokenizer only, line breaks become `<n>` instead of white space.
    """

    tokenizer_class: str
    tokenizer_file: str = ""
    keep_newlines: bool = False


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
        known = ", ".join(DEFAULT_FILES)
        message = f"{config_path}: tokenizer_class {config.tokenizer_class!r} is not one of {known}"
        raise UnsupportedModelError(message)
    file_name = config.tokenizer_file or usual_name
    if Path(file_name).name != file_name:
        message = f"{config_path}: tokenizer_file {file_name!r} must be a file name in that folder"
        raise ModelBrokenError(message)
    if config.tokenizer_class == "IceTokenizer":
        return IceTokenizer(folder / file_name, keep_newlines=config.keep_newlines)
    return SentencePieceTokenizer(folder / file_name)


def write_tokenizer_config(folder: Path, config: TokenizerConfig) -> None:
    """Writes `tokenizer_config.json` into `folder`."""
    (folder / CONFIG_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(config)) + b"\n")
