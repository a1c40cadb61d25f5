"""What happens when: each group of the page's events, wired to the functions of `ui.events`.

Everything a visitor does is private; the public API is wired in `publish`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from sefa.editing import MAX_SAMPLES, MAX_SEED, MAX_SEMANTICS
from ui import api, engine, events, strips
from ui.about import about_html, checks
from ui.controls import CONTROLS
from ui.downloads import SAVES
from ui.gallery import STAMP, sends
from ui.panels import Controls, ExportPanel
from ui.settings import Settings
from ui.web import asset

PRIVATE = {"api_visibility": "private"}
# Whose turn it is to be drawn for, the renderer decides; on ZeroGPU, calls go one by one.
IN_TURN = {"concurrency_id": "gpu", "concurrency_limit": 1 if engine.ON_ZERO_GPU else None}
# A download must keep nobody from drawing, nor from opening the page.
IN_PARALLEL = {"concurrency_id": "open", "concurrency_limit": 16}
DRAWN = ("num_samples", "psi", "cutoff", "class_index", "seed", "mix_layers", "mix_seed")
CHOSEN = ("model", "layers", "order", "num_semantics")
RESET = f"() => [{', '.join(['0'] * MAX_SEMANTICS)}, '', '']"  # the sliders, kept, kept_text
# What a file is of, beside the controls: the sample that is chosen, and where the page is.
SAVING = "window.sefa.saving = {sample: window.sefa.sample, link: window.sefa.link()};"


@dataclass
class Page:
    """The components that events read or change.

    named: those of CONTROLS; sliders: MAX_SEMANTICS. found, facts, kept_text, notice: texts.
    images: the gallery; film: the strips; compared, about: what two of the tabs show.
    only, sequence, dragging: of a request for a frame, see `gallery.STAMP`; measured: counted up when rows are known better;
    told: what a script of the page adds to a request.
    """

    named: Controls
    sliders: list[gr.Slider]
    found: gr.Markdown
    facts: gr.Markdown
    kept_text: gr.Markdown
    notice: gr.HTML
    images: gr.HTML
    film: gr.HTML
    compared: gr.HTML
    about: gr.HTML
    export: ExportPanel
    only: gr.Number
    sequence: gr.Number
    dragging: gr.Checkbox
    measured: gr.Number
    told: gr.Textbox

    @property
    def controls(self) -> list[gr.components.Component]:
        """What a request carries, in the order that `controls.read` expects."""
        return [*(self.named[name] for name in CONTROLS), *self.sliders]

    @property
    def everything(self) -> list[gr.components.Component]:
        """What `layout.lay_out` updates."""
        texts = [self.found, self.facts, self.kept_text, self.notice]
        return [*self.controls, self.export.options["moves"], *texts]

    @property
    def request(self) -> dict[str, Any]:
        """Of an event that asks for a frame."""
        inputs = [*self.controls, self.only, self.sequence, self.dragging]
        return {"inputs": inputs, "outputs": self.images, "js": STAMP, **PRIVATE}

    @property
    def draw(self) -> dict[str, Any]:
        """The frame of the page as it is."""
        return {"fn": events.settle_event, **self.request, **IN_TURN, "show_progress": "minimal"}

    @property
    def opening(self) -> dict[str, Any]:
        """Of an event that may download a model, which may take minutes."""
        progress = {"show_progress": "full", "show_progress_on": self.named["model"]}
        return {"outputs": self.everything, **PRIVATE, **IN_PARALLEL, **progress}


def wire(
    page: Page,
    blocks: gr.Blocks,
    opens: Callable[..., Any],
    owner: Settings,
    *models: engine.OpenModel,
) -> None:
    """All events of the page. opens: what it does for a visitor who comes; models: those whose
    curated seeds Random knows.
    """
    wire_drawing(page)
    wire_rows(page)
    wire_tools(page, *models)
    wire_opening(page, blocks, opens)
    wire_export(page)
    unseen("do-check").click(
        lambda: about_html(checks(owner)), None, page.about, **PRIVATE, show_progress="hidden"
    )


def wire_drawing(page: Page) -> None:
    """What moves the images and nothing else."""
    # Without the queue a frame is one short request; always_last keeps the end of a drag.
    gr.on(
        [slider.input for slider in page.sliders],
        events.follow,
        **page.request,
        queue=False,
        trigger_mode="always_last",
        show_progress="hidden",
    )
    noise = page.named["noise"]
    gr.on(
        [*(slider.release for slider in page.sliders), unseen("settle").click]
        + [page.named[name].input for name in DRAWN]
        + [noise.submit, noise.blur],
        **page.draw,
        trigger_mode="always_last",
    )


def wire_rows(page: Page) -> None:
    """What stands beside the sliders, and what a brush or the comparison finds."""
    inputs = [*page.controls, page.told]
    unseen("ask-strips").click(
        events.draw_strips,
        inputs,
        page.film,
        js=strips.ASK,
        **PRIVATE,
        concurrency_id="strips",
        concurrency_limit=4,
        show_progress="hidden",
        trigger_mode="multiple",
    )
    unseen("find-region").click(
        events.find_region_event,
        inputs,
        page.everything,
        js=sends("region"),
        **PRIVATE,
        concurrency_id="strips",
        show_progress="full",
        show_progress_on=page.found,
    ).success(**page.draw)
    unseen("name-it").click(
        events.rename,
        inputs,
        page.everything,
        js=sends("naming"),
        **PRIVATE,
        show_progress="hidden",
    ).success(**page.draw)
    unseen("do-compare").click(
        events.compare_event,
        inputs,
        page.compared,
        js=sends("comparing"),
        **PRIVATE,
        concurrency_id="strips",
        show_progress="full",
        show_progress_on=page.compared,
    )


def wire_tools(page: Page, *models: engine.OpenModel) -> None:
    """Random and Reset."""
    named = page.named
    unseen("do-random").click(
        None,
        [named["seed"], named["shown_model"]],
        named["seed"],
        js=next_seed(*models),
        **PRIVATE,
    ).then(**page.draw)
    unseen("do-reset").click(
        None, None, [*page.sliders, named["kept"], page.kept_text], js=RESET, **PRIVATE
    ).then(**page.draw)


def wire_opening(page: Page, blocks: gr.Blocks, opens: Callable[..., Any]) -> None:
    """What brings other sliders: a choice, a link, a step back, a saved image, what was measured."""
    named = page.named
    chosen = gr.on(
        [*(named[name].input for name in CHOSEN), named["custom"].submit],
        events.choose_event,
        page.controls,
        trigger_mode="always_last",
        **page.opening,
    )
    restored = unseen("do-restore").click(
        events.restore_event,
        [*page.controls, page.told],
        js=sends("restoring"),
        **page.opening,
    )
    opened = blocks.load(opens, None, **page.opening)
    for event in (chosen, opened, restored):
        event.success(**page.draw)
        event.success(
            events.measure,
            [named["shown_model"], named["shown_layers"], page.measured],
            page.measured,
            **PRIVATE,
            concurrency_id="measure",
            concurrency_limit=1,
            show_progress="full",  # a minute, while everything else goes on
            show_progress_on=page.found,
        )
    page.measured.change(
        events.relay, page.controls, page.everything, **PRIVATE, show_progress="hidden"
    ).success(**page.draw)  # its frame says what the strips of the new rows are of


def wire_export(page: Page) -> None:
    """Each button of the export panel writes its files, which the browser then saves."""
    files = gr.File(visible=False, file_count="multiple")
    panel = page.export
    for name, button in panel.buttons.items():
        options = panel.options.values() if name == "animation" else []
        button.click(
            SAVES[name],
            [*page.controls, *options, page.told],
            [files, panel.status],
            js=sends("saving", first=SAVING),
            **PRIVATE,
            concurrency_id="save",
            concurrency_limit=2,
            show_progress="full",
            show_progress_on=panel.status,
        ).success(None, files, None, js=asset("save.js"), **PRIVATE)


def publish() -> None:
    """The public API."""
    for endpoint in (api.models, api.factorize, api.recipe):
        gr.api(endpoint, api_name=endpoint.__name__, **IN_PARALLEL)
    gr.api(api.edit, api_name="edit", **IN_TURN)
    # Drawn in turns that a gallery may come between, so not in its queue.
    limit = 2 if engine.ON_ZERO_GPU else None
    gr.api(api.strip, api_name="strip", concurrency_id="api", concurrency_limit=limit)


def unseen(name: str) -> gr.Button:
    """A button that only scripts of the page press."""
    return gr.Button(name, elem_id=name, elem_classes="unseen", visible="hidden")


def next_seed(*models: engine.OpenModel) -> str:
    """The script of Random, (seed, model) -> seed: the curated seeds in turn, then any."""
    curated = json.dumps({model.name: engine.labels_of(model).seeds for model in models})
    return f"""(seed, model) => {{
        const seeds = ({curated})[model] ?? [];
        const next = seeds.indexOf(seed) + 1;
        const any = Math.floor(Math.random() * {MAX_SEED - MAX_SAMPLES});
        return next > 0 && next < seeds.length ? seeds[next] : any;
    }}"""
