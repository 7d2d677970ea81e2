"""All collectives: the three operations, the same bits on every rank, and a peer that is gone."""

import errno
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
from types import SimpleNamespace

import pytest
import torch
from listening import foreign_listeners
from thread_ranks import run_ranks

from bilin_engine.collectives import board as boards
from bilin_engine.collectives import process_group
from bilin_engine.collectives.board import Board, make_rendezvous, remove_rendezvous
from bilin_engine.collectives.join import join, join_control
from bilin_engine.collectives.process_group import ProcessGroupCollective
from bilin_engine.collectives.shared_memory import SharedMemoryCollective
from bilin_engine.errors import BadRequestError, DiskFullError, WorkerDiedError
from bilin_engine.runners.load import collective_for
from bilin_engine.runners.tensor_parallel import RankGroup

NAMES = ("gloo", "shared_memory")
CPU = torch.device("cpu")


def values(rank, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(rank))


@pytest.fixture
def rendezvous():
    folder = make_rendezvous(3)
    yield folder
    remove_rendezvous(folder)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("world_size", [2, 4])
def test_operations_give_what_one_rank_would_compute(name, world_size):
    parts = [values(rank, 3, 5) for rank in range(world_size)]

    def work(rank, folder):
        group = join(folder, rank, world_size, name=name, device=CPU)
        assert (group.rank, group.world_size) == (rank, world_size)
        return (
            group.all_reduce(parts[rank].clone()),
            group.all_gather(parts[rank].clone()),
            group.broadcast(parts[rank].clone()),
            group.broadcast(torch.tensor([rank + 7])),
        )

    results = run_ranks(world_size, work)
    for summed, gathered, sent, number in results:
        torch.testing.assert_close(summed, sum(parts), rtol=0, atol=1e-5)
        assert torch.equal(summed, results[0][0])  # the same bits everywhere
        assert torch.equal(gathered, torch.cat(parts, dim=-1))
        assert torch.equal(sent, parts[0])
        assert number.item() == 7


@pytest.mark.parametrize("numel", [1, 15, 16, 17, 48, 1000])
def test_shared_memory_carries_what_is_larger_than_its_slots(numel):
    parts = [values(rank, numel) for rank in range(3)]

    def work(rank, folder):
        group = SharedMemoryCollective(folder, rank, 3, slot_bytes=64)
        return [
            (
                group.all_reduce(parts[rank].clone()),
                group.all_gather(parts[rank].clone()),
                group.broadcast(parts[rank].clone()),
            )
            for _ in range(3)
        ]

    for rounds in run_ranks(3, work):
        for summed, gathered, sent in rounds:
            assert torch.equal(summed, parts[0] + parts[1] + parts[2])
            assert torch.equal(gathered, torch.cat(parts))
            assert torch.equal(sent, parts[0])


def test_shared_memory_sums_half_types_in_float32():
    """2048 + 1 + 1 in float16 steps of 2 would stay 2048."""

    def work(rank, folder):
        group = SharedMemoryCollective(folder, rank, 3)
        return group.all_reduce(torch.tensor([2048.0 if rank == 0 else 1.0], dtype=torch.float16))

    assert [r.item() for r in run_ranks(3, work)] == [2050.0] * 3


def test_ranks_far_apart_do_not_overwrite_what_is_still_read():
    """A rank that sleeps between exchanges reads what was sent to it, 200 times over."""

    def work(rank, folder):
        group = SharedMemoryCollective(folder, rank, 2, slot_bytes=64)
        return [
            float(group.all_reduce(torch.tensor([float(step * (rank + 1))]))) for step in range(200)
        ]

    expected = [3.0 * step for step in range(200)]
    assert run_ranks(2, work) == [expected, expected]


def test_columns_and_slices_are_gathered_whole():
    def work(rank, folder):
        group = join(folder, rank, 2, name="shared_memory", device=CPU)
        return group.all_gather(values(rank, 4, 6)[:, ::2])

    expected = torch.cat([values(rank, 4, 6)[:, ::2] for rank in range(2)], dim=-1)
    assert all(torch.equal(found, expected) for found in run_ranks(2, work))


def test_rendezvous_is_private(rendezvous):
    assert stat.S_IMODE(rendezvous.stat().st_mode) == 0o700


def test_what_killed_ranks_left_in_memory_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(boards, "_SHARED_MEMORY", tmp_path)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    folders = {name: make_rendezvous(2) for name in ("left", "young", "alive")}
    pids = {"left": gone.pid, "young": gone.pid, "alive": os.getpid()}
    for name, folder in folders.items():
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda pid=pids[name]: pid)
            Board(folder, 2).sign(0)
        if name != "young":
            os.utime(folder, (0, 0))
    (tmp_path / "bilin-other").mkdir()  # without a board
    os.utime(tmp_path / "bilin-other", (0, 0))
    new = make_rendezvous(2)
    left = {folder.name for folder in tmp_path.iterdir()}
    assert left == {new.name, "bilin-other", folders["young"].name, folders["alive"].name}


@pytest.mark.parametrize(("num_ranks", "in_memory"), [(7, True), (8, False)])
def test_ranks_meet_in_memory_only_where_it_has_room_for_all(
    tmp_path, monkeypatch, caplog, num_ranks, in_memory
):
    """Docker gives a container 64 MiB."""
    (tmp_path / "memory").mkdir()
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(boards, "_SHARED_MEMORY", tmp_path / "memory")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "disk"))
    usage = SimpleNamespace(free=64 * 1024**2)
    monkeypatch.setattr(boards.shutil, "disk_usage", lambda _folder: usage)
    with caplog.at_level(logging.INFO, logger=boards.__name__):
        folder = make_rendezvous(num_ranks)
    assert folder.parent == tmp_path / ("memory" if in_memory else "disk")
    assert ("has 64 MiB free and 8 ranks need 66 MiB" in caplog.text) != in_memory


@pytest.mark.parametrize("num_ranks", [2, 8])
def test_a_group_s_files_are_reserved_and_no_larger_than_was_asked_for(tmp_path, num_ranks):
    """A page that finds no room when it is first written ends the process with SIGBUS."""
    join(tmp_path, 0, num_ranks, name="shared_memory", device=CPU)
    join_control(tmp_path, 0, num_ranks)
    files = [file.stat() for file in tmp_path.iterdir()]
    assert len(files) == 3
    assert sum(file.st_size for file in files) <= num_ranks * boards.RANK_BYTES
    assert all(512 * file.st_blocks >= file.st_size for file in files)


def test_no_room_for_a_group_is_a_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DiskFullError, match=rf"{tmp_path} has no room for the 8,388,\d+ bytes"):
        SharedMemoryCollective(tmp_path, 0, 1)


def test_a_collective_that_does_not_suit_the_device_is_refused(rendezvous):
    with pytest.raises(BadRequestError, match='"nccl" is not for cpu; use gloo or shared_memory'):
        join(rendezvous, 0, 2, name="nccl", device=CPU)


def test_a_peer_that_never_comes_is_named(rendezvous):
    group = SharedMemoryCollective(rendezvous, 0, 2, timeout_s=0.3)
    with pytest.raises(WorkerDiedError, match=r"rank 1 did not come to exchange 1 within 0\.3 s"):
        group.all_reduce(torch.zeros(1))


def test_gloo_without_its_peers_gives_up(rendezvous):
    with pytest.raises(WorkerDiedError, match="rank 0 lost its peers in join"):
        join(rendezvous, 0, 2, name="gloo", device=CPU, timeout_s=0.3)


def test_the_board_names_who_is_behind(rendezvous):
    board = Board(rendezvous, 3)
    for rank in range(3):
        board.begin(rank)
        board.end(rank)
    board.begin(0)
    board.begin(2)
    assert board.last_rank() == 1
    board.begin(1)
    board.end(1)  # all met twice; two are still inside
    assert Board(rendezvous, 3).last_rank() == 1


PEER = textwrap.dedent("""
    import sys
    from pathlib import Path
    import torch
    from bilin_engine.collectives.join import join
    group = join(Path(sys.argv[1]), 1, 2, name=sys.argv[2], device=torch.device("cpu"))
    while True:
        group.all_reduce(torch.ones(4))
""")


def reduce_often(group):
    """What the peer sent before it died may still be there: so not only once."""
    for _ in range(3):
        group.all_reduce(torch.ones(4))


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_killed_peer_is_noticed_and_nothing_listens_beyond_loopback(name, rendezvous):
    peer = subprocess.Popen([sys.executable, "-P", "-c", PEER, str(rendezvous), name])
    try:
        group = join(rendezvous, 0, 2, name=name, device=CPU, timeout_s=40)
        assert group.all_reduce(torch.ones(4)).tolist() == [2.0] * 4
        assert foreign_listeners({peer.pid, os.getpid()}) == []
        peer.send_signal(signal.SIGKILL)
        peer.wait()
        with pytest.raises(WorkerDiedError, match=r"rank 1 .*ended while rank 0 waited"):
            reduce_often(group)
    finally:
        peer.kill()
        peer.wait()


@pytest.mark.parametrize(("address", "is_foreign"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_a_listener_is_seen(address, is_foreign):
    """The look for listening sockets, which other tests rely on, finds one that is there."""
    with socket.socket() as listener:
        listener.bind((address, 0))
        listener.listen()
        found = foreign_listeners({os.getpid()})
    assert bool(found) == is_foreign


def test_a_group_that_fails_as_it_begins_a_call_is_told_as_one_that_fails_in_it():
    """NCCL makes its connections in the first call, before there is anything to wait for."""
    groups = run_ranks(2, lambda rank, folder: ProcessGroupCollective(folder, rank, 2, device=CPU))

    class Failing:
        def __getattr__(self, _name):
            def fails(*_arguments):
                raise RuntimeError("NCCL error: Duplicate GPU detected")

            return fails

    groups[0]._group = Failing()
    for call in (groups[0].all_reduce, groups[0].all_gather, groups[0].broadcast):
        with pytest.raises(WorkerDiedError) as caught:
            call(torch.ones(1))
        assert "Duplicate GPU" in caught.value.detail


class CountingGroup:
    """Stands for NCCL's: says what was asked of it, or fails with `error`."""

    error = None

    def __init__(self):
        self.calls = []

    def allreduce(self, tensors):
        self.calls.append([tensor.tolist() for tensor in tensors])
        if self.error is not None:
            raise self.error
        return SimpleNamespace(wait=lambda: None)


@pytest.fixture
def nccl(monkeypatch):
    """A group that stands for NCCL's, on a processor that stands for the card."""
    group, zeros = CountingGroup(), torch.zeros
    monkeypatch.setattr(process_group, "_nccl", lambda *_: group)
    monkeypatch.setattr(torch, "zeros", lambda count, **_: zeros(count))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: group.calls.append(str(device)))
    return group


def test_nccl_sets_itself_up_as_the_ranks_join(nccl, rendezvous):
    """In its first call, for seconds: a stop of the first answer would come too late."""
    join(rendezvous, 0, 3, name="nccl", device=torch.device("cuda:1"))
    assert nccl.calls == [[[0.0]], "cuda:1"]


class AcceleratorError(RuntimeError):
    """As torch names its own."""


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA out of memory. Tried to allocate 512 MiB"),
        AcceleratorError("CUDA error: an illegal memory access was encountered"),
    ],
)
def test_a_card_that_is_full_or_lost_is_not_blamed_on_a_peer(nccl, rendezvous, error):
    nccl.error = error
    with pytest.raises(RuntimeError) as caught:
        join(rendezvous, 0, 3, name="nccl", device=torch.device("cuda:1"))
    assert caught.value is error


@pytest.mark.parametrize(
    ("device", "world_size", "asked", "name"),
    [
        ("cuda:0", 2, "auto", "shared_memory"),
        ("cuda:0, cuda:0", 2, "auto", "shared_memory"),
        ("cuda:0,cuda:1", 2, "auto", "auto"),
        ("cuda:0", 2, "nccl", "nccl"),
        ("cpu", 4, "auto", "auto"),
    ],
)
def test_ranks_that_share_a_card_meet_in_memory(tmp_path, device, world_size, asked, name):
    group = RankGroup(tmp_path, 0, world_size, asked)
    assert collective_for(device, group) == name
