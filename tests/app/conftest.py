"""Each test of the app begins in English and in the light look, whatever ran before it."""

import gc
import itertools
from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication, QEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot
from typing_extensions import override

from bilin_app.pages.chat.message_body import MessageBody
from bilin_app.pages.keymap import keymap
from bilin_app.theme import theme as theme_module
from bilin_app.theme.theme import Look, start_theme

PATIENCE_MS = 20_000


class PatientBot(QtBot):
    """Waits longer by itself: most of what is awaited comes from a disk or another process."""

    @override
    def waitUntil(self, callback, *, timeout=PATIENCE_MS):
        super().waitUntil(callback, timeout=timeout)

    @override
    def waitSignal(self, signal, *, timeout=PATIENCE_MS, **options):
        return super().waitSignal(signal, timeout=timeout, **options)

    @override
    def waitSignals(self, signals, *, timeout=PATIENCE_MS, **options):
        return super().waitSignals(signals, timeout=timeout, **options)


@pytest.fixture
def qtbot(qapp, request):  # noqa: ARG001 - windows need it
    return PatientBot(request)


@pytest.fixture(autouse=True)
def start_in_english():
    """Takes back the language and the look that an earlier test left in the application.

    The look belongs to the one QApplication of the process: a Chinese translator that stays
    installed would translate the sentences that the next test expects in English.
    """
    keymap().set_custom(())
    keymap().set_sends_with_ctrl(False)
    keymap().set_sends_with_ctrl(False)
    if theme_module._theme is not None:
        theme_module._theme.apply(Look("light", "en"))


@pytest.fixture(autouse=True)
def destroy_windows_after_tests():
    """A window that outlives its test is styled anew at every change of look of all that follow."""
    yield
    if isinstance(QApplication.instance(), QApplication):
        for widget in QApplication.topLevelWidgets():
            widget.close()
            widget.deleteLater()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


_tests_done = itertools.count(1)


@pytest.fixture(autouse=True)
def collect_garbage_between_tests():
    """As in the app (see bilin_app.garbage): widgets never die in a thread or inside Qt."""
    gc.disable()
    yield
    gc.collect(2 if next(_tests_done) % 10 == 0 else 1)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(nextitem):
    """Python collects again where tests of another package follow, as parallel runs mix them.

    A fixture of scope "package" would last as long as the session: this folder is no package.
    """
    try:
        return (yield)
    finally:
        if nextitem is None or not nextitem.path.is_relative_to(Path(__file__).parent):
            gc.collect()
            gc.enable()


@pytest.fixture
def go(tmp_path):
    """A file: until it is there, an engine that `waits` stays in the middle of its work."""
    return tmp_path / "go"


@pytest.fixture
def make_desk(qtbot, tmp_path):
    """Makes editors with an engine behind them (options: the scripted engine's); closes them."""
    from editor_desk import EditorDesk

    theme_module.start_theme(QApplication.instance(), Look("light", "en"))  # type: ignore[arg-type]
    made: list[EditorDesk] = []

    def make(*options: str) -> EditorDesk:
        desk = EditorDesk(tmp_path, *options)
        qtbot.addWidget(desk.view)
        made.append(desk)
        return desk

    yield make
    for desk in made:
        desk.close()


@pytest.fixture
def body(qapp, qtbot):
    """A message's text, in the light look."""
    start_theme(qapp, Look("light", "en"))
    widget = MessageBody(None)  # type: ignore[arg-type]
    qtbot.addWidget(widget)
    return widget
