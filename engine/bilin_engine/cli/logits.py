"""`bilin-engine logits`: log-probs of given ids in a file, to compare with anything else.

Needs no tokenizer: a model is also a folder. The workers are those of any loaded model.
"""

import argparse
import re
from pathlib import Path

from bilin_engine.cli.arguments import (
    EXIT_OK,
    ArgumentParser,
    add_load_arguments,
    add_place_arguments,
    add_rank_arguments,
    load_settings,
)
from bilin_engine.cli.report import print_json
from bilin_engine.errors import BadRequestError
from bilin_engine.library import Library
from bilin_engine.protocol import Shutdown, WorkerLoad, WorkerLogits
from bilin_engine.server.ranks import lay_out
from bilin_engine.server.tasks import Task
from bilin_engine.server.worker_pool import WorkerLimits, WorkerPool
from bilin_engine.server.worker_process import WorkerCommand


def add_arguments(parser: ArgumentParser) -> None:
    """What `logits` takes."""
    parser.add_argument("model", help="a model of the library, or a model folder")
    parser.add_argument("--ids", type=id_list, required=True, metavar="1,2,3", help="token ids")
    parser.add_argument(
        "--prefix-len",
        type=int,
        default=0,
        metavar="N",
        help="the first N tokens see each other; later ones see those before them (default 0)",
    )
    parser.add_argument(
        "--position-ids", type=id_list, metavar="0,1,2", help="default: counted from 0"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.safetensors", help="`logprobs` [T, V]"
    )
    add_load_arguments(parser, tells_memory=False)
    add_rank_arguments(parser, dtype="float32")
    add_place_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Writes the file; says what is in it."""
    folder = model_folder(options.model, options.models_dir)
    positions = options.position_ids or tuple(range(len(options.ids)))
    if len(positions) != len(options.ids):
        raise BadRequestError(f"{len(options.ids)} ids with {len(positions)} positions")
    out = options.out.absolute()
    if not out.parent.is_dir():
        raise BadRequestError(f"{out.parent} is not a folder; make it first")
    if out.exists() and not out.is_file():  # writing would put a file in its place
        raise BadRequestError(f"{out} is there and no regular file; name another")
    settings = load_settings(options)
    layout = lay_out(settings, folder)
    command = WorkerCommand(log_dir=options.log_dir, log_level="WARNING")
    task = Task(Shutdown(1))  # nothing else is asked: only Ctrl-C ends it early
    pool = WorkerPool(command, WorkerLimits(), lambda *_: None, layout.world_size)
    try:
        load = WorkerLoad(
            id=pool.next_id(),
            folder=str(folder),
            settings=settings,
            world_size=layout.world_size,
            rendezvous=str(pool.rendezvous or ""),
            stages=layout.stages,
            head_stage=layout.head_stage,
        )
        loaded = pool.load(task, load, lambda _progress: None)
        request = WorkerLogits(
            id=pool.next_id(),
            token_ids=options.ids,
            position_ids=positions,
            prefix_len=options.prefix_len,
            path=str(out),
        )
        pool.logits(task, request)
    finally:
        pool.close()
    shape = (len(options.ids), loaded.vocab_size)
    if options.json:
        shown = {"file": str(out), "shape": shape, "backend": loaded.backend}
        print_json({**shown, "mode": layout.mode, "world_size": layout.world_size})
    else:
        print(f"logprobs {list(shape)} float32 in {options.out}")
    return EXIT_OK


def model_folder(model: str, models_dir: Path | None) -> Path:
    """The folder named, or that of a model of the library. Raises ModelNotFoundError."""
    if (Path(model) / "config.json").is_file():
        return Path(model).absolute()
    return Path(Library(models_dir).find(model).path).absolute()


def id_list(value: str) -> tuple[int, ...]:
    """Whole numbers by commas."""
    if re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", value) is None:
        raise argparse.ArgumentTypeError(f'"{value}": write whole numbers by commas, as 1,2,3')
    numbers = tuple(int(part) for part in value.split(","))
    if max(numbers) >= 2**31:
        raise argparse.ArgumentTypeError(f"{max(numbers)}: ids and positions are below 2^31")
    return numbers
