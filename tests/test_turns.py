"""The rendering thread: the most urgent first, visitors in turn, and what nobody wants is dropped."""

import contextvars
import threading
import time
from types import SimpleNamespace

import pytest
from gradio.context import LocalContext

from tests.helpers import is_one_sentence
from ui import renderer as turns
from ui.renderer import GALLERY, MEASURE, STRIP, Busy, Dropped, Renderer
from ui.visitors import FRAME, Frame, listening, visitor


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


# --- many visitors --------------------------------------------------------------------------------


@pytest.fixture
def crowd(monkeypatch):
    """A renderer that is busy until `go` is set, and who asks it: `crowd.ask(visitor, ...)`."""
    return Crowd(monkeypatch)


class Crowd:
    def __init__(self, monkeypatch):
        self.renderer, self.go, self.who = Renderer(), threading.Event(), ""
        self.calls = []
        monkeypatch.setattr(turns, "visitor", lambda: self.who)
        running = threading.Event()
        self.renderer.submit(GALLERY, lambda: (running.set(), self.go.wait(10)))
        assert running.wait(10)

    def ask(self, who, what=None, frame=None, urgency=GALLERY, **options):
        self.who, place = who, FRAME.set(frame)
        try:
            return self.renderer.submit(urgency, self.draw, what or who, **options)
        finally:
            FRAME.reset(place)
            self.who = ""

    def draw(self, what):
        self.calls.append(what)
        return f"image of {what}"

    def finish(self, *futures):
        self.go.set()
        return self.renderer.wait(futures)


def test_visitors_take_turns(crowd):
    asked = ["a1", "a2", "a3", "a4", "b1", "b2", "c1"]
    jobs = [crowd.ask(what[0], what) for what in asked]
    assert crowd.finish(*jobs) == [f"image of {what}" for what in asked]
    assert crowd.calls == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]


def test_who_comes_while_another_waits_for_much_is_next(crowd):
    jobs = [crowd.ask("a", f"a{i}") for i in range(50)] + [crowd.ask("b")]
    crowd.finish(*jobs)
    assert crowd.calls.index("b") == 1


def test_what_is_of_one_group_is_one_call_as_far_as_it_may_be(crowd):
    calls = []

    def together(asked):
        calls.append([what for (what,) in asked])
        return [f"image of {what}" for (what,) in asked]

    def ask(who, what, group="model", size=4):
        crowd.who = who
        return crowd.renderer.submit(GALLERY, together, what, group=group, size=size, most=12)

    jobs = [ask("a", "a1"), ask("a", "a2"), ask("b", "b1"), ask("c", "other", "another model")]
    jobs += [ask("d", "d1"), ask("e", "e1", size=1), ask("f", "f1", size=16)]
    results = crowd.finish(*jobs)
    assert results == [f"image of {w}" for w in ("a1", "a2", "b1", "other", "d1", "e1", "f1")]
    # Turns hold in a batch too: one of each visitor, then the second of the first.
    assert calls == [["a1", "b1", "d1"], ["other"], ["e1", "a2"], ["f1"]]


def test_an_error_is_only_the_one_callers(crowd):
    def together(asked):
        return [ValueError(n) if n == 2 else n for (n,) in asked]

    jobs = [crowd.renderer.submit(GALLERY, together, n, group="model", most=9) for n in (1, 2, 3)]
    assert crowd.finish(jobs[0], jobs[2]) == [1, 3]
    with pytest.raises(ValueError, match="2"):
        crowd.finish(jobs[1])


def test_a_newer_request_of_the_same_page_replaces_what_waits(crowd):
    release, drag = Frame(1, last=True), Frame(2, last=True)
    jobs = [crowd.ask("a", "a1", release), crowd.ask("a", "also a1", release)]
    jobs += [crowd.ask("b", "b1", release), crowd.ask("a", "file")]  # no frame, so it stays
    newest = crowd.ask("a", "a2", drag)
    assert all(job.cancelled() for job in jobs[:2])
    late = crowd.ask("a", "a1", Frame(1, last=False))  # overtaken on the way
    assert late.cancelled()
    crowd.finish(newest, *jobs[2:])
    assert sorted(crowd.calls) == ["a2", "b1", "file"]
    with pytest.raises(Dropped):
        crowd.finish(jobs[0])


def test_a_move_after_which_nothing_more_comes_leaves_the_originals_to_be_drawn(crowd):
    settled = crowd.ask("a", "settled", Frame(1, last=True))
    moves = [crowd.ask("a", f"move {i}", Frame(i, last=False)) for i in (2, 3)]
    assert moves[0].cancelled()
    crowd.finish(settled, moves[1])
    assert crowd.calls == ["settled", "move 3"]


def test_what_nobody_listens_for_any_more_is_not_drawn(crowd, monkeypatch):
    monkeypatch.setattr(turns, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(turns, "listening", lambda: False)
    jobs = [crowd.ask("a", "a1"), crowd.ask("a", "a2")]
    with pytest.raises(Dropped):
        crowd.renderer.wait(jobs)
    assert len(crowd.renderer) == 0
    stays = crowd.ask("b")
    crowd.go.set()
    assert stays.result(10) and crowd.calls == ["b"]
    assert crowd.renderer.run(MEASURE, lambda: "for everybody") == "for everybody"


def test_too_long_a_line_is_refused_in_a_sentence_until_it_is_shorter(crowd):
    jobs = [crowd.ask(f"visitor {i}", seconds=10.0) for i in range(6)]
    assert crowd.renderer.ahead("somebody new") == (6, 60.0)
    assert crowd.renderer.ahead("visitor 2") == (2, 30.0)
    crowd.renderer.admit(GALLERY)
    jobs.append(crowd.ask("one more", seconds=10.0))
    with pytest.raises(Busy, match="^7 visitors are before you, which is too many") as refused:
        crowd.renderer.admit(GALLERY)
    assert is_one_sentence(str(refused.value)) and refused.value.seconds == 17.5
    crowd.renderer.admit(STRIP)  # another line
    crowd.finish(*jobs)
    crowd.renderer.admit(GALLERY)
    assert crowd.renderer.ahead("somebody new")[0] == 0


def test_one_who_waits_for_much_is_refused_more_and_nobody_else(crowd):
    jobs = [crowd.ask("a") for _ in range(turns.MOST_OWN[GALLERY])]
    crowd.who = "b"
    crowd.renderer.admit(GALLERY)
    crowd.who = "a"
    with pytest.raises(Busy, match="^You wait for many images already"):
        crowd.renderer.admit(GALLERY)
    crowd.who = ""
    crowd.finish(*jobs)


# --- who asks -------------------------------------------------------------------------------------


def request(session=None, address="10.0.0.7", **headers):
    client = SimpleNamespace(host=address)
    return SimpleNamespace(session_hash=session, headers=headers, client=client, request=None)


def seen_in(**context):
    """(visitor(), listening()) where Gradio has set this."""

    def look():
        for name, value in context.items():
            getattr(LocalContext, name).set(value)
        return visitor(), listening()

    return contextvars.copy_context().run(look)


def test_a_visitor_is_a_session_or_an_address():
    assert seen_in() == ("", True)
    assert seen_in(request=request("abc"), event_id="1")[0] == "abc"
    # What is called without a session gets one of its own from Gradio, named as the event.
    assert seen_in(request=request("1"), event_id="1")[0] == "address 10.0.0.7"
    proxied = request("1", **{"x-forwarded-for": "192.0.2.1, 10.0.0.7"})
    assert seen_in(request=proxied, event_id="1")[0] == "address 192.0.2.1"


def test_gradio_knows_who_is_gone():
    event = SimpleNamespace(alive=True)
    blocks = SimpleNamespace(_queue=SimpleNamespace(event_ids_to_events={"1": event}))
    here = {"blocks": blocks, "request": request("abc")}
    assert seen_in(**here, event_id="1")[1] and seen_in(**here, event_id="2")[1]
    event.alive = False
    assert not seen_in(**here, event_id="1")[1]
    assert seen_in(**here, event_id=None)[1]  # outside the server nothing is known
