"""A checkpoint of GLM-130B's widths (two layers, 10.9 GB, 8 ranks) within the memory bound.

Prints throughput and the most anonymous memory seen. Needs about 18 GB of disk under the
temporary folder; killed with -9 at three random moments on the way.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from reference_checkpoint import rank_tensors

from bilin_engine.config import GLMConfig

RSS_ANON_LIMIT = 1.5e9
CONFIG: dict[str, Any] = {
    "num_layers": 2,
    "hidden_size": 12288,
    "num_attention_heads": 96,
    "inner_hidden_size": 32768,
    "vocab_size": 150528,
    "max_sequence_length": 2048,
}
WORLD_SIZE = 8
_CHILD = """
import sys
from pathlib import Path
from bilin_engine.checkpoints.convert import ConvertSettings, convert
from bilin_engine.checkpoints.reference import read_shape_config
convert(Path(sys.argv[1]), Path(sys.argv[2]), read_shape_config(Path(sys.argv[3])),
        ConvertSettings())
"""


def write_wide_checkpoint(folder: Path) -> int:
    """Writes the ranks one at a time; returns their bytes."""
    config = GLMConfig.create(**CONFIG)
    noise = (torch.randn(64 * 2**20) * 0.02).half()  # repeated at odd offsets: random enough
    (folder / "1").mkdir(parents=True)
    (folder / "latest").write_text("1")
    for rank in range(WORLD_SIZE):
        tensors = {}
        for index, spec in enumerate(config.tensors()):
            # One rank's share is made from a one-row stand-in split the same way.
            stand_in = dict(
                rank_tensors({spec.name: torch.empty(spec.shape, device="meta")}, 0, WORLD_SIZE)
            )[spec.name]
            size = stand_in.numel()
            shift = (7919 * (index * WORLD_SIZE + rank)) % 1_000_003
            part = noise[shift:].repeat(-(-size // (noise.numel() - shift)))[:size].clone()
            if spec.split == "none":
                part = noise[:size].clone()
            tensors[spec.name] = part.reshape(stand_in.shape)
        torch.save({"module": tensors}, folder / "1" / f"mp_rank_{rank:02d}_model_states.pt")
    return sum(path.stat().st_size for path in (folder / "1").iterdir())


def rss_anon_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def run(command: list[str], kill_after_s: float | None) -> int:
    """Runs to its end or kills it; returns the peak RssAnon sampled every 50 ms."""
    peak = 0
    begun = time.monotonic()
    with subprocess.Popen(command) as child:
        while child.poll() is None:
            try:
                peak = max(peak, rss_anon_bytes(child.pid))
            except FileNotFoundError:
                break
            if kill_after_s is not None and time.monotonic() - begun > kill_after_s:
                os.kill(child.pid, signal.SIGKILL)
                break
            time.sleep(0.05)
    if kill_after_s is None:
        assert child.returncode == 0
    return peak


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_wide_checkpoint_converts_in_little_memory(tmp_path, capsys):
    size = write_wide_checkpoint(tmp_path / "src")
    sizes = tmp_path / "sizes.json"
    sizes.write_text(json.dumps(CONFIG))
    base = [sys.executable, "-P", "-c", _CHILD, str(tmp_path / "src")]
    # bilin.json names its folder: the two are called the same.
    once, again = tmp_path / "once" / "model", tmp_path / "again" / "model"
    once.parent.mkdir()
    again.parent.mkdir()
    whole = [*base, str(once), str(sizes)]
    begun = time.monotonic()
    peak = run(whole, None)
    seconds = time.monotonic() - begun
    killed = [*base, str(again), str(sizes)]
    random.seed(20)
    for _ in range(3):
        peak = max(peak, run(killed, random.uniform(0.15, 0.3) * seconds))
    peak = max(peak, run(killed, None))
    write_rate = _write_rate(tmp_path)
    with capsys.disabled():
        print(  # noqa: T201 - the figure is what this test is for
            f"\nsource {size / 1e9:.1f} GB, {seconds:.0f} s = {size / seconds / 1e6:.0f} MB/s "
            f"(plain synced write here: {write_rate / 1e6:.0f} MB/s), "
            f"peak RssAnon {peak / 1e6:.0f} MB"
        )
    names = sorted(path.name for path in once.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    for name in names:
        same = subprocess.run(["cmp", str(once / name), str(again / name)], check=False)
        assert same.returncode == 0, name
    assert peak < RSS_ANON_LIMIT


def _write_rate(folder: Path) -> float:
    block = os.urandom(2**20) * 64
    begun = time.monotonic()
    with (folder / "rate").open("wb") as file:
        for _ in range(16):
            file.write(block)
            os.fsync(file.fileno())
    return 16 * len(block) / (time.monotonic() - begun)
