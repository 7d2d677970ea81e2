"""The hub dialog's controller: the catalog, a repository's listing, a download.

Nothing is asked of a network before a person clicked. Tokens go to the engine, which keeps them.
"""

from PySide6.QtCore import QObject, Signal

from bilin_app.controllers import sentences
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.engine_sentences import engine_sentence
from bilin_app.controllers.hub_views import CatalogRow, HubChoice, HubFileView, RepositoryView
from bilin_app.controllers.models_folder import ModelsFolder
from bilin_app.engine_client.client import RequestFailure, RequestHandle
from bilin_engine.protocol import (
    AddJob,
    CatalogEntry,
    CatalogListed,
    DownloadModel,
    KeepToken,
    ListCatalog,
    ListRepository,
    Repository,
    RepositoryFile,
    RepositoryListed,
)


class HubsController(QObject):
    """catalog_listed(list[CatalogRow]). repository_listed(RepositoryView): the last one asked for.

    refused(str): why there is no answer. queued(): the download is in the work queue.
    """

    catalog_listed = Signal(object)
    repository_listed = Signal(object)
    refused = Signal(str)
    queued = Signal()

    def __init__(
        self, engine: EngineController, models_folder: ModelsFolder, parent: QObject | None = None
    ) -> None:
        """models_folder: where new models are made."""
        super().__init__(parent)
        self._engine = engine
        self._models_folder = models_folder
        self._listing: RequestHandle | None = None

    def list_catalog(self) -> None:
        """Asks the engine alone, which knows it by heart."""
        handle = self._engine.send(lambda i: ListCatalog(id=i))
        handle.done.connect(self._on_catalog)
        handle.failed.connect(self._on_refused)

    def list_repository(self, choice: HubChoice, token: str = "") -> None:
        """Asks the hub. token: typed just now; it is kept for this address first."""
        self.cancel()
        if token:
            keeping = self._engine.send(
                lambda i: KeepToken(id=i, hub=choice.hub, token=token, endpoint=choice.endpoint)
            )
            keeping.failed.connect(self._on_refused)
            keeping.done.connect(lambda _result: self._list(choice))
        else:
            self._list(choice)

    def forget_token(self, choice: HubChoice) -> None:
        """Removes the token that is kept for an address."""
        forgetting = self._engine.send(
            lambda i: KeepToken(id=i, hub=choice.hub, token="", endpoint=choice.endpoint)
        )
        forgetting.failed.connect(self._on_refused)

    def cancel(self) -> None:
        """Gives up the listing that is under way."""
        listing, self._listing = self._listing, None
        if listing is not None:
            listing.cancel()

    def download(self, view: RepositoryView, name: str, group_size: str) -> None:
        """Puts a listed repository into the work queue, under a name for the model."""
        choice = view.choice
        work = DownloadModel(
            repository=_repository(choice),
            folder=str(self._models_folder.path.absolute() / name),
            file=choice.file,
            group_size=group_size,
        )
        handle = self._engine.send(lambda i: AddJob(id=i, work=work))
        handle.done.connect(lambda _result: self.queued.emit())
        handle.failed.connect(self._on_refused)

    def _list(self, choice: HubChoice) -> None:
        handle = self._engine.send(
            lambda i: ListRepository(id=i, repository=_repository(choice), file=choice.file)
        )
        self._listing = handle
        handle.done.connect(lambda listed: self._on_listed(handle, choice, listed))
        handle.failed.connect(lambda failure: self._on_listing_failed(handle, failure))

    def _on_catalog(self, listed: CatalogListed) -> None:
        self.catalog_listed.emit([_row(entry) for entry in listed.entries])

    def _on_listed(
        self, handle: RequestHandle, choice: HubChoice, listed: RepositoryListed
    ) -> None:
        if handle is not self._listing:
            return  # something else was asked meanwhile
        self._listing = None
        view = RepositoryView(
            choice=choice,
            files=_files(listed.files),
            hosts=listed.hosts,
            licence=listed.licence,
            needed_bytes=listed.needed_bytes,
            is_ready=listed.is_ready,
            gguf_files=_files(listed.gguf_files),
            free_bytes=listed.free_bytes,
            has_token=listed.has_token,
            problem=engine_sentence(listed.problem),
        )
        self.repository_listed.emit(view)

    def _on_listing_failed(self, handle: RequestHandle, failure: RequestFailure) -> None:
        if handle is self._listing:
            self._listing = None
            self._on_refused(failure)

    def _on_refused(self, failure: RequestFailure) -> None:
        self.refused.emit(sentences.request_failed(failure.code, failure.message))


def _repository(choice: HubChoice) -> Repository:
    return Repository(
        hub=choice.hub,
        name=choice.name,
        endpoint=choice.endpoint,
        revision=choice.revision,
        proxy=choice.proxy,
    )


def _files(files: tuple[RepositoryFile, ...]) -> tuple[HubFileView, ...]:
    return tuple(HubFileView(file.name, file.size_bytes) for file in files)


def _row(entry: CatalogEntry) -> CatalogRow:
    return CatalogRow(
        id=entry.id,
        name=entry.name,
        family=entry.family,
        languages=entry.languages,
        licence=entry.licence,
        repositories=dict(entry.repositories),
        is_runnable=entry.is_runnable,
        num_parameters=entry.num_parameters,
        download_bytes=entry.download_bytes,
        int4_bytes=entry.int4_bytes,
        fit=entry.fit,
        context=entry.context,
        needed_bytes=entry.needed_bytes,
        short_device=entry.short_device,
        short_bytes=entry.short_bytes,
    )
