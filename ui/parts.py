"""Parts of the page: HTML of our own that holds nothing (tabs, brush, share, more rows), and what
controls are that change with the model.
"""

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


def passing_on(component: gr.components.Component) -> gr.components.Component:
    """The component, which hands on whatever a page sends.

    For those whose choices or limits change with the model. Gradio checks a value against what it
    remembers of the page; after a restart, or in another process, that is only what every page opens
    with, and it would refuse what the page rightly holds. `controls.read` checks every value anyway.
    Once this process has changed the component for a page, Gradio makes that page one of its own, as strict as
    any, and it is right then.
    """
    component.preprocess = lambda payload: payload
    return component
