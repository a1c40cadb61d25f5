"""What the owner of a Space sets by variables, and what its page therefore opens with.

    environment -> settings -> first_recipe -> what is drawn as the page starts, and what it opens then

Whatever is wrong is one sentence in `notices`, and the default instead: the page always starts.
"""

import html
import logging
import os
import re
import threading
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

import checkpoints
from sefa.editing import QUERY_FIELDS, Recipe, query_values
from sefa.errors import UserError
from ui import controls, engine
from ui.rows import has_view

TITLE = "Look what is inside a GAN"
MAX_TITLE = 120  # characters
MAX_DESCRIPTION = 1000
START_SECONDS = 10.0  # that the Hub has to say whether a cached model is its newest


@dataclass(frozen=True)
class Settings:
    """What the environment says, as far as it can be used.

    title: SEFA_TITLE, one line of plain text. description: SEFA_DESCRIPTION, one paragraph.
    recipe: SEFA_RECIPE as a query, "" for none: what the page opens with.
    models: SEFA_MODELS. token: whether HF_TOKEN is set; its value is never kept.
    notices: one sentence for everything that cannot be used.
    """

    title: str = TITLE
    description: str = ""
    recipe: str = ""
    models: tuple[checkpoints.Model, ...] = ()
    token: bool = False
    notices: tuple[str, ...] = ()


def settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Reads the environment, once: see `Settings`. Never raises, asks nobody."""
    models, refused = checkpoints.owner_models(environ)
    notices = list(refused)
    title = text_of("SEFA_TITLE", environ, MAX_TITLE, notices)
    return Settings(
        title=title or TITLE,
        description=text_of("SEFA_DESCRIPTION", environ, MAX_DESCRIPTION, notices),
        recipe=recipe_of(environ, notices),
        models=tuple(models),
        token=bool(environ.get("HF_TOKEN", "").strip()),
        notices=tuple(notices),
    )


def text_of(name: str, environ: Mapping[str, str], most: int, notices: list[str]) -> str:
    """A variable as one paragraph of plain text; "" where there is none, or it is too long."""
    text = " ".join(environ.get(name, "").split())
    # No control characters, no surrogates, nothing that turns the direction of what follows.
    text = "".join(c for c in text if c.isprintable() or c in "\u200c\u200d")
    if len(text) > most:
        notices.append(f"{name} is left out because it is longer than {most} characters.")
        return ""
    return unicodedata.normalize("NFC", text)


def recipe_of(environ: Mapping[str, str], notices: list[str]) -> str:
    """SEFA_RECIPE, a query or a whole link, as a query that can be opened; "" where it cannot."""
    text = environ.get("SEFA_RECIPE", "").strip()
    if not text:
        return ""
    _, mark, query = text.partition("?")
    query = (query if mark else text).partition("#")[0]
    found: list[str] = []
    values = query_values(query, found)
    values = {k: v for k, v in values.items() if k in {*QUERY_FIELDS, "v", "edits", "names"}}
    if not values:
        notices.append(
            "SEFA_RECIPE is left out: it must be a link of this page, or what stands behind the ? "
            "in one, as in v=1&model=avatars."
        )
        return ""
    recipe, misread = Recipe.from_query(values)
    notices += [f"SEFA_RECIPE: {sentence}" for sentence in misread]
    try:
        if "model" in values and recipe.model != values["model"]:
            raise UserError("It names no model.")
        checkpoints.resolve_name(recipe.model, environ)
    except UserError as error:
        notices.append(f"SEFA_RECIPE is left out: {uncapitalised(str(error))}")
        return ""
    return query_of(recipe.model) if controls.names_only_a_model(values) else recipe.to_query()


def query_of(model: str) -> str:
    """The query that opens a model's own first look."""
    return urlencode({"model": model}, safe="/@")


def uncapitalised(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


# --- what the page opens with ---------------------------------------------------------------------


@dataclass(frozen=True)
class Start:
    """What is drawn as the page starts, and the query that it opens for a visitor without a link.

    frames: (after, before), as `engine.frames` gives them. opens: "" where that is drawn already.
    """

    model: engine.OpenModel
    recipe: Recipe
    frames: tuple[list[str], list[str]]
    opens: str = ""
    notices: tuple[str, ...] = ()


def first_recipe(settings: Settings) -> Start:
    """What the owner wants to be seen first; drawn at once where its model is on this machine.

    Where it would have to be downloaded, the page starts on the embedded model and opens the
    owner's when a visitor comes, as it opens a link. Never raises, for the sake of the page:
    what cannot be had is a notice.
    """
    if not (query := wanted(settings)):
        return embedded()
    try:
        found = from_query(query)
    except UserError as error:
        return embedded(notices=(f"{error} Showing {engine.EMBEDDED} instead.",))
    except Exception as error:  # whatever it is, the page starts
        logging.getLogger(__name__).exception("%s is not drawn", query)
        reason = f"What the page should open with cannot be drawn ({type(error).__name__})."
        return embedded(notices=(f"{reason} Showing {engine.EMBEDDED} instead.",))
    return found or embedded(opens=query)


def embedded(opens: str = "", notices: tuple[str, ...] = ()) -> Start:
    """The first look at the embedded model."""
    model = engine.open_model(engine.EMBEDDED)
    recipe = controls.first_look(model)
    return Start(model, recipe, engine.frames(model, recipe), opens, notices)


def from_query(query: str) -> Start | None:
    """A query drawn, as far as its model can do it; None where that has to be downloaded.

    Raises `UserError` for a file that does not load.
    """
    recipe, notices = Recipe.from_query(query)
    if (model := at_hand(recipe.model)) is None:
        return None
    if controls.names_only_a_model(query):
        recipe = controls.first_look(model)
    recipe, misfits = controls.fit_to(model, recipe)
    if not has_view(model, recipe):
        recipe = replace(recipe, layers="all")
    frames = engine.frames(model, recipe)
    return Start(model, recipe, frames, notices=(*notices, *misfits))


def wanted(settings: Settings) -> str:
    """The query of what the page opens with: the owner's recipe, else their one model; "" for none."""
    if settings.recipe or len(settings.models) != 1:
        return settings.recipe
    return query_of(settings.models[0].name)


def at_hand(name: str) -> engine.OpenModel | None:
    """The model, where its newest file is on this machine; None where it must be downloaded.

    On ZeroGPU only the embedded one is: the others are drawn for visitors, on their minutes.
    Raises `UserError` for a file that does not load.
    """
    if engine.ON_ZERO_GPU and name != engine.EMBEDDED:
        return None
    entry = checkpoints.resolve_name(name)
    there = checkpoints.cached(entry)
    if there is None or not in_time(lambda: checkpoints.is_newest(entry, there), START_SECONDS):
        return None
    try:
        return engine.load_file(entry.name, there.path, there.revision)
    except UserError as error:
        engine.note_news(entry.name, engine.News(refused=str(error)))
        raise


def in_time(ask: Callable[[], bool], seconds: float) -> bool:
    """Whether `ask` says yes within so many seconds."""
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
    thread.start()
    thread.join(seconds)
    return answers == [True]


# --- what the page says -----------------------------------------------------------------------------

LINK = re.compile(
    r"\[(?P<text>[^\[\]]{1,200})\]\((?P<target>https://[^\s()<>\"']{1,500})\)"
    r"|(?P<bare>https://[^\s<>\"']{1,500}[^\s<>\"'.,;:!?)\]])"
)


def with_links(text: str) -> str:
    """Plain text as HTML: its https addresses, and [text](https://…), as links; all else as text."""
    parts, end = [], 0
    for link in LINK.finditer(text):
        target = html.escape(link["target"] or link["bare"])
        shown = html.escape(link["text"] or link["bare"])
        parts.append(html.escape(text[end : link.start()]))
        parts.append(f'<a href="{target}" target="_blank" rel="noopener noreferrer">{shown}</a>')
        end = link.end()
    return "".join([*parts, html.escape(text[end:])])


def heading(settings: Settings) -> str:
    """The page's heading and the owner's paragraph under it, as HTML."""
    title, text = html.escape(settings.title), with_links(settings.description)
    return f"<h1>{title}</h1>" + (f"<p>{text}</p>" if text else "")
