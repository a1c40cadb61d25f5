"""Names of directions and curated seeds: what the file may say, and where it is shown."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

import app
import checkpoints
from sefa import parse_layers
from sefa.__main__ import main
from sefa.editing import MAX_NAME, MAX_SAMPLES, MAX_SEED, MAX_TERMS, Named, Recipe
from sefa.errors import UserError
from sefa.labels import (
    MAX_BYTES,
    MAX_LABELS,
    MAX_SEEDS,
    Labels,
    labels_json,
    parse_labels,
    place,
    weights_of,
)  # fmt: skip
from tests.helpers import is_one_sentence, tiny_stylegan2
from tests.pages import Page
from ui import controls, engine, layout, wiring

WEIGHTS = "0123456789abcdef" * 4
NUM_WS, W_DIM = 10, 12
LABEL = {"layers": "0-1,4", "index": 3, "sign": 1, "name": "Smile"}


def a_file(**changes) -> dict:
    file = {"version": 1, "weights": WEIGHTS, "labels": [LABEL], "seeds": [44, 7]}
    return file | changes


def parse(file) -> Labels:
    content = file if isinstance(file, bytes) else json.dumps(file).encode()
    return parse_labels(content, WEIGHTS, NUM_WS, W_DIM)


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", ["0-1,4", "4,0,1", " 0-1, 4-4 ", "1,0,4,4"])
def test_a_name_is_found_by_the_layers_however_they_are_written(layers):
    labels = parse(a_file(labels=[LABEL | {"layers": layers}]))
    assert labels.text(parse_layers("0-1,4", NUM_WS), 3) == "Smile →"
    assert labels.text([0, 1, 4], 2) == labels.text([0, 1], 3) == ""
    assert labels.indices([0, 1, 4]) == [3] and labels.indices([0, 1]) == []
    assert labels.seeds == (44, 7)


def test_all_layers_and_their_range_are_the_same():
    for written, asked in (("all", "0-9"), ("0-9", "all")):
        labels = parse(a_file(labels=[LABEL | {"layers": written}]))
        assert labels.text(parse_layers(asked, NUM_WS), 3) == "Smile →"


def test_the_arrow_points_to_the_side_the_name_grows_to():
    labels = parse(a_file(labels=[LABEL | {"sign": -1}]))
    assert labels.text([0, 1, 4], 3) == "← Smile"


def test_no_labels_name_nothing():
    assert Labels().text([0], 0) == "" and Labels().indices([0]) == [] and Labels().seeds == ()
    assert parse(a_file(labels=[], seeds=[])) == Labels()


def test_what_is_as_large_as_may_be_is_read():
    label = LABEL | {"name": "É" + "x" * (MAX_NAME - 1), "index": W_DIM - 1}
    seeds = [MAX_SEED - MAX_SAMPLES + 1] * MAX_SEEDS
    assert parse(a_file(labels=[label], seeds=seeds)).indices([0, 1, 4]) == [W_DIM - 1]


COMBINED = {"layers": "0-1", "direction": "3*0.6+7*0.8", "sign": -1, "name": "Open mouth"}
TERMS = ((3, 0.6), (7, 0.8))


@pytest.mark.parametrize("written", ["3*0.6+7*0.8", "7*0.8+3*0.6", "3*0.60+7*.8"])
def test_a_combination_has_a_name_too(written):
    labels = parse(a_file(labels=[LABEL, COMBINED | {"direction": written}]))
    assert labels.find([0, 1], TERMS) == labels.find([0, 1], TERMS[::-1]) == ("Open mouth", -1)
    assert labels.text([0, 1], TERMS) == "← Open mouth"
    for other in (((3, 0.6),), ((3, 0.6), (7, -0.8)), 3, 7):
        assert labels.find([0, 1], other) is None
    assert labels.find([0, 1, 4], TERMS) is None
    assert labels.indices([0, 1]) == [] and labels.indices([0, 1, 4]) == [3]
    assert labels.indexed() == {((0, 1, 4), 3): ("Smile", 1)}


def test_an_index_and_its_only_term_are_one_direction():
    labels = parse(a_file(labels=[COMBINED | {"direction": "3"}]))
    assert labels.find([0, 1], 3) == labels.find([0, 1], ((3, 1.0),)) == ("Open mouth", -1)
    assert labels.indices([0, 1]) == [3]
    for other in ("3*-1", "3*2"):
        labels = parse(a_file(labels=[COMBINED | {"direction": other}]))
        assert labels.find([0, 1], 3) is None and labels.indices([0, 1]) == []


def test_a_visitors_names_lie_over_the_files():
    labels = parse(a_file(labels=[LABEL, COMBINED]))
    mine = (
        Named("0-1,4", ((3, 1.0),), "Grin", -1),
        Named("0-9", TERMS, "Everywhere"),
        Named("all", TERMS, "The same again"),
    )
    both = labels.with_names(mine, NUM_WS)
    assert both.text([0, 1, 4], 3) == "← Grin"
    assert both.text(range(10), TERMS) == "Everywhere →"
    assert both.text([0, 1], TERMS) == "← Open mouth" and both.seeds == labels.seeds
    assert labels.text([0, 1, 4], 3) == "Smile →"  # which stays as it was
    assert labels.with_names((), NUM_WS) == labels


# --- writing it -----------------------------------------------------------------------------------


def test_what_is_written_reads_back():
    for labels in (
        Labels(),
        Labels(seeds=(3, 1, 2)),
        parse(a_file()),
        parse(a_file(labels=[LABEL, COMBINED, COMBINED | {"direction": "1*1e-07+0*-2"}])),
        Labels().with_names([Named("all", ((1, 1 / 3), (0, -5e-324)), "Größe (’n)", -1)], NUM_WS),
    ):
        text = labels_json(WEIGHTS, labels)
        assert parse(text.encode()) == labels
        assert weights_of(text.encode()) == WEIGHTS
        assert labels_json(WEIGHTS, parse(text.encode())) == text
        assert text.count('"name"') == len(labels.names) and text.endswith("}\n")


def test_the_file_that_ships_is_as_it_would_be_written():
    content = (checkpoints.HERE / "demo_model/labels.json").read_bytes()
    labels = parse_labels(content, weights_of(content), 9, 256)
    assert json.loads(labels_json(weights_of(content), labels)) == json.loads(
        content.replace(b'"all"', b'"0-8"')
    )


def test_the_longest_file_is_one_that_is_read():
    direction = tuple((i, -123456.78901234567 / (i + 1)) for i in range(65536 - MAX_TERMS, 65536))
    assert len(direction) == MAX_TERMS
    names = {
        place(range(0, 64, 2), (*direction[1:], (i, -123456.78901234567))): ("𐐀" * MAX_NAME, -1)
        for i in range(60000, 60000 + MAX_LABELS)
    }
    labels = Labels(names, (2**32 - MAX_SAMPLES,) * MAX_SEEDS)
    content = labels_json(WEIGHTS, labels).encode()
    assert len(content) < MAX_BYTES
    assert parse_labels(content, WEIGHTS, 64, 65536) == labels


def test_what_could_not_be_read_back_is_not_written():
    many = {place([0], i): ("x", 1) for i in range(MAX_LABELS + 1)}
    for weights, labels in (
        (WEIGHTS, Labels(many)),
        (WEIGHTS, Labels(seeds=(0,) * (MAX_SEEDS + 1))),
        (WEIGHTS.upper(), Labels()),
        (WEIGHTS + "\n", Labels()),
        ("", Labels()),
    ):
        with pytest.raises(UserError) as raised:
            labels_json(weights, labels)
        assert is_one_sentence(str(raised.value))


@pytest.mark.parametrize("weights", ["0" * 63, "A" * 64, 7, None, "0" * 64 + "\n"])
def test_labels_for_no_weights_are_refused(weights):
    with pytest.raises(UserError) as raised:
        weights_of(json.dumps(a_file(weights=weights)).encode())
    assert is_one_sentence(str(raised.value))


BROKEN = [
    b"",
    b"{",
    b"\xff\xfe",
    b"[" * MAX_BYTES,
    b"9" * 5000,
    [],
    7,
    {},
    a_file(version=2),
    a_file(version=True),
    a_file(more=1),
    a_file(weights="0" * 64),
    a_file(weights=None),
    a_file(labels={}),
    a_file(labels=[7]),
    a_file(labels=[{}]),
    a_file(labels=[LABEL | {"ends": []}]),
    a_file(labels=[LABEL, LABEL | {"layers": "0,1,4", "name": "Frown"}]),
    a_file(seeds=None),
    a_file(seeds=[1] * (MAX_SEEDS + 1)),
    *(a_file(seeds=[seed]) for seed in (-1, 2**32, 1.0, "1", True, None, MAX_SEED)),
    *(a_file(labels=[LABEL | {"layers": v}]) for v in ("10", "", "2-", [0, 1], None, "1-0")),
    *(a_file(labels=[LABEL | {"index": v}]) for v in (W_DIM, -1, 1.0, "1", True, None)),
    *(
        a_file(labels=[COMBINED | {"direction": v}])
        for v in (
            "", "+", "*", "3*0.6+", "3 *0.6+x", "3*nan", "3*1e7", "-1", "3*0.6 7*0.8", "12*0.6+1",
            "0+" * MAX_TERMS + "0", 3, None, [[3, 0.6]],
        )
    ),
    a_file(labels=[COMBINED | {"index": 3}]),
    a_file(labels=[COMBINED, COMBINED | {"direction": "7*0.8+3*0.6"}]),
    a_file(labels=[LABEL, COMBINED | {"layers": "0-1,4", "direction": "3"}]),
    *(a_file(labels=[LABEL | {"sign": v}]) for v in (0, 2, -1.0, "1", True, None)),
    *(
        a_file(labels=[LABEL | {"name": name}])
        for name in (
            "",
            " ",
            " x",
            "x\n",
            "<b>",
            "*x*",
            "a_b",
            "a[b]",
            "x" * (MAX_NAME + 1),
            None,
            7,
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("file", BROKEN, ids=lambda file: str(file)[:60])
def test_anything_else_is_refused_in_one_sentence(file):
    with pytest.raises(UserError) as raised:
        parse(file)
    assert is_one_sentence(str(raised.value)), raised.value


# --- the file that ships --------------------------------------------------------------------------


def test_the_labels_that_ship_are_those_of_the_weights_that_ship(caplog):
    """After training: look at the directions again, then write the file's new SHA-256 into it."""
    generator = checkpoints.load("avatars")
    path = checkpoints.fetch("avatars").path
    labels = checkpoints.load_labels("avatars", path, generator)
    assert not caplog.messages
    assert labels.names and labels.seeds


# --- a Space's own names --------------------------------------------------------------------------


@pytest.fixture
def space(tmp_path, monkeypatch):
    """A copy of the project's folder with a small checkpoint, `model.pt`, and a folder `names`."""
    monkeypatch.setattr(checkpoints, "HERE", tmp_path)
    monkeypatch.delenv("SEFA_NAMES", raising=False)
    (tmp_path / "names").mkdir()
    tiny_stylegan2(tmp_path / "model.pt")
    checkpoints._say_once.cache_clear()
    return tmp_path


def put(path, file=None, **changes) -> Path:
    """Writes a file of names for the checkpoint of `space`."""
    if file is None:
        weights = checkpoints._sha256(path.parent.parent / "model.pt")
        file = a_file(weights=weights, labels=[LABEL | {"layers": "0-1"}]) | changes
    path.write_bytes(file if isinstance(file, bytes) else json.dumps(file).encode())
    return path


def labels_for(space, source=None, **environ) -> Labels:
    path = space / "model.pt"
    generator = checkpoints.sefa.load_generator(path)
    return checkpoints.load_labels(source or path, path, generator, environ)


HUB_MODEL = checkpoints.Model("user/repo/a.pt", "user/repo", "a.pt", "main")


@pytest.mark.parametrize("source", [None, "user/repo/a.pt", HUB_MODEL, "stylegan_car512"])
def test_any_model_has_the_names_that_are_for_its_weights(space, caplog, source):
    put(space / "names/some thing.JSON")
    put(space / "names/another-model.json", a_file())
    assert labels_for(space, source).text([0, 1], 3) == "Smile →"
    assert labels_for(space, source).seeds == (44, 7)
    assert not caplog.messages


def test_without_such_a_file_there_are_no_names(space, caplog):
    put(space / "names/another-model.json", a_file())
    put(space / "names/names.txt")
    put(space / "names/.hidden.json", b"{")
    (space / "names/folder.json").mkdir()
    os.mkfifo(space / "names/pipe.json")  # which nobody would ever write to
    assert labels_for(space) == Labels()
    (space / "names").rename(space / "elsewhere")
    assert labels_for(space) == Labels()
    assert not caplog.messages


def test_the_variable_names_the_folders(space, tmp_path_factory, caplog):
    (space / "mine").mkdir()
    far = tmp_path_factory.mktemp("far")
    put(space / "names/a.json")
    put(space / "mine/z.json", labels=[LABEL | {"name": "Mine"}])
    assert labels_for(space, SEFA_NAMES="mine").text([0, 1, 4], 3) == "Mine →"
    assert labels_for(space, SEFA_NAMES=f" {far}:mine:names ").text([0, 1, 4], 3) == "Mine →"
    assert labels_for(space, SEFA_NAMES="names:mine").text([0, 1], 3) == "Smile →"
    assert labels_for(space, SEFA_NAMES=f"{far}") == Labels()
    assert labels_for(space, SEFA_NAMES=" ").text([0, 1], 3) == "Smile →"  # as if it were not set
    assert not caplog.messages
    for _ in range(2):
        assert labels_for(space, SEFA_NAMES="nowhere:names").text([0, 1], 3) == "Smile →"
    (message,) = caplog.messages  # said once
    assert "nowhere" in message and is_one_sentence(message)


def test_the_variable_names_files_too(space, caplog):
    put(space / "names/a.json", labels=[LABEL | {"name": "Mine"}])
    put(space / "names/b.json")
    (space / "names/b.json").rename(space / "b.names")  # whoever names a file may call it anything
    for value in ("names/a.json:b.names", f"nowhere.json:{space / 'names/a.json'}", " names :b"):
        assert labels_for(space, SEFA_NAMES=value).text([0, 1, 4], 3) == "Mine →"
    assert labels_for(space, SEFA_NAMES="b.names:names").text([0, 1], 3) == "Smile →"
    assert [m.split(" is left")[0] for m in caplog.messages] == [
        "SEFA_NAMES: 'nowhere.json'",
        "SEFA_NAMES: 'b'",
    ]


def test_what_is_known_of_files_of_names(space):
    fine = put(space / "names/fine.json")
    put(space / "names/misfit.json", labels=[LABEL | {"layers": "99"}])
    put(space / "names/no.json", b"{")
    weights = checkpoints._sha256(space / "model.pt")
    known, left_out = checkpoints.names_known({"SEFA_NAMES": "names:nowhere"})
    assert [(file.shown, file.weights) for file in known] == [
        ("names/fine.json", weights),
        ("names/misfit.json", weights),
        ("names/no.json", None),
    ]
    assert [file.problem for file in known[:2]] == ["", ""] and "not JSON" in known[2].problem
    (sentence,) = left_out
    assert "nowhere" in sentence and is_one_sentence(sentence)
    fine.unlink()
    labels_for(space)  # what is wrong with the names is known when they are read
    known, left_out = checkpoints.names_known({})
    assert [bool(file.problem) for file in known] == [True, True] and not left_out
    assert all(is_one_sentence(file.problem) for file in known)
    put(space / "names/misfit.json")
    os.utime(space / "names/misfit.json", ns=(1, 1))
    assert checkpoints.names_known({})[0][0].problem == ""  # another version of the file


BAD_FILES = {
    "no JSON": (b"{", "not JSON"),
    "too long": (b" " * (MAX_BYTES + 1), "longer than"),
    "no weights": (a_file(weights="x"), "SHA-256"),
    "version": (a_file(version=2), "version"),
}


@pytest.mark.parametrize("bad", BAD_FILES)
def test_a_bad_file_is_one_line_in_the_log(space, caplog, bad):
    content, says = BAD_FILES[bad]
    put(space / "names/a <b>.json", content)
    put(space / "names/b.json")
    for _ in range(2):  # it is not read again, so nothing more is said
        assert labels_for(space).text([0, 1], 3) == "Smile →"
    (message,) = caplog.messages
    assert message.startswith("names/a ?b?.json is left out: ") and says in message
    assert is_one_sentence(message)


def test_a_bad_file_for_these_weights_is_passed_over(space, caplog):
    put(space / "names/a.json", labels=[LABEL | {"layers": "99"}])
    put(space / "names/b.json")
    put(space / "names/c.json", labels=[])
    assert labels_for(space).text([0, 1], 3) == "Smile →"
    (message,) = caplog.messages
    assert "no layer 99" in message and is_one_sentence(message)


def test_a_file_that_cannot_be_read_is_one_line_in_the_log(space, caplog, monkeypatch):
    put(space / "names/a.json")
    monkeypatch.setattr(checkpoints, "_read_names", raising(PermissionError(13, "Not for you")))
    assert labels_for(space) == Labels()
    assert caplog.messages == ["names/a.json is left out: Not for you."]


def raising(error):
    def function(*arguments):
        raise error

    return function


def test_so_many_files_are_read_and_no_more(space, caplog, monkeypatch):
    monkeypatch.setattr(checkpoints, "MAX_NAMES_FILES", 3)
    for name in "abc":
        put(space / f"names/{name}.json", a_file())
    put(space / "names/d.json")
    assert labels_for(space) == labels_for(space) == Labels()
    (message,) = caplog.messages
    assert "first 3" in message and is_one_sentence(message)


def test_weights_are_hashed_once_for_each_version_of_the_file(space, monkeypatch):
    put(space / "names/a.json")
    put(space / "names/b.json", a_file())
    hashed, sha256 = [], checkpoints._sha256
    monkeypatch.setattr(checkpoints, "_sha256", lambda path: hashed.append(path) or sha256(path))
    assert labels_for(space).names and labels_for(space, HUB_MODEL).names
    assert len(hashed) == 1
    tiny_stylegan2(space / "model.pt", seed=1)
    os.utime(space / "model.pt", ns=(1, 1))
    assert labels_for(space) == Labels() and len(hashed) == 2
    put(space / "names/b.json")  # a file that changed is read again
    hashed.clear()
    os.utime(space / "names/b.json", ns=(1, 1))
    assert labels_for(space).names and not hashed


def test_a_checkpoint_that_is_gone_has_no_names(space, caplog):
    put(space / "names/a.json")
    generator = checkpoints.sefa.load_generator(space / "model.pt")
    model = replace(HUB_MODEL, labels="names/a.json")
    assert checkpoints.load_labels(model, space / "gone", generator) == Labels()
    assert len(caplog.messages) == 1  # the file that ships with a model should be for it


def test_the_owners_names_come_before_those_that_ship(space):
    shipped = put(space / "names/shipped.txt", labels=[LABEL | {"name": "Shipped"}])
    model = replace(HUB_MODEL, labels=str(shipped))
    assert labels_for(space, model).text([0, 1, 4], 3) == "Shipped →"
    put(space / "names/a.json")
    assert labels_for(space, model).text([0, 1], 3) == "Smile →"


# --- where it is shown ----------------------------------------------------------------------------


@pytest.fixture
def ship(tmp_path, monkeypatch):
    """ship(file): the embedded model with these labels, None for a missing file."""

    def ship(file) -> engine.OpenModel:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        if file is not None:
            path.write_bytes(file if isinstance(file, bytes) else json.dumps(file).encode())
        entry = replace(checkpoints.CATALOGUE["avatars"], labels=str(path))
        monkeypatch.setitem(checkpoints.CATALOGUE, "avatars", entry)
        engine.labels_of.cache_clear()
        return engine.open_model("avatars")

    yield ship
    engine.labels_of.cache_clear()


def shipped(**changes) -> dict:
    """A file for the shipped weights: four names in two groups."""
    names = [("all", 0, 1, "Smile"), ("0-1", 2, 1, "Hat"), ("0-1", 7, -1, "Longer hair")]
    labels = [dict(zip(("layers", "index", "sign", "name"), label, strict=True)) for label in names]
    weights = checkpoints.weights_hash(checkpoints.fetch("avatars").path)
    return a_file(weights=weights, labels=labels) | changes


def slider_labels(model, recipe: Recipe) -> list[str]:
    arguments = layout.first_values(layout.lay_out(model, recipe, []))
    return [arguments[f"slider {i}"]["label"] for i in range(recipe.num_semantics)]


def test_the_page_shows_names_and_numbers(ship):
    model = ship(shipped())
    labels = slider_labels(model, Recipe(layers="0-1", num_semantics=8))
    assert labels[2] == "Hat → · 002" and labels[7] == "← Longer hair · 007"
    assert labels[3] == "Semantic 003"
    for layers in ("all", f"0-{model.loaded.generator.num_ws - 1}"):
        first, second = slider_labels(model, Recipe(layers=layers, num_semantics=2))
        assert (first, second) == ("Smile → · 000", "Semantic 001")


def test_names_change_nothing_that_is_stored(ship):
    query = {"v": "1", "layers": "0-1", "k": "3", "edits": "all:0:2~all:1:1~0-1:2:-3"}
    recipe, _ = Recipe.from_query(query)
    with_names = layout.first_values(layout.lay_out(ship(shipped()), recipe, []))
    without = layout.first_values(layout.lay_out(ship(None), recipe, []))
    said = with_names["kept_text"]["value"]
    assert said == "Also applied: Smile → · 000 of layers all at +2; 001 of layers all at +1"
    assert without["kept_text"]["value"] == said.replace("Smile → · ", "")
    for name in (*controls.CONTROLS, *(f"slider {i}" for i in range(3))):
        assert with_names[name]["value"] == without[name]["value"]


def test_the_first_look_has_the_names_and_a_curated_seed(ship):
    model = ship(shipped())
    start = controls.first_look(model)
    assert (start.seed, start.layers, start.num_semantics) == (44, "named", 3)
    assert sorted(slider_labels(model, start)) == [
        "Hat → · 002", "Smile → · 000", "← Longer hair · 007"
    ]  # fmt: skip
    assert "[44, 7]" in wiring.next_seed(model)
    many = [LABEL | {"layers": "all", "index": i} for i in range(30)]
    assert (
        controls.first_look(ship(shipped(labels=many))).num_semantics == controls.MAX_FIRST_SLIDERS
    )


STALE = "is left out: it is for other weights than these."


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (None, "No such file"),
        (b"{", "is left out: it is not JSON."),
        ({"weights": WEIGHTS}, STALE),
        # Whatever else is in it: a model of another size has other layers.
        ({"weights": WEIGHTS, "labels": [LABEL | {"layers": "99"}]}, STALE),
        ({"labels": [LABEL | {"layers": "99"}]}, "no layer 99"),
        (b" " * MAX_BYTES + b"{}", "is left out: it is longer than"),
    ],
    ids=["missing", "broken", "stale", "stale and small", "too small", "too long"],
)
def test_without_usable_labels_the_page_goes_on_with_numbers(ship, caplog, file, says):
    model = ship(shipped(**file) if isinstance(file, dict) else file)
    assert controls.first_look(model) == Recipe(order="effect")
    assert all(label.startswith("Semantic ") for label in slider_labels(model, Recipe()))
    page = app.build_page()
    (slider,) = [block for block in page.blocks.values() if block.elem_id == "semantic-0"]
    assert slider.label.startswith("Semantic 0")
    (message,) = caplog.messages
    assert says in message and is_one_sentence(message)


def test_weights_are_only_hashed_where_there_are_labels(monkeypatch):
    monkeypatch.setattr(checkpoints, "_sha256", pytest.fail)
    monkeypatch.setattr("builtins.open", pytest.fail)
    model = checkpoints.CATALOGUE["stylegan_car512"]
    assert checkpoints.load_labels(model, "nowhere", None) == Labels()


def test_the_command_lines_pages_show_names_beside_numbers(ship, tmp_path, capsys):
    ship(shipped())
    options = ["-L", "1,0", "-N", "1", "-K", "8", "--step", "1", "--viz_size", "8"]
    assert main(["avatars", *options, "--save_dir", str(tmp_path / "pages")]) == 0
    for path in (tmp_path / "pages").iterdir():
        page = Page(path.read_text(encoding="utf-8"))
        assert page.pairs == [(0, k) for k in range(8)]
        notes = page.texts["small"]
        assert notes.count("Hat →") == notes.count("← Longer hair") == 1
        assert notes[notes.index("Hat →") + 1].startswith("eigenvalue ")
        assert sum(note.startswith("eigenvalue ") for note in notes) == 8
    assert not capsys.readouterr().err
