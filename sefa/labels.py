"""Names that a person gave to directions of one checkpoint, and seeds worth opening it with.

    labels.json -> parse_labels -> Labels -> "Longer hair →" beside direction 4 of layers 0-1

    {"version": 1,
     "weights": "<SHA-256 of the checkpoint's file, 64 hex digits>",
     "labels": [{"layers": "0-1", "index": 4, "sign": 1, "name": "Longer hair"},
                {"layers": "all", "direction": "3*0.6+7*0.8", "sign": 1, "name": "Open mouth"}, ...],
     "seeds": [44, 84, ...]}

`layers` and `index` mean what they mean to `factorize`; a direction that has no index of its own
is written by its coefficients, as in a link. `sign` says at which end of the raw alpha there is
more of what `name` says. Names are only shown: what is edited is said in raw alphas and indices.
They hold for the weights they were found in, and for no others.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sefa.editing import (
    MAX_SAMPLES,
    MAX_SEED,
    Direction,
    Named,
    direction_name,
    format_direction,
    in_order,
    parse_direction,
)  # fmt: skip
from sefa.errors import UserError, show
from sefa.factorization import format_layers, parse_layers

VERSION = 1
MAX_BYTES = 4_000_000  # of a file that is worth reading; the longest within these bounds is smaller
MAX_LABELS = 1024
MAX_SEEDS = 64
DIGEST = re.compile("[0-9a-f]{64}")  # a SHA-256

Place = tuple[tuple[int, ...], Direction]  # w indices, ascending; terms, by ascending index
Name = tuple[str, int]  # what there is more of; 1 or -1, the sign of the alphas that bring it


@dataclass(frozen=True)
class Labels:
    """What people called the directions of one checkpoint.

    seeds: first seeds of galleries worth seeing, best first.
    """

    names: Mapping[Place, Name] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()

    def find(self, layers: Iterable[int], direction: int | Direction) -> Name | None:
        """The name of an eigenvector, by its index, or of a combination, by its terms.

        `layers` as `parse_layers` gives them; None for a direction without a name.
        """
        return self.names.get(place(layers, direction))

    def text(self, layers: Iterable[int], direction: int | Direction) -> str:
        """ "Smile →" where alpha > 0 brings the smile, "← Smile" where alpha < 0 does; "" for none.

        See `find`.
        """
        name, sign = self.find(layers, direction) or ("", 0)
        return f"{name} →" if sign > 0 else f"← {name}" if sign < 0 else ""

    def indices(self, layers: Iterable[int]) -> list[int]:
        """The eigenvalue indices that have a name in these layers, ascending."""
        layers = tuple(layers)
        return sorted(index for those, index in self.indexed() if those == layers)

    def indexed(self) -> dict[tuple[tuple[int, ...], int], Name]:
        """The names of eigenvectors alone, by (w indices, eigenvalue index)."""
        return {
            (layers, direction[0][0]): name
            for (layers, direction), name in self.names.items()
            if is_index(direction)
        }

    def with_names(self, names: Iterable[Named], num_ws: int) -> "Labels":
        """These names of a recipe, and those of `self` for directions that they do not name.

        Of two for one place, as "all" and "0-9" may be, the first counts. Raises `UserError` for
        layers beyond `num_ws`: see `sefa.editing.fit`.
        """
        theirs: dict[Place, Name] = {}
        for named in names:
            at = place(parse_layers(named.layers, num_ws), named.direction)
            theirs.setdefault(at, (named.name, named.sign))
        return Labels({**self.names, **theirs}, self.seeds)


def place(layers: Iterable[int], direction: int | Direction) -> Place:
    """Where `Labels` keeps the name of a direction; an index is short for ((index, 1.0),)."""
    terms = ((direction, 1.0),) if isinstance(direction, int) else in_order(direction)
    return tuple(layers), terms


def is_index(direction: Direction) -> bool:
    """Whether a direction is an eigenvector itself, as against a combination or its opposite."""
    return len(direction) == 1 and direction[0][1] == 1.0


def parse_labels(content: bytes, weights: str, num_ws: int, w_dim: int) -> Labels:
    """The labels in a file for the checkpoint whose SHA-256 is `weights` (hex).

    Raises `UserError` with one sentence where they are for other weights, or any part of the file
    is not as described above.
    """
    data = parse_outside(content)
    if data["weights"] != weights:
        raise UserError("it is for other weights than these.")
    names: dict[Place, Name] = {}
    for entry in a_list(data["labels"], "labels", MAX_LABELS):
        at, name = parse_label(entry, num_ws, w_dim)
        if at in names:
            raise UserError(f"{name[0]!r} names a direction that has a name already.")
        names[at] = name
    last = MAX_SEED - MAX_SAMPLES + 1  # so that a gallery fits behind each
    seeds = [whole(s, "a seed", 0, last) for s in a_list(data["seeds"], "seeds", MAX_SEEDS)]
    return Labels(names, tuple(seeds))


def weights_of(content: bytes) -> str:
    """The SHA-256 (64 hex digits) of the weights that a file's labels are for.

    Raises `UserError` for what cannot be such a file; the labels themselves are not looked at.
    """
    weights = parse_outside(content)["weights"]
    if not isinstance(weights, str) or not DIGEST.fullmatch(weights):
        raise UserError("weights must be the SHA-256 of a checkpoint, 64 digits from 0 to f.")
    return weights


def parse_outside(content: bytes) -> dict[str, Any]:
    """The file as JSON, with its four keys and its version. Raises `UserError`."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise UserError("it is not JSON.") from None
    exact_keys(data, "the file", "version", "weights", "labels", "seeds")
    whole(data["version"], "version", VERSION, VERSION)
    return data


def labels_json(weights: str, labels: Labels) -> str:
    """The file that `parse_labels` reads back as `labels`, a line a name; `weights` as there.

    Raises `UserError` where it could not be read back: for no SHA-256, or too many names or seeds.
    """
    if not DIGEST.fullmatch(weights):
        raise UserError("The weights must be given by their SHA-256, 64 digits from 0 to f.")
    a_list(list(labels.names), "the names in one file", MAX_LABELS)
    a_list(list(labels.seeds), "the seeds in one file", MAX_SEEDS)
    lines = []
    for (layers, direction), (name, sign) in labels.names.items():
        entry: dict[str, Any] = {"layers": format_layers(layers)}
        if is_index(direction):
            entry["index"] = direction[0][0]
        else:
            entry["direction"] = format_direction(direction)
        lines.append("    " + json.dumps(entry | {"sign": sign, "name": name}, ensure_ascii=False))
    listed = "[\n" + ",\n".join(lines) + "\n  ]" if lines else "[]"
    return (
        f'{{\n  "version": {VERSION},\n  "weights": "{weights}",\n'
        f'  "labels": {listed},\n  "seeds": {json.dumps(list(labels.seeds))}\n}}\n'
    )


def parse_label(entry: Any, num_ws: int, w_dim: int) -> tuple[Place, Name]:
    """Which direction an entry is about, and what it says. Raises `UserError`."""
    which = "direction" if isinstance(entry, dict) and "direction" in entry else "index"
    exact_keys(entry, "a label", "layers", which, "sign", "name")
    name, layers = direction_name(entry["name"]), entry["layers"]
    if not isinstance(layers, str):
        raise UserError(f"the layers of {name!r} must be a text such as '0-1,4'.")
    indices = parse_layers(layers, num_ws)
    if which == "index":
        direction = whole(entry["index"], f"the index of {name!r}", 0, w_dim - 1)
    elif isinstance(entry["direction"], str):
        direction = parse_direction(entry["direction"])
        for index, _ in direction:
            whole(index, f"an index of {name!r}", 0, w_dim - 1)
    else:
        raise UserError(f"the direction of {name!r} must be a text such as '3*0.6+7*0.8'.")
    sign = whole(entry["sign"], f"the sign of {name!r}", -1, 1)
    if sign == 0:
        raise UserError(f"the sign of {name!r} must be 1 or -1.")
    return place(indices, direction), (name, sign)


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
