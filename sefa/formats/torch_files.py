"""What `torch.save` writes: its zip archives, and the stream of pickles of before torch 1.6.

In both a pickle describes the tensors, and the numbers lie outside of it. `torch.load` is not used:
it imports what it meets, and takes compressed members and views larger than their storage.
"""

from typing import Any

from sefa.errors import CheckpointError
from sefa.formats.arrays import NUMPY_NAMES, TORCH_NAMES, Storage
from sefa.formats.pickles import (
    Budget,
    Global,
    Inert,
    Names,
    TextEncoder,
    describe,
    load_pickle,
    shown,
)
from sefa.formats.source import Piece
from sefa.formats.zip_archive import read_zip

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
MAX_STORAGES = 50_000


class Namespace(Inert):
    """`argparse.Namespace`: the options of a training run, which are not looked at."""

    def set_state(self, state: Any) -> None:
        pass


def ordered_dict(items: Any = ()) -> dict:
    """`collections.OrderedDict`, whose items come afterwards, or as pairs from Python 2."""
    return _dict_of(items)


def default_dict(factory: Any = None, items: Any = ()) -> dict:
    """`collections.defaultdict`, as optimisers have it: without its factory."""
    return _dict_of(items)


def counter(counts: Any = None) -> dict:
    """`collections.Counter`, as schedules of learning rates have it; not looked at."""
    return {}


def _dict_of(pairs: Any) -> dict:
    if not isinstance(pairs, (list, tuple)):
        raise TypeError
    if not all(isinstance(pair, (list, tuple)) and isinstance(pair[0], str) for pair in pairs):
        raise TypeError
    return {key: value for key, value in pairs}


def set_of(items: Any = ()) -> set:
    """`set`, as protocols up to 3 write it; of names."""
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
        raise TypeError
    return set(items)


def plain_names() -> Names:
    """The names that files of weights hold, and what each stands for here; anew for each file."""
    encode = TextEncoder()
    return {
        **TORCH_NAMES,
        **NUMPY_NAMES,
        ("_codecs", "encode"): encode,
        ("collections", "OrderedDict"): ordered_dict,
        ("collections", "defaultdict"): default_dict,
        ("collections", "Counter"): counter,
        ("argparse", "Namespace"): Namespace,
        **{
            (builtins, name): function
            for builtins in ("builtins", "__builtin__")
            for name, function in (("set", set_of), ("bytes", lambda: b""), ("dict", dict_type))
        },
    }


def dict_type() -> dict:
    """`dict`, the usual factory of a defaultdict."""
    return {}


# --- zip ------------------------------------------------------------------------------------------


def read_torch_zip(file: Piece) -> Any:
    """The object in a zip archive that `torch.save` wrote. Raises `CheckpointError`."""
    members = read_zip(file, check_names=torch_folder)
    folder = torch_folder(list(members))
    order = members.get(f"{folder}byteorder")
    if order is not None and order.part(0, min(order.length, 10)).read() != b"little":
        raise CheckpointError("it was written on a big-endian machine, which is not read.")

    description = members[f"{folder}data.pkl"]
    storages: dict[str, Storage] = {}

    def persistent(pid: Any) -> Storage:
        kind, key, numel = storage_id(pid)
        if key not in storages:
            member = members.get(f"{folder}data/{key}")
            if member is None:
                raise CheckpointError(f"the zip archive lacks the storage '{shown(key)}'.")
            storages[key] = Storage.of_torch(kind, numel, member)
        return same(storages[key], kind, numel)

    content, length = load_pickle(description, plain_names(), Budget(), persistent)
    if length != description.length:
        raise CheckpointError("there is more in its pickle than one object.")
    return content


def torch_folder(names: list[str]) -> str:
    """The folder of a torch archive's members, "archive/". Raises `CheckpointError` for others."""
    pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    folder = pickles[0].removesuffix("data.pkl") if pickles else ""
    if f"{folder}constants.pkl" in names:
        raise CheckpointError(
            "this is a TorchScript program, not a file of weights: save its state_dict() instead."
        )
    if len(pickles) > 1:
        raise CheckpointError(
            f"this zip archive has {len(pickles)} members data.pkl, where torch writes one."
        )
    if "model.weights.h5" in names or ("config.json" in names and "metadata.json" in names):
        raise CheckpointError("this is a Keras model (.keras), which is not read here.")
    if names and all(name.endswith(".npy") for name in names):
        raise CheckpointError("this is a numpy archive (.npz), which is not read here.")
    if not pickles:
        listed = ", ".join(shown(name, 40) for name in names[:3])
        raise CheckpointError(
            f"this zip archive is not a torch checkpoint (it holds {listed or 'nothing'})."
        )
    return folder


def storage_id(pid: Any) -> tuple[Global, str, int]:
    """(kind, key, number of elements) from a persistent id of torch's."""
    if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
        kind = shown(pid[0]) if isinstance(pid, tuple) and pid else describe(pid)
        raise CheckpointError(
            f"it refers to an object of the kind {kind}, where only weights are read: a model that "
            "was saved whole must be saved as its state_dict()."
        )
    _, kind, key, _, numel, *view = pid
    if not isinstance(key, str) or any(part is not None for part in view):
        raise CheckpointError("one of its storages is described in a form that is not read.")
    return kind, key, numel


def same(storage: Storage, kind: Global, numel: int) -> Storage:
    """A storage that is referred to again, if it is told the same of it."""
    again = Storage.of_torch(kind, numel)
    if (again.dtype, again.view, again.numel) != (storage.dtype, storage.view, storage.numel):
        raise CheckpointError("one of its storages is described in two ways.")
    return storage


# --- stream ---------------------------------------------------------------------------------------


def read_torch_stream(file: Piece, names: Names | None = None, budget: Budget | None = None) -> Any:
    """The object in a stream as `torch.save` wrote it before version 1.6.

    Pickles of a magic number, a version, facts on the machine, the object, and the keys of the
    storages; then each storage: how many numbers, and the numbers. Raises `CheckpointError`.
    """
    names, budget = plain_names() if names is None else names, budget or Budget()
    at = 0

    def next_pickle(names: Names, persistent: Any = None) -> Any:
        nonlocal at
        value, length = load_pickle(
            file.part(at, file.length - at), names, budget, persistent=persistent
        )
        at += length
        return value

    if next_pickle({}) != MAGIC or next_pickle({}) != PROTOCOL:
        raise CheckpointError("this is no file that torch.save wrote.")
    machine = next_pickle({})
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise CheckpointError("it was written on a big-endian machine, which is not read.")

    storages: dict[str, Storage] = {}

    def persistent(pid: Any) -> Storage:
        kind, key, numel = storage_id(pid)
        if key not in storages:
            storages[key] = Storage.of_torch(kind, numel)
        return same(storages[key], kind, numel)

    content = next_pickle(names, persistent)
    keys = next_pickle({})
    if not isinstance(keys, list) or len(keys) > MAX_STORAGES:
        raise CheckpointError("its list of storages is damaged.")
    for key in keys:
        if not isinstance(key, str) or key not in storages:
            raise CheckpointError("it lists a storage that nothing refers to.")
        storage = storages.pop(key)
        numel = int.from_bytes(file.part(at, 8).read(), "little")
        if numel != storage.numel:
            raise CheckpointError(
                f"a storage of {storage.numel} numbers is said to have {numel} where it lies."
            )
        storage.place(file.part(at + 8, storage.nbytes))
        at += 8 + storage.nbytes
    if storages:
        raise CheckpointError("some of its storages are missing.")
    if at != file.length:
        raise CheckpointError(f"{file.length - at} bytes follow where the file should end.")
    return content
