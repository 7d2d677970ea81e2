"""GPUs as CUDA numbers them, of those that NVML lists."""

import os
import subprocess
import sys

import pytest

from bilin_engine.server.devices import visible_gpus

UUIDS = ("GPU-aa11", "GPU-bb22", "GPU-bb33", "GPU-cc44")


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (None, [0, 1, 2, 3]),
        ("2,0", [2, 0]),
        (" 1 , GPU-cc44", [1, 3]),
        ("GPU-aa", [0]),
        ("", []),
        ("-1", []),
        ("0,-1,1", [0]),  # what stands behind an invalid one is hidden
        ("1,9,2", [1]),
        ("GPU-bb", []),  # of two
        ("1,1", [1]),
        ("MIG-aa11/1/0", [0, 1, 2, 3]),
    ],
)
def test_cuda_visible_devices_hides_and_reorders(chosen, expected):
    assert visible_gpus(UUIDS, chosen) == expected


@pytest.mark.parametrize("module", ["bilin_engine.worker", "bilin_engine.jobs"])
def test_workers_number_gpus_by_their_place_on_the_bus(module):
    """As NVML does; CUDA by itself puts the fastest first."""
    program = (
        "import os, sys\n"
        "from bilin_engine import processes\n"
        "def report(_nice):\n"
        "    os.write(2, os.environ['CUDA_DEVICE_ORDER'].encode())\n"
        "    os._exit(0)\n"
        "processes.lower_priority = report\n"
        f"from {module}.__main__ import main\n"
        "main()\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_DEVICE_ORDER"}
    command = [sys.executable, "-P", "-c", program, "--parent", str(os.getpid())]
    ended = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
    assert ended.stderr == b"PCI_BUS_ID"
