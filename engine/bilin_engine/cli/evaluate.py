"""`bilin-engine evaluate`: scores a model on files; torch is in this process for once."""

import argparse
import sys
from pathlib import Path

import msgspec

from bilin_engine.cli.arguments import EXIT_FAILED, EXIT_OK, one_device_settings
from bilin_engine.cli.report import dim, print_json
from bilin_engine.library import Library
from bilin_engine.server.ranks import fitting_slots


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `evaluate` takes, beside how a model is loaded and where models lie."""
    parser.add_argument("model")
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="probe questions (.jsonl), GLM-130B task files (.yaml), or folders of these",
    )
    parser.add_argument("--compare", metavar="MODEL", help="run a second model beside it")
    parser.add_argument(
        "--data-path", type=Path, metavar="DIR", help="where task data lie (default: the task's)"
    )


def run(options: argparse.Namespace) -> int:
    """Prints the table or the JSON; progress goes to a terminal's stderr."""
    from bilin_engine.evaluate import command
    from bilin_engine.evaluate.model import NUM_SLOTS

    def on_stage(stage: str, fraction: float) -> None:
        if sys.stderr.isatty():
            print(dim(f"\r{stage} {fraction:4.0%}"), end="", file=sys.stderr, flush=True)

    settings = one_device_settings(options, "evaluate")
    library = Library(options.models_dir)
    num_slots = min(
        fitting_slots(settings, Path(library.entry(model_id).info.path), NUM_SLOTS)
        for model_id in filter(None, (options.model, options.compare))
    )
    settings = msgspec.structs.replace(settings, num_slots=num_slots)
    found = command.run(options, library, settings, on_stage)
    if options.json:
        print_json(found.as_json())
    else:
        print(found.as_text())
    return EXIT_OK if found.is_whole else EXIT_FAILED
