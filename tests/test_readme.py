"""The README is true: its pins agree, its commands and options exist, its examples run."""

import hashlib
import html
import inspect
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml

import checkpoints
import sefa
from sefa import Recipe, convert, draw
from sefa.__main__ import option_parser
from sefa.editing import MAX_NAMES, MAX_TERMS, Named
from sefa.labels import parse_labels
from sefa.memory import SHARE
from sefa.precision import IMAGES_LOOKED_AT
from sefa.teaser import MAX_BYTES, MAX_STRIPS
from tests.conftest import missing
from tests.helpers import tiny_stylegan2
from ui import api, engine
from ui.renderer import MOST_SECONDS
from ui.settings import MAX_DESCRIPTION, MAX_TITLE

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
_, FRONT_MATTER, BODY = README.split("---\n", 2)
FACTS = yaml.safe_load(FRONT_MATTER)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", BODY, re.DOTALL)


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("-r"))


def test_every_requirement_is_pinned_and_the_sdk_is_the_same_gradio():
    assert pins("requirements.txt")["gradio"] == FACTS["sdk_version"]
    assert pins("requirements-dev.txt")


def test_front_matter_has_what_a_space_needs():
    assert FACTS["sdk"] == "gradio"
    assert (ROOT / FACTS["app_file"]).is_file()
    assert isinstance(FACTS["python_version"], str)  # unquoted, 3.10 would become 3.1
    assert FACTS["header"] == "mini"
    assert FACTS["suggested_hardware"] == "cpu-basic"
    assert FACTS["license"] == "mit" and "MIT" in (ROOT / "LICENSE").read_text()
    assert len(FACTS["short_description"]) <= 60  # the Hub cuts it there
    assert "sefa" in FACTS["tags"]
    # The models that the page may download are those of the catalogue.
    assert FACTS["models"] == sorted({m.repo for m in checkpoints.CATALOGUE.values() if m.repo})


def test_pictures_and_links_to_files_are_there():
    paths = re.findall(r"\]\(((?!http)[^)]+)\)", BODY) + re.findall(r'src="((?!http)[^"]+)"', BODY)
    assert len(paths) >= 4
    headings = re.findall(r"^#+ (.*)$", BODY, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    for path in [*paths, FACTS["thumbnail"]]:
        if path.startswith("#"):
            assert path[1:] in anchors, path
        else:
            assert (ROOT / path).is_file(), path


def test_the_two_commands():
    install, test = (block.strip() for block in blocks("bash") if "pip install" in block)
    assert install == "pip install -r requirements.txt && python app.py"
    assert test == "pip install -r requirements-dev.txt && python -m pytest"
    # CI runs the README's own command, and finds it by this form.
    assert re.search(r"^pip install .* && python -m pytest.*$", README, re.MULTILINE)
    assert "README.md" in (ROOT / ".ci/run").read_text()


def test_the_command_line_example_is_valid():
    (command,) = [block.strip() for block in blocks("bash") if "-m sefa " in block]
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "sefa"]
    options = option_parser().parse_args(words[3:])
    assert options.model in checkpoints.CATALOGUE
    named = set(re.findall(r"`(--[a-z_]+)", BODY))
    known = option_parser().format_help() + draw.option_parser().format_help()
    assert named <= set(known.replace(",", " ").split())


def test_the_drawing_examples_are_valid(tmp_path, monkeypatch):
    (block,) = [block for block in blocks("bash") if "sefa.draw" in block]
    commands = [shlex.split(line) for line in block.strip().splitlines()]
    monkeypatch.chdir(tmp_path)
    for i, words in enumerate(commands):
        assert words[:3] == ["python", "-m", "sefa.draw"]
        few = [] if i == 0 else ["--frames", "5"]  # the last one counts; the rest is as it stands
        assert draw.main([*words[3:], *few]) == 0
    made = [path.suffix for path in tmp_path.iterdir()]
    assert sorted(made) == [".gif", ".html", ".mp4", ".png", ".webp"]


def test_the_iframe_is_what_the_page_gives():
    (snippet,) = blocks("html")
    source = html.unescape(re.search(r'src="([^"]+)"', snippet)[1])
    recipe, notices = Recipe.from_query(source.partition("__theme=dark&")[2])
    assert not notices and recipe.model == "avatars" and "?embed=1&" in source
    script = (ROOT / "ui/web/share.js").read_text()
    for attribute in re.findall(r'[a-z]+="[^"]+"', snippet)[1:]:
        assert attribute in script, attribute


def test_what_runs_where_says_what_the_code_does():
    (section,) = re.findall(r"## What runs where.*?\n## ", BODY, re.DOTALL)
    assert f"at most {engine.LIVE_SECONDS} s" in section
    assert f"{engine.GPU_START_SECONDS:g} s, and the time to load the file" in section
    assert f"{engine.GPU_BYTES_PER_SECOND / 1e6:.0f} MB/s" in section
    assert f"{engine.GPU_PIXELS_PER_SECOND / 1e6:.0f} million pixels a second" in section
    assert f"between {engine.GPU_LEAST} and {engine.GPU_MOST} s" in section
    assert f"in {engine.CPU_SECONDS:g} s an image" in section and engine.WARM_SECONDS == 60
    sizes = [m.size_mb for m in checkpoints.CATALOGUE.values() if m.size_mb]
    assert f"{min(sizes)} to {max(sizes)} MB in the catalogue" in section
    assert f"batch of at most {engine.BATCH_SECONDS} s" in section and MOST_SECONDS == 60
    assert f"when {engine.LIVE_BACKLOG} s of others' is before" in section
    assert SHARE == 0.5 and "The models used last stay in memory, up to half" in section
    large = checkpoints.CATALOGUE["stylegan2_ffhq"]
    images = 4 * 1024**2 / engine.GPU_PIXELS_PER_SECOND
    load = large.size_mb * 1e6 / engine.GPU_BYTES_PER_SECOND
    load += IMAGES_LOOKED_AT * 1024**2 / engine.GPU_PIXELS_PER_SECOND
    assert IMAGES_LOOKED_AT == 8 and "with eight images whether float16 will do" in section
    first, then = engine.GPU_START_SECONDS + load + images, engine.GPU_START_SECONDS + images
    assert f"so {math.ceil(first)} s for" in section and f"and {math.ceil(then)} s after" in section


def test_the_size_of_a_teaser_is_told():
    assert f"at most {MAX_BYTES / 1e6:g} MB with up to {MAX_STRIPS} sliders" in BODY


def test_the_notebook_is_there_and_its_command_is_not_one_of_the_two():
    assert "`pip install jupyterlab ipywidgets && jupyter lab notebooks/sefa.ipynb`" in BODY


def test_the_example_of_names_is_valid():
    (example,) = [block for block in blocks("json") if "weights" in block]
    labels = parse_labels(example.encode(), json.loads(example)["weights"], num_ws=6, w_dim=8)
    assert labels.text([0, 1], 3) == "Smile →" and '"Smile → · 003" is direction 3' in BODY
    assert labels.text(range(6), ((3, 0.6), (7, 0.8))) == "Open mouth →"
    assert f"at most {MAX_TERMS}" in BODY and f"up to {MAX_NAMES} names" in BODY
    (link,) = re.findall(r"`&(names=[^`]+)`", BODY)
    recipe, notices = Recipe.from_query(link)
    assert recipe.names == (Named("0-1", ((3, 1.0),), "Smile"),) and not notices


def test_a_file_in_the_folder_of_names_is_found(tmp_path, monkeypatch):
    (example,) = [block for block in blocks("json") if "weights" in block]
    monkeypatch.setattr(checkpoints, "HERE", tmp_path)
    path = tiny_stylegan2(tmp_path / "model.pt")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (line,) = [block for block in blocks("bash") if block.startswith("SEFA_NAMES")]
    value = shlex.split(line)[0].removeprefix("SEFA_NAMES=")
    assert checkpoints.NAMES == "names" and value.split(":")[0] == "names"
    (tmp_path / "names").mkdir()
    content = json.dumps(json.loads(example) | {"weights": digest})
    (tmp_path / "names/as you like.json").write_text(content)
    generator = sefa.load_generator(path)
    for environ in ({}, {"SEFA_NAMES": value}):
        labels = checkpoints.load_labels(path, path, generator, environ)
        assert labels.text([0, 1], 3) == "Smile →" and labels.seeds == (44, 84)


def test_every_variable_is_documented():
    sources = [*ROOT.glob("*.py"), *(ROOT / "ui").glob("*.py"), *(ROOT / "sefa").rglob("*.py")]
    read = {name for path in sources for name in re.findall(r"SEFA_[A-Z_]+", path.read_text())}
    assert (
        {"SEFA_MODELS", "SEFA_RECIPE", "SEFA_DEVICE"}
        <= read
        <= set(re.findall(r"SEFA_[A-Z_]+", BODY))
    )
    for most in (MAX_TITLE, MAX_DESCRIPTION):
        assert f"at most {most} characters" in BODY


def test_the_variable_example_is_valid():
    (line,) = [block for block in blocks("bash") if block.startswith("SEFA_MODELS")]
    value = shlex.split(line)[0].removeprefix("SEFA_MODELS=")
    models, notices = checkpoints.owner_models({"SEFA_MODELS": value})
    assert len(models) == 2 and not notices


def test_the_three_lines_to_a_space_are_valid(tmp_path, monkeypatch):
    (block,) = [block for block in blocks("bash") if "sefa.convert" in block]
    converting, *uploading = (shlex.split(line) for line in block.strip().splitlines())
    monkeypatch.chdir(tmp_path)
    tiny_stylegan2("network-snapshot.pkl")
    assert converting[:3] == ["python", "-m", "sefa.convert"]
    assert convert.main(converting[3:]) == 0
    written = converting[-1]
    assert (tmp_path / written).is_file() and written in uploading[0]
    # Nothing is sent: the Hub's own tool is asked whether it knows the commands and options.
    for words in uploading:
        options = [word for word in words if word.startswith("--")]
        command = words[: next(i for i, word in enumerate(words) if "/" in word)]
        assert command.pop(0) == "hf"
        tool = [sys.executable, "-m", "huggingface_hub.cli.hf", *command, "--help"]
        found = subprocess.run(tool, capture_output=True, text=True, check=True)
        assert all(option in found.stdout for option in options)
    variable = uploading[1][-1]
    models, notices = checkpoints.owner_models(dict([variable.split("=")]))
    assert [model.filename for model in models] == [written] and not notices
    assert models[0].repo == uploading[0][2]


def test_the_library_examples_run(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    code = [block for block in blocks("python") if "generator" in block]
    names: dict = {}
    exec("".join(code), names)  # noqa: S102 - our own README
    images, generator = names["images"], names["generator"]
    assert images.shape == (3, 3, generator.resolution, generator.resolution)
    measured = names["measured"]
    assert len(measured.unit) == 3 and str(measured.order()) in capsys.readouterr().out


# --- the API: each example runs as it stands there, but for the address --------------------------

ADDRESS = "http://127.0.0.1:7860"
ENDPOINTS = (api.models, api.factorize, api.edit, api.strip, api.recipe)


def run(command: list[str]) -> str:
    """What a program of its own prints."""
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_table_of_endpoints_is_complete():
    rows = re.findall(r"^\| `/(\w+)` \| (.*?) \| .* \|$|^\| `/(\w+)` \| \|", BODY, re.MULTILINE)
    told = {name or other: re.findall(r"`(\w+)`", takes) for name, takes, other in rows}
    expected = {f.__name__: list(inspect.signature(f).parameters) for f in ENDPOINTS}
    assert told.pop("recipe") == ["recipe"]  # "or what /edit takes"
    assert set(expected.pop("recipe")) == set(expected["edit"])
    assert told == expected


def test_the_api_example_runs(server):
    (code,) = [block for block in blocks("python") if "gradio_client" in block]
    names: dict = {}
    exec(code.replace(ADDRESS, server.url), names)  # noqa: S102 - our own README
    assert len(names["found"]["vectors"]) == 3
    assert len(names["images"]) == 2 and len(names["again"]) == 4
    frames = names["strip"]["frames"]
    assert names["strip"]["units"] == [pytest.approx(x) for x in np.linspace(-2, 2, 7)]
    assert len(frames) == 7
    for image in (*names["images"], *frames, *names["again"]):
        assert image.startswith("data:image/png;base64,")
    (query,) = re.findall(r'"(v=1[^"]*)"', code)
    assert names["recipe"]["query"] == query and not names["recipe"]["notices"]


def test_the_curl_example_runs(server):
    (code,) = [block for block in blocks("bash") if "curl" in block]
    if shutil.which("curl") is None or shutil.which("bash") is None:
        missing("no curl is installed")
    printed = run(["bash", "-euc", code.replace(ADDRESS, server.url)])
    (shown,) = [block for block in blocks("text") if "event: complete" in block]
    assert printed.startswith(shown[: shown.index("…")])
    (images,) = json.loads(printed.split("data: ", 1)[1])
    assert len(images) == Recipe.num_samples


def test_the_mcp_example_runs(server):
    if find_spec("mcp") is None:
        missing("the package mcp is not installed")
    (code,) = [block for block in blocks("python") if "mcp" in block]
    printed = run([sys.executable, "-c", code.replace(ADDRESS, server.url)])
    text, frames = printed.strip().split("\n")
    told = json.loads(text)
    assert (told["layers"], told["semantic"], len(told["alphas"])) == ("0-1", 3, 5)
    assert frames == "5 frames image/png"


def test_the_configurations_of_mcp_clients_name_the_address():
    configurations = [block for block in blocks("json") if "mcpServers" in block]
    (example,) = map(json.loads, configurations)
    (url,) = [entry["url"] for entry in example["mcpServers"].values()]
    assert url in "".join(blocks("python")) and url.startswith(ADDRESS)
    (other,) = re.findall(r'`(\{"command".*?\})`', BODY)
    assert json.loads(other)["args"][-1] == url


def test_the_extra_is_the_same_gradio():
    extra = re.findall(r'pip install "gradio\[mcp\]==([\d.]+)"', BODY)
    assert extra == [FACTS["sdk_version"]] == [pins("requirements-dev.txt")["gradio[mcp]"]]
