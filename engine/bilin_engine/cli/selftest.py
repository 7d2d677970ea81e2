"""`bilin-engine selftest`: one report on this machine, for oneself or to send."""

import argparse
import re
import sys

from bilin_engine.cli.arguments import EXIT_FAILED, EXIT_OK, ArgumentParser
from bilin_engine.cli.report import dim, print_json

_MARKS = {"passed": "ok", "failed": "FAILED", "skipped": "-"}
_MODES = {
    "tensor_parallel": "tensor parallel 张量并行",
    "layer_split": "layer split 按层分放",
    "single": "one device 单设备",
}


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
        print(f"Bilin {report.version}, torch {report.torch}; {'; '.join(report.devices)}")
        for check in report.checks:
            print(f"{_MARKS[check.state]:<7}{check.name:<47}{check.seconds:6.1f} s  {check.detail}")
        way = f" over {report.collective}" if report.collective else ""
        print(f"Use over several devices 多设备方式: {_MODES[report.mode]}{way}")
        failed = [check.name for check in report.checks if check.state == "failed"]
        if failed:
            print(f"Not used, because it failed 未通过，不予使用: {'; '.join(failed)}")
        print(f"{report.seconds:.0f} s")
    return EXIT_OK if report.has_passed else EXIT_FAILED


def gpu_list(value: str) -> tuple[int, ...]:
    """Indices by commas."""
    if re.fullmatch(r"\d{1,2}(,\d{1,2})*", value) is None:
        raise argparse.ArgumentTypeError(f'"{value}": write indices by commas, as 0,1')
    return tuple(int(part) for part in value.split(","))
