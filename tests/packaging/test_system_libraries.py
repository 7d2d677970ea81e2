"""The list of system libraries against what the installed Qt wheels name in their ELF headers."""

import importlib.util
import struct
from pathlib import Path

import command_line
import pytest
import system_libraries as libraries

# The C library, always there: Python itself runs on it.
C_LIBRARY = {
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libm.so.6",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
}
# What the app loads of Qt, and the plugins that open its window.
DRAWN_WITH = [
    "Qt/lib/libQt6Core.so.6",
    "Qt/lib/libQt6Gui.so.6",
    "Qt/lib/libQt6Widgets.so.6",
    "Qt/lib/libQt6Svg.so.6",
    "Qt/lib/libQt6DBus.so.6",
    "Qt/lib/libQt6Network.so.6",
    "Qt/plugins/platforms/libqoffscreen.so",
    "Qt/plugins/imageformats/libqsvg.so",
    "Qt/plugins/iconengines/libqsvgicon.so",
]
ON_X11 = [
    "Qt/lib/libQt6XcbQpa.so.6",
    "Qt/plugins/platforms/libqxcb.so",
    "Qt/plugins/xcbglintegrations/libqxcb-egl-integration.so",
    "Qt/plugins/xcbglintegrations/libqxcb-glx-integration.so",
]
ON_WAYLAND = [
    "Qt/lib/libQt6WaylandClient.so.6",
    "Qt/plugins/wayland-graphics-integration-client/libqt-plugin-wayland-egl.so",
]


def needed_by(path: Path) -> set[str]:
    """DT_NEEDED of a 64-bit little-endian ELF file. Source: ELF-64 object file format, 1.5."""
    data = path.read_bytes()
    assert data[:6] == b"\x7fELF\x02\x01", path
    (offset,) = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, offset + i * size) for i in range(count)]
    needed: set[str] = set()
    for _, kind, _, _, start, length, link, _, _, entry in sections:
        if kind != 6:  # SHT_DYNAMIC
            continue
        names = sections[link][4]
        for position in range(start, start + length, entry):
            tag, value = struct.unpack_from("<qQ", data, position)
            if tag == 1:  # DT_NEEDED
                end = data.index(b"\0", names + value)
                needed.add(data[names + value : end].decode())
    return needed


@pytest.mark.parametrize(
    ("files", "known"),
    [
        (DRAWN_WITH, libraries.DRAWING),
        (ON_X11, {**libraries.DRAWING, **libraries.X11}),
        (ON_WAYLAND, {**libraries.DRAWING, **libraries.WAYLAND}),
    ],
    ids=["drawing", "x11", "wayland"],
)
def test_every_library_that_qt_needs_is_listed(files, known):
    spec = importlib.util.find_spec("PySide6")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    own = {path.name for path in folder.rglob("*.so*")}
    needed = set().union(*(needed_by(folder / name) for name in files)) - own - C_LIBRARY
    assert needed, "no library was read"
    assert needed - set(known) == set()


def test_a_library_that_is_not_there_is_missing_and_the_c_library_is_not():
    table = {"libc.so.6": "libc6", "libbilin-none.so.0": "none"}
    assert libraries.missing(table) == ["libbilin-none.so.0"]


def test_a_package_is_named_once():
    assert libraries.packages_for(["libglib-2.0.so.0", "libEGL.so.1", "libgthread-2.0.so.0"]) == [
        "libglib2.0-0",
        "libegl1",
    ]


X, W = {"DISPLAY": ":0"}, {"WAYLAND_DISPLAY": "wayland-0"}


@pytest.mark.parametrize(
    ("environ", "absent", "needed"),
    [
        ({}, "libEGL.so.1", True),
        ({}, "libxcb-cursor.so.0", False),
        (X, "libxcb-cursor.so.0", True),
        (W, "libxcb-cursor.so.0", False),
        (W, "libwayland-client.so.0", True),
        (X | W, "libxcb-cursor.so.0", False),
        (X | W, "libwayland-client.so.0", False),
        (X | W, "libEGL.so.1", True),
        (X | W | {"QT_QPA_PLATFORM": "xcb"}, "libxcb-cursor.so.0", True),
        (X | W | {"QT_QPA_PLATFORM": "wayland;xcb"}, "libxcb-cursor.so.0", False),
        (X | W | {"QT_QPA_PLATFORM": "offscreen:size=9x9"}, "libxcb-cursor.so.0", False),
    ],
)
def test_of_the_displays_that_are_there_one_is_enough(monkeypatch, environ, absent, needed):
    monkeypatch.setattr(
        libraries, "missing", lambda table: [name for name in table if name == absent]
    )
    assert libraries.missing_now(environ) == ([absent] if needed else [])


@pytest.mark.parametrize("has_wayland", [False, True])
def test_what_only_another_display_needs_is_named_and_stops_nothing(
    monkeypatch, capsys, has_wayland
):
    for name in ("QT_QPA_PLATFORM", *X, *W):
        monkeypatch.delenv(name, raising=False)
    for name, value in (X | W if has_wayland else X).items():
        monkeypatch.setenv(name, value)
    cursor = "libxcb-cursor.so.0"
    monkeypatch.setattr(libraries, "missing", lambda table: [n for n in table if n == cursor])
    monkeypatch.setattr(libraries.shutil, "which", lambda *_, **__: "/usr/bin/apt-get")
    told = command_line.provide_system(for_tests=False, may_install=False)
    line = libraries.apt_line(["libxcb-cursor0"])
    assert told == ([] if has_wayland else [line])
    assert (line in capsys.readouterr().out) is has_wayland


def test_without_permission_the_line_to_type_is_given():
    purpose = ("系统库", "system libraries")
    told = libraries.provide(["libegl1", "libgl1"], purpose, may_install=False)
    assert len(told) == 1
    assert told[0].endswith("libegl1 libgl1")


def test_where_packages_have_other_names_the_libraries_are_named(monkeypatch):
    monkeypatch.setattr(libraries, "missing", lambda _: ["libEGL.so.1", "libxcb-cursor.so.0"])
    monkeypatch.setattr(libraries.shutil, "which", lambda *_, **__: None)
    told = command_line.provide_system(for_tests=False, may_install=True)
    assert told == [
        "Install what your distribution calls: libegl1 libxcb-cursor0",
        "They hold: libEGL.so.1 libxcb-cursor.so.0",
    ]
