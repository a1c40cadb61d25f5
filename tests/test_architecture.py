"""Who may import whom: imports point downward only. Read from the source, nothing is run."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SEFA = sorted((ROOT / "sefa").rglob("*.py"))
SOURCES = [
    *SEFA,
    *sorted(ROOT.glob("*.py")),
    *sorted(ROOT.glob("ui/**/*.py")),
    *sorted(ROOT.glob("demo_model/*.py")),
    *sorted(ROOT.glob("benchmarks/*.py")),
    *sorted(ROOT.glob("scripts/*.py")),
]


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def imports_of(path):
    """Dotted names of all that a file imports, in functions too.

    `a.b` and `a.b.c` for `from a.b import c`.
    """
    found = set()
    package = path.relative_to(ROOT).parent.parts if path.is_relative_to(ROOT) else ()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*above, *filter(None, [node.module])])
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


def uses(path, *modules):
    """Those of `modules` that a file imports, itself or something inside."""
    names = imports_of(path)
    return {m for m in modules if any(n == m or n.startswith(f"{m}.") for n in names)}


def test_the_reader_of_imports_sees_them_all(tmp_path):
    path = tmp_path / "example.py"
    path.write_text("import a.b, c\ndef f():\n    from d.e import g as h\nif 1: import i\n")
    assert imports_of(path) == {"a.b", "c", "d.e", "d.e.g", "i"}
    assert uses(path, "a", "d.e.g", "d.e", "e", "b") == {"a", "d.e.g", "d.e"}


@pytest.mark.parametrize("path", SEFA, ids=name_of)
def test_the_library_knows_nothing_above_it(path):
    above = {"app", "ui", "gradio", "spaces", "demo_model", "tests", "benchmarks", "checkpoints"}
    if path.name in ("__main__.py", "convert.py", "draw.py"):
        above.remove("checkpoints")  # entry points: they turn names into files
    assert not uses(path, *above)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_the_page_imports_gradio(path):
    if name_of(path) == "app.py" or name_of(path).startswith("ui/"):
        return
    assert not uses(path, "gradio", "spaces")
    if not name_of(path).startswith(("benchmarks/", "scripts/")):  # these measure and show it
        assert not uses(path, "app", "ui")


def test_checkpoints_stands_between_the_entry_points_and_the_library():
    assert uses(ROOT / "checkpoints.py", "sefa")
    assert not uses(ROOT / "checkpoints.py", "sefa.__main__", "sefa.rendering", "sefa.export")


# What each part of the library may not use of the others: the way of the data, read backwards.
BELOW = {
    "errors.py": ["sefa.generators", "sefa.formats", "sefa.factorization", "sefa.editing"],
    "files.py": [
        "sefa.errors",
        "sefa.generators",
        "sefa.formats",
        "sefa.editing",
        "sefa.rendering",
    ],
    "factorization.py": ["sefa.formats", "sefa.editing", "sefa.rendering", "sefa.export"],
    "baselines.py": ["sefa.formats", "sefa.editing", "sefa.rendering", "sefa.export"],
    "comparison.py": ["sefa.formats", "sefa.export"],
    "calibration.py": ["sefa.formats", "sefa.rendering", "sefa.export"],
    "layer_groups.py": ["sefa.formats", "sefa.rendering", "sefa.export", "sefa.generators"],
    "editing.py": ["sefa.formats", "sefa.rendering", "sefa.export", "sefa.generators"],
    "regions.py": ["sefa.formats", "sefa.rendering", "sefa.export", "sefa.generators"],
    "labels.py": ["sefa.formats", "sefa.rendering", "sefa.export", "sefa.generators"],
    "generators": ["sefa.formats", "sefa.factorization", "sefa.editing", "sefa.rendering"],
    "formats": ["sefa.factorization", "sefa.editing", "sefa.rendering", "sefa.export"],
    "measurements.py": ["sefa.formats", "sefa.generators", "sefa.rendering"],
    "rendering.py": ["sefa.formats", "sefa.export", "sefa.measurements"],
    "reuse.py": ["sefa.formats", "sefa.editing", "sefa.rendering", "sefa.export"],
    "precision.py": ["sefa.formats", "sefa.editing", "sefa.rendering", "sefa.export"],
    "previews.py": ["sefa.formats", "sefa.editing", "sefa.export", "sefa.measurements"],
    "export.py": ["sefa.formats", "sefa.generators"],
    "pictures.py": ["sefa.formats", "sefa.generators", "sefa.rendering"],
    "animation.py": ["sefa.formats", "sefa.generators", "sefa.rendering"],
    "teaser.py": ["sefa.formats", "sefa.generators", "sefa.rendering"],
    "snippets.py": ["sefa.formats", "sefa.generators", "sefa.rendering", "sefa.export"],
    "directions_file.py": ["sefa.generators", "sefa.rendering"],
}


@pytest.mark.parametrize("part", BELOW)
def test_parts_of_the_library_use_only_what_is_below_them(part):
    place = ROOT / "sefa" / part
    for path in sorted(place.rglob("*.py")) if place.is_dir() else [place] * place.exists():
        assert not uses(path, *BELOW[part], "sefa.__main__"), name_of(path)


@pytest.mark.parametrize(
    "name",
    [
        "factorization.py",
        "baselines.py",
        "editing.py",
        "labels.py",
        "layer_groups.py",
        "regions.py",
    ],
)
def test_mathematics_takes_tensors_never_paths(name):
    path = ROOT / "sefa" / name
    assert not uses(path, "pathlib", "os", "io", "torch.load", "safetensors", "zipfile", "pickle")
    families = [f"sefa.generators.{p.stem}" for p in (ROOT / "sefa" / "generators").glob("*.py")]
    families.remove("sefa.generators.generator")  # what all families share
    assert not uses(path, *families)
    called = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"open", "Path"}


def asks_for_the_family(tree):
    """Whether a comparison, or a match, has a `family` on one side."""

    def is_family(node):
        return (isinstance(node, ast.Name) and node.id == "family") or (
            isinstance(node, ast.Attribute) and node.attr == "family"
        )

    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(map(is_family, [node.left, *node.comparators])):
            return True
        if isinstance(node, ast.Match) and is_family(node.subject):
            return True
    return False


def test_the_reader_of_comparisons_sees_families():
    for code in (
        "if g.family == 'x': pass",
        "y = 'x' in family",
        "match g.family:\n  case 1: pass",
    ):
        assert asks_for_the_family(ast.parse(code))
    for code in ("show(g.family)", "family = 3", "if g.label_dim == 0: pass"):
        assert not asks_for_the_family(ast.parse(code))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_outside_its_file_asks_which_family_it_is(path):
    name = name_of(path)
    if name == "sefa/generators/__init__.py" or name.startswith("sefa/formats/"):
        return  # where files and names become a family
    assert not asks_for_the_family(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_file_is_ever_unpickled(path):
    # torch.load always says weights_only=True; pickle, marshal and the like are not imported.
    assert not uses(path, "pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        call = ast.unparse(node.func)
        assert call not in {"eval", "exec", "compile", "__import__"}, name_of(path)
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if call == "torch.load":
            assert keywords.get("weights_only") == "True"
        if call in {"np.load", "numpy.load"}:
            assert keywords.get("allow_pickle", "False") == "False"


# ------------------------------------------------------------------------------------------ pins


def requirements():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [text for line in lines if (text := line.split("#")[0].strip())]


def test_every_requirement_is_pinned():
    packages = [line for line in requirements() if not line.startswith("--")]
    assert packages
    for line in packages:
        assert re.fullmatch(
            r"[A-Za-z0-9._-]+(\[[a-z,-]+\])?==[0-9][A-Za-z0-9.+]*(\s*;.*)?", line
        ), line


def test_the_readme_asks_for_the_pinned_gradio():
    front_matter = (ROOT / "README.md").read_text(encoding="utf-8").split("---")[1]
    sdk_version = re.search(r"^sdk_version: *[\"']?([0-9.]+)", front_matter, re.MULTILINE)[1]
    # Spaces install gradio by sdk_version; where it is also required, both are the same.
    both = [ROOT / "requirements.txt", ROOT / "requirements-dev.txt"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in both if path.exists())
    pins = re.findall(r"^gradio(?:\[[a-z,]+\])?==([0-9.]+)", text, re.MULTILINE)
    assert pins and set(pins) == {sdk_version}
