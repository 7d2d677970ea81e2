"""Which build of torch is chosen, for every driver and card that the choice tells apart."""

import pytest
import torch_build
from packaging.specifiers import SpecifierSet
from torch_build import Gpu, decide, find_build


@pytest.mark.parametrize(
    ("wish", "gpu", "build", "reason"),
    [
        ("auto", Gpu(None), "cpu", "no NVIDIA driver"),
        ("auto", Gpu("580.65.06", (8.9,)), "cuda13", "580.65.06"),
        ("auto", Gpu("590.44", (7.5, 12.0)), "cuda13", "590.44"),
        ("auto", Gpu("580.65.06"), "cuda13", "580.65.06"),
        ("auto", Gpu("579.10", (8.6,)), "cuda12", "too old for CUDA 13"),
        ("auto", Gpu("525.60.13", (8.0,)), "cuda12", "too old for CUDA 13"),
        ("auto", Gpu("524.99", (8.0,)), "cpu", "580 or later"),
        ("auto", Gpu("580.65.06", (6.1, 7.0)), "cpu", "7.0; 7.5 is needed"),
        ("auto", Gpu("580.65.06", (6.1, 8.6)), "cuda13", "580.65.06"),
        ("cpu", Gpu("580.65.06", (8.9,)), "cpu", "--cpu"),
        ("cuda", Gpu(None), "cuda13", "--cuda"),
        ("cuda", Gpu("550.54", (8.0,)), "cuda12", "--cuda"),
        ("auto", Gpu(None, is_silent=True), "cpu", "nvidia-smi does not answer"),
    ],
)
def test_the_build_follows_driver_and_card(wish, gpu, build, reason):
    decision = decide(wish, gpu)
    assert decision.build == build
    assert reason in decision.en
    assert decision.zh != decision.en


def test_a_choice_stays_where_nvidia_smi_does_not_answer():
    silent = Gpu(None, is_silent=True)
    kept = decide("auto", silent, "cuda12")
    assert (kept.build, "as before" in kept.en) == ("cuda12", True)
    assert decide("cuda", silent, "cuda12").build == "cuda12"
    assert decide("cpu", silent, "cpu").en == "CPU build, as --cpu asks"
    assert decide("auto", Gpu(None), "cuda12").build == "cpu"  # the driver is gone


def test_an_nvidia_smi_that_fails_is_told_from_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    if torch_build.shutil.which("nvidia-smi", path="/usr/lib/wsl/lib") is None:
        assert torch_build.read_driver_version(tmp_path / "none") is None
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 550.54\n")
    program.chmod(0o755)
    assert torch_build.read_driver_version(tmp_path / "none") == "550.54"
    for broken in ("#!/bin/sh\necho Failed to initialize NVML\nexit 9\n", "no program"):
        program.write_text(broken)
        with pytest.raises(torch_build.NvidiaSmiSilentError):
            torch_build.read_driver_version(tmp_path / "none")
        assert torch_build.read_gpu().is_silent


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 2024\n"
            "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n",
            "535.183.01",
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n",
            "580.65.06",
        ),
        ("something else\n", None),
    ],
)
def test_the_drivers_version_is_read_from_the_kernel_module(text, version, tmp_path):
    path = tmp_path / "version"
    path.write_text(text)
    assert torch_build.read_driver_version(path) == version


def test_the_cpu_build_cannot_be_the_cuda_build():
    for versions in ([], ["2.13.0"], ["2.15.0", "2.13.0+cpu", "2.13.0"]):
        found = find_build("cpu", lambda _, versions=versions: versions)
        assert found is not None
        wanted = SpecifierSet(found.requirement.removeprefix("torch"))
        assert list(wanted.filter(["2.13.0", "2.13.0+cpu", "2.13.0+cu130", "2.15.0"])) == [
            "2.13.0+cpu"
        ]
        knows = "2.13.0+cpu" in versions
        assert found.options == (() if knows else ("--extra-index-url", torch_build.CPU_INDEX))


def test_the_cuda_13_build_cannot_be_a_cpu_wheel_that_lies_about():
    found = find_build("cuda13", lambda _: ["2.13.0+cpu", "2.13.0"])
    assert found is not None
    wanted = SpecifierSet(found.requirement.removeprefix("torch"))
    assert list(wanted.filter(["2.13.0", "2.13.0+cpu", "2.14.0"])) == ["2.13.0"]


@pytest.mark.parametrize(
    ("versions", "requirement"),
    [
        (["2.14.0+cu126", "2.12.1+cu126", "2.11.0+cu126", "2.13.0+cpu"], "torch==2.12.1+cu126"),
        (["2.13.0+cpu", "2.13.0"], None),
        (["2.10.0+cu126"], None),
        ([], None),
    ],
)
def test_a_cuda_12_build_is_taken_only_where_one_fits(versions, requirement):
    found = find_build("cuda12", lambda _: versions)
    assert (found.requirement if found else None) == requirement
