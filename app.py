"""The Space: `python app.py` serves the page. Components and wiring; the work is done in ui/ and sefa/."""

import json

import gradio as gr

from sefa.editing import MAX_SAMPLES, MAX_SEED, MAX_SEMANTICS
from ui import engine, strips
from ui.about import about_html, checks
from ui.api import edit, factorize, models, recipe, strip
from ui.controls import CONTROLS, SHOWN
from ui.downloads import SAVES
from ui.events import (
    choose_event,
    compare_event,
    draw_strips,
    find_region_event,
    follow,
    measure,
    opener,
    relay,
    rename,
    restore_event,
    settle,
)
from ui.gallery import STAMP, frame, gallery, sends
from ui.layout import first_values, lay_out, rows_shown
from ui.mcp_tools import offer_tools
from ui.panels import ExportPanel, direction_controls, export_panel, model_controls
from ui.parts import part
from ui.settings import first_recipe, heading, settings
from ui.web import asset

PAPER = "https://arxiv.org/abs/2007.06600"
INTRO = f"""<p>Each slider moves every image along one direction that the generator's own weights
reveal, in closed form: no training, no labels (<a href="{PAPER}" target="_blank"
rel="noopener noreferrer">SeFa, CVPR 2021</a>). <strong>Drag one.</strong></p>"""
RESET = f"() => [{', '.join(['0'] * MAX_SEMANTICS)}, '', '']"  # the sliders, kept, kept_text


def next_seed(*models: engine.OpenModel) -> str:
    """The script of Random, (seed, model) -> seed: the curated seeds in turn, then any."""
    known = {model.name: engine.labels_of(model).seeds for model in models}
    curated = json.dumps(known)
    return f"""(seed, model) => {{
        const seeds = ({curated})[model] ?? [];
        const next = seeds.indexOf(seed) + 1;
        const any = Math.floor(Math.random() * {MAX_SEED - MAX_SAMPLES});
        return next > 0 && next < seeds.length ? seeds[next] : any;
    }}"""


def build_page() -> gr.Blocks:
    """The page, its first gallery drawn already."""
    owner = settings()
    start = first_recipe(owner)
    model, recipe_first = start.model, start.recipe
    keys = [strips.strip_key(recipe_first, row.step) for row in rows_shown(model, recipe_first, ())]
    pixels = model.loaded.generator.resolution
    first = frame(recipe_first, *start.frames, pixels, keys)
    initial = first_values(lay_out(model, recipe_first, [*owner.notices, *start.notices]))

    with gr.Blocks(
        title=f"SeFa: {owner.title}", analytics_enabled=False, delete_cache=(3600, 3600)
    ) as page:
        gr.HTML(heading(owner) + INTRO, elem_id="intro", apply_default_css=False)
        with gr.Row():
            with gr.Column(scale=6, min_width=320, elem_id="stage"):
                notice = gr.HTML(elem_id="notice", **initial["notice"])
                images = gallery(first)
            with gr.Column(scale=5, min_width=320):
                part("tabs")
                with gr.Column(elem_id="panel-explore"):
                    c = direction_controls(initial)
                    part("brush")
                with gr.Column(elem_id="panel-sliders"):
                    found = gr.Markdown(elem_id="found", **initial["found"])
                    with gr.Column(elem_id="sliders"):
                        sliders = [
                            gr.Slider(step=0.1, elem_id=f"semantic-{i}", **initial[f"slider {i}"])
                            for i in range(MAX_SEMANTICS)
                        ]
                    part("more")
                    kept_text = gr.Markdown(elem_id="kept", **initial["kept_text"])
                with gr.Column(elem_id="panel-edit"):
                    c |= model_controls(initial)
                    facts = gr.Markdown(elem_id="model-facts", **initial["facts"])
                with gr.Column(elem_id="panel-compare"):
                    compared = part("compare")
                with gr.Column(elem_id="panel-export"):
                    export = export_panel(initial)
                with gr.Column(elem_id="panel-about"):
                    about = gr.HTML(about_html(checks(owner)), elem_id="about-page", padding=True)
        # What a request carries besides: what the sliders mean, and the request's number.
        for name in SHOWN:
            c[name] = gr.Textbox(visible=False, **initial[name])
        sequence = gr.Number(0, visible=False)
        measured = gr.Number(0, visible=False)  # counted up when rows are known better
        dragging = gr.Checkbox(False, visible=False)
        film = strips.component()
        told = gr.Textbox(visible=False)  # what a script of the page adds to a request

        controls = [*(c[name] for name in CONTROLS), *sliders]
        everything = [*controls, export.options["moves"], found, facts, kept_text, notice]
        request = {"inputs": [*controls, sequence, dragging], "outputs": images, "js": STAMP}
        private = {"api_visibility": "private"}
        one_by_one = {"concurrency_id": "gpu", "concurrency_limit": 1}
        # A download must keep nobody from drawing, nor from opening the page.
        in_parallel = {"concurrency_id": "open", "concurrency_limit": 16}
        draw = {"fn": settle, **request, **private, **one_by_one, "show_progress": "minimal"}

        # Without the queue a frame is one short request; always_last keeps the end of a drag.
        gr.on(
            [slider.input for slider in sliders],
            follow,
            **request,
            **private,
            queue=False,
            trigger_mode="always_last",
            show_progress="hidden",
        )
        gr.on(
            [*(slider.release for slider in sliders), unseen("settle").click],
            **draw,
            trigger_mode="always_last",
        )
        unseen("ask-strips").click(
            draw_strips,
            [*controls, told],
            film,
            js=strips.ASK,
            **private,
            concurrency_id="strips",
            concurrency_limit=4,
            show_progress="hidden",
            trigger_mode="multiple",
        )
        unseen("find-region").click(
            find_region_event,
            [*controls, told],
            everything,
            js=sends("region"),
            **private,
            concurrency_id="strips",
            show_progress="full",
            show_progress_on=found,
        ).success(**draw)
        unseen("name-it").click(
            rename,
            [*controls, told],
            everything,
            js=sends("naming"),
            **private,
            show_progress="hidden",
        ).success(**draw)
        unseen("do-compare").click(
            compare_event,
            [*controls, told],
            compared,
            js=sends("comparing"),
            **private,
            concurrency_id="strips",
            show_progress="full",
            show_progress_on=compared,
        )
        gr.on(
            [c[name].input for name in ("num_samples", "psi", "cutoff", "class_index")]
            + [c[name].input for name in ("seed", "mix_layers", "mix_seed")]
            + [c["noise"].submit, c["noise"].blur],
            **draw,
            trigger_mode="always_last",
        )
        chosen = gr.on(
            [c[name].input for name in ("model", "layers", "order", "num_semantics")]
            + [c["custom"].submit],
            choose_event,
            controls,
            everything,
            **private,
            **in_parallel,
            trigger_mode="always_last",
            show_progress="full",  # a download may take minutes
            show_progress_on=c["model"],
        )
        seen = [c["seed"], c["shown_model"]]
        unseen("do-random").click(
            None,
            seen,
            c["seed"],
            js=next_seed(model, engine.open_model(engine.EMBEDDED)),
            **private,
        ).then(**draw)
        unseen("do-reset").click(
            None, None, [*sliders, c["kept"], kept_text], js=RESET, **private
        ).then(**draw)
        restored = unseen("do-restore").click(
            restore_event,
            [*controls, told],
            everything,
            js=sends("restoring"),
            **private,
            **in_parallel,
            show_progress="full",
            show_progress_on=c["model"],
        )
        opened = page.load(
            opener(start.opens),
            None,
            everything,
            **private,
            **in_parallel,
            show_progress="full",
            show_progress_on=c["model"],
        )
        for event in (chosen, opened, restored):
            event.success(**draw)
            event.success(
                measure,
                [c["shown_model"], c["shown_layers"], measured],
                measured,
                **private,
                concurrency_id="measure",
                concurrency_limit=1,
                show_progress="full",  # a minute, while everything else goes on
                show_progress_on=found,
            )
        measured.change(relay, controls, everything, **private, show_progress="hidden").success(
            **draw
        )  # its frame says what the strips of the new rows are of
        unseen("do-check").click(
            lambda: about_html(checks(owner)), None, about, **private, show_progress="hidden"
        )
        wire_export(export, controls, told, private)

        for endpoint in (models, factorize, recipe):
            gr.api(endpoint, api_name=endpoint.__name__, **in_parallel)
        gr.api(edit, api_name="edit", **one_by_one)
        # Drawn in turns that a gallery may come between, so not in its queue.
        gr.api(strip, api_name="strip", concurrency_id="api", concurrency_limit=2)
    return page


def wire_export(panel: ExportPanel, controls: list, told: gr.Textbox, private: dict) -> None:
    """Each button of the export panel writes its files, which the browser then saves."""
    files = gr.File(visible=False, file_count="multiple")
    for name, button in panel.buttons.items():
        button.click(
            SAVES[name],
            [*controls, *(panel.options.values() if name == "animation" else []), told],
            [files, panel.status],
            js=sends("saving", first="window.sefa.saving = {sample: window.sefa.sample};"),
            **private,
            concurrency_id="save",
            concurrency_limit=2,
            show_progress="full",
            show_progress_on=panel.status,
        ).success(None, files, None, js=asset("save.js"), **private)


def unseen(name: str) -> gr.Button:
    """A button that only scripts of the page press."""
    return gr.Button(name, elem_id=name, elem_classes="unseen", visible="hidden")


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


def main() -> None:
    """Serves the page; GRADIO_SERVER_NAME and GRADIO_SERVER_PORT say where."""
    build_page().queue(max_size=64).launch(
        theme=theme(),
        css=asset("page.css", "strips.css"),
        head=f"<style>{asset('head.css')}</style><script>{asset('embed.js')}</script>",
        footer_links=["api", "gradio", "settings"],
        run_history=False,  # it would fill the browser's storage with every public event's images
        mcp_server=offer_tools(),
    )


if __name__ == "__main__":
    main()
