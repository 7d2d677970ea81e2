"""Ends an app of a test wholly: any window left alive is styled anew at every change of look."""

from PySide6.QtCore import QCoreApplication, QEvent

from bilin_app.application import Application


def end_application(application: Application) -> None:
    """Closes it and destroys its window and all below it, now."""
    application.close()
    application.window.close()
    application.window.deleteLater()
    application.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
