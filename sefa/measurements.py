"""Calibrations on disk, by the weights that they were measured on.

    {folder}/{first 32 hex digits of the weights' SHA-256}-{layers}.safetensors

holds the tensors of a `Calibration`, and in its metadata the format's version, the whole SHA-256,
the layers and the common change. A file is complete or not there: it is renamed into place.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from sefa.calibration import Calibration
from sefa.export import write_atomically
from sefa.factorization import format_layers

VERSION = 1  # another whenever `calibrate` gives other numbers
MAX_FILES = 256  # kept in the cache, the last written
MAX_BYTES = 64_000_000  # of a file worth reading
NUMBERS = ("unit", "reach", "consistency")


def cache_folder() -> Path:
    """Where measurements are kept: SEFA_CACHE, else `~/.cache/sefa`."""
    wanted = os.environ.get("SEFA_CACHE", "").strip()
    cache = os.environ.get("XDG_CACHE_HOME", "").strip() or "~/.cache"
    return Path(wanted or Path(cache) / "sefa").expanduser()


def calibration_path(folder: Path, weights: str, layers: Sequence[int]) -> Path:
    """The file for these w indices of the checkpoint whose SHA-256 is `weights` (hex)."""
    if not re.fullmatch(r"[0-9a-f]{64}", weights):
        raise ValueError(f"{weights[:80]!r} is no SHA-256")
    return folder / f"{weights[:32]}-{format_layers(layers)}.safetensors"


def save_calibration(
    folder: Path, weights: str, layers: Sequence[int], calibration: Calibration
) -> None:
    """Writes a calibration, and removes the oldest files beyond MAX_FILES.

    Raises OSError where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: getattr(calibration, name).contiguous() for name in (*NUMBERS, "changes")}
    about = {"version": VERSION, "weights": weights, "layers": format_layers(layers)}
    about["change"] = calibration.change
    content = save(tensors, {"sefa": json.dumps(about)})
    write_atomically(calibration_path(folder, weights, layers), [content])

    def written(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:  # another process was quicker
            return 0.0

    for path in sorted(folder.glob("*.safetensors"), key=written, reverse=True)[MAX_FILES:]:
        path.unlink(missing_ok=True)


def load_calibration(
    folders: Iterable[Path], weights: str, layers: Sequence[int]
) -> Calibration | None:
    """The calibration in the first of these folders that has it; None where none has.

    A file that is not what `save_calibration` writes for these weights is none.
    """
    for folder in folders:
        path = calibration_path(folder, weights, layers)
        try:
            if path.stat().st_size <= MAX_BYTES:
                return read_calibration(path, weights, format_layers(layers))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return None


def read_calibration(path: Path, weights: str, layers: str) -> Calibration:
    """The calibration in a file. Raises OSError, SafetensorError, ValueError, KeyError, TypeError."""
    with safe_open(path, "pt") as file:
        about = json.loads((file.metadata() or {})["sefa"])
        found = (about["version"], about["weights"], about["layers"])
        if found != (VERSION, weights, layers):
            raise ValueError("it is of other weights, layers or version")
        numbers = [file.get_tensor(name) for name in NUMBERS]
        changes, change = file.get_tensor("changes"), float(about["change"])
    count = len(changes)
    fits = all(x.shape == (count,) and x.dtype == torch.float64 for x in numbers)
    if not (fits and changes.ndim == 5 and changes.dtype == torch.float16 and count > 0):
        raise ValueError("its tensors have other shapes or types")
    if not all(bool(x.isfinite().all()) for x in (*numbers, changes)) or not 0 < change < 100:
        raise ValueError("it holds a number that none of these can be")
    if not (bool((numbers[0] > 0).all()) and bool((numbers[1] > 0).all())):
        raise ValueError("a unit or a reach is not positive")
    return Calibration(*numbers, change, changes)
