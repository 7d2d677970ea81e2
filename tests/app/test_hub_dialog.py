"""The hub dialog and its controller: nothing before a click, everything before a download."""

from dataclasses import replace

import pytest
from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QFocusEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from bilin_app import tour_hubs
from bilin_app.controllers.hub_views import HubChoice, HubFileView, RepositoryView
from bilin_app.controllers.hubs import HubsController
from bilin_app.controllers.models_folder import ModelsFolder
from bilin_app.engine_client.client import RequestFailure, RequestHandle
from bilin_app.engine_client.process import EngineCommand
from bilin_app.pages.models.hub import HubDialog
from bilin_app.theme.theme import Look, start_theme
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

pytestmark = pytest.mark.gui


@pytest.fixture
def dialog(qapp, qtbot):
    start_theme(qapp, Look("light", "en"))
    result = HubDialog(None, "hugging_face", "", "")  # pyright: ignore[reportArgumentType]
    qtbot.addWidget(result)
    result.show_catalog(tour_hubs.CATALOG)
    result.show()
    return result


def choose(dialog, index):
    dialog.catalog.setCurrentIndex(dialog.catalog.model().index(index, 0))


def test_choosing_a_model_asks_nobody(dialog):
    heard = []
    dialog.list_requested.connect(lambda *args: heard.append(args))
    choose(dialog, 0)
    assert dialog.repository.text() == "zai-org/GLM-4-9B-0414"
    assert dialog.go.text() == "Ask Hugging Face"
    assert heard == []
    dialog.token.setText(" hf_1 ")
    dialog.go.click()
    assert heard == [(HubChoice(hub="hugging_face", name="zai-org/GLM-4-9B-0414"), "hf_1")]
    assert dialog.go.text() == "Asking…"
    assert not dialog.go.isEnabled()


def test_the_other_hub_has_the_same_model_under_its_own_name(dialog):
    choose(dialog, 0)
    dialog.hub.setCurrentIndex(1)
    assert dialog.choice == HubChoice(hub="modelscope", name="ZhipuAI/GLM-4-9B-0414")


def test_a_pages_address_says_its_hub(dialog):
    dialog.repository.setText("https://modelscope.cn/models/a/b/summary")
    assert dialog.choice == HubChoice(hub="modelscope", name="a/b")
    assert dialog.go.text() == "Ask ModelScope"
    dialog.hub.setCurrentIndex(0)  # the person has the last word
    assert dialog.choice == HubChoice(hub="hugging_face", name="a/b")
    assert dialog.go.text() == "Ask Hugging Face"


def test_a_pages_address_takes_no_token_and_no_mirror_to_its_hub(dialog):
    heard = []
    dialog.list_requested.connect(lambda *args: heard.append(args))
    dialog.endpoint.setText("https://hf-mirror.com")
    dialog.token.setText("hf_1")
    dialog.repository.setText("https://modelscope.cn/models/a/b")
    assert dialog.hub.currentText() == "ModelScope"
    dialog.go.click()
    assert heard == [(HubChoice(hub="modelscope", name="a/b"), "")]
    dialog.repository.setText("https://huggingface.co/a/b")
    dialog.token.setText("hf_1")
    dialog.repository.setText("https://hf-mirror.com/a/b")
    dialog.go.click()
    mirrored = HubChoice(hub="hugging_face", name="a/b", endpoint="https://hf-mirror.com")
    assert heard[1] == (mirrored, "")


@pytest.mark.parametrize(
    ("page", "revision"),
    [
        ("tree/int4", "int4"),
        ("resolve/refs%2Fpr%2F1/config.json", "refs/pr/1"),
        ("tree/main", ""),
        ("tree", ""),
    ],
)
def test_a_pages_address_says_its_branch(dialog, page, revision):
    dialog.repository.setText(f"https://huggingface.co/a/b/{page}")
    choice = HubChoice(hub="hugging_face", name="a/b", revision=revision)
    assert dialog.choice == choice
    dialog.show_repository(replace(tour_hubs.repository("en"), choice=choice))
    assert (f" Revision: {revision}. " in dialog._found.text()) == bool(revision)
    dialog.hub.setCurrentIndex(1)
    assert dialog.choice == HubChoice(hub="modelscope", name="a/b")


def test_what_is_fetched_is_told_before_the_download(dialog, qtbot):
    choose(dialog, 0)
    view = tour_hubs.repository("en")
    dialog.show_repository(view)
    told = dialog._found.text()
    assert told == "Files: 9; 18.8 GB from huggingface.co, cas-bridge.xethub.hf.co. Licence: mit."
    assert "Needs 25.5 GB of disk; 212.0 GB are free." in dialog._needs.text()
    dialog.group.setCurrentIndex(dialog.group.findData("row"))
    dialog.name.setText("田中　模型")
    with qtbot.waitSignal(dialog.download_requested) as heard:
        dialog.go.click()
    assert heard.args == [view, "田中　模型", "row"]


def test_a_name_that_is_no_folder_and_a_full_disk_stop_the_download(dialog):
    choose(dialog, 0)
    view = tour_hubs.repository("en")
    dialog.show_repository(view)
    dialog.name.setText("../outside")
    assert not dialog.go.isEnabled()
    dialog.name.setText("inside")
    assert dialog.go.isEnabled()
    dialog.show_repository(
        RepositoryView(view.choice, view.files, needed_bytes=view.needed_bytes, free_bytes=10**9)
    )
    assert not dialog.go.isEnabled()
    assert "only 1.0 GB are free" in dialog._needs.text()


def test_another_repository_is_never_downloaded_by_what_was_shown(dialog):
    choose(dialog, 0)
    dialog.show_repository(tour_hubs.repository("en"))
    assert dialog.go.text() == "Download"
    dialog.repository.setText("other/model")
    assert dialog.go.text() == "Ask Hugging Face"


def test_of_several_gguf_files_one_is_chosen_first(dialog, qtbot):
    dialog.repository.setText("a/b")
    files = tour_hubs.repository("en").files[:2]
    choice = HubChoice(hub="hugging_face", name="a/b")
    dialog.show_repository(RepositoryView(choice, gguf_files=files, problem="choose one of them"))
    with qtbot.waitSignal(dialog.list_requested) as heard:
        dialog.gguf.setCurrentIndex(1)
    assert heard.args[0] == HubChoice(hub="hugging_face", name="a/b", file=files[0].name)


def test_the_room_for_the_model_made_of_a_gguf_is_counted(dialog):
    dialog.repository.setText("a/b")
    file = HubFileView("a-Q4_0.gguf", 5 * 10**9)
    choice = HubChoice(hub="hugging_face", name="a/b", file=file.name)
    view = RepositoryView(choice, (file,), needed_bytes={"": 9 * 10**9}, free_bytes=13 * 10**9)
    dialog.show_repository(view)
    dialog.name.setText("a")
    assert "Needs 14.0 GB, but only 13.0 GB are free." in dialog._needs.text()
    assert not dialog.go.isEnabled()
    dialog.show_repository(replace(view, free_bytes=15 * 10**9))
    assert "takes up to 9.0 GB; the download is then removed" in dialog._needs.text()
    assert dialog.go.isEnabled()


def test_nothing_is_downloaded_but_what_the_last_answer_lists(dialog):
    heard = []
    dialog.download_requested.connect(lambda *args: heard.append(args))
    dialog.repository.setText("a/b")
    shown = tour_hubs.repository("en")
    choice = HubChoice(hub="hugging_face", name="a/b")
    dialog.show_repository(replace(shown, choice=choice, gguf_files=shown.files[:2]))
    assert dialog.go.text() == "Download"
    dialog.gguf.setCurrentIndex(1)  # asks for that file
    assert dialog.go.text() == "Asking…"
    assert not dialog.go.isEnabled()
    dialog._on_go()
    dialog.show_refusal("no")
    dialog._on_go()
    assert heard == []


def test_a_refusal_is_shown_and_can_be_tried_again(dialog):
    dialog.repository.setText("a/b")
    dialog.go.click()
    dialog.show_refusal("nobody is there")
    assert dialog._problem.text() == "nobody is there"
    assert dialog.go.isEnabled()


def test_of_several_gguf_files_the_chosen_ones_refusal_is_shown(dialog):
    heard = []
    dialog.list_requested.connect(lambda choice, _token: heard.append(choice.file))
    dialog.repository.setText("a/b")
    files = tour_hubs.repository("en").files[:2]
    choice = HubChoice(hub="hugging_face", name="a/b")
    dialog.show_repository(RepositoryView(choice, gguf_files=files, problem="choose one of them"))
    assert dialog._problem.text() == ""
    dialog.gguf.setCurrentIndex(1)
    dialog.show_refusal("nobody is there")
    assert dialog._problem.text() == "nobody is there"
    dialog.go.click()
    assert heard == [files[0].name, files[0].name]


def test_a_token_goes_to_the_address_it_was_typed_for_alone(dialog):
    heard = []
    dialog.list_requested.connect(lambda choice, token: heard.append((choice.hub, token)))
    choose(dialog, 0)
    dialog.token.setText("hf_1")
    dialog.go.click()
    dialog.show_refusal("nobody is there")
    dialog.hub.setCurrentIndex(1)
    dialog.go.click()
    assert heard == [("hugging_face", "hf_1"), ("modelscope", "")]
    dialog.token.setText("ms-1")  # typed, and then another source is chosen
    dialog.hub.setCurrentIndex(0)
    dialog.go.click()
    assert heard[2] == ("hugging_face", "")


def test_a_kept_token_can_be_forgotten(dialog, qtbot):
    dialog.repository.setText("a/b")
    dialog.advanced.click()
    dialog.token.setText("wrong")
    with qtbot.waitSignal(dialog.token_forgotten) as heard:
        dialog.forget_token.click()
    assert heard.args == [HubChoice(hub="hugging_face", name="a/b")]
    assert dialog.token.text() == ""
    assert dialog._token_about.text() == "No token is kept for this address any more."
    assert not dialog.forget_token.isVisible()
    dialog.hub.setCurrentIndex(1)
    assert dialog.forget_token.isVisible()


# --- The controller -------------------------------------------------------------------------------


class Engine(QObject):
    """Remembers requests; their handles are ended by the test. Its own client."""

    sent = Signal(object)
    jobs_changed = Signal(object)

    def __init__(self):
        super().__init__()
        self.client = self
        self.requests = []
        self.handles = []

    def send(self, make):
        handle = RequestHandle(len(self.requests) + 1, lambda _handle: None)
        self.requests.append(make(handle.id))
        self.handles.append(handle)
        return handle

    def restart(self, command):
        pass


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def models_folder(engine, tmp_path):
    return ModelsFolder(tmp_path, engine, lambda _folder: EngineCommand("", ()))


@pytest.fixture
def hubs(engine, models_folder):
    return HubsController(engine, models_folder)


CHOICE = HubChoice(hub="modelscope", name="a/b", endpoint="https://m.example", revision="int4")
REPOSITORY = Repository(hub="modelscope", name="a/b", endpoint="https://m.example", revision="int4")


def test_a_typed_token_is_kept_before_it_is_needed(hubs, engine):
    hubs.list_repository(CHOICE, "t")
    assert engine.requests == [
        KeepToken(id=1, hub="modelscope", token="t", endpoint="https://m.example")
    ]
    engine.handles[0].end_done(None)
    assert engine.requests[1] == ListRepository(id=2, repository=REPOSITORY)


def test_a_token_is_forgotten_for_its_address_alone(hubs, engine):
    refused = []
    hubs.refused.connect(refused.append)
    hubs.forget_token(CHOICE)
    assert engine.requests == [
        KeepToken(id=1, hub="modelscope", token="", endpoint="https://m.example")
    ]
    engine.handles[0].end_failed(RequestFailure("internal", "tokens.json cannot be written"))
    assert len(refused) == 1


def test_an_answer_that_comes_too_late_is_not_shown(hubs, engine):
    shown, refused = [], []
    hubs.repository_listed.connect(shown.append)
    hubs.refused.connect(refused.append)
    hubs.list_repository(CHOICE)
    hubs.list_repository(HubChoice(hub="hugging_face", name="c/d"))
    listed = RepositoryListed(
        repository=REPOSITORY, endpoint="", revision="", files=(RepositoryFile("x", 1),)
    )
    engine.handles[0].end_done(listed)
    assert shown == []
    engine.handles[1].end_failed(RequestFailure("hub_unreachable", "c cannot be reached"))
    assert refused[0].startswith("c cannot be reached. ")


def test_a_download_goes_into_the_queue_under_the_models_folder(hubs, engine, tmp_path):
    hubs.download(RepositoryView(CHOICE), "田中　模型", "64")
    (added,) = engine.requests
    assert isinstance(added, AddJob)
    assert isinstance(added.work, DownloadModel)
    assert added.work.repository == REPOSITORY
    assert (added.work.folder, added.work.group_size) == (str(tmp_path / "田中　模型"), "64")


def test_a_download_goes_into_the_folder_that_was_chosen_meanwhile(
    hubs, models_folder, engine, tmp_path
):
    models_folder.use(tmp_path / "other")
    hubs.download(RepositoryView(CHOICE), "b", "64")
    (added,) = engine.requests
    assert added.work.folder == str(tmp_path / "other" / "b")


def test_the_catalog_is_the_engines(hubs, engine):
    rows = []
    hubs.catalog_listed.connect(rows.extend)
    hubs.list_catalog()
    assert engine.requests == [ListCatalog(id=1)]
    entry = CatalogEntry(
        id="x", name="X", family="glm4", languages=("zh",), licence="MIT",
        repositories={"modelscope": "a/b"}, is_runnable=True,
    )  # fmt: skip
    engine.handles[0].end_done(CatalogListed((entry,)))
    assert (rows[0].name, rows[0].repositories) == ("X", {"modelscope": "a/b"})


def test_a_typed_repository_stays_when_the_list_gets_the_keyboard(dialog):
    dialog.repository.setText("someone/else")
    dialog.show_refusal("no such repository")
    QApplication.sendEvent(dialog.catalog, QFocusEvent(QEvent.Type.FocusIn))
    assert dialog.repository.text() == "someone/else"
    assert dialog._problem.text() == "no such repository"
    QTest.keyClick(dialog.catalog, Qt.Key.Key_Down)
    assert dialog.repository.text() == "zai-org/GLM-4-9B-0414"
