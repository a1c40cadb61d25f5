"""What the directions of a model do, measured once: kept in memory, on disk, and what ships.

Measuring gives way to everything that somebody waits for, and stops when its time is up; what is
there by then counts, and the next call goes on from it.
"""

import logging
import os
import threading
import time
from collections import OrderedDict
from pathlib import Path

import checkpoints
from sefa.calibration import Calibration, Progress
from sefa.errors import UserError
from sefa.factorization import parse_layers
from sefa.measurements import cache_folder, load_calibration, save_calibration
from ui import engine
from ui.renderer import MEASURE

SHIPPED = Path(checkpoints.__file__).parent / "demo_model" / "measurements"
COUNT = 20  # directions of a selection that are measured, by eigenvalue
SECONDS = 90.0  # that one call may take, and what it is at then; SEFA_MEASURE_SECONDS overrides
MAX_KEPT = 64  # calibrations in memory, at most 250 kB each

_kept: OrderedDict[tuple[str, str], Calibration | None] = OrderedDict()
_keeping, _measuring = threading.Lock(), threading.Lock()
_cannot_save: set[str] = set()


def weights_of(model: engine.OpenModel) -> str:
    """The SHA-256 of its file, hex."""
    weights = checkpoints.weights_hash(model.path)
    if weights is None:
        raise UserError(f"The file of {model.name} is gone: choose it again.")
    return weights


def known(model: engine.OpenModel, layers: str) -> Calibration | None:
    """What was measured of these layers' first directions so far; None for nothing."""
    weights = weights_of(model)
    indices = parse_layers(layers, model.loaded.generator.num_ws)
    key = weights, ",".join(map(str, indices))
    with _keeping:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    found = load_calibration([SHIPPED, cache_folder()], weights, indices)
    return keep(key, found)


def keep(key: tuple[str, str], calibration: Calibration | None) -> Calibration | None:
    with _keeping:
        _kept[key] = calibration
        _kept.move_to_end(key)
        if len(_kept) > MAX_KEPT:
            _kept.popitem(last=False)
    return calibration


def wanted(model: engine.OpenModel) -> int:
    """How many directions of a selection are measured."""
    return min(COUNT, model.loaded.generator.w_dim)


def seconds() -> float:
    """How long one call may measure: SEFA_MEASURE_SECONDS, 0 for not at all."""
    try:
        return float(os.environ.get("SEFA_MEASURE_SECONDS", ""))
    except ValueError:
        return SECONDS


def is_measured(model: engine.OpenModel, layers: str) -> bool:
    """Whether there is nothing left to measure."""
    found = known(model, layers)
    return found is not None and len(found) >= wanted(model)


def measure(model: engine.OpenModel, layers: str, report: Progress | None = None) -> Calibration:
    """Measures what is missing of these layers' directions, for SECONDS at most; returns all.

    `report(done, total)` is called after each direction. One model at a time.
    """
    with _measuring:
        so_far, count = known(model, layers), wanted(model)
        if so_far is not None and len(so_far) >= count:
            return so_far
        end = time.monotonic() + seconds()

        def progress(done: int, total: int) -> bool:
            if report is not None:
                report(done, total)
            return time.monotonic() < end

        found = model.drawing.calibration(
            layers,
            count,
            progress,
            known=so_far,
            turn=lambda batch: engine.RENDERER.run(MEASURE, batch),
        )
        indices = parse_layers(layers, model.loaded.generator.num_ws)
        weights = weights_of(model)
        try:
            save_calibration(cache_folder(), weights, indices, found)
        except OSError as error:
            if str(error) not in _cannot_save:  # once, not after every model
                _cannot_save.add(str(error))
                logging.getLogger(__name__).warning("Measurements are not kept: %s", error)
        return keep((weights, ",".join(map(str, indices))), found)
