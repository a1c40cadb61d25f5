"""The notebook runs from top to bottom in a kernel of its own, offline, and its sliders move images."""

import ast
import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

import checkpoints
from sefa import Recipe
from sefa.directions_file import read_directions
from sefa.pictures import recipe_of_png
from tests.helpers import tiny_stylegan2
from tests.serving import ROOT

PATH = ROOT / "notebooks" / "sefa.ipynb"
NOTEBOOK = nbformat.read(PATH, as_version=4)
CODE = {cell.id: cell.source for cell in NOTEBOOK.cells if cell.cell_type == "code"}

# Names of the first eight directions of all layers that ship with the embedded model.
NAMES = {
    label["index"]: label["name"]
    for label in json.loads((ROOT / "demo_model" / "labels.json").read_text())["labels"]
    if label["layers"] == "all" and label.get("index", 8) < 8
}


def with_values(**values):
    """A copy of the notebook with its form filled in, as a person would."""
    notebook = copy.deepcopy(NOTEBOOK)
    for name, value in values.items():
        field = re.compile(rf"^{name} = .*(?=  # @param)", re.MULTILINE)
        (cell,) = (cell for cell in notebook.cells if field.search(cell.source))
        cell.source = field.sub(lambda match: f"{name} = {value!r}", cell.source)  # noqa: B023
    return notebook


def run(notebook, folder):
    """Runs the notebook in the repository and gives its cells by id; one that fails raises.

    Nothing can be installed or fetched, and only `folder` takes what tools keep for themselves.
    """
    environment = {
        "GIT_ALLOW_PROTOCOL": "none",
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "OMP_NUM_THREADS": "1",
        "PIP_NO_INDEX": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SEFA_CACHE": str(folder / "cache"),
        "SEFA_DEVICE": "cpu",
        "SEFA_MODELS": "",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        here = {"metadata": {"path": str(ROOT)}}
        NotebookClient(notebook, timeout=None, kernel_name="python3", resources=here).execute()
    return {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}


def text_of(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def shown(cell):
    """What a cell displays, by type."""
    return [output.data for output in cell.outputs if output.output_type == "display_data"]


def files_in(folder):
    return {path for path in folder.iterdir() if not path.name.startswith((".", "__pycache__"))}


STILL = """
still = view.value
assert still
"""
MOVED = """
sliders[1].value = 2.0
moved = view.value
assert moved != still and recipe.edits == (Edit.along(place, 1, 2.0),)
seed_box.value = 5
assert view.value not in (still, moved) and recipe.seed == 5
other = view.value
psi_slider.value = 0.2
assert view.value != other and recipe.truncation_psi == 0.2
"""
RESET = """
reset_button.click()
assert [slider.value for slider in sliders] == [0.0] * count and not recipe.edits
seed_box.value, psi_slider.value = seed, psi
assert view.value == still
sliders[0].value = -1.5
"""


def with_keep_last(notebook, *before):
    """The notebook with `before`, as cells, ahead of the one that keeps what is on view."""
    at = next(i for i, cell in enumerate(notebook.cells) if cell.id == "keep")
    notebook.cells[at:at] = [nbformat.v4.new_code_cell(source) for source in before]
    return notebook


# ------------------------------------------------------------------------------ as it is stored


def test_it_is_a_valid_notebook_without_outputs():
    nbformat.validate(NOTEBOOK)
    assert (NOTEBOOK.nbformat, NOTEBOOK.nbformat_minor) == (4, 5)
    ids = [cell.id for cell in NOTEBOOK.cells]
    assert len(set(ids)) == len(ids)
    for cell in NOTEBOOK.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
            ast.parse(cell.source)
    assert "widgets" not in NOTEBOOK.metadata


def test_its_form_offers_the_catalogue():
    (options,) = re.findall(r"^model = .*# @param (\[.*\])", CODE["model"], re.MULTILINE)
    assert json.loads(options) == list(checkpoints.CATALOGUE)


def test_it_cites_what_the_readme_cites():
    (bibtex,) = re.findall(r"```bibtex\n.*?```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert bibtex in NOTEBOOK.cells[-1].source


# --------------------------------------------------------------------------------- as it is run


def test_the_embedded_model(tmp_path):
    results = tmp_path / "results"
    before = files_in(ROOT) | files_in(PATH.parent)
    notebook = with_keep_last(with_values(folder=str(results)), STILL, MOVED, RESET)
    cells = run(notebook, tmp_path)
    assert files_in(ROOT) | files_in(PATH.parent) == before

    assert "stylegan2, 64 px, w 128" in text_of(cells["model"])
    found = text_of(cells["factorize"])
    assert "128 directions in" in found and "002  eigenvalue" in found
    assert all(name in found for name in NAMES.values()) and NAMES
    values = [float(value) for value in re.findall(r"eigenvalue +([\d.]+)", found)]
    assert len(values) == 8 and values == sorted(values, reverse=True) and values[-1] > 0
    assert any("image/png" in data for data in shown(cells["look"]))
    assert any("application/vnd.jupyter.widget-view+json" in data for data in shown(cells["drag"]))

    assert sorted(path.name for path in results.iterdir()) == [
        "avatars_N4_K8_Lall_seed0_sample_first.html",
        "avatars_N4_K8_Lall_seed0_semantic_first.html",
        "directions.safetensors",
        "picture.png",
        "strips.png",
    ]
    with Image.open(results / "strips.png") as strips, Image.open(results / "picture.png") as image:
        assert strips.size == (36 + 7 * 128, 8 * 128) and image.size == (2 * 64 + 8, 2 * 64 + 8)
        # Every row of the strips moves.
        for i in range(8):
            ends = [strips.crop((x, i * 128, x + 128, i * 128 + 128)) for x in (36, 36 + 6 * 128)]
            assert ends[0].tobytes() != ends[1].tobytes()
    kept = read_directions(results / "directions.safetensors")
    assert (kept.model, len(kept.rows)) == ("avatars", 8)
    assert {i: row.name for i, row in enumerate(kept.rows) if row.name} == NAMES
    assert kept.weights == checkpoints.weights_hash(ROOT / "demo_model" / "avatars.safetensors")
    (query,) = re.findall(r"\?(v=1\S+)", text_of(cells["keep"]))
    recipe, notices = Recipe.from_query(query)
    assert not notices and [edit.alpha for edit in recipe.edits] == [-1.5]
    assert recipe_of_png((results / "picture.png").read_bytes()) == (recipe, [])


def test_a_file_with_classes_in_grey(tmp_path):
    path = tiny_stylegan2(tmp_path / "model.safetensors", label_dim=3, num_channels=1)
    values = {"model": str(path), "folder": str(tmp_path / "results"), "class_index": 1}
    again = "still = view.value\nclass_box.value = 2\nassert view.value != still"
    notebook = with_values(**values, layers="0-1", count=2, samples=2)
    cells = run(with_keep_last(notebook, STILL, MOVED, again), tmp_path)
    assert "3 classes" in text_of(cells["model"])
    names = {file.name for file in (tmp_path / "results").iterdir()}
    assert {"directions.safetensors", "picture.png", "strips.png"} < names and len(names) == 5
    kept = read_directions(tmp_path / "results" / "directions.safetensors")
    recipe, _ = recipe_of_png((tmp_path / "results" / "picture.png").read_bytes())
    assert recipe.model == kept.model == "model.safetensors" and recipe.class_index == 2
    assert [row.layers for row in kept.rows] == ["0-1"] * 2


def test_a_cell_that_fails_fails_the_run(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("assert 1 == 2")])
    with pytest.raises(CellExecutionError, match="assert 1 == 2"):
        run(notebook, tmp_path)


# ------------------------------------------------------------------------------- away from home


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder outside any copy of the project, where commands are noted and not run."""
    commands = []

    def note(command, check):
        assert check
        commands.append(command)
        if command[0] == "git":
            project = Path(command[-1])
            (project / "sefa").mkdir(parents=True)
            (project / "requirements.txt").write_text(requirements)

    requirements = "gradio==99.0\nhuggingface_hub==99.0\nlacking==1.2\nnumpy==99.0\ntorch==99.0\n"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", note)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return commands


def test_elsewhere_the_project_is_copied_and_torch_stays(elsewhere, tmp_path):
    address = "https://example.org/project"
    (cell,) = (c for c in with_values(REPOSITORY=address).cells if c.id == "install")
    for _ in range(2):  # the second time it is there
        exec(cell.source, {})  # noqa: S102 - our own notebook
    project = str(tmp_path / "sefa-space")
    install = [sys.executable, "-m", "pip", "install", "--quiet"]
    assert elsewhere == [
        ["git", "clone", "--depth", "1", address, project],
        [*install, "huggingface_hub==99.0", "lacking==1.2"],
        [*install, "huggingface_hub==99.0", "lacking==1.2"],
    ]
    assert sys.path[0] == project


def test_elsewhere_an_address_is_needed(elsewhere):
    with pytest.raises(ValueError, match="REPOSITORY"):
        exec(CODE["install"], {})  # noqa: S102 - our own notebook
    assert elsewhere == []
