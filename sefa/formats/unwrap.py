"""Finding the generator's weights among what training codes put into one file."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sefa.errors import CheckpointError
from sefa.formats.arrays import StoredArray, StoredTensor
from sefa.formats.checkpoint import Found
from sefa.formats.containers import METADATA
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
MAX_NAME = 200
MAX_BESIDE = 1_000_000  # numbers in a tensor beside the generator that is kept: a mean w has 512


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
        raise CheckpointError("only a discriminator is in this file, and no generator.")
    return found_in(content, {METADATA: content.get(METADATA, {})})


def found_in(generator: Mapping | Module | Network, beside: Mapping) -> Found:
    """The generator's weights, read from the file now, and what lies beside it."""
    attributes: Mapping = {}
    if isinstance(generator, Module):
        stored, attributes = flatten_module(generator)
    elif isinstance(generator, Network):
        stored, attributes = flatten_network(generator)
    else:
        stored = generator
    beside = {
        name: value.load() if isinstance(value, StoredTensor) else value
        for name, value in beside.items()
        if name == METADATA or (isinstance(value, StoredTensor) and value.numel <= MAX_BESIDE)
    }
    return Found(tensors_of(stored), attributes, beside)


def tensors_of(state_dict: Mapping) -> dict[str, Tensor]:
    """The tensors of a state dict by name; refuses one that holds none."""
    stored: dict[str, Any] = {}
    for key, value in state_dict.items():
        if isinstance(value, StoredArray):
            value = value.tensor
        numeric = isinstance(value, (int, float)) and "/" in str(key)  # TensorFlow's scalars
        if isinstance(key, str) and (isinstance(value, (Tensor, StoredTensor)) or numeric):
            name = key.removeprefix("module.")
            if len(name) > MAX_NAME or not name.isprintable():
                raise CheckpointError(f"it has a weight with the odd name {name[:40]!r}.")
            if name in stored:
                raise CheckpointError(f"the weight {name} occurs twice.")
            stored[name] = value
    if not stored:
        names = ", ".join(shown(name)[:40] for name in list(state_dict)[:5])
        raise CheckpointError(
            f"no generator weights are in this file (found: {names or 'nothing'})."
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


def check_total(stored: Mapping[str, Any]) -> None:
    """Many tensors may be views of one storage: together they must not outgrow what is stored."""
    tensors = [value for value in stored.values() if isinstance(value, StoredTensor)]
    storages = {id(tensor.storage): tensor.storage.nbytes for tensor in tensors}
    if sum(tensor.nbytes for tensor in tensors) > 2 * sum(storages.values()) + 2**20:
        raise CheckpointError("its tensors together claim more numbers than are stored.")
