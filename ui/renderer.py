"""One thread that draws, and whose turn it is.

    submit -> lines: urgency, then visitors in turn -> jobs of one group together -> one call -> results

One at a time, since two would only share the same cores, and always in the same thread: every
thread that calls torch gets a team of its own to wait for. What many visitors ask of one model is
drawn together, which is quicker than one after the other. Visitors take turns, so that one who asks
for much waits longer, and nobody else does. What nobody wants any more is dropped undrawn.
"""

import concurrent.futures
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sefa.errors import UserError
from ui.visitors import FRAME, Frame, listening, visitor

# Who goes first: what somebody looks at now, what they will look at next, and what can wait.
GALLERY, STRIP, MEASURE = range(3)
MOST_SECONDS = 60.0  # that somebody may have to wait before their turn; beyond, they are refused
MOST_JOBS = 192  # that wait for GALLERY: each has a thread of the server's
MOST_OWN = {GALLERY: 16, STRIP: 64}  # jobs of one visitor that wait, before more are refused
LOOK_SECONDS = 0.25  # how often it is asked whether who waits is still there

Result = TypeVar("Result")


class Dropped(UserError):
    """Nobody wants this any more: who asked is gone, or has asked for something newer since."""


class Busy(UserError):
    """More waits than can be drawn soon.

    reason: why, a clause; the message is a whole sentence. seconds: when it is worth asking again.
    """

    def __init__(self, reason: str, seconds: float):
        self.reason, self.seconds = reason, min(max(seconds, 2.0), 30.0)
        super().__init__(f"{reason}: ask again in about {self.seconds:.0f} s.")


@dataclass(eq=False)
class Job:
    """Something to draw.

    arguments: of `function`; for a job of a `group`, `function` is called once for several jobs of
    it, with a list of their arguments, and returns a result or exception for each.
    seconds: about how long it takes. size, most: its share of what one call of the group may be.
    """

    urgency: int
    function: Callable
    arguments: tuple
    visitor: str = ""
    frame: Frame | None = None
    seconds: float = 0.0
    group: Hashable = None
    size: int = 1
    most: int = 1
    future: Future = field(default_factory=Future)


class Renderer:
    """Runs functions one at a time, the most urgent first; of those, visitors' in turn."""

    def __init__(self, name: str = "render"):
        # By urgency: the visitors whose turn it is first, first; each one's jobs as they came.
        self._lines: list[OrderedDict[str, deque[Job]]] = [OrderedDict() for _ in range(3)]
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._name = name
        self._wanted = 0.0  # when somebody last waited for an image
        self._until = 0.0  # when what is drawn at the moment will be there, about

    def __len__(self) -> int:
        """How many jobs wait."""
        with self._changed:
            return sum(len(line) for lines in self._lines for line in lines.values())

    def run(
        self, urgency: int, function: Callable[..., Result], *arguments: Any, **options: Any
    ) -> Result:
        """What `function(*arguments)` returns or raises, once its turn has come.

        Raises `Dropped` if nobody waits for it any more before that, except for what is measured, which
        is for everybody; options: see `submit`.
        """
        if urgency == MEASURE:
            return self.submit(urgency, function, *arguments, **options).result()
        return self.wait([self.submit(urgency, function, *arguments, **options)])[0]

    def wait(self, futures: "Sequence[Future[Result]]") -> list[Result]:
        """The results of what was submitted, all of which is dropped when who asked is gone.

        Raises the first error; `Dropped` for what was dropped.
        """
        try:
            while concurrent.futures.wait(futures, LOOK_SECONDS).not_done:
                if not listening():
                    self._drop(futures)
            return [future.result() for future in futures]
        except CancelledError:
            raise Dropped("Nobody waits for this image any more.") from None

    def submit(
        self,
        urgency: int,
        function: Callable[..., Result],
        *arguments: Any,
        seconds: float = 0.0,
        group: Hashable = None,
        size: int = 1,
        most: int = 1,
    ) -> "Future[Result]":
        """`run`, not waited for: who needs several turns takes a place for each at once.

        What else the same page waits for, and does not need any more once it has this, is dropped.
        seconds, group, size, most: see `Job`.
        """
        job = Job(urgency, function, arguments, visitor(), FRAME.get(), seconds, group, size, most)
        with self._changed:
            if urgency < MEASURE:
                self._wanted = time.monotonic()
            if self._is_replaced(job, self._lines[urgency].get(job.visitor, ())):
                cancel(job.future)
                return job.future
            self._lines[urgency].setdefault(job.visitor, deque()).append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()
        return job.future

    def admit(self, urgency: int) -> None:
        """Raises `Busy` where the visitor of this thread would have to wait too long."""
        with self._changed:
            lines, who = self._lines[urgency], visitor()
            if len(lines.get(who, ())) >= MOST_OWN.get(urgency, MOST_JOBS):
                raise Busy("You wait for many images already", 5.0)
            ahead = self._ahead(urgency, who)
            seconds = self._seconds(ahead)
            count = sum(map(len, lines.values()))
            if seconds > MOST_SECONDS or (urgency == GALLERY and count >= MOST_JOBS):
                reason = f"{visitors_say(len(ahead))} before you, which is too many at the moment"
                raise Busy(reason, seconds / 4)

    def ahead(self, who: str, urgency: int = GALLERY) -> tuple[int, float]:
        """(visitors whose turn comes before this one's, seconds until this one's images are drawn).

        Of somebody who does not wait yet: as if they came now.
        """
        with self._changed:
            ahead, own = self._ahead(urgency, who), self._lines[urgency].get(who, ())
            return len(ahead), self._seconds([*ahead, *own])

    def rest(self, seconds: float, most: float) -> None:
        """Returns when nobody has waited for an image for so long, or after `most` seconds."""
        end = time.monotonic() + most
        while (left := min(self._wanted + seconds, end) - time.monotonic()) > 0:
            time.sleep(left)

    def _seconds(self, jobs: Sequence[Job]) -> float:
        """From now until these are drawn, about."""
        return max(self._until - time.monotonic(), 0.0) + sum(job.seconds for job in jobs)

    def _ahead(self, urgency: int, who: str) -> list[Job]:
        """The jobs that go before the next one of this visitor: one of everybody before them."""
        found = []
        for name, line in self._lines[urgency].items():
            if name == who:
                break
            found.append(line[0])
        return found

    def _is_replaced(self, job: Job, line: "deque[Job] | tuple[()]") -> bool:
        """Drops what the new job makes needless; says whether the line makes that one so."""
        if job.frame is None or not job.visitor:
            return False
        for other in [other for other in line if other.frame is not None]:
            if job.frame.replaces(other.frame):
                cancel(other.future)
                line.remove(other)
            elif other.frame.replaces(job.frame):
                return True
        return False

    def _drop(self, futures: Sequence[Future]) -> None:
        """Takes those jobs that still wait out of their lines."""
        with self._changed:
            for future in futures:
                cancel(future)
            for lines in self._lines:
                for name, line in list(lines.items()):
                    left = deque(job for job in line if not job.future.cancelled())
                    if left:
                        lines[name] = left
                    else:
                        del lines[name]

    def _next(self) -> list[Job]:
        """The job whose turn it is, and those that are drawn with it; waits for one."""
        with self._changed:
            while not any(self._lines):
                self._changed.wait()
            lines = next(lines for lines in self._lines if lines)
            first = self._take(lines, next(iter(lines)))
            return [first, *(self._alike(lines, first) if first.group is not None else ())]

    def _alike(self, lines: "OrderedDict[str, deque[Job]]", first: Job) -> Iterator[Job]:
        """Jobs of the same group, of visitors in turn, as far as one call may take them."""
        room, found = first.most - first.size, True
        while found:
            found = False
            for name in list(lines):
                job = lines[name][0]
                if job.group == first.group and job.size <= room:
                    room, found = room - job.size, True
                    yield self._take(lines, name)

    def _take(self, lines: "OrderedDict[str, deque[Job]]", name: str) -> Job:
        """The first job of a visitor, whose next turn comes after everybody else's."""
        job = lines[name].popleft()
        job.future.set_running_or_notify_cancel()  # from now on it is not dropped
        if lines[name]:
            lines.move_to_end(name)
        else:
            del lines[name]
        return job

    def _work(self) -> None:
        while True:
            jobs = self._next()
            self._until = time.monotonic() + sum(job.seconds for job in jobs)
            run_jobs(jobs)
            if jobs[0].urgency < MEASURE:
                self._wanted = time.monotonic()
            del jobs  # no image is kept until the next job comes


def cancel(future: Future) -> None:
    """Of a job that still waits: whoever waits for it is told."""
    if future.cancel():
        future.set_running_or_notify_cancel()


def run_jobs(jobs: list[Job]) -> None:
    """One call for all of these, which are of one group, or one without."""
    try:
        function = jobs[0].function
        if jobs[0].group is None:
            results = [function(*jobs[0].arguments)]
        else:
            results = function([job.arguments for job in jobs])
    except BaseException as error:  # noqa: BLE001 - it is the callers'
        results = [error] * len(jobs)
    for job, result in zip(jobs, results, strict=True):
        if isinstance(result, BaseException):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)


def visitors_say(count: int) -> str:
    """ "1 visitor is", "12 visitors are"."""
    return "1 visitor is" if count == 1 else f"{count} visitors are"
