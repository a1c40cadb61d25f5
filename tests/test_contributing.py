"""CONTRIBUTING.md is true: what it names exists, its commands are those that run, its excerpts are the code."""

import ast
import functools
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import checkpoints
from tests.helpers import genforce_state_dict, tiny_state_dict
from tests.serving import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
README = (ROOT / "README.md").read_text()
CI = (ROOT / ".ci" / "run").read_text()
FENCE = re.compile(r"```(\w*)\n(.*?)```\n", re.DOTALL)
SUFFIXES = (".py", ".md", ".json", ".txt", ".toml", ".png", ".npz", ".ipynb")
MAY_BE_MISSING = {"names/"}  # a Space adds it
OF_OTHERS = {"pickle.load", "torch.load(weights_only=False)", "chromium", "sha256sum"}


def prose(page):
    return FENCE.sub("", page)


def blocks(page, language):
    return [text for found, text in FENCE.findall(page) if found == language]


def references(page):
    """What stands between backticks outside blocks of code, and the targets of links."""
    text = prose(page)
    links = re.findall(r"\]\(((?!http|#)[^)]+)\)", text)
    return [*re.findall(r"`([^`]+)`", text), *links]


@functools.cache
def names_in(path):
    """All that a Python file defines: functions, classes, values, attributes, arguments."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return names


@functools.cache
def all_names():
    sources = [*ROOT.glob("*.py"), *ROOT.glob("sefa/**/*.py"), *ROOT.glob("tests/*.py")]
    return set().union(*map(names_in, sources)) | set(checkpoints.CATALOGUE)


def problem(reference):
    """Why a reference is not true; None where it is."""
    if " " in reference or reference in OF_OTHERS:
        return problem_of_command(reference) if " " in reference else None
    path, _, name = reference.partition("::")
    if name:
        if not (ROOT / path).is_file() or name not in names_in(ROOT / path):
            return f"{path} defines no {name}"
        return None
    if "@" in reference:
        models, notices = checkpoints.owner_models({"SEFA_MODELS": reference})
        return None if models and not notices else "this is no file on the Hub"
    if "/" in reference or reference.endswith(SUFFIXES):
        there = (ROOT / reference).exists() or reference in MAY_BE_MISSING
        return None if there else f"there is no {reference}"
    if reference.startswith("--"):
        scripts = [*ROOT.glob("scripts/*.py"), *ROOT.glob("sefa/*.py")]
        found = any(f'"{reference}"' in path.read_text() for path in scripts)
        return None if found else f"no command has {reference}"
    if reference.endswith(":"):
        facts = yaml.safe_load(README.split("---\n", 2)[1])
        return None if reference[:-1] in facts else "the README's front matter has no such key"
    if "." in reference:
        return problem_of_dotted(reference)
    return None if reference in all_names() else f"nothing is called {reference}"


def problem_of_dotted(reference):
    """`package.module.name`, or `Class.attribute` of some file."""
    module, rest = reference, []
    while module and importlib.util.find_spec(module.split(".")[0]) is not None:
        try:
            value = importlib.import_module(module)
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            rest.insert(0, last)
            continue
        for name in rest:
            if not hasattr(value, name):
                return f"{module} has no {'.'.join(rest)}"
            value = getattr(value, name)
        return None
    unknown = [part for part in reference.split(".") if part not in all_names()]
    return f"nothing is called {unknown[0]}" if unknown else None


def problem_of_command(line):
    """`python -m module ...`, `python file.py ...`, with options that are the program's own."""
    words = shlex.split(line)
    if words[0] in OF_OTHERS:
        return None
    if words[0] != "python":
        return f"{words[0]} is no command of the page"
    module = words[2] if words[1] == "-m" else words[1].removesuffix(".py").replace("/", ".")
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        return f"there is no program {module}"
    places = found.submodule_search_locations
    path = Path(places[0]) / "__main__.py" if places else Path(found.origin)
    if not path.is_file():
        return f"there is no program {module}"
    options = [word for word in words if word.startswith("--")]
    unknown = [option for option in options if f'"{option}"' not in path.read_text()]
    return f"{module} has no {unknown[0]}" if unknown else None


def problem_of_excerpt(text):
    """The first line of an excerpt says of which file; the rest must stand there as it is."""
    first, _, rest = text.partition("\n")
    path = ROOT / first.removeprefix("# ")
    if not path.is_file():
        return f"there is no {first.removeprefix('# ')}"
    return None if rest in path.read_text() else f"{path.name} does not say this"


# ------------------------------------------------------------------------------- the checker itself


@pytest.mark.parametrize(
    "good",
    [
        "sefa/formats/rosinality.py",
        "sefa/formats/",
        "tests/test_dcgan.py::test_sizes_are_read_from_the_shapes",
        "sefa.formats.rosinality.translate",
        "sefa.formats.rosinality",
        "Weights.finish",
        "good_weights",
        "stylegan_cat256",
        "models:",
        "user/repo/file.pkl@revision",
        "python -m sefa.convert SOURCE TARGET.safetensors",
        "python -m sefa avatars --num_samples 3",
        "python scripts/fuzz_readers.py --inputs 100000",
    ],
)
def test_the_checker_lets_what_is_true_pass(good):
    assert problem(good) is None


@pytest.mark.parametrize(
    "made_up",
    [
        "sefa/formats/rosinalty.py",
        "sefa/shapes/",
        "tests/test_dcgan.py::test_that_nobody_wrote",
        "tests/test_nowhere.py::test_sizes_are_read_from_the_shapes",
        "sefa.formats.rosinality.transmogrify",
        "sefa.transmogrify",
        "sefa.formats.transmogrify.translate",
        "Weights.transmogrify",
        "transmogrify",
        "colours:",
        "--transmogrify",
        "user@revision",
        "python -m sefa.transmogrify MODEL",
        "python -m sefa avatars --transmogrify",
        "python scripts/transmogrify.py",
        "python scripts/fuzz_readers.py --transmogrify 3",
        "transmogrify the model",
    ],
)
def test_the_checker_finds_what_is_made_up(made_up):
    page = f"Text, a block\n```bash\nls `x`\n```\nand `{made_up}`, and so on."
    assert references(page) == [made_up]
    assert problem(made_up)


def test_the_checker_reads_links_and_excerpts():
    assert references("[a](sefa/errors.py) [b](https://example.org) [c](#d)") == ["sefa/errors.py"]
    line = "class UserError(ValueError):\n"
    assert problem_of_excerpt(f"# sefa/errors.py\n{line}") is None
    assert problem_of_excerpt(f"# sefa/errors.py\n{line}    pass\n")
    assert problem_of_excerpt(f"# sefa/mistakes.py\n{line}")


# ---------------------------------------------------------------------------------------- the page


def test_all_that_is_named_exists():
    found = references(PAGE)
    assert len(found) > 80
    assert {reference: problem(reference) for reference in found if problem(reference)} == {}


def test_excerpts_are_the_code():
    excerpts = [block for block in blocks(PAGE, "python") if block.startswith("# ")]
    assert len(excerpts) == 4
    for excerpt in excerpts:
        assert problem_of_excerpt(excerpt) is None, excerpt


def test_links_inside_the_page_lead_somewhere():
    headings = re.findall(r"^#+ (.*)$", prose(PAGE), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    targets = re.findall(r"\]\(#([^)]+)\)", PAGE)
    assert targets and set(targets) <= anchors


def test_its_commands_are_those_of_the_readme_and_of_ci():
    first, style, *others = blocks(PAGE, "bash")
    assert first in blocks(README, "bash") and "python -m pytest" in first
    assert all(line in CI.splitlines() for line in style.splitlines())
    lines = [line for block in others for line in block.splitlines()]
    assert len(lines) == 4
    for line in lines:
        assert problem(line) is None, line


def test_the_ten_rules_are_ten():
    rules = PAGE.partition("## Ten rules\n")[2].partition("\n## ")[0]
    assert re.findall(r"^(\d+)\. ", rules, re.MULTILINE) == [str(i) for i in range(1, 11)]


def test_the_listing_of_weights_runs(tmp_path):
    import torch

    (code,) = [block for block in blocks(PAGE, "python") if "unwrap" in block]
    state = genforce_state_dict(tiny_state_dict(resolution=8, channels=(5, 4)))
    torch.save({"generator_smooth": state, "epoch": 3}, tmp_path / "model.pkl")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    listed = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert listed == {name: str(list(tensor.shape)) for name, tensor in state.items()}
