"""A transcript in a window of its own."""

from contextlib import contextmanager

from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QWidget

from bilin_app.pages.chat.transcript import Transcript
from bilin_app.theme.theme import Look, start_theme


@contextmanager
def shown_transcript(qapp, language):
    """900 x 600 px, in the light theme; nothing of it is left afterwards."""
    start_theme(qapp, Look("light", language))
    owner = QWidget()
    widget = Transcript(owner)
    widget.resize(900, 600)
    owner.resize(900, 600)
    owner.show()
    yield widget
    owner.close()
    owner.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
