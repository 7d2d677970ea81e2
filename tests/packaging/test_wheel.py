"""The wheel: what is in it, and that both programs run from it alone."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from hatch_build import COMPILER, OPT_OUT, KernelBuildHook
from hatchling.builders.wheel import WheelBuilder

import bilin_kernels.compile as compile_kernels
from bilin_kernels import cpu_compile

ROOT = Path(__file__).resolve().parent.parent.parent


def run(*command: str, cwd: Path, **variables: str) -> str:
    """Output of a command that must succeed, without this checkout on its path."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**kept, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_wheel_holds_programs_interface_models_and_kernel_sources():
    builder = WheelBuilder(str(ROOT))
    holds = {str(file.distribution_path) for file in builder.recurse_included_files()}
    assert "bilin_app/__init__.py" in holds
    assert "bilin_engine/protocol.py" in holds
    kernels = ROOT / "kernels" / "bilin_kernels" / "csrc"
    files = [path for path in kernels.rglob("*") if path.is_file()]
    assert {f"bilin_kernels/csrc/{path.relative_to(kernels)}" for path in files} <= holds
    for source, target in (("ui", "bilin_app/_ui"), ("models", "bilin_engine/_models")):
        folder = ROOT / "resources" / source
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert files
        assert {f"{target}/{path.relative_to(folder)}" for path in files} <= holds
    assert "bilin_engine/_catalog.json" in holds
    assert not [name for name in holds if name.endswith((".pyc", ".pt", ".pdf"))]


def make_hook(folder: Path, target: str = "wheel") -> KernelBuildHook:
    """The hook of a project that lies in `folder`; it reads nothing else of its builder."""
    return KernelBuildHook(str(folder), {}, None, None, str(folder), target)  # type: ignore[arg-type]


def test_a_standard_wheel_without_cubins_fails_unless_it_is_asked_for(tmp_path, monkeypatch):
    package = tmp_path / "kernels" / "bilin_kernels"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "compile.py").write_text("def compile_all(folder):\n    pass\n")
    (package / "cpu_compile.py").write_text("def compile_all(folder):\n    pass\n")
    for name in [name for name in sys.modules if name.split(".")[0] == "bilin_kernels"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delenv(OPT_OUT, raising=False)
    with pytest.raises(RuntimeError, match=f"no cubins were made; set {OPT_OUT}=1"):
        make_hook(tmp_path).initialize("standard", {"force_include": {}})
    monkeypatch.setenv(OPT_OUT, "1")
    data: dict[str, dict[str, str]] = {"force_include": {}}
    make_hook(tmp_path).initialize("standard", data)
    assert data == {"force_include": {}}


def test_an_editable_installation_compiles_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv(OPT_OUT, raising=False)
    data: dict[str, dict[str, str]] = {"force_include": {}}
    make_hook(tmp_path).initialize("editable", data)
    assert data == {"force_include": {}}


def test_the_compiler_is_asked_for_only_where_it_is_used(tmp_path, monkeypatch):
    monkeypatch.delenv(OPT_OUT, raising=False)
    assert make_hook(tmp_path).dependencies() == COMPILER
    assert make_hook(tmp_path, "sdist").dependencies() == []
    monkeypatch.setenv(OPT_OUT, "1")
    assert make_hook(tmp_path).dependencies() == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_standard_wheel_holds_cubins_of_these_sources_for_every_architecture(tmp_path):
    folder = str(tmp_path)
    hatchling = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    run(*hatchling, cwd=ROOT, **{OPT_OUT: ""})
    (wheel,) = tmp_path.glob("bilin-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        manifest = json.loads(archive.read("bilin_kernels/cubins/manifest.json"))
        held = set(archive.namelist())
    assert manifest["source_hash"] == compile_kernels.source_hash()
    assert {
        f"bilin_kernels/cubins/{source}.sm_{arch}.cubin"
        for source in compile_kernels.sources()
        for arch in compile_kernels.ARCHITECTURES
    } <= held
    if shutil.which("cc"):
        libraries = {f"bilin_kernels/cpu_libraries/step.{t.name}.so" for t in cpu_compile.TARGETS}
        assert libraries <= held
        assert "linux_x86_64" in wheel.name


@pytest.mark.slow
def test_both_programs_run_from_the_built_wheel(tmp_path):
    hatchling = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    run(*hatchling, cwd=ROOT, **{OPT_OUT: "1"})
    (wheel,) = tmp_path.glob("bilin-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
    place = tmp_path / "venv"
    venv.create(place, with_pip=False)
    python = str(place / "bin" / "python")
    # The requirements come from this environment by path alone: a path line does not run the .pth
    # files there, so its editable installation of this checkout is not seen.
    (site,) = place.glob("lib/python*/site-packages")
    (site / "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps")
    run(*pip, "--ignore-installed", str(wheel), cwd=tmp_path)
    for package in ("bilin_app", "bilin_engine", "bilin_kernels"):
        where = run(
            python, "-P", "-c", f"import {package}; print({package}.__file__)", cwd=tmp_path
        )
        assert where.startswith(str(site)), where
    home = {"HOME": str(tmp_path / "home"), "QT_QPA_PLATFORM": "offscreen"}
    for program in ("bilin", "bilin-engine"):
        told = run(str(place / "bin" / program), "--help", cwd=tmp_path, **home)
        assert "usage" in told.lower()
    resources = "from bilin_app.theme.resources import ui_folder; print(ui_folder())"
    assert run(python, "-P", "-c", resources, cwd=tmp_path).strip() == str(site / "bilin_app/_ui")
    models = run(str(place / "bin" / "bilin-engine"), "models", "--json", cwd=tmp_path, **home)
    bundled = [path.name for path in (ROOT / "resources/models").iterdir() if path.is_dir()]
    assert all(name in models for name in bundled)
