"""Small images on the way to whole ones: what they are, which are of use, and the page with them."""

import functools
from dataclasses import replace
from types import MappingProxyType

import gradio as gr
import numpy as np
import pytest
import torch

from sefa import generators
from sefa.editing import Edit, Recipe
from sefa.generators.generator import Generator
from sefa.previews import Preview, fit_colours, measure, quickest_enough, render_preview
from tests.helpers import (
    max_error,
    seeded,
    tiny_pggan,
    tiny_state_dict,
    tiny_stylegan,
)
from tests.pages import decode
from tests.serving import Server
from tests.test_app import request_values
from ui import engine, events, previewing

PROGRESSIVE = {"pggan": tiny_pggan, "stylegan": tiny_stylegan}


def build(family: str, state) -> Generator:
    return generators.build(state, {"family": family})


# --- what they are --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [4, 8, 16])
def test_of_a_stylegan2_they_are_the_images_of_the_network_without_its_last_blocks(size):
    state, blocks = tiny_state_dict(32), size.bit_length() - 2
    whole = build("stylegan2", dict(state))
    last = [f"synthesis.conv{i}." for i in range(2 * blocks - 1, 7)]
    last += [f"synthesis.to_rgb{k}." for k in range(blocks, 4)]
    small = build("stylegan2", {k: v for k, v in state.items() if not k.startswith(tuple(last))})
    w = torch.randn(3, whole.num_ws, whole.w_dim, generator=seeded(1), dtype=torch.float64)
    for noise_seed in (None, 5):
        images = whole.preview(w, size, noise_seed=noise_seed)
        assert images.shape == (3, 3, size, size) and images.dtype == torch.float32
        expected = small.synthesize(w[:, : small.num_ws], noise_seed=noise_seed)
        assert max_error(images, expected) < 1e-5


@pytest.mark.parametrize("family", PROGRESSIVE)
def test_of_a_grown_network_they_are_what_it_put_out_before_it_grew(family):
    state = PROGRESSIVE[family](32)
    whole = build(family, dict(state))
    assert list(whole.previews) == [4, 8, 16]
    w = torch.randn(2, whole.num_ws, whole.w_dim, generator=seeded(1))
    for lod, size in ((1.0, 16), (2.0, 8), (3.0, 4)):
        before = build(family, {**state, "synthesis.lod": torch.tensor(lod)})
        expected = before.synthesize(w)[:, :, :: 32 // size, :: 32 // size]  # pixels are repeated
        assert max_error(whole.preview(w, size), expected) < 1e-5
        assert list(before.previews) == [s for s in whole.previews if s < size]


@pytest.mark.parametrize("family", ["stylegan2", *PROGRESSIVE])
def test_the_first_indices_of_w_alone_have_a_say(family):
    make = {"stylegan2": tiny_state_dict, **PROGRESSIVE}[family]
    generator = build(family, make(32))
    w = torch.randn(1, generator.num_ws, generator.w_dim, generator=seeded(2))
    for size, depth in generator.previews.items():
        images = generator.preview(w, size)
        for i in range(generator.num_ws):
            other = w.clone()
            other[:, i] += 1.0
            moved = max_error(generator.preview(other, size), images) > 1e-3
            # Of a StyleGAN2 the next index too, but for the colours alone: its toRGB.
            assert moved == (i < depth + (family == "stylegan2"))


def test_networks_without_any():
    assert not build("stylegan2", tiny_state_dict(16, architecture="resnet")).previews
    assert not build("pggan", tiny_pggan(4)).previews


# --- which are of use -----------------------------------------------------------------------------


def test_colours_that_are_an_affine_map_are_found():
    images = torch.randn(2, 3, 8, 8, generator=seeded(3))
    matrix = torch.tensor([[0.9, 0.1, 0.0], [-0.2, 1.5, 0.3], [0.0, 0.4, 0.7]])
    shift = torch.tensor([0.1, -0.5, 0.2])
    whole = torch.einsum("nchw,cd->ndhw", images, matrix) + shift[:, None, None]
    colours, share = fit_colours(images, whole)
    assert torch.allclose(colours, torch.cat([matrix, shift[None]]).double(), atol=1e-5)
    assert share == pytest.approx(1.0)


def test_what_has_nothing_to_do_with_the_image_explains_nothing_of_it():
    unrelated, whole = torch.randn(2, 4, 3, 32, 32, generator=seeded(4))
    _, share = fit_colours(unrelated, whole)
    assert 0.0 <= share < 0.02
    # Half of the variance is what the small image has: as much it explains.
    _, share = fit_colours(unrelated, unrelated + whole)
    assert share == pytest.approx(0.5, abs=0.05)
    for constant in (torch.zeros(2, 3, 4, 4), torch.ones(2, 1, 4, 4)):
        assert fit_colours(constant, constant)[1] == 0.0


class Grown(Generator):
    """Images of 64 pixels, a colour each; of 16 the same in other colours, of 32 something else."""

    num_ws, w_dim, resolution, num_channels = 4, 3, 64, 3
    previews = MappingProxyType({8: 1, 16: 2, 32: 3})

    def __init__(self):
        super().__init__()
        self.register_buffer("pattern", torch.randn(3, 64, 64, generator=seeded(5)))

    def synthesize(self, w):
        smooth = torch.nn.functional.interpolate(self.pattern[None, :, ::4, ::4], scale_factor=4)
        return smooth * 0.3 + w[:, 0, :, None, None] * 0.2

    def preview(self, w, resolution):
        if resolution == 32:
            return self.pattern[None, :, :32, :32].expand(len(w), -1, -1, -1)
        whole = torch.nn.functional.adaptive_avg_pool2d(self.synthesize(w), resolution)
        return whole.flip(1) * 2.0 - 0.5


def test_what_shows_something_else_is_of_no_use_and_colours_are_those_of_whole_images():
    generator, turns = Grown(), []

    def turn(work):
        turns.append(work)
        return work()

    w = torch.randn(3, 4, 3, generator=seeded(6))
    (only,) = measure(generator, w, {}, turn)  # 8 pixels show too little, 32 another image
    assert len(turns) == 3 + 2  # a sample or a size at a time
    assert (only.resolution, only.depth) == (16, 2) and only.share == pytest.approx(1.0)
    assert only.seconds > 0
    images = render_preview(generator, only, w, {})
    assert images.shape == (3, 16, 16, 3) and images.dtype == np.uint8
    whole = generator.synthesize(w)[:, :, ::4, ::4]  # pixels are repeated
    expected = (whole * 127.5 + 128).clamp(0, 255).permute(0, 2, 3, 1)
    assert np.abs(images - expected.numpy()).max() <= 1.01


def a_preview(resolution: int, depth: int = 5, seconds: float = 0.01) -> Preview:
    return Preview(resolution, depth, torch.eye(4, 3).double(), 0.9, seconds)


def test_the_largest_that_is_quick_enough_and_shows_the_edit():
    previews = [a_preview(16, 5, 0.01), a_preview(32, 7, 0.04), a_preview(64, 9, 0.2)]

    def chosen(num_samples: int, *layers: list[int]) -> int | None:
        found = quickest_enough(previews, num_samples, 0.25, layers)
        return None if found is None else found.resolution

    assert chosen(1, [0, 1, 2]) == 64 and chosen(4, [0, 1, 2]) == 32 and chosen(9, [0]) == 16
    assert chosen(26, [0]) is None
    # Edits of later layers would not be seen: then the image waits for the release.
    assert chosen(4, [6, 7]) == 32 and chosen(4, [7, 8]) is None
    assert chosen(9, [0], [6]) is None and chosen(1, [8, 9]) == 64


# --- the page -------------------------------------------------------------------------------------


@pytest.fixture
def slow(monkeypatch):
    """The embedded model as if it were slow; what was measured of it is forgotten."""
    monkeypatch.setattr(engine, "is_live", lambda *_: False)
    monkeypatch.setattr(previewing, "_known", {})
    monkeypatch.setenv("SEFA_MEASURE_SECONDS", "60")
    return engine.open_model("avatars")


RECIPE = Recipe(edits=(Edit.along("all", 0, 3.0),))


def test_a_drag_of_a_slow_model_has_small_images_once_they_are_known(slow, monkeypatch):
    values, later = request_values(RECIPE), []
    monkeypatch.setattr(previewing, "in_background", lambda *work: later.append(work))
    assert events.follow(*values, 1, True) == gr.skip()  # nothing is known yet
    events.settle(*values, 2, False)
    events.settle(*values, 3, False)
    ((find, model),) = later  # once
    assert events.follow(*values, 4, True) == gr.skip()  # it may take a while
    find(model)
    answer = events.follow(*values, 5, True)
    assert set(answer) == {"sequence", "preview"} and answer["sequence"] == 5
    small = np.stack([decode(uri) for uri in answer["preview"]]).astype(float)
    whole = engine.draw(slow, RECIPE).astype(float)
    assert small.shape[0] == len(whole) and 16 <= small.shape[1] < whole.shape[1]
    factor = whole.shape[1] // small.shape[1]
    shrunk = whole.reshape(len(whole), small.shape[1], factor, small.shape[1], factor, 3)
    assert np.abs(small - shrunk.mean(axis=(2, 4))).mean() < 25  # grey levels: it is that image
    # On release, by the keyboard, or where it would not show, nothing changes.
    assert "after" in events.follow(*values, 6, False)
    last = slow.loaded.generator.num_ws - 1
    late = replace(RECIPE, edits=(Edit.along(str(last), 0, 3.0),))
    assert events.follow(*request_values(late), 7, True) == gr.skip()


def test_under_a_crowd_there_are_none(slow, monkeypatch):
    previewing._known[str(slow.path)] = [a_preview(16)]
    monkeypatch.setattr(engine, "is_idle", lambda: False)
    assert events.follow(*request_values(RECIPE), 1, True) == gr.skip()


def test_nothing_is_measured_where_that_is_turned_off(slow, monkeypatch):
    monkeypatch.setenv("SEFA_MEASURE_SECONDS", "0")
    monkeypatch.setattr(previewing, "in_background", lambda *_: pytest.fail("measured"))
    events.settle(*request_values(RECIPE), 1, False)


def test_what_cannot_be_measured_is_not_tried_again_and_nobody_notices(slow, monkeypatch):
    monkeypatch.setattr(previewing, "measure", lambda *_: 1 / 0)
    monkeypatch.setattr(previewing, "in_background", lambda function, *a: function(*a))
    previewing.prepare(slow)
    monkeypatch.setattr(previewing, "in_background", lambda *_: pytest.fail("again"))
    assert events.follow(*request_values(RECIPE), 1, True) == gr.skip()


SLOW_PROGRAM = """
import app
from ui import engine, previewing
engine.is_live = lambda *_: False
previewing.measuring.turn = lambda batch: engine.RENDERER.run(2, batch)
app.main()
"""


@pytest.fixture(scope="module")
def slow_server(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("cache"))
    server = Server(SLOW_PROGRAM, SEFA_MEASURE_SECONDS="60", SEFA_CACHE=folder)
    yield server
    server.stop()


def test_a_slider_of_a_slow_model_is_followed_by_small_images(visit, slow_server):
    visitor = visit(slow_server.url, phone=True).settled()
    page = visitor.page
    exact = visitor.sources()
    box = visitor.slider(0).bounding_box()
    x, y, width = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["width"] * 0.4
    page.mouse.move(x, y)
    page.mouse.down()
    steps = 0
    sketched = "Number(document.querySelector('#gallery .frames').dataset.sketch) > 0"
    while not page.evaluate(sketched):
        steps += 1
        page.mouse.move(x + width * (0.5 + 0.5 * (steps % 2)), y)
        page.wait_for_timeout(200)
        assert steps < 300, "no small images came"
    sizes = functools.partial(
        page.eval_on_selector_all,
        "#gallery img.after",
        "all => Promise.all(all.map(i => i.decode().then(() => i.naturalWidth)))",
    )
    # All but the chosen one, which the frames of a strip may stand in for by now.
    assert set(sizes()[1:]) <= {16, 32}
    # What is shared and saved is not a sketch.
    assert page.evaluate("window.sefa.frame.after") == exact
    page.mouse.up()
    page.wait_for_function("document.querySelector('#gallery .frames').dataset.sketch === 'false'")
    assert set(sizes()) == {64} and set(visitor.sources()).isdisjoint(exact)
