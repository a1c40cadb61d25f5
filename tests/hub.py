"""A local stand-in for the Hugging Face Hub: its download protocol over plain HTTP, not Xet.

    with FakeHub({"user/repo": {"files": {"model.pth": b"..."}}}) as hub:
        hub.use(monkeypatch, tmp_path)  # HF_ENDPOINT, an empty cache, no token
        ...
        assert hub.requests == [("HEAD", "/user/repo/resolve/main/model.pth"), ...]

A repository is {"files": {name: bytes}}, and where wanted "commit" (40 hex digits), "refs"
({branch or tag: commit}), "private": True or "gated": True, both opened by a token of `tokens`.
Faults are attributes of the server, in force as soon as they are set: see `__init__`.
"""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

CHUNK = 1 << 16


class FakeHub:
    """Serves `repos` on 127.0.0.1 at `url` while the `with` block runs."""

    def __init__(self, repos: dict[str, dict], tokens: tuple[str, ...] = ()):
        self.repos = repos
        self.tokens = tokens  # those that are valid; they may read everything
        self.requests: list[tuple[str, str]] = []  # (method, path) as they came
        self.status: int | None = None  # answer everything with this error
        self.download_status: int | None = None  # answer GETs of files with this error
        self.delay = 0.0  # seconds before every answer
        self.drop_after: int | None = None  # close the connection after so many bytes of a file
        self.drops = 10**9  # how often `drop_after` applies
        self.pause = 0.0  # seconds before every CHUNK of a file
        self.short = 0  # bytes missing from the end of a file, with a Content-Length to match
        self.corrupt = False  # flip the bits of a file's first byte
        self.headers = (
            True  # False: answer as some other server, without the Hub's headers and JSON
        )
        self.history: dict[str, dict[str, dict[str, bytes]]] = {}  # repo -> commit -> files
        for repo, content in repos.items():
            self.push(repo, content["files"], content.get("commit"))
        self._stopped = threading.Event()

    def push(self, repo: str, files: dict[str, bytes], commit: str | None = None) -> str:
        """A new commit on the main branch of `repo`; returns its sha."""
        digest = hashlib.sha1(repr(sorted(files.items())).encode())
        commit = commit or digest.hexdigest()
        assert re.fullmatch(r"[0-9a-f]{40}", commit), commit
        self.history.setdefault(repo, {})[commit] = dict(files)
        self.repos[repo].setdefault("refs", {})["main"] = commit
        return commit

    def use(self, monkeypatch, folder) -> None:
        """Makes this process's huggingface_hub talk to this server, with a cache in `folder`."""
        monkeypatch.setenv("HF_ENDPOINT", self.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub-cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "SEFA_MODELS", "HF_HUB_ETAG_TIMEOUT"):
            monkeypatch.delenv(name, raising=False)
        # Read from the environment at import: a developer's own login must not leak in here.
        constants = "huggingface_hub.constants."
        monkeypatch.setattr(constants + "HF_TOKEN_PATH", str(folder / "no-token"))
        monkeypatch.setattr(constants + "HF_HUB_OFFLINE", False)

    def environment(self, folder) -> dict[str, str]:
        """The same for a process of its own, on top of whatever this one has: nobody's login."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HUB_CACHE": str(folder / "cache"),
            "HF_TOKEN_PATH": str(folder / "no-token"),
            "HF_TOKEN": "",
            "HF_HUB_OFFLINE": "",
            "NO_PROXY": "127.0.0.1",
        }

    def __enter__(self):
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self.stop()

    def stop(self) -> None:
        """From now on connections are refused. Safe to call twice."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: FakeHub

    def handle_error(self, request, client_address) -> None:
        pass  # a client that gave up waiting


class _Handler(BaseHTTPRequestHandler):
    # HTTP/1.0: one connection a request, so that none outlives the server.
    protocol_version = "HTTP/1.0"

    def log_message(self, *args) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, path))
        if hub.delay:
            hub._stopped.wait(hub.delay)
        if hub.status:
            return self.refuse(hub.status)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in hub.tokens:
            return self.refuse(401, message="Invalid credentials in Authorization header")

        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/(.+)", path):
            wanted = "file"
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/(.+)", path):
            wanted = "tree"
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            wanted = "info"
        else:
            return self.refuse(404)

        name, rest = match[1], match[2] or "main"
        if name not in hub.repos or (hub.repos[name].get("private") and not token):
            # The Hub tells a stranger the same of a private repository and of a missing one.
            return self.refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        commits, refs = hub.history[name], hub.repos[name]["refs"]
        # Branches may hold slashes: the longest known revision that `rest` begins with.
        known = sorted({**refs, **{commit: commit for commit in commits}}, key=len, reverse=True)
        revision = next((r for r in known if f"{rest}/".startswith(f"{r}/")), None)
        if revision is None:
            return self.refuse(404, "RevisionNotFound", "Invalid rev id")
        commit = refs.get(revision, revision)
        files = commits[commit]

        if wanted == "info":
            siblings = [{"rfilename": file} for file in files]
            return self.send_json({"id": name, "sha": commit, "siblings": siblings})
        if wanted == "tree":
            tree = [{"type": "file", "path": f, "size": len(files[f]), "oid": "0"} for f in files]
            return self.send_json(tree)
        if hub.repos[name].get("gated") and not token:
            return self.refuse(401, "GatedRepo", "Access to this model is restricted")
        file = rest[len(revision) + 1 :]
        if file not in files:
            return self.refuse(404, "EntryNotFound", "Entry not found", commit)
        self.send_file(files[file], commit)

    def send_file(self, content: bytes, commit: str) -> None:
        hub, is_get = self.server.hub, self.command == "GET"
        if is_get and hub.download_status:
            return self.refuse(hub.download_status)
        etag, size = hashlib.sha256(content).hexdigest(), len(content)
        if is_get and hub.corrupt:
            content = bytes([content[0] ^ 255]) + content[1:]
        if is_get and hub.short:
            content = content[: -hub.short]
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(start[1]) if start else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if hub.headers:
            self.send_header("ETag", f'"{etag}"')
            self.send_header("X-Repo-Commit", commit)
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if not is_get:
            return
        body = content[start:]
        if hub.drop_after is not None and hub.drops > 0:
            hub.drops -= 1
            body = body[: hub.drop_after]
        for i in range(0, len(body), CHUNK):
            hub._stopped.wait(hub.pause)
            self.wfile.write(body[i : i + CHUNK])

    def send_json(self, value: object) -> None:
        body = json.dumps(value).encode() if self.server.hub.headers else b"<html>"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def refuse(self, status: int, code: str = "", message: str = "", commit: str = "") -> None:
        self.send_response(status)
        for header, value in (
            ("X-Error-Code", code),
            ("X-Error-Message", message),
            ("X-Repo-Commit", commit),
            ("Content-Length", "0"),
        ):
            if value:
                self.send_header(header, value)
        self.end_headers()
