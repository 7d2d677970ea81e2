"""The question before something is deleted for good."""

from PySide6.QtWidgets import QMessageBox, QWidget


class DeletionQuestion(QMessageBox):
    """Nothing is deleted unless a person says so."""

    def __init__(self, parent: QWidget, title: str, text: str) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setText(text)
        self.setInformativeText(self.tr("This cannot be undone."))
        self._delete = self.addButton(self.tr("Delete"), QMessageBox.ButtonRole.AcceptRole)
        cancel = self.addButton(self.tr("Cancel"), QMessageBox.ButtonRole.RejectRole)
        self.setDefaultButton(cancel)
        self.setEscapeButton(cancel)

    def is_confirmed(self) -> bool:
        """Asks; whether it may be deleted."""
        self.exec()
        return self.clickedButton() is self._delete
