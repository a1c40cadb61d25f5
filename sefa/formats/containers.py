"""Files that hold tensors -> nested dicts of tensors, without running anything in them.

A kind is told by its first bytes, never by the file's name. Pickles, torch's among them, go through
a machine of our own that can call nothing (`pickles.py`); safetensors through its library.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from sefa.errors import CheckpointError
from sefa.formats.network_pickles import read_network_pickle
from sefa.formats.source import Piece, Source
from sefa.formats.torch_files import read_torch_stream, read_torch_zip

METADATA = "__metadata__"  # key under which safetensors metadata (text to text) is returned
MAX_HEADER = 16 * 2**20  # of a safetensors file: names and shapes of 100 000 tensors
MAX_BYTES = 2**30  # of one generator's weights; the largest that are read have half of it
OLD_PICKLE = re.compile(  # protocols 0 and 1: a dict, list, tuple, name or object
    rb"\(?([dl]p\d+\n|[(]*[ci][\w.]+\n[\w.]+\n|[}\]]q.)|\([}\])IKVX]", re.DOTALL
)
LEGACY_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")  # pickled torch.serialization.MAGIC_NUMBER


@contextmanager
def open_container(path: Path) -> Iterator[Any]:
    """The content of a torch, pickle or safetensors file; its tensors are read while it is open.

    Raises `CheckpointError` for anything else.
    """
    try:
        if not path.exists():
            raise CheckpointError(
                "this is a link that leads nowhere."
                if os.path.islink(path)
                else "there is no such file."
            )
        if not path.is_file():
            raise CheckpointError("this is not a file.")
        with path.open("rb", buffering=0) as file:
            yield read_container(Source(file).whole(), path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CheckpointError(f"the file cannot be read ({reason}).") from None
    except MemoryError:
        raise CheckpointError("the file claims more memory than there is.") from None


def read_container(file: Piece, path: Path) -> Any:
    """The object in a file: nested dicts, whose tensors are read when they are wanted."""
    head = file.part(0, min(file.length, 512)).read()
    if not head:
        raise CheckpointError("the file is empty.")
    if head[5:9] == b"\0\0\0{":  # whose length, in the first bytes, may look like a pickle's start
        return read_safetensors(file, path)
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return read_torch_zip(file)
    if head[0] == 0x80 and head[2:14] == LEGACY_MAGIC:
        return read_torch_stream(file)
    if (head[0] == 0x80 and head[1:2] <= b"\5") or OLD_PICKLE.match(head):
        return read_network_pickle(file)
    if head[8:9] == b"{":
        return read_safetensors(file, path)
    raise CheckpointError(describe_unknown(head))


# What files start with that are no checkpoints of ours, and what they are; "." stands for any byte.
KINDS = (
    (rb"version https:/", "a Git LFS pointer, not the file itself: fetch it with git lfs pull"),
    (rb"\s*<", "a web page (was a download link saved?)"),
    (rb"\x89HDF", "an HDF5 (Keras) file"),
    (rb"....TFL3", "a TFLite model"),
    (rb"\x08[\x01-\x20](\x12[\x01-\x40][ -~]{3}|[\x1a\x22\x3a\x42])", "an ONNX model"),
    (rb"\x08\x01\x12", "a TensorFlow SavedModel"),
    (rb"GGUF|ggml|lmgg", "a language model (GGUF)"),
    (rb"\x93NUMPY", "a numpy array (.npy)"),
    (rb"\x1f\x8b", "a gzip archive; unpack it first"),
    (rb"BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd", "a compressed archive; unpack it first"),
    (rb".{257}ustar", "a tar archive, as torch wrote before 2017; save the weights anew"),
    (rb"\x89PNG", "a PNG image"),
    (rb"\xff\xd8", "a JPEG image"),
    (rb"RIFF|GIF8", "an image or a video"),
    (rb"%PDF", "a PDF document"),
    (rb"\x7fELF|MZ", "a program"),
    (rb"\s*[\[{]", "a JSON text, not a file of weights"),
)  # fmt: skip


def describe_unknown(head: bytes) -> str:
    """One sentence on what a file is that is none of the kinds read here."""
    for start, kind in KINDS:
        if re.match(start, head, re.DOTALL):
            return f"this is {kind}."
    return f"this is no checkpoint (it starts with the bytes {head[:4].hex(' ')})."


def check_size(size: int) -> None:
    """Raises `CheckpointError` for weights that take more bytes than any generator's."""
    if size > MAX_BYTES:
        raise CheckpointError(
            f"its weights take {size / 2**30:.1f} GiB, and at most {MAX_BYTES // 2**30} GiB are "
            "read."
        )


def read_safetensors(file: Piece, path: Path) -> dict[str, Any]:
    """Tensors by name, and the metadata under METADATA."""
    header = int.from_bytes(file.part(0, 8).read(), "little")
    if not 2 <= header <= file.length - 8:
        head = file.part(0, min(file.length, 16)).read()
        raise CheckpointError(
            f"the safetensors file is damaged (its header claims {header} bytes)."
            if re.match(rb'\{\s*["}]', head[8:]) or header > 2**40
            else describe_unknown(head)
        )
    if header > MAX_HEADER:
        raise CheckpointError(
            f"the safetensors file has a header of {header} bytes; at most {MAX_HEADER} are read."
        )
    check_size(file.length - header)
    try:
        with safe_open(path, framework="pt", device="cpu") as opened:
            content: dict = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            content[METADATA] = dict(opened.metadata() or {})
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).replace(str(path), "it")[:160]
        reason = re.sub(r"[.!?]?\s+", " ", reason).replace("`", "'")
        raise CheckpointError(f"the safetensors file is damaged ({reason}).") from None
    # The library takes the last of two entries of a name; another reader may take the first.
    if file.part(8, header).read().count(b'"data_offsets"') != len(content) - 1:
        raise CheckpointError("the safetensors file is damaged (its header has a name twice).")
    return content
