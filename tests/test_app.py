"""The page's functions and its public endpoints, as a visitor and as a stranger call them.

The shipped model may change size: resolution and num_ws are read from it, never written here.
"""

import inspect
import json
import math
import re
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import quote

import gradio as gr
import numpy as np
import pytest
from gradio.helpers import special_args
from gradio.utils import get_function_description
from gradio_client import Client
from gradio_client.exceptions import AppError
from hypothesis import given, settings
from hypothesis import strategies as st

import app
import checkpoints
import sefa
from sefa.editing import (
    MAX_ALPHA,
    MAX_PSI,
    MAX_SAMPLES,
    MAX_SEMANTICS,
    Edit,
    Mix,
    Named,
    Recipe,
    fit,
)
from sefa.errors import UserError
from sefa.generators import FAMILIES
from sefa.rendering import render
from tests.helpers import (
    TinyConditional,
    is_one_sentence,
    problem_of,
    tiny_conditional,
    tiny_stylegan2,
)
from tests.hub import FakeHub
from tests.pages import decode
from tests.serving import ROOT
from ui import api, controls, engine, events, layout
from ui.controls import CONTROLS
from ui.kept import Kept

BAD_NAMES = [
    "demo_model/avatars.safetensors",
    "/etc/passwd",
    "../x",
    "someone/else",
    "someone/else/model.pkl@main",
    "https://huggingface.co/someone/else/resolve/main/model.pkl",
    "file:///etc/passwd",
    "AVATARS",
    "",
    None,
    7,
    ["avatars"],
    {"name": "avatars"},
]


@pytest.fixture(scope="module")
def client(server):
    return Client(server.url, verbose=False)


@pytest.fixture(scope="module")
def served(server, tmp_path_factory):
    """The generator that is behind the served page, loaded by the library."""
    path = tmp_path_factory.mktemp("served") / "avatars.safetensors"
    path.write_bytes(server.weights)
    return sefa.load_generator(path)


@pytest.fixture(scope="module")
def avatars():
    return engine.open_model("avatars")


DEFAULT = Recipe()


def request_values(recipe: Recipe = DEFAULT, **changes) -> list:
    """What the page sends for a recipe of the embedded model: CONTROLS, then the sliders."""
    steps = [Edit.along(recipe.layers, i, 1.0) for i in range(MAX_SEMANTICS)]  # units are raw
    alphas, kept = controls.split_edits(recipe, steps)
    sent = {
        "model": recipe.model,
        "layers": recipe.layers,
        "custom": "",
        "order": recipe.order,
        "num_semantics": recipe.num_semantics,
        "num_samples": recipe.num_samples,
        "seed": recipe.seed,
        "psi": recipe.truncation_psi,
        "cutoff": recipe.truncation_cutoff or 0,
        "class_index": recipe.class_index,
        "mix_layers": recipe.mix.layers if recipe.mix else "",
        "mix_seed": recipe.mix.seed if recipe.mix else 1,
        "noise": "" if recipe.noise_seed is None else str(recipe.noise_seed),
        "shown_model": recipe.model,
        "shown_layers": recipe.layers,
        "shown_order": recipe.order,
        "shown_rows": "~".join(step.to_text() for step in steps),
        "kept": "~".join(change.to_text() for change in kept),
        "names": "~".join(named.to_text() for named in recipe.names),
        "brushed": "",
    }
    for name, value in changes.items():
        if name.startswith("slider"):
            alphas[int(name[6:])] = value
        else:
            sent[name] = value
    return [*(sent[name] for name in CONTROLS), *alphas]


def shown(updates) -> dict:
    """The value of every control and text that a list of updates leaves on the page, by name.

    And "alpha 0", ...: how far each slider goes along its direction.
    """
    arguments = layout.first_values(updates)
    values = {name: argument.get("value") for name, argument in arguments.items()}
    for i, step in enumerate(controls.read_steps(values["shown_rows"])):
        values[f"alpha {i}"] = controls.alpha_of(values[f"slider {i}"], step)
    return values


def notice_of(updates) -> str:
    update = updates[-1]
    return update["value"] if update["visible"] else ""


# --- recipe <-> controls --------------------------------------------------------------------------

RECIPES = {
    "default": Recipe(),
    "sliders": Recipe(edits=(Edit.along("all", 0, 2.5), Edit.along("all", 4, -0.05))),
    "settings": Recipe(
        seed=7, num_samples=9, truncation_psi=0.33, truncation_cutoff=1, num_semantics=12
    ),
    "other layers": Recipe(layers="0", edits=(Edit.along("0", 1, 3.0), Edit.along("1", 1, 2.0))),
    "custom layers": Recipe(layers="0,2", edits=(Edit.along("0,2", 0, 1.0),)),
    "no slider": Recipe(num_semantics=2, edits=(Edit.along("all", 2, 1.0),)),
    "combination": Recipe(edits=(Edit("all", ((3, 0.6), (7, -0.8)), 1.5),)),
    "scaled": Recipe(edits=(Edit("all", ((0, 0.5),), 2.0),)),
    "beyond the slider": Recipe(edits=(Edit.along("all", 1, MAX_ALPHA),)),
    "by effect": Recipe(order="effect", edits=(Edit.along("all", 5, 1.2345),)),
    "named": Recipe(layers="named", edits=(Edit.along("0-1", 4, 1.0), Edit.along("0-1", 0, 2.0))),
    "groups": Recipe(layers="groups", order="layers", edits=(Edit.along("0-1", 0, -0.3333),)),
    "names": Recipe(
        layers="named",
        num_semantics=20,
        edits=(Edit("2-5", ((1, 0.6), (4, -0.8)), 1.5),),
        names=(Named("2-5", ((1, 0.6), (4, -0.8)), "Grin", -1), Named("all", ((7, 1.0),), "Hat")),
    ),
    "psi as far as it goes": Recipe(truncation_psi=MAX_PSI, seed=2**32 - 4),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_what_the_page_shows_reads_back_as_the_recipe(recipe, avatars):
    updates = layout.lay_out(avatars, recipe, [])
    values = shown(updates)
    sliders = [values[f"slider {i}"] for i in range(MAX_SEMANTICS)]
    again = controls.read([*(values[name] for name in CONTROLS), *sliders])
    # The kept edits come first; their sum does not depend on the order.
    assert sorted(e.to_text() for e in again.edits) == sorted(e.to_text() for e in recipe.edits)
    assert again.to_query().partition("&edits")[0] == recipe.to_query().partition("&edits")[0]
    # Every slider reaches its own value: Gradio refuses what lies outside.
    arguments = layout.first_values(updates)
    rows = controls.read_steps(values["shown_rows"])
    assert 0 < len(rows) <= recipe.num_semantics + len(recipe.edits)
    for i in range(len(rows)):
        slider = arguments[f"slider {i}"]
        assert slider["visible"] and slider["minimum"] <= slider["value"] <= slider["maximum"]
    assert not arguments.get(f"slider {len(rows)}", {}).get("visible")
    assert bool(values["kept"]) == bool(values["kept_text"])


def test_truncating_no_layer_is_shown_as_psi_one(avatars):
    # The cutoff field's 0 means all layers; psi 1 changes nothing, so the images are the same.
    values = shown(layout.lay_out(avatars, Recipe(truncation_cutoff=0, truncation_psi=0.2), []))
    assert (values["psi"], values["cutoff"]) == (1.0, 0)


def test_edits_of_one_slider_add_up_as_far_as_a_slider_goes():
    recipe = Recipe(edits=(Edit.along("all", 0, 80.0),) * 2 + (Edit.along("all", 1, 1.5),) * 2)
    steps = [Edit.along("all", i, 0.5) for i in range(5)]
    units, kept = controls.split_edits(recipe, steps)
    # Together 160, which no slider and no recipe holds: the second stays an edit of its own.
    assert units[:2] == [160.0, 6.0] and [e.alpha for e in kept] == [80.0]


def test_a_slider_counts_in_units_and_a_recipe_in_alphas():
    steps = "0-1:3:0.21~all:2:0.333~all:1*0.6+4*-0.8:2"
    values = request_values(shown_rows=steps, slider0=2.0, slider1=-0.1, slider2=1.5)
    edits = (
        Edit.along("0-1", 3, 0.42),
        Edit.along("all", 2, -0.0333),
        Edit("all", ((1, 0.6), (4, -0.8)), 3.0),
    )
    assert controls.read(values).edits == edits
    units, kept = controls.split_edits(Recipe(edits=edits), controls.read_steps(steps))
    assert units == pytest.approx([2.0, -0.1, 1.5]) and not kept
    with pytest.raises(UserError, match="A slider must be a number from -50 to 50"):
        controls.read(request_values(shown_rows=steps, slider2=50.1))


@pytest.mark.parametrize("rows", ["x", "all:0:0", "all:0:-1", "99:0:1", "all:0:1e9", 7, "\0"])
def test_rows_that_are_none_are_one_sentence(rows):
    assert is_one_sentence(
        problem_of(events.settle(*request_values(shown_rows=rows, slider0=1.0), 1, False))
    )


HOSTILE_VALUES = [
    *({"shown_model": name} for name in (None, 7)),
    {"shown_layers": {"a": 1}},
    {"shown_layers": "99"},
    {"shown_order": None},
    {"shown_order": "x"},
    {"num_samples": 10**9},
    {"num_samples": 0},
    {"num_samples": None},
    {"seed": math.nan},
    {"seed": -1},
    {"seed": "x"},
    {"seed": [1]},
    {"psi": math.inf},
    {"psi": {}},
    {"cutoff": 10**9},
    {"cutoff": "q"},
    {"class_index": -1},
    {"num_semantics": 0},
    {"slider0": math.nan},
    {"slider3": "1e9"},
    {"slider19": None},
]


@pytest.mark.parametrize("changes", HOSTILE_VALUES, ids=str)
def test_a_value_out_of_range_is_one_sentence(changes):
    assert is_one_sentence(problem_of(events.settle(*request_values(**changes), 1, False)))


@pytest.mark.parametrize("sequence", [None, "x", math.nan, math.inf, [1], {}, -1, 2**64])
@pytest.mark.parametrize("event", [events.follow, events.settle])
def test_a_sequence_that_is_no_number_is_one_sentence(event, sequence):
    assert is_one_sentence(problem_of(event(*request_values(), sequence, False)))


@pytest.mark.parametrize(
    "kept", [["x"], "\0~~:::", "x" * 200_000, "99:1:3", {"a": 1}, 5, "~" * 999]
)
def test_garbage_among_the_kept_edits_is_ignored(kept):
    assert controls.read(request_values(kept=kept)) == Recipe()


@pytest.mark.parametrize("kept", ["all:9999:3", "63:0:1", "all:1*0.5+60000*0.5:1"])
def test_a_kept_edit_that_the_model_cannot_do_is_one_sentence(kept):
    assert is_one_sentence(problem_of(events.settle(*request_values(kept=kept), 1, False)))


# --- links ----------------------------------------------------------------------------------------


def open_link(**query):
    return events.opener("")(SimpleNamespace(query_params=query))


def test_no_query_leaves_the_page_as_it_is():
    assert open_link() == gr.skip()
    assert open_link(__theme="dark", __sign="x") == gr.skip()


def test_a_link_shows_what_it_says():
    values = shown(open_link(v="1", seed="5", n="2", psi="0.5", edits="all:0:2.5~0:1:-3", k="3"))
    assert (values["seed"], values["num_samples"], values["psi"]) == (5, 2, 0.5)
    assert values["alpha 0"] == 2.5 and values["kept"] == "0:1:-3"
    assert values["kept_text"] == "Also applied: 001 of layers 0 at -3"


@pytest.mark.parametrize("name", [n for n in BAD_NAMES if isinstance(n, str)])
def test_a_link_to_an_unknown_model_shows_the_embedded_one_and_says_so(name):
    updates = open_link(model=name, seed="3", edits="all:0:2")
    values = shown(updates)
    assert (values["model"], values["seed"], values["alpha 0"]) == ("avatars", 3, 0.0)
    assert notice_of(updates)


HOSTILE_QUERIES = [
    {"v": "9" * 5000},
    {"seed": "NaN", "n": "1e9", "psi": "-1", "k": "0", "cutoff": "x", "class": "-3"},
    {"edits": "~".join(["all:0:1"] * 5000)},
    {"edits": "all:0:1e999~\0:::~all:" + "+".join(["1"] * 999) + ":1"},
    {"edits": "all:9999:3"},
    {"layers": "<img src=x onerror=alert(1)>"},
    {"layers": "0-9999999999"},
    {"model": "<script>alert(1)</script>"},
    {"model": "x" * 100_000},
    {"class": "7"},
    {"seed": "9" * 5000},
    {"seed": "4294967295", "n": "16"},
    {"edits": "x" * 100_000},
]


@pytest.mark.parametrize("query", HOSTILE_QUERIES, ids=lambda q: str(q)[:40])
def test_a_hostile_link_is_a_notice(query):
    updates = open_link(**{"v": "1", **query})
    notice = notice_of(updates)
    assert notice and "<img" not in notice and "<script" not in notice and len(notice) < 60_000
    assert shown(updates)["model"] == "avatars"


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["v", "model", "seed", "n", "psi", "cutoff", "class", "layers", "k"])
        | st.text(max_size=5),
        st.text(max_size=20) | st.sampled_from(["avatars", "1", "all", "0-1", "1e3", "-0"]),
        max_size=6,
    ),
    st.text(alphabet="al0123:~*+-.e ", max_size=40),
)
def test_any_link_opens_and_can_be_drawn(query, edits):
    updates = open_link(**query, edits=edits)
    if updates != gr.skip():
        values = shown(updates)
        sliders = [values[f"slider {i}"] for i in range(MAX_SEMANTICS)]
        recipe = controls.read([*(values[name] for name in CONTROLS), *sliders])
        generator = engine.open_model("avatars").loaded.generator
        assert fit(recipe, generator.num_ws, generator.w_dim, 0) == (recipe, [])


# --- choosing -------------------------------------------------------------------------------------


def test_other_layers_bring_their_own_sliders_and_keep_the_edits():
    recipe = Recipe(edits=(Edit.along("all", 2, 1.5),))
    before = layout.first_values(layout.lay_out(engine.open_model("avatars"), recipe, []))
    updates = events.choose(*request_values(recipe, layers="0-1"))
    after, values = layout.first_values(updates), shown(updates)
    assert values["shown_layers"] == "0-1" and values["kept"] == "all:2:1.5"
    assert before["slider 0"] != after["slider 0"] or before["slider 1"] != after["slider 1"]
    # Back again, the kept edit is on its slider.
    values = shown(events.choose(*request_values(shown_layers="0-1", kept="all:2:1.5")))
    assert values["alpha 2"] == 1.5 and values["kept"] == ""


def test_layers_that_the_model_lacks_are_a_notice_and_change_nothing(avatars):
    updates = events.choose(*request_values(layers="custom", custom="99"))
    valid = f"layers are 0 to {avatars.loaded.generator.num_ws - 1}."
    assert f"no layer 99; {valid}" in notice_of(updates)
    assert shown(updates)["shown_layers"] == "all"
    for endpoint in (api.factorize, api.edit):
        with pytest.raises(gr.Error) as raised:
            endpoint(layers="99")
        assert raised.value.message.endswith(valid)


def test_choosing_custom_waits_for_what_is_typed():
    updates = events.choose(*request_values(layers="custom", custom=""))
    assert not notice_of(updates) and shown(updates)["shown_layers"] == "all"
    values = shown(events.choose(*request_values(layers="custom", custom=" 1, 0,2 ")))
    assert values["shown_layers"] == "0-2"


@pytest.mark.parametrize("name", BAD_NAMES, ids=str)
def test_a_model_that_is_not_offered_leaves_the_page_as_it_was(name):
    updates = events.choose(*request_values(model=name, slider0=2.0))
    assert "Staying with avatars." in notice_of(updates)
    assert shown(updates)["shown_model"] == "avatars" and shown(updates)["alpha 0"] == 2.0


# --- bad names touch nothing ----------------------------------------------------------------------

_watched: list | None = None


def _hook(event: str, arguments: tuple) -> None:
    if _watched is not None and event.startswith(("open", "os.", "socket.", "subprocess.")):
        _watched.append((event, arguments))


sys.addaudithook(_hook)  # cannot be removed: it does nothing while nobody watches


@contextmanager
def nothing_touched():
    """Holds that no file, socket or process is opened inside."""
    global _watched
    _watched = []
    try:
        yield
        assert not _watched
    finally:
        _watched = None


@pytest.mark.parametrize("name", BAD_NAMES, ids=str)
def test_a_name_that_is_not_offered_opens_nothing(name):
    shown_name = name if isinstance(name, str) else str(name)
    calls = [
        lambda: api.factorize(name),
        lambda: api.edit(name),
        lambda: api.edit(recipe=f"model={quote(shown_name)}&seed=3"),
        lambda: api.strip(name),
        lambda: api.recipe(model=name),
        lambda: api.recipe(f"https://huggingface.co/?model={quote(shown_name)}"),
        lambda: events.follow(*request_values(shown_model=shown_name), 1, False),
        lambda: events.settle(*request_values(shown_model=shown_name), 1, False),
    ]
    events.settle(*request_values(), 1, False)  # what is imported late is there now
    with nothing_touched():
        for call in calls:
            try:
                message = problem_of(call())
            except gr.Error as error:
                message = error.message
            assert "choose among avatars, " in message and is_one_sentence(message)
        open_link(model=shown_name)
        # Picking a model is the way out of a page that shows one which is no longer there.
        assert shown(events.choose(*request_values(shown_model=shown_name)))["model"] == "avatars"


# --- the public endpoints -------------------------------------------------------------------------


ENDPOINTS = (api.models, api.factorize, api.recipe, api.edit, api.strip)


def test_five_endpoints_are_public(client):
    api = client.view_api(return_format="dict", print_info=False)
    public = [function.__name__ for function in ENDPOINTS]
    assert list(api["named_endpoints"]) == [f"/{name}" for name in public]
    assert not api["unnamed_endpoints"]
    names = {d["api_name"]: d["api_visibility"] for d in client.config["dependencies"]}
    assert [name for name, kind in names.items() if kind != "private"] == public
    for name in names.keys() - set(public):
        with pytest.raises(ValueError, match="Cannot find a function"):
            client.predict(api_name=f"/{name}")


FIELDS = {
    "model": "str",
    "layers": "str",
    "alphas": "None | list[float]",
    "seed": "int",
    "num_samples": "int",
    "truncation_psi": "float",
    "class_index": "int",
}
OF_A_STRIP = {
    "model": "str",
    "layers": "str",
    "semantic": "int",
    "start": "None | float",
    "end": "None | float",
    "in_units": "bool",
    "steps": "int",
    "seed": "int",
    "truncation_psi": "float",
    "class_index": "int",
}


@pytest.mark.parametrize(
    ("function", "types"),
    [
        (api.models, {}),
        (api.factorize, {"model": "str", "layers": "str", "num_semantics": "int"}),
        (api.edit, FIELDS | {"recipe": "str"}),
        (api.strip, OF_A_STRIP),
        (api.recipe, {"recipe": "str"} | FIELDS),
    ],
)
def test_endpoints_are_typed_and_documented(client, function, types):
    api = client.view_api(return_format="dict", print_info=False)
    endpoint = api["named_endpoints"][f"/{function.__name__}"]
    parameters = {p["parameter_name"]: p["python_type"]["type"] for p in endpoint["parameters"]}
    assert parameters == types and list(parameters) == list(types)  # some call by position
    assert all(p["parameter_has_default"] for p in endpoint["parameters"])
    description, described, returns = get_function_description(function)
    assert endpoint["description"] == description and description.endswith(".") and returns
    assert set(described) == set(types) and all(described.values())
    # Gradio reads a line at a time: none may go on in the next.
    lines = inspect.getdoc(function).split("\n")
    start = lines.index("Parameters:") if types else lines.index("Returns:")
    assert [line for line in lines[start:] if re.match(" {5,}", line)] == []
    assert len(lines[start:]) == 1 + len(returns) + (1 + len(types) if types else 0)


def test_factorize_is_the_librarys(client, served):
    for layers in ("all", "0-1"):
        found = client.predict(layers=layers, num_semantics=7, api_name="/factorize")
        expected = sefa.factorize(served, layers)
        assert found["layers"] == expected.layers
        np.testing.assert_allclose(found["eigenvalues"], expected.eigenvalues[:7], rtol=1e-9)
        np.testing.assert_allclose(found["vectors"], expected.vectors[:7], atol=1e-9)
        assert (found["resolution"], found["num_ws"]) == (served.resolution, served.num_ws)
        assert (found["model"], found["layer_names"]) == ("avatars", served.layer_names)
        assert found["label_dim"] == 0
        assert found["seconds"] >= 0


def test_edit_is_what_the_library_renders(client, served):
    uris = client.predict(
        layers="0-1", alphas=[2.5, 0, -4], seed=7, num_samples=3, truncation_psi=0.6,
        api_name="/edit",
    )  # fmt: skip
    w = served.map(served.sample_z([7, 8, 9]), truncation_psi=0.6)
    directions = sefa.factorize(served, "0-1")
    w = sefa.edit(w, directions.vectors[0], 2.5, directions.layers)
    w = sefa.edit(w, directions.vectors[2], -4.0, directions.layers)
    images = np.stack([decode(uri) for uri in uris])
    assert np.abs(images.astype(int) - render(served, w)).max() <= 1


def test_edit_needs_no_arguments(client):
    (uri,) = client.predict(api_name="/edit")
    (same,) = client.predict("avatars", "all", [0.0], 0, 1, 0.7, api_name="/edit")
    assert uri.startswith("data:image/png;base64,") and decode(uri).ndim == 3
    assert np.abs(decode(uri).astype(int) - decode(same)).max() <= 1


def test_sample_i_is_seed_plus_i(client):
    together = client.predict(seed=40, num_samples=3, alphas=[2.0], api_name="/edit")
    for i, uri in enumerate(together):
        (alone,) = client.predict(seed=40 + i, alphas=[2.0], api_name="/edit")
        assert np.abs(decode(uri).astype(int) - decode(alone)).max() <= 1


WRONG = [
    *(("edit", {"model": name}) for name in BAD_NAMES),
    ("factorize", {"model": "/etc/passwd"}),
    ("factorize", {"layers": "99"}),
    ("factorize", {"layers": {"0": 1}}),
    ("factorize", {"layers": ""}),
    ("factorize", {"num_semantics": 0}),
    ("factorize", {"num_semantics": 10**9}),
    ("factorize", {"num_semantics": "five"}),
    ("edit", {"layers": "7000"}),
    ("edit", {"layers": "0-"}),
    ("edit", {"layers": [0, 1]}),
    ("edit", {"layers": None}),
    ("edit", {"seed": math.nan}),
    ("edit", {"seed": -1}),
    ("edit", {"seed": 2**32}),
    ("edit", {"seed": 1.5}),
    ("edit", {"seed": None}),
    ("edit", {"num_samples": 10**9}),
    ("edit", {"num_samples": -3}),
    ("edit", {"num_samples": 0}),
    ("edit", {"num_samples": True}),
    ("edit", {"alphas": 3.0}),
    ("edit", {"alphas": {"0": 1}}),
    ("edit", {"alphas": "1,2"}),
    ("edit", {"alphas": [math.nan]}),
    ("edit", {"alphas": [math.inf]}),
    ("edit", {"alphas": [1e9]}),
    ("edit", {"alphas": ["x"]}),
    ("edit", {"alphas": [[1]]}),
    ("edit", {"alphas": [0.5] * 10_000}),
    ("edit", {"truncation_psi": math.nan}),
    ("edit", {"truncation_psi": -0.1}),
    ("edit", {"truncation_psi": "x"}),
    ("edit", {"class_index": 1}),
    ("edit", {"class_index": -1}),
    ("edit", {"class_index": "tench"}),
    ("edit", {"class_index": None}),
    ("edit", {"recipe": None}),
    ("edit", {"recipe": 7}),
    ("edit", {"recipe": ["model=avatars"]}),
    ("edit", {"recipe": "avatars"}),
    ("edit", {"recipe": " "}),
    ("edit", {"recipe": "https://example.org/"}),
    ("edit", {"recipe": "https://example.org/?page=2"}),
    ("edit", {"recipe": "seed=1&" + "x" * 200_000}),
    ("edit", {"recipe": "seed=-1"}),
    ("edit", {"recipe": "v=99&seed=1"}),
    ("edit", {"recipe": "edits=all:99999:1"}),
    ("edit", {"recipe": "edits=all:9999:1"}),
    ("edit", {"recipe": "edits=99:0:1"}),
    ("edit", {"recipe": "edits=all:0:1000"}),
    ("edit", {"recipe": "edits=<b>"}),
    ("edit", {"recipe": "class=3"}),
    ("edit", {"recipe": "model=/etc/passwd"}),
    ("edit", {"recipe": "model=<b>"}),
    ("edit", {"recipe": "seed=1", "seed": 1}),
    ("edit", {"recipe": "seed=1", "alphas": [0.0], "model": {"a": 1}}),
    ("edit", {"recipe": "seed=1", "truncation_psi": math.nan}),
    *(("strip", {"model": name}) for name in BAD_NAMES),
    ("strip", {"layers": "99"}),
    ("strip", {"layers": None}),
    ("strip", {"semantic": -1}),
    ("strip", {"semantic": 10**9}),
    ("strip", {"semantic": 0.5}),
    ("strip", {"semantic": None}),
    ("strip", {"start": math.nan}),
    ("strip", {"start": -100.1}),
    ("strip", {"end": "far"}),
    ("strip", {"end": [1]}),
    ("strip", {"end": math.inf, "in_units": True}),
    ("strip", {"end": 1e6, "in_units": True}),
    ("strip", {"in_units": 1}),
    ("strip", {"in_units": None}),
    ("strip", {"in_units": "yes"}),
    ("strip", {"steps": 1}),
    ("strip", {"steps": 26}),
    ("strip", {"steps": 10**9}),
    ("strip", {"steps": None}),
    ("strip", {"seed": -1}),
    ("strip", {"seed": 2**32}),
    ("strip", {"truncation_psi": 3}),
    ("strip", {"class_index": 1}),
    *(("recipe", {"model": name}) for name in BAD_NAMES),
    ("recipe", {"recipe": None}),
    ("recipe", {"recipe": {"seed": 1}}),
    ("recipe", {"recipe": "avatars"}),
    ("recipe", {"recipe": "?model=AVATARS"}),
    ("recipe", {"recipe": "?model="}),
    ("recipe", {"recipe": "seed=1", "num_samples": 2}),
    ("recipe", {"recipe": "x" * 200_000}),
    ("recipe", {"alphas": "1,2"}),
    ("recipe", {"alphas": [101]}),
    ("recipe", {"layers": "a"}),
    ("recipe", {"seed": 2**32 - 1, "num_samples": 2}),
]


def post(server, path: str, body: dict) -> dict | str:
    """The answer to a crafted POST; JSON here may hold NaN, as a stranger's may."""
    request = urllib.request.Request(
        f"{server.url}/gradio_api/{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        return json.load(urllib.request.urlopen(request, timeout=30))
    except urllib.error.HTTPError as error:
        return json.load(error)


def log(server) -> str:
    return "".join(server.output)


def call(server, name: str, data: list) -> tuple[str, object]:
    """(event, data) that end a queued call made without any client library."""
    event = post(server, f"call/{name}", {"data": data})["event_id"]
    answer = urllib.request.urlopen(
        f"{server.url}/gradio_api/call/{name}/{event}", timeout=30
    ).read()
    kind, content = answer.decode().strip().split("\n")[-2:]
    return kind.removeprefix("event: "), json.loads(content.removeprefix("data: "))


DEFAULTS = {
    function.__name__: {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
    }
    for function in ENDPOINTS
}


@pytest.mark.parametrize(("name", "wrong"), WRONG, ids=lambda v: str(v)[:50])
def test_a_wrong_input_is_one_sentence(server, name, wrong):
    kind, content = call(server, name, list((DEFAULTS[name] | wrong).values()))
    assert kind == "error" and is_one_sentence(content["error"]), content
    assert len(content["error"]) < 300 and "<" not in content["error"]


def test_the_client_shows_the_sentence(client):
    with pytest.raises(AppError, match="num_samples must be a whole number from 1 to 16"):
        client.predict(num_samples=10**9, api_name="/edit")
    with pytest.raises(
        AppError, match="There is no model '/etc/passwd' here: choose among avatars"
    ):
        client.predict("/etc/passwd", api_name="/factorize")


STRANGE = [
    *HOSTILE_VALUES,
    *({"shown_model": name} for name in BAD_NAMES),
    *({"kept": kept} for kept in (["x"], "all:9999:3", "\0", "x" * 100_000)),
    {"custom": {"a": 1}},
    {"layers": {"a": 1}},
    {"slider0": 1e9},
    {"slider0": {}},
    {"psi": "x"},
]


def test_private_events_crafted_by_hand_harm_nothing(server):
    """Gradio refuses some of these itself, with no sentence: whatever comes back, nothing breaks."""
    for changes in STRANGE:
        values = request_values(**changes)
        answer = post(server, "run/follow", {"data": [*values, 1, False]})
        if "data" in answer:  # the frame of the page without the garbage, or what is wrong
            frame = answer["data"][0]
            assert "problem" in frame or frame["query"] == Recipe().to_query(), changes
        kind, content = call(server, "choose_event", values)
        if kind == "complete":
            if content[0] == {"__type__": "update"}:  # all stays, and the notice says why
                assert is_one_sentence(problem_of(content)), changes
            else:
                assert content[CONTROLS.index("shown_model")] == "avatars", changes
    for data in ([], [None] * 37, ["avatars"] * 100, [{"path": "/etc/passwd"}] * 34):
        answer = post(server, "run/follow", {"data": data})
        assert "error" in answer or "problem" in answer["data"][0]
    for sequence in (None, "x", math.nan, [1]):
        data = [*request_values(), None, sequence, "y"]
        assert "problem" in post(server, "run/follow", {"data": data})["data"][0]
    # Still there, still right, and nothing outside the list was opened.
    kind, (uris,) = call(server, "edit", list(DEFAULTS["edit"].values()))
    assert kind == "complete" and decode(uris[0]).ndim == 3 and server.alive
    # What Gradio refuses it logs; nothing got through to fail in a file of ours.
    assert not re.findall(rf"File \"{ROOT}/(?:app\.py|ui/|sefa/|checkpoints\.py).*", log(server))


# --- the owner's models ---------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub with a few repositories, all of them named by SEFA_MODELS."""
    content = tiny_stylegan2(tmp_path / "model.safetensors").read_bytes()
    repos = {
        "user/plain": {"files": {"model.safetensors": content}},
        "user/broken": {"files": {"model.safetensors": b"not a checkpoint"}},
        "user/secret": {"files": {"model.safetensors": content}, "private": True},
        "user/gated": {"files": {"model.safetensors": content}, "gated": True},
    }
    with FakeHub(repos) as hub:
        hub.use(monkeypatch, tmp_path)
        names = [f"{repo}/model.safetensors" for repo in repos] + ["user/plain/missing.pth"]
        monkeypatch.setenv("SEFA_MODELS", " ".join(names))
        monkeypatch.setattr(engine, "_opened", {})
        yield hub


def test_an_owners_model_is_downloaded_once_and_shown(hub):
    values = shown(
        events.choose(*request_values(model="user/plain/model.safetensors", slider0=2.0))
    )
    assert values["shown_model"] == "user/plain/model.safetensors"
    assert values["alpha 0"] == 0.0  # another model's directions are others
    assert "16 px" in values["facts"] and "no licence shown" in values["facts"]
    requests = len(hub.requests)
    frame = events.settle(*request_values(Recipe(model="user/plain/model.safetensors")), 3, False)
    assert decode(frame["after"][0]).shape == (16, 16, 3) and frame["sequence"] == 3
    assert len(hub.requests) == requests


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("user/plain/missing.pth", "has no file missing.pth"),
        ("user/secret/model.safetensors", "set HF_TOKEN"),
        ("user/gated/model.safetensors", "is gated: accept its terms"),
        ("user/broken/model.safetensors", "."),
    ],
)
def test_a_model_that_cannot_be_had_is_a_notice(hub, name, says):
    updates = events.choose(*request_values(model=name, slider1=1.0))
    assert says in notice_of(updates) and notice_of(updates).endswith("Staying with avatars.</div>")
    assert shown(updates)["shown_model"] == "avatars" and shown(updates)["alpha 1"] == 1.0
    updates = open_link(model=name, seed="3")
    assert says in notice_of(updates) and "Showing avatars instead" in notice_of(updates)
    with pytest.raises(gr.Error) as raised:
        api.edit(name)
    assert is_one_sentence(raised.value.message)


def test_a_download_is_reported_to_the_page(hub):
    reports = []
    values = request_values(model="user/plain/model.safetensors")
    events.choose(*values, report=lambda *report: reports.append(report))
    size = len(hub.repos["user/plain"]["files"]["model.safetensors"])
    assert reports[-1] == (size, size)
    # Gradio looks for a Progress before *args only; where it finds none, nothing is ever shown.
    assert special_args(events.choose_event)[1] == 0
    assert special_args(events.opener(""))[1] == 1


def test_a_page_whose_model_is_gone_shows_another(hub):
    gone = "user/plain/missing.pth"
    updates = events.choose(*request_values(model=gone, shown_model=gone, slider0=2.0))
    assert shown(updates)["shown_model"] == "avatars" and shown(updates)["alpha 0"] == 0.0
    assert notice_of(updates).endswith("Showing avatars.</div>")


def test_without_the_hub_the_page_keeps_its_model(hub):
    hub.stop()
    updates = events.choose(*request_values(model="user/plain/model.safetensors"))
    assert "cannot be reached" in notice_of(updates)
    assert shown(updates)["shown_model"] == "avatars"


def test_a_bad_entry_is_a_notice_on_the_page(monkeypatch):
    monkeypatch.setenv("SEFA_MODELS", "nonsense /etc/passwd")
    page = app.build_page()
    (notice,) = [block for block in page.blocks.values() if block.elem_id == "notice"]
    assert notice.visible and notice.value.count("SEFA_MODELS: ") == 2
    (model,) = [block for block in page.blocks.values() if block.elem_id == "model"]
    assert [value for _, value in model.choices] == list(checkpoints.CATALOGUE)


def test_what_is_offered_is_what_resolves(monkeypatch):
    monkeypatch.setenv("SEFA_MODELS", "user/plain/model.safetensors")
    for name in checkpoints.available():
        assert checkpoints.resolve_name(name).name == name
    with pytest.raises(UserError):
        checkpoints.resolve_name("user/plain")


def test_the_model_picker_says_what_a_download_weighs(monkeypatch):
    monkeypatch.setenv("SEFA_MODELS", "user/plain/model.safetensors")
    labels = {name: label for label, name in controls.model_choices()}
    assert list(labels) == list(checkpoints.available())
    assert labels["stylegan_car512"] == "stylegan_car512 · 108 MB"
    for name in ("avatars", "user/plain/model.safetensors"):
        assert labels[name] == name


def test_a_conditional_model_has_a_class_picker(tmp_path, monkeypatch):
    path = tiny_stylegan2(tmp_path / "classes.safetensors", label_dim=3)
    model = open_local(monkeypatch, "classes", path)
    arguments = layout.first_values(
        layout.lay_out(model, Recipe(model="classes", class_index=2), [])
    )
    choices = [("class 0", 0), ("class 1", 1), ("class 2", 2)]
    assert arguments["class_index"] == {"choices": choices, "value": 2, "visible": True}
    images = [
        events.settle(*request_values(Recipe(model="classes", class_index=i)), 1, False)["after"]
        for i in range(3)
    ]
    assert images[0] != images[1] != images[2]
    answer = events.settle(*request_values(Recipe(model="classes", class_index=3)), 1, False)
    assert "no class 3" in problem_of(answer)
    arguments = layout.first_values(layout.lay_out(engine.open_model("avatars"), Recipe(), []))
    assert not arguments["class_index"]["visible"] and len(arguments["class_index"]["choices"]) == 1
    assert "class" not in arguments["facts"]["value"]


def test_the_page_as_it_opens_carries_no_classes_of_other_models(tmp_path, monkeypatch):
    open_tiny(monkeypatch, tmp_path, label_dim=1000)
    (picker,) = [b for b in app.build_page().blocks.values() if b.elem_id == "class-index"]
    assert not picker.visible and picker.filterable and picker.value == 0
    assert picker.choices == [("class 0", 0)]


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A model that is conditional and grey, of 28 px and of one layer."""
    return open_tiny(monkeypatch, tmp_path, class_names=["tench", "<b>shark", "hen", "x" * 999])


def open_tiny(monkeypatch, folder, **sizes) -> engine.OpenModel:
    monkeypatch.setitem(FAMILIES, "tiny", TinyConditional)
    return open_local(monkeypatch, "tiny", tiny_conditional(folder / "tiny.safetensors", **sizes))


def test_classes_are_picked_by_name_and_sent_as_an_index(tiny):
    arguments = layout.first_values(layout.lay_out(tiny, Recipe(model="tiny", class_index=1), []))
    picker = arguments["class_index"]
    assert picker["choices"][:3] == [("0 tench", 0), ("1 <b>shark", 1), ("2 hen", 2)]
    assert picker["choices"][3] == ("3 " + "x" * 80, 3)
    assert picker["value"] == 1
    component = gr.Dropdown(**picker)
    assert [component.preprocess(i) for i in range(4)] == [0, 1, 2, 3]


def test_images_that_depend_on_more_than_w_are_drawn(tiny):
    recipe = Recipe(model="tiny", num_samples=2, truncation_psi=0.5, class_index=2)
    frame = events.settle(*request_values(recipe, slider0=1.5), 1, False)
    loaded = tiny.loaded
    expected = loaded.images(replace(recipe, edits=(Edit.along("all", 0, 1.5),)))
    assert np.array_equal([decode(uri) for uri in frame["after"]], expected)
    assert np.array_equal([decode(uri) for uri in frame["before"]], loaded.images(recipe))
    assert frame["tiny"] and expected.shape == (2, 28, 28, 1)
    uris = api.edit("tiny", "all", [1.5], 0, 2, 0.5, class_index=2)
    assert np.array_equal([decode(uri) for uri in uris], expected)
    assert api.factorize("tiny", num_semantics=2)["label_dim"] == 4
    with pytest.raises(gr.Error, match="class_index must be a whole number from 0 to 3, not '4'"):
        api.edit("tiny", class_index=4)


def test_a_class_out_of_range_in_a_link_is_a_notice(tiny):
    updates = open_link(model="tiny", **{"class": "4"})
    assert "This model has no class 4; classes are 0 to 3." in notice_of(updates)
    assert shown(updates)["class_index"] == 0
    assert shown(open_link(model="tiny", **{"class": "3"}))["class_index"] == 3


def test_a_link_to_a_model_that_is_gone_says_nothing_of_its_class():
    updates = open_link(model="tiny-no-more", **{"class": "3"})
    assert "no class" not in notice_of(updates) and shown(updates)["class_index"] == 0


def test_another_model_starts_at_its_first_class(tiny):
    values = request_values(Recipe(model="tiny", class_index=3), model="avatars")
    assert shown(events.choose(*values))["class_index"] == 0


def test_what_a_model_does_not_have_is_not_shown(tmp_path, monkeypatch, tiny, avatars):
    def visible(model: engine.OpenModel) -> set[str]:
        arguments = layout.first_values(layout.lay_out(model, Recipe(model=model.name), []))
        names = ("layers", "custom", "psi", "cutoff", "class_index")
        return {name for name in names if arguments[name]["visible"]}

    assert visible(avatars) == {"layers", "psi", "cutoff"}
    assert visible(tiny) == {"psi", "class_index"}  # no cutoff, one layer
    facts = shown(layout.lay_out(tiny, Recipe(model="tiny"), []))
    assert "tiny, 28 px, 1 layer, 4 classes · " in facts["facts"]
    assert "**6 directions** from one layer (first linear), found" in facts["found"]
    (tmp_path / "other").mkdir()
    assert visible(open_tiny(monkeypatch, tmp_path / "other", has_truncation=False)) == {
        "class_index"
    }


def test_a_recipe_that_truncates_no_layer_keeps_its_psi_where_there_is_no_cutoff(tiny):
    values = shown(layout.lay_out(tiny, Recipe(model="tiny", truncation_cutoff=0), []))
    assert values["psi"] == 0.7


@pytest.mark.parametrize("layers", ["0-1", "custom"])
def test_a_model_of_one_layer_takes_all_of_it(tiny, layers):
    updates = events.choose(*request_values(model="tiny", layers=layers, custom="0-1,3"))
    values = shown(updates)
    assert (values["layers"], values["shown_layers"], values["custom"]) == ("all", "all", "")
    assert notice_of(updates) == ""
    assert shown(open_link(model="tiny", layers="0"))["layers"] == "all"


def test_a_grey_model_is_shown(tmp_path, monkeypatch):
    open_local(monkeypatch, "grey", tiny_stylegan2(tmp_path / "grey.safetensors", num_channels=1))
    frame = events.settle(*request_values(Recipe(model="grey")), 1, False)
    assert decode(frame["after"][0]).shape == (16, 16, 1)
    assert decode(api.edit("grey", alphas=[1.0])[0]).shape == (16, 16, 1)


def open_local(monkeypatch, name: str, path) -> engine.OpenModel:
    """A file as if it were in the catalogue."""
    monkeypatch.setitem(checkpoints.CATALOGUE, name, checkpoints.Model(name, filename=str(path)))
    monkeypatch.setattr(engine, "_opened", {})
    return engine.open_model(name)


def test_samples_up_to_the_limit_are_drawn():
    frame = events.settle(*request_values(Recipe(num_samples=MAX_SAMPLES)), 1, False)
    assert len(frame["after"]) == len(frame["before"]) == len(frame["seeds"]) == MAX_SAMPLES


@pytest.mark.parametrize("event", [events.follow, events.settle])
def test_of_one_sample_in_sight_nothing_else_is_drawn(event, monkeypatch):
    values = request_values(Recipe(seed=5, num_samples=3), slider0=2.0)
    whole, drawn = event(*values, None, 1, False), []
    real = engine.draw_together
    monkeypatch.setattr(engine, "draw_together", lambda *a: drawn.append(real(*a)) or drawn[-1])
    monkeypatch.setattr(engine, "_originals", Kept(2**24))
    answer = event(*values, 1, 2, False)
    assert sum(len(images) for found in drawn for images in found) <= 2  # it, and its original
    assert answer["query"] == whole["query"] and answer["seeds"] == whole["seeds"]
    assert [uri is not None for uri in answer["after"]] == [False, True, False]
    one, same = (decode(frame["after"][1]).astype(float) for frame in (answer, whole))
    assert np.abs(one - same).mean() < 1
    if event is events.settle:
        assert [uri is not None for uri in answer["before"]] == [False, True, False]
    # There may be fewer samples by now; one alone is all; and a stranger may send anything.
    assert event(*values, 7, 3, False)["after"][2]
    alone = request_values(Recipe(num_samples=1))
    assert event(*alone, 0, 4, False)["after"][0]
    for wrong in ("x", math.nan, -1, [1], 2**64):
        assert is_one_sentence(problem_of(event(*values, wrong, 5, False)))


def test_one_sample_in_sight_is_followed_where_four_would_be_too_slow(monkeypatch):
    path = str(engine.open_model("avatars").path)
    monkeypatch.setitem(engine._seconds_per_image, path, 0.6 * engine.LIVE_SECONDS)
    monkeypatch.setattr(engine, "note_speed", lambda *_: None)
    values = request_values(slider0=2.0)
    assert events.follow(*values, None, 1, True) == gr.skip()
    assert events.follow(*values, 2, 2, True)["live"] is True


def test_a_slow_gallery_is_drawn_when_the_slider_is_let_go(monkeypatch):
    monkeypatch.setattr(engine, "is_live", lambda model, num_samples: False)
    values = request_values(slider0=2.0)
    assert events.follow(*values, 1, True) == gr.skip()
    assert events.settle(*values, 1, False)["live"] is False  # strips stand in meanwhile
    # The keyboard and the number beside a slider drag nothing.
    assert events.follow(*values, 1, False)["after"] == events.settle(*values, 2, False)["after"]


def test_a_page_of_another_process_is_answered(owned):
    """What this process remembers of a page is what it opened with, for one that it never opened:
    a choice or a value beyond that is no error.
    """
    server, _ = owned
    name = "user/classes/model.safetensors"
    recipe = Recipe(model=name, class_index=2, num_samples=1, mix=Mix(3, "0-1"), layers="0-1")
    values = request_values(recipe, slider0=80.0)
    answer = post(server, "run/follow", {"data": [*values, None, 1, False]})
    found = Recipe.from_query(answer["data"][0]["query"])[0]
    assert (found.class_index, found.mix) == (2, recipe.mix) and found.edits[0].alpha == 80.0
