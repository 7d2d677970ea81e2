"""GPUs as CUDA numbers them, of those that NVML lists."""

import ctypes
import os
import subprocess
import sys

import pytest

from bilin_engine.protocol import PlanModel
from bilin_engine.server import devices
from bilin_engine.server.devices import NOTHING_LOADED, OwnMemory, visible_gpus
from bilin_engine.server.planning import plan_model

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


class Nvml(ctypes.CDLL):
    """A GTX 1060 in the first slot, an RTX 3090 in the second."""

    CARDS = ((b"GTX 1060", (6, 1)), (b"RTX 3090", (8, 6)))

    def __init__(self):
        super().__init__(None)  # this process: no library of the driver's

    def nvmlInit_v2(self):  # noqa: N802
        return 0

    def nvmlShutdown(self):  # noqa: N802
        return 0

    def nvmlDeviceGetCount_v2(self, count):  # noqa: N802
        count._obj.value = len(self.CARDS)
        return 0

    def nvmlSystemGetCudaDriverVersion_v2(self, version):  # noqa: N802
        version._obj.value = 12080
        return 0

    def nvmlDeviceGetUUID(self, handle, text, _size):  # noqa: N802
        text.value = UUIDS[handle.value - 1].encode()
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle):  # noqa: N802 -- NVML's names
        handle._obj.value = index + 1
        return 0

    def nvmlDeviceGetName(self, handle, name, _size):  # noqa: N802
        name.value = self.CARDS[handle.value - 1][0]
        return 0

    def nvmlDeviceGetMemoryInfo(self, _handle, memory):  # noqa: N802
        memory._obj.total, memory._obj.free = 24 << 30, 20 << 30
        return 0

    def nvmlDeviceGetCudaComputeCapability(self, handle, major, minor):  # noqa: N802
        major._obj.value, minor._obj.value = self.CARDS[handle.value - 1][1]
        return 0


@pytest.mark.expects_log
def test_cards_that_the_kernels_do_not_take_are_left_out_and_told_once(caplog):
    devices._tell_once.cache_clear()
    for _ in range(2):
        assert devices._gpu(Nvml(), 0, 0, NOTHING_LOADED) is None
        found = devices._gpu(Nvml(), 1, 1, NOTHING_LOADED)
        assert found is not None
        assert (found.name, found.label) == ("cuda:1", "RTX 3090")
    assert caplog.text.count("GTX 1060 is too old for the kernels (compute capability 6.1)") == 1


@pytest.mark.parametrize(
    ("line", "driver", "expected"),
    [
        ("cuda: Optional[str] = None", 13, "PyTorch is installed without CUDA"),
        ("cuda = None", 13, "PyTorch is installed without CUDA"),
        (
            "cuda: Optional[str] = '13.0'",
            12,
            "PyTorch needs a driver for CUDA 13, this one is for CUDA 12",
        ),
        ("cuda: Optional[str] = '12.6'", 13, ""),
        ("cuda: Optional[str] = '13.0'", 0, ""),  # a driver that does not say
        ("__version__ = 'another form'", 12, ""),
    ],
)
def test_what_is_installed_says_whether_gpus_can_be_used(
    line, driver, expected, tmp_path, monkeypatch
):
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda _name: object())
    (tmp_path / "version.py").write_text(f"debug = False\n{line}\nhip = '6.1'\n")
    assert devices.why_unused(driver, tmp_path) == expected


def test_without_cuda_core_no_gpu_is_used(tmp_path, monkeypatch):
    (tmp_path / "version.py").write_text("cuda = '12.6'\n")

    def missing(_name):
        raise ModuleNotFoundError("No module named 'cuda'")

    monkeypatch.setattr(devices.importlib.util, "find_spec", missing)
    assert "cuda-core" in devices.why_unused(13, tmp_path)


@pytest.mark.expects_log
def test_a_gpu_that_the_installed_torch_cannot_reach_is_not_listed(monkeypatch, caplog):
    devices._tell_once.cache_clear()
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda _name: Nvml())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    reasons = iter(("PyTorch is installed without CUDA", ""))
    monkeypatch.setattr(devices, "why_unused", lambda _driver: next(reasons))
    assert [device.name for device in devices.list_devices()] == ["cpu"]
    assert "the GPUs here are not used: PyTorch is installed without CUDA" in caplog.text
    assert [device.name for device in devices.list_devices()] == ["cuda:1", "cpu"]


class OldNvml(Nvml):
    """An RTX 3090 in use; a driver that cannot be asked by whom."""

    CARDS = ((b"RTX 3090", (8, 6)),)

    def nvmlDeviceGetMemoryInfo(self, _handle, memory):  # noqa: N802
        memory._obj.total, memory._obj.free = 25_770_000_000, 12_300_000_000
        return 0


class BusyNvml(OldNvml):
    """It holds GLM-4-9B (pid 41), a context of ours (pid 42) and another program."""

    HELD = ((41, 11_500_000_000), (42, 590_000_000), (9, 1_380_000_000), (43, 2**64 - 1))

    def nvmlDeviceGetComputeRunningProcesses_v3(self, _handle, count, found):  # noqa: N802
        for place, (found[place].pid, found[place].used_bytes) in enumerate(self.HELD):
            count._obj.value = place + 1
        return 0


@pytest.mark.parametrize(
    ("nvml", "pids", "own_bytes"),
    [
        (BusyNvml, (41, 42, 43), 12_090_000_000),
        (BusyNvml, (1, 2), 6_690_000_000),  # a container's own numbers
        (OldNvml, (41, 42), 6_690_000_000),
    ],
)
def test_what_our_processes_hold_is_our_own(nvml, pids, own_bytes, monkeypatch):
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda _name: nvml())
    monkeypatch.setattr(devices, "why_unused", lambda _driver: "")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    own = OwnMemory({"cuda:0": 6_690_000_000}, pids)
    assert devices.list_devices(own)[0].own_bytes == own_bytes


def test_the_loaded_model_still_fits_its_card_after_its_first_answer(monkeypatch):
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda _name: BusyNvml())
    monkeypatch.setattr(devices, "why_unused", lambda _driver: "")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    own = OwnMemory({"cuda:0": 6_690_000_000}, (41, 42))
    result = plan_model(PlanModel(id=1, model="glm-4-9b"), (), own)
    assert (result.mode, result.fits) == ("single", True)


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
