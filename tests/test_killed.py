"""kill -9 at any moment of what is written: the next start finds all of it, or nothing, and tidies up."""

import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import huggingface_hub
import pytest
import torch

import hub_cache
from checkpoints import Model, cached, fetch
from hub_cache import remove_leftovers
from sefa import convert, load_generator
from sefa.measurements import load_calibration, load_groups, save_calibration, save_groups
from tests.helpers import tiny_stylegan2
from tests.hub import CHUNK, FakeHub
from tests.killed import killed_at, started
from tests.test_measurements import GROUPS, LAYERS, WEIGHTS, some_calibration

MOST = 60  # moments, so that a test ends whatever is counted


def moments(function, *arguments, before=lambda: None, **options):
    """Every moment, the last of which is after the end; `before` runs ahead of each."""
    for moment in range(1, MOST):
        before()
        killed = killed_at(moment, function, *arguments, **options)
        yield moment
        if not killed:
            assert moment > 2  # or nothing was watched
            return
    raise AssertionError("it never ends")


def grow_old(folder: Path) -> None:
    """As if a day went by."""
    then = time.time() - 86_400
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            os.utime(file, (then, then))


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


# --- measurements ---------------------------------------------------------------------------------


def test_a_calibration_is_the_old_one_or_the_new_one(tmp_path):
    old, new = some_calibration(), some_calibration(5)

    def fresh():
        save_calibration(tmp_path, WEIGHTS, LAYERS, old)

    seen = set()
    for _ in moments(save_calibration, tmp_path, WEIGHTS, LAYERS, new, before=fresh):
        found = load_calibration([tmp_path], WEIGHTS, LAYERS)
        seen.add(len(found))
        assert torch.equal(found.changes, (old if len(found) == 3 else new).changes)
    assert seen == {3, 5}


def test_what_a_killed_measurement_left_is_gone_after_the_next(tmp_path):
    for _ in moments(save_groups, tmp_path, WEIGHTS, GROUPS):
        grow_old(tmp_path)
        save_calibration(tmp_path, WEIGHTS, LAYERS, some_calibration())
        left = [n for n in names(tmp_path) if not n.endswith((".safetensors", ".json"))]
        assert left == []
    assert load_groups([tmp_path], WEIGHTS, 6) == GROUPS


# --- conversion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("there_already", [False, True])
def test_a_conversion_is_whole_or_not_there(tmp_path, there_already):
    source = tiny_stylegan2(tmp_path / "training.pth")
    target = tmp_path / "out" / "model.safetensors"
    target.parent.mkdir()
    words = [str(source), str(target), "--overwrite"]
    assert convert.main(words) == 0
    whole = target.read_bytes()
    other = tiny_stylegan2(tmp_path / "other.safetensors", seed=5).read_bytes()

    def fresh():
        target.write_bytes(other) if there_already else target.unlink(missing_ok=True)

    seen = set()
    for _ in moments(convert.main, words, before=fresh):
        found = target.read_bytes() if target.exists() else None
        assert found in (whole, other if there_already else None)
        seen.add(found == whole)
    assert seen == {False, True}
    load_generator(target)
    grow_old(target.parent)  # what is left of all of them is gone after the next
    assert convert.main(words) == 0
    assert names(target.parent) == ["model.safetensors"] and target.read_bytes() == whole


# --- downloads ------------------------------------------------------------------------------------

REPO, CONTENT = "user/repo", os.urandom(8 * CHUNK)
MODEL = Model(f"{REPO}/model.bin", REPO, "model.bin", companions=("config.json",))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with FakeHub({REPO: {"files": {"model.bin": CONTENT, "config.json": b"{}"}}}) as hub:
        hub.use(monkeypatch, tmp_path)
        yield hub


def settings_of():
    """What a child must know to talk to the same Hub, with the same cache."""
    return {name: os.environ[name] for name in ("HF_ENDPOINT", "HF_HUB_CACHE", "NO_PROXY")}


def cache_of(tmp_path):
    return tmp_path / "hub-cache"


def fetched():
    found = fetch(MODEL)
    assert (found.path.parent / "config.json").read_bytes() == b"{}"
    return found.path.read_bytes()


def fetch_in_pieces(model):
    """`fetch`, which writes every CHUNK as it comes, as it does with 10 MB at a time."""
    huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = CHUNK
    fetch(model)


def leftovers(cache):
    return [f for f in cache.rglob("*") if f.is_file() and ".incomplete" in f.name]


def test_a_download_killed_at_any_change_of_the_disk_is_had_by_the_next(tmp_path, hub):
    cache = cache_of(tmp_path)

    def fresh():
        shutil.rmtree(cache, ignore_errors=True)

    for _ in moments(fetch, MODEL, before=fresh, environ=settings_of()):
        there = cached(MODEL)
        assert there is None or there.path.read_bytes() == CONTENT  # no part is taken for the whole
        grow_old(cache)
        assert fetched() == CONTENT and leftovers(cache) == []


def test_a_download_killed_while_bytes_come_is_had_by_the_next(tmp_path, hub):
    cache = cache_of(tmp_path)
    for part in range(5):
        shutil.rmtree(cache, ignore_errors=True)
        hub.pause = 0.05
        child = started(fetch_in_pieces, MODEL, environ=settings_of())
        wait_for(lambda size=part * CHUNK: written(cache) >= size)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert cached(MODEL) is None and len(leftovers(cache)) == 1
        hub.pause = 0.0
        assert fetched() == CONTENT  # at once: no lock is left that would keep it waiting
        grow_old(cache)
        hub.push(REPO, {"model.bin": os.urandom(1000 + part), "config.json": b"{}"})
        fetched()
        assert leftovers(cache) == []
        hub.push(REPO, {"model.bin": CONTENT, "config.json": b"{}"})


def written(cache):
    """Bytes of downloads that are under way; -1 before the first."""
    sizes = [-1]
    for path in leftovers(cache):
        with suppress(FileNotFoundError):  # it is whole by now
            sizes.append(path.stat().st_size)
    return max(sizes)


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_what_another_process_is_downloading_is_left_alone(tmp_path, hub):
    cache, hub.pause = cache_of(tmp_path), 0.2
    child = started(fetch_in_pieces, MODEL, environ=settings_of())
    wait_for(lambda: written(cache) > 0)
    grow_old(cache)
    remove_leftovers(cache, [REPO])
    assert len(leftovers(cache)) == 1
    hub.pause = 0.0
    child.join()
    assert child.exitcode == 0 and cached(MODEL).path.read_bytes() == CONTENT


def test_room_that_was_being_made_is_made_by_the_next(tmp_path, hub, monkeypatch):
    """A model that makes way is there, or not there; nothing of it stays unseen."""
    monkeypatch.setattr(hub_cache, "SMALL", 1000)
    cache = cache_of(tmp_path)

    def fresh():
        shutil.rmtree(cache, ignore_errors=True)
        fetch(MODEL)
        grow_old(cache)

    seen = set()
    for _ in moments(make_room, cache, before=fresh, environ=settings_of()):
        seen.add(cached(MODEL) is None)
        make_room(cache)
        assert cached(MODEL) is None
        assert not [
            f for f in (cache / "models--user--repo/blobs").iterdir() if f.stat().st_size > 9
        ]
        assert fetched() == CONTENT
    assert seen == {False, True}


def make_room(cache):
    hub_cache.SMALL = 1000
    hub_cache.make_room(2 * len(CONTENT), 2 * len(CONTENT), cache, [REPO])
