"""Tensors and numpy arrays that lie in a file: described first, checked, and read when wanted.

A description is a few numbers, whatever it claims; the memory for it is taken only after it was
found to be no more than what the file holds.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sefa.errors import CheckpointError
from sefa.formats.pickles import Global, Inert, Names, describe, shown
from sefa.formats.source import Piece, Source

MAX_DIMENSIONS = 16
MAX_SIZE = 2**48  # of one dimension, and of their product

# torch's names of storages -> how their bytes are seen by numpy, and by torch where that differs
STORAGES = {
    "FloatStorage": ("<f4", None),
    "DoubleStorage": ("<f8", None),
    "HalfStorage": ("<f2", None),
    "BFloat16Storage": ("<i2", torch.bfloat16),
    "LongStorage": ("<i8", None),
    "IntStorage": ("<i4", None),
    "ShortStorage": ("<i2", None),
    "CharStorage": ("|i1", None),
    "ByteStorage": ("|u1", None),
    "BoolStorage": ("|b1", None),
}


class Storage(Inert):
    """A run of numbers in the file. `piece` may come later than the tensors that refer to it."""

    kind = "a storage"

    def __init__(self, dtype: str, numel: int, piece: Piece | None = None, view=None):
        self.dtype = np.dtype(dtype)
        self.view = view  # the torch dtype, where numpy has none like it
        self.numel = numel
        self._piece: Piece | None = None
        self._data: Tensor | None = None
        if piece is not None:
            self.place(piece)

    @classmethod
    def of_torch(cls, kind: object, numel: object, piece: Piece | None = None) -> Storage:
        """A storage as torch names it, such as torch.FloatStorage."""
        if not isinstance(kind, Global) or kind.module != "torch" or kind.name not in STORAGES:
            raise CheckpointError(f"it has a storage of the kind {describe(kind)}.")
        dtype, view = STORAGES[kind.name]
        return cls(dtype, whole_number(numel), piece, view)

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize

    @property
    def place_key(self) -> object:
        """Equal for storages that lie in the same bytes."""
        return self._piece or id(self)

    def place(self, piece: Piece) -> None:
        """Where the numbers lie. Raises `CheckpointError` unless these are exactly as many."""
        if piece.length != self.nbytes:
            raise CheckpointError(
                f"a storage of {self.numel} numbers takes {self.nbytes} bytes, and the file has "
                f"{piece.length} for it."
            )
        self._piece = piece

    def load(self) -> Tensor:
        """The numbers [numel], read once: tensors that share them share their memory."""
        if self._data is None:
            if self._piece is None:
                raise CheckpointError("one of its tensors has no numbers in the file.")
            # torch's memory: numpy asks for huge pages, which were seen to take four times as long.
            data = torch.empty(self.nbytes, dtype=torch.uint8).numpy()
            self._piece.read_into(memoryview(data))
            array = data.view(self.dtype)
            if not array.dtype.isnative:
                array = array.astype(array.dtype.newbyteorder("="))
            tensor = torch.from_numpy(array)
            self._data = tensor if self.view is None else tensor.view(self.view)
        return self._data


class StoredTensor(Inert):
    """A view of a storage, as tensors and arrays are; sizes, strides, offset in numbers."""

    kind = "a tensor"

    def __init__(self, storage: object, offset: object, size: object, stride: object):
        if not isinstance(storage, Storage):
            raise CheckpointError(f"one of its tensors has {describe(storage)} as its storage.")
        self.storage = storage
        self.offset = whole_number(offset)
        self.size, self.stride = dimensions(size), dimensions(stride)
        self.numel = math.prod(self.size)
        if len(self.size) != len(self.stride):
            raise CheckpointError("one of its tensors has more sizes than strides, or fewer.")
        if math.prod(n for n in self.size if n) >= MAX_SIZE:  # also where a dimension is 0
            raise CheckpointError(f"one of its tensors has the shape {list(self.size)}.")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.stride, strict=True))
        if self.numel > storage.numel or (self.numel and last >= storage.numel):
            raise CheckpointError(
                f"one of its tensors, of shape {list(self.size)}, claims more numbers than are "
                "stored."
            )

    @property
    def nbytes(self) -> int:
        return self.numel * self.storage.dtype.itemsize

    def set_state(self, state: Any) -> None:
        """Attributes that somebody gave a tensor: of no use here."""

    def load(self) -> Tensor:
        """The tensor, a view of its storage: with the strides of the file."""
        if self.numel == 0:
            return torch.zeros(self.size)
        return self.storage.load().as_strided(self.size, self.stride, self.offset)


def whole_number(value: object) -> int:
    """A size, stride, offset or count."""
    if type(value) is not int or not 0 <= value < MAX_SIZE:
        raise CheckpointError(f"one of its tensors has {shown(value, 20)} as a size or stride.")
    return value


def dimensions(value: object) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)) or len(value) > MAX_DIMENSIONS:
        raise CheckpointError(f"one of its tensors has {describe(value)} as its shape.")
    return tuple(map(whole_number, value))


# --- torch's functions ----------------------------------------------------------------------------


def rebuild_tensor(storage, offset, size, stride, *grad_and_hooks) -> StoredTensor:
    """`torch._utils._rebuild_tensor`, and `_v2`, which also has what training needs."""
    return StoredTensor(storage, offset, size, stride)


def rebuild_parameter(tensor, *grad_and_hooks) -> StoredTensor:
    """`torch._utils._rebuild_parameter`: the tensor itself."""
    if not isinstance(tensor, StoredTensor):
        raise TypeError
    return tensor


def not_dense(*arguments) -> None:
    raise CheckpointError("one of its tensors is not a plain dense tensor.")


TORCH_NAMES: Names = {
    **{("torch", name): None for name in STORAGES},
    ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): rebuild_parameter,
    ("torch._utils", "_rebuild_sparse_tensor"): not_dense,
    ("torch._utils", "_rebuild_qtensor"): not_dense,
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): not_dense,
    ("torch.serialization", "_get_layout"): lambda layout: None,
    ("torch", "Size"): lambda sizes=(): dimensions(sizes),
    ("torch", "device"): lambda *device: None,
    **{
        ("torch", name): None
        for name in ("float16", "bfloat16", "float32", "float64", "uint8", "int32", "int64", "bool")
    },
}


# --- numpy's functions ----------------------------------------------------------------------------


class DType(Inert):
    """A numpy dtype: numbers only, so never objects, whose bytes would be a pickle again."""

    kind = "a dtype"

    def __init__(self, name: object, align: object = False, copy: object = False):
        if not isinstance(name, str) or not re.fullmatch(r"[fiub][1248]", name):
            raise CheckpointError(
                f"one of its arrays has the dtype {shown(name, 20)}, and only plain numbers are "
                "read."
            )
        self.name, self.byteorder = name, "<"
        self.itemsize = self.to_numpy().itemsize

    def set_state(self, state: Any) -> None:
        """(version, byte order, then None or -1 for what only structures have, ...)."""
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError
        self.byteorder = state[1]

    def to_numpy(self) -> np.dtype:
        if self.name in ("f1", "b2", "b4", "b8"):
            raise CheckpointError(f"one of its arrays has the dtype {self.name!r}.")
        return np.dtype(self.name).newbyteorder("<" if self.byteorder == "=" else self.byteorder)


class StoredArray(Inert):
    """`numpy.core.multiarray._reconstruct`: an array whose state comes with BUILD."""

    kind = "an array"

    def __init__(self, *kind: object):
        self.tensor: StoredTensor | None = None

    def set_state(self, state: Any) -> None:
        """(version, shape, dtype, Fortran order, bytes)."""
        _, shape, dtype, fortran, data = state
        self.tensor = stored_array(data, dtype, shape, "F" if fortran else "C")


def stored_array(
    data: object, dtype: object, shape: object, order: object, axes: object = None
) -> StoredTensor:
    """An array of bytes in the file: dense, in C or Fortran order.

    In order "K" it is in C order of `shape`, and its dimensions then come in the order `axes`.
    """
    if isinstance(data, str):  # Python 2's str, when all bytes happen to be ASCII
        data = data.encode("ascii")
    if isinstance(data, bytes):
        data = Source.of(data).whole()
    if not isinstance(dtype, DType) or not isinstance(data, Piece) or order not in tuple("CFK"):
        raise TypeError
    size = dimensions(shape)
    stride, step = [], 1
    for n in size if order == "F" else size[::-1]:
        stride.append(step)
        step *= n
    storage = Storage(dtype.to_numpy().str, math.prod(size), data)
    stride = stride if order == "F" else stride[::-1]
    if order == "K":
        axes = dimensions(axes)
        if sorted(axes) != list(range(len(size))):
            raise ValueError
        size, stride = [size[axis] for axis in axes], [stride[axis] for axis in axes]
    return StoredTensor(storage, 0, size, stride)


def array_of_buffer(data, dtype, shape, order, axes=None) -> StoredArray:
    """`numpy._core.numeric._frombuffer`: an array as protocol 5 has it."""
    array = StoredArray()
    array.tensor = stored_array(data, dtype, shape, order, axes)
    return array


def numpy_scalar(dtype: object, data: object = b"") -> float | int | bool:
    """`numpy.core.multiarray.scalar`: a plain number."""
    if isinstance(data, str):
        data = data.encode("latin1")
    if not isinstance(dtype, DType) or not isinstance(data, bytes):
        raise TypeError
    return np.frombuffer(data, dtype.to_numpy(), 1)[0].item()


NUMPY_NAMES: Names = {
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): DType,
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")  # numpy 1 and 2
        for module, name, function in (
            ("multiarray", "_reconstruct", StoredArray),
            ("multiarray", "scalar", numpy_scalar),
            ("numeric", "_frombuffer", array_of_buffer),
        )
    },
}
