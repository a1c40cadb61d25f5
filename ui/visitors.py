"""Who asked for what a thread is doing, and whether anybody still listens.

Taken from what Gradio keeps of a request in the thread that answers it, so that nothing has to be
handed through every function on the way to the rendering thread.
"""

import contextvars
from dataclasses import dataclass

import anyio
from gradio.context import LocalContext


@dataclass(frozen=True)
class Frame:
    """A request of a page for a frame of its gallery.

    number: of the request, counted by the page. last: whether whatever the page asked for before is
    needless now: not so for a move of a slider, unless a frame is asked for again as it is let go.
    """

    number: float
    last: bool

    def replaces(self, other: "Frame") -> bool:
        return self.number > other.number and (self.last or not other.last)


FRAME: contextvars.ContextVar[Frame | None] = contextvars.ContextVar("frame", default=None)


def visitor() -> str:
    """The one who waits for what this thread does: a session of a page or client, else an address;
    "" where nobody does, as at the start.
    """
    request = LocalContext.request.get(None)
    if request is None:
        return ""
    session = request.session_hash
    if session and session != LocalContext.event_id.get(None):  # that one Gradio made up
        return session
    try:
        forwarded = request.headers.get("x-forwarded-for", "").split(",")[0].strip()
        return f"address {forwarded or request.client.host}"
    except AttributeError:
        return "address unknown"


def listening() -> bool:
    """Whether the connection that waits for this thread's answer is still open, as far as is known.

    For the thread of the request itself.
    """
    blocks, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    request = LocalContext.request.get(None)
    if blocks is None or request is None:
        return True
    if event_id is not None:  # a place in the queue, which Gradio clears for who is gone
        event = blocks._queue.event_ids_to_events.get(event_id)
        return event is None or event.alive
    try:
        return not anyio.from_thread.run(request.request.is_disconnected)
    except (AttributeError, RuntimeError):  # no thread of the server's, or no connection
        return True
