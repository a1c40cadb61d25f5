"""The parts of the page that are HTML of our own and hold nothing: tabs, brush, share, more rows."""

import gradio as gr

from ui.web import asset


def part(name: str) -> gr.HTML:
    """The component of NAME.html, NAME.css and NAME.js."""
    return gr.HTML(
        None,
        html_template=asset(f"{name}.html"),
        css_template=asset(f"{name}.css"),
        js_on_load=asset(f"{name}.js"),
        apply_default_css=False,
        elem_id=name,
    )
