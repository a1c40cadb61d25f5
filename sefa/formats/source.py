"""Bytes of a file, read only where they are wanted.

A checkpoint of 300 MB holds three networks of which one is used; what is not used is never read.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from sefa.errors import CheckpointError


class Source:
    """Something whose bytes can be read from anywhere: a file open for reading, unbuffered."""

    def __init__(self, file: io.RawIOBase):
        self._file = file
        self.size = file.seek(0, io.SEEK_END)

    @classmethod
    def of(cls, data: bytes | bytearray) -> Source:
        """A source of bytes that are in memory already."""
        return cls(io.BytesIO(data))

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fills `buffer` with the bytes from `start` on. Raises `CheckpointError` at the end."""
        self._file.seek(start)
        done = 0
        while done < len(buffer):
            count = self._file.readinto(buffer[done:])
            if not count:
                raise CheckpointError("the file ends in the middle of its data.")
            done += count

    def read(self, start: int, length: int) -> bytes:
        """The `length` bytes from `start` on; never allocates more than there are."""
        if not 0 <= length <= self.size - start:
            raise CheckpointError("the file ends in the middle of its data.")
        self._file.seek(start)
        data = self._file.read(length)
        if len(data) < length:  # as a file that is read while it is written may give
            buffer = bytearray(length)
            self.read_into(start, memoryview(buffer))
            data = bytes(buffer)
        return data

    def whole(self) -> Piece:
        return Piece(self, 0, self.size)


@dataclass(frozen=True)
class Piece:
    """`length` bytes of a source from `start` on, not read yet; always within the source."""

    source: Source
    start: int
    length: int

    def part(self, start: int, length: int) -> Piece:
        """A piece of this piece. Raises `CheckpointError` where it would not lie inside."""
        if start < 0 or length < 0 or start + length > self.length:
            raise CheckpointError("the file ends in the middle of its data.")
        return Piece(self.source, self.start + start, length)

    def read(self) -> bytes:
        return self.source.read(self.start, self.length)

    def read_into(self, buffer: memoryview) -> None:
        """Fills `buffer`, which is no longer than this piece."""
        self.source.read_into(self.start, buffer)
