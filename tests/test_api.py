"""What the public endpoints return, against the library and against each other."""

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

import checkpoints
import sefa
from sefa.editing import MAX_SEMANTICS, Edit, Named, Recipe
from sefa.rendering import LoadedModel
from tests.helpers import is_one_sentence
from tests.pages import decode
from ui import api, engine
from ui.rows import row_of

MIXED = Recipe(
    seed=44,
    num_samples=2,
    truncation_psi=0.6,
    truncation_cutoff=2,
    layers="named",
    order="effect",
    num_semantics=7,
    edits=(Edit.along("0-1", 3, 2.5), Edit("all", ((3, 0.6), (7, -0.8)), -1.25)),
    names=(Named("all", ((3, 0.6), (7, -0.8)), "Grin", -1),),
)
RECIPES = {
    "default": Recipe(),
    "mixed": MIXED,
    "one": Recipe(num_samples=1, edits=(Edit.along("2-5", 0, -3.0),)),
}


@pytest.fixture(scope="module")
def client(server):
    return Client(server.url, verbose=False)


@pytest.fixture(scope="module")
def avatars():
    return engine.open_model("avatars")


def difference(a, b) -> int:
    """The largest difference of two images or lists of images, in grey levels."""
    return np.abs(np.asarray(a).astype(int) - np.asarray(b)).max()


# --- /models --------------------------------------------------------------------------------------


def test_models_are_those_that_can_be_named(client):
    found = client.predict(api_name="/models")
    assert [model["name"] for model in found] == list(checkpoints.available({}))
    keys = "name family resolution licence source size_mb note embedded loaded"
    assert all(list(model) == keys.split() for model in found)
    for model in found:
        entry = checkpoints.CATALOGUE[model["name"]]
        assert model["licence"] == entry.licence and model["source"] == entry.source
        assert model["family"] == entry.family and model["size_mb"] == entry.size_mb
        assert model["note"] == entry.note
        assert model["embedded"] is model["loaded"] is (model["name"] == "avatars")
        assert (model["resolution"] is not None) is model["loaded"]
    assert found[0]["resolution"] == client.predict(api_name="/factorize")["resolution"]


def test_a_model_of_the_owners_is_known_once_it_was_used(owned):
    server, _ = owned
    client = Client(server.url, verbose=False)

    def entry() -> dict:
        found = client.predict(api_name="/models")
        return next(m for m in found if m["name"] == "user/classes/model.safetensors")

    before = entry()
    assert before["note"] == "added by the owner of this Space" and not before["embedded"]
    if not before["loaded"]:  # another test may have been here
        assert before["family"] is before["resolution"] is None
    facts = client.predict("user/classes/model.safetensors", api_name="/factorize")
    after = entry()
    assert after["loaded"] and after["family"] == facts["family"]
    assert after["resolution"] == facts["resolution"]


def test_models_reads_and_downloads_nothing(monkeypatch):
    monkeypatch.setattr(checkpoints, "fetch", None)
    monkeypatch.setattr(engine, "MODELS", None)
    assert len(api.models()) == len(checkpoints.available())


# --- /recipe --------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", RECIPES.values(), ids=RECIPES)
def test_the_recipe_of_a_query_is_a_fixed_point(client, made):
    found = client.predict(made.to_query(), api_name="/recipe")
    assert found["query"] == made.to_query() and found["notices"] == []
    assert found["link"] == f"/?{made.to_query()}"
    assert client.predict(found["link"], api_name="/recipe") == found


@given(st.text(max_size=40) | st.from_regex(r"edits=[0-9:.~*+all-]{0,40}", fullmatch=True))
@settings(max_examples=100)
def test_whatever_is_read_is_a_fixed_point(text):
    try:
        found = api.recipe(f"seed=5&{text}")
    except gr.Error as error:
        assert is_one_sentence(error.message)
    else:
        again = api.recipe(found["query"])
        assert again == found | {"notices": []}


def test_links_and_queries_say_the_same():
    query = "seed=7&edits=0-1:3:2"
    expected = api.recipe(query)
    for text in (
        f"?{query}",
        f"/?{query}",
        f"  https://owner-space.hf.space/?{query}#page \n",
        f"https://owner-space.hf.space/?__theme=dark&{query}",
        expected["query"],
    ):
        assert api.recipe(text) == expected


def test_a_recipe_is_told_by_its_fields():
    found = api.recipe(MIXED.to_query())
    assert found["fields"] == {
        "model": "avatars",
        "seed": 44,
        "num_samples": 2,
        "truncation_psi": 0.6,
        "truncation_cutoff": 2,
        "class_index": 0,
        "layers": "named",
        "order": "effect",
        "num_semantics": 7,
        "mix": None,
        "noise_seed": None,
    }
    first, second = found["edits"]
    assert first["layers"] == "0-1" and first["direction"] == "3" and first["alpha"] == 2.5
    assert first["terms"] == [{"semantic": 3, "coefficient": 1.0}]
    assert second == {
        "layers": "all",
        "direction": "3*0.6+7*-0.8",
        "terms": [{"semantic": 3, "coefficient": 0.6}, {"semantic": 7, "coefficient": -0.8}],
        "alpha": -1.25,
        "name": "Grin",
        "sign": -1,
    }


def test_an_edit_has_the_name_that_the_page_shows(avatars):
    (layers, direction), (name, sign) = next(iter(engine.labels_of(avatars).names.items()))
    text = ",".join(map(str, layers))
    change = Edit(text, direction, 1.0)
    (told,) = api.recipe(f"edits={change.to_text()}".replace("+", "%2B"))["edits"]
    assert (told["name"], told["sign"]) == (name, sign)


def test_what_is_left_out_is_a_notice():
    found = api.recipe("?seed=x&layers=99-&edits=all:0:1~all:9999:1~9:1~63:0:1&class=4")
    assert found["query"] == Recipe(edits=(Edit.along("all", 0, 1.0),)).to_query()
    assert len(found["notices"]) == 6 and all(map(is_one_sentence, found["notices"]))
    with pytest.raises(gr.Error) as raised:
        api.edit(recipe="?seed=x&edits=all:0:1")
    assert raised.value.message == found["notices"][0]


def test_the_recipe_of_fields_is_what_they_draw(client):
    fields = {"layers": "0-1", "alphas": [1.5, 0, -2], "seed": 9, "num_samples": 2}
    found = client.predict(**fields, api_name="/recipe")
    edits = (Edit.along("0-1", 0, 1.5), Edit.along("0-1", 2, -2.0))
    expected = Recipe(seed=9, num_samples=2, layers="0-1", edits=edits)
    assert found["query"] == expected.to_query()
    drawn = client.predict(**fields, api_name="/edit")
    again = client.predict(recipe=found["query"], api_name="/edit")
    assert difference([decode(uri) for uri in drawn], [decode(uri) for uri in again]) <= 1


def test_every_alpha_has_a_slider_as_far_as_there_are_sliders():
    for count, sliders in ((0, 5), (1, 5), (8, 8), (MAX_SEMANTICS + 5, MAX_SEMANTICS)):
        found = api.recipe(alphas=[1.0] * count)
        assert found["fields"]["num_semantics"] == sliders and len(found["edits"]) == count


# --- /edit of a recipe ----------------------------------------------------------------------------


@pytest.mark.parametrize("made", RECIPES.values(), ids=RECIPES)
def test_edit_draws_a_recipe(client, made, server, tmp_path):
    path = tmp_path / "avatars.safetensors"
    path.write_bytes(server.weights)
    uris = client.predict(recipe=f"{server.url}/?{made.to_query()}", api_name="/edit")
    expected = LoadedModel(sefa.load_generator(path)).images(made)
    assert difference([decode(uri) for uri in uris], expected) <= 1


def test_a_recipe_beside_other_arguments_is_refused():
    for also in ({"seed": 7}, {"alphas": [0.0]}, {"model": "stylegan_cat256"}, {"layers": None}):
        with pytest.raises(gr.Error) as raised:
            api.edit(recipe="seed=7", **also)
        assert raised.value.message == f"recipe says everything, so leave out {', '.join(also)}."
    # Who sends the defaults says nothing.
    told = api.edit("avatars", "all", None, 0, 1, 0.7, 0, "n=1&seed=7")
    assert told == api.edit(seed=7)


# --- /strip ---------------------------------------------------------------------------------------


def test_a_strip_is_edits_one_by_one(client):
    where = {"layers": "0-1", "seed": 44, "truncation_psi": 0.6}
    found = client.predict(semantic=2, start=-3, end=3, steps=5, **where, api_name="/strip")
    assert found["alphas"] == [-3.0, -1.5, 0.0, 1.5, 3.0]
    assert (found["model"], found["layers"], found["semantic"]) == ("avatars", "0-1", 2)
    for alpha, uri in zip(found["alphas"], found["frames"], strict=True):
        (alone,) = client.predict(alphas=[0.0, 0.0, alpha], **where, api_name="/edit")
        assert difference(decode(uri), decode(alone)) <= 1
    (original,) = client.predict(**where, api_name="/edit")
    assert difference(decode(found["frames"][2]), decode(original)) <= 1
    assert difference(decode(found["frames"][0]), decode(found["frames"][4])) > 20


def test_a_strip_ends_where_the_slider_does(avatars):
    for layers in ("all", "0-1"):
        row = row_of(avatars, Recipe(), Edit.along(layers, 1, 1.0))
        found = api.strip(layers=layers, semantic=1)
        assert len(found["frames"]) == len(found["alphas"]) == 9 and found["alphas"][4] == 0
        assert found["unit"] == row.step.alpha and found["measured"]
        np.testing.assert_allclose(found["units"], np.linspace(-row.limit, row.limit, 9), atol=1e-6)
        np.testing.assert_allclose(
            found["alphas"], np.multiply(found["units"], found["unit"]), atol=1e-5
        )


def test_a_strip_counts_in_units():
    found = api.strip(start=-2, end=1, in_units=True, steps=4)
    assert found["units"] == [-2, -1, 0, 1]
    assert found["alphas"] == pytest.approx([n * found["unit"] for n in (-2, -1, 0, 1)])
    same = api.strip(start=found["alphas"][0], end=found["alphas"][-1], steps=4)
    assert same["frames"] == found["frames"]
    backwards = api.strip(start=2, end=-2.0, steps=2.0)  # as JSON may have them
    assert backwards["alphas"] == [2.0, -2.0]


def test_a_strip_says_what_its_direction_is_called(avatars):
    places = engine.labels_of(avatars).indexed()
    (layers, index), (name, sign) = next(iter(places.items()))
    found = api.strip(layers=",".join(map(str, layers)), semantic=index, steps=2)
    assert (found["name"], found["sign"]) == (name, sign)
    every = tuple(range(avatars.loaded.generator.num_ws))
    unnamed = next(i for i in range(99) if (every, i) not in places)
    found = api.strip(semantic=unnamed, steps=2)
    assert found["name"] is found["sign"] is None


def test_a_strip_is_one_call_to_the_gpu(monkeypatch):
    calls = []

    def spy(path, w, conditions):
        calls.append(len(w))
        return engine.synthesize(path, w, conditions)

    monkeypatch.setattr(engine, "synthesize_on_gpu", spy)
    monkeypatch.setattr(engine, "on_zero_gpu", lambda model: True)
    assert len(api.strip(steps=25)["frames"]) == 25
    assert len(api.edit(recipe=MIXED.to_query())) == 2
    assert calls == [25, 2]
    api.recipe(MIXED.to_query())
    api.models()
    assert len(calls) == 2  # and the others need none


@pytest.mark.parametrize("semantic", [0, 3])
def test_a_direction_that_was_not_measured_counts_in_unit_vectors(owned, semantic):
    server, _ = owned
    client = Client(server.url, verbose=False)
    name = "user/classes/model.safetensors"
    found = client.predict(name, semantic=semantic, class_index=2, steps=3, api_name="/strip")
    assert found["unit"] == 1 and found["measured"] is False
    assert found["alphas"] == found["units"] and found["alphas"][2] > 0
    alphas = [0.0] * semantic + [found["alphas"][2]]
    (alone,) = client.predict(name, alphas=alphas, class_index=2, api_name="/edit")
    assert difference(decode(found["frames"][2]), decode(alone)) <= 1
