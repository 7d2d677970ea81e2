"""Binds the hub dialog to its controller, and keeps the source that was used last."""

from dataclasses import replace

from PySide6.QtCore import QObject, Qt

from bilin_app.controllers.hub_views import HubChoice, HubName
from bilin_app.controllers.hubs import HubsController
from bilin_app.controllers.settings import SettingsController
from bilin_app.pages.models.hub import HubDialog
from bilin_app.pages.models.view import ModelsView
from bilin_app.theme.theme import theme


class HubPage(QObject):
    """Opens the dialog when it is asked for."""

    def __init__(
        self, view: ModelsView, hubs: HubsController, settings: SettingsController
    ) -> None:
        super().__init__(view)
        self._view = view
        self._hubs = hubs
        self._settings = settings
        self.dialog: HubDialog | None = None
        view.list.hub_requested.connect(self._on_hub_requested)
        hubs.catalog_listed.connect(lambda rows: self._tell("show_catalog", rows))
        hubs.repository_listed.connect(lambda found: self._tell("show_repository", found))
        hubs.refused.connect(self._on_refused)

    def _on_hub_requested(self) -> None:
        if self.dialog is not None:
            self.dialog.raise_()
            return
        settings = self._settings.settings
        dialog = HubDialog(self._view, self._first_hub(), settings.hub_endpoint, settings.hub_proxy)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.list_requested.connect(self._on_list_requested)
        dialog.token_forgotten.connect(self._hubs.forget_token)
        dialog.download_requested.connect(self._hubs.download)
        dialog.cancelled.connect(self._hubs.cancel)
        dialog.finished.connect(self._on_finished)
        self.dialog = dialog
        self._hubs.list_catalog()
        dialog.open()

    def _first_hub(self) -> HubName:
        """ModelScope comes first where people read Chinese: it is near them."""
        chosen = self._settings.settings.hub
        if chosen == "by language":
            return "modelscope" if theme().language == "zh" else "hugging_face"
        return chosen

    def _on_list_requested(self, choice: HubChoice, token: str) -> None:
        used = replace(
            self._settings.settings,
            hub=choice.hub,
            hub_endpoint=choice.endpoint,
            hub_proxy=choice.proxy,
        )
        self._settings.set(used)
        self._hubs.list_repository(choice, token)

    def _on_finished(self) -> None:
        self.dialog = None

    def _on_refused(self, reason: str) -> None:
        if self.dialog is not None:
            self.dialog.show_refusal(reason)
        else:
            self._view.toast.show_text(reason)

    def _tell(self, what: str, value: object) -> None:
        if self.dialog is not None:
            getattr(self.dialog, what)(value)
