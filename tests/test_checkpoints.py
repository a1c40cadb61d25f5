"""Names, sources and downloads, against a stand-in for the Hub: over plain HTTP, not Xet."""

import errno
import hashlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import checkpoints
import sefa
from checkpoints import CATALOGUE, Model, available, fetch, load, owner_models, resolve_name
from sefa.errors import UserError
from sefa.generators import FAMILIES
from tests.helpers import tiny_stylegan2
from tests.hub import FakeHub

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = hashlib.sha256(b"weights").digest() * 40_000  # 1.28 MB: many pieces

HOSTILE = [
    "",
    " ",
    ".",
    "..",
    "/etc/passwd",
    "../../etc/passwd",
    "./demo_model/avatars.safetensors",
    "demo_model/avatars.safetensors",
    "file:///etc/passwd",
    "https://huggingface.co/user/repo/resolve/main/model.pth",
    "http://127.0.0.1:1/x",
    "user/repo",
    "user/repo/model.pth@main",
    "user/repo;rm",
    "user/repo/$(id).pth",
    "avatars\0",
    "avatars\n",
    "avatars/../x",
    "AVATARS",
    "__class__",
    "<img src=x onerror=alert(1)>",
    "x" * 1_000_000,
    "/" * 5_000,
    None,
    0,
    True,
    1.5,
    b"avatars",
    ["avatars"],
    {"avatars": 1},
    Path("avatars"),
]

OWNERS_MAY = ("/etc/passwd", "../../etc/passwd", "user/repo", "user/repo/model.pth@main")
OWNERS_MAY += tuple(s for s in HOSTILE if str(s).endswith("avatars.safetensors"))


def identify(value):
    return ascii(value)[:30]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    repos = {
        "user/one": {"files": {"model.pth": WEIGHTS, "README.md": b"hello"}, "commit": COMMIT},
        "user/deep": {"files": {"a/b/model.safetensors": b"deep"}},
        "user/secret": {"files": {"model.pth": b"secret"}, "private": True},
        "user/gated": {"files": {"model.pth": b"gated"}, "gated": True},
    }
    with FakeHub(repos, tokens=(TOKEN,)) as hub:
        hub.use(monkeypatch, tmp_path)
        yield hub


def sentence(call, *args) -> str:
    """The message of the UserError that `call` raises; held to be one clean line."""
    with pytest.raises(UserError) as raised:
        call(*args)
    message = str(raised.value)
    assert message == " ".join(message.split()) and message.endswith("."), message
    assert len(message) < 400 and "Traceback" not in message and TOKEN not in message
    assert "<" not in message
    # What is chained would be printed by whoever logs the error.
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    return message


# --- names ----------------------------------------------------------------------------------------


def test_every_model_of_the_catalogue_is_of_a_family_that_is_read():
    assert {model.family for model in CATALOGUE.values()} <= set(FAMILIES)


def test_catalogue_is_whole():
    for name, model in CATALOGUE.items():
        assert model.name == name and "/" not in name
        assert model.licence_shown and model.family and model.filename
        if model.repo:
            assert checkpoints._parse(f"{model.repo}/{model.filename}@{model.revision or 'main'}")
            assert 50 < model.size_mb < 1000
    avatars = CATALOGUE["avatars"]
    assert (avatars.repo, avatars.source, avatars.family) == (None, None, "stylegan2")
    assert next(iter(CATALOGUE)) == "avatars" and len(CATALOGUE) == 14


def test_catalogue_is_pinned_where_a_commit_is_known():
    pinned = {model.repo: model.revision for model in CATALOGUE.values() if model.revision}
    assert len(pinned) == 5 and all(re.fullmatch("[0-9a-f]{40}", sha) for sha in pinned.values())


def test_catalogue_claims_no_licence_that_is_not_shown():
    tags = {name: model.licence for name, model in CATALOGUE.items() if model.licence}
    assert tags == {
        "avatars": "mit",
        "stylegan3_lhq256": "mit",
        "stylegan3_anime": "mit",
        "tadne": "cc0-1.0",
    }
    assert CATALOGUE["stylegan2_ffhq"].licence_shown == "no licence shown"


def test_source_and_licence_of_a_hub_model():
    model = Model("x", "user/repo", "a b/model#1.pth", COMMIT)
    address = f"https://huggingface.co/user/repo/blob/{COMMIT}/a%20b/model%231.pth"
    assert model.source == address and model.licence_shown == "no licence shown"
    assert Model("x", "u/r", "f.pth").source == "https://huggingface.co/u/r/blob/main/f.pth"
    assert Model("x", "u/r", None, "a/b").source == "https://huggingface.co/u/r/tree/a%2Fb"


@pytest.mark.parametrize("name", HOSTILE, ids=identify)
def test_visitors_name_only_what_is_offered(name, hub, monkeypatch):
    monkeypatch.setenv("SEFA_MODELS", "user/one/model.pth")
    touched = []
    for function in ("open", "stat", "lstat", "listdir", "scandir", "mkdir"):
        monkeypatch.setattr(os, function, lambda *a, **k: touched.append(a))
    monkeypatch.setattr("builtins.open", lambda *a, **k: touched.append(a))
    with pytest.raises(UserError) as raised:
        resolve_name(name)
    monkeypatch.undo()
    message = str(raised.value)
    assert "avatars" in message and "user/one/model.pth" in message
    assert len(message) < 300 and message.isprintable() and "<" not in message
    assert not touched and not hub.requests


def test_visitors_get_what_is_offered():
    environ = {"SEFA_MODELS": "user/repo/file.pth@v1"}
    assert list(available(environ)) == [*CATALOGUE, "user/repo/file.pth"]
    assert resolve_name("avatars", environ) is CATALOGUE["avatars"]
    assert resolve_name("user/repo/file.pth", environ).revision == "v1"
    assert "user/repo/file.pth" in sentence(resolve_name, "user/repo/file.pth@v1", environ)


def test_a_typo_suggests_the_name():
    assert "perhaps avatars is meant" in sentence(resolve_name, "avatar", {})
    assert "perhaps avatars is meant" in sentence(fetch, "avtars")
    assert "perhaps stylegan_car512 is meant" in sentence(resolve_name, "stylegan_cars512", {})
    assert "perhaps" not in sentence(resolve_name, "zzz", {})


def test_a_long_list_of_models_is_cut_short_behind_the_owners():
    message = sentence(resolve_name, "zzz", {"SEFA_MODELS": "u/r/f.pth"})
    listed = "avatars, u/r/f.pth, stylegan_animeface512, stylegan_car512, stylegan_cat256"
    assert message.endswith(f": choose among {listed} and 10 more.")
    many = " ".join(f"u/r/{'x' * 60}{i}.pth" for i in range(50))
    assert len(sentence(resolve_name, "zzz", {"SEFA_MODELS": many})) < 400


def test_owner_models_forms():
    text = f"""
        user/repo/file.pth@{COMMIT},user/repo/sub/dir/file-2.pkl
        a.b/c_d-e@refs/pr/3 ,, \t u-1/r.2/x+y=z~(1).bin@v1.0
    """
    models, notices = owner_models({"SEFA_MODELS": text})
    assert not notices
    assert [(m.name, m.repo, m.filename, m.revision) for m in models] == [
        ("user/repo/file.pth", "user/repo", "file.pth", COMMIT),
        ("user/repo/sub/dir/file-2.pkl", "user/repo", "sub/dir/file-2.pkl", None),
        ("a.b/c_d-e", "a.b/c_d-e", None, "refs/pr/3"),
        ("u-1/r.2/x+y=z~(1).bin", "u-1/r.2", "x+y=z~(1).bin", "v1.0"),
    ]


def test_owner_models_absent_or_empty():
    for environ in ({}, {"SEFA_MODELS": ""}, {"SEFA_MODELS": " ,\n, "}):
        assert owner_models(environ) == ([], [])


def test_owner_models_are_unique():
    text = "u/r/f.pth u/r/f.pth u/r/f.pth@v1 u/r/f.pth@v1 u/r"
    models, notices = owner_models({"SEFA_MODELS": text})
    assert [m.name for m in models] == ["u/r/f.pth", "u/r/f.pth@v1", "u/r"] and not notices
    assert [m.revision for m in models] == [None, "v1", None]
    models, _ = owner_models({"SEFA_MODELS": "u/r/f.pth@v1 u/r/f.pth u/r/f.pth@main"})
    named = [(m.name, m.revision) for m in models]
    assert named == [("u/r/f.pth", "v1"), ("u/r/f.pth@main", None)]


@pytest.mark.parametrize(
    "entry",
    [
        "model.pth",
        "folder/model.pth",
        "/etc/passwd",
        "../../x",
        "user/../x.pth",
        "user/repo/../../x.pth",
        "user/repo/./x.pth",
        "user/repo//x.pth",
        "user/repo/",
        "user/repo@",
        "user/repo/x.pth@",
        "user/repo/x.pth@a@b",
        "user/repo/x.pth@../../../x",
        "user/re--po/x.pth",
        "user/repo.git/x.pth",
        "-user/repo/x.pth",
        "user/repo;rm",
        "user/repo/x\0.pth",
        "https://huggingface.co/user/repo/blob/main/model.pth",
        f"https://me:{TOKEN}@huggingface.co/user/repo",
        "<script>alert(1)</script>",
        "x" * 100_000,
        "user/" + "r" * 300,
        "user/repo/" + "a/" * 300 + "x.pth",
        "\ud800/repo/x.pth",
    ],
    ids=identify,
)
def test_owner_models_malformed_entry_is_left_out_with_a_notice(entry):
    models, notices = owner_models({"SEFA_MODELS": f"u/before/f.pth,{entry},u/after/f.pth"})
    assert [m.repo for m in models] == ["u/before", "u/after"]
    assert len(notices) == 1 and notices[0].startswith("SEFA_MODELS: ")
    assert notices[0].isprintable() and len(notices[0]) < 250
    assert TOKEN not in notices[0] and "<" not in notices[0]


def test_owner_models_cannot_replace_the_catalogue():
    environ = {"SEFA_MODELS": "avatars,u/r/f.pth"}
    models, notices = owner_models(environ)
    assert [m.name for m in models] == ["u/r/f.pth"]
    assert notices == ["SEFA_MODELS: avatars is in the catalogue already, so it is left out."]
    assert available(environ)["avatars"] is CATALOGUE["avatars"]


# --- local files ----------------------------------------------------------------------------------


def test_local_paths(tmp_path, monkeypatch, hub):
    (tmp_path / "user" / "one").mkdir(parents=True)
    (tmp_path / "user/one/model.pth").write_bytes(b"local")
    (tmp_path / "plain").write_bytes(b"plain")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in ("user/one/model.pth", "./plain", "plain", "~/plain", tmp_path / "plain"):
        fetched = fetch(source)
        assert fetched.path.is_absolute() and fetched.path.is_file() and fetched.revision is None
    assert not hub.requests
    # A folder is not a file: this is the repository user/one.
    assert fetch("user/one").revision == COMMIT


@pytest.mark.parametrize(
    "source", ["/no/such.pth", "./no.pth", "~/no.pth", Path("no.pth"), "/x\0y", "/" + "x" * 5000]
)
def test_missing_local_file(source, hub):
    assert "There is no file" in sentence(fetch, source)
    assert not hub.requests


def test_folder_is_no_checkpoint(tmp_path, hub):
    assert "is a folder: name the checkpoint file in it" in sentence(fetch, str(tmp_path))


def test_missing_demo_model_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoints, "HERE", tmp_path)
    assert "demo_model/avatars.safetensors" in sentence(fetch, "avatars")


@pytest.mark.parametrize(
    "source",
    [s for s in HOSTILE if not isinstance(s, Path) and s not in OWNERS_MAY],
    ids=identify,
)
def test_wrong_source_asks_nobody(source, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in (fetch, load):
        with pytest.raises(UserError) as raised:
            call(source)
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 300
    assert not hub.requests


def test_wrong_source_lists_what_is_accepted():
    message = sentence(fetch, "user/repo;rm")
    for part in ("file", "user/repo/file.pth@revision", "avatars"):
        assert part in message


# --- downloads ------------------------------------------------------------------------------------


def test_download_reports_the_resolved_revision(hub):
    fetched = fetch("user/one/model.pth")
    assert fetched.path.read_bytes() == WEIGHTS and fetched.revision == COMMIT
    assert fetch(Model("any name", "user/one", "model.pth")) == fetched


def test_file_in_a_folder(hub):
    fetched = fetch("user/deep/a/b/model.safetensors@main")
    assert fetched.path.read_bytes() == b"deep"
    assert fetched.revision == hub.repos["user/deep"]["refs"]["main"]


def test_pinned_and_cached_costs_no_request(hub):
    source = f"user/one/model.pth@{COMMIT}"
    first = fetch(source)
    hub.requests.clear()
    assert fetch(source) == first and first.revision == COMMIT and not hub.requests
    hub.stop()
    assert fetch(source) == first


def test_unpinned_and_cached_costs_one_request(hub):
    first = fetch("user/one/model.pth")
    hub.requests.clear()
    assert fetch("user/one/model.pth") == first
    assert hub.requests == [("HEAD", "/user/one/resolve/main/model.pth")]


def test_unpinned_follows_the_branch(hub):
    first = fetch("user/one/model.pth")
    commit = hub.push("user/one", {"model.pth": b"newer"})
    second = fetch("user/one/model.pth")
    assert second.path.read_bytes() == b"newer" and second.revision == commit
    assert fetch(f"user/one/model.pth@{COMMIT}") == first


def test_what_is_cached_is_told_without_asking(hub, tmp_path):
    pinned = Model("x", "user/one", "model.pth", COMMIT)
    branch, alone = Model("x", "user/one", "model.pth"), Model("x", "user/one")
    for model in (pinned, branch, alone, Model("x", "user/none"), Model("x", filename="gone.pth")):
        assert checkpoints.cached(model) is None
    assert not hub.requests
    fetched = fetch(branch)
    requests = len(hub.requests)
    for model in (pinned, branch, alone):
        assert checkpoints.cached(model) == fetched
    assert checkpoints.cached(Model("x", "user/one", "other.pth")) is None
    assert checkpoints.cached(Model("x", "user/one", "model.pth", "a-tag")) is None
    assert checkpoints.cached(CATALOGUE["avatars"]).path.name == "avatars.safetensors"
    assert checkpoints.is_newest(pinned, fetched) and checkpoints.is_newest(
        CATALOGUE["avatars"], checkpoints.cached(CATALOGUE["avatars"])
    )
    assert len(hub.requests) == requests
    assert checkpoints.hash_without_reading(fetched.path) == checkpoints.weights_hash(fetched.path)
    assert checkpoints.hash_without_reading(tmp_path) is None


def test_whether_what_is_cached_is_the_newest_is_one_request(hub):
    branch = Model("x", "user/one", "model.pth")
    fetched = fetch(branch)
    requests = len(hub.requests)
    assert checkpoints.is_newest(branch, fetched)
    assert hub.requests[requests:] == [("HEAD", "/user/one/resolve/main/model.pth")]
    hub.push("user/one", {"model.pth": b"newer"})
    assert not checkpoints.is_newest(branch, fetched)
    hub.push("user/one", {"other.pth": b"newer"})
    assert not checkpoints.is_newest(branch, fetched)  # `fetch` says why
    hub.stop()
    assert checkpoints.is_newest(branch, fetched)


def test_companions_come_with_the_checkpoint(hub):
    commit = hub.push(
        "user/deep", {"a/model.bin": b"1", "a/config.json": b"{}", "config.json": b""}
    )
    for source in (f"user/deep/a/model.bin@{commit}", "user/deep"):
        fetched = fetch(source)
        assert (fetched.path.parent / "config.json").read_bytes() == b"{}"
        assert fetched.revision == commit
    hub.requests.clear()
    fetch(f"user/deep/a/model.bin@{commit}")
    assert not hub.requests
    fetch("user/deep/a/model.bin")
    assert hub.requests == [("HEAD", "/user/deep/resolve/main/a/model.bin")]


def test_companions_that_are_missing_are_no_error(hub, monkeypatch):
    hub.push("user/deep", {"model.bin": b"1"})
    calls = []
    fetched = fetch("user/deep/model.bin", lambda done, total: calls.append((done, total)))
    assert [path.name for path in fetched.path.parent.iterdir()] == ["model.bin"]
    assert calls[-1] == (1, 1)
    named = Model("named", "user/one", "model.pth", companions=("a.json", "b.json"))
    assert fetch(named).path.read_bytes() == WEIGHTS
    # An owner's models, too, and under whatever name the second revision has.
    monkeypatch.setenv("SEFA_MODELS", "user/deep/model.bin user/deep/model.bin@v1")
    assert {m.companions for m in owner_models()[0]} == {("config.json",)}
    assert CATALOGUE["biggan_deep128"].companions == ("config.json",)


def test_companions_that_cannot_be_had_are_an_error(hub, tmp_path):
    """Else a checkpoint would be read without its configuration from then on."""
    hub.push("user/one", {"model.bin": b"1" * 99, "config.json": b"{}"})
    hub.corrupt = True
    assert "user/one/config.json arrived damaged" in sentence(fetch, "user/one/model.bin")
    assert not cached_files(tmp_path)
    hub.corrupt = False
    assert fetch("user/one/model.bin").path.with_name("config.json").read_bytes() == b"{}"


def test_branches_and_tags(hub):
    hub.repos["user/one"]["refs"] |= {"v1": COMMIT, "refs/pr/3": COMMIT}
    hub.push("user/one", {"model.pth": b"newer"})
    for revision in ("v1", "refs/pr/3"):
        assert fetch(f"user/one/model.pth@{revision}").revision == COMMIT


def test_progress_reaches_the_total(hub):
    calls = []
    fetch("user/one/model.pth", lambda done, total: calls.append((done, total)))
    assert calls[-1] == (len(WEIGHTS), len(WEIGHTS))
    assert calls == sorted(calls) and {total for _, total in calls} == {len(WEIGHTS)}
    calls.clear()
    fetch("user/one/model.pth", lambda done, total: calls.append((done, total)))
    assert not calls  # nothing to download


def test_progress_class_fits_xet_too():
    """Xet is not served here; it fills the same class by these calls."""
    from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter

    class Report:
        total_bytes = total_bytes_completed = total_transfer_bytes_completed = 70
        total_bytes_completion_rate = total_transfer_bytes_completion_rate = 1.0

    calls = []
    reporter = checkpoints._reporter(lambda done, total: calls.append((done, total)))
    with XetDownloadProgressReporter(
        reconstruction_desc="x", total=70, log_level=0, tqdm_class=reporter
    ) as bar:
        bar.update_progress(Report())
    assert calls == [(70, 70)]


def test_one_checkpoint_in_a_repository(hub):
    assert fetch("user/one").path.name == "model.pth"
    assert fetch("user/deep").path.read_bytes() == b"deep"
    # Of two kinds the one that comes first in the order of preference.
    hub.push("user/one", {"a.bin": b"1", "b.pth": b"2", "c.pth.md": b"3"})
    assert fetch("user/one@main").path.name == "b.pth"
    hub.stop()
    assert fetch("user/one").path.name == "b.pth"


def test_several_checkpoints_in_a_repository(hub):
    hub.push("user/one", {"b.pth": b"2", "a.pth": b"1", "z.bin": b"3", "<i>.pth": b"4"})
    message = sentence(fetch, "user/one")
    assert "several checkpoints (?i?.pth, a.pth, b.pth)" in message


def test_no_checkpoint_in_a_repository(hub):
    hub.push("user/one", {"README.md": b"", "x.onnx": b""})
    assert "holds no checkpoint (.safetensors" in sentence(fetch, "user/one")
    assert "it has README.md, x.onnx." in sentence(fetch, "user/one")
    hub.push("user/one", {})
    assert "it has no files." in sentence(fetch, "user/one")


def test_owner_token_opens_a_private_repository(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert fetch("user/secret/model.pth").path.read_bytes() == b"secret"
    assert fetch("user/gated/model.pth").path.read_bytes() == b"gated"


def test_owner_name_keeps_its_pinned_revision(hub, monkeypatch):
    monkeypatch.setenv("SEFA_MODELS", f"user/one/model.pth@{COMMIT}")
    hub.push("user/one", {"model.pth": b"newer"})
    assert fetch("user/one/model.pth").revision == COMMIT


def test_connection_that_drops_once_is_resumed(hub, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    hub.drop_after, hub.drops = 300_000, 2
    calls = []
    fetched = fetch("user/one/model.pth", lambda *call: calls.append(call))
    assert fetched.path.read_bytes() == WEIGHTS and calls[-1] == (len(WEIGHTS), len(WEIGHTS))


@pytest.fixture
def checkpoint(hub, tmp_path):
    path = tiny_stylegan2(tmp_path / "model.safetensors", resolution=16, seed=3)
    hub.push("user/one", {"model.safetensors": path.read_bytes()})
    return path


def test_load_gives_the_generator(hub, checkpoint):
    local = load(checkpoint)
    for source in ("user/one", "user/one/model.safetensors", f"{checkpoint}"):
        generator = load(source)
        assert (generator.family, generator.resolution) == ("stylegan2", 16)
        z = torch.ones(1, generator.z_dim)
        assert torch.equal(generator.synthesize(generator.map(z)), local.synthesize(local.map(z)))


def test_load_refuses_what_is_no_checkpoint(hub):
    with pytest.raises(sefa.CheckpointError):
        load("user/one/model.pth")


def test_documented_environment_variables(hub, tmp_path):
    """HF_ENDPOINT and HF_HOME as a user sets them: before the program starts."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "SEFA_"))}
    environ |= {"HF_ENDPOINT": hub.url + "/", "HF_HOME": str(tmp_path / "home")}
    code = "import checkpoints; print(checkpoints.fetch('user/one'))"
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=environ)
    assert COMMIT in printed.decode() and str(tmp_path / "home") in printed.decode()


# --- what can go wrong ----------------------------------------------------------------------------


def test_missing_or_private_repository(hub, monkeypatch):
    for source in ("user/none/model.pth", "user/secret/model.pth", "user/none", "user/secret"):
        message = sentence(fetch, source)
        assert "missing and private ones look the same" in message and "set HF_TOKEN" in message
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "check that HF_TOKEN may read it" in sentence(fetch, "user/none/model.pth")


def test_gated_repository(hub):
    message = sentence(fetch, "user/gated/model.pth")
    assert message.startswith("user/gated is gated: accept its terms on https://huggingface.co/")
    assert "HF_TOKEN" in message
    assert "gated" in sentence(fetch, "user/gated")


def test_token_that_is_not_valid(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN[::-1])
    for source in ("user/one/model.pth", "user/one"):
        message = sentence(fetch, source)
        assert "does not accept HF_TOKEN" in message and TOKEN[::-1] not in message


def test_token_that_cannot_be_sent(hub, monkeypatch, capfd):
    monkeypatch.setenv("HF_TOKEN", TOKEN + "\x07")
    sentence(fetch, "user/one/model.pth")
    assert TOKEN not in "".join(capfd.readouterr())


def test_revision_not_found(hub):
    assert "user/one has no revision v9" in sentence(fetch, "user/one/model.pth@v9")
    assert "has no revision" in sentence(fetch, "user/one@v9")
    assert "has no revision" in sentence(fetch, f"user/one/model.pth@{COMMIT[::-1]}")


def test_no_such_file(hub):
    hub.push("user/one", {f"{i}.txt": b"" for i in range(9)} | {"models/face.pth": b"x"})
    message = sentence(fetch, "user/one/face.pth")
    assert "user/one has no file face.pth: it has models/face.pth," in message
    assert message.endswith("and 5 more.")


@pytest.mark.parametrize("status, part", [(500, "trouble (500)"), (503, "trouble"), (429, "(429)")])
def test_hub_in_trouble(hub, status, part):
    hub.status = status
    started = time.monotonic()
    assert part in sentence(fetch, "user/one/model.pth")
    assert part in sentence(fetch, "user/one")
    assert time.monotonic() - started < 3
    hub.status = None
    first = fetch("user/one/model.pth")
    hub.status = status
    assert fetch("user/one/model.pth") == first


def test_hub_refuses_for_another_reason(hub):
    hub.status = 403
    assert "shows no repository user/one" in sentence(fetch, "user/one/model.pth")
    hub.status = 418
    assert "refused to send user/one/model.pth (418)" in sentence(fetch, "user/one/model.pth")
    hub.status, hub.download_status = None, 500
    assert "trouble (500)" in sentence(fetch, "user/one/model.pth")


def test_offline(hub):
    first = fetch("user/one/model.pth")
    hub.stop()
    started = time.monotonic()
    assert fetch("user/one/model.pth") == first
    assert fetch("user/one") == first
    for source in ("user/deep/a/b/model.safetensors", "user/deep", f"user/deep/x.pth@{COMMIT}"):
        message = sentence(fetch, source)
        assert message.startswith("The Hub (127.0.0.1) cannot be reached, and user/deep")
    assert time.monotonic() - started < 3


def test_offline_by_choice(hub, monkeypatch):
    first = fetch("user/one/model.pth")
    hub.requests.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert fetch("user/one/model.pth") == first
    assert "HF_HUB_OFFLINE" in sentence(fetch, "user/deep/a/b/model.safetensors")
    assert not hub.requests


def test_hub_that_does_not_answer(hub, monkeypatch):
    monkeypatch.setattr(checkpoints, "TIMEOUT_S", 0.3)
    first = fetch("user/one/model.pth")
    hub.delay = 60
    started = time.monotonic()
    assert fetch("user/one/model.pth") == first
    assert "did not answer in time" in sentence(fetch, "user/deep/a/b/model.safetensors")
    assert "did not answer in time" in sentence(fetch, "user/deep")
    assert time.monotonic() - started < 3


def test_something_else_answers(hub):
    first = fetch("user/one/model.pth")
    hub.headers = False
    assert fetch("user/one/model.pth") == first
    assert fetch("user/one") == first
    assert "check HF_ENDPOINT" in sentence(fetch, "user/deep/a/b/model.safetensors")
    assert "check HF_ENDPOINT" in sentence(fetch, "user/deep")


def test_endpoint_that_is_no_address(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"nonsense://me:{TOKEN}@x")
    sentence(fetch, "user/one/model.pth")


def cached_files(tmp_path) -> list[Path]:
    """What the cache holds beside its bookkeeping."""
    folder = tmp_path / "hub-cache" / "models--user--one"
    return [p for f in ("blobs", "snapshots") for p in (folder / f).rglob("*") if not p.is_dir()]


def test_connection_that_keeps_dropping(hub, monkeypatch, tmp_path):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    hub.drop_after = 0
    assert "broke off" in sentence(fetch, "user/one/model.pth")
    assert not cached_files(tmp_path)


def test_short_download(hub, tmp_path):
    hub.short = 1000
    assert "arrived incomplete: try again" in sentence(fetch, "user/one/model.pth")
    assert not cached_files(tmp_path)
    hub.short = 0
    assert fetch("user/one/model.pth").path.read_bytes() == WEIGHTS


def test_damaged_download(hub, tmp_path):
    hub.corrupt = True
    assert "arrived damaged and was deleted: try again" in sentence(fetch, "user/one/model.pth")
    assert not cached_files(tmp_path)
    hub.corrupt = False
    assert fetch("user/one/model.pth").path.read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    "code, part",
    [
        (errno.ENOSPC, "The disk is full"),
        (errno.EDQUOT, "The disk is full"),
        (errno.EROFS, "(Read-only file system): set HF_HOME"),
        (errno.EACCES, "(Permission denied): set HF_HOME"),
    ],
)
def test_disk(hub, monkeypatch, code, part, tmp_path):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code), "/x\ny")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", fail)
    message = sentence(fetch, "user/one/model.pth")
    assert part in message and str(tmp_path / "hub-cache") in message
    assert not cached_files(tmp_path)


def test_cache_that_is_no_folder(hub, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    assert "cannot be saved in" in sentence(fetch, "user/one/model.pth")


def test_unforeseen_error_is_one_sentence_too(hub, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError(f"panic\nat {TOKEN}")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", fail)
    assert "could not be downloaded (RuntimeError)" in sentence(fetch, "user/one/model.pth")
