"""Both hubs' protocols on 127.0.0.1, and the faults that the real ones and the way to them have.

Storage has a port of its own, as the hubs' has hosts of its own. Every request is remembered.
"""

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

COMMIT = "c0ffee" * 6 + "beef"
PAGE = 1000


@dataclass
class Fault:
    """What goes wrong with a file, `times` times. kind: cut, status, wrong, no ranges, slow."""

    kind: str
    times: int = 1
    at: int = 0  # bytes sent before a cut
    pause_s: float = 0.001  # after each thousand bytes
    status: int = 503
    headers: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    port: int
    path: str
    headers: dict


class HubServer:
    """Serves `files` (name -> bytes) as owner/name on both hubs. Change it between requests."""

    def __init__(self, files, *, name="owner/模型-1", small=()) -> None:
        self.files = dict(files)
        self.name = name
        self.small = set(small)  # files that are no LFS objects
        self.extra = []  # entries of the listing as they are
        self.licence = "mit"
        self.faults: dict[str, list[Fault]] = {}
        self.asked: list[Asked] = []
        self.etags: dict[str, str] = {}
        self.redirect_to = ""  # instead of the storage
        self.needs_token = ""
        self.lists_changed_hash = False
        self._lock = threading.Lock()
        self._servers = [self._serve(self._hub), self._serve(self._storage)]

    def _serve(self, answer):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                port = self.connection.getsockname()[1]
                outer.asked.append(Asked(port, self.path, dict(self.headers.items())))
                try:
                    answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, format, *args):
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                pass  # a client that goes away is what many tests are about

        server = Server(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        return server

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def storage(self) -> str:
        return f"http://localhost:{self._servers[1].server_port}"

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def asked_for(self, name: str) -> list[Asked]:
        """Requests to the storage, or to the hub for small files, for one file."""
        return [a for a in self.asked if a.path.endswith(f"/blob/{quote(name)}")]

    # --- The hub ----------------------------------------------------------------------------------

    def _hub(self, request) -> None:
        url = urlsplit(request.path)
        path, query = unquote(url.path), parse_qs(url.query)
        sent = request.headers.get("Authorization", "")
        if self.needs_token and sent != f"Bearer {self.needs_token}":
            self._json(request, {"error": "gated"}, 401)
            return
        hf, ms = f"/api/models/{self.name}", f"/api/v1/models/{self.name}"
        if path == f"{hf}/revision/main":
            card = {"sha": COMMIT, "cardData": {"license": self.licence}}
            self._json(request, card)
        elif path == f"{hf}/tree/{COMMIT}":
            self._tree(request, int(query.get("cursor", ["0"])[0]))
        elif path.startswith(f"/{self.name}/resolve/{COMMIT}/"):
            self._resolve(request, path.rpartition("/")[2])
        elif path == ms:
            self._json(request, {"Success": True, "Data": {"License": self.licence}})
        elif path == f"{ms}/repo/files":
            self._json(request, {"Success": True, "Data": {"Files": self._modelscope_entries()}})
        elif path == f"{ms}/repo":
            self._resolve(request, query["FilePath"][0])
        else:
            self._json(request, {"error": "not found"}, 404)

    def _tree(self, request, start) -> None:
        entries = [self._hugging_face_entry(name) for name in sorted(self.files)] + self.extra
        page = entries[start : start + PAGE]
        headers = {}
        if start + PAGE < len(entries):
            following = f"{self.endpoint}{urlsplit(request.path).path}?cursor={start + PAGE}"
            headers["Link"] = f'<{following}>; rel="next"'
        self._json(request, page, 200, headers)

    def _hugging_face_entry(self, name):
        content = self.files[name]
        blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        entry = {"type": "file", "path": name, "size": len(content), "oid": blob}
        if name not in self.small:
            entry["lfs"] = {"oid": self._sha256(name), "size": len(content), "pointerSize": 134}
        return entry

    def _modelscope_entries(self):
        own = [
            {"Path": name, "Name": name, "Type": "blob", "Size": len(self.files[name]),
             "Sha256": self._sha256(name)}
            for name in sorted(self.files)
        ]  # fmt: skip
        keys = {"Path": "path", "Type": "type", "Size": "size"}
        return own + [{key: e.get(name, 0) for key, name in keys.items()} for e in self.extra]

    def _sha256(self, name) -> str:
        return hashlib.sha256(self.files[name]).hexdigest()

    def _resolve(self, request, name) -> None:
        if name in self.small:
            self._send_file(request, name)
            return
        target = self.redirect_to or f"{self.storage}/blob/{quote(name)}"
        headers = {"Location": target, "X-Repo-Commit": COMMIT}
        request.send_response(302)
        for key, value in {**headers, "Content-Length": "0"}.items():
            request.send_header(key, value)
        request.end_headers()

    # --- The storage ------------------------------------------------------------------------------

    def _storage(self, request) -> None:
        name = unquote(request.path.rpartition("/")[2])
        if name in self.files:
            self._send_file(request, name)
        else:
            self._json(request, {}, 404)

    def _send_file(self, request, name) -> None:
        content, etag = self.files[name], self.etags.get(name, "e1")
        fault = self._fault(name)
        if fault is not None and fault.kind == "status":
            self._json(request, {}, fault.status, fault.headers)
            return
        if fault is not None and fault.kind == "wrong":
            content = content[:-1] + bytes([content[-1] ^ 1])
        asked = request.headers.get("Range", "")
        start = 0
        if asked and not (fault is not None and fault.kind == "no ranges"):
            start = int(asked.removeprefix("bytes=").partition("-")[0])
        body = content[start:]
        if asked and start >= len(content) > 0:
            self._json(request, {}, 416)
            return
        request.send_response(206 if start else 200)
        request.send_header("ETag", f'"{etag}"')
        request.send_header("Content-Length", str(len(body)))
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        if fault is not None and fault.kind == "cut":
            request.wfile.write(body[: fault.at])
            request.wfile.flush()
            request.close_connection = True
            request.connection.shutdown(2)
        elif fault is not None and fault.kind == "slow":
            for index in range(0, len(body), 1000):
                request.wfile.write(body[index : index + 1000])
                time.sleep(fault.pause_s)
        else:
            request.wfile.write(body)

    def _fault(self, name) -> Fault | None:
        with self._lock:
            waiting = self.faults.get(name, [])
            if not waiting:
                return None
            fault = waiting[0]
            fault.times -= 1
            if fault.times <= 0:
                waiting.pop(0)
            return fault

    def _json(self, request, value, status=200, headers=None) -> None:
        content = json.dumps(value).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        for key, text in (headers or {}).items():
            request.send_header(key, text)
        request.end_headers()
        request.wfile.write(content)
