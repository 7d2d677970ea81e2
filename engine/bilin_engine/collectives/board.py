"""Who of a group's ranks waits for the others: a page of memory that all of them share.

The supervisor reads it to name the rank that hangs, so this module knows no torch. Each rank
writes only its own line; a line is one aligned number each, so no lock is needed.
"""

import errno
import logging
import mmap
import os
import shutil
import struct
import tempfile
import time
from pathlib import Path

from bilin_engine import processes
from bilin_engine.errors import DiskFullError

logger = logging.getLogger(__name__)

BOARD_FILE = "board"
LINE_BYTES = 64  # a cache line each, so that ranks do not slow each other down
_LINE = struct.Struct("<qqq")  # process id, meetings begun, 1 while in one
_SHARED_MEMORY = Path("/dev/shm")
_PREFIX = "bilin-"
YOUNG_S = 300.0  # in a younger folder ranks may still have to sign
SLOT_BYTES = 4 * 1024**2  # what one exchange through shared memory carries of each rank
# Of a group's files for each rank: two slots, and as much as its line, its flags and the slots of
# the group for commands need at most.
RANK_BYTES = 2 * SLOT_BYTES + 256 * 1024
_MIB = 1024**2


def make_rendezvous(num_ranks: int) -> Path:
    """A new folder where the ranks of one group meet; only this user may enter it (0700).

    In main memory where the system offers that and has room for `num_ranks` ranks, since one
    collective keeps its data there. What processes that were killed left there is removed: nobody
    else would before the next start.
    """
    in_memory = _SHARED_MEMORY.is_dir() and os.access(_SHARED_MEMORY, os.W_OK)
    if in_memory:
        _remove_left()
        free, needed = shutil.disk_usage(_SHARED_MEMORY).free, num_ranks * RANK_BYTES
        if free < needed:  # as in a container, which has 64 MiB if nobody asks for more
            in_memory = False
            logger.info(
                "%s has %d MiB free and %d ranks need %d MiB: they meet in %s",
                _SHARED_MEMORY,
                free // _MIB,
                num_ranks,
                -(-needed // _MIB),
                tempfile.gettempdir(),
            )
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_SHARED_MEMORY if in_memory else None))


def _remove_left() -> None:
    """Rendezvous of this user whose ranks are all gone."""
    for folder in _SHARED_MEMORY.glob(f"{_PREFIX}*"):
        try:
            state = folder.lstat()
            is_ours = state.st_uid == os.getuid() and not folder.is_symlink()
            if not is_ours or time.time() - state.st_mtime < YOUNG_S:
                continue
            lines = (folder / BOARD_FILE).read_bytes()
        except OSError:  # another user's, or gone meanwhile
            continue
        pids = [_LINE.unpack_from(lines, at)[0] for at in range(0, len(lines), LINE_BYTES)]
        if not any(pid and processes.is_alive(pid) for pid in pids):
            remove_rendezvous(folder)


def remove_rendezvous(folder: Path) -> None:
    """Removes it; ranks that still have it open go on undisturbed."""
    shutil.rmtree(folder, ignore_errors=True)


class Board:
    """The lines of all ranks. Open it as often as needed, in any process."""

    def __init__(self, folder: Path, world_size: int) -> None:
        """folder: the group's rendezvous."""
        self.world_size = world_size
        self._memory = map_file(folder / BOARD_FILE, world_size * LINE_BYTES)

    def sign(self, rank: int) -> None:
        """This process is `rank`."""
        struct.pack_into("<q", self._memory, rank * LINE_BYTES, os.getpid())

    def begin(self, rank: int) -> None:
        """`rank` comes to its next meeting with its peers."""
        start = rank * LINE_BYTES
        _, num_meetings, _ = _LINE.unpack_from(self._memory, start)
        struct.pack_into("<qq", self._memory, start + 8, num_meetings + 1, 1)

    def end(self, rank: int) -> None:
        """The meeting is over for `rank`."""
        struct.pack_into("<q", self._memory, rank * LINE_BYTES + 16, 0)

    def pid(self, rank: int) -> int:
        """The process of `rank`; 0 before it signed."""
        return _LINE.unpack_from(self._memory, rank * LINE_BYTES)[0]

    def last_rank(self) -> int:
        """Whom the others wait for: fewest meetings, and of these one that is not in one."""
        lines = [_LINE.unpack_from(self._memory, r * LINE_BYTES) for r in range(self.world_size)]
        return min(range(self.world_size), key=lambda rank: lines[rank][1:])

    def close(self) -> None:
        """Lets go of the memory."""
        self._memory.close()


def map_file(path: Path, size_bytes: int) -> mmap.mmap:
    """Memory shared by everyone who maps `path`; zeros at first. Made by whoever comes first.

    Raises DiskFullError if there is no room for it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.ftruncate(descriptor, size_bytes)  # the same size from all: what is there stays
        # A page that finds no room when it is first written ends the process with SIGBUS.
        os.posix_fallocate(descriptor, 0, size_bytes)
        return mmap.mmap(descriptor, size_bytes)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(
            f"{path.parent} has no room for the {size_bytes:,} bytes that the ranks share; "
            "free some there, or use fewer ranks"
        ) from error
    finally:
        os.close(descriptor)
