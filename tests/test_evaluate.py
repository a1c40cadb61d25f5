"""The evaluation of the demo model: regressor, quality, re-scoring, tables, pictures, command."""

import hashlib
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import sefa
from demo_model import evaluate, images, pictures, quality, regressor, rescoring, tables
from demo_model.regressor import Scale
from demo_model.renderer import FACTORS, Factor
from tests.helpers import seeded
from ui import rows

from .helpers import is_one_sentence, tiny_stylegan2

# --- scores ---------------------------------------------------------------------------------------

TOY = {
    "height": Factor("scalar", "", 10, 20),
    "hat": Factor("choice", "", values=("none", "cap", "crown"), shares=(0.5, 0.3, 0.2)),
    "tint": Factor("color", ""),
}


def toy_factors(n, generator=None):
    u = torch.rand(n, 3, generator=generator)
    hat = torch.bucketize(torch.rand(n, generator=generator), torch.tensor([0.5, 0.8]), right=True)
    return {"height": 10 + 10 * u[:, 0], "hat": hat, "tint": u}


@pytest.fixture(scope="module")
def scale():
    return Scale(TOY, toy_factors)


def test_scores_have_mean_zero_and_every_factor_variance_one(scale):
    assert scale.columns == {"height": slice(0, 1), "hat": slice(1, 3), "tint": slice(3, 6)}
    scores = scale.encode(toy_factors(20_000, seeded(5)))
    assert scores.shape == (20_000, 6)
    assert scores.mean(0).abs().max() < 0.03
    for columns in scale.columns.values():
        assert scores[:, columns].var(0).sum().item() == pytest.approx(1, abs=0.03)


def test_scores_give_back_the_choice(scale):
    factors = toy_factors(50, seeded(1))
    probabilities = scale.probabilities(scale.encode(factors), "hat")
    assert torch.allclose(probabilities, torch.eye(3)[factors["hat"]], atol=1e-5)


def test_a_change_is_signed_for_scalars_and_a_length_for_colours(scale):
    # The whole range of a uniform scalar is √12 of its standard deviations; a colour whose three
    # channels are uniform on [0, 1] has the variance 3/12: from black to white is √3 / √(3/12).
    low = {"height": [10.0], "hat": [0], "tint": [[0.0, 0, 0]]}
    high = {"height": [20.0], "hat": [1], "tint": [[1.0, 1, 1]]}
    low, high = ({k: torch.tensor(v) for k, v in f.items()} for f in (low, high))
    changes = scale.changes(scale.encode(low) - scale.encode(high))
    variance = 0.3 * 0.7 + 0.2 * 0.8
    expected = [[-(12**0.5), 1 / variance**0.5, 12**0.5]]
    assert torch.allclose(changes, torch.tensor(expected), rtol=0.02)


def test_r_squared_is_one_for_the_truth_zero_for_the_mean_and_half_for_as_much_noise(scale):
    truth = scale.encode(toy_factors(20_000, seeded(0)))
    assert set(regressor.r_squared(truth, truth, scale).values()) == {1.0}
    mean = truth.mean(0).expand_as(truth)
    assert max(map(abs, regressor.r_squared(mean, truth, scale).values())) < 1e-4
    noisy = truth.clone()
    noisy[:, 0] += torch.randn(20_000, generator=seeded(1)) * 0.5**0.5
    assert regressor.r_squared(noisy, truth, scale)["height"] == pytest.approx(0.5, abs=0.02)


# --- regressor ------------------------------------------------------------------------------------

SMALL = regressor.Settings(images=128, steps=40, lr=5e-3, channels=(16, 24))


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    return regressor.load_or_train(tmp_path_factory.mktemp("judge"), 16, settings=SMALL)


def held_out(n):
    return images.renderer.sample_factors(n, seeded(1))


def test_the_regressor_reads_what_is_plain_to_see(judge):
    factors = held_out(128)
    scores = judge.predict(images.render_images(factors, 16))
    assert scores.shape == (128, len(judge.scale.mean))
    r2 = regressor.r_squared(scores, judge.scale.encode(factors), judge.scale)
    assert r2["background"] > 0.5, r2


def test_probabilities_of_a_choice_are_probabilities(judge):
    scores = judge.predict(images.render_images(held_out(8), 16))
    for name in judge.scale.of_kind("choice"):
        p = judge.scale.probabilities(scores, name)
        assert torch.allclose(p.sum(1), torch.ones(8)) and p.min() > -1e-5 and p.max() < 1 + 1e-5


def test_scores_do_not_depend_on_the_batch_and_larger_images_are_averaged_down(judge):
    some = images.render_images(held_out(6), 16)
    scores = judge.predict(some)
    assert torch.allclose(judge.predict(some, batch=4), scores, atol=1e-4)
    larger = some.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(judge.predict(larger), scores, atol=1e-4)


def test_the_regressor_is_kept_until_sources_or_settings_change(tmp_path, monkeypatch):
    trained = []
    fresh = regressor.Regressor(Scale(), 16, SMALL.channels)
    monkeypatch.setattr(regressor, "train", lambda *a: trained.append(a) or fresh)
    first = regressor.load_or_train(tmp_path, 16, settings=SMALL)
    again = regressor.load_or_train(tmp_path, 16, settings=SMALL)
    assert len(trained) == 1 and not again.training
    some = images.render_images(held_out(2), 16)
    assert torch.equal(first.predict(some), again.predict(some))
    regressor.load_or_train(tmp_path, 16, settings=regressor.Settings(channels=(8,), steps=2))
    assert len(trained) == 2
    changed = tmp_path / "renderer.py"
    changed.write_text("another")
    monkeypatch.setattr(images.renderer, "__file__", str(changed))
    regressor.load_or_train(tmp_path, 16, settings=SMALL)
    assert len(trained) == 3


def test_training_is_seeded():
    brief = regressor.Settings(images=32, steps=2, channels=(8,))
    one, two = (regressor.train(16, settings=brief).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


# --- images and quality ---------------------------------------------------------------------------


def test_rendered_images_are_kept_and_belong_to_their_factors(tmp_path, monkeypatch):
    first, factors = images.rendered_images(tmp_path, 16, 5, seed=3)
    assert torch.equal(first, images.render_images(factors, 16))
    monkeypatch.setattr(images, "render_images", None)  # would fail
    again, _ = images.rendered_images(tmp_path, 16, 5, seed=3)
    assert torch.equal(first, again)


def grey(*levels):
    return torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32)


def test_pairwise_distance_of_flat_images_is_their_difference():
    # 255 grey levels are 2 in [-1, 1].
    distances = quality.pairwise(grey(0, 255, 51))
    assert torch.allclose(distances, torch.tensor([2.0, 0.4, 1.6]), atol=1e-5)


def test_a_set_of_twins_is_called_alike():
    rendered = torch.randint(0, 256, (60, 3, 32, 32), generator=seeded(0)).byte()
    twins = rendered[:2].repeat(30, 1, 1, 1)
    facts = quality.diversity(twins, rendered)
    # Of 60 images every one has 29 twins among the 59 others.
    assert facts["alike"] == pytest.approx(29 / 59, abs=1e-3)
    assert facts["ratio"] == pytest.approx(30 / 59, abs=0.02)
    assert quality.diversity(rendered, rendered)["ratio"] == 1


def test_a_set_that_is_the_floor_has_the_ratio_one():
    a, b = (torch.randint(0, 256, (16, 3, 32, 32), generator=seeded(s)).byte() for s in (0, 1))
    facts = quality.wasserstein(a, b, a)
    assert [row["level"] for row in facts["levels"]] == [32, 16]
    # Not exactly: every set's patches are drawn at places of its own.
    assert facts["worst_ratio"] == pytest.approx(1, abs=0.2)
    assert facts["worst_ratio"] == max(row["ratio"] for row in facts["levels"])


def test_coverage_counts_the_likeliest_values(scale):
    factors = toy_factors(100, seeded(0))
    rendered = scale.encode(factors)
    factors["hat"] = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    rows = quality.coverage(scale.encode(factors), rendered, scale)
    assert [(r["value"], r["true"], round(r["generated"], 3)) for r in rows] == [
        ("none", 0.5, 0.6),
        ("cap", 0.3, 0.3),
        ("crown", 0.2, 0.1),
    ]
    assert min(row["ratio"] for row in rows) == pytest.approx(0.5)


def test_readings_tell_a_shift_and_a_narrow_spread(scale):
    truth = scale.encode(toy_factors(5000, seeded(0)))
    generated = truth.clone()
    generated[:, 0] = truth[:, 0] * 0.5 + 0.3
    facts = quality.readings(generated, truth, truth, scale)
    assert facts["height"]["shift"] == pytest.approx(0.3, abs=0.02)
    assert facts["height"]["spread"] == pytest.approx(0.5, abs=1e-3)
    assert facts["tint"] == {"r2": 1.0, "shift": 0.0, "spread": 1.0}
    assert facts["hat"]["accuracy"] == 1.0


# --- re-scoring -----------------------------------------------------------------------------------


def test_the_change_of_a_linear_score_is_its_matrix_times_the_direction():
    # score = M (sum of the edited layers of w): at +alpha it rises by alpha M n for each of them.
    matrix, w = torch.randn(4, 6, generator=seeded(0)), torch.randn(5, 3, 6, generator=seeded(1))
    vector = torch.nn.functional.normalize(torch.randn(6, generator=seeded(2)), dim=0)
    found = rescoring.change(lambda w: w.sum(1) @ matrix.T, w, vector, [0, 2], alpha=1.5)
    assert torch.allclose(found.mean, 2 * 1.5 * matrix @ vector, atol=1e-5)
    assert found.error.max() < 1e-5


def test_the_standard_error_is_that_of_a_mean():
    # The score w² changes by 2 alpha w: over w of unit variance the error is 2 alpha / √N.
    w = torch.randn(4000, 1, 1, generator=seeded(0))
    found = rescoring.change(lambda w: w[:, 0].square(), w, torch.ones(1), [0], alpha=0.5)
    assert found.error.item() == pytest.approx(1 / 4000**0.5, rel=0.05)


def test_layer_groups_are_those_of_the_app():
    assert [(a, b) for _, a, b in rows.OFFICIAL] == list(rescoring.LAYER_GROUPS)
    assert rescoring.layer_groups(10) == ["all", "0-1", "2-5", "6-9"]
    assert rescoring.layer_groups(6) == ["all", "0-1", "2-5"]


def test_top_factor_share_and_factors_reached():
    changes = torch.tensor([[0.0, -3, 1], [0.5, 0, 0], [0.2, -0.6, 0.2]])
    assert rescoring.top_factor_share(changes) == pytest.approx((0.75 + 1 + 0.6) / 3)
    assert rescoring.factors_reached(changes) == 2


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """(path, generator): random weights, 16 pixels."""
    path = tiny_stylegan2(tmp_path_factory.mktemp("tiny") / "tiny.safetensors", seed=1)
    return path, sefa.load_generator(path)


@pytest.fixture
def quick(monkeypatch, judge):
    """The evaluation with a judge that is trained already, and less to do."""
    monkeypatch.setattr(evaluate.regressor, "load_or_train", lambda *a: judge)
    monkeypatch.setattr(rescoring, "TOP", 2)
    monkeypatch.setattr(rescoring, "COMPARED", 3)
    monkeypatch.setattr(rescoring, "MATCHED_ON", 4)
    monkeypatch.setattr(rescoring, "MAPPED", [range(50), range(50, 100)])


def linear_rescoring(generator, changes_at_one):
    """A Rescoring of `generator` whose directions have known changes."""
    result = rescoring.Rescoring(generator, SimpleNamespace(scale=Scale(TOY, toy_factors)), 8)
    result.changes = lambda vector, layers, alpha=1.0, samples=None: (changes_at_one(layers), 0.0)
    return result


def test_the_search_keeps_what_leads_by_two_and_tells_the_sign(tiny):
    def changes(layers):
        return torch.tensor(
            {(0,): [-0.9, 0.3, 0.1], (1,): [0.9, 0.1, 0.6]}.get(tuple(layers), [0.05] * 3)
        )

    found = linear_rescoring(tiny[1], changes).nameable()
    assert len(found) == rescoring.KEPT
    assert {(r["factor"], r["layers"], r["sign"]) for r in found} == {("height", "0", -1)}
    assert found[0]["lead"] == pytest.approx(3) and found[0]["change"] == pytest.approx(0.9)


def test_matched_directions_change_the_images_equally(tiny, judge, quick):
    analysis = rescoring.Rescoring(tiny[1], judge, 16)
    facts = analysis.compare("0-1")
    assert list(facts) == ["sefa", "pca", "random"]
    for method, vectors in analysis.methods.items():
        for vector, alpha in zip(vectors("0-1"), facts[method]["alphas"]):
            reached = analysis.probe(vector, [0, 1]).amount(alpha)
            assert reached == pytest.approx(facts[method]["image_change"], rel=0.03)


# --- pictures -------------------------------------------------------------------------------------


def test_colours_of_the_heat_map():
    assert pictures.diverging(0) == pictures.ZERO
    assert (
        pictures.diverging(-7) == pictures.NEGATIVE and pictures.diverging(1) == pictures.POSITIVE
    )


def test_the_heat_map_has_a_cell_for_every_direction_and_factor():
    changes = torch.tensor([[1.0, 0.0], [0.0, -1.0], [0.0, 0.0]])
    picture = pictures.heat_map(changes, [("all", 0), ("all", 1), ("0-1", 0)], ["smile", "hat"])
    pixels = np.asarray(picture).reshape(-1, 3)
    area = pictures.CELL_WIDTH * pictures.CELL_HEIGHT * pictures.SCALE**2
    for color, cells in ((pictures.POSITIVE, 1), (pictures.NEGATIVE, 1), (pictures.ZERO, 4)):
        share = (pixels == color).all(1).sum() / (cells * area)
        assert 0.75 < share <= 1.01, color  # numbers and gaps between cells take the rest


def test_a_strip_holds_the_edited_samples(tiny):
    generator = tiny[1]
    frames = pictures.strip(generator, [0, 1], 2, [4, 5], [-3.0, 0.0, 3.0])
    assert frames.shape == (2, 3, 16, 16, 3) and frames.dtype == np.uint8
    w = generator.map(generator.sample_z([5]), truncation_psi=0.7)
    vector = sefa.factorize(generator, [0, 1]).vectors[2]
    expected = images.synthesize(generator, sefa.edit(w, vector, 3.0, [0, 1]))[0]
    difference = frames[1, 2].astype(int) - expected.permute(1, 2, 0).numpy()
    assert np.abs(difference).max() <= 1


# --- the command ----------------------------------------------------------------------------------


def evaluated(*arguments):
    return evaluate.main([*map(str, arguments)])


def test_the_evaluation_prints_its_tables_and_ends_with_the_line(tiny, quick, tmp_path, capsys):
    file = tmp_path / "numbers.json"
    options = ("--images", 24, "--samples", 16, "--state", tmp_path / "s", "--json", file)
    assert evaluated("--weights", tiny[0], *options) == 0
    text = capsys.readouterr().out
    for heading in ("Sliced Wasserstein", "Diversity", "Shares of", "Re-scoring", "Ten directions"):
        assert heading in text
    assert all(len(line) < 160 for line in text.splitlines())
    number = r"\d+\.\d+"
    last = text.splitlines()[-1]
    assert re.fullmatch(
        rf"swd_ratio={number} top_factor_share_sefa={number} pca={number} random={number} "
        r"factors_reached=\d+",
        last,
    )
    report = json.loads(file.read_text())
    assert last == tables.last_line(report)
    assert set(report["readings"]) == set(FACTORS)
    assert [row["layers"] for row in report["matrix"]] == ["all"] * 2 + ["0-1"] * 2 + ["2-5"] * 2
    assert list(report["comparison"]) == ["all", "0-1", "2-5"]


def test_the_search_prints_a_table(tiny, quick, monkeypatch, tmp_path, capsys):
    rows = [
        {"factor": "smile", "layers": "0-3", "index": 2, "sign": -1, "lead": 3.2, "change": 0.5}
    ]
    monkeypatch.setattr(rescoring.Rescoring, "nameable", lambda self: rows)
    assert evaluated("--weights", tiny[0], "--search", "--state", tmp_path) == 0
    assert re.search(r"smile +0-3 +2 +-1 +3\.20 +0\.50", capsys.readouterr().out)


@pytest.fixture
def name_two(tiny, monkeypatch, tmp_path):
    """Gives two directions of the tiny model names, one of them outside the usual layers."""
    monkeypatch.setattr(evaluate, "FOLDER", tmp_path)
    monkeypatch.setattr(evaluate, "LABELS", tmp_path / "labels.json")

    def write():
        digest = hashlib.sha256(tiny[0].read_bytes()).hexdigest()
        rows = (("all", 1, "Smile"), ("1-2", 3, "Longer hair"))
        labels = [dict(zip(("layers", "index", "name"), row)) | {"sign": 1} for row in rows]
        file = {"version": 1, "weights": digest, "labels": labels, "seeds": [3]}
        evaluate.LABELS.write_text(json.dumps(file))

    return write


def test_directions_with_names_are_confirmed_or_not(tiny, quick, name_two, tmp_path, capsys):
    name_two()
    options = ("--images", 24, "--samples", 16, "--state", tmp_path, "--json", tmp_path / "a.json")
    assert evaluated("--weights", tiny[0], *options) == 0
    assert re.search(r"Longer hair +\w+ +1-2 +3 +[+-]1 +\d+\.\d\d", capsys.readouterr().out)
    named = json.loads((tmp_path / "a.json").read_text())["named"]
    assert [(row["name"], row["layers"], row["index"]) for row in named] == [
        ("Smile", "all", 1),
        ("Longer hair", "1-2", 3),
    ]


def test_pictures_are_drawn_of_what_has_a_name(tiny, quick, name_two, tmp_path):
    json_file = tmp_path / "a.json"
    options = ("--pictures", "--samples", 16, "--state", tmp_path, "--json", json_file)
    assert evaluated("--weights", tiny[0], *options) == 2  # without the file: one sentence
    name_two()
    assert evaluated("--weights", tiny[0], *options) == 0
    rows = [(row["layers"], row["index"]) for row in json.loads(json_file.read_text())["matrix"]]
    assert rows[:2] == [("all", 0), ("all", 1)] and rows[-1] == ("1-2", 3)
    assert len(set(rows)) == len(rows)
    names = ("strips.webp", "rescoring.png", "samples.webp", "renderer.webp")
    strips, heat, samples, training = (Image.open(tmp_path / name) for name in names)
    assert strips.width > 2 * 7 * 16 * pictures.SCALE  # two samples of seven steps
    assert heat.width > len(FACTORS) * pictures.CELL_WIDTH
    assert samples.size == (16 * 16, 4 * 16)  # 64 images of 16 pixels
    assert training.size == (8 * 128, 3 * 128)


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tiny, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for options in (("--state", tmp_path / "file"), ("--json", tmp_path / "file" / "a.json")):
        assert evaluated("--weights", tiny[0], "--state", tmp_path, *options) == 2
        assert "file is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--weights", "nowhere.safetensors"), "nowhere.safetensors"),
        (("--images", "1"), "at least 2 images"),
        (("--samples", "few"), "invalid int value"),
        (("--weights", "{eight}"), "at least 16 pixels"),
        (("--weights", "{grey}"), "RGB"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(tmp_path, capsys, arguments, reason):
    files = {
        "{eight}": lambda path: tiny_stylegan2(path, resolution=8),
        "{grey}": lambda path: tiny_stylegan2(path, num_channels=1),
    }
    values = [
        files[a](tmp_path / "model.safetensors") if a in files else a for a in map(str, arguments)
    ]
    assert evaluated(*values, "--state", tmp_path / "state") == 2
    message = capsys.readouterr().err.strip()
    assert reason in message
    assert is_one_sentence(message) or "--help" in message
    assert not (tmp_path / "state").exists()
