"""The pages in docs/ and the model card: links lead somewhere, commands and examples are valid."""

import re
import shlex
import subprocess
import sys

import pytest
import yaml
from PIL import Image

import checkpoints
from scripts import screenshots
from sefa import Recipe, convert, draw
from sefa.animation import frame_size
from sefa.generators import FAMILIES
from tests.helpers import tiny_stylegan2
from tests.serving import ROOT
from ui.settings import MAX_DESCRIPTION, MAX_TITLE, heading, settings

DUPLICATE = ROOT / "docs" / "duplicate.md"
TEMPLATE = ROOT / "docs" / "model-card-template.md"
CARD = ROOT / "demo_model" / "README.md"
README = ROOT / "README.md"


def front_matter(text):
    return yaml.safe_load(text.split("---\n", 2)[1])


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def anchors(path):
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [DUPLICATE, TEMPLATE, CARD], ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    text = path.read_text()
    if path == TEMPLATE:  # what is inside is another repository's
        text = re.sub(r"````markdown\n.*?````", "", text, flags=re.DOTALL)
    for target in re.findall(r"\]\(((?!http)[^)]+)\)", text):
        file, _, anchor = target.partition("#")
        leads_to = path.parent / file if file else path
        assert leads_to.is_file(), target
        assert not anchor or anchor in anchors(leads_to), target


# -------------------------------------------------------------------------- duplicating the Space


def test_its_commands_are_valid(tmp_path, monkeypatch):
    converting, uploading, duplicating = (
        shlex.split(block) for block in blocks(DUPLICATE.read_text(), "bash")
    )
    readme = [line for block in blocks(README.read_text(), "bash") for line in block.splitlines()]
    assert shlex.join(converting) in readme and shlex.join(uploading) in readme
    monkeypatch.chdir(tmp_path)
    tiny_stylegan2("network-snapshot.pkl")
    assert convert.main(converting[3:]) == 0
    # Nothing is sent: the Hub's own tool is asked whether it knows the command and its options.
    assert duplicating[:5] == ["hf", "repos", "duplicate", "OWNER/SPACE", "you/your-space"]
    tool = [sys.executable, "-m", "huggingface_hub.cli.hf", "repos", "duplicate", "--help"]
    known = subprocess.run(tool, capture_output=True, text=True, check=True).stdout
    words = duplicating[5:]
    assert all(word in known for word in words if word.startswith("--"))
    assert words[words.index("--flavor") + 1] in known
    models, notices = checkpoints.owner_models(dict([words[-1].split("=")]))
    assert models[0].repo == uploading[2] and models[0].filename == uploading[3] and not notices


def test_its_examples_of_variables_are_valid():
    rows = re.findall(
        r"^\| `(SEFA_\w+)` \| .* \| `([^`|]+)` \|$", DUPLICATE.read_text(), re.MULTILINE
    )
    examples = dict(rows)
    assert len(examples) == 5
    models, notices = checkpoints.owner_models(examples)
    assert len(models) == 1 and not notices
    recipe, notices = Recipe.from_query(examples["SEFA_RECIPE"])
    assert recipe.model == models[0].name and recipe.layers == "0-1" and not notices
    assert examples["SEFA_NAMES"] in README.read_text()
    found = settings(examples)
    assert not found.notices and found.models == tuple(models)
    assert "<a href=" in heading(found)
    for most in (MAX_TITLE, MAX_DESCRIPTION):
        assert f"at most {most} characters" in DUPLICATE.read_text()


def test_its_pictures_are_of_its_examples():
    # own.png is of these; names are those that ship.
    rows = re.findall(
        r"^\| `(SEFA_\w+)` \| .* \| `([^`|]+)` \|$", DUPLICATE.read_text(), re.MULTILINE
    )
    assert dict(rows) | {"SEFA_NAMES": "demo_model/labels.json"} == screenshots.OWN
    assert f"{screenshots.YOURS}`" in DUPLICATE.read_text()


def test_every_picture_is_made_by_a_script_and_small():
    made = {*screenshots.PICTURES, "regions"}  # that one is by benchmarks/regions.py
    pictures = {path.stem: path for path in (ROOT / "docs").glob("*.png")}
    assert set(pictures) == made
    assert all(p.stat().st_size < 300_000 for name, p in pictures.items() if name != "regions")
    shown = README.read_text() + DUPLICATE.read_text()
    assert all(f"{name}.png" in shown for name in made)
    with Image.open(ROOT / "docs" / "thumbnail.png") as thumbnail:
        assert thumbnail.size == (1200, 630)


def test_the_animation_loops_and_can_be_made_again():
    options = draw.option_parser().parse_args([*screenshots.ANIMATION, "edit.webp"])
    recipe, notices = Recipe.from_query(options.recipe)
    moves = [draw.parse_move(text) for text in options.along]
    assert not notices and recipe.model in checkpoints.CATALOGUE
    path = ROOT / "docs" / "edit.webp"
    assert path.stat().st_size < 1_000_000
    with Image.open(path) as animation:
        assert animation.n_frames <= options.frames * len(moves) and animation.n_frames > 50
        assert animation.info["loop"] == 0
        assert animation.size[::-1] == frame_size(options.size, recipe.num_samples)


# -------------------------------------------------------------------------------------- the cards


def test_the_template_is_a_card(tmp_path, monkeypatch):
    (inside,) = re.findall(r"````markdown\n(.*?)````", TEMPLATE.read_text(), re.DOTALL)
    facts = front_matter(inside)
    assert facts["library_name"] == "sefa" and {"gan", "sefa"} <= set(facts["tags"])
    assert facts["license"].isupper() and "FAMILY" in facts["tags"]
    (bibtex,) = blocks(inside, "bibtex")
    assert bibtex in blocks(README.read_text(), "bibtex")
    (variable,) = blocks(inside, "bash")
    value = shlex.split(variable)[0].removeprefix("SEFA_MODELS=")
    models, notices = checkpoints.owner_models({"SEFA_MODELS": value})
    assert len(models) == 1 and not notices

    # Its Python runs, on a file that is here.
    monkeypatch.chdir(tmp_path)
    tiny_stylegan2("model.safetensors", label_dim=2)
    (opening,) = blocks(inside, "python")
    assert value in opening
    names = {}
    tiny_stylegan2("plain.safetensors")
    exec(opening.replace(value, "plain.safetensors"), names)  # noqa: S102 - our own page
    assert len(names["images"]) == 3
    drawing = blocks(TEMPLATE.read_text(), "python")[-1]
    exec(drawing, {})  # noqa: S102 - our own page
    assert (tmp_path / "samples.png").stat().st_size > 1000


def test_the_embedded_models_card_has_what_the_hub_reads():
    text = CARD.read_text()
    facts = front_matter(text)
    entry = checkpoints.CATALOGUE["avatars"]
    assert facts["license"] == entry.licence
    assert facts["library_name"] == "sefa" and entry.family in facts["tags"]
    assert entry.family in FAMILIES and {"gan", "sefa"} <= set(facts["tags"])
    (bibtex,) = blocks(text, "bibtex")
    assert blocks(README.read_text(), "bibtex")[0] in bibtex
    assert len(re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)) >= 4
