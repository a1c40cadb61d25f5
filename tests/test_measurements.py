"""Calibrations on disk: a round trip, other weights, and files that are no calibration."""

import json
from dataclasses import fields, replace

import pytest
import torch
from safetensors.torch import save_file

from sefa import measurements
from sefa.calibration import Calibration
from sefa.layer_groups import LayerGroup
from sefa.measurements import (
    calibration_path,
    load_calibration,
    load_groups,
    save_calibration,
    save_groups,
)

WEIGHTS, OTHERS = "ab" * 32, "ab" * 16 + "cd" * 16  # the same in what a file's name has of them
LAYERS = [0, 1, 4]


def some_calibration(k=3):
    numbers = torch.rand(3, k, dtype=torch.float64) + 0.1
    return Calibration(*numbers, 0.07, torch.randn(k, 4, 3, 16, 16).half())


def test_what_is_saved_is_loaded_for_these_weights_and_layers_alone(tmp_path):
    saved = some_calibration()
    save_calibration(tmp_path / "new", WEIGHTS, LAYERS, saved)
    folders = [tmp_path / "missing", tmp_path / "new"]
    loaded = load_calibration(folders, WEIGHTS, LAYERS)
    for field in fields(Calibration):
        a, b = getattr(saved, field.name), getattr(loaded, field.name)
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    assert load_calibration(folders, OTHERS, LAYERS) is None
    assert load_calibration(folders, WEIGHTS, [0, 1]) is None
    assert load_calibration([], WEIGHTS, LAYERS) is None
    with pytest.raises(ValueError, match="no SHA-256"):
        load_calibration(folders, "../../etc/passwd", LAYERS)


def damaged(path, how):
    about = {"version": 1, "weights": WEIGHTS, "layers": "0-1,4", "change": 0.07}
    c = some_calibration()
    tensors = {name: getattr(c, name) for name in ("unit", "reach", "consistency", "changes")}
    how(about, tensors)
    save_file(tensors, path, {"sefa": json.dumps(about)})


@pytest.mark.parametrize(
    "how",
    [
        lambda about, tensors: about.update(version=0),
        lambda about, tensors: about.update(change=-1.0),
        lambda about, tensors: about.pop("change"),
        lambda about, tensors: tensors.pop("unit"),
        lambda about, tensors: tensors.update(unit=torch.zeros(3, dtype=torch.float64)),
        lambda about, tensors: tensors.update(unit=torch.full((3,), torch.nan).double()),
        lambda about, tensors: tensors.update(reach=torch.ones(2, dtype=torch.float64)),
        lambda about, tensors: tensors.update(changes=torch.ones(3, 4)),
    ],
)
def test_a_file_that_is_no_calibration_is_none(tmp_path, how):
    path = calibration_path(tmp_path, WEIGHTS, LAYERS)
    damaged(path, lambda about, tensors: None)
    assert load_calibration([tmp_path], WEIGHTS, LAYERS) is not None
    damaged(path, how)
    assert load_calibration([tmp_path], WEIGHTS, LAYERS) is None


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"[" * 100_000])
def test_garbage_is_no_calibration(tmp_path, content):
    calibration_path(tmp_path, WEIGHTS, LAYERS).write_bytes(content)
    assert load_calibration([tmp_path], WEIGHTS, LAYERS) is None


def test_the_cache_keeps_the_last_written(tmp_path, monkeypatch):
    monkeypatch.setattr(measurements, "MAX_FILES", 2)
    for i in range(4):
        save_calibration(tmp_path, WEIGHTS, [i], replace(some_calibration(), change=i + 1.0))
        path = calibration_path(tmp_path, WEIGHTS, [i])
        measurements.os.utime(path, (i, i))
    kept = [load_calibration([tmp_path], WEIGHTS, [i]) for i in range(4)]
    assert [c and c.change for c in kept] == [None, None, 3.0, 4.0]
    assert len(list(tmp_path.iterdir())) == 2  # and nothing half written


def test_the_cache_stays_small(tmp_path, monkeypatch):
    save_calibration(tmp_path, WEIGHTS, [0], some_calibration())
    size = calibration_path(tmp_path, WEIGHTS, [0]).stat().st_size
    monkeypatch.setattr(measurements, "MAX_CACHE", 2.5 * size)
    (tmp_path / "somebody else's").write_bytes(bytes(10 * size))
    for i in range(4):
        measurements.os.utime(save_and_path(tmp_path, i), (i, i))
    kept = [load_calibration([tmp_path], WEIGHTS, [i]) is not None for i in range(4)]
    assert kept == [False, False, True, True]
    monkeypatch.setattr(measurements, "MAX_CACHE", 1)
    save_and_path(tmp_path, 7)  # the newest stays, however large
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert (tmp_path / "somebody else's").exists()


def save_and_path(folder, layer):
    save_calibration(folder, WEIGHTS, [layer], some_calibration())
    return calibration_path(folder, WEIGHTS, [layer])


def test_the_cache_is_where_the_owner_wants_it(monkeypatch, tmp_path):
    monkeypatch.setenv("SEFA_CACHE", str(tmp_path))
    assert measurements.cache_folder() == tmp_path
    monkeypatch.delenv("SEFA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert measurements.cache_folder() == tmp_path / "sefa"


GROUPS = [LayerGroup("Coarse", (0, 1, 2), (4, 8), 0.75), LayerGroup("Fine", (4, 5), None, 0.25)]


def test_groups_are_loaded_for_these_weights_alone(tmp_path):
    save_groups(tmp_path / "new", WEIGHTS, GROUPS)
    folders = [tmp_path / "missing", tmp_path / "new"]
    assert load_groups(folders, WEIGHTS, 6) == GROUPS
    assert load_groups(folders, OTHERS, 6) is None
    assert load_groups(folders, WEIGHTS, 5) is None  # there is no layer 5
    assert load_groups([], WEIGHTS, 6) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(version=9),
        lambda data: data.update(groups=[]),
        lambda data: data.update(groups=7),
        lambda data: data.pop("groups"),
        lambda data: data["groups"][0].update(name="<b>"),
        lambda data: data["groups"][0].update(layers=[True]),
        lambda data: data["groups"][0].update(pixels=[1, 2, 3]),
        lambda data: data["groups"][0].update(share=None),
    ],
)
def test_a_file_that_is_no_groups_is_none(tmp_path, change):
    save_groups(tmp_path, WEIGHTS, GROUPS)
    path = measurements.groups_path(tmp_path, WEIGHTS)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    assert load_groups([tmp_path], WEIGHTS, 6) is None
    path.write_bytes(b"[" * 90_000)
    assert load_groups([tmp_path], WEIGHTS, 6) is None
