"""Finding the generator's weights among what training codes put into one file."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from sefa.errors import CheckpointError
from sefa.formats.arrays import StoredArray, StoredTensor
from sefa.formats.checkpoint import Found
from sefa.formats.containers import METADATA, check_size
from sefa.formats.kinds import kind_of, weight_names
from sefa.formats.network_pickles import (
    Module,
    Network,
    as_tensor,
    flatten_module,
    flatten_network,
)
from sefa.formats.pickles import describe, shown

# EMA weights first: they are what papers show, whatever else lies beside them.
EMA_NAMES = ("generator_smooth", "G_ema", "g_ema", "Gs")
RAW_NAMES = ("generator", "G", "g", "state_dict", "params_ema")
DISCRIMINATORS = ("discriminator", "D", "d")
MAX_TENSORS = 50_000
MAX_NAME = 200
MAX_BESIDE = 100, 1_000_000  # tensors beside the generator that are kept, and numbers in one


def unwrap(content: Any) -> Found:
    """The generator in what a file holds, its weights without a "module." prefix.

    Tried in order: EMA names, the same in "models" (genforce's runner), raw names, the object
    itself. Raises `CheckpointError` when there is none.
    """
    if isinstance(content, (Module, Network)):
        return found_in(content, {})
    if not isinstance(content, Mapping):
        raise CheckpointError(f"it holds {describe(content)}, not a dict of weights.")
    models = content.get("models")
    models = models if isinstance(models, Mapping) else {}
    candidates = [
        *((content, name) for name in EMA_NAMES),
        *((models, name) for name in (*EMA_NAMES, "generator")),
        *((content, name) for name in RAW_NAMES),
    ]
    for place, name in candidates:
        if isinstance(place.get(name), (Mapping, Module, Network)):
            return found_in(place[name], content)
    if any(isinstance(p.get(name), (Mapping, Module, Network))
           for p in (content, models) for name in DISCRIMINATORS):  # fmt: skip
        refuse_known_kind(content)
        raise CheckpointError("only a discriminator is in this file, and no generator.")
    for name in EMA_NAMES:
        inside, beside = split_names(content, f"{name}.")
        if inside:
            return found_in(inside, beside)
    return found_in(content, {METADATA: content[METADATA]} if METADATA in content else {})


def split_names(content: Mapping, prefix: str) -> tuple[dict, dict]:
    """(what has names that begin so, without it; the rest): nested dicts were joined by dots.

    As safetensors files of whole training files have them: "g_ema.conv1.conv.weight".
    """
    inside = {
        name.removeprefix(prefix): value
        for name, value in content.items()
        if isinstance(name, str) and name.startswith(prefix)
    }
    beside = {name: value for name, value in content.items() if not str(name).startswith(prefix)}
    return inside, beside


def found_in(generator: Mapping | Module | Network, beside: Mapping) -> Found:
    """The generator's weights, read from the file now, and what lies beside it."""
    attributes: Mapping = {}
    if isinstance(generator, Module):
        stored, attributes = flatten_module(generator)
    elif isinstance(generator, Network):
        stored, attributes = flatten_network(generator)
    else:
        stored = generator
    return Found(tensors_of(stored), attributes, dict(kept(beside)))


def kept(beside: Mapping) -> Iterator[tuple[str, Any]]:
    """What is kept of what lies beside the generator: small tensors, and METADATA."""
    most, numbers = MAX_BESIDE
    for name, value in beside.items():
        if name == METADATA and isinstance(value, Mapping):
            yield name, {k: v for k, v in value.items() if type(k) is type(v) is str}
        elif most and (
            (isinstance(value, StoredTensor) and value.storage.numel <= numbers)
            or (isinstance(value, Tensor) and value.numel() <= numbers)
        ):
            most -= 1
            yield name, as_tensor(value).clone()  # a library's tensor may be a mapped file


def tensors_of(state_dict: Mapping) -> dict[str, Tensor]:
    """The tensors of a state dict by name; refuses one that holds none."""
    stored: dict[str, Any] = {}
    for key, value in state_dict.items():
        if isinstance(value, StoredArray):
            value = value.tensor
        numeric = isinstance(value, (int, float)) and "/" in str(key)  # TensorFlow's scalars
        if isinstance(key, str) and (isinstance(value, (Tensor, StoredTensor)) or numeric):
            name = key.removeprefix("module.")
            if len(name) > MAX_NAME or not re.fullmatch(r"[!-~]*[\w\])]", name):
                raise CheckpointError(f"it has a weight with the odd name '{shown(name, 40)}'.")
            if name in stored:
                raise CheckpointError(f"the weight {name} occurs twice.")
            stored[name] = value
    if not stored:
        refuse_known_kind(state_dict)
        names = weight_names(state_dict) or list(state_dict)
        listed = ", ".join(shown(name, 40) for name in names[:5])
        raise CheckpointError(
            f"no generator weights are in this file (found: {listed or 'nothing'})."
        )
    check_total(stored)
    return load_apart(stored)


def load_apart(stored: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors, no two of which share memory, or hold on to more than their own."""
    users = Counter(
        id(value.storage) for value in stored.values() if isinstance(value, StoredTensor)
    )
    tensors = {}
    for name, value in stored.items():
        tensor = as_tensor(value)
        if isinstance(value, StoredTensor):
            alone = users[id(value.storage)] == 1 and value.numel == value.storage.numel
        else:
            alone = not isinstance(value, Tensor)  # a library's tensor may be a mapped file
        tensors[name] = tensor if alone else tensor.clone()
    return tensors


def refuse_known_kind(content: Any) -> None:
    """Raises `CheckpointError` if what a file holds is of a kind that is known, but not read."""
    kind = kind_of(weight_names(content))
    if kind is not None:
        raise CheckpointError(f"this is {kind}, which is not read here.")


def check_total(stored: Mapping[str, Any]) -> None:
    """Bounds the memory for all tensors together by what the file holds of them.

    Many tensors may be views of one storage, and many storages may lie in the same bytes.
    """
    if len(stored) > MAX_TENSORS:
        raise CheckpointError(f"it has {len(stored)} weights; at most {MAX_TENSORS} are read.")
    tensors = [value for value in stored.values() if isinstance(value, StoredTensor)]
    storages = {id(tensor.storage): tensor.storage for tensor in tensors}.values()
    held = sum({storage.place_key: storage.nbytes for storage in storages}.values())
    claimed = max(sum(tensor.nbytes for tensor in tensors), sum(s.nbytes for s in storages))
    if claimed > 2 * held + 2**20:
        raise CheckpointError("its tensors together claim more numbers than are stored.")
    others = sum(value.nbytes for value in stored.values() if isinstance(value, Tensor))
    check_size(claimed + others)
