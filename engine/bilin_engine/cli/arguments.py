"""Arguments of `bilin-engine`, and how a wrong one is said."""

import argparse
import re
import sys
from pathlib import Path
from typing import NoReturn

import msgspec

from bilin_engine.errors import BadRequestError
from bilin_engine.generation.request import check_sampling
from bilin_engine.protocol import LengthLimit, LoadSettings, Sampling
from bilin_engine.text_file import not_utf8

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2


class ArgumentParser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, then where help is; exits with 2."""

    def error(self, message: str) -> NoReturn:
        """Prints the sentence; exits."""
        print(f"{self.prog}: {message}", file=sys.stderr)
        print(f"See {self.prog} --help.", file=sys.stderr)
        sys.exit(EXIT_USAGE)


def add_load_arguments(
    parser: argparse.ArgumentParser, *, tells_memory: bool = True, on_several: bool = True
) -> None:
    """How the model is loaded.

    tells_memory: the command can say what the load took. on_several: it can use several devices.
    """
    group = parser.add_argument_group("loading")
    group.add_argument("--context", type=int, default=0, help="tokens held; 0 = as planned")
    names = "auto, cpu, cuda:1" + ("; cuda:0,cuda:1" if on_several else "")
    group.add_argument("--device", default="auto", help=names)
    group.add_argument("--backend", choices=["auto", "cuda", "cpu", "reference"], default="auto")
    group.add_argument("--threads", type=int, default=0, help="0 = as measured")
    group.add_argument(
        "--kv-dtype",
        choices=["auto", "float32", "bfloat16", "float16", "int8"],
        default="auto",
        help="of keys and values (auto: float16 on GPUs, float32 on the processor)",
    )
    if tells_memory:
        group.add_argument(
            "--load-report",
            action="store_true",
            help="say what the load took of each device, beside what was planned (stderr; on a "
            "terminal always)",
        )


def add_rank_arguments(parser: argparse.ArgumentParser, dtype: str = "auto") -> None:
    """How a model is shared by several ranks or devices. dtype: the default one."""
    group = parser.add_argument_group("several devices")
    group.add_argument(
        "--mode", choices=["auto", "single", "tensor_parallel", "layer_split"], default="auto"
    )
    group.add_argument(
        "--world-size", type=int, default=0, metavar="N", help="ranks; 0 = one a device named"
    )
    group.add_argument(
        "--collective", choices=["auto", "gloo", "nccl", "shared_memory"], default="auto"
    )
    group.add_argument(
        "--dtype",
        choices=["auto", "float32", "bfloat16", "float16"],
        default=dtype,
        help=f"of the arithmetic (default {dtype})",
    )


def add_place_arguments(parser: argparse.ArgumentParser) -> None:
    """Where models and logs lie."""
    group = parser.add_argument_group("folders")
    group.add_argument(
        "--models-dir", type=Path, help="with models of your own; default: the app's"
    )
    group.add_argument("--log-dir", type=Path, help="also write log files there")


_MOST = 2**31 - 1  # tokens or threads that are asked for; no model and no machine has as many
_RANK_OPTIONS = ("mode", "world_size", "collective", "dtype")  # of commands that take them


def load_settings(options: argparse.Namespace) -> LoadSettings:
    """What `add_load_arguments`, and where it was called `add_rank_arguments`, read.

    With `--beams` the model is loaded to hold as many texts. Raises BadRequestError for numbers
    that no message holds; the model and the machine set closer bounds.
    """
    for name in ("context", "threads"):
        value = getattr(options, name)
        if not 0 <= value <= _MOST:
            raise BadRequestError(f"{name} {value} is not possible; it must be from 0 to {_MOST}")
    beams = getattr(options, "beams", None) or 1
    return LoadSettings(
        context=options.context,
        device=options.device,
        backend=options.backend,
        num_threads=options.threads,
        kv_dtype=options.kv_dtype,
        num_slots=beams if beams > 1 else 0,
        **{name: getattr(options, name) for name in _RANK_OPTIONS if hasattr(options, name)},
    )


def one_device_settings(options: argparse.Namespace, command: str) -> LoadSettings:
    """`load_settings` of a command that computes on one device. Raises BadRequestError for more."""
    if "," in options.device:
        raise BadRequestError(
            f"{command} computes on one device, not on {options.device}; name one of them"
        )
    return load_settings(options)


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """How tokens are chosen; what is not given is as the model's makers recommend."""
    group = parser.add_argument_group("sampling (defaults: the model's own)")
    group.add_argument("--temperature", type=float, help="0 = always the likeliest token")
    group.add_argument("--top-k", type=int)
    group.add_argument("--top-p", type=float)
    group.add_argument("--min-p", type=float)
    group.add_argument("--repetition-penalty", type=float)
    group.add_argument("--max-tokens", type=int)
    group.add_argument("--stop", action="append", default=[], metavar="TEXT")
    group.add_argument("--seed", type=int, help="drawn and reported when not given")
    group.add_argument("--beams", type=int)


def sampling(options: argparse.Namespace, recommended: Sampling) -> Sampling:
    """What `add_sampling_arguments` read, on top of `recommended`.

    Raises BadRequestError for a value that cannot be: a model need not be loaded to know.
    """
    given = {
        "temperature": options.temperature,
        "top_k": options.top_k,
        "top_p": options.top_p,
        "min_p": options.min_p,
        "repetition_penalty": options.repetition_penalty,
        "max_new_tokens": options.max_tokens,
        "seed": options.seed,
        "num_beams": options.beams,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    asked = msgspec.structs.replace(recommended, stop_texts=tuple(options.stop), **chosen)
    check_sampling(asked)
    return asked


# What is meant as a file's name: a text would have a space, a blank, a mark of a Chinese sentence
# (：、“” stand in names as well), or no such end.
_IN_NAMES = r"[^\s\[\]，。？！；]"
_NAMES_FILE = re.compile(
    rf"(~|\.{{0,2}}/)?{_IN_NAMES}*\.(txt|md|markdown|text)|(~|\.{{1,2}})?/{_IN_NAMES}+"
)


def text_argument(value: str) -> str:
    """The text itself, the content of the file it names, or with "-" what stdin holds."""
    try:
        if value == "-":
            return sys.stdin.read().rstrip("\n") if sys.stdin is not None else ""
        path = Path(value)
        if path.is_file():
            return path.read_text(encoding="utf-8-sig").rstrip("\n")
        is_folder = path.is_dir()
    except UnicodeDecodeError as error:
        raise argparse.ArgumentTypeError(not_utf8(value, error)) from error
    except (OSError, ValueError):
        return value  # too long or too odd for a path: it is the text
    if is_folder and "/" in value:  # a single word is a text, whatever folders lie here
        raise argparse.ArgumentTypeError(f"{value} is a folder; give a text, a text file, or -")
    if _NAMES_FILE.fullmatch(value):
        raise argparse.ArgumentTypeError(
            f"there is no file {value}; give a text (this one with a space before it), a text "
            "file, or -"
        )
    return value


def length_limit(value: str) -> tuple[int, str, bool]:
    """`12`, `12字`, `12c`, `12w`, `=4`: (count, "characters", "words" or "", exact)."""
    match = re.fullmatch(r"(=?)(\d{1,5})\s*(字|c|characters|w|words)?", value.strip())
    if match is None or int(match[2]) < 1:
        raise argparse.ArgumentTypeError(
            f'length "{value}": write 12字 (characters), 12w (words), or =4字 for exactly four'
        )
    unit = {"字": "characters", "c": "characters", "w": "words"}.get(match[3] or "", match[3] or "")
    return int(match[2]), unit, bool(match[1])


def as_length_limit(value: tuple[int, str, bool] | None, text: str) -> LengthLimit | None:
    """A limit without a unit counts characters in text with Chinese, words in other text."""
    if value is None:
        return None
    count, unit, is_exact = value
    if unit == "characters" or (not unit and re.search(r"[\u3400-\u9fff]", text)):
        return LengthLimit(count, "characters", is_exact)
    return LengthLimit(count, "words", is_exact)
