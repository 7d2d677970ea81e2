"""Downloads from both hubs: what is fetched, what every fault does, what is never taken for whole.

A server on this machine stands in for the hubs (hub_server.py).
"""

import contextlib
import errno
import importlib
import json
import os
import shutil
import socket
import socketserver
import stat
import sys
import threading

import pytest
import socksio
from hub_server import Fault, HubServer
from published_model import write_source

from bilin_engine.checkpoints.gguf_file import BLOCKS
from bilin_engine.checkpoints.huggingface import ImportSettings, import_folder
from bilin_engine.errors import BadRequestError, BilinError, DiskFullError
from bilin_engine.hubs.base import HubBusyError, HubError, HubFile
from bilin_engine.hubs.connection import Connection, _told
from bilin_engine.hubs.inspect import gguf_model_bytes, inspect_repository
from bilin_engine.hubs.open import open_repository
from bilin_engine.hubs.tokens import TokenFile
from bilin_engine.jobs import download_files
from bilin_engine.jobs.base import JobReporter, JobStopped
from bilin_engine.jobs.convert import convert_model
from bilin_engine.jobs.download import Patience, download_model
from bilin_engine.library import Library, download_folder
from bilin_engine.placement.cost import file_bytes
from bilin_engine.placement.known_configs import known_config
from bilin_engine.protocol import ConvertModel, DownloadModel, Hub, JobDone, Repository

HUBS = ("hugging_face", "modelscope")
IMPATIENT = Patience(0.005, 0.02)
SHARD = "model-00002-of-00003.safetensors"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    """Neither a proxy nor a token of the machine that the tests run on."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("HF_", "MODELSCOPE_", "HUGGING_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = write_source(tmp_path_factory.mktemp("published") / "src", "glm4", shards=3)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(published):
    server = HubServer(published, small=("config.json",))
    yield server
    server.close()


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def repository(server, hub: Hub = "hugging_face", **values):
    return Repository(hub=hub, name=server.name, endpoint=server.endpoint, **values)


def fetch(
    server,
    models,
    *,
    hub: Hub = "hugging_face",
    name="田中　模型 🙂",
    stop=None,
    tokens=None,
    **work,
):
    told = []
    reporter = JobReporter(told.append, (lambda: stop(server)) if stop else (lambda: False))
    wanted = DownloadModel(repository=repository(server, hub), folder=str(models / name), **work)
    place = tokens or models.parent / "tokens.json"
    return download_model(wanted, reporter, place, IMPATIENT), told


def whole_files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}


def place_of(models, name="田中　模型 🙂"):
    return download_folder(models / name)


# --- What is fetched ------------------------------------------------------------------------------


@pytest.mark.parametrize("hub_name", HUBS)
def test_a_repository_is_fetched_and_left_to_be_converted(hub, models, published, hub_name):
    done, told = fetch(hub, models, hub=hub_name, group_size="32")
    place = place_of(models)
    assert done == JobDone(
        str(place),
        ConvertModel(
            source=str(place), folder=str(models / "田中　模型 🙂"), group_size="32",
            removes_source=True,
        ),
    )  # fmt: skip
    assert whole_files(place) == published
    total = sum(len(content) for content in published.values())
    assert (told[-1].stage, told[-1].done, told[-1].total) == ("download", total, total)
    assert Library(models, bundled_dir=models / "none").models() == []


def test_what_was_fetched_converts_to_a_model(hub, models):
    done, _ = fetch(hub, models, group_size="32")
    assert done.then is not None
    folder = convert_model(done.then, JobReporter(lambda _p: None, lambda: False))
    infos = Library(models, bundled_dir=models / "none").models()
    assert [(info.path, info.problem) for info in infos] == [(str(folder), "")]
    assert infos[0].precision == "INT4 · 32"


def test_a_group_size_that_the_model_cannot_have_is_said_before_the_first_byte(hub, models):
    with pytest.raises(BadRequestError, match=r'"100" is not for this model; possible: .*row'):
        fetch(hub, models, group_size="100")
    assert not [a for a in hub.asked if "/blob/" in a.path and SHARD in a.path]


def test_a_ready_int4_repository_is_a_model_at_once(published, models, tmp_path):
    source = tmp_path / "src"
    source.mkdir()
    for name, content in published.items():
        (source / name).write_bytes(content)
    made = import_folder(source, tmp_path / "made", ImportSettings())
    for own in (True, False):  # Bilin's own folder, and one that only compressed-tensors knows
        if not own:
            (made / "bilin.json").unlink()
        server = HubServer({p.name: p.read_bytes() for p in made.iterdir()})
        try:
            done, _ = fetch(server, models, name=f"ready-{own}")
        finally:
            server.close()
        assert done == JobDone(str(models / f"ready-{own}"))
    infos = Library(models, bundled_dir=models / "none").models()
    assert [info.problem for info in infos] == ["", ""]
    assert not list((models / ".bilin" / "downloads").iterdir())


@pytest.mark.parametrize("name", ["tokenizer_config.json", "generation_config.json"])
def test_a_ready_repository_may_change_while_it_is_verified(published, models, tmp_path, name):
    source = tmp_path / "src"
    source.mkdir()
    for file, content in published.items():
        (source / file).write_bytes(content)
    made = import_folder(source, tmp_path / "made", ImportSettings())
    (made / "bilin.json").unlink()
    server = HubServer({p.name: p.read_bytes() for p in made.iterdir()})
    try:
        with pytest.raises(JobStopped):
            fetch(server, models, stop=lambda _s: (place_of(models) / "bilin.json").exists())
        if name == "generation_config.json":
            del server.files[name]
        else:
            server.files[name] += b" "
        done, _ = fetch(server, models)
    finally:
        server.close()
    assert done == JobDone(str(models / "田中　模型 🙂"))
    assert whole_files(models / "田中　模型 🙂").keys() == server.files.keys() | {"bilin.json"}


def test_only_files_of_a_model_are_fetched(hub, models, published):
    hub.files |= {
        "modeling_evil.py": b"import os", "pytorch_model.bin": b"pickle", "README.md": b"#",
        "consolidated.safetensors": b"x" * 9,
    }  # fmt: skip
    hub.extra = [{"type": "directory", "path": "original"}]
    fetch(hub, models)
    assert whole_files(place_of(models)) == published
    assert not hub.asked_for("pytorch_model.bin")


def test_names_in_every_script_are_names(hub, models, published):
    hub.files |= {"说明　书.md": b"x", "🙂.png": b"y"}
    fetch(hub, models)
    assert whole_files(place_of(models)) == published


def test_pickles_alone_are_refused_in_a_sentence(models):
    server = HubServer({"config.json": b"{}", "pytorch_model-00001-of-00002.bin": b"pickle"})
    try:
        with pytest.raises(HubError, match=r"pickles only \(pytorch_model-00001"):
            fetch(server, models)
    finally:
        server.close()


def test_a_missing_shard_is_named_before_anything_is_fetched(hub, models):
    del hub.files[SHARD]
    with pytest.raises(HubError, match=f"not whole: {SHARD} is missing"):
        fetch(hub, models)
    assert not place_of(models).exists()


def test_a_listing_of_many_pages_is_read_to_its_end(hub, models, published):
    hub.files |= {f"assets-{n:05d}.txt": b"" for n in range(10_000)}
    done, _ = fetch(hub, models)
    assert whole_files(place_of(models)) == published
    assert done.then is not None
    assert sum("/tree/" in asked.path for asked in hub.asked) == 11


def test_more_files_than_a_model_has_are_refused(hub, models):
    hub.extra = [{"type": "file", "path": f"x{n}", "size": 1, "oid": ""} for n in range(20_001)]
    with pytest.raises(HubError, match="over 20000 files"):
        fetch(hub, models)


# --- Faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("hub_name", HUBS)
@pytest.mark.parametrize(
    "faults",
    [
        [Fault("cut", at=700), Fault("cut", at=300)],
        [Fault("status", times=3, status=503)],
        [Fault("status", status=429, headers={"Retry-After": "0"})],
        [Fault("cut", at=900), Fault("no ranges")],
        [Fault("wrong")],
        [Fault("slow")],
        [Fault("cut", at=500), Fault("wrong")],
    ],
    ids=["cuts", "5xx", "429", "no ranges", "wrong once", "slow", "cut and wrong"],
)
def test_every_fault_ends_with_the_right_bytes(hub, models, published, hub_name, faults):
    hub.faults[SHARD] = [Fault(**vars(fault)) for fault in faults]
    if faults[0].kind == "wrong" or faults[-1].kind == "wrong":
        with caught_warning():
            fetch(hub, models, hub=hub_name)
    else:
        fetch(hub, models, hub=hub_name)
    assert whole_files(place_of(models)) == published
    assert not hub.faults[SHARD]


@contextlib.contextmanager
def caught_warning():
    """The log tells of wrong bytes; here that is expected."""
    import logging

    logger = logging.getLogger("bilin_engine.jobs.download")
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


def test_a_cut_file_goes_on_where_it_was(hub, models):
    hub.faults[SHARD] = [Fault("cut", at=700)]
    fetch(hub, models)
    ranges = [asked.headers.get("Range") for asked in hub.asked_for(SHARD)]
    assert ranges == [None, "bytes=700-"]


def test_a_429_is_waited_out_as_long_as_it_asks():
    patience = Patience()
    assert patience.wait_s(1, 12.0) == 12.0
    assert patience.wait_s(1, 1e9) == 600.0
    assert [patience.wait_s(n, None) for n in (1, 2, 3, 20)] == [1.0, 2.0, 4.0, 60.0]


def test_retry_after_is_read_in_both_forms(hub):
    connection = Connection(hub.endpoint, {})
    try:
        for value in ("7", "Wed, 21 Oct 2100 07:28:00 GMT"):
            hub.faults["config.json"] = [
                Fault("status", status=429, headers={"Retry-After": value})
            ]
            url = f"{hub.storage}/blob/config.json"
            with pytest.raises(HubBusyError) as raised, connection.open(url, "config.json"):
                pass
            wait_s = raised.value.wait_s
            assert wait_s is not None
            assert wait_s == 7.0 or wait_s > 1e6
    finally:
        connection.close()


@pytest.mark.parametrize("change", ["etag", "content"])
def test_a_file_that_changed_meanwhile_is_begun_again(hub, models, published, change):
    hub.faults[SHARD] = [Fault("cut", at=700), Fault("status", status=404)]
    with pytest.raises(HubError, match="HTTP 404"):
        fetch(hub, models)
    part = place_of(models) / f"{SHARD}.part"
    assert part.stat().st_size == 700
    if change == "etag":
        hub.etags[SHARD] = "another"
    else:
        hub.files[SHARD] = published[SHARD][::-1]
    fetch(hub, models)
    assert whole_files(place_of(models))[SHARD] == hub.files[SHARD]
    asked = [a.headers.get("Range") for a in hub.asked_for(SHARD)]
    assert asked[-1] is None


def test_wrong_bytes_are_named_and_leave_nothing(hub, models):
    hub.faults[SHARD] = [Fault("wrong", times=99)]
    with caught_warning(), pytest.raises(HubError, match=f"{SHARD} arrives changed .* sha256"):
        fetch(hub, models)
    place = place_of(models)
    assert not (place / SHARD).exists()
    assert (place / f"{SHARD}.part").stat().st_size == 0


def test_wrong_bytes_of_a_small_file_are_found_by_gits_hash(hub, models):
    hub.small.add("generation_config.json")
    hub.files["generation_config.json"] = b'{"top_p": 0.7}'
    hub.faults["generation_config.json"] = [Fault("wrong", times=99)]
    with caught_warning(), pytest.raises(HubError, match="git's sha1"):
        fetch(hub, models)


def test_a_hub_that_stays_away_is_named_and_what_is_here_stays(hub, models, published):
    hub.faults[SHARD] = [Fault("cut", at=700), Fault("status", times=99, status=502)]
    with pytest.raises(HubBusyError, match=r"localhost is busy \(HTTP 502"):
        fetch(hub, models)
    assert (place_of(models) / f"{SHARD}.part").stat().st_size == 700
    hub.faults.clear()
    fetch(hub, models)
    assert whole_files(place_of(models)) == published
    assert [a.headers.get("Range") for a in hub.asked_for(SHARD)][-1] == "bytes=700-"


def test_an_address_where_nobody_is_is_named(hub, models):
    hub.close()
    with pytest.raises(HubBusyError, match=r"127\.0\.0\.1 cannot be reached"):
        fetch(hub, models)


def test_unreachable_storage_is_told_from_the_hub_that_sends_there(hub, models):
    hub.redirect_to = "http://localhost:9/blob/x"
    pattern = r"localhost, to which 127\.0\.0\.1 sends for .*, cannot be reached"
    with pytest.raises(HubBusyError, match=pattern):
        fetch(hub, models)


def test_a_pause_keeps_every_byte(hub, models, published):
    hub.faults[SHARD] = [Fault("slow", pause_s=0.02)]
    part = place_of(models) / f"{SHARD}.part"
    with pytest.raises(JobStopped):
        fetch(hub, models, stop=lambda _s: part.exists() and part.stat().st_size > 2000)
    size = part.stat().st_size
    assert size > 2000
    hub.faults.clear()
    fetch(hub, models)
    assert whole_files(place_of(models)) == published
    assert hub.asked_for(SHARD)[-1].headers["Range"] == f"bytes={size}-"


def test_whole_files_are_not_asked_for_again(hub, models):
    fetch(hub, models)
    hub.asked.clear()
    fetch(hub, models)
    assert not [a for a in hub.asked if "/blob/" in a.path]


def test_files_of_another_repository_are_not_taken_for_this_one(hub, models, published):
    fetch(hub, models)
    other = HubServer({**published, SHARD: published[SHARD][::-1]}, name="other/model")
    try:
        fetch(other, models)
    finally:
        other.close()
    assert whole_files(place_of(models))[SHARD] == published[SHARD][::-1]


# --- Disk -----------------------------------------------------------------------------------------


def test_too_little_room_is_said_before_the_first_byte(hub, models, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _p: shutil._ntuple_diskusage(9, 9, 1000))
    with pytest.raises(DiskFullError, match=r"need .* MB more\. Free some space"):
        fetch(hub, models)
    assert not [a for a in hub.asked if "/blob/" in a.path]


def test_a_gguf_is_not_fetched_where_its_model_would_have_no_room(models, monkeypatch):
    server = HubServer({"a-Q4_0.gguf": b"x" * 9000})
    for free, has_room in ((24_999, False), (25_000, True)):  # 9000, and a byte a value
        disk = shutil._ntuple_diskusage(10**6, 0, free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _p, disk=disk: disk)
        with contextlib.nullcontext() if has_room else pytest.raises(DiskFullError):
            fetch(server, models, file="a-Q4_0.gguf")
        assert bool([a for a in server.asked if "/blob/" in a.path]) == has_room
    server.close()


@pytest.mark.parametrize("model", ["glm-4-9b-0414", "glm-4-32b-0414"])
@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("glm-F16.gguf", "F16"),
        ("glm-q8_0-00001-of-00002.gguf", "Q8_0"),
        ("GLM.Q6_K.gguf", "Q6_K"),
        ("glm-Q5_K_M.gguf", "Q5_K"),
        ("glm-UD-Q4_K_XL.gguf", "Q4_K"),
        ("q5-by-f16.Q4_0.gguf", "Q4_0"),
        ("glm-4-9b.gguf", "Q4_0"),
    ],
)
def test_the_room_for_a_gguf_s_model_is_enough_and_not_twice_what_it_takes(model, name, type_):
    config = known_config(model, group_size=32)
    num_values, num_bytes = BLOCKS[type_]
    file = HubFile(name, config.num_parameters * num_bytes // num_values)
    takes = file_bytes(config)
    assert takes <= gguf_model_bytes([file]) < 2 * takes


def test_a_disk_that_fills_up_keeps_what_is_there(hub, models, published, monkeypatch):
    real, room = os.write, [30_000]
    lock = threading.Lock()

    def write(fd, data):
        with lock:
            if len(data) > room[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            room[0] -= len(data)
        return real(fd, data)

    monkeypatch.setattr(download_files.os, "write", write)
    with pytest.raises(OSError, match="No space left"):
        fetch(hub, models)
    monkeypatch.setattr(download_files.os, "write", real)
    assert not set(whole_files(place_of(models))) >= set(published)
    fetch(hub, models)
    assert whole_files(place_of(models)) == published


# --- Hostile hubs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("hub_name", HUBS)
@pytest.mark.parametrize(
    "path", ["../../out.safetensors", "/etc/passwd", "..", "a\\b", "a\nb", "a\ud800", "x/../y"]
)
def test_a_listing_that_leads_out_of_its_folder_is_refused(hub, models, hub_name, path):
    hub.extra = [{"type": "file", "path": path, "size": 1, "oid": ""}]
    with pytest.raises(HubError, match="no file of a repository; nothing was fetched"):
        fetch(hub, models, hub=hub_name)
    assert list(models.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["田中　模型", "../etc", "a/b/c", "a", "a/..", "-a/b", "a/b.", "a/b\n", "", "a/b?c", "🙂/x"],
)
def test_a_name_that_is_no_repository_is_a_sentence(hub, models, name):
    hub.name = name
    with pytest.raises(BadRequestError, match="write owner/name"):
        fetch(hub, models)
    assert not hub.asked


def test_links_in_the_way_are_never_written_through(hub, models, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    place = place_of(models)
    place.parent.mkdir(parents=True)
    place.symlink_to(outside)
    with pytest.raises(BilinError, match="is a link"):
        fetch(hub, models)
    place.unlink()
    place.mkdir()
    secret = tmp_path / "secret"
    secret.write_text("mine")
    (place / f"{SHARD}.part").symlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"):
        fetch(hub, models)
    assert secret.read_text() == "mine"
    assert list(outside.iterdir()) == []


def test_something_that_is_no_hub_is_a_sentence(hub, models):
    hub.files.clear()
    elsewhere = Repository(hub="hugging_face", name=hub.name, endpoint=hub.storage)
    work = DownloadModel(repository=elsewhere, folder=str(models / "x"))
    with pytest.raises(HubError, match="HTTP 404"):
        download_model(work, JobReporter(lambda _p: None, lambda: False), None, IMPATIENT)


def test_an_unencrypted_redirect_of_an_encrypted_hub_is_refused():
    import httpx2

    connection = Connection("https://hub.example", {})
    try:
        with pytest.raises(HubError, match="not encrypted"):
            connection._next(httpx2.URL("https://hub.example/x"), "http://cdn.example/x", "x")
    finally:
        connection.close()


# --- Proxies --------------------------------------------------------------------------------------


class SocksProxy(socketserver.ThreadingTCPServer):
    """SOCKS5 without passwords (RFC 1928) for one request a connection; `asked` has the hosts."""

    daemon_threads = True

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(257)
            self.request.sendall(b"\x05\x00")
            asked = self.request.recv(262)  # version, command, 0, kind of address, address, port
            host = socket.inet_ntoa(asked[4:8]) if asked[3] == 1 else asked[5:-2].decode()
            assert isinstance(self.server, SocksProxy)
            self.server.asked.append(host)
            port = int.from_bytes(asked[-2:], "big")
            with socket.create_connection(("127.0.0.1", port)) as there:
                self.request.sendall(b"\x05\x00\x00\x01" + bytes(6))
                there.sendall(self.request.recv(65536))
                while block := there.recv(65536):
                    self.request.sendall(block)

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.asked = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


def test_a_socks_proxy_of_the_environment_is_used(hub, monkeypatch):
    with SocksProxy() as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{proxy.server_address[1]}")
        connection = Connection(hub.endpoint, {})
        url = f"{hub.storage}/blob/config.json".replace("localhost", "hub.example")
        with connection.open(url, "config.json", {"Connection": "close"}) as answer:
            assert answer.response.read() == hub.files["config.json"]
        connection.close()
        proxy.shutdown()
    assert proxy.asked == ["hub.example"]


def test_what_is_no_socks_proxy_is_told_in_a_sentence():
    told = "the proxy does not let through to hub.example: Malformed reply"
    with pytest.raises(HubBusyError, match=told), _told("hub.example", "x", ["hub.example"]):
        raise socksio.ProtocolError("Malformed reply")  # httpx2 lets it through


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        (
            {"https_proxy": "http://127.0.0.1:1", "all_proxy": "socks://me:secret@127.0.0.1:2"},
            r'"all_proxy=socks://127.0.0.1:2" is none; .* written socks5://host:port',
        ),
        ({"HTTPS_PROXY": "ftp://127.0.0.1:1"}, '"HTTPS_PROXY=ftp://127.0.0.1:1" is none'),
    ],
)
def test_a_proxy_of_the_environment_that_is_none_is_named(monkeypatch, variables, told):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadRequestError, match=told) as raised:
        Connection("https://hub.example", {})
    assert "secret" not in str(raised.value)


def test_a_socks_proxy_without_socksio_is_named_with_what_to_install(monkeypatch):
    importlib.import_module("httpcore2")  # now: without socksio it would never know SOCKS again
    monkeypatch.setitem(sys.modules, "socksio", None)
    for name in [name for name in sys.modules if name.startswith("httpcore2._sync.socks")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    told = '"ALL_PROXY=socks5://127.0.0.1:1" needs socksio: pip install socksio'
    with pytest.raises(BadRequestError, match=told):
        Connection("https://hub.example", {})


# --- Tokens ---------------------------------------------------------------------------------------


def test_a_token_goes_to_the_hub_and_never_to_its_storage(hub, models, tmp_path):
    hub.needs_token = "hf_secret"
    file = tmp_path / "config" / "tokens.json"
    with pytest.raises(HubError, match="Enter a token"):
        fetch(hub, models, tokens=file)
    TokenFile(file).keep("hugging_face", hub.endpoint, " hf_secret\n", {})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    hub.asked.clear()
    fetch(hub, models, tokens=file)
    at_storage = [a for a in hub.asked if "/blob/" in a.path]
    assert at_storage
    assert not [a for a in at_storage if "Authorization" in a.headers or "Cookie" in a.headers]
    written = [p for p in models.rglob("*") if p.is_file() and b"hf_secret" in p.read_bytes()]
    assert written == []


def test_modelscopes_token_travels_as_its_cookie(hub, models, tmp_path):
    file = tmp_path / "tokens.json"
    TokenFile(file).keep("modelscope", hub.endpoint, "ms-1", {})
    fetch(hub, models, hub="modelscope", tokens=file)
    at_hub = [a for a in hub.asked if "/api/v1/" in a.path]
    assert {a.headers.get("Cookie") for a in at_hub} == {"m_session_id=ms-1"}
    assert not [a for a in hub.asked if "/blob/" in a.path and "Cookie" in a.headers]


def test_the_environments_token_is_for_the_environments_hub(tmp_path):
    tokens, own = TokenFile(tmp_path / "tokens.json"), {"HF_TOKEN": "t"}
    assert tokens.find("hugging_face", "", own) == "t"
    assert tokens.find("hugging_face", "https://huggingface.co", own) == "t"
    assert tokens.find("hugging_face", "https://mirror.example", own) == ""
    mirror = {**own, "HF_ENDPOINT": "https://mirror.example/"}
    assert tokens.find("hugging_face", "", mirror) == "t"
    assert tokens.find("modelscope", "", own) == ""


def test_a_token_is_not_sent_in_the_clear_to_another_machine():
    for endpoint, is_sent in (
        ("http://hub.example", False), ("https://hub.example", True), ("http://127.0.0.1:1", True),
    ):  # fmt: skip
        connection = Connection(endpoint, {"Authorization": "Bearer t"})
        assert connection.has_secret is is_sent
        connection.close()


def test_a_forgotten_token_is_gone(tmp_path):
    tokens = TokenFile(tmp_path / "tokens.json")
    tokens.keep("hugging_face", "", "t", {})
    tokens.keep("hugging_face", "", "", {})
    assert tokens.find("hugging_face", "", {}) == ""
    assert (tmp_path / "tokens.json").read_text() == "{}"
    with pytest.raises(BadRequestError, match="one word"):
        tokens.keep("hugging_face", "", "two words", {})


# --- Before a download ----------------------------------------------------------------------------


def inspect(server, hub: Hub = "hugging_face", file=""):
    asked = repository(server, hub)
    with open_repository(asked, environment={}) as source:
        return inspect_repository(source, asked, file)


@pytest.mark.parametrize("hub_name", HUBS)
def test_a_repository_is_told_before_it_is_fetched(hub, published, hub_name):
    hub.files["README.md"] = b"#"
    found = inspect(hub, hub_name)
    assert {file.name: file.size_bytes for file in found.files} == {
        name: len(content) for name, content in published.items()
    }
    assert (found.licence, found.family, found.problem) == ("mit", "glm4", "")
    assert found.hosts == ("127.0.0.1", "localhost")
    assert set(found.needed_bytes) == {"32", "row"}  # 64 and 128 do not divide its rows
    assert (found.num_others, found.is_ready) == (1, False)


def test_an_architecture_that_is_not_known_is_said_before(hub):
    hub.files["config.json"] = json.dumps({"model_type": "glm4_moe"}).encode()
    found = inspect(hub)
    assert 'model_type "glm4_moe" is not one Bilin runs' in found.problem
    assert found.files


def test_gguf_files_are_offered_to_choose_from(models):
    server = HubServer({"a-Q4_0.gguf": b"x" * 50, "田中-Q8_0.gguf": b"y" * 70, "README.md": b""})
    try:
        found = inspect(server)
        assert [file.name for file in found.gguf_files] == ["a-Q4_0.gguf", "田中-Q8_0.gguf"]
        assert "choose one of them" in found.problem
        assert found.needed_bytes == {}
        assert inspect(server, file="a-Q4_0.gguf").needed_bytes == {"": 89}
        assert [file.name for file in inspect(server, file="田中-Q8_0.gguf").files] == [
            "田中-Q8_0.gguf"
        ]
        done, _ = fetch(server, models, file="田中-Q8_0.gguf")
    finally:
        server.close()
    assert done.then is not None
    assert done.then.source == str(place_of(models) / "田中-Q8_0.gguf")
    assert whole_files(place_of(models)) == {"田中-Q8_0.gguf": b"y" * 70}


def test_the_parts_of_one_gguf_model_are_fetched_together():
    names = [f"q4-{n:05d}-of-00002.gguf" for n in (1, 2)]
    server = HubServer(dict.fromkeys((*names, "q8.gguf"), b"x" * 9))
    try:
        found = inspect(server)
        assert [file.name for file in found.gguf_files] == [names[0], "q8.gguf"]
        assert [file.name for file in inspect(server, file=names[0]).files] == names
        del server.files[names[1]]
        assert f"{names[1]} is missing" in inspect(server, file=names[0]).problem
    finally:
        server.close()
