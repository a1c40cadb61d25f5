"""Directions that a person takes away: what is written reads back, and nothing else is read."""

import json
import math
import os
import struct
from dataclasses import fields, replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

import sefa
from sefa import Edit, Recipe, UserError, directions_file
from sefa.directions_file import (
    ENTRY,
    MAX_BYTES,
    MAX_ROWS,
    DirectionRow,
    DirectionsFile,
    directions_bytes,
    read_directions,
    write_directions,
)
from sefa.rendering import LoadedModel
from tests.helpers import is_one_sentence, tiny_pggan, tiny_stylegan2

WEIGHTS = "0123456789abcdef" * 4
COMBINATION = ((3, 0.6), (0, -0.8))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> LoadedModel:
    path = tiny_stylegan2(tmp_path_factory.mktemp("model") / "model.pt")
    return LoadedModel(sefa.load_generator(path))


@pytest.fixture
def file(model) -> DirectionsFile:
    """Three directions: one that was measured and named, a combination, and one that was neither."""
    some = model.directions("0-1")
    rows = (
        DirectionRow.of(some, "0-1", ((2, 1.0),), unit=1.5, name="Größe (’n)", sign=-1),
        DirectionRow.of(some, "0-1", COMBINATION, name="Open mouth"),
        DirectionRow.of(model.directions("all"), "all", ((0, 1.0),)),
    )
    return DirectionsFile("avatars", WEIGHTS, "stylegan2", model.generator.num_ws, rows)


def assert_same(found: DirectionsFile, expected: DirectionsFile):
    for field in fields(DirectionsFile):
        if field.name != "rows":
            assert getattr(found, field.name) == getattr(expected, field.name)
    for row, other in zip(found.rows, expected.rows, strict=True):
        assert row.vector.dtype == torch.float32 and row.vector.equal(other.vector.float())
        for field in fields(DirectionRow):
            if field.name != "vector":
                a, b = getattr(row, field.name), getattr(other, field.name)
                assert a == b or (math.isnan(a) and math.isnan(b))


# --- there and back -------------------------------------------------------------------------------


def test_what_is_written_reads_back(file, tmp_path):
    path = tmp_path / "mine.safetensors"
    write_directions(path, file)
    found = read_directions(path)
    assert_same(found, file)
    assert path.read_bytes() == directions_bytes(file) == directions_bytes(found)
    assert os.listdir(tmp_path) == [path.name]


def test_the_rows_say_what_factorize_found(model, file):
    some, everywhere = model.directions("0-1"), model.directions("all")
    named, combined, plain = file.rows
    assert named.eigenvalue == some.eigenvalues[2] and named.unit == 1.5
    assert math.isnan(combined.eigenvalue) and math.isnan(combined.unit)
    assert plain.eigenvalue == everywhere.eigenvalues[0] and plain.name == ""
    assert combined.vector.equal(0.6 * some.vectors[3] - 0.8 * some.vectors[0])
    with pytest.raises(UserError, match="no semantic 12"):
        DirectionRow.of(some, "0-1", ((12, 1.0),))


def test_a_row_edits_as_the_recipe_does(model, file, tmp_path):
    path = tmp_path / "mine.safetensors"
    write_directions(path, file)
    for row, alpha in zip(read_directions(path).rows, (3.0, -1.7, 0.1), strict=True):
        recipe = Recipe(edits=(Edit(row.layers, row.direction, alpha),))
        w = model.ws(recipe, edited=False)
        edited = sefa.edit(w, row.vector, alpha, row.layers)
        assert not edited.equal(w) and edited.equal(model.ws(recipe))


def test_any_tool_with_the_library_reads_it(file, tmp_path):
    path = tmp_path / "mine.safetensors"
    write_directions(path, file)
    with safe_open(path, framework="np") as opened:
        assert sorted(opened.keys()) == ["eigenvalues", "units", "vectors"]
        assert opened.get_tensor("vectors").shape == (3, file.rows[0].vector.shape[0])
        assert opened.get_tensor("vectors").dtype == "float32"
        facts = json.loads(opened.metadata()[ENTRY])
    rows = facts.pop("rows")
    assert facts == {
        "version": 1,
        "model": "avatars",
        "family": "stylegan2",
        "num_ws": file.num_ws,
        "weights": WEIGHTS,
    }
    assert rows[1] == {
        "layers": "0-1", "direction": "3*0.6+0*-0.8", "name": "Open mouth", "sign": 1
    }  # fmt: skip


def test_what_was_read_does_not_change_with_the_file(file, tmp_path):
    path = tmp_path / "mine.safetensors"
    write_directions(path, file)
    found = read_directions(path)
    with open(path, "r+b") as opened:  # in place, as no writer of ours does
        opened.write(b"\xff" * path.stat().st_size)
    assert_same(found, file)


def test_the_largest_file_is_read(tmp_path):
    terms = tuple((65535 - i, -123456.78901234567 / (i + 1)) for i in range(16))
    row = DirectionRow(torch.zeros(65536), "0-63", terms, 0.0, 1e-9, "𐐀" * 64, -1)
    vector = torch.ones(1024)
    small = replace(row, vector=vector, direction=tuple((i, c) for i, (_, c) in enumerate(terms)))
    for rows in ((row,) * 8, (small,) * MAX_ROWS):
        file = DirectionsFile("m" * 200, WEIGHTS, "family", 64, rows)
        write_directions(tmp_path / "large.safetensors", file)
        assert_same(read_directions(tmp_path / "large.safetensors"), file)


# --- what is not written --------------------------------------------------------------------------


def test_what_could_not_be_read_back_is_not_written(file, tmp_path):
    path = tmp_path / "mine.safetensors"
    path.write_text("old")
    row = file.rows[0]
    bad_rows = [
        (),
        (row,) * (MAX_ROWS + 1),
        (row, replace(row, vector=row.vector[:-1])),
        *(
            (replace(row, **changes),)
            for changes in (
                {"vector": row.vector * math.nan},
                {"vector": row.vector * 1e300},  # of which a float32 is infinite
                {"vector": row.vector[None]},
                {"vector": row.vector[:0]},
                {"layers": "0-99"},
                {"direction": ((12, 1.0),)},
                {"direction": ()},
                {"eigenvalue": -1.0},
                {"unit": 0.0},
                {"unit": math.inf},
                {"name": "<b>"},
                {"sign": 0},
            )
        ),
    ]
    bad_files = [replace(file, rows=rows) for rows in bad_rows]
    bad_files += [
        replace(file, **changes)
        for changes in (
            {"model": ""}, {"model": "m" * 201}, {"model": "a\nb"}, {"model": "caf\udce9"},
            {"family": ""}, {"weights": WEIGHTS.upper()}, {"num_ws": 0}, {"num_ws": 65},
        )
    ]  # fmt: skip
    for bad in bad_files:
        for write in (directions_bytes, lambda bad: write_directions(path, bad)):
            with pytest.raises(UserError) as raised:
                write(bad)
            assert is_one_sentence(str(raised.value)), raised.value
    assert path.read_text() == "old" and os.listdir(tmp_path) == [path.name]


def test_a_disk_that_refuses_leaves_what_was_there(file, tmp_path, monkeypatch):
    path = tmp_path / "mine.safetensors"
    path.write_text("old")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="No space left"):
        write_directions(path, file)
    assert path.read_text() == "old" and os.listdir(tmp_path) == [path.name]
    with pytest.raises(UserError) as raised:
        write_directions(tmp_path / "nowhere/mine.safetensors", file)
    assert is_one_sentence(str(raised.value))


# --- hostile files --------------------------------------------------------------------------------


def facts(**changes) -> dict:
    row = {"layers": "0-1", "direction": "3*0.6+0*-0.8", "name": "Smile", "sign": 1}
    whole = {"version": 1, "model": "m", "family": "f", "num_ws": 4, "weights": WEIGHTS}
    return whole | {"rows": [row, row | {"name": ""}]} | changes


def rows(**changes) -> dict:
    first, second = facts()["rows"]
    return facts(rows=[first, second | changes])


def tensors(**changes) -> dict:
    nan = torch.full([2], math.nan, dtype=torch.float64)
    made = {"vectors": torch.ones(2, 5), "eigenvalues": nan, "units": nan.clone()} | changes
    return {name: tensor for name, tensor in made.items() if tensor is not None}


def a_file(entry=None, metadata=None, **changes) -> bytes:
    text = entry if isinstance(entry, str) else json.dumps(entry or facts())
    return save(tensors(**changes), {ENTRY: text} if metadata is None else metadata)


def header(content: bytes, **changes) -> bytes:
    """The file with entries of its header changed, its data as it was."""
    (length,) = struct.unpack("<Q", content[:8])
    entries = json.loads(content[8 : 8 + length])
    for name, change in changes.items():
        entries[name] |= change
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


HOSTILE = {
    "empty": b"",
    "short": b"{}",
    "text": b"hello, this is a text",
    "pickle": b"\x80\x04cos\nsystem\n(S'touch /tmp/x'\ntR.",
    "cut": a_file()[:-1],
    "longer": a_file() + b"\0",
    "huge header": struct.pack("<Q", 2**40) + a_file()[8:],
    "offsets": header(a_file(), vectors={"data_offsets": [0, 2**40]}),
    "shape": header(a_file(), vectors={"shape": [2**31, 2**31]}),
    "overlap": header(a_file(), units={"data_offsets": [0, 16]}),
    "sizes": header(a_file(), vectors={"dtype": "F64"}),
    "no entry": a_file(metadata={}),
    "another entry": a_file(metadata={"sefa": "{}"}),
    "no JSON": a_file("{"),
    "deep": a_file("[" * 100_000),
    "digits": a_file('{"version": ' + "9" * 5000 + "}"),
    "a list": a_file("[]"),
    "more keys": a_file(facts(more=1)),
    "version": a_file(facts(version=2)),
    "version true": a_file(facts(version=True)),
    "weights": a_file(facts(weights="0" * 63)),
    "weights None": a_file(facts(weights=None)),
    "num_ws": a_file(facts(num_ws=1)),
    "num_ws 0": a_file(facts(num_ws=0)),
    "num_ws large": a_file(facts(num_ws=10**9)),
    "model": a_file(facts(model="a\nb")),
    "model 7": a_file(facts(model=7)),
    "family": a_file(facts(family="")),
    "no rows": a_file(facts(rows=[])),
    "rows": a_file(facts(rows={})),
    "fewer rows": a_file(facts(rows=facts()["rows"][:1])),
    "more rows": a_file(facts(rows=facts()["rows"] * (MAX_ROWS // 2 + 1))),
    "row": a_file(facts(rows=[7, 7])),
    "row more": a_file(rows(more=1)),
    "layers": a_file(rows(layers="0-4")),
    "layers list": a_file(rows(layers=[0, 1])),
    "direction": a_file(rows(direction="5")),
    "direction text": a_file(rows(direction="x")),
    "direction int": a_file(rows(direction=3)),
    "name": a_file(rows(name="<script>")),
    "name long": a_file(rows(name="x" * 65)),
    "name None": a_file(rows(name=None)),
    "sign": a_file(rows(sign=0)),
    "tensor missing": a_file(units=None),
    "tensor more": a_file(more=torch.ones(1)),
    "vectors 1": a_file(vectors=torch.ones(2)),
    "vectors 3": a_file(vectors=torch.ones(2, 5, 1)),
    "vectors none": a_file(vectors=torch.ones(2, 0)),
    "vectors fewer": a_file(vectors=torch.ones(1, 5)),
    "vectors wide": a_file(vectors=torch.ones(2, 65537)),
    "vectors float64": a_file(vectors=torch.ones(2, 5, dtype=torch.float64)),
    "vectors int": a_file(vectors=torch.ones(2, 5, dtype=torch.int32)),
    "vectors half": a_file(vectors=torch.ones(2, 5, dtype=torch.float16)),
    "vectors NaN": a_file(vectors=torch.full([2, 5], math.nan)),
    "vectors inf": a_file(vectors=torch.full([2, 5], math.inf)),
    "eigenvalues": a_file(eigenvalues=double(1, -1)),
    "eigenvalues inf": a_file(eigenvalues=double(1, math.inf)),
    "eigenvalues float32": a_file(eigenvalues=torch.ones(2)),
    "eigenvalues 2": a_file(eigenvalues=double([1], [1])),
    "units": a_file(units=double(1, 0)),
    "units inf": a_file(units=double(1, math.inf)),
    "units fewer": a_file(units=double(1)),
}


def assert_refused(path):
    with pytest.raises(UserError) as raised:
        read_directions(path)
    message = str(raised.value)
    assert is_one_sentence(message) and repr(path.name) in message, message


def test_the_file_that_the_hostile_ones_are_made_from_is_read(tmp_path):
    path = tmp_path / "x.safetensors"
    for content in (a_file(), header(a_file()), a_file(metadata={ENTRY: json.dumps(facts())})):
        path.write_bytes(content)
        assert read_directions(path).vectors.equal(torch.ones(2, 5))


@pytest.mark.parametrize("name", HOSTILE)
def test_anything_else_is_refused_in_one_sentence(tmp_path, name):
    path = tmp_path / "x.safetensors"
    path.write_bytes(HOSTILE[name])
    assert_refused(path)


def test_every_cut_and_many_damages_are_refused_or_harmless(tmp_path):
    path, content = tmp_path / "x.safetensors", a_file()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        assert_refused(path)
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x24]) + content[at + 1 :])
        try:
            found = read_directions(path)
        except UserError as error:
            assert is_one_sentence(str(error)), error
        else:  # a digit, a letter or a component is another one
            assert found.vectors.shape == (2, 5) and found.vectors.isfinite().all()


def test_other_things_than_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with open(tmp_path / "large", "wb") as large:
        large.truncate(MAX_BYTES + 1)
    tiny_stylegan2(tmp_path / "model.pt")
    for name in ("nowhere", ".", "pipe", "link", "large", "model.pt"):
        assert_refused(tmp_path / name)


def test_a_checkpoint_holds_no_directions_and_the_other_way_round(tmp_path, file):
    path = tmp_path / "x.safetensors"
    path.write_bytes(save(tiny_pggan(), {"sefa": '{"version": 1, "family": "pggan"}'}))
    assert sefa.load_generator(path).family == "pggan"
    assert_refused(path)
    write_directions(path, file)
    with pytest.raises(UserError) as raised:
        sefa.load_generator(path)
    assert is_one_sentence(str(raised.value))


def test_the_format_in_the_documentation_is_what_is_written():
    text = directions_file.__doc__
    assert f'"{ENTRY}"' in text
    for name, dtype in directions_file.TENSORS.items():
        assert f"    {name} " in text and str(dtype).removeprefix("torch.") in text
    for key in (*facts(), *facts()["rows"][0]):
        assert f'"{key}"' in text
