"""`bilin-engine convert` and `verify`: long work in a process of its own, seen from a terminal."""

import argparse
import sys
from pathlib import Path

from bilin_engine.cli.arguments import EXIT_OK, ArgumentParser, add_place_arguments
from bilin_engine.cli.logits import model_folder
from bilin_engine.cli.report import dim, print_json
from bilin_engine.library import Library
from bilin_engine.protocol import (
    ConvertModel,
    JobDone,
    JobProgress,
    JobWork,
    VerifyModel,
)
from bilin_engine.server.job_process import JobCommand, run_job
from bilin_engine.server.library_ops import LibraryOps

_STAGE_WORDS = {
    "download": "downloading 下载",
    "wait": "waiting for the hub 等待模型库",
    "calibrate": "measuring what matters 校准",
    "convert": "converting 转换",
    "hash": "checksums 校验和",
    "verify": "checking values 检查数值",
}


def add_convert_arguments(parser: ArgumentParser) -> None:
    """What `convert` takes."""
    parser.add_argument(
        "src",
        type=Path,
        help="GLM-130B checkpoint (`latest`, mp_rank_XX files), a Hugging Face folder, or a GGUF "
        "file (of several parts the first)",
    )
    parser.add_argument("dst", type=Path, help="the model folder to make")
    parser.add_argument(
        "--group-size",
        default="",
        metavar="source|row|128|64|32",
        help="default: the source's own groups, 128 where it has none",
    )
    parser.add_argument(
        "--dtype", choices=["int4", "int8", "fp16"], default="", help="default: as the source"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE.json", help="sizes other than GLM-130B's"
    )
    parser.add_argument(
        "--tokenizer", type=Path, metavar="FILE", help="ice_text.model, to put beside the weights"
    )
    add_place_arguments(parser)


def add_verify_arguments(parser: ArgumentParser) -> None:
    """What `verify` takes."""
    parser.add_argument("model", help="a model of the library, or a model folder")
    add_place_arguments(parser)


def run_convert(options: argparse.Namespace) -> int:
    """Converts; after Ctrl-C says how to go on."""
    work = ConvertModel(
        source=str(options.src.absolute()),
        folder=str(options.dst.absolute()),
        target=options.dtype,
        group_size=options.group_size,
        config_file=str(options.config.absolute()) if options.config else "",
        tokenizer_file=str(options.tokenizer.absolute()) if options.tokenizer else "",
    )
    library = Library(options.models_dir)
    if Path(work.folder).parent == library.models_dir.absolute():
        LibraryOps(library).keep_ids()
    try:
        done = _run(options, work)
    except KeyboardInterrupt:
        print(
            "Stopped. What is converted stays; the same command goes on from there.\n"
            "已停止。再次运行同一命令即可继续。",
            file=sys.stderr,
        )
        raise
    sentence = f"{options.dst} is whole: every file is checked"
    if done.quantization_error:
        sentence += (
            f"\nQuantized weights are off by {done.quantization_error:.1%} (root mean square) of "
            f"what they were 量化误差 {done.quantization_error:.1%}"
        )
    return _report(options, done, sentence)


def run_verify(options: argparse.Namespace) -> int:
    """Verifies; a broken folder is a failure that names the file."""
    folder = model_folder(options.model, options.models_dir)
    done = _run(options, VerifyModel(str(folder)))
    return _report(options, done, f"{folder} is whole: sha256, shapes and values 完好")


def _run(options: argparse.Namespace, work: JobWork) -> JobDone:
    command = JobCommand(log_dir=options.log_dir, log_level="WARNING")
    try:
        return run_job(command, work, show_progress)
    finally:
        if sys.stderr.isatty():
            print(file=sys.stderr)


def show_progress(progress: JobProgress) -> None:
    """One line on a terminal, written over; nothing elsewhere."""
    if not sys.stderr.isatty():
        return
    share = progress.done / progress.total if progress.total else 1.0
    eta = "" if progress.eta_s is None else f", {_duration(progress.eta_s)} left"
    line = (
        f"{_STAGE_WORDS.get(progress.stage, progress.stage)} {share:4.0%} of "
        f"{progress.total / 2**30:,.2f} GiB, {progress.rate_bytes_s / 2**20:,.0f} MiB/s{eta}"
    )
    print(f"\r\x1b[K{dim(line)}", end="", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _report(options: argparse.Namespace, done: JobDone, sentence: str) -> int:
    if options.json:
        print_json(done)
    else:
        print(sentence)
    return EXIT_OK
