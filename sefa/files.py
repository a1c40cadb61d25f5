"""Files that are whole or not there, and folders that stay small, whenever a program is killed."""

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

PART = re.compile(r"\.\d+-[0-9a-f]{8}\.part")  # what a file is called until it is complete
LEFT_S = 3600.0  # a part that nobody wrote to for so long was left by a program that was killed


@contextmanager
def whole_or_not(path: str | os.PathLike) -> Iterator[Path]:
    """A path beside `path` to write to, renamed to it when the block ends well: there never is half
    a file. What programs that were killed left there is deleted.
    """
    path = Path(path)
    remove_left(path.parent)
    # Not tempfile: its files are private (0600), and what is written is there to be shared.
    part = path.with_name(f".{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_atomically(path: str | os.PathLike, chunks: Iterable[str | bytes]) -> None:
    """Writes bytes, and text as UTF-8; see `whole_or_not`. Raises OSError."""
    with whole_or_not(path) as part, open(part, "wb") as file:
        # "replace": a file name may hold bytes that are no UTF-8; a "?" stands in the heading.
        file.writelines(
            chunk if isinstance(chunk, bytes) else chunk.encode("utf-8", "replace")
            for chunk in chunks
        )


def remove_left(folder: Path) -> None:
    """Deletes the parts in a folder that nobody is writing any more. Never raises."""
    try:
        with os.scandir(folder) as entries:
            parts = [Path(entry.path) for entry in entries if PART.fullmatch(entry.name)]
        for part in parts:
            if time.time() - part.stat().st_mtime > LEFT_S:
                part.unlink(missing_ok=True)
    except OSError:  # what matters is what is written, and that has its own errors
        pass


def keep_newest(files: Iterable[Path], most: int, most_bytes: int) -> None:
    """Deletes the files written longest ago, until there are at most so many and so many bytes.

    The newest stays, however large. Raises OSError where one cannot be deleted.
    """
    found = []
    for file in files:
        try:
            stat = file.stat()
        except OSError:  # another process was quicker
            continue
        found.append((stat.st_mtime_ns, stat.st_size, file))
    total = 0
    for place, (_, size, file) in enumerate(sorted(found, reverse=True)):
        total += size
        if place and (place >= most or total > most_bytes):
            file.unlink(missing_ok=True)
