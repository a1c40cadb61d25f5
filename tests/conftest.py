"""What several tests share: a real browser, and the page served as a visitor gets it."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.helpers import tiny_stylegan2
from tests.hub import FakeHub

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM_OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")
torch.set_num_threads(1)  # tiny models only wait for their threads to meet


def missing(reason: str) -> None:
    """Skips on a visitor's machine; in CI whatever a test needs must be there."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI must have it")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser():
    """Debian's or another installed chromium, through playwright."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        missing("no chromium is installed (on Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


class Server:
    """`python app.py` in a process of its own, on a free port."""

    def __init__(self, **environment: str):
        self.started = time.monotonic()
        self.output: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-u", "app.py"],
            cwd=ROOT,
            env={**os.environ, "GRADIO_SERVER_PORT": str(free_port()), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        ready = threading.Event()
        threading.Thread(target=self._read, args=[ready], daemon=True).start()
        if not ready.wait(120) or self.url is None:
            self.stop()
            raise RuntimeError("the page was not served:\n" + "".join(self.output))

    url: str | None = None

    def _read(self, ready: threading.Event) -> None:
        for line in self.process.stdout:
            self.output.append(line)
            if match := re.search(r"(http://[\w.:]+)", line):
                self.url = self.url or match[1]
                self.ready = time.monotonic()
                ready.set()
        ready.set()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def free_port() -> int:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="session")
def server():
    """The page with the embedded model only, offline."""
    server = Server(HF_HUB_OFFLINE="1", SEFA_MODELS="", SEFA_DEVICE="cpu")
    # What is served, whatever becomes of the file meanwhile: it may be in training.
    server.weights = (ROOT / "demo_model/avatars.safetensors").read_bytes()
    yield server
    server.stop()


OWNED = {  # repository -> what tiny_stylegan2 makes of it; each holds one model.safetensors
    "user/plain": {},
    "user/classes": {"label_dim": 3},
    "user/grey": {"num_channels": 1},
    # A gallery of it takes longer than engine.LIVE_SECONDS on most machines.
    "user/slow": {"resolution": 128, "channels": (64, 64, 48, 48, 32, 32)},
    "user/secret": {},
}


@pytest.fixture(scope="session")
def owned(tmp_path_factory):
    """(the page of somebody who duplicated the Space with models of their own, the Hub they are on).

    One model is private, and one entry of SEFA_MODELS is nonsense.
    """
    folder = tmp_path_factory.mktemp("owned")
    repos = {}
    for i, (repo, sizes) in enumerate(OWNED.items()):
        content = tiny_stylegan2(folder / "model.safetensors", seed=i, **sizes).read_bytes()
        repos[repo] = {"files": {"model.safetensors": content}, "private": "secret" in repo}
    with FakeHub(repos) as hub:
        server = Server(
            HF_ENDPOINT=hub.url,
            HF_HUB_CACHE=str(folder / "cache"),
            HF_TOKEN_PATH=str(folder / "no-token"),
            HF_TOKEN="",
            HF_HUB_OFFLINE="",
            NO_PROXY="127.0.0.1",
            SEFA_DEVICE="cpu",
            SEFA_MODELS=",".join(["nonsense", *(f"{repo}/model.safetensors" for repo in OWNED)]),
        )
        yield server, hub
        server.stop()
