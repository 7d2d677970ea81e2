"""`bilin-engine`: its commands, and what becomes of an error."""

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bilin_engine import __version__
from bilin_engine.cli import (
    bench,
    chat,
    download,
    evaluate,
    fill,
    generate,
    job,
    logits,
    plan,
    proofread,
    score,
    selftest,
)
from bilin_engine.cli.arguments import (
    EXIT_FAILED,
    EXIT_OK,
    ArgumentParser,
    add_load_arguments,
    add_place_arguments,
    add_rank_arguments,
    add_sampling_arguments,
    length_limit,
    text_argument,
)
from bilin_engine.cli.report import print_json
from bilin_engine.cli.session import Session, StoppedByPersonError, open_session
from bilin_engine.errors import BadRequestError, BilinError, out_of_memory
from bilin_engine.logs import start_logging
from bilin_engine.protocol import (
    CountTokens,
    DevicesListed,
    ListDevices,
    ListModels,
    Message,
    ModelInfo,
    ModelsListed,
    TokenCount,
)

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count


def run(
    arguments: Sequence[str],
    open_session: Callable[[argparse.Namespace], Session] = open_session,
) -> int:
    """Runs one command; returns its exit code: 0 done, 1 failed with a sentence, 2 bad usage."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        # Whatever the locale says; what is no UTF-8 is told, not passed on as half characters.
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="strict")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an emoji in a terminal that has none
            stream.reconfigure(errors="replace")
    options = _parser().parse_args(list(arguments) or ["--help"])
    options.open_session = open_session
    start_logging("cli", options.log_dir, "WARNING")
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        _check_texts(options)
        return command(options)
    except BilinError as error:
        return _fail(error, as_json=options.json)
    except (MemoryError, RuntimeError) as error:  # of commands that compute in this process
        failure = out_of_memory(error)
        if failure is None:
            raise
        return _fail(failure, as_json=options.json)
    except (KeyboardInterrupt, StoppedByPersonError):
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `bilin-engine … | head`
        sys.stderr.close()
        return EXIT_FAILED


def _check_texts(options: argparse.Namespace) -> None:
    """Raises BadRequestError for bytes of another encoding; in the paths of files they may be."""
    for name, value in vars(options).items():
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str):
                continue
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise BadRequestError(
                    f"the argument {name} is no UTF-8 text; convert it, as by "
                    "iconv -f GB18030 -t UTF-8"
                ) from error


def _fail(error: BilinError, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": {"code": error.code, "message": error.message}}))
    print(f"bilin-engine: {error.message}", file=sys.stderr)
    return EXIT_FAILED


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="bilin-engine", description="Bilin 比邻 without a window. 无窗口的 Bilin。"
    )
    parser.add_argument("--version", action="version", version=f"bilin-engine {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, run_it: Callable[[argparse.Namespace], int], text: str) -> ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=run_it)
        command.add_argument("--json", action="store_true", help="one JSON value on stdout")
        return command

    models = add("models", _models, "List the models on this computer. 列出本机模型。")
    add_place_arguments(models)
    devices = add("devices", _devices, "List GPUs and the CPU. 列出显卡与处理器。")
    add_place_arguments(devices)

    chatting = add("chat", chat.run, "Talk with a model. 与模型对话。")
    chatting.epilog = (
        "Without --once every line of stdin is a message; with --json its answer is a JSON value "
        "in a line of its own. 不用 --once 时，标准输入每行为一条消息。"
    )
    chatting.add_argument("model")
    chatting.add_argument("--once", metavar="TEXT", help="answer this and leave")
    chatting.add_argument("--system", default="", metavar="TEXT", help="system prompt")
    chatting.add_argument(
        "--no-thinking", action="store_true", help="answer without reasoning first, as Qwen3 can"
    )
    _add_generation(chatting)

    generating = add("generate", generate.run, "Continue a text. 续写文本。")
    generating.add_argument("model")
    generating.add_argument(
        "texts",
        nargs="*",
        type=text_argument,
        metavar="text",
        help="the text, a file, or - for stdin; several are decoded together",
    )
    generating.add_argument(
        "--prompts-file",
        type=Path,
        metavar="FILE",
        help="many texts, decoded together: one a line, or in a .jsonl file objects with text and, "
        "where wanted, sampling values of their own (seed, temperature, max_new_tokens, …)",
    )
    generating.add_argument(
        "--batch",
        type=int,
        default=0,
        metavar="N",
        help="at a time; 0 = by the model's size",
    )
    _add_generation(generating)

    filling = add("fill", fill.run_fill, "Fill the blanks of a text. 填空。")
    filling.add_argument("model")
    filling.add_argument(
        "text", type=text_argument, help="text with [MASK], [sMASK] or [gMASK]; a file; - for stdin"
    )
    filling.add_argument("--candidates", type=int, default=1, metavar="N")
    filling.add_argument("--blank", type=int, metavar="N", help="only this one, the first is 0")
    filling.add_argument(
        "--length", type=length_limit, metavar="N[字|w]", help="at most; =N exactly"
    )
    filling.add_argument("--choices", metavar="A,B,C", help="rank these instead of writing")
    filling.add_argument("--digits", action="store_true", help="digits only")
    _add_generation(filling)

    counting = add("count", _count, "Count the tokens of a message. 计算词元数。")
    counting.add_argument("model")
    counting.add_argument("text", type=text_argument, help="the text, a file, or - for stdin")
    add_place_arguments(counting)

    _add_checks(add)
    add("stdio", _stdio, "Serve one app over stdin and stdout (frames).").set_defaults(log_dir=None)
    return parser


def _add_checks(
    add: "Callable[[str, Callable[[argparse.Namespace], int], str], ArgumentParser]",
) -> None:
    """Commands that look at a model instead of using it."""
    measuring = add("bench", bench.run, "Measure a model's speed here. 测量速度。")
    bench.add_arguments(measuring)
    add_load_arguments(measuring, on_several=False)
    add_place_arguments(measuring)

    scoring = add("score", score.run, "How likely is a text? 一段文本的概率。")
    score.add_arguments(scoring)
    add_load_arguments(scoring)
    add_rank_arguments(scoring)
    add_place_arguments(scoring)

    fetching = add("download", download.run_download, "Get a model from a hub. 下载模型。")
    download.add_download_arguments(fetching)
    listing = add("catalog", download.run_catalog, "Models worth having. 推荐的模型。")
    download.add_catalog_arguments(listing)
    reading = add("proofread", proofread.run, "Find unlikely words. 校读。")
    proofread.add_arguments(reading)
    add_load_arguments(reading)
    add_rank_arguments(reading)
    add_place_arguments(reading)

    converting = add("convert", job.run_convert, "Make a model of a checkpoint. 转换权重。")
    job.add_convert_arguments(converting)
    job.add_verify_arguments(add("verify", job.run_verify, "Is a model whole? 校验模型。"))

    selftest.add_arguments(add("selftest", selftest.run, "Check this machine. 本机自检。"))

    logits.add_arguments(add("logits", logits.run, "Write log-probs of ids to a file. 导出概率。"))

    plan.add_arguments(add("plan", plan.run, "Will a model fit, and how fast? 放得下吗？"))

    evaluating = add("evaluate", evaluate.run, "Score a model on files. 评测模型。")
    evaluate.add_arguments(evaluating)
    add_load_arguments(evaluating, tells_memory=False, on_several=False)
    add_place_arguments(evaluating)


def _add_generation(parser: argparse.ArgumentParser) -> None:
    add_load_arguments(parser)
    add_rank_arguments(parser)
    add_place_arguments(parser)
    add_sampling_arguments(parser)


def _stdio(_options: argparse.Namespace) -> int:
    # __main__ takes `stdio` before this parser exists; only `--help` and odd spellings come here.
    raise BilinError('"stdio" must be the first argument')


def _models(options: argparse.Namespace) -> int:
    with options.open_session(options) as session:
        listed = session.ask(ListModels, ModelsListed)
    if options.json:
        print_json({"models": listed.models})
        return EXIT_OK
    if not listed.models:
        print("No models. 没有模型。")
    for model in listed.models:
        print(_model_line(model))
    return EXIT_OK


def _model_line(model: ModelInfo) -> str:
    if model.problem:
        return f"{model.id:<24} ! {model.problem}"
    can = [
        *(("chat 对话",) if model.can_chat else ()),
        *(("blanks 填空",) if model.blank_kinds else ()),
    ]
    return "  ".join(
        (
            f"{model.id:<16}",
            f"{model.name_zh} {model.name_en}",
            f"{model.num_parameters / 1e6:,.1f} M",
            model.precision,
            f"{model.size_bytes / 2**20:,.1f} MiB",
            f"context {model.context_length}",
            ", ".join(can),
        )
    )


def _devices(options: argparse.Namespace) -> int:
    with options.open_session(options) as session:
        listed = session.ask(ListDevices, DevicesListed)
    if options.json:
        print_json(listed.devices)
        return EXIT_OK
    for device in listed.devices:
        print(
            f"{device.name:<8}  {device.label}  "
            f"{device.free_bytes / 2**30:.1f} of {device.total_bytes / 2**30:.1f} GiB free"
        )
    return EXIT_OK


def _count(options: argparse.Namespace) -> int:
    with options.open_session(options) as session:
        messages = (Message("user", options.text),)
        counted = session.ask(
            lambda i: CountTokens(id=i, model=options.model, messages=messages), TokenCount
        )
    if options.json:
        print_json(counted)
    else:
        print(
            f"{counted.total} of {counted.context_length} tokens as a prompt, "
            f"{counted.per_message[0]} of them the text"
        )
    return EXIT_OK
