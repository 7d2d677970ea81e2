"""`bilin-engine selftest`: one report on this machine, for oneself or to send."""

import argparse
import re
import sys

from bilin_engine.cli.arguments import EXIT_FAILED, EXIT_OK, ArgumentParser
from bilin_engine.cli.report import dim, print_json


def add_arguments(parser: ArgumentParser) -> None:
    """What `selftest` takes."""
    parser.add_argument("--gpus", type=gpu_list, default=(), metavar="0,1", help="default: all")
    parser.add_argument(
        "--world-size", type=int, default=2, metavar="N", help="ranks, where GPUs are too few"
    )
    parser.set_defaults(log_dir=None)


def run(options: argparse.Namespace) -> int:
    """Prints the report; fails when a check failed."""
    from bilin_engine import selftest  # torch: not before it is needed

    def on_check(name: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{dim(name)}", end="", file=sys.stderr, flush=True)

    report = selftest.run(options.gpus, options.world_size, on_check)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    if options.json:
        print_json(report)
    else:
        print(selftest.report_text(report))
    return EXIT_OK if report.has_passed else EXIT_FAILED


def gpu_list(value: str) -> tuple[int, ...]:
    """Indices by commas."""
    if re.fullmatch(r"\d{1,2}(,\d{1,2})*", value) is None:
        raise argparse.ArgumentTypeError(f'"{value}": write indices by commas, as 0,1')
    return tuple(int(part) for part in value.split(","))
