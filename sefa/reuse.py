"""Images of w whose first indices were drawn before: only what comes after them is computed.

An edit of the finer layers leaves the coarser as they are, for every position of a slider, every frame
of a strip and every step of a grid; and where nothing differs, an image is drawn once.

    rows of w -> who agrees with whom, and how far -> features of one for all -> images
"""

import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sefa.generators.generator import Features, Generator, take_rows

MAX_BYTES = 256 * 2**20  # of features kept for each generator
MAX_RECENT = 64  # rows that new ones are held against
SMALLEST = 128  # pixels a side: of smaller images comparing costs as much as it spares


@dataclass(eq=False)
class Row:
    """One w [num_ws, w_dim], with what its images depend on beside it, and what is kept of it."""

    w: Tensor
    beside: tuple
    first: int = 0  # the features are from before this index
    features: Features = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the features."""
        found = [t for t in self.features.values() if t is not None]
        return sum(t.numel() * t.element_size() for t in found)

    def agrees(self, other: "Row") -> int:
        """How many of the first indices are the same in both."""
        if self.beside != other.beside:
            return 0
        same = (self.w == other.w).all(dim=1).int()
        return int(same.cumprod(dim=0).sum())


class Reuse:
    """What is kept of the images that one generator drew last; safe to share between threads."""

    def __init__(self, max_bytes: int = MAX_BYTES):
        self._max_bytes = max_bytes
        self._recent: list[Row] = []  # the latest last
        self._lock = threading.Lock()

    def synthesize(self, generator: Generator, w: Tensor, conditions: Mapping[str, Any]) -> Tensor:
        """`generator.synthesize`, of what has not been computed before.

        The same to rounding: features are not always computed in a batch of the same size.
        """
        rows = [Row(*row) for row in zip(w.cpu(), describe(conditions, len(w)), strict=True)]
        leaders = find_leaders(rows)
        with self._lock:
            recent = list(self._recent)
        # Each leader's features, from those kept of a recent row on, before the first index in which
        # those that follow it differ, or in which it differs from a recent row: it will again.
        plans: dict[tuple[int, int], list[tuple[int, Row | None]]] = {}
        for leader, (_, shared) in leaders.items():
            depths = [(rows[leader].agrees(row), row) for row in recent]
            if shared is None:
                shared = max((d for d, _ in depths if d < generator.num_ws), default=0)
            usable = [r for depth, r in depths if r.features and r.first <= min(depth, shared)]
            begin = max(usable, key=lambda row: row.first, default=None)
            plans.setdefault((begin.first if begin else 0, shared), []).append((leader, begin))
        images: dict[int, Tensor] = {}
        for (first, shared), planned in plans.items():
            features = self._features(generator, w, conditions, planned, first, shared)
            if 0 < shared < generator.num_ws:
                for i, (leader, _) in enumerate(planned):
                    rows[leader].first, rows[leader].features = shared, take(features, [i])
            groups = [leaders[leader][0] for leader, _ in planned]
            numbers = [row for group in groups for row in group]
            places = [i for i, group in enumerate(groups) for _ in group]
            if shared == generator.num_ws:  # nothing differs
                drawn = generator.image(features)[places]
            else:
                features = features if len(places) == len(planned) else take(features, places)
                own = take_rows(conditions, numbers, generator.device)
                drawn = generator.synthesize_from(features, shared, w[numbers], **own)
            images.update(zip(numbers, drawn, strict=True))
        self._keep([rows[leader] for leader in leaders])
        return torch.stack([images[i] for i in range(len(w))])

    @property
    def size(self) -> int:
        """Bytes of what is kept."""
        with self._lock:
            return sum(row.size for row in self._recent)

    def _features(
        self,
        generator: Generator,
        w: Tensor,
        conditions: Mapping[str, Any],
        planned: list[tuple[int, Row | None]],
        first: int,
        shared: int,
    ) -> Features:
        """Of these leaders, before index `shared`; each goes on from the row beside it, at `first`."""
        numbers = [leader for leader, _ in planned]
        own = take_rows(conditions, numbers, generator.device)
        if first == 0:
            return generator.features(w[numbers], shared, **own)
        names = planned[0][1].features
        features = {
            name: None
            if names[name] is None
            else torch.cat([begin.features[name] for _, begin in planned])
            for name in names
        }
        return generator.advance(features, w[numbers], first, shared, **own)

    def _keep(self, rows: list[Row]) -> None:
        with self._lock:
            for row in rows:
                for old in [old for old in self._recent if old.agrees(row) == len(row.w)]:
                    self._recent.remove(old)
                    if not row.features:  # the newer has the better ones, where it has any
                        row.first, row.features = old.first, old.features
            self._recent += rows
            del self._recent[:-MAX_RECENT]
            total = sum(row.size for row in self._recent)
            for row in self._recent:
                if total <= self._max_bytes:
                    break
                total -= row.size
                row.features = {}


def find_leaders(rows: list[Row]) -> dict[int, tuple[list[int], int | None]]:
    """Rows that agree in their first indices -> {the first such: (all of them, how far they agree)}.

    How far: the fewest indices; None for a row that is alone.
    """
    leaders: dict[int, tuple[list[int], int | None]] = {}
    for i, row in enumerate(rows):
        for leader, (members, shared) in leaders.items():
            if depth := rows[leader].agrees(row):
                members.append(i)
                leaders[leader] = members, depth if shared is None else min(shared, depth)
                break
        else:
            leaders[i] = [i], None
    return leaders


def describe(conditions: Mapping[str, Any], n: int) -> list[tuple]:
    """What each of n samples depends on beside w, to be compared."""
    return [
        tuple(
            (name, tuple(value[i].tolist()) if isinstance(value, Tensor) else value)
            for name, value in sorted(conditions.items())
        )
        for i in range(n)
    ]


def take(features: Features, rows: list[int]) -> Features:
    """A copy of the features of these samples."""
    return {
        name: None if value is None else torch.cat([value[i : i + 1] for i in rows])
        for name, value in features.items()
    }


_kept: "weakref.WeakKeyDictionary[Generator, Reuse]" = weakref.WeakKeyDictionary()
_keeping = threading.Lock()


def synthesize(generator: Generator, w: Tensor, conditions: Mapping[str, Any]) -> Tensor:
    """`generator.synthesize(w, **conditions)`, by way of what it drew last where that pays."""
    if generator.num_ws == 1 or generator.resolution < SMALLEST:
        return generator.synthesize(w, **conditions)
    with _keeping:
        reuse = _kept.setdefault(generator, Reuse())
    return reuse.synthesize(generator, w, conditions)


def forget(generator: Generator) -> None:
    """Lets go of what is kept of a generator's images."""
    with _keeping:
        _kept.pop(generator, None)


def kept_bytes(generator: Generator) -> int:
    """Bytes of the features that are kept of a generator's images."""
    with _keeping:
        reuse = _kept.get(generator)
    return 0 if reuse is None else reuse.size
