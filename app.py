"""The Space: `python app.py` serves the page. Its parts, in order; the work is done in ui/ and sefa/."""

import gc

# Imports make a million objects, nearly all of which stay: looking for garbage among them again and
# again would be a tenth of the page's start.
gc.disable()

import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import Any

import gradio as gr

from sefa.editing import MAX_SEMANTICS
from ui import engine, strips
from ui.about import PAPER, about_html, checks
from ui.controls import SHOWN
from ui.events import opener
from ui.gallery import frame, gallery
from ui.layout import first_values, lay_out, rows_shown
from ui.mcp_tools import offer_tools
from ui.one_app import made_when_served
from ui.panels import direction_controls, export_panel, model_controls
from ui.parts import part, passing_on
from ui.settings import Settings, Start, first_recipe, heading, settings
from ui.web import asset
from ui.wiring import Page, publish, wire

gc.freeze()  # what stays is never looked at, neither now nor while the page is served
gc.enable()

INTRO = f"""<p>Each slider moves every image along one direction that the generator's own weights
reveal, in closed form: no training, no labels (<a href="{PAPER}" target="_blank"
rel="noopener noreferrer">SeFa, CVPR 2021</a>). <strong>Drag one.</strong></p>"""
MOST_EVENTS = 512  # that are under way at once
MOST_SESSIONS = 500  # whose pages Gradio remembers, the last that were used: half a MB each


def build_page() -> gr.Blocks:
    """The page, its first gallery drawn already."""
    owner = settings()
    start = first_recipe(owner)
    # Whoever waits for images waits in the renderer, which refuses sooner than Gradio's queue is full. A
    # message of that to all who wait whenever one is done would be as much work as what they wait for.
    with (
        made_when_served(),
        gr.Blocks(
            title=f"SeFa: {owner.title}",
            analytics_enabled=False,
            delete_cache=(3600, 3600),
        ).queue(max_size=MOST_EVENTS, status_update_rate=1) as blocks,
    ):
        notices = [*owner.notices, *start.notices]
        page = lay_parts(owner, start, notices)
        opens = opener(start.opens, notices)
        wire(page, blocks, opens, owner, start.model, engine.open_model(engine.EMBEDDED))
        publish()
    return blocks


def lay_parts(owner: Settings, start: Start, notices: Sequence[str]) -> Page:
    """The components: images on the left, beside them what is one step away."""
    model, recipe = start.model, start.recipe
    keys = [strips.strip_key(recipe, row.step) for row in rows_shown(model, recipe, ())]
    first = frame(recipe, *start.frames, model.loaded.generator.resolution, keys)
    initial = first_values(lay_out(model, recipe, notices))

    gr.HTML(heading(owner) + INTRO, elem_id="intro", apply_default_css=False)
    with gr.Row():
        with gr.Column(scale=6, min_width=320, elem_id="stage"):
            notice = gr.HTML(elem_id="notice", **initial["notice"])
            images = gallery(first)
        with gr.Column(scale=5, min_width=320):
            part("tabs")
            with gr.Column(elem_id="panel-explore"):
                named = direction_controls(initial)
                part("brush")
            with gr.Column(elem_id="panel-sliders"):
                found = gr.Markdown(elem_id="found", **initial["found"])
                with gr.Column(elem_id="sliders"):
                    sliders = [
                        passing_on(
                            gr.Slider(step=0.1, elem_id=f"semantic-{i}", **initial[f"slider {i}"])
                        )
                        for i in range(MAX_SEMANTICS)
                    ]
                part("more")
                kept_text = gr.Markdown(elem_id="kept", **initial["kept_text"])
            with gr.Column(elem_id="panel-edit"):
                named |= model_controls(initial)
                facts = gr.Markdown(elem_id="model-facts", **initial["facts"])
            with gr.Column(elem_id="panel-compare"):
                compared = part("compare")
            with gr.Column(elem_id="panel-export"):
                export = export_panel(initial)
            with gr.Column(elem_id="panel-about"):
                about = gr.HTML(about_html(checks(owner)), elem_id="about-page", padding=True)
    named |= {name: gr.Textbox(visible=False, **initial[name]) for name in SHOWN}
    return Page(
        named,
        sliders,
        found,
        facts,
        kept_text,
        notice,
        images,
        film=strips.component(),
        compared=compared,
        about=about,
        export=export,
        only=gr.Number(None, visible=False),
        sequence=gr.Number(0, visible=False),
        dragging=gr.Checkbox(False, visible=False),
        measured=gr.Number(0, visible=False),
        told=gr.Textbox(visible=False),
    )


def theme() -> gr.themes.Base:
    """Fonts of the visitor's own machine, so that nothing is fetched from elsewhere."""
    return gr.themes.Soft(
        primary_hue="indigo",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        block_title_background_fill="transparent",
        block_title_background_fill_dark="transparent",
        block_title_padding="0",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
        block_title_text_weight="500",
        # Soft's own are too faint to read: 4.5 to 1 is the least for text, 3 to 1 for what is set.
        body_text_color_subdued="*neutral_600",
        link_text_color_dark="*primary_300",
        link_text_color_hover_dark="*primary_200",
        link_text_color_active_dark="*primary_300",
        link_text_color_visited_dark="*primary_300",
        checkbox_border_color="*neutral_400",
        checkbox_border_color_dark="*neutral_400",
        checkbox_label_background_fill_selected="*primary_600",
    )


def serve(blocks: gr.Blocks, **options: Any) -> None:
    """Serves a page; `options` are more of `launch`'s."""
    # Gradio sums up all events of the past anew at each one's end: 10000 of them, by default.
    os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1000")
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000")
    # And it looks for matplotlib before and after each, on the disk where that is not installed.
    if importlib.util.find_spec("matplotlib") is None:
        sys.modules["matplotlib"] = None
    blocks.launch(
        theme=theme(),
        css=asset("page.css", "strips.css"),
        head=f"<style>{asset('head.css')}</style><script>{asset('embed.js')}</script>",
        footer_links=["api", "gradio", "settings"],
        run_history=False,  # it would fill the browser's storage with every public event's images
        mcp_server=offer_tools(),
        max_file_size="1mb",  # nothing is ever uploaded, but Gradio would take what a stranger sends
        max_threads=MOST_EVENTS,
        state_session_capacity=MOST_SESSIONS,
        **options,
    )


def main() -> None:
    """Serves the page; GRADIO_SERVER_NAME and GRADIO_SERVER_PORT say where."""
    serve(build_page())


if __name__ == "__main__":
    main()
