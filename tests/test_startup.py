"""The page starts quickly: nothing is done twice, nothing is imported that its first gallery lacks."""

import gc
import subprocess
import sys

import gradio.blocks
import gradio.routes

import app
from tests.serving import ROOT

# What only an export, a download or a test needs.
LATER = ("av", "scipy", "matplotlib", "playwright", "pytest", "sefa.convert", "sefa.__main__")


def test_gradio_makes_its_web_application_only_to_serve_it(monkeypatch):
    made = []
    monkeypatch.setattr(
        gradio.routes.App, "create_app", lambda *arguments, **_: made.append(arguments)
    )
    real = gradio.blocks.App
    page = app.build_page()
    assert made == [] and gradio.blocks.App is real
    assert page.config["components"] and page._queue.max_size == app.MOST_EVENTS
    real.create_app(page)
    assert len(made) == 1


def test_what_is_not_looked_at_for_garbage_is_what_was_imported():
    """The collector rests while modules are imported, and works when the page is served."""
    code = (
        "import gc, sys; import app; "
        "assert gc.isenabled() and gc.get_freeze_count() > 100_000; "
        f"print([name for name in {LATER!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr
    assert gc.isenabled()
