"""The virtual environment .venv: made once, stamped, and found current in milliseconds after that.

The stamp holds a hash of what an installation depends on: the project's own tables, where the
checkout lies, which torch was asked for, which one the driver takes and the version of Python.
While it is the same, pip is not called.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import console
import system_libraries
import torch_build
from launch import NEWEST, OLDEST

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "bilin-launch.json"
LOG = VENV / "bilin-launch.log"
LOCK = ROOT / ".venv.lock"
# Where pip unpacks: on the disk that is looked at, since /tmp may be small and in memory.
SCRATCH = VENV / "tmp"
# MB without torch: download and disk of the rest, and of what tests need on top.
REST_DOWNLOAD_MB, REST_DISK_MB = 150, 550
DEV_DOWNLOAD_MB, DEV_DISK_MB = 220, 700
NO_SOCKS = "Missing dependencies for SOCKS support"  # pip's own words
PIP_VARIABLES = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_USER": "0",  # pip refuses it in a virtual environment, and some have it in their settings
    "BILIN_NO_CUBINS": "1",  # an editable installation compiles no kernels: it needs no compiler
}


class IndexUnreachable(console.LaunchError):
    """pip did not get all it asked for. It fetches before it installs, so .venv is as it was."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What .venv was made for. `wish`: "auto", "cpu" or "cuda"; `build`: what it came to.

    `key` is empty until all of it is there, so that what was wished outlives a failure: of the
    first installation. One that is to change the build leaves `wish` and `build` as they were.
    """

    key: str
    wish: str
    build: str
    has_dev: bool
    has_window: bool = True


def read_stamp() -> Stamp | None:
    """The stamp of .venv, or None where it is missing or damaged."""
    try:
        return Stamp(**json.loads(STAMP.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_stamp(stamp: Stamp) -> None:
    """Replaces the stamp of .venv."""
    STAMP.write_text(json.dumps(asdict(stamp)), encoding="utf-8")


def read_project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def own_variables(**more: str) -> dict[str, str]:
    """The environment for .venv's Python, without what shows it packages from elsewhere."""
    foreign = ("PYTHONPATH", "PYTHONHOME")
    return {name: value for name, value in os.environ.items() if name not in foreign} | more


def taken_builds(wish: str) -> tuple[str, ...]:
    """The build that the driver takes; where it cannot be asked, all that it may take."""
    try:
        driver = torch_build.read_driver_version()
    except torch_build.NvidiaSmiSilentError:
        return tuple(torch_build.BUILDS)
    return (torch_build.decide(wish, torch_build.Gpu(driver)).build,)


def installation_key(wish: str, takes: str) -> str:
    """Changes when .venv has to be brought up to date; not with every update of the driver.

    takes: the build that the driver takes.
    """
    project = read_project()
    hatch = project.get("tool", {}).get("hatch", {})
    parts = [project["build-system"], project["project"], hatch, str(ROOT)]
    # The interpreter is a link into the system, whose update leaves .venv's packages behind.
    parts += [torch_build.TORCH_VERSION, wish, takes, PYTHON.resolve().name]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def current_build(wish: str | None, *, dev: bool, window: bool) -> str | None:
    """The build of torch in .venv if nothing is to be done, else None. Takes milliseconds.

    `wish` None keeps what an earlier --cpu or --cuda asked for; "auto" always decides again.
    window: it has to open one.
    """
    stamp = read_stamp()
    if wish == "auto" or stamp is None or (dev and not stamp.has_dev) or not PYTHON.exists():
        return None
    if window and not stamp.has_window:
        return None
    wish = wish or stamp.wish
    is_current = any(installation_key(wish, build) == stamp.key for build in taken_builds(wish))
    return stamp.build if is_current else None


@contextmanager
def one_start_at_a_time() -> Iterator[None]:
    """Waits for another start that sets up, and says so.

    The lock goes with the file, which neither pip nor the app inherits: whatever ends this process
    ends it, too.
    """
    import fcntl  # not at the top: other systems are to read that Bilin does not run there yet

    with LOCK.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.step("等待另一个正在准备的启动", "Waiting for another start to set Bilin up")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            # NFS without lockd, Lustre, FUSE: better two that may meet than none that works.
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
        yield


def prepare(wish: str | None, *, dev: bool, may_install: bool, may_stay: bool) -> Stamp:
    """Makes .venv or brings it up to date. Raises LaunchError.

    `may_stay`: without a network, a .venv that can start the app may stay as it is.
    Returns the stamp to write once the rest is found to work, too; without it the next start
    comes here again.
    """
    stamp = read_stamp()
    decides = wish == "auto"
    wish = wish or (stamp.wish if stamp else "auto")
    dev = dev or (stamp is not None and stamp.has_dev)
    make_venv(may_install=may_install)
    wished = Stamp(key="", wish=wish, build="", has_dev=dev)
    if stamp is not None and stamp.build and STAMP.exists():
        wished = replace(wished, wish=stamp.wish, build=stamp.build)
    else:
        write_stamp(wished)
    try:
        torch = choose_torch(wish, "" if decides or wish != wished.wish else wished.build)
        say_size(torch, dev=dev)
        extras = [name for name, wanted in (("dev", dev), ("cuda", torch.build != "cpu")) if wanted]
        write_stamp(wished)  # until here .venv is as it was
        project = str(ROOT) + (f"[{','.join(extras)}]" if extras else "")
        pip_install([torch.requirement, "-e", project, *torch.options], torch.build)
    except IndexUnreachable as stop:
        if not (may_stay and can_start_app()):
            raise
        console.step(f"{stop.zh}；先用已安装的", f"{stop.en}; going on with what is installed")
        return wished
    takes = taken_builds(wish)
    key = installation_key(wish, takes[0] if len(takes) == 1 else torch.build)
    return replace(wished, key=key, wish=wish, build=torch.build)


def make_venv(*, may_install: bool) -> None:
    """Makes .venv where there is none that works; as root on Debian fetches python3-venv."""
    if PYTHON.exists() and _is_fit():
        return
    if any(importlib.util.find_spec(name) is None for name in ("venv", "ensurepip")):
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        todo = system_libraries.provide(
            [package], ("Python 的 venv 模块", "Python's venv module"), may_install=may_install
        )
        if todo:
            raise console.LaunchError(
                "没有 venv 模块，无法建立 .venv",
                "Python's venv module is missing, so .venv cannot be made",
                todo=[*todo, same_again()],
            )
    console.step("建立虚拟环境 .venv", "Making the virtual environment .venv")
    done = _run([sys.executable, "-P", "-m", "venv", "--clear", str(VENV)])
    if done.returncode != 0:
        raise console.LaunchError(
            "无法建立 .venv", "Could not make .venv", seen=done.stdout.splitlines()[-6:]
        )


def _is_fit() -> bool:
    """Whether .venv's Python is one of those Bilin runs on, with a pip that works, and lies here.

    Scripts name the Python they belong to: those of a checkout that was moved or copied name one
    that is gone, or the other checkout's.
    """
    try:
        head = (VENV / "bin" / "pip").read_text(encoding="utf-8", errors="replace").split("\n", 2)
    except OSError:
        return False
    # A path that is long or has spaces stands in the second line, as pip writes it for sh.
    here = tuple(mark + f"{PYTHON.parent}/" for mark in ("#!", "'''exec' ", "'''exec' \""))
    if not any(line.startswith(here) for line in head[:2]):
        return False
    is_known = f"import sys; sys.exit(not {OLDEST} <= sys.version_info[:2] <= {NEWEST})"
    questions = (["-c", is_known], ["-m", "pip", "--version"])
    return all(_run([str(PYTHON), "-P", *q]).returncode == 0 for q in questions)


def can_start_app() -> bool:
    """Whether .venv finds the app and holds what pyproject.toml asks for, with whichever torch."""
    requirements = read_project()["project"]["dependencies"]
    questions = (
        ["-c", "import bilin_app"],
        ["-m", "pip", "install", "--quiet", "--dry-run", "--no-index", *requirements],
    )
    # Wheels that lie about are not installed ones, so pip's own settings do not count here.
    variables = {**PIP_VARIABLES, "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    return all(_run([str(PYTHON), "-P", *q], **variables).returncode == 0 for q in questions)


def choose_torch(wish: str, kept: str) -> torch_build.TorchBuild:
    """Decides which torch, asks pip whether there is one, and says why. `kept`: as in decide."""
    gpu = torch_build.read_gpu()
    decision = torch_build.decide(wish, gpu, kept)
    torch = torch_build.find_build(decision.build, list_torch_versions)
    if torch is None:
        decision = torch_build.driver_too_old(gpu)
        torch = torch_build.find_build(decision.build, list_torch_versions)
        assert torch is not None  # there is always a CPU build to ask for
    console.step(f"PyTorch {decision.zh}", f"PyTorch {decision.en}")
    return torch


def list_torch_versions(options: Sequence[str]) -> list[str]:
    """The versions of torch that pip sees, newest first.

    Raises IndexUnreachable where an index that was named does not answer: whether there is a build
    is then not known.
    """
    done = _run([str(PYTHON), "-P", "-m", "pip", "index", "versions", "torch", *options])
    found = re.search(r"^Available versions: (.+)$", done.stdout, re.MULTILINE)
    if found is None and options and NO_SOCKS in done.stdout:
        raise pip_failure([NO_SOCKS])
    if found is None and options and re.search(r"Retrying|[Cc]onnection|timed out", done.stdout):
        raise pip_failure(["Connection"])
    return found.group(1).split(", ") if found else []


def lies_on_disk(requirement: str) -> bool:
    """Whether pip's own settings (find-links) lead to a wheel on this computer."""
    options = [
        "--quiet",
        "--dry-run",
        "--no-deps",
        "--no-index",
        "--ignore-installed",
        "--report",
        "-",
    ]
    done = _run([str(PYTHON), "-P", "-m", "pip", "install", *options, requirement], **PIP_VARIABLES)
    return done.returncode == 0 and '"url": "file:' in done.stdout


def say_size(torch: torch_build.TorchBuild, *, dev: bool) -> None:
    """Says how much is to be downloaded at most, and stops where the disk has no room for it.

    Looks at the disk where that very torch is not there yet: all else is small.
    """
    on_disk = torch.build == "cpu" and not torch.options and lies_on_disk(torch.requirement)
    fetched = 0 if on_disk else torch.download_mb
    download = REST_DOWNLOAD_MB + (DEV_DOWNLOAD_MB if dev else 0) + fetched
    disk = REST_DISK_MB + torch.disk_mb + (DEV_DISK_MB if dev else 0)
    console.step(
        f"安装到 .venv：最多下载约 {_size(download)}，占用约 {_size(disk)}",
        f"Installing into .venv: at most {_size(download)} to download, {_size(disk)} on disk",
    )
    if on_disk:
        console.note(f"{torch.requirement}: 在本机 / already on this computer")
    version = torch.requirement.rpartition("=")[2]
    if any(VENV.glob(f"lib/python3*/site-packages/torch-{version}.dist-info")):
        return
    free = shutil.disk_usage(VENV).free // 1_000_000
    has_rest = any(VENV.glob("lib/python3*/site-packages/torch"))
    # pip keeps what it fetched, and the torch that was there, until all is unpacked.
    needed = torch.disk_mb + fetched if has_rest else disk + download
    if free < needed:
        raise console.LaunchError(
            f"磁盘空间不够：需要约 {_size(needed)}，剩余 {_size(free)}",
            f"Not enough disk space: about {_size(needed)} needed, {_size(free)} free",
            todo=[
                f"Free some space on the disk of {ROOT}, then:",
                same_again(),
                *smaller(torch.build),
            ],
        )


def _size(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"


def same_again() -> str:
    """What was typed, as a line to type."""
    return shlex.join(["python3", "packaging/launch.py", *sys.argv[1:]])


def smaller(build: str) -> list[str]:
    """Lines to read and type where a build does not fit on the disk."""
    if build == "cpu":
        return []
    size = _size(REST_DISK_MB + torch_build.CPU_DISK_MB)
    return [f"Or with the CPU build ({size} in all):", "python3 packaging/launch.py --cpu"]


def pip_install(arguments: Sequence[str], build: str) -> None:
    """Runs pip install in .venv, shows the large downloads, logs the rest. Raises LaunchError.

    build: the build of torch among `arguments`.
    """
    command = [str(PYTHON), "-P", "-m", "pip", "install", "--progress-bar", "off", *arguments]
    last: deque[str] = deque(maxlen=20)  # ten of them tell that a build failed, not why
    is_retrying = False
    shutil.rmtree(SCRATCH, ignore_errors=True)  # what a pip left that was killed
    SCRATCH.mkdir()
    with (
        LOG.open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=own_variables(TMPDIR=str(SCRATCH), **PIP_VARIABLES),
        ) as pip,
    ):
        assert pip.stdout is not None
        for line in pip.stdout:
            log.write(line)
            last.append(line.rstrip())
            if re.search(r"Downloading .*\([\d.]+ [MG]B\)", line):
                console.note(re.sub(r"https?://\S*/", "", line.strip()))
            elif line.startswith("Installing collected packages"):
                console.note("解压，约一分钟 / Unpacking, about a minute")
            elif line.startswith("WARNING: Retrying") and not is_retrying:
                is_retrying = True
                console.note("网络没有应答，重试中 / The network does not answer; trying again")
    shutil.rmtree(SCRATCH, ignore_errors=True)
    if pip.returncode != 0:
        raise pip_failure(list(last), build)


def pip_failure(last: Sequence[str], build: str = "cpu") -> console.LaunchError:
    """The sentence for a failed pip, from its last lines. build: the build of torch it fetched."""
    text = "\n".join(last)
    again = same_again()
    seen = [line[:200] for line in last if line][-6:]
    if "No space left" in text:
        return console.LaunchError(
            "磁盘已满",
            "The disk is full",
            seen=seen,
            todo=[f"Free some space on the disk of {ROOT}, then:", again, *smaller(build)],
        )
    if NO_SOCKS in text:
        named = [n for n, value in os.environ.items() if _is_socks_proxy(n, value)]
        which = ", ".join(named) or "pip config"
        return IndexUnreachable(
            f"pip 不能使用 SOCKS 代理（{which}）",
            f"pip cannot use a SOCKS proxy ({which})",
            seen=seen,
            todo=[
                "Name one that speaks HTTP, which pip then takes instead, and start again:",
                "export HTTPS_PROXY=http://host:port",
                again,
            ],
        )
    if re.search(
        r"Could not find a version|No matching distribution|[Cc]onnection|timed out", text
    ):
        return IndexUnreachable(
            "下载失败：网络或软件源不可用",
            "Downloading failed: the network or the package index cannot be reached",
            seen=seen,
            todo=[
                "Check the network and pip's own settings (proxy, index):",
                f"{PYTHON} -m pip config list",
                "Then, going on from where it stopped:",
                again,
            ],
        )
    return console.LaunchError(
        "安装失败", "pip could not install Bilin", seen=seen, todo=[f"The whole log: {LOG}", again]
    )


def _is_socks_proxy(name: str, value: str) -> bool:
    return name.lower().endswith("_proxy") and value.lower().startswith("socks")


def verify_qt() -> None:
    """Draws once with Qt, off screen, in .venv. Raises LaunchError with the loader's own words."""
    code = "from PySide6.QtWidgets import QApplication; QApplication(['bilin'])"
    done = _run([str(PYTHON), "-P", "-c", code], QT_QPA_PLATFORM="offscreen")
    if done.returncode != 0:
        raise console.LaunchError(
            "Qt 无法启动",
            "Qt does not start",
            seen=done.stdout.splitlines()[-3:],
            todo=["If the line above names a library (.so), install the package it comes in."],
        )


def _run(command: Sequence[str], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=own_variables(**variables),
        check=False,
    )
