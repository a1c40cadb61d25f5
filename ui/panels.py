"""The controls of the page, panel by panel; what they hold at first comes from `ui.layout`."""

from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from sefa.animation import EASINGS
from sefa.editing import MAX_PSI, MAX_SAMPLES, MAX_SEMANTICS
from ui.controls import ORDER_CHOICES, model_choices
from ui.parts import part, passing_on

Controls = dict[str, gr.components.Component]  # by their name in CONTROLS


def model_controls(initial: dict[str, dict]) -> Controls:
    """Which model, and which of its samples."""
    c = {}
    c["model"] = gr.Dropdown(
        choices=model_choices(), label="Model", elem_id="model", **initial["model"]
    )
    c["class_index"] = passing_on(
        gr.Dropdown(label="Class", elem_id="class-index", **initial["class_index"])
    )
    with gr.Row():
        c["num_samples"] = gr.Slider(
            1, MAX_SAMPLES, step=1, label="Samples", min_width=120, buttons=[],
            elem_id="num-samples", **initial["num_samples"],
        )  # fmt: skip
        c["seed"] = gr.Number(
            precision=0, label="Seed", min_width=100, elem_id="seed", **initial["seed"]
        )
    with gr.Row():
        c["psi"] = gr.Slider(
            0, MAX_PSI, step=0.05, label="Truncation ψ", min_width=160, buttons=[],
            elem_id="psi", **initial["psi"],
        )  # fmt: skip
        c["cutoff"] = gr.Number(
            precision=0, label="Truncated layers (0: all)", min_width=100,
            minimum=0,
            elem_id="cutoff", **initial["cutoff"],
        )  # fmt: skip
    with gr.Row():
        mix_layers = gr.Dropdown(
            label="Mix in layers", min_width=120, elem_id="mix-layers", **initial["mix_layers"]
        )
        c["mix_layers"] = passing_on(mix_layers)
        c["mix_seed"] = gr.Number(
            precision=0, label="… of seed", min_width=100, elem_id="mix-seed", **initial["mix_seed"]
        )
    c["noise"] = gr.Textbox(
        label="Noise seed",
        info="Of the fine detail; empty: the noise in the model's file",
        max_lines=1,
        elem_id="noise",
        **initial["noise"],
    )
    return c


def direction_controls(initial: dict[str, dict]) -> Controls:
    """Which directions have sliders."""
    c = {}
    c["layers"] = passing_on(gr.Radio(label="Layers", elem_id="layers", **initial["layers"]))
    c["custom"] = gr.Textbox(
        label="Custom layers",
        info="Indices and ranges such as 0-1,4; press Enter",
        max_lines=1,
        elem_id="custom-layers",
        **initial["custom"],
    )
    c["order"] = gr.Radio(ORDER_CHOICES, label="Order", elem_id="order", **initial["order"])
    c["num_semantics"] = gr.Slider(
        1, MAX_SEMANTICS, step=1, label="How many", buttons=[],
        elem_id="num-semantics", **initial["num_semantics"],
    )  # fmt: skip
    return c


@dataclass
class ExportPanel:
    """What the export panel has: a button for each file, and what an animation is of."""

    buttons: dict[str, gr.Button] = field(default_factory=dict)
    options: dict[str, gr.components.Component] = field(default_factory=dict)
    status: Any = None


def export_panel(initial: dict[str, dict]) -> ExportPanel:
    """Share and save."""
    panel = ExportPanel()

    def button(name: str, text: str) -> None:
        panel.buttons[name] = gr.Button(text, elem_id=f"save-{name}", min_width=110, size="sm")

    part("share")
    gr.Markdown("## Save", elem_classes="section")
    with gr.Row():
        button("image", "Image")
        button("grid", "All samples")
        button("pages", "Two pages, as in the paper")
        button("teaser", "Teaser: sliders in one file")
    gr.Markdown("## Save the directions", elem_classes="section")
    with gr.Row():
        button("directions", "Directions (.safetensors)")
        button("vectors", "Vectors (.npy)")
        button("names", "Names (.json)")
    gr.Markdown("## Save an animation", elem_classes="section")
    moves = gr.Dropdown(
        multiselect=True,
        label="Of these directions, one after another",
        elem_id="animate-moves",
        **initial["moves"],
    )
    panel.options["moves"] = passing_on(moves)
    with gr.Row():
        panel.options["format"] = gr.Radio(
            [("MP4", "mp4"), ("GIF", "gif"), ("WebP", "webp")], value="mp4",
            label="Format", elem_id="animate-format", min_width=220,
        )  # fmt: skip
        panel.options["easing"] = gr.Dropdown(
            list(EASINGS), label="Easing", elem_id="animate-easing", min_width=120
        )
    with gr.Row():
        panel.options["seconds"] = gr.Slider(
            0.5, 6, value=2, step=0.5, label="Seconds each", buttons=[],
            elem_id="animate-seconds", min_width=140,
        )  # fmt: skip
        panel.options["loop"] = gr.Checkbox(
            True, label="There and back, without end", elem_id="animate-loop", min_width=140
        )
        panel.options["everybody"] = gr.Checkbox(
            False, label="All samples", elem_id="animate-all", min_width=120
        )
    with gr.Row():
        button("animation", "Animation")
    panel.status = gr.HTML("", elem_id="export-status", min_height=28)
    return panel
