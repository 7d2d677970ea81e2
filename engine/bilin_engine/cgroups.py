"""What a container, a batch system or systemd leaves this process of the machine (Linux's cgroups).

A limit of any group from the process's own up to the root holds. In a container the path that the
system names may not be there; the root, which is, then has the container's limits. Where there are
no such files, or odd ones, there is no limit. Source: the kernel's Documentation/admin-guide,
cgroup-v1/memory.rst, cgroup-v2.rst, and scheduler/sched-bwc.rst.
"""

import math
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def memory_limits(root: Path = ROOT, own_groups: Path = OWN_GROUPS) -> Iterator[tuple[int, int]]:
    """(limit, used) in bytes of each group that has one; files that the cache can drop are free."""
    for folder in _groups(root, own_groups, "memory"):
        for limit_name, used_name, prefix in (
            ("memory.max", "memory.current", ""),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        ):
            limit, used = _number(folder / limit_name), _number(folder / used_name)
            if limit is not None and used is not None:
                # A file read twice is active; it can be dropped like any other.
                names = (f"{prefix}inactive_file", f"{prefix}active_file")
                yield limit, max(0, used - _cached(folder / "memory.stat", names))


def cpu_quota(root: Path = ROOT, own_groups: Path = OWN_GROUPS) -> float:
    """How many processors' time this process may use; infinite without a limit."""
    quotas = [math.inf]
    for folder in _groups(root, own_groups, "cpu"):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        quotas.append(_share(quota, period))
        quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        quotas.append(_share(quota, period))
    return min(quotas)


def _groups(root: Path, own_groups: Path, controller: str) -> Iterator[Path]:
    """Folders of the process's group and of those above it, of version 2 and of version 1."""
    for line in _text(own_groups).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            base = root
        elif controller in controllers.split(","):
            base = root / controller
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            yield base.joinpath(*parts[:depth])


def _share(quota: str, period: str) -> float:
    """Both in microseconds, as the files say it; "max" and -1 mean that there is no limit."""
    if not quota.isdecimal() or not period.isdecimal() or not int(quota) or not int(period):
        return math.inf
    return int(quota) / int(period)


def _cached(stat: Path, names: tuple[str, ...]) -> int:
    fields = (line.partition(" ") for line in _text(stat).splitlines())
    return sum(int(value) for key, _, value in fields if key in names and value.isdecimal())


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
