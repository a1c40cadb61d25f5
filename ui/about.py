"""The page "About": whether everything that the owner set works, what SeFa is, and what runs where.

Nothing here downloads, loads a model or waits: it tells what is known, and looks at files.
"""

import html
import os
import platform
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import checkpoints
from checkpoints import Model
from hub_cache import limit_of, limit_said
from sefa.measurements import cache_folder
from sefa.rendering import default_device
from ui import engine, measuring
from ui.settings import Settings
from ui.web import asset

PAPER = "https://arxiv.org/abs/2007.06600"
# In words, and with a sign that is no colour.
SIGNS = {"loaded": "✓", "found": "✓", "set": "✓", "not tried": "–", "not set": "–"}
SIGNS |= {"refused": "✗", "missing": "✗"}
LIBRARIES = ("gradio", "torch", "spaces", "huggingface_hub")
BIBLIOGRAPHY = """@inproceedings{shen2021closedform,
  title     = {Closed-Form Factorization of Latent Semantics in GANs},
  author    = {Shen, Yujun and Zhou, Bolei},
  booktitle = {CVPR},
  year      = {2021}
}"""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what, how it is (a key of SIGNS), and why or what to do."""

    what: str
    state: str
    why: str = ""


def checks(settings: Settings, environ: Mapping[str, str] = os.environ) -> list[Check]:
    """How everything is that an owner sets, or that their Space needs. Asks nobody."""
    found = [
        *models_checked(settings, environ),
        setting_checked("SEFA_TITLE", "the heading", settings, environ),
        setting_checked("SEFA_DESCRIPTION", "the paragraph under it", settings, environ),
        setting_checked("SEFA_RECIPE", "what the page opens with", settings, environ),
        *names_checked(settings, environ),
        limit_checked(environ),
        token_checked(settings),
        device_checked(),
        measurements_checked(),
        versions(),
    ]
    return [Check(check.what, check.state, without_paths(check.why)) for check in found]


def models_checked(settings: Settings, environ: Mapping[str, str]) -> list[Check]:
    """The embedded model, the entries of SEFA_MODELS, and others that visitors have opened."""
    found = [
        Check("SEFA_MODELS", "refused", sentence)
        for sentence in settings.notices
        if sentence.startswith("SEFA_MODELS")
    ]
    if not settings.models and not found:
        found.append(Check("SEFA_MODELS", "not set", "The page offers the catalogue alone."))
    owned = {model.name for model in settings.models}
    for model in checkpoints.available(environ).values():
        tried = engine.news_of(model.name) is not None
        if tried or model.name in owned or model.name == engine.EMBEDDED:
            found.append(model_checked(model))
    return found


def model_checked(model: Model) -> Check:
    """What is known of a model: what came of it when it was opened, else whether it is here."""
    what, news = f"Model {model.name}", engine.news_of(model.name)
    if news is not None and news.refused:
        return Check(what, "refused", news.refused)
    if news is not None:
        return Check(what, "loaded", f"{news.facts}{commit_of(news.revision)}.")
    there = checkpoints.cached(model)
    if there is not None:
        where = "In the cache" if model.repo else "It ships with this Space"
        return Check(what, "found", f"{where}{commit_of(there.revision)}, not opened yet.")
    if model.repo is None:
        return Check(what, "missing", f"There is no file {model.filename}.")
    return Check(what, "not tried", "It is downloaded when somebody first chooses it.")


def commit_of(revision: str | None) -> str:
    return f" at commit {revision[:8]}" if revision else ""


def setting_checked(name: str, what: str, settings: Settings, environ: Mapping[str, str]) -> Check:
    """A variable that says what the page looks like."""
    refused = [sentence for sentence in settings.notices if sentence.startswith(name)]
    if refused:
        return Check(name, "refused", " ".join(refused))
    if environ.get(name, "").strip():
        return Check(name, "set", f"It is {what}.")
    return Check(name, "not set", "The page's own is shown.")


def names_checked(settings: Settings, environ: Mapping[str, str]) -> list[Check]:
    """The files of names, and the model whose weights each is for."""
    files, left_out = checkpoints.names_known(environ)
    found = [Check("SEFA_NAMES", "missing", sentence) for sentence in left_out]
    models = by_weights(environ)
    for file in files:
        what = f"Names {file.shown}"
        if file.problem:
            found.append(Check(what, "refused", file.problem))
        elif fitting := models.get(file.weights or ""):
            found.append(Check(what, "found", f"For the weights of {', '.join(fitting)}."))
        else:
            found.append(
                Check(
                    what,
                    "not tried",
                    f"For weights whose SHA-256 begins with {(file.weights or '')[:12]}, which no "
                    "model has that is here now.",
                )
            )
    if not found:
        found.append(Check("SEFA_NAMES", "not set", "There are no files of names."))
    return found


def by_weights(environ: Mapping[str, str]) -> dict[str, list[str]]:
    """The SHA-256 of the models that are here -> their names; no file is read for it."""
    found: dict[str, list[str]] = {}
    for model in checkpoints.available(environ).values():
        there = checkpoints.cached(model)
        news = engine.news_of(model.name)
        if there is None:
            continue
        # A model that is open has been hashed, which is remembered.
        is_open = news is not None and not news.refused
        weights = checkpoints.hash_without_reading(there.path)
        if weights is None and is_open:
            weights = checkpoints.weights_hash(there.path)
        if weights is not None:
            found.setdefault(weights, []).append(model.name)
    return found


def limit_checked(environ: Mapping[str, str]) -> Check:
    """How many of the downloaded models are kept."""
    limit = limit_of(environ)
    kept = "Downloaded models are never deleted."
    if limit is not None:
        kept = f"At most {limit / 1e9:g} GB of downloaded models are kept, the last used."
    if not environ.get("SEFA_MODELS_GB", "").strip():
        return Check("SEFA_MODELS_GB", "not set", kept)
    if limit_said(environ) is None:
        return Check("SEFA_MODELS_GB", "refused", f"It is no number above 0. {kept}")
    return Check("SEFA_MODELS_GB", "set", kept)


def token_checked(settings: Settings) -> Check:
    if settings.token:
        return Check("HF_TOKEN", "set", "Private and gated repositories that it may read open.")
    return Check("HF_TOKEN", "not set", "Public repositories open; private and gated ones do not.")


def device_checked() -> Check:
    """Where images are drawn, and how precisely."""
    if engine.ON_ZERO_GPU:
        where = f"ZeroGPU, on visitors' minutes; {engine.EMBEDDED} on the CPU, live"
    elif (device := default_device()).type == "cuda":
        where = f"the GPU ({device})"
    else:
        where = f"the CPU ({os.cpu_count()} cores)"
    return Check(
        "Device",
        "found",
        f"Images are drawn on {where}, in float32; directions are found on the CPU, in float64.",
    )


def measurements_checked() -> Check:
    """Whether what is measured of models outlives the program."""
    what, folder = "Measurements", cache_folder()
    exists = next((p for p in (folder, *folder.parents) if p.exists()), None)
    if exists is None or not exists.is_dir() or not os.access(exists, os.W_OK):
        return Check(
            what,
            "refused",
            "The folder for them cannot be written, so they are measured again each time the page "
            "starts: set SEFA_CACHE to one that can.",
        )
    if measuring.seconds() <= 0:
        return Check(what, "not set", "SEFA_MEASURE_SECONDS says that nothing is measured.")
    return Check(
        what, "found", "What is measured of a model is kept by the SHA-256 of its weights."
    )


def versions() -> Check:
    found = [f"Python {platform.python_version()}"]
    for name in LIBRARIES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"{name} of an unknown version")
    return Check("Versions", "found", f"{', '.join(found)}; this Space's own commit is not known.")


def without_paths(text: str) -> str:
    """Text without the folders of this machine, which are nobody's business."""
    places = {
        "this folder": checkpoints.HERE,
        "the Hub's cache": checkpoints._cache_dir(),
        "the cache": cache_folder(),
        "the working folder": Path.cwd(),
        "a temporary folder": Path(tempfile.gettempdir()),
        "~": Path.home(),
    }
    # The longest first: one may be inside another.
    for shown, place in sorted(places.items(), key=lambda item: -len(str(item[1]))):
        if len(str(place)) > 1:
            text = text.replace(str(place), shown)
    return re.sub(r"'[/~][^']*?([^'/]+)/?'", r"'…/\1'", text)


# --- the page -------------------------------------------------------------------------------------

STYLE = """<style>
#about table { border-collapse: collapse; width: 100%; table-layout: fixed; }
#about :is(th, td, tr, thead, table) { border: 0; background: none; }
#about kbd { font: 12px ui-monospace, monospace; padding: 1px 5px; border-radius: 4px;
  border: 1px solid var(--border-color-primary); }
#about h2 { font-size: 18px; font-weight: 600; margin: 18px 0 6px; }
#about p { margin: 0 0 8px; }
#about a { color: var(--link-text-color); text-decoration: underline; }
#about .keys th { width: 12em; }
#about caption { text-align: left; font-weight: 600; padding: 6px 0; }
#about :is(th, td) { text-align: left; vertical-align: top; padding: 6px 10px 6px 0;
  border-bottom: 1px solid var(--border-color-primary); overflow-wrap: anywhere; font-weight: 400; }
#about thead th { font-weight: 600; }
#about .state { width: 6.5em; white-space: nowrap; }
#about pre { overflow-x: auto; font-size: 13px; padding: 8px; border-radius: 6px;
  background: var(--background-fill-secondary); }
</style>"""


def about_html(found: Sequence[Check], models: Sequence[Model] | None = None) -> str:
    """The page: the checks as a table, SeFa and its paper, what runs where, models and licences.

    Whatever a stranger wrote is text.
    """
    models = list(checkpoints.available().values()) if models is None else models
    return f"""{STYLE}<div id="about">
<h2>What this is</h2>
<p>SeFa finds the directions in a GAN's latent space that change its images most, without training,
labels or samples. The first linear step that meets the latent code is y = A w + b, so an edit
w + α n moves y by α A n whatever w is; the unit n that move it most are the eigenvectors of AᵀA. What
each of them does to be seen is then measured on images.</p>
<p><a href="{PAPER}" target="_blank" rel="noopener noreferrer">Shen &amp; Zhou, Closed-Form
Factorization of Latent Semantics in GANs, CVPR 2021</a></p>
<pre tabindex="0" aria-label="BibTeX entry">{html.escape(BIBLIOGRAPHY)}</pre>
{asset("keys.html")}
<h2>What runs where</h2>
<p>Images are drawn on this Space's machine and sent to your browser; the strips beside the sliders
stay in it. Nothing that you set is kept here: a link holds all of it. Checkpoints come from the
Hugging Face Hub when somebody first chooses them, and are never executed.</p>
<h2>Is everything as it should be here?</h2>
{checks_table(found)}
<h2>Models and licences</h2>
<p>A tag is what the uploader of a model wrote, and nothing more is known here: many weights derive
from others that have terms of their own. See the source.</p>
{models_table(models)}
</div>"""


def checks_table(found: Sequence[Check]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{html.escape(check.what)}</th>'
        f'<td class="state"><span aria-hidden="true">{SIGNS[check.state]}</span> '
        f"{html.escape(check.state)}</td><td>{html.escape(check.why)}</td></tr>"
        for check in found
    )
    return (
        "<table><caption>What was looked at just now</caption><thead><tr>"
        '<th scope="col">What</th><th scope="col" class="state">State</th>'
        f'<th scope="col">Why, and what to do</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def models_table(models: Sequence[Model]) -> str:
    def source(model: Model) -> str:
        if model.source is None:
            return "ships with this Space"
        address = html.escape(model.source)
        return f'<a href="{address}" target="_blank" rel="noopener noreferrer">its page</a>'

    rows = "".join(
        f'<tr><th scope="row">{html.escape(model.name)}</th><td>{html.escape(model.note)}</td>'
        f"<td>{html.escape(model.licence_shown)}</td><td>{source(model)}</td></tr>"
        for model in models
    )
    return (
        '<table><caption>Models to choose from</caption><thead><tr><th scope="col">Model</th>'
        '<th scope="col">What it draws</th><th scope="col">Licence tag</th>'
        f'<th scope="col">Source</th></tr></thead><tbody>{rows}</tbody></table>'
    )
