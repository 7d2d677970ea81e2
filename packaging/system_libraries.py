"""The system libraries that Qt's wheels expect to find, and how a Debian or Ubuntu gets them.

Found by asking the dynamic loader for each name, so it works before anything is installed and on
any distribution; only the package names are Debian's. Versions: PySide6-Essentials 6.8 to 6.11
(a test compares this list with what the installed wheels name in their ELF headers).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import console

# soname -> Debian package. Without these `import PySide6.QtWidgets` fails, with any display.
DRAWING = {
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libX11.so.6": "libx11-6",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libbrotlidec.so.1": "libbrotli1",
    "libbrotlicommon.so.1": "libbrotli1",
    "libgssapi_krb5.so.2": "libgssapi-krb5-2",
    "libz.so.1": "zlib1g",
    "libzstd.so.1": "libzstd1",
    "libstdc++.so.6": "libstdc++6",
    "libgcc_s.so.1": "libgcc-s1",
}
# In addition, to open a window on X11.
X11 = {
    "libX11-xcb.so.1": "libx11-xcb1",
    "libxcb.so.1": "libxcb1",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-glx.so.0": "libxcb-glx0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render.so.0": "libxcb-render0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-shm.so.0": "libxcb-shm0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-util.so.1": "libxcb-util1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}
# In addition, to open a window on Wayland.
WAYLAND = {
    "libwayland-client.so.0": "libwayland-client0",
    "libwayland-cursor.so.0": "libwayland-cursor0",
    "libwayland-egl.so.1": "libwayland-egl1",
}


def missing(libraries: Mapping[str, str]) -> list[str]:
    """The sonames among `libraries` that the dynamic loader does not find, in order."""
    absent: list[str] = []
    for soname in libraries:
        try:
            ctypes.CDLL(soname)
        except OSError:
            absent.append(soname)
    return absent


def packages_for(sonames: Sequence[str]) -> list[str]:
    """Debian packages of `sonames`, each once, in order."""
    table = {**DRAWING, **X11, **WAYLAND}
    return list(dict.fromkeys(table[soname] for soname in sonames))


def missing_now(environ: Mapping[str, str]) -> list[str]:
    """The sonames without which nothing can be drawn where we are.

    Qt tries the platforms that are there in turn: of those one is enough.
    """
    absent = missing(DRAWING)
    of_platforms = [missing(libraries) for libraries in _platforms(environ)]
    if all(of_platforms):
        absent += [soname for sonames in of_platforms for soname in sonames]
    return absent


def _platforms(environ: Mapping[str, str]) -> list[dict[str, str]]:
    """What each platform that Qt tries needs. Source: QGuiApplicationPrivate of Qt 6.8."""
    if named := environ.get("QT_QPA_PLATFORM"):
        known = {"xcb": X11, "wayland": WAYLAND, "wayland-egl": WAYLAND}
        return [known.get(name.partition(":")[0], {}) for name in named.split(";") if name]
    shown = {"WAYLAND_DISPLAY": WAYLAND, "DISPLAY": X11}
    return [libraries for variable, libraries in shown.items() if environ.get(variable)]


def apt_line(packages: Sequence[str]) -> str:
    """What to type to install `packages`."""
    return "sudo apt-get update && sudo apt-get install -y " + " ".join(packages)


def can_install() -> bool:
    """Whether we are root on a system with apt-get."""
    return os.name == "posix" and os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: Sequence[str]) -> list[str]:
    """Installs Debian packages as root. Returns the last lines of apt-get, empty if it went well.

    Package lists are fetched first where there are none, and once more where they are stale.
    """
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    has_lists = any(Path("/var/lib/apt/lists").glob("*_Packages*"))
    if has_lists and not _apt(command):
        return []
    # A failed update is not the end: other sources may still serve what is asked for.
    update_failed = _apt(["apt-get", "update", "-q"])
    install_failed = _apt(command)
    return [*update_failed[-3:], *install_failed] if install_failed else []


def _apt(command: Sequence[str]) -> list[str]:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        check=False,
    )
    if done.returncode == 0:
        return []
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return lines[-6:] or [f"apt-get ended with {done.returncode}"]


def provide(
    packages: Sequence[str],
    purpose: tuple[str, str],
    *,
    may_install: bool,
    sonames: Sequence[str] = (),
) -> list[str]:
    """Says which `packages` are missing for `purpose` (zh, en) and installs them where it may.

    sonames: what is wanted of them, for distributions that name packages differently.
    Returns what to tell the person if they are still missing (empty: they are there now).
    """
    console.step(f"缺少{purpose[0]}", f"Missing: {purpose[1]}")
    console.note(" ".join(packages))
    if not shutil.which("apt-get"):
        wanted = [f"They hold: {' '.join(sonames)}"] if sonames else []
        return [f"Install what your distribution calls: {' '.join(packages)}", *wanted]
    if not may_install or not can_install():
        return [apt_line(packages)]
    console.note(f"apt-get install {' '.join(packages)}")
    failed = install(packages)
    if failed:
        for line in failed:
            console.note(f"| {line}")
        return [apt_line(packages)]
    return []
