"""Directions as a file that a person takes away: vectors, and what each of them is.

    Directions -> DirectionRow -> DirectionsFile -> write_directions -> .safetensors
                                                 <- read_directions  <-

A .safetensors file, which any tool with that library reads, of K directions:

    vectors      float32 [K, w_dim]: w + alpha * vector, at the w indices of the row's layers
    eigenvalues  float64 [K]: NaN for a combination, which has none
    units        float64 [K]: alpha > 0 of one unit (`Calibration.unit`), NaN where not measured

and in its metadata the entry "sefa_directions", JSON:

    {"version": 1, "model": "avatars", "family": "stylegan2", "num_ws": 9,
     "weights": "<SHA-256 of the checkpoint's file, 64 hex digits>",
     "rows": [{"layers": "0-1", "direction": "3*0.6+7*0.8", "name": "Smile", "sign": 1}, ...]}

`layers` and `direction` are as in a recipe, so that a row can be found again in the model; `name`
is "" for a direction without one, and `sign` the sign of the alphas that bring what it says.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from sefa.editing import (
    MAX_LAYERS,
    MAX_MODEL,
    Direction,
    canonical_layers,
    combine,
    direction_name,
    format_direction,
    parse_direction,
)  # fmt: skip
from sefa.errors import UserError, show
from sefa.factorization import Directions, parse_layers
from sefa.files import write_atomically
from sefa.formats.containers import METADATA, read_safetensors
from sefa.formats.source import Source
from sefa.labels import DIGEST, exact_keys, is_index, whole

VERSION = 1
ENTRY = "sefa_directions"  # of the metadata
MAX_ROWS = 1024
MAX_W_DIM = 65536  # as many as a recipe can number; the largest family has 1024
MAX_BYTES = 64 * 2**20  # of a file that is read: 1024 rows of 1024 take 4 MB, their texts 2 MB
TENSORS = {"vectors": torch.float32, "eigenvalues": torch.float64, "units": torch.float64}


@dataclass(frozen=True, eq=False)  # a tensor has no one answer to ==
class DirectionRow:
    """One direction: its vector, where it is in the model, and what is known of it.

    vector: [w_dim], finite, on the CPU. float32 in a file, the type of the w that it is added to:
        it holds half of what float64 would, and `edit` gives the same bits.
    layers, direction: as an `Edit` has them.
    eigenvalue: >= 0; NaN for a combination.
    unit: alpha > 0 of one unit; NaN where nobody measured it.
    name: "" for none; sign: 1 or -1, the sign of the alphas that bring what the name says.
    """

    vector: Tensor
    layers: str
    direction: Direction
    eigenvalue: float = math.nan
    unit: float = math.nan
    name: str = ""
    sign: int = 1

    @classmethod
    def of(
        cls,
        directions: Directions,
        layers: str,
        direction: Direction,
        unit: float = math.nan,
        name: str = "",
        sign: int = 1,
    ) -> "DirectionRow":
        """The row for what a recipe calls (`layers`, `direction`).

        `directions`: what `factorize` gave for `layers`. Raises `UserError` for a direction that
        the model does not have.
        """
        vector = combine(directions.vectors, direction)
        eigenvalue = math.nan
        if is_index(direction):
            eigenvalue = directions.eigenvalues[direction[0][0]].item()
        return cls(vector, layers, direction, eigenvalue, unit, name, sign)


@dataclass(frozen=True, eq=False)
class DirectionsFile:
    """What is in a file of directions.

    model: what the model is called where they were found; says nothing of where it is.
    weights: SHA-256 of the checkpoint's file, 64 hex digits.
    family: as `Generator.family`; num_ws: how many layers there are, which "all" stands for.
    rows: at least one, at most MAX_ROWS, all of one w_dim.
    """

    model: str
    weights: str
    family: str
    num_ws: int
    rows: tuple[DirectionRow, ...]

    @property
    def vectors(self) -> Tensor:
        """[K, w_dim] float32."""
        return torch.stack([row.vector.detach().to("cpu", torch.float32) for row in self.rows])


def write_directions(path: str | os.PathLike, file: DirectionsFile) -> None:
    """Writes `file` whole, or leaves what was at `path` as it was.

    Raises `UserError` for what `read_directions` would not read back, or a disk that refuses.
    """
    content = directions_bytes(file)
    try:
        write_atomically(path, [content])
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}.") from None


def directions_bytes(file: DirectionsFile) -> bytes:
    """The file in memory. Raises `UserError` for what `read_directions` would not read back."""
    rows = file.rows
    facts = {
        "version": VERSION,
        "model": file.model,
        "family": file.family,
        "num_ws": file.num_ws,
        "weights": file.weights,
        "rows": [
            {
                "layers": row.layers,
                "direction": format_direction(row.direction),
                "name": row.name,
                "sign": row.sign,
            }
            for row in rows
        ],
    }
    if len({row.vector.shape for row in rows}) > 1:
        raise UserError("The vectors of one file must all be of one size.")
    tensors = {
        "vectors": file.vectors if rows else torch.zeros(0, 1),
        "eigenvalues": torch.tensor([row.eigenvalue for row in rows], dtype=torch.float64),
        "units": torch.tensor([row.unit for row in rows], dtype=torch.float64),
    }
    entry = json.dumps(facts)
    try:
        parse(tensors, entry)
    except UserError as error:
        raise UserError(f"These directions cannot be written: {error}") from None
    return save(tensors, {ENTRY: entry})


def read_directions(path: str | os.PathLike) -> DirectionsFile:
    """The directions in a file; nothing in it is executed.

    Only the model could tell whether its vectors are those that its rows say: the vectors count.
    Raises `UserError` with one sentence where it is missing, damaged, or anything else than what
    `write_directions` writes.
    """
    path = Path(path)
    shown = show(path.name, 80)
    try:
        if not path.is_file():  # not a pipe, which nobody may ever write to
            raise UserError("there is no such file.")
        with path.open("rb", buffering=0) as opened:
            size = os.fstat(opened.fileno()).st_size
            if size > MAX_BYTES:
                raise UserError(f"it has {size} bytes, and at most {MAX_BYTES} are read.")
            if size < 8:
                raise UserError("it is no .safetensors file.")
            content = read_safetensors(Source(opened).whole(), path)
        metadata = content.pop(METADATA)
        # The library maps the file, which somebody may write to.
        tensors = {name: tensor.clone() for name, tensor in content.items()}
        if ENTRY not in metadata:
            raise UserError(f"it holds no directions (its metadata has no {ENTRY!r}).")
        return parse(tensors, metadata[ENTRY])
    except OSError as error:
        reason = f"it cannot be read ({error.strerror or type(error).__name__})."
    except UserError as error:
        reason = str(error)
    raise UserError(f"{shown} cannot be used: {reason}")


def parse(tensors: dict[str, Any], entry: str) -> DirectionsFile:
    """Tensors by name and the text of the metadata's entry, all checked. Raises `UserError`."""
    try:
        facts = json.loads(entry)
    except (ValueError, RecursionError):
        raise UserError("its metadata is not JSON.") from None
    keys = ("version", "model", "family", "num_ws", "weights", "rows")
    exact_keys(facts, "its metadata", *keys)
    whole(facts["version"], "its version", VERSION, VERSION)
    num_ws = whole(facts["num_ws"], "num_ws", 1, MAX_LAYERS)
    weights = facts["weights"]
    if not isinstance(weights, str) or not DIGEST.fullmatch(weights):
        raise UserError("weights must be a SHA-256, 64 digits from 0 to f.")
    rows = facts["rows"]
    if not isinstance(rows, list) or not 1 <= len(rows) <= MAX_ROWS:
        raise UserError(f"rows must be a list of 1 to {MAX_ROWS}.")
    vectors, eigenvalues, units = checked_tensors(tensors, len(rows))
    return DirectionsFile(
        short_text(facts["model"], "the model"),
        weights,
        short_text(facts["family"], "the family"),
        num_ws,
        tuple(
            DirectionRow(
                vector, *place_of(row, num_ws, len(vector)), eigenvalue, unit, *name_of(row)
            )
            for row, vector, eigenvalue, unit in zip(
                rows, vectors, eigenvalues.tolist(), units.tolist(), strict=True
            )
        ),
    )


def checked_tensors(tensors: dict[str, Any], count: int) -> Sequence[Tensor]:
    """vectors [count, w_dim], eigenvalues [count], units [count]. Raises `UserError`."""
    exact_keys(tensors, "it", *TENSORS)
    for name, dtype in TENSORS.items():
        tensor = tensors[name]
        if tensor.dtype != dtype or tensor.ndim != (2 if name == "vectors" else 1):
            shape = "[K, w_dim]" if name == "vectors" else "[K]"
            kind = str(dtype).removeprefix("torch.")
            found = f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)[:8]}"
            raise UserError(f"{name} must be {kind} {shape}, found {found}.")
        if len(tensor) != count:
            raise UserError(f"it describes {count} rows, and {name} has {len(tensor)}.")
    vectors, eigenvalues, units = (tensors[name] for name in TENSORS)
    if not 1 <= vectors.shape[1] <= MAX_W_DIM:
        raise UserError(f"w_dim must be from 1 to {MAX_W_DIM}, found {vectors.shape[1]}.")
    if not vectors.isfinite().all():
        raise UserError("a vector has a component that is no finite number.")
    if not (eigenvalues.isnan() | ((eigenvalues >= 0) & eigenvalues.isfinite())).all():
        raise UserError("eigenvalues must be finite and not negative, or NaN where there is none.")
    if not (units.isnan() | ((units > 0) & units.isfinite())).all():
        raise UserError("units must be finite and above 0, or NaN where nobody measured.")
    return vectors, eigenvalues, units


def place_of(row: Any, num_ws: int, w_dim: int) -> tuple[str, Direction]:
    """The layers and the terms of a row of the metadata. Raises `UserError`."""
    exact_keys(row, "a row", "layers", "direction", "name", "sign")
    layers, text = canonical_layers(row["layers"]), row["direction"]
    parse_layers(layers, num_ws)
    if not isinstance(text, str):
        raise UserError("the direction of a row must be a text such as '3*0.6+7*0.8'.")
    direction = parse_direction(text)
    for index, _ in direction:
        whole(index, "the index of a row", 0, w_dim - 1)
    return layers, direction


def name_of(row: dict[str, Any]) -> tuple[str, int]:
    """The name and the sign of a row of the metadata. Raises `UserError`."""
    name = direction_name(row["name"]) if row["name"] != "" else ""
    sign = whole(row["sign"], "the sign of a row", -1, 1)
    if sign == 0:
        raise UserError("the sign of a row must be 1 or -1.")
    return name, sign


def short_text(value: Any, what: str) -> str:
    """`value`, a text in one line that is not empty. Raises `UserError`."""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_MODEL or not value.isprintable():
        raise UserError(f"{what} must be a text of 1 to {MAX_MODEL} characters that can be shown.")
    return value
