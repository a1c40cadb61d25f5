"""What the owner of a Space sets by variables: read once, refused in one sentence, opened first."""

import time
from types import SimpleNamespace
from urllib.parse import parse_qsl

import pytest
from gradio.helpers import special_args

import checkpoints
from sefa.editing import Edit, Recipe
from tests.helpers import is_one_sentence, tiny_stylegan2
from tests.hub import FakeHub
from tests.test_app import notice_of, shown
from ui import engine, events, settings
from ui.controls import first_look
from ui.settings import (
    MAX_DESCRIPTION,
    MAX_TITLE,
    TITLE,
    Settings,
    first_recipe,
    heading,
    with_links,
)

MINE, OTHER = "user/mine/model.safetensors", "user/other/model.safetensors"
RECIPE = Recipe(model=MINE, seed=7, num_samples=2, edits=(Edit.along("all", 0, 2.0),))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub with a few models; nothing is cached and SEFA_MODELS is not set."""
    content = tiny_stylegan2(tmp_path / "model.safetensors").read_bytes()
    repos = {
        "user/mine": {"files": {"model.safetensors": content}},
        "user/other": {"files": {"model.safetensors": content}},
        "user/broken": {"files": {"model.safetensors": b"not a checkpoint"}},
    }
    with FakeHub(repos) as hub:
        hub.use(monkeypatch, tmp_path)
        monkeypatch.setattr(engine, "_opened", {})
        yield hub


def set_to(monkeypatch, **environ) -> Settings:
    """Settings of this environment; SEFA_MODELS is read from it when a model is opened, too."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return settings.settings(environ)


def request(**query):
    return SimpleNamespace(query_params=query)


# --- reading --------------------------------------------------------------------------------------


def test_without_variables_everything_is_as_it_ships():
    assert settings.settings({}) == Settings()
    assert settings.settings(dict.fromkeys(("SEFA_TITLE", "SEFA_RECIPE", "HF_TOKEN"), " ")) == (
        Settings()
    )
    assert heading(Settings()) == f"<h1>{TITLE}</h1>"
    start = first_recipe(Settings())
    assert start.recipe == first_look(engine.open_model("avatars"))
    assert (start.model.name, start.opens, start.notices) == ("avatars", "", ())


def test_a_token_is_never_kept():
    found = settings.settings({"HF_TOKEN": "hf_secretsecret"})
    assert found.token and "secret" not in repr(found)


def test_texts_are_one_line_of_what_can_be_shown():
    found = settings.settings(
        {
            "SEFA_TITLE": "  Our\n\tfaces \u202eevil\u0007 \ud800👩\u200d🎨 ",
            "SEFA_DESCRIPTION": "a\r\nb" + "x" * (MAX_DESCRIPTION - 3),
        }
    )
    assert found.title == "Our faces evil 👩\u200d🎨" and not found.notices
    assert found.description.startswith("a bx") and len(found.description) == MAX_DESCRIPTION
    heading(found).encode()


@pytest.mark.parametrize(
    ("name", "most"), [("SEFA_TITLE", MAX_TITLE), ("SEFA_DESCRIPTION", MAX_DESCRIPTION)]
)
def test_a_text_that_is_too_long_is_left_out(name, most):
    assert not settings.settings({name: "x" * most}).notices
    found = settings.settings({name: "x" * (most + 1)})
    (notice,) = found.notices
    assert notice == f"{name} is left out because it is longer than {most} characters."
    assert (found.title, found.description) == (TITLE, "")


@pytest.mark.parametrize(
    "text",
    [
        "v=1&model=avatars&seed=7&n=2",
        "?v=1&model=avatars&seed=7&n=2",
        "https://you-sefa.hf.space/?__theme=dark&v=1&model=avatars&seed=7&n=2#top",
    ],
)
def test_a_recipe_is_a_query_or_a_link(text):
    found = settings.settings({"SEFA_RECIPE": text})
    assert found.recipe == Recipe(seed=7, num_samples=2).to_query() and not found.notices
    start = first_recipe(found)
    assert start.recipe == Recipe(seed=7, num_samples=2) and start.opens == ""


BAD_RECIPES = [
    "hello",
    "https://example.com/",
    "https://example.com/?q=1",
    "v=1&model=user/not-offered/model.pth",
    "model=<script>",
    "model=/etc/passwd",
    "\ud800",
    "v=1&model=avatars&edits=" + "x" * 200_000,
]


@pytest.mark.parametrize("text", BAD_RECIPES, ids=lambda text: ascii(text)[:40])
def test_a_recipe_that_is_none_is_one_sentence_and_the_default(text):
    found = settings.settings({"SEFA_RECIPE": text})
    assert found.notices and all(is_one_sentence(notice) for notice in found.notices)
    assert all(notice.startswith("SEFA_RECIPE") for notice in found.notices)
    assert found.recipe == ""
    assert first_recipe(found).recipe == first_look(engine.open_model("avatars"))


def test_what_a_recipe_has_too_much_of_is_left_out():
    found = settings.settings({"SEFA_RECIPE": "v=1&model=avatars&seed=x&k=3&edits=all:9999:1"})
    (notice,) = found.notices
    assert notice.startswith("SEFA_RECIPE: From the link, seed was ignored")
    start = first_recipe(found)
    assert start.recipe == Recipe(num_semantics=3)
    (notice,) = start.notices
    assert "no semantic 9999" in notice


def test_the_owners_models_are_read_with_the_rest():
    found = settings.settings({"SEFA_MODELS": f"nonsense {MINE}", "SEFA_RECIPE": f"model={MINE}"})
    assert [model.name for model in found.models] == [MINE]
    (notice,) = found.notices
    assert notice.startswith("SEFA_MODELS: 'nonsense' is left out")
    assert found.recipe == f"model={MINE}"


# --- what the page opens with ---------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["SEFA_MODELS", "SEFA_RECIPE"])
def test_a_page_does_not_wait_for_a_download(hub, monkeypatch, variable):
    models = MINE if variable == "SEFA_MODELS" else f"{MINE} {OTHER}"
    recipe = {"SEFA_RECIPE": RECIPE.to_query()} if variable == "SEFA_RECIPE" else {}
    found = set_to(monkeypatch, SEFA_MODELS=models, **recipe)
    start = first_recipe(found)
    assert start.model.name == "avatars" and not start.notices
    assert start.recipe == first_look(start.model)
    assert not hub.requests
    # A visitor without a link opens it, with a bar of progress; one with a link opens that.
    assert start.opens == (RECIPE.to_query() if recipe else f"model={MINE}")
    open_link = events.opener(start.opens)
    assert special_args(open_link)[1] == 1  # Gradio's progress
    values = shown(open_link(request()))
    expected = RECIPE if recipe else first_look(engine.open_model(MINE))
    assert (values["shown_model"], values["seed"]) == (MINE, expected.seed)
    assert values["alpha 0"] == (2.0 if recipe else 0.0)
    assert shown(open_link(request(v="1", model="avatars")))["shown_model"] == "avatars"
    # The next time the page starts, the model is there.
    monkeypatch.setattr(engine, "_opened", {})
    start = first_recipe(found)
    assert (start.model.name, start.opens, start.notices) == (MINE, "", ())
    assert start.recipe == expected and start.frames == engine.frames(start.model, expected)


def test_of_several_models_the_embedded_one_is_first(hub, monkeypatch):
    start = first_recipe(set_to(monkeypatch, SEFA_MODELS=f"{MINE} {OTHER}"))
    assert (start.model.name, start.opens) == ("avatars", "")


def test_a_newer_commit_is_a_download(hub, monkeypatch):
    found = set_to(monkeypatch, SEFA_MODELS=MINE)
    engine.open_model(MINE)
    hub.push("user/mine", dict(hub.repos["user/mine"]["files"], other=b"x"))
    assert first_recipe(found).opens == f"model={MINE}"


def test_a_hub_that_is_away_or_slow_keeps_no_page_from_starting(hub, monkeypatch):
    found = set_to(monkeypatch, SEFA_MODELS=MINE)
    engine.open_model(MINE)
    hub.delay = 30.0
    monkeypatch.setattr(settings, "START_SECONDS", 0.2)
    begun = time.monotonic()
    start = first_recipe(found)
    assert (start.model.name, start.opens) == ("avatars", f"model={MINE}")
    assert time.monotonic() - begun < 5
    hub.stop()
    monkeypatch.setattr(settings, "START_SECONDS", 20.0)
    assert first_recipe(found).model.name == MINE


def test_what_is_left_out_is_said_when_the_model_is_there_too(hub, monkeypatch):
    found = set_to(monkeypatch, SEFA_MODELS=f"{MINE} nonsense")
    start = first_recipe(found)
    open_first = events.opener(start.opens, [*found.notices, *start.notices])
    updates = open_first(request())
    assert shown(updates)["shown_model"] == MINE and "nonsense" in notice_of(updates)
    # A link is somebody else's, and brings its own.
    assert notice_of(open_first(request(v="1", model=MINE))) == ""


def test_a_model_that_does_not_load_is_a_notice(hub, monkeypatch):
    broken = "user/broken/model.safetensors"
    found = set_to(monkeypatch, SEFA_MODELS=broken)
    start = first_recipe(found)
    assert start.opens == f"model={broken}"
    updates = events.opener(start.opens)(request())
    assert "Showing avatars instead" in notice_of(updates)
    start = first_recipe(found)  # it is here now
    assert (start.model.name, start.opens) == ("avatars", "")
    (notice,) = start.notices
    assert notice.endswith("Showing avatars instead.")
    assert engine.news_of(broken).refused


def test_what_cannot_be_drawn_is_a_notice(hub, monkeypatch):
    found = set_to(monkeypatch, SEFA_MODELS=MINE)
    engine.open_model(MINE)
    draw = engine.draw_each

    def out_of_memory(model, *arguments, **keywords):
        if model.name == MINE:
            raise MemoryError
        return draw(model, *arguments, **keywords)

    monkeypatch.setattr(engine, "draw_each", out_of_memory)
    start = first_recipe(found)
    assert (start.model.name, start.opens) == ("avatars", "") and start.frames[0]
    (notice,) = start.notices
    assert "cannot be drawn (MemoryError)" in notice


def test_a_view_that_the_model_lacks_is_all_layers(hub, monkeypatch):
    engine_model = set_to(
        monkeypatch, SEFA_MODELS=MINE, SEFA_RECIPE=f"v=1&model={MINE}&layers=named"
    )
    engine.open_model(MINE)
    assert first_recipe(engine_model).recipe.layers == "all"


def test_on_zero_gpu_others_models_are_drawn_for_visitors_only(hub, monkeypatch):
    found = set_to(monkeypatch, SEFA_MODELS=MINE)
    engine.open_model(MINE)
    monkeypatch.setattr(engine, "ON_ZERO_GPU", True)
    monkeypatch.setattr(engine, "synthesize_on_gpu", None)
    start = first_recipe(found)
    assert (start.model.name, start.opens) == ("avatars", f"model={MINE}")


def test_a_link_that_names_a_model_and_nothing_else_opens_its_first_look():
    expected = first_look(engine.open_model("avatars"))
    values = shown(events.opener("")(request(model="avatars")))
    assert (values["seed"], values["layers"]) == (expected.seed, expected.layers)
    assert shown(events.opener("")(request(v="1", model="avatars")))["layers"] == "all"


# --- what the page says ---------------------------------------------------------------------------


def test_a_description_has_links_and_nothing_else():
    text = with_links(
        'By <b>us</b>: [our "paper"](https://arxiv.org/abs/1?a=1&b=2), https://example.com/x.'
    )
    assert text == (
        'By &lt;b&gt;us&lt;/b&gt;: <a href="https://arxiv.org/abs/1?a=1&amp;b=2" target="_blank" '
        'rel="noopener noreferrer">our &quot;paper&quot;</a>, '
        '<a href="https://example.com/x" target="_blank" rel="noopener noreferrer">'
        "https://example.com/x</a>."
    )


@pytest.mark.parametrize(
    "text",
    [
        "[x](javascript:alert(1))",
        "[x](http://example.com)",
        "<a href='https://x'>",
        'https://x.y/"onmouseover="alert(1)',
        "[<img src=x onerror=alert(1)>](https://x.y)",
        "https:// x",
        "[x](data:text/html,<script>alert(1)</script>)",
        "${alert(1)} {{alert(1)}}",
    ],
)
def test_nothing_that_an_owner_writes_is_markup(text):
    written = with_links(text)
    assert "<script" not in written and "<img" not in written
    for tag in written.split("<")[1:]:
        assert tag.startswith(('a href="https://', "/a>"))
        assert tag.count('"') in (0, 6)
    assert heading(Settings(title=text)).count("<") == 2


def test_queries_of_models_read_back():
    for name in (MINE, f"{MINE}@main", *checkpoints.CATALOGUE):
        assert dict(parse_qsl(settings.query_of(name))) == {"model": name}
