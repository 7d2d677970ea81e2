"""The launcher's command line: what is set up, checked or started, in which order."""

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import checks
import console
import environment
import system_libraries as libraries
from environment import PYTHON

# Options with which the app opens no window, so it needs no display.
WINDOWLESS = {"--help", "-h", "--version", "--tour"}
C_COMPILERS = ("cc", "gcc", "clang")  # as kernels/bilin_kernels/cpu_compile.py looks for them


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Splits off what comes after `--` for the app, and reads the rest."""
    rest: list[str] = []
    if "--" in argv:
        cut = argv.index("--")
        argv, rest = argv[:cut], argv[cut + 1 :]
    parser = argparse.ArgumentParser(
        prog="python3 packaging/launch.py",
        description="Sets Bilin up in this checkout and starts it. 安装并启动比邻。",
        epilog="What follows -- goes to the app.",
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=("prepare", "test"),
        help="prepare: set up only; test: run the checks; none: set up and start the app",
    )
    parser.add_argument("part", nargs="?", choices=checks.PARTS, help="which check (with test)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--cpu", dest="wish", action="store_const", const="cpu", help="use the CPU build of torch"
    )
    which.add_argument(
        "--cuda", dest="wish", action="store_const", const="cuda", help="use a CUDA build of torch"
    )
    which.add_argument(
        "--auto",
        dest="wish",
        action="store_const",
        const="auto",
        help="choose by the driver again, after --cpu or --cuda (which are remembered)",
    )
    parser.add_argument(
        "--no-system", action="store_true", help="never install system packages, only name them"
    )
    chosen = parser.parse_args(argv)
    if chosen.part and chosen.command != "test":
        parser.error(f"{chosen.part} goes with test: launch.py test {chosen.part}")
    return chosen, rest


def check_platform() -> None:
    """Raises LaunchError where Bilin does not run yet: other systems, an older C library."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise console.LaunchError(
            f"目前只支持 Linux x86-64，这里是 {sys.platform} {platform.machine()}",
            f"Bilin runs on Linux x86-64 so far; this is {sys.platform} {platform.machine()}",
        )
    name, version = platform.libc_ver()
    if name != "glibc" or tuple(map(int, version.split("."))) < (2, 34):
        raise console.LaunchError(
            f"需要 glibc 2.34 或更新，这里是 {name or '?'} {version}",
            f"glibc 2.34 or later is needed (Debian 12, Ubuntu 22.04); this is {name} {version}",
        )


def provide_system(*, for_tests: bool, may_install: bool) -> list[str]:
    """Finds missing system libraries, installs them where it may.

    Returns the lines to type for those without which Qt cannot draw here; empty: go on.
    """
    everything = {**libraries.DRAWING, **libraries.X11, **libraries.WAYLAND}
    absent = libraries.missing(everything)
    todo: list[str] = []
    if absent:
        purpose = ("窗口所需的系统库", "system libraries for the window")
        packages = libraries.packages_for(absent)
        todo = libraries.provide(packages, purpose, may_install=may_install, sonames=absent)
    for line in provide_compiler(for_tests=for_tests, may_install=may_install):
        console.note(line)
    if todo and libraries.missing_now(os.environ):
        return todo
    for line in todo:
        console.note(line)
    return []


def provide_compiler(*, for_tests: bool, may_install: bool) -> list[str]:
    """The C compiler, for the processor's own kernels; nobody needs it, so nothing stops here.

    Returns the lines to type if it is wanted and missing.
    """
    if for_tests and shutil.which("g++") is None:
        purpose = ("g++（内核测试）", "g++ (tests of the kernels)")
        return libraries.provide(["g++"], purpose, may_install=may_install)
    if any(shutil.which(name) for name in C_COMPILERS):
        return []
    purpose = (
        "C 编译器（可选：没有 GPU 时，有它快两到四倍）",
        "a C compiler (optional: without a GPU, two to four times faster with it)",
    )
    return libraries.provide(["gcc", "libc6-dev"], purpose, may_install=may_install)


def becomes_app(environ: Mapping[str, str], rest: Sequence[str]) -> bool:
    """Whether a start becomes the app, which needs Qt, and not the terminal chat."""
    shown = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    return any(environ.get(name) for name in shown) or not WINDOWLESS.isdisjoint(rest)


def start(rest: list[str]) -> None:
    """Becomes the app, or the terminal chat where there is no display."""
    if becomes_app(os.environ, rest):
        command = [str(PYTHON), "-P", "-m", "bilin_app", *rest]
    else:
        console.step("没有图形界面，改用终端对话", "No display here: starting the terminal chat")
        if rest:
            console.note(f"{' '.join(rest)}: 只用于窗口 / only for the window, left out")
        command = [str(PYTHON), "-P", "-m", "bilin_engine", "chat", "bilin-mini"]
    sys.stdout.flush()
    os.execve(command[0], command, environment.own_variables())


def set_up(chosen: argparse.Namespace, rest: list[str]) -> str:
    """Does what is missing. Returns the build of torch in .venv. Raises LaunchError."""
    for_tests = chosen.command == "test"
    window = chosen.command is not None or becomes_app(os.environ, rest)
    build = environment.current_build(chosen.wish, dev=for_tests, window=window)
    if build is None:
        check_platform()
        with environment.one_start_at_a_time():
            # The other start may have done it all.
            build = environment.current_build(chosen.wish, dev=for_tests, window=window)
            if build is None:
                return install(chosen, window=window)
    if chosen.command == "prepare":
        console.step("已经准备好了", "Everything is ready")
    return build


def install(chosen: argparse.Namespace, *, window: bool) -> str:
    """Sets up .venv and what it needs of the system. As set_up; window: it is to open one."""
    for_tests = chosen.command == "test"
    may_install = not chosen.no_system
    console.step("准备 Bilin 比邻", "Setting Bilin up")
    todo = provide_system(for_tests=for_tests, may_install=may_install)
    stamp = environment.prepare(
        chosen.wish, dev=for_tests, may_install=may_install, may_stay=chosen.command is None
    )
    if todo:
        if not window:
            # The terminal chat does not need them; a start with a display comes here again.
            environment.write_stamp(replace(stamp, has_window=False))
            return stamp.build
        raise console.LaunchError("还缺系统库", "System libraries are still missing", todo=todo)
    environment.verify_qt()
    environment.write_stamp(stamp)
    console.step("准备好了", "Ready")
    return stamp.build


def main(argv: list[str]) -> int:
    """Returns the exit status."""
    console.use_any_terminal()
    chosen, rest = parse(argv)
    try:
        build = set_up(chosen, rest)
        if chosen.command == "test":
            return checks.run(chosen.part, build)
        if chosen.command is None:
            start(rest)
    except console.LaunchError as stop:
        console.show_stop(stop)
        return 1
    except OSError as error:
        console.show_stop(console.LaunchError(f"无法继续：{error}", f"Cannot go on: {error}"))
        return 1
    except KeyboardInterrupt:
        console.show_stop(console.LaunchError("已停止；再次运行会接着做", "Stopped; run it again"))
        return 130
    return 0
