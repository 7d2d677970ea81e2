import contextlib
import ctypes
import errno
import hashlib
import importlib
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bilin_kernels import compile as compiling
from bilin_kernels import loader
from bilin_kernels.compile import CompiledSource, source_hash
from bilin_kernels.loader import CudaLauncher, KernelLoadError, pick_architecture


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((7, 5), 75),
        ((8, 0), 80),
        ((8, 7), 86),
        ((8, 9), 89),
        ((9, 0), 90),
        ((10, 3), 100),
        ((12, 1), 120),
        ((7, 0), None),
        ((11, 0), None),
    ],
)
def test_cubin_of_the_same_major_and_no_higher_minor(capability, expected):
    assert pick_architecture(capability, compiling.ARCHITECTURES) == expected


def ship(folder, code=b"cubin", built_from=None):
    (folder / "w4a16.sm_86.cubin").write_bytes(code)
    manifest = {
        "source_hash": built_from or source_hash(),
        "files": [
            {
                "source": "w4a16",
                "arch": 86,
                "file": "w4a16.sm_86.cubin",
                "sha256": hashlib.sha256(b"cubin").hexdigest(),
            }
        ],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def no_compiler(*_):
    raise AssertionError("nothing was to be compiled")


def test_shipped_cubin_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "compile_source", no_compiler)
    ship(tmp_path)
    assert CudaLauncher(cubin_dir=tmp_path).machine_code("w4a16", (8, 9)) == b"cubin"


def test_cubins_of_other_sources_are_refused(tmp_path):
    ship(tmp_path, built_from="0" * 64)
    with pytest.raises(KernelLoadError, match=r"were built from other sources .*reinstall bilin"):
        CudaLauncher(cubin_dir=tmp_path).machine_code("w4a16", (8, 6))


def test_without_cuda_core_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.core", None)
    loader.cuda_core.cache_clear()
    with pytest.raises(KernelLoadError, match=r"need cuda-core .*; pip install cuda-core$"):
        loader.cuda_core()


def test_damaged_cubin_is_refused(tmp_path):
    ship(tmp_path, code=b"cubim")
    with pytest.raises(KernelLoadError, match=r"sm_86\.cubin is damaged"):
        CudaLauncher(cubin_dir=tmp_path).machine_code("w4a16", (8, 6))


@pytest.fixture
def compiled(monkeypatch):
    """Replaces the compiler; returns the list of what it was asked for."""
    asked = []

    def compile_source(source, arch, defines=()):
        asked.append((source, arch, defines))
        return CompiledSource(source, arch, f"{source} {arch} {defines}".encode(), ())

    monkeypatch.setattr(loader, "compile_source", compile_source)
    monkeypatch.setattr(loader, "compiler_version", lambda: "nvrtc 13.0")
    return asked


def test_other_devices_and_variants_are_compiled_for_their_exact_architecture(tmp_path, compiled):
    ship(tmp_path)
    plain = CudaLauncher(cubin_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert plain.machine_code("w4a16", (11, 0)) == b"w4a16 110 ()"
    variant = CudaLauncher(("BILIN_TURING",), tmp_path, tmp_path / "cache")
    assert variant.machine_code("w4a16", (8, 6)) == b"w4a16 86 ('BILIN_TURING',)"
    assert [arch for _, arch, _ in compiled] == [110, 86]


def test_compiled_code_is_kept_until_anything_changes(tmp_path, compiled, monkeypatch):
    def code():
        return CudaLauncher(cubin_dir=tmp_path / "none", cache_dir=tmp_path).machine_code(
            "w4a16", (9, 0)
        )

    assert code() == code()
    assert len(compiled) == 1
    monkeypatch.setattr(loader, "compiler_version", lambda: "nvrtc 13.1")
    code()
    monkeypatch.setattr(loader, "source_hash", lambda: "1" * 64)
    code()
    assert len(compiled) == 3
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".cubin"] * 3 + [".sha256"] * 3


@pytest.mark.parametrize("left", [b"", b"w4a16 9", None])
def test_a_cached_cubin_that_was_cut_short_is_compiled_again(tmp_path, compiled, left):
    """What a full disk or a power cut leaves; a driver refuses it at every start."""
    launcher = CudaLauncher(cubin_dir=tmp_path / "none", cache_dir=tmp_path)
    whole = launcher.machine_code("w4a16", (9, 0))
    [path] = tmp_path.glob("*.cubin")
    if left is None:
        path.with_suffix(".sha256").unlink()
    else:
        path.write_bytes(left)
    assert launcher.machine_code("w4a16", (9, 0)) == whole == path.read_bytes()
    assert launcher.machine_code("w4a16", (9, 0)) == whole
    assert len(compiled) == 2


@pytest.mark.expects_log
@pytest.mark.usefixtures("compiled")
def test_a_cache_that_cannot_be_written_ends_no_load(tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    launcher = CudaLauncher(cubin_dir=tmp_path / "none", cache_dir=tmp_path / "file" / "cache")
    assert launcher.machine_code("w4a16", (9, 0)) == b"w4a16 90 ()"
    assert "is compiled at every start, as it cannot be kept" in caplog.text


@pytest.mark.expects_log
@pytest.mark.usefixtures("compiled")
def test_a_full_disk_leaves_nothing_in_the_cache(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    launcher = CudaLauncher(cubin_dir=tmp_path / "none", cache_dir=tmp_path)
    assert launcher.machine_code("w4a16", (9, 0)) == b"w4a16 90 ()"
    assert list(tmp_path.iterdir()) == []


def test_cache_folder_can_be_moved(tmp_path, compiled, monkeypatch):
    monkeypatch.setenv("BILIN_KERNEL_CACHE", str(tmp_path / "here"))
    CudaLauncher(cubin_dir=tmp_path).machine_code("w4a16", (9, 0))
    assert compiled
    assert len(list((tmp_path / "here").glob("*.cubin"))) == 1


def test_every_source_has_a_kernel_that_loads_it():
    golden = Path(__file__).parents[1] / "data" / "kernels" / "compiled.json"
    compiled = json.loads(golden.read_text(encoding="utf-8"))["kernels"]
    assert list(loader._ONE_KERNEL) == compiling.sources()
    for kernels in compiled.values():
        assert set(loader._ONE_KERNEL.values()) <= set(kernels)


class LazyModule:
    """What cuda.core makes of a cubin: bytes, which a driver sees when a kernel is asked for."""

    refused = ""

    def __init__(self, _cubin, name):
        self.name = name

    def get_kernel(self, kernel):
        if self.name == self.refused:
            raise RuntimeError("CUDA_ERROR_NO_BINARY_FOR_GPU")
        return kernel


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """A launcher on devices whose driver takes every cubin but that of LazyModule.refused."""
    core = SimpleNamespace(
        ObjectCode=SimpleNamespace(from_cubin=LazyModule),
        Device=lambda _index: SimpleNamespace(set_current=lambda: None),
    )
    monkeypatch.setattr(loader, "cuda_core", lambda: core)
    for name, value in {
        "is_available": lambda: True,
        "init": lambda: None,
        "device": contextlib.nullcontext,
        "get_device_capability": lambda _index: (9, 0),
        "get_device_name": lambda _index: "Some GPU",
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return CudaLauncher(cubin_dir=tmp_path / "none", cache_dir=tmp_path)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("refused", compiling.sources())
def test_a_refused_cubin_is_told_before_the_first_launch(gpu, monkeypatch, refused):
    gpu.prepare(torch.device("cuda", 0))
    monkeypatch.setattr(LazyModule, "refused", refused)
    gpu.prepare(torch.device("cuda", 0))  # it is loaded by then
    message = rf"the driver refuses \w+ of {refused}.cu on Some GPU \(CUDA_ERROR_NO_BINARY_FOR_GPU"
    with pytest.raises(KernelLoadError, match=message):
        gpu.prepare(torch.device("cuda", 1))


class CUDAError(Exception):
    """As cuda.core names its own."""


def full(*_):
    raise CUDAError("CUDA_ERROR_OUT_OF_MEMORY: unable to allocate enough memory")


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("what", ["context", "kernel"])
def test_a_card_whose_memory_is_taken_is_told_as_such(gpu, monkeypatch, what):
    if what == "context":
        held = SimpleNamespace(Device=lambda _index: SimpleNamespace(set_current=full))
        monkeypatch.setattr(loader, "cuda_core", lambda: held)
    else:
        monkeypatch.setattr(LazyModule, "get_kernel", full)
    with pytest.raises(KernelLoadError) as told:
        gpu.prepare(torch.device("cuda", 0))
    assert str(told.value) == (
        "Some GPU cannot be used now (CUDA_ERROR_OUT_OF_MEMORY: unable to allocate enough memory); "
        "another program may hold its memory"
    )


def test_arguments_reach_the_driver_as_the_kernel_declares_them():
    """cuda.core lays them out without a device; read back what a launch would hand over."""
    types = [ctypes.c_void_p] * 2 + [
        ctypes.c_int32,
        ctypes.c_uint32,
        ctypes.c_int64,
        ctypes.c_float,
    ]
    values = [0x7F0012345678, None, -5, 0xFFFFFFF0, 1 << 40, 1.5]
    arguments = [kind(value) for kind, value in zip(types, values, strict=True)]
    holder = importlib.import_module("cuda.core._kernel_arg_handler").ParamHolder(
        loader.launch_values(arguments)
    )
    pointers = (ctypes.c_void_p * len(types)).from_address(holder.ptr)
    read = [kind.from_address(p).value for kind, p in zip(types, pointers, strict=True)]
    assert read == values
