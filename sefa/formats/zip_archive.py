"""The directory of a zip archive of uncompressed members, as `torch.save` writes them.

PKWARE's APPNOTE.TXT, sections 4.3.7 (local header), 4.3.12 (central directory) and 4.3.14 to 4.3.16
(its end, also for ZIP64). Only what torch writes is read: one disk, nothing compressed or encrypted.
"""

import struct
from collections.abc import Callable

from sefa.errors import CheckpointError
from sefa.formats.pickles import shown
from sefa.formats.source import Piece

MAX_MEMBERS = 50_000  # one a tensor; the largest training files have some thousand
END, END64, END64_LOCATOR = b"PK\5\6", b"PK\6\6", b"PK\6\7"
LOCAL, CENTRAL = b"PK\3\4", b"PK\1\2"
MAX_16, MAX_32 = 0xFFFF, 0xFFFFFFFF


def read_zip(file: Piece, check_names: Callable[[list[str]], object]) -> dict[str, Piece]:
    """The members of an archive by name, not read yet.

    `check_names(names)` may refuse an archive of another kind before its members are looked at.
    Raises `CheckpointError`.
    """
    try:
        return _members(file, check_names)
    except struct.error:
        raise CheckpointError("the zip archive is damaged or cut short.") from None


def _members(file: Piece, check_names: Callable[[list[str]], object]) -> dict[str, Piece]:
    count, size, start = _find_directory(file)
    if count > MAX_MEMBERS or size > MAX_MEMBERS * 200:
        raise CheckpointError(
            f"the zip archive's directory has {count} members and {size} bytes, and at most "
            f"{MAX_MEMBERS} members are read."
        )
    directory, at, entries = file.part(start, size).read(), 0, []
    for _ in range(count):
        *entry, at = _entry(directory, at)
        entries.append(entry)
    check_names([name for name, *_ in entries])
    members: dict[str, Piece] = {}
    for name, compression, flags, sizes, header in entries:
        if compression or flags & 1:
            raise CheckpointError(
                f"the zip archive's member {shown(name)} is "
                f"{'compressed' if compression else 'encrypted'}, which torch never writes."
            )
        if name in members:
            raise CheckpointError(f"the zip archive has two members of the name '{shown(name)}'.")
        if sizes[0] != sizes[1]:
            raise CheckpointError(
                f"the zip archive's directory lies about the size of '{shown(name)}'."
            )
        members[name] = _data(file, name, header, sizes[0], flags)
    end = 0
    for piece in sorted(members.values(), key=lambda piece: piece.start):
        if piece.start < end:
            raise CheckpointError("the zip archive has members that lie in each other.")
        end = piece.start + piece.length
    return members


def _find_directory(file: Piece) -> tuple[int, int, int]:
    """(number of entries, bytes, offset) of the central directory."""
    tail_length = min(file.length, 22 + MAX_16)  # the end record has a comment of up to 64 KB
    tail_start = file.length - tail_length
    tail = file.part(tail_start, tail_length).read()
    at = tail.rfind(END)
    if at < 0 or at + 22 + int.from_bytes(tail[at + 20 : at + 22], "little") != tail_length:
        raise CheckpointError("the zip archive is damaged or cut short (its end is missing).")
    count, size, start = struct.unpack_from("<HII", tail, at + 10)
    if MAX_16 == count or MAX_32 in (size, start) or tail[at - 20 : at - 16] == END64_LOCATOR:
        _, _, end64, _ = struct.unpack("<4sIQI", file.part(tail_start + at - 20, 20).read())
        record = file.part(end64, 56).read()
        if record[:4] != END64:
            raise CheckpointError("the zip archive is damaged (its ZIP64 record is missing).")
        count, size, start = struct.unpack_from("<QQQ", record, 32)
    return count, size, start


def _entry(directory: bytes, at: int) -> tuple[str, int, int, tuple[int, int], int, int]:
    """(name, compression, flags, (compressed, full size), local header's offset, next entry)."""
    if directory[at : at + 4] != CENTRAL:
        raise CheckpointError("the zip archive's directory is damaged.")
    flags, compression = struct.unpack_from("<HH", directory, at + 8)
    sizes = list(struct.unpack_from("<II", directory, at + 20))
    name_length, extra_length, comment_length = struct.unpack_from("<HHH", directory, at + 28)
    (header,) = struct.unpack_from("<I", directory, at + 42)
    name = directory[at + 46 : at + 46 + name_length].decode("utf-8", "replace")
    extra = directory[at + 46 + name_length : at + 46 + name_length + extra_length]
    # ZIP64: the numbers that did not fit, in the order full size, compressed size, offset.
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, place)
        if kind == 1:
            field = extra[place + 4 : place + 4 + length]
            wide = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
            sizes[1] = next(wide, 0) if sizes[1] == MAX_32 else sizes[1]
            sizes[0] = next(wide, 0) if sizes[0] == MAX_32 else sizes[0]
            header = next(wide, 0) if header == MAX_32 else header
        place += 4 + length
    return name, compression, flags, tuple(sizes), header, (
        at + 46 + name_length + extra_length + comment_length
    )  # fmt: skip


def _data(file: Piece, name: str, header: int, size: int, flags: int) -> Piece:
    """A member's bytes; its local header must tell the same as the directory."""
    local = file.part(header, 30).read()
    name_length, extra_length = struct.unpack_from("<HH", local, 26)
    local_flags, compression = struct.unpack_from("<HH", local, 6)
    (local_size,) = struct.unpack_from("<I", local, 22)
    local_name = file.part(header + 30, name_length).read().decode("utf-8", "replace")
    deferred = flags & 8 or local_size == MAX_32  # the size follows the data, or is in ZIP64's
    if local[:4] != LOCAL or local_name != name or compression or local_flags & 1:
        raise CheckpointError(f"the zip archive's header of {shown(name)} lies about it.")
    if not deferred and local_size != size:
        raise CheckpointError(f"the zip archive's header of {shown(name)} lies about its size.")
    return file.part(header + 30 + name_length + extra_length, size)
