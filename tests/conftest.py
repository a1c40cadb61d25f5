"""What several tests share: a real browser, and the page served as a visitor gets it."""

import atexit
import os
import shutil
import tempfile

import pytest
import torch
from hypothesis import settings

from sefa.editing import Recipe
from tests.helpers import tiny_stylegan2
from tests.hub import FakeHub
from tests.serving import CHROMIUM_OPTIONS, ROOT, Server
from tests.visitor import Visitor
from ui import engine
from ui.controls import first_look

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")
os.environ["SEFA_CACHE"] = tempfile.mkdtemp(prefix="sefa-tests-")  # never what a person measured
atexit.register(shutil.rmtree, os.environ["SEFA_CACHE"], ignore_errors=True)
torch.set_num_threads(1)  # tiny models only wait for their threads to meet


def pytest_collection_modifyitems(items):
    """Marks as slow whatever needs the page served, or a browser; other tests say so themselves."""
    for item in items:
        if {"server", "owned", "browser"} & set(item.fixturenames):
            item.add_marker("slow")


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


@pytest.fixture(scope="session")
def server():
    """The page with the embedded model only, offline."""
    server = Server(HF_HUB_OFFLINE="1", SEFA_MODELS="", SEFA_DEVICE="cpu", SEFA_MEASURE_SECONDS="0")
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
            **hub.environment(folder),
            SEFA_DEVICE="cpu",
            SEFA_CACHE=str(folder / "measurements"),
            SEFA_MEASURE_SECONDS="0",
            SEFA_MODELS=",".join(["nonsense", *(f"{repo}/model.safetensors" for repo in OWNED)]),
        )
        yield server, hub
        server.stop()


@pytest.fixture(scope="session")
def contexts(browser):
    """[desktop, phone]: shared, so that Gradio's own scripts come from the browser's cache."""
    desktop = browser.new_context(viewport={"width": 1280, "height": 800})
    phone = browser.new_context(
        viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True
    )
    for context in (desktop, phone):
        context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield [desktop, phone]
    for context in (desktop, phone):
        context.close()


@pytest.fixture
def visit(contexts):
    """Opens pages; whatever the test does on them, none may show an error or leave the server."""
    visitors = []

    def visit(url, *arguments, phone=False, **keywords):
        visitors.append(Visitor(contexts[phone], url, *arguments, **keywords))
        return visitors[-1]

    yield visit
    for visitor in visitors:
        visitor.page.close()
    assert [visitor.problems for visitor in visitors] == [[]] * len(visitors)


@pytest.fixture(scope="session")
def start() -> Recipe:
    """What the page shows first, by the names and seeds that ship with the model."""
    return first_look(engine.open_model("avatars"))
