"""What processes ask of the operating system: descriptors, parents, priority, memory, time.

The one module that knows /proc and prctl. Where a system offers none of it (Windows) a function
does nothing or says 0; end of input remains the way a child learns that its parent is gone.
"""

import errno
import functools
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# Imported where they are used: cgroups, ctypes, logging, pathlib, platform, psutil, signal. An app
# waits for the Hello of a supervisor that has come no further than `take_stdio`.

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)  # flock, and msvcrt's locking
SPIN_COUNT = "1000"  # rounds of libgomp's waiting loop: tens of microseconds


def take_stdio() -> tuple[int, int]:
    """Claims stdin and stdout for frames; returns (read descriptor, write descriptor).

    Afterwards descriptor 0 is empty and descriptor 1 is stderr, so what a library prints (C code
    included) reaches the log and never the stream, and no child inherits the stream. Call it
    before anything else is imported.
    """
    if sys.platform == "win32":
        import msvcrt

        for fd in (0, 1):
            msvcrt.setmode(fd, os.O_BINARY)
    read_fd, write_fd = os.dup(0), os.dup(1)
    null_fd = os.open(os.devnull, os.O_RDWR)
    os.dup2(null_fd, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # started without stderr
        os.dup2(null_fd, 1)
        os.dup2(null_fd, 2)
    os.close(null_fd)
    return read_fd, write_fd


def order_gpus_by_bus() -> None:
    """Has CUDA number GPUs as NVML does, by their place on the bus; call before CUDA is used.

    By itself it puts the fastest first: of unlike cards, "cuda:0" would be one card to those who
    plan and another to those who load.
    """
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"


def end_with_parent(parent_pid: int) -> None:
    """Has the kernel kill this process when the thread that started it ends (Linux).

    Exits at once if the parent is gone already. The starting thread must outlive its children.
    """
    if sys.platform != "linux":
        return
    import ctypes
    import signal

    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(0)


def calm_openmp() -> None:
    """Has OpenMP's threads sleep soon instead of waiting in a loop; call it before torch comes.

    By default libgomp's wait for some milliseconds, in which a thread that was moved to the same
    processor, or another program, cannot run: beside busy programs that costs most of the time.
    Figures: engine/README.md, "Threads". What a person has set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)


def lower_priority(nice: int) -> None:
    """Lets other programs go first by `nice` steps (0 = no change)."""
    if sys.platform != "win32" and nice > 0:
        os.nice(nice)


def num_processors() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def num_usable_threads() -> int:
    """Processors this process may run on, and no more than it is given the time of."""
    import math

    from bilin_engine import cgroups

    return math.ceil(min(num_processors(), cgroups.cpu_quota()))


def most_at_once() -> int:
    """Threads or ranks of one model beyond which the processors would only take turns."""
    return 8 * num_usable_threads()


def cpu_label() -> str:
    """The processor's name and threads, as "AMD EPYC 9B45, 2 threads"."""
    import platform
    from pathlib import Path

    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
            break
    threads = num_usable_threads()
    return f"{name}, {threads} thread{'' if threads == 1 else 's'}"


def main_memory_bytes() -> tuple[int, int]:
    """(total, available) main memory, of the machine or of what a container or job may have."""
    import psutil

    from bilin_engine import cgroups

    memory = psutil.virtual_memory()
    total, available = memory.total, memory.available
    for limit, used in cgroups.memory_limits():
        total, available = min(total, limit), min(available, max(0, limit - used))
    return total, available


def cpu_time_s(pid: int) -> float | None:
    """Processor time of `pid`: its threads, children it has waited for. None where it is gone."""
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return None
    return times.user + times.system + times.children_user + times.children_system


def descendants_cpu_time_s(pid: int) -> float:
    """Processor time of what `pid` started that still runs, and of what that started in turn.

    Reads the table of all processes.
    """
    import psutil

    try:
        running = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return 0.0
    return sum(cpu_time_s(process.pid) or 0.0 for process in running)


def cpu_seconds() -> tuple[float, float, float]:
    """(clock, processor time of all processes, that of this one), on the processors it may use.

    Seconds since any moment: only differences say something.
    """
    import time

    import psutil

    per_cpu = psutil.cpu_times(percpu=True)
    if sys.platform == "linux":
        usable = os.sched_getaffinity(0)
        # A processor switched off leaves a gap in the numbers: then count them all.
        if max(usable) < len(per_cpu):
            per_cpu = [per_cpu[index] for index in sorted(usable)]
    busy = sum(t.user + t.system + getattr(t, "nice", 0.0) for t in per_cpu)
    return time.monotonic(), busy, time.process_time()


def is_alive(pid: int) -> bool:
    """Whether `pid` runs; a process that ended and was not yet waited for does not."""
    import psutil

    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def disk_free_bytes(folder: "Path") -> int:
    """Room on the disk of a folder; of the nearest one above it where it is not there yet."""
    import shutil

    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(there).free


def size_text(size_bytes: int) -> str:
    """A size on a disk as "67.2 GB" or "0.4 MB"."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"


def peak_rss_bytes() -> int:
    """The most main memory this process ever held. 0 where the system does not say."""
    from pathlib import Path

    # Not getrusage: its ru_maxrss survives exec, so a child would report its parent's peak.
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def lock_file(fd: int) -> bool:
    """Locks an open file for this process until it is closed; False = another one holds it.

    Where the file system has no locks (NFS without lockd, Lustre, FUSE) it counts as locked: better
    two that may meet than none that works.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        _tell_no_locks(error.strerror)
    return True


@functools.cache
def _tell_no_locks(reason: str) -> None:
    import logging

    logging.getLogger(__name__).warning(
        "files cannot be locked here (%s): nothing keeps a second Bilin out", reason
    )


def exit_sentence(returncode: int) -> str:
    """How a child ended, for a person: "exit code 3" or "signal 9 (SIGKILL)"."""
    import signal

    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"
    return f"signal {-returncode} ({name})"
