"""The Hub's cache stays within bounds, and what is not the app's is left alone."""

import logging
import os
import threading
import time
from collections import namedtuple
from dataclasses import replace

import pytest

import checkpoints
import hub_cache
from checkpoints import Model, cached, fetch
from sefa.errors import UserError
from tests.helpers import is_one_sentence, tiny_stylegan2
from tests.hub import FakeHub
from ui import about, engine

SIZE = 1_200_000  # of each model
FIVE = [f"user/model{i}" for i in range(5)]
OTHERS = "somebody/else"


def file_of(repo):
    return repo.encode().ljust(SIZE, b".")


def model(repo):
    return Model(f"{repo}/model.bin", repo, "model.bin", companions=("config.json",))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub with models of the owner's, and one that is in the cache for another program."""
    repos = {
        repo: {"files": {"model.bin": file_of(repo), "config.json": b"{}"}}
        for repo in [*FIVE, OTHERS]
    }
    with FakeHub(repos) as hub:
        hub.use(monkeypatch, tmp_path)
        monkeypatch.delenv("SPACE_ID", raising=False)
        monkeypatch.delenv("SEFA_MODELS_GB", raising=False)
        monkeypatch.setattr(hub_cache, "_noted", {})
        fetch(model(OTHERS))
        monkeypatch.setenv("SEFA_MODELS", ",".join(f"{repo}/model.bin" for repo in FIVE))
        yield hub


def hold(monkeypatch, models):
    """From now on so many models are kept."""
    monkeypatch.setenv("SEFA_MODELS_GB", str((models + 0.5) * SIZE / 1e9))


def use(repo, minutes_ago):
    """Fetches a model as somebody did so long ago."""
    path = fetch(model(repo)).path
    assert path.read_bytes() == file_of(repo)
    assert (path.parent / "config.json").read_bytes() == b"{}"
    then = time.time_ns() - int(minutes_ago * 60e9)
    os.utime(path, ns=(then, path.stat().st_mtime_ns))
    hub_cache._noted.clear()


def there():
    """Which models are in the cache."""
    return [repo for repo in [*FIVE, OTHERS] if cached(model(repo)) is not None]


def test_without_a_limit_nothing_is_deleted(hub):
    for i, repo in enumerate(FIVE):
        use(repo, 100 - i)
    assert there() == [*FIVE, OTHERS]


def test_those_used_longest_ago_make_way_for_the_next(hub, monkeypatch):
    hold(monkeypatch, 3)
    use(FIVE[0], 40)
    use(FIVE[1], 50)
    use(FIVE[2], 30)
    assert there() == [*FIVE[:3], OTHERS]
    use(FIVE[3], 20)
    assert there() == [FIVE[0], FIVE[2], FIVE[3], OTHERS]
    use(FIVE[0], 10)  # it is there, and now it was used last
    use(FIVE[4], 5)
    assert there() == [FIVE[0], FIVE[3], FIVE[4], OTHERS]
    use(FIVE[1], 1)  # it comes again, and is the same
    blobs = [f for f in checkpoints._cache_dir().rglob("blobs/*") if f.stat().st_size > 1000]
    assert len(blobs) == 4  # those and the other program's: nothing is left of the deleted ones


def test_what_is_being_used_stays(hub, monkeypatch):
    hold(monkeypatch, 1)
    use(FIVE[0], 0)
    use(FIVE[1], 0)
    assert there() == [*FIVE[:2], OTHERS]
    use(FIVE[0], 5)
    use(FIVE[1], 5)
    use(FIVE[2], 0)
    assert there() == [FIVE[2], OTHERS]


def test_an_open_model_counts_as_used(hub, monkeypatch, tmp_path):
    content = tiny_stylegan2(tmp_path / "a.safetensors").read_bytes()
    hub.repos["user/tiny"] = {"files": {"model.safetensors": content}}
    hub.push("user/tiny", {"model.safetensors": content})
    monkeypatch.setenv("SEFA_MODELS", "user/tiny/model.safetensors")
    monkeypatch.setattr(engine, "_opened", {})
    for _ in range(2):
        path = engine.open_model("user/tiny/model.safetensors").path
        before = path.stat()
        assert time.time() - before.st_atime < 10
        os.utime(path, ns=(0, before.st_mtime_ns))
        hub_cache._noted.clear()


def test_a_model_larger_than_all_that_is_kept_is_refused(hub, monkeypatch):
    use(FIVE[0], 5)
    hold(monkeypatch, 0.2)
    with pytest.raises(UserError) as refused:
        fetch(model(FIVE[1]))
    assert is_one_sentence(str(refused.value)) and "SEFA_MODELS_GB" in str(refused.value)
    assert "user/model1/model.bin takes 0.0012 GB" in str(refused.value)
    assert there() == [FIVE[0], OTHERS]


Usage = namedtuple("Usage", "total used free")


@pytest.mark.filterwarnings("ignore:Not enough free disk space")
def test_a_space_leaves_some_of_its_disk_free(hub, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "user/space")
    for i, free in enumerate((12, 11, 10)):  # models; a fifth of the disk is ten of them
        usage = Usage(50 * SIZE, 0, free * SIZE)
        monkeypatch.setattr(hub_cache.shutil, "disk_usage", lambda _, usage=usage: usage)
        use(FIVE[i], 100 - i)
    assert there() == [*FIVE[1:3], OTHERS]
    monkeypatch.setattr(hub_cache.shutil, "disk_usage", lambda _: Usage(50 * SIZE, 0, 0))
    use(FIVE[4], 0)  # the disk is full of other things: all make way, and what is wanted comes
    assert there() == [FIVE[4], OTHERS]


@pytest.mark.parametrize(
    "environ, limit",
    [
        ({}, None),
        ({"SPACE_ID": "user/space"}, 20e9),
        ({"SEFA_MODELS_GB": "1.5"}, 1.5e9),
        ({"SEFA_MODELS_GB": "3", "SPACE_ID": "user/space"}, 3e9),
        *(({"SEFA_MODELS_GB": bad}, None) for bad in ("", "much", "nan", "inf", "-1", "0")),
    ],
)
def test_what_the_variable_says(environ, limit):
    assert hub_cache.limit_of(environ) == limit
    check = about.limit_checked(environ)
    states = {"": "not set", "1.5": "set", "3": "set"}
    assert check.state == states.get(environ.get("SEFA_MODELS_GB", ""), "refused")
    assert (
        "never deleted" in check.why if limit is None else f"most {limit / 1e9:g} GB" in check.why
    )


def test_downloads_that_run_are_counted(hub, monkeypatch, tmp_path):
    hold(monkeypatch, 3)
    use(FIVE[0], 40)
    use(FIVE[1], 30)
    cache, repos = checkpoints._cache_dir(), FIVE
    with hub_cache.room_for(SIZE, "a model", cache, repos):
        assert there() == [*FIVE[:2], OTHERS]
        with hub_cache.room_for(SIZE, "another", cache, repos):
            assert there() == [FIVE[1], OTHERS]
    assert hub_cache._coming == {}


def test_many_at_once(hub, monkeypatch):
    hold(monkeypatch, 2)
    monkeypatch.setattr(hub_cache, "RECENT_S", 0.0)
    errors = []

    def visitor(repo):
        try:
            fetch(model(repo))
        except Exception as error:  # noqa: BLE001 - whatever it is
            errors.append(error)

    threads = [threading.Thread(target=visitor, args=[repo]) for repo in FIVE]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    use(FIVE[0], 0)
    assert FIVE[0] in there() and OTHERS in there()


def test_a_cache_that_cannot_be_tidied_is_no_reason_not_to_download(hub, monkeypatch, caplog):
    hold(monkeypatch, 1)
    use(FIVE[0], 9)

    def refused(*_):
        raise PermissionError("no")

    monkeypatch.setattr(hub_cache, "make_room", refused)
    with caplog.at_level(logging.WARNING):
        use(FIVE[1], 0)
    assert "No room is made in the cache" in caplog.text


def test_what_is_left_beside_a_deleted_checkpoint_is_not_taken_for_it(hub, monkeypatch):
    hold(monkeypatch, 1)
    whole = replace(model(FIVE[0]), name=FIVE[0], filename=None, companions=())
    os.utime(fetch(whole).path, (0, 0))
    use(FIVE[1], 0)
    assert cached(whole) is None
    hub.stop()
    with pytest.raises(UserError, match="cannot be reached, and .* is not in the cache"):
        fetch(whole)
