"""`python -m sefa`: right images under the right names, and one line for whatever is wrong."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import checkpoints
import sefa
from sefa import __main__ as command_line
from sefa import baselines
from sefa.__main__ import main, model_name, option_parser, safe_name, step_distances
from sefa.calibration import Probe, compared, image_distance
from sefa.formats import native
from sefa.formats.checkpoint import Checkpoint
from sefa.generators import FAMILIES
from sefa.rendering import LoadedModel
from tests.helpers import TinyConditional, tiny_conditional, tiny_state_dict, tiny_stylegan2
from tests.pages import Page, decode

SMALL = ["-N", "2", "-K", "3", "--step", "3", "--viz_size", "16", "--image_format", "png"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """On convolutions this small, threads cost more than they save: 40 s against 10."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random StyleGAN2 of 16 px: 6 layers, z 8, w 12."""
    return str(tiny_stylegan2(tmp_path_factory.mktemp("models") / "tiny.safetensors"))


@pytest.fixture(scope="module")
def generator(model):
    return sefa.load_generator(model)


def uint8(images):
    """[N, C, H, W] nominal [-1, 1] -> uint8 [N, H, W, C], as the papers' tools write it."""
    pixels = np.floor(np.clip(images.numpy() * 127.5 + 128, 0, 255)).astype(np.uint8)
    return pixels.transpose(0, 2, 3, 1)


def expected_strip(generator, w, vector, layers, distances):
    """The images of w [1, num_ws, w_dim] + d * vector at each distance, from the definition."""
    moved = w.repeat(len(distances), 1, 1)
    for row, distance in enumerate(distances):
        for layer in layers:
            moved[row, layer] += (distance * vector).float()
    with torch.no_grad():
        return uint8(generator.synthesize(moved))


def pages_in(folder):
    return {path.name: Page(path.read_text(encoding="utf-8")) for path in Path(folder).iterdir()}


def assert_same_images(found, expected):
    """Equal, but for the one grey level that the last bits of a sum can move."""
    assert found.shape == expected.shape
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001


def run(arguments, folder):
    return main([*arguments, "--save_dir", str(folder)])


# ------------------------------------------------------------------------------- what it makes


def test_the_two_pages_have_the_official_names(model, tmp_path):
    folder = tmp_path / "made" / "on the way"
    assert run([model, "-L", "1,0", "-N", "2", "-K", "3", "--viz_size", "8"], folder) == 0
    prefix = "tiny_N2_K3_L0-1_seed0"
    assert sorted(pages_in(folder)) == [
        f"{prefix}_sample_first.html",
        f"{prefix}_semantic_first.html",
    ]


def test_the_defaults_are_the_official_ones():
    options = option_parser().parse_args(["avatars"])
    expected = {
        "save_dir": "results",
        "layer_idx": "all",
        "num_samples": 5,
        "num_semantics": 5,
        "start_distance": -3.0,
        "end_distance": 3.0,
        "step": 11,
        "viz_size": 256,
        "trunc_psi": 0.7,
        "trunc_layers": 8,
        "seed": 0,
    }
    assert {name: getattr(options, name) for name in expected} == expected


def test_every_image_is_the_definition_of_the_edit(model, generator, tmp_path):
    options = ["-L", "0-1,4", "--seed", "7", "--trunc_psi", "0.6", "--trunc_layers", "3"]
    assert run([model, *SMALL, *options, "--start_distance", "-2"], tmp_path) == 0
    layers = [0, 1, 4]
    vectors = sefa.factorize(generator, "0-1,4").vectors
    for page in pages_in(tmp_path).values():
        assert len(page.pairs) == 2 * 3
        for sample, semantic in page.pairs:
            z = torch.from_numpy(np.random.RandomState(7 + sample).randn(1, 8)).float()
            w = generator.map(z, truncation_psi=0.6, truncation_cutoff=3)
            expected = expected_strip(generator, w, vectors[semantic], layers, [-2.0, 0.5, 3.0])
            assert_same_images(page.strip(sample, semantic), expected)


def test_steps_start_at_the_first_distance_and_end_at_the_last(model, generator, tmp_path):
    assert run([model, *SMALL, "-L", "0-1", "--step", "5"], tmp_path) == 0
    vectors = sefa.factorize(generator, "0-1").vectors
    w = generator.map(generator.sample_z([0, 1]), truncation_psi=0.7, truncation_cutoff=8)
    with torch.no_grad():
        unedited = uint8(generator.synthesize(w))
        first = uint8(generator.synthesize(sefa.edit(w, vectors[2], -3.0, [0, 1])))
        last = uint8(generator.synthesize(sefa.edit(w, vectors[2], 3.0, [0, 1])))
    for page in pages_in(tmp_path).values():
        assert page.columns[2:] == ["-3", "-1.5", "0", "1.5", "3"]
        for sample in range(2):
            strip = page.strip(sample, 2)
            assert_same_images(strip[0], first[sample])
            assert_same_images(strip[4], last[sample])
            # Every semantic passes through the unedited image, in the middle column.
            for semantic in range(3):
                assert_same_images(page.strip(sample, semantic)[2], unedited[sample])


def test_distances_hit_zero_exactly():
    # Plain linspace misses it by 1e-17 for 0.1 in 23 steps, and in the second line.
    for start, steps in ((-3.0, 11), (-0.1, 23), (-15.0, 13)):
        distances = step_distances(start, -start, steps)
        assert distances[steps // 2] == 0.0
        assert (distances[0], distances[-1]) == (start, -start)
    assert step_distances(-0.9, 0.3, 5)[3] == 0.0
    assert step_distances(-3.0, 3.0, 1) == [-3.0]
    assert step_distances(0.0, 0.0, 2) == [0.0, 0.0]


def test_a_sample_does_not_depend_on_how_many_are_shown(model, tmp_path):
    assert run([model, *SMALL, "--seed", "4", "-N", "1"], tmp_path / "one") == 0
    assert run([model, *SMALL, "--seed", "2", "-N", "3"], tmp_path / "three") == 0
    alone = pages_in(tmp_path / "one")["tiny_N1_K3_Lall_seed4_sample_first.html"]
    third = pages_in(tmp_path / "three")["tiny_N3_K3_Lall_seed2_sample_first.html"]
    assert_same_images(alone.strip(0, 1), third.strip(2, 1))
    assert third.texts["small"][-2] == "seed 4"


def test_images_are_shown_at_viz_size_as_jpeg(model, tmp_path):
    assert run([model, "-N", "1", "-K", "1", "--step", "2", "--viz_size", "40"], tmp_path) == 0
    for page in pages_in(tmp_path).values():
        assert page.images[0][0]["src"].startswith("data:image/jpeg;")
        assert page.strip(0, 0).shape == (2, 40, 40, 3)


def test_long_strips_are_rendered_in_parts(model, tmp_path, monkeypatch):
    arguments = [model, *SMALL, "--step", "7", "-N", "1", "-K", "1"]
    assert run(arguments, tmp_path / "whole") == 0
    monkeypatch.setattr(command_line, "MAX_FULL_SIZE", 3)
    assert run(arguments, tmp_path / "parts") == 0
    name = "tiny_N1_K1_Lall_seed0_sample_first.html"
    whole, parts = (pages_in(tmp_path / folder)[name].strip(0, 0) for folder in ("whole", "parts"))
    assert_same_images(parts, whole)


def test_what_was_found_is_printed(model, generator, tmp_path, capsys):
    assert run([model, *SMALL, "-L", "0-1"], tmp_path) == 0
    out, err = capsys.readouterr()
    assert err == ""
    eigenvalues = sefa.factorize(generator, "0-1").eigenvalues[:3].tolist()
    assert re.search(r"stylegan2, 16 px, 6 layers, z 8, w 12", out)
    assert re.search(r"Layers 0-1: 4x4 conv, 8x8 up conv\n", out)
    assert re.search(r"Decomposed in \d+\.\d+ s", out)
    assert ", ".join(f"{value:.4g}" for value in eigenvalues) in out
    assert [line.removeprefix("Wrote ") for line in out.splitlines()[-2:]] == [
        str(tmp_path / f"tiny_N2_K3_L0-1_seed0_{order}.html")
        for order in ("sample_first", "semantic_first")
    ]


def test_the_page_says_how_to_make_it_again(model, tmp_path):
    typed = [model, *SMALL, "-L", "1, 0", "--start_distance", "-1.5", "--seed", "3"]
    assert run(typed, tmp_path / "first") == 0
    [name, page], _ = sorted(pages_in(tmp_path / "first").items())
    command = shlex.split(page.texts["code"][0])
    assert command[:3] == ["python", "-m", "sefa"]
    assert str(tmp_path) not in page.text.replace(model, "")  # the folder is nobody's business
    assert run(command[3:], tmp_path / "again") == 0
    assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()


def test_a_hostile_file_name_is_text_on_the_page_and_harmless_on_disk(tmp_path):
    hostile = """<b>&"x' ;$(rm) .png"""
    path = tiny_stylegan2(tmp_path / f"{hostile}.safetensors")
    assert run([str(path), *SMALL], tmp_path / "out") == 0
    for name, page in pages_in(tmp_path / "out").items():
        assert re.fullmatch(r"[\w.-]+", name)
        assert page.texts["h1"] == [hostile]
        assert "b" not in page.texts


def test_names_of_models(tmp_path, model):
    assert model_name("avatars") == "avatars"
    assert model_name(model) == "tiny"
    assert model_name("user/stylegan3-v1.5") == "user_stylegan3-v1.5"
    assert model_name("user/repo/folder/net.PKL@main") == "user_repo_folder_net"
    assert safe_name("../../etc/passwd") == "_.._etc_passwd"
    assert safe_name("..") == "unnamed"
    assert len(safe_name("猫" * 200).encode()) <= 100


def test_a_class_is_chosen_for_conditional_models(tmp_path, capsys):
    path = tiny_stylegan2(tmp_path / "cond.safetensors", label_dim=3)
    conditional = sefa.load_generator(path)
    out = tmp_path / "out"
    assert run([str(path), *SMALL], out) == 2
    assert "choose --class_idx 0 to 2" in capsys.readouterr().err
    assert run([str(path), *SMALL, "--class_idx", "3"], out) == 2
    assert not out.exists()

    assert run([str(path), *SMALL, "--class_idx", "2"], out) == 0
    label = torch.tensor([[0.0, 0.0, 1.0]])
    w = conditional.map(conditional.sample_z([1]), label, 0.7, 8)
    vectors = sefa.factorize(conditional).vectors
    expected = expected_strip(conditional, w, vectors[0], range(6), [-3.0, 0.0, 3.0])
    page = pages_in(out)["cond_N2_K3_Lall_seed0_class2_sample_first.html"]
    assert_same_images(page.strip(1, 0), expected)


# ------------------------------------------------------------------------------- other methods


@pytest.fixture
def few_codes(monkeypatch):
    """PCA of fewer codes."""
    monkeypatch.setattr(baselines, "PCA_SEEDS", 400)


@pytest.mark.parametrize(
    ("method", "said"),
    [("pca", r"PCA of \d+ mapped codes"), ("random", "Random orthogonal directions, seed 0")],
)
def test_another_method_moves_along_its_directions(
    model, generator, tmp_path, capsys, few_codes, method, said
):
    options = [model, *SMALL, "-L", "0-1", "--method", method]
    assert run(options, tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert re.search(rf"\n{said}: 12 directions in \d+\.\d+ s\n", printed)
    assert "Eigenvalues" not in printed and ("Variances: " in printed) == (method == "pca")
    found = baselines.directions_by(method, generator, "0-1")
    prefix = f"tiny_N2_K3_L0-1_seed0_{method}"
    pages = pages_in(tmp_path / "out")
    assert sorted(pages) == [f"{prefix}_{order}_first.html" for order in ("sample", "semantic")]
    w = generator.map(generator.sample_z([0, 1]), None, 0.7, 8)
    for page in pages.values():
        assert re.fullmatch(said, facts_of(page)["Method"])
        for sample, semantic in page.pairs:
            vector = found.vectors[semantic]
            expected = expected_strip(generator, w[[sample]], vector, [0, 1], [-3.0, 0.0, 3.0])
            assert_same_images(page.strip(sample, semantic), expected)
        notes = [text for text in page.texts["small"] if not text.startswith("seed")]
        variances = [f"variance {value:.4g}" for value in found.eigenvalues[:3].tolist()]
        assert sorted(notes) == sorted(2 * variances)
    command = shlex.split(page.texts["code"][0])
    assert f"--method={method}" in command
    assert run(command[3:], tmp_path / "again") == 0
    for name, page in pages.items():
        assert pages_in(tmp_path / "again")[name].text == page.text


def test_only_sefas_directions_have_names(tmp_path, monkeypatch, few_codes):
    named = sefa.labels.Labels({((0, 1), ((2, 1.0),)): ("Smile", -1)})
    monkeypatch.setattr(checkpoints, "load_labels", lambda *_: named)
    path = str(tiny_stylegan2(tmp_path / "tiny.safetensors"))
    for method, count in (("sefa", 2), ("pca", 0), ("random", 0)):
        assert (
            run([path, *SMALL, "-L", "0-1", "--method", method, "--compare"], tmp_path / method)
            == 0
        )
        pages = pages_in(tmp_path / method)
        semantic_first = next(page for name, page in pages.items() if "semantic_first" in name)
        assert semantic_first.texts["small"].count("← Smile") == count
        rows = methods_rows(pages["tiny_N2_K3_L0-1_seed0_methods.html"])
        assert [row for row, (notes, _) in rows.items() if "← Smile" in notes] == [
            (0, 2, 0),
            (1, 2, 0),
        ]


def methods_rows(page):
    """(sample, direction, method) -> (texts under the method's name, images) of a page of methods."""
    rows = {}
    for cells, images in zip(page.rows, page.images, strict=True):
        key = tuple(int(attrs["data-value"]) for tag, attrs in cells if tag == "th")
        rows[key] = [], np.stack([decode(image["src"]) for image in images])
    # Texts stand in the order of the rows: one under a sample, and some under its method.
    order, notes = iter(rows), page.texts["small"]
    for note in notes:
        if note.startswith(("seed", "code")):
            key = next(order)
        else:
            rows[key][0].append(note)
    return rows


def test_all_methods_move_the_same_samples_at_equal_change(
    model, generator, tmp_path, capsys, few_codes
):
    options = [model, *SMALL, "-L", "0-1", "--seed", "5", "--start_distance", "-1", "--compare"]
    assert run([*options, "--end_distance", "2"], tmp_path / "out") == 0
    pages = pages_in(tmp_path / "out")
    prefix = "tiny_N2_K3_L0-1_seed5"
    orders = ["methods", "sample_first", "semantic_first"]
    assert sorted(pages) == [f"{prefix}_{order}.html" for order in orders]
    page = pages[f"{prefix}_methods.html"]
    rows = methods_rows(page)
    assert len(rows) == 2 * 3 * 3
    printed = capsys.readouterr().out
    assert re.search(r"\nAlpha for 2 units of change: SeFa \S+, PCA \S+, Random \S+, on ", printed)

    # Other samples, of which two differ by 10 units: all methods change them by 2.
    with torch.inference_mode():
        unseen, _ = LoadedModel(generator).measured_codes(32, 0.7)
        before = compared(generator.synthesize(unseen))
    unit = image_distance(before, before.roll(1, 0)).mean().item() / 10
    w = generator.map(generator.sample_z([5, 6]), None, 0.7, 8)
    vectors = [baselines.directions_by(m, generator, "0-1").vectors for m in baselines.METHODS]
    for (sample, direction, method), (notes, images) in rows.items():
        vector = vectors[method][direction]
        alpha = float(notes[0].removeprefix("alpha ±"))
        with torch.inference_mode():
            probe = Probe(generator.synthesize, unseen, before, vector, [0, 1])
            assert probe.amount(alpha) == pytest.approx(2 * unit, rel=0.03)
        alphas = [alpha * share for share in (-0.5, 0.25, 1.0)]
        expected = expected_strip(generator, w[[sample]], vector, [0, 1], alphas)
        # The alpha on the page has three digits.
        assert np.abs(images.astype(int) - expected).mean() < 1.0
    heads = [text for text in page.texts["th"] if text]
    assert heads[:3] == ["-1", "0.5", "2"]
    assert "10 units are the mean difference of two samples" in facts_of(page)["Equal change"]

    # The page's command has no --method, which is nothing to it, and makes it again.
    command = shlex.split(page.texts["code"][0])
    assert "--compare" in command and "--compare" not in pages[f"{prefix}_sample_first.html"].text
    assert run([*command[3:], "--method", "random"], tmp_path / "again") == 0
    again = pages_in(tmp_path / "again")
    assert again[f"{prefix}_methods.html"].text == page.text
    assert f"{prefix}_random_sample_first.html" in again


def test_the_methods_of_a_conditional_model_of_one_layer(tiny, tmp_path, capsys, few_codes):
    options = [str(tiny), *SMALL_GREY, "--class_idx", "2", "--compare", "--trunc_psi", "0"]
    assert run(options, tmp_path / "out") == 0
    page = pages_in(tmp_path / "out")["tiny_N2_K3_Lall_seed0_class2_golden_eagle_methods.html"]
    assert facts_of(page)["Samples"].endswith("class 2 golden eagle")
    # w is z: its axes are all alike.
    assert "no axis of w stands out" in facts_of(page)["Methods"]
    assert "no axis of w stands out" in capsys.readouterr().out


def test_a_strip_that_cannot_change_as_much_says_so(tmp_path, few_codes):
    flat = tiny_state_dict()
    flat["synthesis.conv0.affine.weight"] *= 1e-6  # the first layer takes next to nothing of w
    path = tmp_path / "flat.safetensors"
    native.write(Checkpoint(flat, {"family": "stylegan2"}), path)
    assert run([str(path), *SMALL, "-L", "0", "--compare"], tmp_path / "out") == 0
    page = pages_in(tmp_path / "out")["flat_N2_K3_L0_seed0_methods.html"]
    assert all(notes[-1] == "0% of the change" for notes, _ in methods_rows(page).values())


# --------------------------------------------------------- images that depend on more than w, grey


NAMES = ["tench", "Golden Retriever", "golden eagle", "<b>/../hen"]


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A grey model of 28 px, one layer, z 6 and four classes, whose images need them beside w."""
    monkeypatch.setitem(FAMILIES, "tiny", TinyConditional)
    (tmp_path / "models").mkdir()
    return tiny_conditional(tmp_path / "models" / "tiny.safetensors", class_names=NAMES)


SMALL_GREY = [*SMALL, "--viz_size", "28"]


def facts_of(page):
    return dict(zip(page.texts["dt"], page.texts["dd"], strict=True))


def expected_tiny(generator, z, index, psi, vector, distances, truncated=True):
    label = generator.one_hot(index, len(distances))
    moved = (psi if truncated else 1.0) * z[:, None].repeat(len(distances), 1, 1)
    moved = moved + torch.tensor(distances)[:, None, None] * vector.float()
    return uint8(generator.synthesize(moved, label, psi))


@pytest.mark.parametrize("asked", ["1", "golden retriever", " Golden R"])
def test_a_class_is_an_index_or_a_name(tiny, tmp_path, capsys, asked):
    out = tmp_path / "out"
    assert run([str(tiny), *SMALL_GREY, "--class_idx", asked], out) == 0
    printed = capsys.readouterr().out
    assert ": tiny, 28 px, 1 layer, z 6, w 6, 4 classes\n" in printed
    generator = sefa.load_generator(tiny)
    vectors = sefa.factorize(generator).vectors
    prefix = "tiny_N2_K3_Lall_seed0_class1_Golden_Retriever"
    assert set(pages_in(out)) == {f"{prefix}_{o}_first.html" for o in ("sample", "semantic")}
    for page in pages_in(out).values():
        facts = "seeds 0 to 1, truncation psi 0.7, class 1 Golden Retriever"
        assert facts_of(page)["Samples"] == facts
        for sample, semantic in page.pairs:
            z = generator.sample_z([sample])
            expected = expected_tiny(generator, z, 1, 0.7, vectors[semantic], [-3.0, 0.0, 3.0])
            assert expected.shape == (3, 28, 28, 1)
            assert_same_images(page.strip(sample, semantic), expected)
    # The page's own command, with the name in it, makes it again.
    command = shlex.split(page.texts["code"][0])
    assert run(command[3:], tmp_path / "again") == 0
    for name, page in pages_in(out).items():
        assert pages_in(tmp_path / "again")[name].text == page.text


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("4", "This model has no class 4; classes are 0 to 3."),
        ("-1", "This model has no class named '-1'"),
        ("golden", "named 'golden'; the nearest: Golden Retriever (1), golden eagle (2)."),
        ("trench", "This model has no class named 'trench'; the nearest: tench (0)."),
        ("", "This model has no class named ''"),
        ("9" * 5000, "This model has no class named '999"),
    ],
)
def test_a_class_that_is_not_there_is_one_line(tiny, tmp_path, capsys, asked, said):
    assert_refused([str(tiny), f"--class_idx={asked}"], tmp_path / "out", capsys, said)


def test_a_model_with_named_classes_wants_one(tiny, tmp_path, capsys):
    said = "This model is class-conditional: choose --class_idx 0 to 3 or a class's name."
    assert_refused([str(tiny)], tmp_path / "out", capsys, said)


def test_a_hostile_class_name_is_text_on_the_page_and_harmless_on_disk(tiny, tmp_path):
    assert run([str(tiny), *SMALL_GREY, "--class_idx", "3"], tmp_path / "out") == 0
    for name, page in pages_in(tmp_path / "out").items():
        assert name.startswith("tiny_N2_K3_Lall_seed0_class3_b_.._hen_")
        assert facts_of(page)["Samples"].endswith("class 3 <b>/../hen") and "b" not in page.texts


@pytest.mark.parametrize("space", ["z", "w", "wp"])
def test_codes_of_any_space_are_of_the_class(tiny, tmp_path, capsys, space):
    generator = sefa.load_generator(tiny)
    z = np.random.RandomState(4).randn(2, 6).astype(np.float32)
    codes = z[:, None] if space == "wp" else z
    options = [*SMALL_GREY[2:], "--codes_space", space, "--trunc_psi", "0.5"]
    np.save(tmp_path / "codes.npy", codes)
    arguments = [str(tiny), *options, "--codes", str(tmp_path / "codes.npy")]
    assert_refused(arguments, tmp_path / "out", capsys, "choose --class_idx 0 to 3")
    assert run([*arguments, "--class_idx", "2"], tmp_path / "out") == 0
    name = "tiny_N2_K3_Lall_codes-codes_class2_golden_eagle_sample_first.html"
    page = pages_in(tmp_path / "out")[name]
    truncation = ", truncation psi 0.5" if space == "z" else ""
    facts = f"2 codes of codes.npy, used as {space}{truncation}, class 2 golden eagle"
    assert facts_of(page)["Samples"] == facts
    vector = sefa.factorize(generator).vectors[1]
    distances = [-3.0, 0.0, 3.0]
    expected = expected_tiny(
        generator, torch.from_numpy(z[1:]), 2, 0.5, vector, distances, truncated=space == "z"
    )
    assert_same_images(page.strip(1, 1), expected)


def test_codes_in_w_need_no_class_where_w_holds_it(tmp_path):
    path = str(tiny_stylegan2(tmp_path / "cond.safetensors", label_dim=3))
    page = codes_page(path, np.zeros((1, 12), np.float32), tmp_path)
    assert facts_of(page)["Samples"] == "1 codes of my codes.npy, used as w"


def test_nothing_is_said_of_truncation_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setitem(FAMILIES, "tiny", TinyConditional)
    path = tiny_conditional(tmp_path / "plain.safetensors", has_truncation=False)
    assert run([str(path), *SMALL_GREY, "--class_idx", "0"], tmp_path / "out") == 0
    page = pages_in(tmp_path / "out")["plain_N2_K3_Lall_seed0_class0_sample_first.html"]
    assert facts_of(page)["Samples"] == "seeds 0 to 1, class 0"


# ------------------------------------------------------------------------------- prepared codes


def codes_page(model, codes, folder, *options):
    np.save(folder / "my codes.npy", codes)
    arguments = [model, *SMALL, "--codes", str(folder / "my codes.npy"), *options]
    assert run(arguments, folder / "out") == 0
    [page] = [p for name, p in pages_in(folder / "out").items() if "sample_first" in name]
    return page


def assert_page_shows(page, generator, w):
    vectors = sefa.factorize(generator).vectors
    assert len(page.pairs) == len(w) * 3
    for sample, semantic in page.pairs:
        expected = expected_strip(
            generator, w[sample : sample + 1], vectors[semantic], range(6), [-3.0, 0.0, 3.0]
        )
        assert_same_images(page.strip(sample, semantic), expected)


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2"])
def test_codes_in_z_are_mapped_and_truncated(model, generator, tmp_path, dtype):
    z = np.random.RandomState(5).randn(2, 8).astype(dtype)
    page = codes_page(model, z, tmp_path, "--trunc_psi", "0.5")
    w = generator.map(torch.from_numpy(z.astype(np.float32)), None, 0.5, 8)
    assert_page_shows(page, generator, w)


def test_codes_in_w_go_to_every_layer_untruncated(model, generator, tmp_path):
    w = np.random.RandomState(6).randn(2, 12).astype(np.float32)
    page = codes_page(model, w, tmp_path, "--trunc_psi", "0.5")
    assert_page_shows(page, generator, torch.from_numpy(w)[:, None].repeat(1, 6, 1))


def test_codes_in_extended_w_are_used_as_they_are(model, generator, tmp_path):
    wp = np.random.RandomState(7).randn(2, 6, 12).astype(np.float32)
    page = codes_page(model, wp, tmp_path, "--trunc_psi", "0.5")
    assert_page_shows(page, generator, torch.from_numpy(wp))


def test_two_dimensional_codes_that_could_be_both_are_z(tmp_path):
    square = tiny_stylegan2(tmp_path / "square.safetensors", z_dim=12)
    generator = sefa.load_generator(square)
    codes = np.random.RandomState(8).randn(2, 12).astype(np.float32)
    for folder in ("as_z", "as_w"):
        (tmp_path / folder).mkdir()

    page = codes_page(str(square), codes, tmp_path / "as_z")
    assert_page_shows(page, generator, generator.map(torch.from_numpy(codes), None, 0.7, 8))

    page = codes_page(str(square), codes, tmp_path / "as_w", "--codes_space", "w")
    assert_page_shows(page, generator, torch.from_numpy(codes)[:, None].repeat(1, 6, 1))


def test_n_limits_the_codes_and_fewer_codes_limit_n(model, generator, tmp_path):
    wp = np.random.RandomState(9).randn(5, 6, 12).astype(np.float32)
    for count, shown in ((5, 2), (1, 1)):
        folder = tmp_path / str(count)
        folder.mkdir()
        page = codes_page(model, wp[:count], folder)
        assert_page_shows(page, generator, torch.from_numpy(wp[:shown]))
        prefix = f"tiny_N{shown}_K3_Lall_codes-my_codes"
        assert f"{prefix}_semantic_first.html" in pages_in(folder / "out")


# ------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-N", "0"], "expected an integer from 1 to"),
        (["-N", "-2"], "found '-2'"),
        (["-N", "2.5"], "found '2.5'"),
        (["-N", "1" * 5000], "expected an integer"),
        (["-K", "0"], "expected an integer from 1 to"),
        (["-K", "13"], "these layers have 12 directions: choose 1 to 12"),
        (["--step", "0"], "expected an integer from 1 to"),
        (["--viz_size", "0"], "expected an integer from 1 to 2048"),
        (["--viz_size", "100000"], "expected an integer from 1 to 2048"),
        (["-N", "1000"], "55000 images; a page holds at most 8192 of 256 px"),
        (["--viz_size", "2048"], "275 images; a page holds at most 128 of 2048 px"),
        (["--start_distance", "nan"], "expected a number from -10000 to 10000"),
        (["--end_distance=-inf"], "expected a number from -10000 to 10000"),
        (["--trunc_psi", "nan"], "expected a number"),
        (["--trunc_layers", "-1"], "expected an integer from 0"),
        (["--seed", "-1"], "expected an integer from 0 to 4294967295"),
        (["--seed", "4294967295"], "must stay below 4294967296"),
        (["-L", "0-6"], "layers are 0 to 5"),
        (["-L", "3-1"], "runs backwards"),
        (["-L", ""], "not a layer selection"),
        (["-L", "abc"], "not a layer selection"),
        (["--image_format", "gif"], "invalid choice"),
        (["--method", "ica"], "invalid choice: 'ica'"),
        (["--method", "pca", "-K", "13"], "these layers have 12 directions: choose 1 to 12"),
        (["--method", "random", "-L", "6"], "layers are 0 to 5"),
        (["--compare", "-N", "50"], "steps x 3 methods are 8250 images; a page holds at most 8192"),
        (["--compare", "--end_distance", "10.5"], "in units of change and go from -10 to 10"),
        (["--compare", "-K", "13"], "these layers have 12 directions: choose 1 to 12"),
        (["--class_idx", "1"], "this model has no classes"),
        (["--gpu_id", "0"], "SEFA_DEVICE"),
        (["--num_sam", "3"], "unrecognized arguments"),
        (["another"], "unrecognized arguments: another"),
        (["-K"], "expected one argument"),
        (["--codes", "nowhere.npy"], "no file of codes"),
        (["--codes", "."], "no file of codes"),
    ],
)
def test_bad_options_are_one_line(model, tmp_path, capsys, arguments, said):
    assert_refused([model, *arguments], tmp_path / "out", capsys, said)


def assert_refused(arguments, folder, capsys, said):
    """Exit code 2, one line on stderr that says what was meant, no page and no folder."""
    assert run(arguments, folder) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert err.startswith("sefa: error: ")
    assert said in err
    assert not os.path.exists(folder) or os.listdir(folder) == []


def test_no_model_is_one_line(capsys):
    assert main([]) == 2
    assert "the following arguments are required: MODEL" in capsys.readouterr().err


def test_a_file_that_is_no_checkpoint_is_one_line(tmp_path, capsys):
    path = tmp_path / "notes.pkl"
    path.write_text("these are\nnotes")
    assert_refused([str(path)], tmp_path / "out", capsys, "notes")
    assert_refused([str(tmp_path / "gone.pkl")], tmp_path / "out", capsys, "gone")


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (np.zeros(8), "has shape [8]; expected [n, z_dim], [n, w_dim] or [n, num_ws, w_dim]"),
        (np.zeros((0, 8)), "has shape [0, 8]"),
        (np.zeros((2, 9)), "this model takes [n, 8] (z) or [n, 12] (w) or [n, 6, 12] (wp)"),
        (np.zeros((2, 5, 12)), "[2, 5, 12]"),
        (np.zeros((2, 1, 6, 12)), "expected"),
        (np.full((2, 8), np.nan), "a NaN or an infinity"),
        (np.full((2, 8), 1e300), "a NaN or an infinity"),
        (np.zeros((2, 8), complex), "holds complex128; expected real numbers"),
        (np.zeros((2, 8), "U3"), "expected real numbers"),
        (np.zeros((2, 8), object), "no .npy file of numbers"),
    ],
)
def test_unfit_codes_are_one_line(model, tmp_path, capsys, codes, said):
    path = tmp_path / "codes.npy"
    np.save(path, codes, allow_pickle=True)
    assert_refused([model, *SMALL, "--codes", str(path)], tmp_path / "out", capsys, said)


def test_codes_of_another_shape_than_asked_are_refused(model, tmp_path, capsys):
    path = tmp_path / "codes.npy"
    np.save(path, np.zeros((2, 8)))
    arguments = [model, *SMALL, "--codes", str(path), "--codes_space", "w"]
    assert_refused(arguments, tmp_path / "out", capsys, "this model takes [n, 12] (w).")


def test_files_that_are_no_arrays_are_one_line(model, tmp_path, capsys):
    np.savez(tmp_path / "several.npz", a=np.zeros((2, 8)))
    np.save(tmp_path / "whole.npy", np.zeros((2, 8)))
    whole = (tmp_path / "whole.npy").read_bytes()
    contents = {
        "empty.npy": b"",
        "text.npy": b"z = 1\n",
        "cut.npy": whole[:-5],
        "header.npy": whole[:40],
        "claims.npy": whole.replace(b"(2, 8)", b"(99999999999, 8)").replace(b" " * 10, b"", 1),
        "pickle.npy": b"\x80\x04K\x01.",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name in [*contents, "several.npz"]:
        arguments = [model, *SMALL, "--codes", str(tmp_path / name)]
        assert_refused(arguments, tmp_path / "out", capsys, name)


@pytest.mark.parametrize("below", ["", "folder"])
def test_a_folder_that_cannot_be_made_is_one_line(model, tmp_path, capsys, below):
    (tmp_path / "file").write_text("kept")
    folder = tmp_path / "file" / below if below else tmp_path / "file"
    assert run([model, *SMALL], folder) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "file is not a folder" in err
    assert (tmp_path / "file").read_text() == "kept"


def test_a_full_disk_is_one_line_and_leaves_no_part(model, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert_refused([model, *SMALL], tmp_path, capsys, "No space left on device")


def test_ctrl_c_is_quiet_and_leaves_nothing(model, tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "render", interrupted)
    assert run([model, *SMALL], tmp_path) == 130
    assert capsys.readouterr().err == ""
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------- as users meet it


def test_help_documents_every_option(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for action in option_parser()._actions:
        assert action.help and action.help != "==SUPPRESS=="
        for option in action.option_strings or [action.metavar]:
            assert option in text
    assert "seed 0 shows other" in text
    assert "SEFA_DEVICE" in text
    assert all(name in text for name in checkpoints.CATALOGUE)


def test_it_runs_as_a_module(model, tmp_path):
    root = Path(command_line.__file__).parents[1]
    arguments = [sys.executable, "-m", "sefa", model, *SMALL]

    def run_it(*more):
        return subprocess.run(
            [*arguments, *more], cwd=root, capture_output=True, text=True, check=False
        )

    made = run_it("--save_dir", str(tmp_path))
    assert (made.returncode, made.stderr) == (0, "")
    paths = [line.removeprefix("Wrote ") for line in made.stdout.splitlines()[-2:]]
    assert sorted(paths) == sorted(str(path) for path in tmp_path.iterdir())

    wrong = run_it("-K", "99")
    assert wrong.returncode == 2
    assert re.fullmatch(r"sefa: error: .*choose 1 to 12\.\n", wrong.stderr)
