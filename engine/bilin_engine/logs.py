"""Where the engine's processes write what happened: stderr and one rotating file each.

Prompts and replies are never logged.
"""

import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

MAX_FILE_BYTES = 2 * 1024 * 1024
NUM_OLD_FILES = 3

logger = logging.getLogger(__name__)


def default_log_dir() -> Path:
    """The log folder of this person on this system."""
    import platformdirs

    return Path(platformdirs.user_log_dir("bilin", appauthor=False))


def start_logging(process: str, log_dir: Path | None, level: str = "INFO") -> None:
    """Logs to stderr and, given a folder, to `<log_dir>/<process>.log`.

    A folder that cannot be written costs the file, not the start: one warning says so. Each
    process has a file of its own, since two that rotate the same file lose lines.
    """
    root = logging.getLogger("bilin_engine")
    root.setLevel(level)
    root.propagate = False
    layout = logging.Formatter(f"%(asctime)s %(levelname)s {process} %(name)s: %(message)s")
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    problem: OSError | None = None
    if log_dir is not None:
        try:
            log_dir.mkdir(parents=True, exist_ok=True)
            handlers.append(
                RotatingFileHandler(
                    log_dir / f"{process}.log",
                    maxBytes=MAX_FILE_BYTES,
                    backupCount=NUM_OLD_FILES,
                    encoding="utf-8",
                )
            )
        except OSError as error:
            problem = error
    for handler in handlers:
        handler.setFormatter(layout)
    root.handlers = handlers
    if problem is not None:
        logger.warning("no log file: %s cannot be written (%s)", log_dir, problem)
