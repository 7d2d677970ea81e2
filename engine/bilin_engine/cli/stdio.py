"""The `stdio` command: its arguments, and the supervisor they describe."""

import faulthandler
import logging
import os
import platform
from pathlib import Path

from bilin_engine import __version__, processes
from bilin_engine.channel import Channel
from bilin_engine.cli.arguments import ArgumentParser
from bilin_engine.library import Library
from bilin_engine.logs import default_log_dir, start_logging
from bilin_engine.protocol import Hello, Request
from bilin_engine.server.job_process import JobCommand
from bilin_engine.server.model_text import ModelTexts
from bilin_engine.server.stdio import StdioServer
from bilin_engine.server.supervisor import Supervisor, SupervisorSettings
from bilin_engine.server.worker_process import WorkerCommand

logger = logging.getLogger(__name__)


def stdio_parser() -> ArgumentParser:
    """The arguments an app may give the engine it starts."""
    parser = ArgumentParser(
        prog="bilin-engine stdio", description="Serve one app over stdin and stdout."
    )
    parser.add_argument("--log-dir", type=Path, help="folder for log files")
    parser.add_argument("--models-dir", type=Path, help="folder with models of your own")
    parser.add_argument(
        "--idle-unload", type=float, default=0.0, metavar="SECONDS", help="0 = never (default)"
    )
    parser.add_argument(
        "--nice", type=int, default=10, help="lower priority of the model's process"
    )
    parser.add_argument("--token-file", type=Path, help="where tokens for model hubs are kept")
    return parser


def serve(channel: Channel[Request | Hello], arguments: list[str]) -> None:
    """Serves the app behind `channel`, which has our Hello already. Never returns."""
    faulthandler.enable()
    options = stdio_parser().parse_args(arguments)
    processes.end_with_parent(os.getppid())
    log_dir = options.log_dir or default_log_dir()
    start_logging("engine", log_dir)
    logger.info("bilin-engine %s, Python %s", __version__, platform.python_version())
    settings = SupervisorSettings(
        command=WorkerCommand(nice=options.nice, log_dir=log_dir),
        job_command=JobCommand(nice=options.nice, log_dir=log_dir, token_file=options.token_file),
        idle_unload_s=options.idle_unload,
    )
    texts = ModelTexts(Library(options.models_dir))
    StdioServer(channel).serve(lambda emit: Supervisor(emit, texts, settings))
