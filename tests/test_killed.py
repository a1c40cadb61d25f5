"""kill -9 at any moment of what is written: the next start finds all of it, or nothing, and tidies up."""

import os
import time
from pathlib import Path

import pytest
import torch

from sefa import convert, load_generator
from sefa.measurements import load_calibration, load_groups, save_calibration, save_groups
from tests.helpers import tiny_stylegan2
from tests.killed import killed_at
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
