"""Files that hold tensors -> nested dicts of tensors, without running anything in them.

A kind is told by its first bytes, never by the file's name. torch files go through
`torch.load(weights_only=True)`, which builds nothing but tensors and plain containers, after the
checks it does not make: compressed zip members, and views larger than their storage.
"""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sefa.errors import CheckpointError

METADATA = "__metadata__"  # key under which safetensors metadata (text to text) is returned
MAX_DEPTH = 16  # of nested dicts; training files have 3
LEGACY_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")  # pickled torch.serialization.MAGIC_NUMBER


def read_container(path: Path) -> Mapping:
    """The content of a torch or safetensors file: dicts of tensors on the CPU.

    Raises `CheckpointError` for anything else.
    """
    try:
        if not path.exists():
            raise CheckpointError("there is no such file.")
        if not path.is_file():
            raise CheckpointError("this is not a file.")
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise CheckpointError(f"the file cannot be read ({error.strerror}).") from None
    if not head:
        raise CheckpointError("the file is empty.")
    if head.startswith(b"PK\x03\x04"):
        check_zip(path)
        return read_torch(path)
    if head[2:14] == LEGACY_MAGIC and head[0] == 0x80:
        return read_torch(path)
    if len(head) >= 9 and head[8:9] == b"{":
        return read_safetensors(path)
    raise CheckpointError(describe_unknown(head))


def describe_unknown(head: bytes) -> str:
    """One sentence on what a file is that is neither of the kinds read here."""
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return (
            "this is a Python pickle of objects, not a plain file of weights, and pickles are not "
            "read here yet."
        )
    kinds = {
        b"version https:/": "a Git LFS pointer, not the file itself: fetch it with git lfs pull",
        b"<": "a web page (was a download link saved?)",
        b"\x89HDF": "an HDF5 (Keras) file",
        b"\x1f\x8b": "a gzip archive; unpack it first",
        b"\x89PNG": "a PNG image",
        b"\xff\xd8": "a JPEG image",
    }
    for magic, kind in kinds.items():
        if head.startswith(magic):
            return f"this is {kind}."
    return f"this is no checkpoint (it starts with the bytes {head[:4].hex(' ')})."


def check_zip(path: Path) -> None:
    """torch stores members uncompressed, so a compressed one is a bomb or not torch's."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"the zip archive is damaged or cut short ({error}).") from None
    if not any(member.filename.endswith("/data.pkl") for member in members):
        names = ", ".join(member.filename[:40] for member in members[:3])
        raise CheckpointError(f"this zip archive is not a torch checkpoint (it holds {names}).")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise CheckpointError("the zip archive has compressed members, which torch never writes.")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise CheckpointError("the zip archive claims more data than the file holds.")


def read_torch(path: Path) -> Mapping:
    try:
        with path.open("rb") as file:  # given a path, torch would go by its extension
            content = torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise CheckpointError("the file claims more memory than there is.") from None
    except Exception as error:  # noqa: BLE001 - whatever a damaged or hostile file provokes
        raise CheckpointError(describe_refusal(error)) from None
    if not isinstance(content, Mapping):
        raise CheckpointError(f"it holds a {type(content).__name__}, not a dict of weights.")
    check_tensors(content)
    return content


def describe_refusal(error: Exception) -> str:
    """One sentence for what `torch.load` says in a page, which advises to load the file anyway."""
    text = str(error)
    found = re.search(r"GLOBAL (\S{1,80})", text)
    if found:
        return f"it holds {found[1]}, and nothing but plain weights is ever loaded."
    for preamble in ("Weights only load failed", "trusted source.", "WeightsUnpickler error:"):
        text = text.split(preamble)[-1]
    reason = re.split(r"[.!?:]\s|\n", text.strip())[0].rstrip(".!?: ")
    reason = reason[:160] or type(error).__name__
    return f"torch cannot read it, so it is damaged or cut short ({reason})."


def check_tensors(content: Mapping, depth: int = 0, seen: set[int] | None = None) -> None:
    """Refuses deep nesting and tensors whose strides visit one stored number twice.

    Each dict is looked at once, since a pickle may refer to one from many places.
    """
    seen = set() if seen is None else seen
    if depth > MAX_DEPTH:
        raise CheckpointError("its dicts are nested too deeply.")
    for name, value in content.items():
        if isinstance(value, Mapping):
            if id(value) not in seen:
                seen.add(id(value))
                check_tensors(value, depth + 1, seen)
        elif isinstance(value, Tensor):
            if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
                raise CheckpointError(f"{str(name)[:80]} is not a plain dense tensor.")
            if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise CheckpointError(f"{str(name)[:80]} claims more numbers than are stored.")


def read_safetensors(path: Path) -> Mapping:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = file.keys()
            content: dict = {name: file.get_tensor(name) for name in names}
            content[METADATA] = dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"the safetensors file is damaged ({str(error)[:160]}).") from None
    return content
