"""The Hub's cache on this machine, kept within bounds: what killed downloads left, and models that
nobody has used for longest.

It may be shared with other programs, so what is deleted lies in repositories that the caller names,
and models only where a limit is known:

    SEFA_MODELS_GB, on a Space 20 where that says nothing, elsewhere none

Errors of the disk are no reason not to download: the log tells them.
"""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sefa.errors import UserError

GB = 1e9
SPACE_GB = 20.0  # of models on a Space, whose disk has 50
FREE_GB = 10.0  # left free on the disk where there is a limit; of a small disk a fifth
RECENT_S = 60.0  # what was used so lately may be about to be read, and is not deleted
STALLED_S = 60.0  # a download that writes nothing for so long has ended
SMALL = 1_000_000  # bytes of a file that is not worth deleting: what lies beside a checkpoint
INCOMPLETE = re.compile(r"(?P<etag>[^.]+)(\.[0-9a-f]{8})?\.incomplete")


def limit_of(environ: Mapping[str, str] = os.environ) -> float | None:
    """How many bytes of models are kept; None where none is ever deleted."""
    if (said := limit_said(environ)) is not None:
        return said * GB
    return SPACE_GB * GB if environ.get("SPACE_ID") else None


def limit_said(environ: Mapping[str, str]) -> float | None:
    """The gigabytes of SEFA_MODELS_GB; None where it says no number above 0."""
    try:
        gigabytes = float(environ.get("SEFA_MODELS_GB", ""))
    except ValueError:
        return None
    return gigabytes if math.isfinite(gigabytes) and gigabytes > 0 else None


_coming: dict[object, int] = {}  # bytes of the downloads that run in this process
_making = threading.Lock()


@contextmanager
def room_for(
    size: int,
    what: str,
    cache: Path,
    repos: Collection[str],
    environ: Mapping[str, str] = os.environ,
) -> Iterator[None]:
    """Room for `size` bytes more while the block runs: the models of `repos` that nobody has used
    for longest make way.

    Raises `UserError` for what is larger than all that may be kept; `what` names it.
    """
    remove_leftovers(cache, repos)
    limit = limit_of(environ)
    if limit is None:
        yield
        return
    if size > limit:
        raise UserError(
            f"{what} takes {size / GB:.2g} GB, and at most {limit / GB:.2g} GB of models are kept "
            "here: choose a smaller one, or set SEFA_MODELS_GB."
        )
    ticket = object()
    with _making:
        try:
            make_room(size + sum(_coming.values()), limit, cache, repos)
        except OSError as error:
            logging.getLogger(__name__).warning("No room is made in the cache: %s", error)
        _coming[ticket] = size
    try:
        yield
    finally:
        del _coming[ticket]


def make_room(needed: int, limit: float, cache: Path, repos: Collection[str]) -> None:
    """Deletes files of these repositories, those used longest ago first, until `needed` bytes more
    are within the limit and leave the disk some room; as far as there are any.

    Raises OSError.
    """
    from huggingface_hub import scan_cache_dir

    if not cache.is_dir():
        return
    info = scan_cache_dir(cache)
    blobs: dict[Path, list] = {}  # blob -> the snapshots' files that lead to it
    for repo in info.repos:
        if repo.repo_type == "model" and repo.repo_id in repos:
            files = [file for revision in repo.revisions for file in revision.files]
            remove_orphans(repo.repo_path, {file.blob_path.name for file in files})
            for file in files:
                if file.size_on_disk > SMALL:
                    blobs.setdefault(file.blob_path, []).append(file)
    disk = shutil.disk_usage(cache)
    held = sum(files[0].size_on_disk for files in blobs.values())
    reserve = min(FREE_GB * GB, disk.total / 5)
    excess = max(held + needed - limit, needed + reserve - disk.free)
    leaving: list = []
    for files in sorted(blobs.values(), key=lambda files: files[0].blob_last_accessed):
        if excess <= 0 or time.time() - files[0].blob_last_accessed < RECENT_S:
            break
        leaving += files
        excess -= files[0].size_on_disk
    if leaving:
        names = ", ".join(sorted({file.file_name for file in leaving}))
        logging.getLogger(__name__).info("Deleted to make room: %s", names)
        info.delete_files(*leaving).execute()


_noted: dict[str, float] = {}  # path -> when its use was last noted


def note_use(path: Path) -> None:
    """Notes that a model in the cache is in use, so that others make way before it. Never raises."""
    now = time.time()
    if now - _noted.get(str(path), 0.0) < RECENT_S / 4:
        return
    _noted[str(path)] = now
    try:
        if path.is_symlink():  # as a file in the cache is; its time of access may not be kept
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
    except OSError:
        pass


# --- what killed downloads left ---------------------------------------------------------------------


def remove_leftovers(cache: Path, repos: Iterable[str]) -> None:
    """Deletes what downloads of these repositories left that have ended. Never raises."""
    for repo in repos:
        folder = f"models--{repo.replace('/', '--')}"
        try:
            found = list((cache / folder / "blobs").iterdir())
        except OSError:
            continue
        for file in found:
            match = INCOMPLETE.fullmatch(file.name)
            if match and not is_coming(file, cache / ".locks" / folder / f"{match['etag']}.lock"):
                try:
                    file.unlink(missing_ok=True)
                except OSError as error:
                    logging.getLogger(__name__).warning("%s stays: %s", file.name, error)


def remove_orphans(folder: Path, known: Collection[str]) -> None:
    """Deletes blobs of a repository that nothing leads to, as when a deletion was killed.

    Raises OSError.
    """
    locks = folder.parent / ".locks" / folder.name
    for blob in (folder / "blobs").iterdir():
        orphan = blob.name not in known and not blob.is_symlink() and blob.suffix != ".incomplete"
        if orphan and not is_coming(blob, locks / f"{blob.name}.lock"):
            blob.unlink(missing_ok=True)


def is_coming(part: Path, lock: Path) -> bool:
    """Whether a download still writes a file: it holds the lock, or where locks mean nothing it has
    written lately.
    """
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock

    try:
        if time.time() - part.stat().st_mtime < STALLED_S:
            return True
        with WeakFileLock(lock, timeout=0.01):
            return False
    except Timeout:
        return True
    except OSError:  # gone meanwhile, or nobody may lock here
        return not lock.parent.is_dir()
