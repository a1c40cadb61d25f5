"""Calibrations and layer groups on disk, by the weights that they were measured on.

    {folder}/{first 32 hex digits of the weights' SHA-256}-{layers}.safetensors

holds the tensors of a `Calibration`, and in its metadata the format's version, the whole SHA-256,
the layers and the common change;

    {folder}/{first 32 hex digits}-groups.json

the suggested `LayerGroup`s. A file is complete or not there: it is renamed into place.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from sefa.calibration import Calibration
from sefa.errors import UserError
from sefa.factorization import format_layers, parse_layers
from sefa.files import keep_newest, write_atomically
from sefa.layer_groups import NAMES, LayerGroup

VERSION = 1  # another whenever `calibrate` gives other numbers
MAX_FILES = 256  # kept in the cache, the last written
MAX_CACHE = 256_000_000  # bytes of them in all
MAX_BYTES = 64_000_000  # of a file worth reading
NUMBERS = ("unit", "reach", "consistency")


def cache_folder() -> Path:
    """Where measurements are kept: SEFA_CACHE, else `~/.cache/sefa`."""
    wanted = os.environ.get("SEFA_CACHE", "").strip()
    cache = os.environ.get("XDG_CACHE_HOME", "").strip() or "~/.cache"
    return Path(wanted or Path(cache) / "sefa").expanduser()


def calibration_path(folder: Path, weights: str, layers: Sequence[int]) -> Path:
    """The file for these w indices of the checkpoint whose SHA-256 is `weights` (hex)."""
    return folder / f"{shortened(weights)}-{format_layers(layers)}.safetensors"


def groups_path(folder: Path, weights: str) -> Path:
    """The file for the layer groups of the checkpoint whose SHA-256 is `weights` (hex)."""
    return folder / f"{shortened(weights)}-groups.json"


def shortened(weights: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", weights):
        raise ValueError(f"{weights[:80]!r} is no SHA-256")
    return weights[:32]


def save_calibration(
    folder: Path, weights: str, layers: Sequence[int], calibration: Calibration
) -> None:
    """Writes a calibration.

    Raises OSError where the folder cannot be written.
    """
    tensors = {name: getattr(calibration, name).contiguous() for name in (*NUMBERS, "changes")}
    about = {"version": VERSION, "weights": weights, "layers": format_layers(layers)}
    about["change"] = calibration.change
    content = save(tensors, {"sefa": json.dumps(about)})
    put(calibration_path(folder, weights, layers), content)


def put(path: Path, content: bytes) -> None:
    """Writes a file, and removes the oldest beside it beyond MAX_FILES or MAX_CACHE. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, [content])
    files = [file for file in path.parent.iterdir() if file.suffix in (".safetensors", ".json")]
    keep_newest(files, MAX_FILES, MAX_CACHE)


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


# --- layer groups ---------------------------------------------------------------------------------


def save_groups(folder: Path, weights: str, groups: Sequence[LayerGroup]) -> None:
    """Writes the suggested groups of a model. Raises OSError where the folder cannot be written."""
    data = {"version": VERSION, "weights": weights, "groups": [asdict(group) for group in groups]}
    put(groups_path(folder, weights), json.dumps(data).encode())


def load_groups(folders: Iterable[Path], weights: str, num_ws: int) -> list[LayerGroup] | None:
    """The groups in the first of these folders that has them; None where none has.

    A file that is not what `save_groups` writes for these weights is none.
    """
    for folder in folders:
        try:
            with open(groups_path(folder, weights), "rb") as file:
                return parse_groups(file.read(100_000), weights, num_ws)
        except (OSError, ValueError, KeyError, TypeError, RecursionError, UserError):
            continue
    return None


def parse_groups(content: bytes, weights: str, num_ws: int) -> list[LayerGroup]:
    """The groups in a file. Raises ValueError, KeyError, TypeError, `UserError`."""
    data = json.loads(content)
    if (data["version"], data["weights"]) != (VERSION, weights):
        raise ValueError("they are of other weights or of another version")
    groups = []
    for entry in data["groups"]:
        pixels = entry["pixels"] and tuple(int(n) for n in entry["pixels"])
        layers = tuple(parse_layers(entry["layers"], num_ws))
        if entry["name"] not in sum(NAMES, ()) or (pixels and len(pixels) != 2):
            raise ValueError("a group has no such name or resolutions")
        groups.append(LayerGroup(entry["name"], layers, pixels, float(entry["share"])))
    if not groups:
        raise ValueError("there are no groups")
    return groups
