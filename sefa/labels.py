"""Names that a person gave to directions of one checkpoint, and seeds worth opening it with.

    labels.json -> parse_labels -> Labels -> "Longer hair →" beside direction 4 of layers 0-1

    {"version": 1,
     "weights": "<SHA-256 of the checkpoint's file, 64 hex digits>",
     "labels": [{"layers": "0-1", "index": 4, "sign": 1, "name": "Longer hair"}, ...],
     "seeds": [44, 84, ...]}

`layers` and `index` mean what they mean to `factorize`; `sign` says at which end of the raw alpha
there is more of what `name` says. Names are only shown: recipes, links and files keep raw alphas
and indices. They hold for the weights they were found in, and for no others.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sefa.editing import MAX_SAMPLES, MAX_SEED
from sefa.errors import UserError, show
from sefa.factorization import parse_layers

VERSION = 1
MAX_BYTES = 100_000  # of a file that is worth reading
MAX_LABELS = 1024
MAX_NAME = 64  # characters
MAX_SEEDS = 64
NAME = re.compile(r"[^\W_]([^\W_]|[ ,.'’()/-])*")  # nothing that is markup in HTML or Markdown

Place = tuple[tuple[int, ...], int]  # w indices, ascending; eigenvalue index
Name = tuple[str, int]  # what there is more of; 1 or -1, the sign of the alphas that bring it


@dataclass(frozen=True)
class Labels:
    """What people called the directions of one checkpoint.

    seeds: first seeds of galleries worth seeing, best first.
    """

    names: Mapping[Place, Name] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()

    def text(self, layers: Iterable[int], index: int) -> str:
        """ "Smile →" where alpha > 0 brings the smile, "← Smile" where alpha < 0 does.

        `layers` as `parse_layers` gives them; "" for a direction without a name.
        """
        name, sign = self.names.get((tuple(layers), index), ("", 0))
        return f"{name} →" if sign > 0 else f"← {name}" if sign < 0 else ""

    def indices(self, layers: Iterable[int]) -> list[int]:
        """The eigenvalue indices that have a name in these layers, ascending."""
        layers = tuple(layers)
        return sorted(index for those, index in self.names if those == layers)


def parse_labels(content: bytes, weights: str, num_ws: int, w_dim: int) -> Labels:
    """The labels in a file for the checkpoint whose SHA-256 is `weights` (hex).

    Raises `UserError` with one sentence where they are for other weights, or any part of the file
    is not as described above.
    """
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise UserError("it is not JSON.") from None
    exact_keys(data, "the file", "version", "weights", "labels", "seeds")
    whole(data["version"], "version", VERSION, VERSION)
    if data["weights"] != weights:
        raise UserError("it is for other weights than these.")
    names: dict[Place, Name] = {}
    for entry in a_list(data["labels"], "labels", MAX_LABELS):
        place, name = parse_label(entry, num_ws, w_dim)
        if place in names:
            raise UserError(f"{name[0]!r} names a direction that has a name already.")
        names[place] = name
    last = MAX_SEED - MAX_SAMPLES + 1  # so that a gallery fits behind each
    seeds = [whole(s, "a seed", 0, last) for s in a_list(data["seeds"], "seeds", MAX_SEEDS)]
    return Labels(names, tuple(seeds))


def parse_label(entry: Any, num_ws: int, w_dim: int) -> tuple[Place, Name]:
    """Which direction an entry is about, and what it says. Raises `UserError`."""
    exact_keys(entry, "a label", "layers", "index", "sign", "name")
    name, layers = entry["name"], entry["layers"]
    if not isinstance(name, str) or len(name) > MAX_NAME or not NAME.fullmatch(name):
        raise UserError(
            f"{show(name)} is no name; it takes 1 to {MAX_NAME} letters, digits, spaces and "
            ",.'’()/- beginning with a letter or digit."
        )
    if not isinstance(layers, str):
        raise UserError(f"the layers of {name!r} must be a text such as '0-1,4'.")
    indices = tuple(parse_layers(layers, num_ws))
    index = whole(entry["index"], f"the index of {name!r}", 0, w_dim - 1)
    sign = whole(entry["sign"], f"the sign of {name!r}", -1, 1)
    if sign == 0:
        raise UserError(f"the sign of {name!r} must be 1 or -1.")
    return (indices, index), (name, sign)


def exact_keys(value: Any, what: str, *keys: str) -> dict[str, Any]:
    """`value`, a dict with these keys and no others. Raises `UserError`."""
    if not isinstance(value, dict) or value.keys() != set(keys):
        raise UserError(f"{what} must have {', '.join(keys)}, and nothing else.")
    return value


def a_list(value: Any, what: str, most: int) -> list:
    """`value`, a list of at most so many. Raises `UserError`."""
    if not isinstance(value, list) or len(value) > most:
        raise UserError(f"{what} must be a list of at most {most}.")
    return value


def whole(value: Any, what: str, low: int, high: int) -> int:
    """`value`, an integer in [low, high] and no text or truth value. Raises `UserError`."""
    if type(value) is not int or not low <= value <= high:
        raise UserError(f"{what} must be an integer from {low} to {high}, not {show(value)}.")
    return value
