"""The page "About": what was looked at and why; nothing of it downloads, loads, waits or tells too much."""

import json
import os
import socket
from pathlib import Path

import pytest
import torch

import checkpoints
from sefa.errors import UserError
from tests.helpers import is_one_sentence, tiny_stylegan2
from tests.hub import FakeHub
from tests.pages import Page
from ui import about, engine, measuring, settings
from ui.about import SIGNS, Check, about_html, without_paths
from ui.web import asset

NAMES = {"version": 1, "labels": [], "seeds": []}
REPOS = ("mine", "broken", "secret", "gated")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    content = tiny_stylegan2(tmp_path / "model.safetensors").read_bytes()
    repos = {f"user/{name}": {"files": {"model.safetensors": content}} for name in REPOS}
    repos["user/broken"]["files"] = {"model.safetensors": b"not a checkpoint"}
    repos["user/secret"]["private"] = repos["user/gated"]["gated"] = True
    with FakeHub(repos) as hub:
        hub.use(monkeypatch, tmp_path)
        entries = [f"user/{name}/model.safetensors" for name in REPOS]
        monkeypatch.setenv("SEFA_MODELS", " ".join([*entries, "nonsense"]))
        monkeypatch.setattr(engine, "_opened", {})
        monkeypatch.setattr(engine, "_news", type(engine._news)())
        yield hub


def checked(**environ) -> dict[str, Check]:
    """What is found of this environment, by what it is about."""
    environ = {**{k: v for k, v in os.environ.items() if k.startswith("SEFA_")}, **environ}
    found = about.checks(settings.settings(environ), environ)
    assert all(check.state in SIGNS for check in found)
    assert len({check.what for check in found}) >= 8
    return {check.what: check for check in found}


def test_a_model_is_not_tried_then_loaded_then_found(hub, monkeypatch):
    what = "Model user/mine/model.safetensors"
    assert checked()[what].state == "not tried"
    engine.open_model("user/mine/model.safetensors")
    commit = hub.repos["user/mine"]["refs"]["main"]
    requests = len(hub.requests)
    found = checked()[what]
    assert found.state == "loaded"
    assert found.why == f"stylegan2, 16 px, 6 layers at commit {commit[:8]}."
    monkeypatch.setattr(engine, "_news", type(engine._news)())  # the Space has restarted
    found = checked()[what]
    assert (found.state, found.why) == (
        "found",
        f"In the cache at commit {commit[:8]}, not opened yet.",
    )
    assert len(hub.requests) == requests
    assert checked()["Model avatars"].why == "It ships with this Space, not opened yet."


@pytest.mark.parametrize(
    ("name", "says"),
    [("secret", "set HF_TOKEN"), ("gated", "is gated: accept its terms"), ("broken", ".")],
)
def test_why_a_model_did_not_open(hub, name, says):
    name = f"user/{name}/model.safetensors"
    with pytest.raises(UserError) as raised:
        engine.open_model(name)
    found = checked()[f"Model {name}"]
    assert (found.state, found.why) == ("refused", str(raised.value))
    assert says in found.why and is_one_sentence(found.why)


def test_what_went_wrong_once_is_forgotten_when_it_works(hub):
    name = "user/mine/model.safetensors"
    hub.status = 500
    with pytest.raises(UserError):
        engine.open_model(name)
    assert checked()[f"Model {name}"].state == "refused"
    hub.status = None
    engine.open_model(name)
    assert checked()[f"Model {name}"].state == "loaded"


def test_news_are_bounded(hub):
    for i in range(2 * engine.MAX_NEWS):
        engine.note_news(f"model {i}", engine.News("x"))
    assert len(engine._news) == engine.MAX_NEWS
    assert engine.news_of("model 0") is None and engine.news_of(f"model {2 * engine.MAX_NEWS - 1}")


def test_entries_and_variables(hub):
    found = checked(SEFA_TITLE="x" * 999, SEFA_DESCRIPTION="Ours.", SEFA_RECIPE="hello")
    assert "'nonsense' is left out" in found["SEFA_MODELS"].why
    states = {name: found[f"SEFA_{name}"].state for name in ("TITLE", "DESCRIPTION", "RECIPE")}
    assert states == {"TITLE": "refused", "DESCRIPTION": "set", "RECIPE": "refused"}
    assert "longer than 120" in found["SEFA_TITLE"].why
    found = checked(SEFA_MODELS="")
    assert found["SEFA_MODELS"].state == found["SEFA_TITLE"].state == "not set"
    assert found["HF_TOKEN"].state == "not set"
    found = checked(HF_TOKEN="hf_secretsecretsecret")
    assert found["HF_TOKEN"].state == "set" and "secretsecret" not in str(found)


def test_files_of_names_and_the_models_they_fit(hub, tmp_path, monkeypatch):
    folder = tmp_path / "my names"
    folder.mkdir()
    model = engine.open_model("user/mine/model.safetensors")
    weights = checkpoints.weights_hash(model.path)
    (folder / "a.json").write_text(json.dumps(NAMES | {"weights": weights}))
    (folder / "b.json").write_text(json.dumps(NAMES | {"weights": "0" * 64}))
    (folder / "c.json").write_text("{")
    (folder / "d.json").write_text(json.dumps(NAMES | {"weights": weights, "labels": [1]}))
    found = checked(SEFA_NAMES=f"{folder}:nowhere")
    states = {what: check.state for what, check in found.items() if "names" in what.lower()}
    assert states == {
        "SEFA_NAMES": "missing",
        "Names my names/a.json": "found",
        "Names my names/b.json": "not tried",
        "Names my names/c.json": "refused",
        "Names my names/d.json": "found",
    }
    fits = found["Names my names/a.json"].why
    assert "user/mine/model.safetensors" in fits and "secret" not in fits
    assert "begins with 000000000000" in found["Names my names/b.json"].why
    (folder / "a.json").unlink()
    checkpoints.load_labels(
        "avatars", model.path, model.loaded.generator, {"SEFA_NAMES": str(folder)}
    )
    assert checked(SEFA_NAMES=str(folder))["Names my names/d.json"].state == "refused"


def test_the_device_and_the_versions(monkeypatch):
    monkeypatch.setattr(about, "default_device", lambda: torch.device("cpu"))
    found = checked()
    assert "on the CPU (" in found["Device"].why and "float32" in found["Device"].why
    assert f"torch {torch.__version__}" in found["Versions"].why
    monkeypatch.setattr(about, "default_device", lambda: torch.device("cuda"))
    assert "on the GPU (cuda)" in checked()["Device"].why
    monkeypatch.setattr(engine, "ON_ZERO_GPU", True)
    assert "ZeroGPU" in checked()["Device"].why


def test_whether_measurements_are_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("SEFA_MEASURE_SECONDS", raising=False)
    monkeypatch.setenv("SEFA_CACHE", str(tmp_path / "not/yet/there"))
    assert checked()["Measurements"].state == "found"
    assert not (tmp_path / "not").exists()  # looking writes nothing
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEFA_CACHE", str(tmp_path / "file/below"))
    assert checked()["Measurements"].state == "refused"
    monkeypatch.setenv("SEFA_CACHE", str(tmp_path))
    monkeypatch.setenv("SEFA_MEASURE_SECONDS", "0")
    assert measuring.seconds() == 0 and checked()["Measurements"].state == "not set"


def test_looking_asks_nobody_and_loads_nothing(hub, monkeypatch):
    engine.open_model("user/mine/model.safetensors")
    requests = len(hub.requests)

    def never(*arguments, **keywords):
        raise AssertionError("the page about this Space does something")

    monkeypatch.setattr(socket.socket, "connect", never)
    monkeypatch.setattr(engine.MODELS, "get", never)
    monkeypatch.setattr(checkpoints, "_sha256", never)
    assert about_html(list(checked().values()))
    assert len(hub.requests) == requests


def test_no_folder_of_this_machine_is_told(hub, tmp_path, monkeypatch):
    (tmp_path / "hub-cache").write_text("")  # where the cache should be: nothing can be saved
    with pytest.raises(UserError) as raised:
        engine.open_model("user/mine/model.safetensors")
    assert str(tmp_path) in str(raised.value)
    page = about_html(list(checked(SEFA_NAMES="nowhere:~/names:/somewhere/else").values()))
    for told in ("/somewhere", "~/"):
        assert told not in page
    assert "&#x27;…/else&#x27;" in page
    for place in (tmp_path, checkpoints.HERE, Path.home()):
        assert str(place) not in page
    assert without_paths(f"{checkpoints.HERE}/x is gone") == "this folder/x is gone"


def test_the_page_can_be_read_by_everybody(hub):
    found = [*checked().values(), Check("<img src=x onerror=alert(1)>", "refused", "</td><b>")]
    model = checkpoints.Model("<i>", "user/repo", "a.pth", licence="<script>", note="<u>")
    page = Page(about_html(found, [model, *checkpoints.CATALOGUE.values()]))
    tags = [tag for tag, _ in page.elements]
    assert not {"img", "script", "b", "i", "u"} & set(tags)
    assert tags.count("caption") == tags.count("thead") == 2  # and a table of keys
    headers = [attributes for tag, attributes in page.elements if tag == "th"]
    assert all(attributes["scope"] in ("row", "col") for attributes in headers)
    keys = asset("keys.html").count("<tr>")
    assert len(headers) == keys + 3 + len(found) + 4 + 1 + len(checkpoints.CATALOGUE)
    for check in found:  # as text, not by a sign or colour alone
        assert f"</span> {check.state}</td>" in page.text
    links = [attributes for tag, attributes in page.elements if tag == "a"]
    assert all(link["href"].startswith("https://") for link in links)
    assert any("arxiv.org/abs/2007.06600" in link["href"] for link in links)
    assert "shen2021closedform" in page.text and "no licence shown" in page.text
    levels = [int(tag[1]) for tag in tags if tag in ("h1", "h2", "h3")]
    assert set(levels) == {2}  # below the page's own heading
