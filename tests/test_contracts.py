"""Each import contract is seen to break, and what no contract can see is looked at by itself."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"app": "bilin_app", "engine": "bilin_engine", "kernels": "bilin_kernels"}

# contract -> the module that is planted, and what is written into it.
VIOLATIONS = {
    "one-way": ("kernels/bilin_kernels/planted.py", "import bilin_engine.errors"),
    "app-protocol-only": ("app/bilin_app/text/planted.py", "import bilin_engine.config"),
    "gui-no-torch": ("app/bilin_app/text/planted.py", "import numpy"),
    "no-qt-below": ("engine/bilin_engine/tokenizers/planted.py", "import PySide6.QtCore"),
    "supervisor-no-torch": ("engine/bilin_engine/server/planted.py", "import torch"),
    "maths-no-protocol": ("engine/bilin_engine/layers/planted.py", "import bilin_engine.protocol"),
    "engine-layers": ("engine/bilin_engine/layers/planted.py", "import bilin_engine.runners.base"),
    "app-layers": ("app/bilin_app/text/planted.py", "import bilin_app.storage"),
}


def lint_imports(root: Path, contract: str) -> subprocess.CompletedProcess[str]:
    folders = os.pathsep.join(str(root / folder) for folder in PACKAGES)
    program = (
        "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    return subprocess.run(
        [sys.executable, "-P", "-c", program, "--contract", contract, "--no-cache", "--no-logo"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": folders},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copied_tree(tmp_path):
    """The three packages' Python files and pyproject.toml, to plant into."""
    for folder, package in PACKAGES.items():
        shutil.copytree(
            ROOT / folder / package,
            tmp_path / folder / package,
            ignore=shutil.ignore_patterns("__pycache__", "csrc"),
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_has_a_planted_violation():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {contract["id"] for contract in project["tool"]["importlinter"]["contracts"]}
    assert contracts == set(VIOLATIONS)


@pytest.mark.parametrize("contract", VIOLATIONS)
def test_a_planted_violation_breaks_its_contract(contract, copied_tree):
    path, line = VIOLATIONS[contract]
    (copied_tree / path).write_text(line + "\n", encoding="utf-8")
    checked = lint_imports(copied_tree, contract)
    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert "0 kept, 1 broken" in checked.stdout, checked.stdout + checked.stderr
    assert ".planted" in checked.stdout


def test_a_module_without_a_layer_breaks_the_engines_layers(copied_tree):
    (copied_tree / "engine/bilin_engine/planted.py").write_text("", encoding="utf-8")
    checked = lint_imports(copied_tree, "engine-layers")
    assert checked.returncode == 1
    assert "planted" in checked.stdout


def test_importing_the_protocol_loads_neither_torch_nor_numpy_nor_qt():
    program = (
        "import sys, bilin_engine.protocol; "
        "print(*sorted({'torch', 'numpy', 'safetensors', 'accelerate', 'PySide6', 'bilin_kernels'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_storage_and_text_load_no_widgets():
    # import-linter knows PySide6 only as a whole, so this rule is looked at by importing.
    modules = [
        ".".join(path.relative_to(ROOT / "app").with_suffix("").parts).removesuffix(".__init__")
        for name in ("storage", "text")
        for path in sorted((ROOT / "app/bilin_app" / name).rglob("*.py"))
    ]
    program = f"import sys, {', '.join(modules)}; print('PySide6.QtWidgets' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def tracked_files() -> list[Path]:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout: there is no list of tracked files")
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_packaging_is_no_import_package():
    assert not (ROOT / "packaging" / "__init__.py").exists()


def test_no_tracked_file_is_a_pickle_or_a_pdf():
    endings = {".pdf", ".pkl", ".pickle", ".pt", ".pth", ".pyc"}
    assert [path for path in tracked_files() if path.suffix.lower() in endings] == []


def test_pickle_is_read_in_one_place_that_looks_no_name_up():
    reader = ROOT / "engine/bilin_engine/checkpoints/torch_file.py"
    imports = re.compile(r"^\s*(?:import|from) (?:pickle|dill|marshal|shelve|cloudpickle)\b", re.M)
    users = [
        path
        for path in tracked_files()
        if path.suffix == ".py"
        and ROOT / "tests" not in path.parents
        and imports.search(path.read_text(encoding="utf-8"))
    ]
    assert set(users) <= {reader}
    assert "def find_class" in reader.read_text(encoding="utf-8")


def test_no_tracked_file_names_one_machine_or_a_package_registry():
    machine = re.compile(r"(^|[^A-Za-z0-9_.])/(work|farm)/", re.M)
    registry = re.compile(r"pypi[.]org|pythonhosted[.]org|registry[.]npmjs|proxy[.]golang")
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {m.group()}" for m in machine.finditer(text)]
        found += [f"{path.relative_to(ROOT)}: {m.group()}" for m in registry.finditer(text)]
    assert found == []
