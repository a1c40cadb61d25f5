"""Gradio's web application is made once, when the page is served."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import gradio.blocks


@contextmanager
def made_when_served() -> Iterator[None]:
    """While a page is built here, Gradio makes no web application of it.

    It would make one, with eighty routes, when `Blocks` begins, when it ends and whenever a queue is
    set, and throw each away for that of `launch`: a third of a second of the page's start.
    """
    real = gradio.blocks.App
    gradio.blocks.App = SimpleNamespace(create_app=lambda *_, **__: None)
    try:
        yield
    finally:
        gradio.blocks.App = real
