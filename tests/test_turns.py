"""The rendering thread: one job at a time, the most urgent first."""

import threading
import time

import pytest

from ui.renderer import GALLERY, MEASURE, STRIP, Renderer


def test_what_somebody_looks_at_goes_first():
    renderer, done, begin, running = Renderer(), [], threading.Event(), threading.Event()

    def hold():
        running.set()
        begin.wait(10)

    def start(urgency, function, *arguments):
        thread = threading.Thread(target=renderer.run, args=[urgency, function, *arguments])
        thread.start()
        return thread

    threads = [start(GALLERY, hold)]
    running.wait(10)
    for i, urgency in enumerate([MEASURE, STRIP, GALLERY, MEASURE, GALLERY, STRIP]):
        threads.append(start(urgency, done.append, (urgency, i)))
        while len(renderer) <= i:  # so that they come in this order
            pass
    begin.set()
    for thread in threads:
        thread.join(10)
    assert done == [(GALLERY, 2), (GALLERY, 4), (STRIP, 1), (STRIP, 5), (MEASURE, 0), (MEASURE, 3)]


def test_results_and_errors_are_the_callers():
    renderer = Renderer()
    assert renderer.run(STRIP, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        renderer.run(STRIP, divmod, 7, 0)
    names = {renderer.run(GALLERY, lambda: threading.current_thread().name) for _ in range(3)}
    assert names == {"render"}  # always the same thread


def test_who_takes_several_places_is_not_overtaken_by_less_urgent_work():
    renderer, done, begin = Renderer(), [], threading.Event()
    first = renderer.submit(GALLERY, begin.wait, 10)
    jobs = [renderer.submit(MEASURE, done.append, "measure")]
    jobs += [renderer.submit(STRIP, done.append, i) for i in range(3)]
    begin.set()
    assert first.result(10)
    for job in jobs:
        job.result(10)
    assert done == [0, 1, 2, "measure"]


def test_what_can_wait_rests_until_nobody_waits():
    renderer = Renderer()
    began = time.monotonic()
    renderer.run(MEASURE, int)
    renderer.rest(began, 60.0)  # as long as the machine is up: nobody ever did
    renderer.run(STRIP, int)
    began = time.monotonic()
    renderer.rest(0.2, 60.0)
    assert time.monotonic() - began > 0.1
    renderer.run(STRIP, int)
    renderer.rest(3600.0, 0.1)  # not for ever
