"""The gallery: one HTML component that paints frames in place, ahead of which nothing old gets.

The server sends JSON: {"sequence", "query", "base", "after": [uri], "before": [uri] or null, in either null for
a sample that is not in sight and was not drawn,
"seeds": [int], "tiny": bool, "strips": [key of each row's strip], "live": bool, "share": {"command",
"python"}}, and where something is to be said "note"; or {"sequence", "problem"} where nothing could
be drawn, with "again", seconds, where the page is to ask once more; or {"sequence", "waiting"}, a
sentence, while others come first. The page numbers every request for a frame when it is sent; a frame that arrives after a
newer one is dropped, so the last value always wins. "before" comes only when the originals ("base")
may have changed. Or {"sequence", "preview": [uri]}, small images that stand in for the edited ones while a
slider moves, and change nothing else. The pixels of "tiny" images are shown as squares.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import gradio as gr

from sefa.editing import Recipe
from sefa.snippets import as_command, as_python
from ui.engine import TINY
from ui.web import asset


def frame(
    recipe: Recipe,
    after: list[str | None],
    before: list[str | None] | None,
    pixels: int,
    strips: Sequence[str] = (),
    live: bool = True,
    sequence: int = 0,
) -> dict[str, Any]:
    """The JSON of one frame; `pixels` is the size of an image, `sequence` the request's number.

    live: whether frames are drawn while a slider moves; else a strip's stand in for them.
    """
    base = recipe.originals().to_query()
    return {
        "sequence": sequence,
        "query": recipe.to_query(),
        "base": hashlib.sha256(base.encode()).hexdigest()[:16],
        "after": after,
        "before": before,
        "seeds": recipe.seeds(),
        "tiny": pixels < TINY,
        "strips": list(strips),
        "live": live,
        "share": {"command": as_command(recipe), "python": as_python(recipe)},
    }


def gallery(first: dict[str, Any] | None) -> gr.HTML:
    """The component, painting `first` before any request."""
    return gr.HTML(
        first,
        html_template=asset("gallery.html"),
        css_template=asset("gallery.css"),
        js_on_load=asset("gallery.js", "history.js", "keys.js", "names.js", "first.js"),
        apply_default_css=False,
        elem_id="gallery",
        first=first and first["query"],  # a page as it opens needs no long address
    )


# Run by the page before a request for a frame leaves: fills in which sample alone is in sight, if
# one is, the request's number, and whether a slider is being dragged, the last three of its inputs.
STAMP = """(...inputs) => {
    const page = (window.sefa ??= {sequence: 0, dragging: false});
    inputs[inputs.length - 3] = page.only?.() ?? null;
    inputs[inputs.length - 2] = ++page.sequence;
    inputs[inputs.length - 1] = page.dragging;
    return inputs;
}"""


def sends(name: str, otherwise: str = "{}", first: str = "") -> str:
    """The script run before a request leaves whose last input is `window.sefa[name]`, as JSON.

    otherwise: what is sent where there is none; first: a statement to run before.
    """
    return f"""(...inputs) => {{
    {first}
    inputs[inputs.length - 1] = JSON.stringify(window.sefa.{name} ?? {otherwise});
    return inputs;
}}"""
