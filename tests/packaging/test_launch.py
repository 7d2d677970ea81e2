"""The launcher, run as a person runs it, on a checkout whose Python is a script that answers."""

import ast
import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import checks
import command_line
import environment
import launch
import pytest
import torch_build
from console import LaunchError

ROOT = Path(__file__).resolve().parent.parent.parent
# Stands for .venv/bin/python: tells what it was asked for, fails pip the way $FAIL says, and all
# that holds the text $BROKEN; asked for $SLOW, it ends with what is written into the pipe $PIPE.
# What would show it packages from elsewhere is told, too.
FAKE_PYTHON = """#!/bin/sh
case "$*" in *"${SLOW:-nothing}"*) cat "$PIPE" ;; esac
case "$*" in
  *"${BROKEN:-nothing}"*) echo "broken: $*"; exit 1 ;;
  *"pip install --progress-bar"*)
    echo "Collecting torch into $TMPDIR"; touch "$TMPDIR/torch.whl"
    [ "$PIP_USER" = 1 ] && FAIL="ERROR: Can not perform a '--user' install."
    if [ -n "$FAIL" ]; then echo "$FAIL"; exit 1; fi ;;
  *"pip index"*) echo "Available versions: 2.13.0, 2.12.0" ;;
esac
[ -z "$PYTHONPATH$PYTHONHOME" ] || echo "seen: $PYTHONPATH $PYTHONHOME" >> "$ASKED"
echo "python $*" >> "$ASKED"
echo "python $*"
"""


class Checkout:
    """A checkout with the launcher alone, and a `.venv` that only writes down what it is asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked = root / "asked.txt"
        self.stamp = root / ".venv" / environment.STAMP.name
        (root / "packaging").mkdir(parents=True)
        for path in (ROOT / "packaging").glob("*.py"):
            (root / "packaging" / path.name).write_bytes(path.read_bytes())
        (root / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
        python = root / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(FAKE_PYTHON)
        python.chmod(0o755)
        (python.parent / "pip").write_text(f"#!{python}\n")
        # As if torch were there already: no test asks the disk for its gigabytes.
        for name in ("torch", "torch-2.13.0+cpu.dist-info", "torch-2.13.0.dist-info"):
            (root / ".venv/lib/python3/site-packages" / name).mkdir(parents=True)

    def launch(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        self.asked.write_text("")
        with self.begin(*arguments, **variables) as started:
            out, err = started.communicate()
        return subprocess.CompletedProcess(started.args, started.returncode, out, err)

    def begin(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        shown = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
        kept = {name: value for name, value in os.environ.items() if name not in shown}
        return subprocess.Popen(
            [sys.executable, "packaging/launch.py", *arguments],
            cwd=self.root,
            env={**kept, "ASKED": str(self.asked), "PYTHONDONTWRITEBYTECODE": "1", **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def change_requirements(self) -> None:
        project = self.root / "pyproject.toml"
        project.write_text(project.read_text().replace('"psutil>=7,<8"', '"psutil>=7,<9"'))

    def questions(self) -> list[str]:
        return self.asked.read_text().splitlines()


NO_NETWORK = "ERROR: No matching distribution found for hatchling>=1.27"


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path / "bilin")


def test_a_missing_c_compiler_is_named_and_stops_nothing(checkout, tmp_path):
    path = tmp_path / "path"
    path.mkdir()
    done = checkout.launch("prepare", PATH=str(path))
    assert done.returncode == 0, done.stderr
    assert "a C compiler (optional" in done.stdout
    assert "gcc libc6-dev" in done.stdout
    (path / "gcc").touch(0o755)
    assert "a C compiler" not in checkout.launch("prepare", PATH=str(path)).stdout


def test_the_first_start_installs_the_cpu_build_and_the_second_asks_pip_nothing(checkout):
    first = checkout.launch("prepare", "--cpu", "--no-system")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "--cpu" in first.stdout
    assert "MB" in first.stdout  # the size, before anything is fetched
    installs = [line for line in checkout.questions() if "pip install --progress-bar" in line]
    assert len(installs) == 1
    assert "torch==2.13.0+cpu" in installs[0]
    assert "https://download.pytorch.org/whl/cpu" in installs[0]
    second = checkout.launch("prepare", "--no-system")
    assert second.returncode == 0
    assert checkout.questions() == []


def test_tests_need_more_than_the_app_and_the_app_is_content_with_it(checkout):
    checkout.launch("prepare", "--cpu", "--no-system")
    checkout.launch("test", "lint", "--no-system")
    assert any("[dev]" in line for line in checkout.questions())
    checkout.launch("prepare", "--no-system")
    assert checkout.questions() == []


def test_without_a_display_the_terminal_chat_starts(checkout):
    checkout.launch("prepare", "--cpu", "--no-system")
    started = checkout.launch()
    assert "No display here" in started.stdout
    assert checkout.questions() == ["python -P -m bilin_engine chat bilin-mini"]


@pytest.mark.parametrize("variable", ["DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"])
def test_with_a_display_the_app_starts(checkout, variable):
    checkout.launch("prepare", "--cpu", "--no-system")
    checkout.launch(**{variable: "offscreen"})
    assert checkout.questions() == ["python -P -m bilin_app"]


def test_what_follows_two_dashes_goes_to_the_app(checkout):
    checkout.launch("prepare", "--cpu", "--no-system")
    checkout.launch("--no-system", "--", "--tour", "pictures", "--", "x")
    assert checkout.questions() == ["python -P -m bilin_app --tour pictures -- x"]


def test_options_of_the_window_are_left_out_where_there_is_none(checkout):
    checkout.launch("prepare", "--cpu", "--no-system")
    started = checkout.launch("--", "--data-dir", "folder")
    assert "only for the window" in started.stdout
    assert checkout.questions() == ["python -P -m bilin_engine chat bilin-mini"]
    checkout.launch("--", "--data-dir", "folder", DISPLAY=":0")
    assert checkout.questions() == ["python -P -m bilin_app --data-dir folder"]


@pytest.mark.parametrize(
    ("last_line", "sentence"),
    [
        ("ERROR: [Errno 28] No space left on device", "The disk is full"),
        ("ERROR: No matching distribution found for torch==2.13.0+cpu", "cannot be reached"),
        ("ReadTimeoutError: Read timed out.", "cannot be reached"),
        ("ERROR: OSError: Missing dependencies for SOCKS support.", "cannot use a SOCKS proxy"),
        ("ERROR: something else", "pip could not install Bilin"),
    ],
)
def test_a_failed_pip_is_told_in_a_sentence_and_tried_again_later(checkout, last_line, sentence):
    failed = checkout.launch("prepare", "--cpu", "--no-system", FAIL=last_line)
    assert failed.returncode == 1
    assert sentence in failed.stderr
    assert last_line in failed.stderr
    assert "Traceback" not in failed.stderr
    again = checkout.launch("prepare", "--cpu", "--no-system")
    assert again.returncode == 0
    assert any("pip install --progress-bar" in line for line in checkout.questions())


def test_pip_installs_into_the_environment_whatever_its_own_settings_say(checkout):
    done = checkout.launch("prepare", "--cpu", "--no-system", PIP_USER="1")
    assert done.returncode == 0, done.stderr


def test_pip_sees_no_packages_from_elsewhere_and_neither_do_qt_and_the_app(checkout, tmp_path):
    foreign = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": sys.base_prefix}
    started = checkout.launch("--cpu", "--no-system", DISPLAY=":0", **foreign)
    assert started.returncode == 0, started.stderr
    assert checkout.questions()[-1] == "python -P -m bilin_app"
    assert not [line for line in checkout.questions() if line.startswith("seen")]


def test_pip_unpacks_on_the_disk_that_was_looked_at(checkout):
    checkout.launch("prepare", "--cpu", "--no-system")
    scratch = checkout.root / ".venv" / "tmp"
    log = checkout.root / ".venv" / environment.LOG.name
    assert f"Collecting torch into {scratch}\n" in log.read_text()
    assert not scratch.exists()


def test_a_socks_proxy_is_named_with_what_pip_takes_instead(checkout):
    words = "ERROR: OSError: Missing dependencies for SOCKS support."
    proxy = {"all_proxy": "socks5://127.0.0.1:1", "http_proxy": "http://127.0.0.1:2"}
    failed = checkout.launch("prepare", "--cpu", "--no-system", FAIL=words, **proxy)
    assert "cannot use a SOCKS proxy (all_proxy)" in failed.stderr
    assert "export HTTPS_PROXY=http://host:port" in failed.stderr
    assert "→ python3 packaging/launch.py prepare --cpu --no-system" in failed.stderr


def test_a_failed_first_installation_keeps_what_was_asked_for(checkout):
    checkout.launch("prepare", "--cpu", "--no-system", FAIL="ERROR: something else")
    checkout.launch("prepare", "--no-system")
    (install,) = [line for line in checkout.questions() if "pip install --progress-bar" in line]
    assert "+cpu" in install
    assert json.loads(checkout.stamp.read_text())["wish"] == "cpu"


def test_a_change_that_fails_leaves_the_build_that_is_there(checkout):
    if torch_build.decide("cuda", torch_build.read_gpu()).build != "cuda13":
        pytest.skip("the driver of this machine takes a CUDA 12 build, which needs the network")
    checkout.launch("test", "lint", "--cpu", "--no-system")
    failed = checkout.launch(
        "prepare", "--cuda", "--no-system", FAIL="ERROR: [Errno 28] No space left on device"
    )
    assert "→ python3 packaging/launch.py prepare --cuda --no-system" in failed.stderr
    assert "Or with the CPU build (1.4 GB in all):" in failed.stderr
    checkout.launch("prepare", "--no-system")
    (install,) = [line for line in checkout.questions() if "pip install --progress-bar" in line]
    assert "[dev]" in install
    assert "torch==2.13.0+cpu" in install
    assert json.loads(checkout.stamp.read_text())["wish"] == "cpu"


def test_auto_decides_again_each_time(checkout):
    checkout.launch("prepare", "--auto", "--no-system")
    checkout.launch("prepare", "--no-system")
    assert checkout.questions() == []
    checkout.launch("prepare", "--auto", "--no-system")
    assert any("pip install --progress-bar" in line for line in checkout.questions())


def test_without_a_network_the_app_starts_as_it_is_installed(checkout):
    checkout.launch("prepare", "--cpu", "--no-system")
    checkout.change_requirements()
    started = checkout.launch("--no-system", DISPLAY=":0", FAIL=NO_NETWORK)
    assert started.returncode == 0, started.stderr
    assert "cannot be reached; going on with what is installed" in started.stdout
    assert checkout.questions()[-1] == "python -P -m bilin_app"
    checkout.launch("prepare", "--no-system")
    assert any("pip install --progress-bar" in line for line in checkout.questions())


@pytest.mark.parametrize(
    ("arguments", "fail", "broken"),
    [
        ([], NO_NETWORK, "import bilin_app"),
        ([], NO_NETWORK, "--dry-run --no-index torch>="),  # what pyproject.toml asks for
        ([], "ERROR: something else", ""),
        (["prepare"], NO_NETWORK, ""),
        (["test", "lint"], NO_NETWORK, ""),
    ],
)
def test_what_is_installed_does_not_always_do(checkout, arguments, fail, broken):
    checkout.launch("prepare", "--cpu", "--no-system")
    checkout.change_requirements()
    stopped = checkout.launch(*arguments, "--no-system", DISPLAY=":0", FAIL=fail, BROKEN=broken)
    assert stopped.returncode == 1
    assert fail in stopped.stderr
    assert "python -P -m bilin_app" not in checkout.questions()


def test_of_two_starts_at_once_one_waits_and_finds_all_done(checkout, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with checkout.begin(
        "prepare", "--cpu", "--no-system", SLOW="pip install --progress-bar", PIPE=str(pipe)
    ) as first:
        with pipe.open("w"):  # opens when pip runs, which goes on when this ends
            second = checkout.begin("prepare", "--no-system")
            assert second.stdout is not None
            assert "Waiting for another start" in second.stdout.readline()
        first.communicate()
    with second:
        assert "Everything is ready" in second.communicate()[0]
    assert (first.returncode, second.returncode) == (0, 0)
    installs = [line for line in checkout.questions() if "pip install --progress-bar" in line]
    assert len(installs) == 1


@pytest.mark.parametrize("still_running", ["pip install --progress-bar", "bilin_app"])
def test_neither_a_killed_start_nor_the_app_holds_up_the_next(checkout, tmp_path, still_running):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with (
        checkout.begin(
            "--cpu", "--no-system", DISPLAY=":0", SLOW=still_running, PIPE=str(pipe)
        ) as first,
        pipe.open("w"),
    ):
        if "pip" in still_running:
            first.kill()
            first.wait()
        second = checkout.launch("prepare", "--cuda", "--no-system")
        assert second.returncode == 0, second.stderr
        assert "Waiting" not in second.stdout


def test_a_disk_without_room_is_told_before_anything_is_fetched(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(environment, "VENV", tmp_path)
    usage = type("Usage", (), {"free": 700_000_000})
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda _: usage)
    torch = torch_build.find_build("cuda13", lambda _: [])
    assert torch is not None
    with pytest.raises(LaunchError, match=r"about 10.9 GB needed, 700 MB free"):  # wheels, too
        environment.say_size(torch, dev=False)
    assert "2.9 GB to download, 8.1 GB on disk" in capsys.readouterr().out


def test_a_change_of_the_build_looks_at_the_disk_and_an_update_of_the_rest_does_not(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(environment, "VENV", tmp_path)
    for name in ("torch", "torch-2.13.0+cpu.dist-info"):
        (tmp_path / "lib/python3.11/site-packages" / name).mkdir(parents=True)
    usage = type("Usage", (), {"free": 700_000_000})
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda _: usage)
    cpu = torch_build.find_build("cpu", lambda _: [])
    cuda = torch_build.find_build("cuda13", lambda _: [])
    assert cpu is not None
    assert cuda is not None
    environment.say_size(cpu, dev=True)
    with pytest.raises(LaunchError, match=r"about 10.2 GB needed, 700 MB free") as raised:
        environment.say_size(cuda, dev=True)
    assert "python3 packaging/launch.py --cpu" in raised.value.todo


def test_qt_that_does_not_start_is_told_at_every_start(checkout):
    for arguments in (["--cpu", "--no-system"], ["--no-system"]):
        failed = checkout.launch(*arguments, DISPLAY=":0", BROKEN="QApplication")
        assert failed.returncode == 1
        assert "Qt does not start" in failed.stderr
        assert "broken: -P -c from PySide6" in failed.stderr
    assert checkout.launch("prepare", "--no-system").returncode == 0


def test_a_damaged_stamp_is_no_stamp(checkout):
    checkout.launch("prepare", "--cpu", "--no-system")
    checkout.stamp.write_text('{"key": ')
    assert checkout.launch("prepare", "--no-system").returncode == 0
    assert any("pip install --progress-bar" in line for line in checkout.questions())


def test_an_update_of_the_systems_python_sets_up_again(checkout, tmp_path):
    python = checkout.root / ".venv" / "bin" / "python"
    old, new = python.rename(tmp_path / "python3.11"), tmp_path / "python3.12"
    new.write_bytes(old.read_bytes())
    new.chmod(0o755)
    (tmp_path / "python3").symlink_to(old)
    python.symlink_to(tmp_path / "python3")
    checkout.launch("prepare", "--cpu", "--no-system")
    assert checkout.launch("prepare").stdout.startswith("▸ 已经准备好了")
    (tmp_path / "python3").unlink()
    (tmp_path / "python3").symlink_to(new)
    checkout.launch("prepare", "--no-system")
    assert "python -P -m pip --version" in checkout.questions()  # without it .venv is made anew
    assert any("pip install --progress-bar" in line for line in checkout.questions())


def test_the_choice_of_a_build_is_remembered(checkout):
    if torch_build.decide("cuda", torch_build.read_gpu()).build != "cuda13":
        pytest.skip("the driver of this machine takes a CUDA 12 build, which needs the network")
    checkout.launch("prepare", "--cuda", "--no-system")
    assert any("torch===2.13.0 " in line and "[cuda]" in line for line in checkout.questions())
    checkout.launch("prepare", "--no-system")
    assert checkout.questions() == []
    checkout.launch("prepare", "--cpu", "--no-system")
    assert any("torch==2.13.0+cpu" in line for line in checkout.questions())


def test_new_requirements_change_the_key_and_new_lint_rules_do_not(tmp_path, monkeypatch):
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    monkeypatch.setattr(environment, "ROOT", tmp_path)

    def key(changed: str) -> str:
        (tmp_path / "pyproject.toml").write_text(changed, encoding="utf-8")
        return environment.installation_key("auto", "cpu")

    before = key(text)
    assert key(text.replace("line-length = 100", "line-length = 99")) == before
    assert key(text.replace('"psutil>=7,<8"', '"psutil>=7,<9"')) != before
    assert environment.installation_key("cpu", "cpu") != before


@pytest.mark.parametrize(
    ("wish", "before", "after", "is_same"),
    [
        ("auto", "580.65.06", "580.82.07", True),
        ("auto", "580.65.06", "590.44", True),
        ("auto", "550.54", "580.65.06", False),
        ("auto", "550.54", "550.90", True),
        ("auto", "524.99", "525.60.13", False),
        ("auto", None, "580.65.06", False),
        ("cpu", None, "580.65.06", True),
        ("cuda", "550.54", "580.65.06", False),
    ],
)
def test_only_a_driver_that_takes_another_build_changes_the_key(wish, before, after, is_same):
    def key(driver):
        takes = torch_build.decide(wish, torch_build.Gpu(driver)).build
        return environment.installation_key(wish, takes)

    assert (key(before) == key(after)) is is_same


@pytest.fixture
def silent_driver(monkeypatch, tmp_path):
    """A .venv with CUDA, on a machine whose nvidia-smi has stopped to answer."""

    def no_answer():
        raise torch_build.NvidiaSmiSilentError

    silent = torch_build.Gpu(None, is_silent=True)
    monkeypatch.setattr(torch_build, "read_driver_version", no_answer)
    monkeypatch.setattr(torch_build, "read_gpu", lambda: silent)
    monkeypatch.setattr(environment, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(environment, "STAMP", tmp_path / "stamp.json")
    monkeypatch.setattr(environment, "list_torch_versions", lambda _: [])
    for name in ("make_venv", "say_size", "pip_install"):
        monkeypatch.setattr(environment, name, lambda *_, **__: None)
    key = environment.installation_key("auto", "cuda13")
    environment.write_stamp(environment.Stamp(key, "auto", "cuda13", has_dev=False))


@pytest.mark.usefixtures("silent_driver")
def test_an_nvidia_smi_that_does_not_answer_changes_no_build(capsys):
    assert environment.current_build(None, dev=False, window=False) == "cuda13"

    def prepared(wish):
        stamp = environment.prepare(wish, dev=False, may_install=False, may_stay=False)
        environment.write_stamp(stamp)
        assert environment.current_build(None, dev=False, window=False) == stamp.build
        return stamp.build

    assert prepared(None) == "cuda13"  # new requirements, say
    assert "CUDA 13 build, as before: nvidia-smi does not answer" in capsys.readouterr().out
    assert prepared("auto") == "cpu"
    assert prepared("cuda") == "cuda13"
    assert prepared("cpu") == "cpu"


def test_a_part_without_test_is_refused(checkout):
    refused = checkout.launch("prepare", "lint")
    assert refused.returncode == 2
    assert "launch.py test lint" in refused.stderr


def test_every_kernel_s_layout_is_checked():
    *_, clang_format = checks.commands("lint", "cpu")
    kernels = (ROOT / "kernels" / "bilin_kernels" / "csrc").rglob("*.*")
    assert {str(path.relative_to(ROOT)) for path in kernels} == set(clang_format[3:])


def test_a_failing_check_gives_the_exit_status_and_the_others_still_run(checkout):
    checkout.launch("test", "lint", "--cpu", "--no-system")
    for program, status in (("ruff", 1), ("lint-imports", 0), ("basedpyright", 0), ("pytest", 0)):
        path = checkout.root / ".venv" / "bin" / program
        path.write_text(f"#!/bin/sh\necho ran-{program}\nexit {status}\n")
        path.chmod(0o755)
    checked = checkout.launch("test", "--no-system")
    assert checked.returncode == 1
    for program in ("ruff", "lint-imports", "basedpyright", "pytest"):
        assert f"ran-{program}" in checked.stdout
    assert "lint FAILED" in checked.stdout
    assert "test ok" in checked.stdout
    assert checkout.launch("test", "type", "--no-system").returncode == 0


def test_an_unfit_python_is_told_so_where_no_other_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for version in ((3, 9, 2), (3, 14, 0)):
        monkeypatch.setattr(sys, "version_info", version)
        with pytest.raises(SystemExit, match=f"this is 3.{version[1]}\n  → Install") as ended:
            launch.use_fitting_python()
        for way in ("apt-get install python3.11 python3.11-venv", "uv python", "conda create"):
            assert way in str(ended.value)


def test_a_python_that_only_prints_an_error_is_passed_over(tmp_path):
    answers = {
        "shims/python3.13": "echo 'pyenv: python3.13: command not found' >&2; exit 127",
        "bin/python3.13": f"echo $* > {tmp_path}/started",
    }
    for name, answer in answers.items():
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\n{answer}\n")
        path.chmod(0o755)
    unfit = "import launch, sys; sys.version_info = (3, 9, 2); launch.use_fitting_python()"
    subprocess.run(
        [sys.executable, "-c", unfit, "prepare"],
        env={"PATH": f"{tmp_path}/shims:{tmp_path}/bin", "PYTHONPATH": str(ROOT / "packaging")},
        check=True,
    )
    assert (tmp_path / "started").read_text() == "-c prepare\n"


def test_an_old_python_can_read_the_file_that_turns_it_away():
    source = (ROOT / "packaging" / "launch.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 6))


def test_a_gpu_run_fails_on_a_skip(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_a(): pytest.skip('no card')\n"
        "@pytest.mark.xfail(reason='known')\n"
        "def test_b(): assert False\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no_skips", "-q", "--rootdir", str(tmp_path), "."],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "packaging"),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "no card" in ran.stdout
    assert "1 failed, 1 xfailed" in ran.stdout


def test_a_stamp_holds_what_the_environment_was_made_for(checkout):
    checkout.launch("prepare", "--cpu", "--no-system")
    stamp = json.loads(checkout.stamp.read_text())
    assert (stamp["wish"], stamp["build"], stamp["has_dev"]) == ("cpu", "cpu", False)


def test_without_qts_libraries_the_terminal_starts_and_a_window_sets_up_again(monkeypatch):
    stamp = environment.Stamp("key", "auto", "cpu", has_dev=False, has_window=False)
    monkeypatch.setattr(environment, "read_stamp", lambda: stamp)
    monkeypatch.setattr(environment, "installation_key", lambda *_: "key")
    monkeypatch.setattr(environment, "PYTHON", Path(sys.executable))
    assert environment.current_build(None, dev=False, window=False) == "cpu"
    assert environment.current_build(None, dev=False, window=True) is None


@pytest.mark.parametrize(
    ("variables", "rest", "needs_qt"),
    [
        ({}, [], False),
        ({}, ["--data-dir", "x"], False),
        ({"DISPLAY": ":0"}, [], True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, [], True),
        ({"QT_QPA_PLATFORM": "offscreen"}, [], True),
        ({}, ["--tour", "pictures"], True),
    ],
)
def test_whatever_becomes_the_app_is_set_up_with_qt(
    monkeypatch, tmp_path, variables, rest, needs_qt
):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stamp = environment.Stamp("key", "auto", "cpu", has_dev=False, has_window=False)
    monkeypatch.setattr(environment, "read_stamp", lambda: stamp)
    monkeypatch.setattr(environment, "write_stamp", lambda _: None)
    monkeypatch.setattr(environment, "installation_key", lambda *_: "key")
    monkeypatch.setattr(environment, "prepare", lambda *_, **__: stamp)
    monkeypatch.setattr(environment, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(environment, "LOCK", tmp_path / "lock")
    asked: list[str] = []
    missing: list[str] = []

    def provide_system(**_):
        asked.append("libraries")
        return missing

    monkeypatch.setattr(command_line, "provide_system", provide_system)
    monkeypatch.setattr(environment, "verify_qt", lambda: asked.append("qt"))
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda _, command, __: started.append(command))
    assert command_line.main(["--", *rest]) == 0
    assert asked == (["libraries", "qt"] if needs_qt else [])
    assert ("bilin_app" in started[0]) is needs_qt
    missing.append("apt-get install libegl1")
    assert command_line.main(["--", *rest]) == int(needs_qt)


@pytest.mark.parametrize(
    ("head", "is_fit"),
    [
        ("#!{here}/bin/python3", True),
        ('#!/bin/sh\n\'\'\'exec\' "{here}/bin/python3" "$0" "$@"', True),
        ("#!/elsewhere{here}/bin/python3", False),
        ('#!/bin/sh\n\'\'\'exec\' "/else where{here}/bin/python" "$0" "$@"', False),
    ],
)
def test_a_checkout_that_was_moved_or_copied_gets_a_venv_of_its_own(
    monkeypatch, tmp_path, head, is_fit
):
    monkeypatch.setattr(environment, "VENV", tmp_path)
    monkeypatch.setattr(environment, "PYTHON", tmp_path / "bin" / "python")
    monkeypatch.setattr(
        environment, "_run", lambda command: subprocess.CompletedProcess(command, 0, "")
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pip").write_text(head.format(here=tmp_path) + "\nimport sys\n")
    assert environment._is_fit() is is_fit


def test_an_index_that_does_not_answer_is_not_one_without_builds(monkeypatch):
    """Else a driver would be called too old, and the CPU build kept for good."""
    words = "WARNING: Retrying (Retry(total=4)) after connection broken\nERROR: No matching"

    def refused(command, **_):
        return subprocess.CompletedProcess(command, 1, words)

    monkeypatch.setattr(environment, "_run", refused)
    assert environment.list_torch_versions(()) == []
    with pytest.raises(environment.IndexUnreachable):
        environment.list_torch_versions(("--index-url", "https://example.com"))
    words = "requests.exceptions.InvalidSchema: Missing dependencies for SOCKS support."
    with pytest.raises(environment.IndexUnreachable, match="SOCKS"):
        environment.list_torch_versions(("--index-url", "https://example.com"))
    words = "ERROR: No matching distribution found for torch"
    assert environment.list_torch_versions(("--index-url", "https://example.com")) == []


@pytest.mark.parametrize("unfit", ["", "version_info", "pip --version", "moved"])
def test_a_venv_that_is_not_fit_is_made_anew(checkout, monkeypatch, unfit):
    venv = checkout.root / ".venv"
    monkeypatch.setattr(environment, "VENV", venv)
    monkeypatch.setattr(environment, "PYTHON", venv / "bin" / "python")
    if unfit == "moved":
        (venv / "bin" / "pip").write_text("#!/elsewhere/.venv/bin/python\n")
    asked: list[str] = []

    def run(command):
        asked.append(" ".join(command))
        is_broken = bool(unfit) and unfit in asked[-1]
        return subprocess.CompletedProcess(command, int(is_broken), "")

    monkeypatch.setattr(environment, "_run", run)
    environment.make_venv(may_install=False)
    assert asked[-1].endswith(f"-m venv --clear {venv}") is bool(unfit)


def test_a_disk_without_locks_stops_no_start(monkeypatch, tmp_path):
    def refuse(*_arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(environment, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(fcntl, "flock", refuse)
    begun = []
    with environment.one_start_at_a_time():
        begun.append(True)
    assert begun
