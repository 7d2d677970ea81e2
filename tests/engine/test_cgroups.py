"""Limits of containers and batch systems, read from folders as the kernel lays them out."""

import math
import os
from pathlib import Path

import psutil
import pytest

from bilin_engine import cgroups, processes

MIB = 1024**2


class Machine:
    """A root of cgroups and a process's membership, as lines of /proc/self/cgroup."""

    def __init__(self, folder: Path, membership: str) -> None:
        self.root = folder / "cgroup"
        self.own_groups = folder / "self"
        self.own_groups.write_text(membership)

    def write(self, group: str, **files: object) -> None:
        folder = self.root / group
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(f"{text}\n")

    def limits(self) -> list[tuple[int, int]]:
        return list(cgroups.memory_limits(self.root, self.own_groups))

    def quota(self) -> float:
        return cgroups.cpu_quota(self.root, self.own_groups)


def test_version_2_counts_every_group_up_to_the_root(tmp_path):
    machine = Machine(tmp_path, "0::/job/step\n")
    machine.write(
        "job/step",
        memory__max=900,
        memory__current=500,
        memory__stat="anon 100\nactive_file 7\ninactive_file 300",
        cpu__max="max 100000",
    )
    machine.write("job", memory__max=700, memory__current=650, cpu__max="150000 100000")
    machine.write("", memory__max="max", memory__current=9999, cpu__max="400000 100000")
    assert machine.limits() == [(900, 193), (700, 650)]
    assert machine.quota() == 1.5


def test_version_1_has_a_tree_for_each_controller(tmp_path):
    machine = Machine(tmp_path, "4:memory:/slurm/job_7\n3:cpu,cpuacct:/slurm\n1:name=systemd:/\n")
    machine.write(
        "memory/slurm/job_7",
        memory__limit_in_bytes=900,
        memory__usage_in_bytes=500,
        memory__stat="inactive_file 1\nactive_file 2\ntotal_inactive_file 300\ntotal_active_file 7",
    )
    machine.write("cpu/slurm", cpu__cfs_quota_us=200000, cpu__cfs_period_us=100000)
    machine.write("cpu", cpu__cfs_quota_us=-1, cpu__cfs_period_us=100000)
    assert machine.limits() == [(900, 193)]
    assert machine.quota() == 2.0


@pytest.mark.parametrize("membership", ["4:memory:/docker/5af3\n", "0::/../../docker/5af3\n"])
def test_in_a_container_the_root_has_its_limits(tmp_path, membership):
    machine = Machine(tmp_path, membership)
    machine.write("memory", memory__limit_in_bytes=900, memory__usage_in_bytes=500)
    machine.write("", memory__max=900, memory__current=500)
    assert machine.limits() == [(900, 500)]


@pytest.mark.parametrize("membership", ["", "nonsense\n", "0::/\n", "4:memory:/gone\n"])
def test_without_files_or_with_odd_ones_there_is_no_limit(tmp_path, membership):
    machine = Machine(tmp_path, membership)
    assert (machine.limits(), machine.quota()) == ([], math.inf)
    machine.write("", memory__max="a lot", memory__current=5, cpu__max="fast", memory__stat="?")
    machine.write("memory", memory__limit_in_bytes="", memory__usage_in_bytes=5)
    assert (machine.limits(), machine.quota()) == ([], math.inf)
    machine.own_groups.unlink()
    assert (machine.limits(), machine.quota()) == ([], math.inf)


def test_main_memory_is_what_every_limit_leaves(monkeypatch):
    machine = psutil.virtual_memory()
    limits = [(1 << 62, 0), (512 * MIB, 112 * MIB), (600 * MIB, 599 * MIB)]
    monkeypatch.setattr(cgroups, "memory_limits", lambda: iter(limits))
    assert processes.main_memory_bytes() == (512 * MIB, MIB)
    limits[1:] = [(512 * MIB, 513 * MIB)]
    assert processes.main_memory_bytes() == (512 * MIB, 0)
    limits[1:] = []
    assert processes.main_memory_bytes()[0] == machine.total


@pytest.mark.parametrize(("quota", "threads"), [(1.5, 2), (0.5, 1), (3.0, 3), (math.inf, 64)])
def test_threads_are_no_more_than_the_time_that_is_given(monkeypatch, quota, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))
    monkeypatch.setattr(cgroups, "cpu_quota", lambda: quota)
    assert processes.num_usable_threads() == threads
