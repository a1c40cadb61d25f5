"""The Space: `python app.py` serves the page. Components and wiring; the work is done in ui/ and sefa/."""

import json

import gradio as gr

import checkpoints
from sefa.editing import (
    MAX_PSI,
    MAX_SAMPLES,
    MAX_SEED,
    MAX_SEMANTICS,
)
from ui import engine, strips
from ui.api import edit, factorize, models, recipe, strip
from ui.controls import (
    CONTROLS,
    ORDER_CHOICES,
    first_look,
    model_choices,
)
from ui.events import (
    choose_event,
    draw_strips,
    find_region_event,
    follow,
    measure,
    open_link,
    relay,
    rename,
    settle,
    take_directions,
    take_names,
)
from ui.gallery import STAMP, frame, gallery, sends
from ui.layout import first_values, lay_out
from ui.mcp_tools import offer_tools
from ui.rows import (
    rows_of,
)

PAPER = "https://arxiv.org/abs/2007.06600"
INTRO = f"""# Look what is inside a GAN
Each slider moves every image along one direction that the generator's own weights reveal, in
closed form: no training, no labels ([SeFa, CVPR 2021]({PAPER})). **Drag one.**"""


CSS = """
.gradio-container { max-width: 1280px !important; }
#intro h1 { margin-bottom: 2px; }
#notice { border-left: 4px solid var(--color-accent); padding: 8px 12px; border-radius: 6px;
  background: var(--background-fill-secondary); max-height: 30vh; overflow-y: auto !important; }
#model-facts, #kept { font-size: 13px; color: var(--body-text-color-subdued); }
#settle, #ask-strips, #find-region, #name-it { display: none; }
#model input, #class-index input { text-overflow: ellipsis; margin-right: 24px; }  /* its arrow */
/* The images stay in sight while the controls below or beside them are moved. */
#stage { position: sticky; top: 0; z-index: 45;  /* Gradio's labels have 40, its menus more */
  align-self: flex-start; padding-bottom: 6px;
  background: var(--body-background-fill); }
.gradio-container, .gradio-container main, .gradio-container .wrap { overflow: visible !important; }
@media (max-width: 768px) {
  .gradio-container { padding: 8px !important; }
  #intro h1 { font-size: 22px; }
  [id^=semantic-] .head input { width: 64px; }
  [id^=semantic-] .head label { flex: 1; min-width: 0; }
  [id^=semantic-] .info-text { font-size: 11px; white-space: nowrap; overflow: hidden;
    text-overflow: ellipsis; }
  #notice { max-height: 16vh; }  /* it shares the screen with the images and a slider */
}
"""
SAVE = """file => {
    const link = document.createElement('a');
    [link.href, link.download] = [file.uri, file.name];
    link.click();
}"""
RESET = f"() => [{', '.join(['0'] * MAX_SEMANTICS)}, '', '']"  # the sliders, kept, kept_text


def next_seed(model: engine.OpenModel) -> str:
    """The script of Random, (seed, model) -> seed: the curated seeds in turn, then any."""
    curated = json.dumps({model.name: engine.labels_of(model).seeds})
    return f"""(seed, model) => {{
        const seeds = ({curated})[model] ?? [];
        const next = seeds.indexOf(seed) + 1;
        const any = Math.floor(Math.random() * {MAX_SEED - MAX_SAMPLES});
        return next > 0 && next < seeds.length ? seeds[next] : any;
    }}"""


def build_page() -> gr.Blocks:
    """The page, its first gallery drawn already."""
    model = engine.open_model(engine.EMBEDDED)
    start = first_look(model)
    keys = [strips.strip_key(start, row.step) for row in rows_of(model, start)]
    first = frame(start, *engine.frames(model, start), model.loaded.generator.resolution, keys)
    _, refused = checkpoints.owner_models()
    initial = first_values(lay_out(model, start, refused))

    with gr.Blocks(
        title="SeFa: look what is inside a GAN", analytics_enabled=False, delete_cache=(3600, 3600)
    ) as page:
        gr.Markdown(INTRO, elem_id="intro")
        with gr.Row():
            with gr.Column(scale=6, min_width=320, elem_id="stage"):
                notice = gr.HTML(elem_id="notice", **initial["notice"])
                images = gallery(first)
            with gr.Column(scale=5, min_width=320):
                found = gr.Markdown(elem_id="found", **initial["found"])
                with gr.Column(elem_id="sliders"):
                    sliders = [
                        gr.Slider(step=0.1, elem_id=f"semantic-{i}", **initial[f"slider {i}"])
                        for i in range(MAX_SEMANTICS)
                    ]
                kept_text = gr.Markdown(elem_id="kept", **initial["kept_text"])
                with gr.Row():
                    reset = gr.Button("Reset", elem_id="reset", min_width=80)
                    shuffle = gr.Button("Random", elem_id="random", min_width=80)
                with gr.Accordion("Model, layers and samples", open=True):
                    c = make_settings(initial)
                    facts = gr.Markdown(elem_id="model-facts", **initial["facts"])
                with gr.Accordion("Take away", open=False):
                    gr.Markdown(
                        "The directions above as a file of vectors with their layers, units and "
                        "names, and the names of this model's directions as a file that its Space "
                        "can ship."
                    )
                    with gr.Row():
                        take_all = gr.Button("Directions", elem_id="take-directions", min_width=80)
                        take_some = gr.Button("Names", elem_id="take-names", min_width=80)
        # What a request carries besides: what the sliders mean, and the request's number.
        c["shown_model"] = gr.Textbox(visible=False, **initial["shown_model"])
        for name in ("shown_layers", "shown_order", "shown_rows", "kept", "names", "brushed"):
            c[name] = gr.Textbox(visible=False, **initial[name])
        sequence = gr.Number(0, visible=False)
        measured = gr.Number(0, visible=False)  # counted up when rows are known better
        dragging = gr.Checkbox(False, visible=False)
        let_go = gr.Button("Draw", elem_id="settle", visible="hidden")
        film = strips.component()
        wanted = gr.Textbox(visible=False)
        ask = gr.Button("Strips", elem_id="ask-strips", visible="hidden")
        region = gr.Textbox(visible=False)
        look = gr.Button("Look", elem_id="find-region", visible="hidden")
        naming = gr.Textbox(visible=False)
        name_it = gr.Button("Name", elem_id="name-it", visible="hidden")
        taken = gr.JSON(visible=False)

        controls = [*(c[name] for name in CONTROLS), *sliders]
        everything = [*controls, found, facts, kept_text, notice]
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
            [*(slider.release for slider in sliders), let_go.click],
            **draw,
            trigger_mode="always_last",
        )
        ask.click(
            draw_strips,
            [*controls, wanted],
            film,
            js=strips.ASK,
            **private,
            concurrency_id="strips",
            concurrency_limit=4,
            show_progress="hidden",
            trigger_mode="multiple",
        )
        look.click(
            find_region_event,
            [*controls, region],
            everything,
            js=sends("region"),
            **private,
            concurrency_id="strips",
            show_progress="full",
            show_progress_on=found,
        ).success(**draw)
        name_it.click(
            rename,
            [*controls, naming],
            everything,
            js=sends("naming"),
            **private,
            show_progress="hidden",
        ).success(**draw)
        for button, take in ((take_all, take_directions), (take_some, take_names)):
            button.click(take, controls, taken, **private).success(None, taken, None, js=SAVE)
        gr.on(
            [c[name].input for name in ("num_samples", "psi", "cutoff", "class_index")]
            + [c["seed"].input],
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
        shuffle.click(None, seen, c["seed"], js=next_seed(model), **private).then(**draw)
        reset.click(None, None, [*sliders, c["kept"], kept_text], js=RESET, **private).then(**draw)
        opened = page.load(
            open_link,
            None,
            everything,
            **private,
            **in_parallel,
            show_progress="full",
            show_progress_on=c["model"],
        )
        for event in (chosen, opened):
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

        for endpoint in (models, factorize, recipe):
            gr.api(endpoint, api_name=endpoint.__name__, **in_parallel)
        gr.api(edit, api_name="edit", **one_by_one)
        # Drawn in turns that a gallery may come between, so not in its queue.
        gr.api(strip, api_name="strip", concurrency_id="api", concurrency_limit=2)
    return page


def make_settings(initial: dict[str, dict]) -> dict[str, gr.components.Component]:
    """The pickers for model, layers and samples, by their name in CONTROLS."""
    c = {}
    c["model"] = gr.Dropdown(
        choices=model_choices(), label="Model", elem_id="model", **initial["model"]
    )
    c["class_index"] = gr.Dropdown(label="Class", elem_id="class-index", **initial["class_index"])
    c["layers"] = gr.Radio(label="Layers", elem_id="layers", **initial["layers"])
    c["custom"] = gr.Textbox(
        label="Custom layers",
        info="Indices and ranges such as 0-1,4; press Enter",
        max_lines=1,
        elem_id="custom-layers",
        **initial["custom"],
    )
    c["order"] = gr.Radio(ORDER_CHOICES, label="Order", elem_id="order", **initial["order"])
    with gr.Row():
        c["num_semantics"] = gr.Slider(
            1, MAX_SEMANTICS, step=1, label="Semantics", min_width=120, buttons=[],
            elem_id="num-semantics", **initial["num_semantics"],
        )  # fmt: skip
        c["num_samples"] = gr.Slider(
            1, MAX_SAMPLES, step=1, label="Samples", min_width=120, buttons=[],
            elem_id="num-samples", **initial["num_samples"],
        )  # fmt: skip
    with gr.Row():
        c["seed"] = gr.Number(
            precision=0, label="Seed", min_width=100, elem_id="seed", **initial["seed"]
        )
        c["psi"] = gr.Slider(
            0, MAX_PSI, step=0.05, label="Truncation ψ", min_width=160, buttons=[],
            elem_id="psi", **initial["psi"],
        )  # fmt: skip
        c["cutoff"] = gr.Number(
            precision=0, label="Truncated layers (0: all)", min_width=100,
            minimum=0,
            elem_id="cutoff", **initial["cutoff"],
        )  # fmt: skip
    return c


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
    )


def main() -> None:
    """Serves the page; GRADIO_SERVER_NAME and GRADIO_SERVER_PORT say where."""
    build_page().queue(max_size=64).launch(
        theme=theme(),
        css=CSS + strips.CSS,
        footer_links=["api", "gradio", "settings"],
        run_history=False,  # it would fill the browser's storage with every public event's images
        mcp_server=offer_tools(),
    )


if __name__ == "__main__":
    main()
