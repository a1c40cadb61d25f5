"""What the directions of a model do, measured once: kept in memory, on disk, and what ships.

Measuring gives way to everything that somebody waits for, and stops when its time is up; what is
there by then counts, and the next call goes on from it.
"""

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

import checkpoints
from sefa.calibration import Calibration, Progress
from sefa.errors import UserError
from sefa.factorization import format_layers, parse_layers
from sefa.layer_groups import LayerGroup
from sefa.measurements import (
    cache_folder,
    load_calibration,
    load_groups,
    save_calibration,
    save_groups,
)
from ui import engine
from ui.renderer import MEASURE

SHIPPED = Path(checkpoints.__file__).parent / "demo_model" / "measurements"
COUNT = 20  # directions of a selection that are measured, by eigenvalue
SECONDS = 90.0  # that one call may take, and what it is at then; SEFA_MEASURE_SECONDS overrides
REST_SECONDS = 1.0  # without a visitor's request, before the next batch is measured
MOST_REST_SECONDS = 20.0  # under a crowd it goes on now and then
MIXED_AT_LEAST = 4  # images of each layer that groups take
MAX_KEPT = 64  # calibrations in memory, at most 250 kB each

_kept: OrderedDict[tuple[str, str], Calibration | list[LayerGroup] | None] = OrderedDict()
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
    return kept(
        (weights, format_layers(indices)),
        lambda: load_calibration([SHIPPED, cache_folder()], weights, indices),
    )


def known_groups(model: engine.OpenModel) -> list[LayerGroup] | None:
    """The layer groups that suit this model, where they were measured."""
    weights, num_ws = weights_of(model), model.loaded.generator.num_ws
    return kept(
        (weights, "groups"), lambda: load_groups([SHIPPED, cache_folder()], weights, num_ws)
    )


def kept(key: tuple[str, str], load: Callable[[], Any]) -> Any:
    """What is in memory, else what `load` finds on disk, from then on in memory."""
    with _keeping:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    return keep(key, load())


def keep(key: tuple[str, str], value: Any) -> Any:
    with _keeping:
        _kept[key] = value
        _kept.move_to_end(key)
        if len(_kept) > MAX_KEPT:
            _kept.popitem(last=False)
    return value


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
            turn=turn,
        )
        weights = weights_of(model)
        indices = parse_layers(layers, model.loaded.generator.num_ws)
        save(lambda: save_calibration(cache_folder(), weights, indices, found))
        return keep((weights, format_layers(indices)), found)


def measure_groups(model: engine.OpenModel, report: Progress | None = None) -> list[LayerGroup]:
    """Measures which layers belong together, if that is not known."""
    with _measuring:
        groups = known_groups(model)
        if groups is None:
            groups = model.drawing.layer_groups(report, turn=turn)
            weights = weights_of(model)
            save(lambda: save_groups(cache_folder(), weights, groups))
            keep((weights, "groups"), groups)
        return groups


def groups_are_quick(model: engine.OpenModel) -> bool:
    """Whether the groups can be measured in about the time that one call has."""
    images = model.loaded.generator.num_ws * MIXED_AT_LEAST
    return engine.on_gpu(model) or engine.seconds_per_image(model) * images <= 2 * seconds()


def turn(batch: Callable[[], Tensor]) -> Tensor:
    """How a batch is run: after all that somebody waits for, and never between two such things."""
    engine.RENDERER.rest(REST_SECONDS, MOST_REST_SECONDS)
    return engine.RENDERER.run(MEASURE, batch)


def save(write: Callable[[], None]) -> None:
    """Keeps something on disk; where it cannot, the log says so, once."""
    try:
        write()
    except OSError as error:
        if str(error) not in _cannot_save:
            _cannot_save.add(str(error))
            logging.getLogger(__name__).warning("Measurements are not kept: %s", error)
