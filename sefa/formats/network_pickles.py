"""Pickles of whole networks: NVIDIA's from PyTorch, and those of the TensorFlow era before.

Such a file holds objects whose classes came with the training code, in NVIDIA's case as source text
that its own loader executes. Here they become a `Module` or a `Network`: their weights and
attributes as plain data. The source text is not even read.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from sefa.errors import CheckpointError
from sefa.formats.arrays import STORAGES, Storage, StoredArray, StoredTensor
from sefa.formats.pickles import Budget, Inert, Names, describe, load_pickle, shown
from sefa.formats.source import Piece, Source
from sefa.formats.torch_files import ordered_dict, plain_names, read_torch_stream

CLASS = "__class__"  # under which a module's attributes tell the name of its class
MAX_DEPTH = 16  # of modules in modules; NVIDIA's have 4
MAX_ENTRIES = 500_000  # in all modules, as one may occur many times; NVIDIA's have some 5 000
MAX_NAME = 200
MAX_ARRAY = 64  # numbers in an attribute; NVIDIA's have 2
TF_VERSION = 4  # of dnnlib's Network: StyleGAN2's; 2 and 3 are StyleGAN's and PGGAN's


class Module(Inert):
    """`torch_utils.persistence._reconstruct_persistent_obj`: a module of NVIDIA's training code."""

    def __init__(self, meta: Mapping[str, Any]):
        class_name, state = meta["class_name"], meta["state"]
        if not isinstance(class_name, str) or not isinstance(state, dict):
            raise TypeError
        self.class_name, self.state = class_name, state

    def part(self, name: str) -> dict:
        """`_parameters`, `_buffers` or `_modules`."""
        value = self.state.get(name, {})
        if not isinstance(value, dict):
            raise CheckpointError(f"{name} of its {shown(self.class_name)} is not a dict.")
        return value


class Network(Inert):
    """`dnnlib.tflib.network.Network`: a network of the TensorFlow era, whose state comes later."""

    def __init__(self):
        self.state: dict = {}

    def set_state(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise TypeError
        self.state = state


class Embedding(Module):
    """`torch.nn.Embedding`, which StyleGAN-XL has beside NVIDIA's modules: so that it is told."""

    def __init__(self):
        super().__init__({"class_name": "Embedding", "state": {}})

    def set_state(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise TypeError
        self.state = state


def projected_discriminator(*arguments: Any) -> None:
    """Its networks are objects of many libraries."""
    raise CheckpointError("this is a StyleGAN-XL or Projected GAN pickle, which is not read here.")


def read_network_pickle(file: Piece) -> Any:
    """The object in a pickle that is not torch's. Raises `CheckpointError`.

    TensorFlow's tuple (G, D, Gs) comes as a dict of these names.
    """
    budget = Budget()
    tokens = {("torch", name): None for name in STORAGES}
    storages: dict[Piece, Storage] = {}  # by their bytes, which a pickle may give many times

    def load_from_bytes(data: Any) -> Storage:
        """`torch.storage._load_from_bytes`: a torch stream in the pickle, of one storage."""
        if isinstance(data, bytes):
            data = Source.of(data).whole()
        if not isinstance(data, Piece):
            raise TypeError
        if data not in storages:
            storage = read_torch_stream(data, tokens, budget)
            if not isinstance(storage, Storage):
                raise CheckpointError(
                    f"one of its tensors has {describe(storage)} in place of its storage."
                )
            storages[data] = storage
        return storages[data]

    names: Names = {
        **plain_names(),
        ("torch.storage", "_load_from_bytes"): load_from_bytes,
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): Module,
        ("dnnlib.util", "EasyDict"): ordered_dict,
        ("dnnlib", "EasyDict"): ordered_dict,
        ("dnnlib.tflib.network", "Network"): Network,
        ("torch.nn.modules.sparse", "Embedding"): Embedding,
        ("pg_modules.discriminator", "ProjectedDiscriminator"): projected_discriminator,
    }
    content, length = load_pickle(file, names, budget)
    if length != file.length:
        raise CheckpointError(f"{file.length - length} bytes follow where its pickle ends.")
    if isinstance(content, tuple) and len(content) == 3 and isinstance(content[2], Network):
        return dict(zip(("G", "D", "Gs"), content, strict=True))
    return content


# --- NVIDIA's modules -----------------------------------------------------------------------------


def flatten_module(module: Module) -> tuple[dict[str, StoredTensor], dict[str, dict[str, Any]]]:
    """(tensors by dotted name, as its state_dict() has them; attributes of each module by path)."""
    tensors: dict[str, StoredTensor] = {}
    attributes: dict[str, dict[str, Any]] = {}
    entries = Entries()
    for path, inner in _walk(module, "", 0, entries):
        attributes[path] = {**plain_entries(inner.state, entries), CLASS: inner.class_name}
        temporary = inner.state.get("_non_persistent_buffers_set", ())
        temporary = temporary if isinstance(temporary, (set, frozenset)) else ()
        for part in (inner.part("_parameters"), inner.part("_buffers")):
            entries.count(part)
            for name, value in part.items():
                if isinstance(value, StoredArray):
                    value = value.tensor
                if isinstance(value, StoredTensor) and name not in temporary:
                    tensors[joined(path, ".", name)] = value
    return tensors, attributes


def _walk(
    module: Module, path: str, depth: int, entries: "Entries"
) -> Iterator[tuple[str, Module]]:
    if depth > MAX_DEPTH:
        raise CheckpointError(f"its modules are nested more than {MAX_DEPTH} deep.")
    yield path, module
    inner_modules = module.part("_modules")
    entries.count(inner_modules)
    for name, inner in inner_modules.items():
        if isinstance(inner, Module):
            yield from _walk(inner, joined(path, ".", name), depth + 1, entries)


def joined(path: str, separator: str, name: object) -> str:
    """The name of something in a module or network. Raises `CheckpointError` if it is absurd."""
    whole = f"{path}{separator}{name}" if path else str(name)
    if len(whole) > MAX_NAME:
        raise CheckpointError(f"something in it has a name of {len(whole)} characters.")
    return whole


class Entries:
    """Counts what is looked at, as objects may be in each other in many ways, or for ever."""

    def __init__(self):
        self.rest = MAX_ENTRIES

    def count(self, container: Collection) -> None:
        self.rest -= 1 + len(container)
        if self.rest < 0:
            raise CheckpointError(
                f"its networks have more than {MAX_ENTRIES} modules, weights and attributes."
            )


def plain_entries(state: Mapping, entries: Entries) -> dict[str, Any]:
    """Of an object's attributes: numbers, texts, None, and short lists and dicts of these.

    A short array is given as a list; what is torch's own (most names with _) is left out.
    """
    entries.count(state)
    plain: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, StoredArray) and value.tensor and value.tensor.numel <= MAX_ARRAY:
            value = value.tensor.load().tolist()
        own = isinstance(name, str) and (name[:1] != "_" or name == "_init_kwargs")
        if own and is_plain(value, entries):
            plain[name] = value
    return plain


def is_plain(value: Any, entries: Entries, depth: int = 3) -> bool:
    if isinstance(value, (list, tuple, dict)):
        if depth == 0 or len(value) > 256:
            return False
        entries.count(value)
        if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
            return False
        inner = value.values() if isinstance(value, dict) else value
        return all(is_plain(item, entries, depth - 1) for item in inner)
    return value is None or isinstance(value, (bool, int, float, str))


# --- TensorFlow's networks ------------------------------------------------------------------------


def flatten_network(network: Network) -> tuple[dict[str, StoredTensor], dict[str, dict[str, Any]]]:
    """(variables by name, "synthesis/4x4/Const/const"; static_kwargs by component, "" the whole).

    Raises `CheckpointError` for networks of before StyleGAN2.
    """
    tensors: dict[str, StoredTensor] = {}
    attributes: dict[str, dict[str, Any]] = {}
    entries = Entries()
    version = network.state.get("version")
    if version != TF_VERSION:
        raise CheckpointError(
            f"this is a TensorFlow pickle of version {shown(version, 20)}, of a StyleGAN or PGGAN; "
            f"only version {TF_VERSION}, StyleGAN2, is read."
        )
    parts = [("", network)]
    components = network.state.get("components", {})
    if not isinstance(components, dict):
        raise CheckpointError("the components of its network are not a dict.")
    parts += [(str(name), part) for name, part in components.items() if isinstance(part, Network)]
    for path, part in parts:
        kwargs = part.state.get("static_kwargs", {})
        kwargs = kwargs if isinstance(kwargs, dict) else {}
        attributes[path] = plain_entries(kwargs, entries)
        variables = part.state.get("variables", [])
        if not isinstance(variables, (list, tuple)):
            raise CheckpointError("the variables of its network are not a list.")
        entries.count(variables)
        for pair in variables:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2 or type(pair[0]) is not str:
                raise CheckpointError("one of the variables of its network is no name and value.")
            name, value = pair
            value = value.tensor if isinstance(value, StoredArray) else value
            if isinstance(value, (StoredTensor, int, float)):
                tensors[joined(path, "/", name)] = value
    return tensors, attributes


def as_tensor(value: StoredTensor | Tensor | float) -> Tensor:
    """The numbers themselves; a plain number, as numpy's scalars became, has shape []."""
    if isinstance(value, StoredTensor):
        return value.load()
    if isinstance(value, Tensor):
        return value
    return torch.tensor(float(value))
