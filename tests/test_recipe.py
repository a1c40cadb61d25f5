"""Recipes and the links that carry them: what is written reads the same, whatever else arrives."""

import random
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlencode

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sefa import Edit, Recipe, UserError, editing
from sefa.editing import (
    MAX_ALL_TERMS,
    MAX_ALPHA,
    MAX_EDITS,
    MAX_LAYERS,
    MAX_NAME,
    MAX_NAMES,
    MAX_PSI,
    MAX_SAMPLES,
    MAX_SEED,
    MAX_SEMANTICS,
    MAX_TERMS,
    ORDERS,
    VIEWS,
    Mix,
    Named,
    combine,
    fit,
    mix,
)  # fmt: skip
from sefa.factorization import format_layers, parse_layers
from tests.helpers import is_one_sentence

# -------------------------------------------------------------------------- what a recipe may hold

layer_texts = st.just("all") | st.sets(st.integers(0, MAX_LAYERS - 1), min_size=1).map(
    format_layers
)
coefficients = st.just(1.0) | st.floats(-1e6, 1e6)
directions = st.lists(
    st.tuples(st.integers(0, 65535), coefficients), min_size=1, max_size=MAX_TERMS
).map(tuple)
edits = st.builds(
    Edit,
    layers=layer_texts,
    direction=directions,
    alpha=st.floats(-MAX_ALPHA, MAX_ALPHA) | st.integers(-5, 5).map(float),
)
names = st.builds(
    Named,
    layers=layer_texts,
    direction=directions,
    name=st.from_regex(editing.NAME, fullmatch=True).map(lambda name: name[:MAX_NAME]),
    sign=st.sampled_from([1, -1]),
)
mixes = st.builds(Mix, seed=st.integers(0, MAX_SEED), layers=layer_texts)
recipes = st.builds(
    Recipe,
    model=st.from_regex(r"[\w./@+-]{1,200}", fullmatch=True),
    seed=st.integers(0, MAX_SEED - MAX_SAMPLES),
    num_samples=st.integers(1, MAX_SAMPLES),
    truncation_psi=st.floats(0, MAX_PSI),
    truncation_cutoff=st.none() | st.integers(0, MAX_LAYERS),
    class_index=st.integers(0, 10**6),
    layers=layer_texts | st.sampled_from(VIEWS),
    order=st.sampled_from(ORDERS),
    num_semantics=st.integers(1, MAX_SEMANTICS),
    edits=st.lists(edits, max_size=4).map(tuple),
    names=st.lists(
        names, max_size=4, unique_by=lambda named: (named.layers, tuple(sorted(named.direction)))
    ).map(tuple),
    mix=st.none() | mixes,
    noise_seed=st.none() | st.integers(0, MAX_SEED),
)


def assert_sane(recipe):
    """Every field within its bounds and of its type, and every sample has a seed."""
    assert type(recipe) is Recipe and hash(recipe) is not None
    assert type(recipe.model) is str and 0 < len(recipe.model) <= 200
    assert not set(recipe.model) & set(" <>&\"'\0\n%?#:")
    for value, low, high in [
        (recipe.seed, 0, MAX_SEED),
        (recipe.num_samples, 1, MAX_SAMPLES),
        (recipe.class_index, 0, 10**6),
        (recipe.num_semantics, 1, MAX_SEMANTICS),
        (recipe.truncation_cutoff or 0, 0, MAX_LAYERS),
        (recipe.noise_seed or 0, 0, MAX_SEED),
        (recipe.mix.seed if recipe.mix else 0, 0, MAX_SEED),
    ]:
        assert type(value) is int and low <= value <= high
    assert type(recipe.truncation_psi) is float and 0 <= recipe.truncation_psi <= MAX_PSI
    assert recipe.seeds()[-1] <= MAX_SEED
    assert recipe.layers in VIEWS or parse_layers(recipe.layers, MAX_LAYERS)
    assert recipe.order in ORDERS
    assert recipe.mix is None or parse_layers(recipe.mix.layers, MAX_LAYERS)
    assert len(recipe.edits) <= MAX_EDITS
    for change in recipe.edits:
        assert parse_layers(change.layers, MAX_LAYERS)
        assert 1 <= len(change.direction) <= MAX_TERMS
        assert all(type(i) is int and 0 <= i <= 65535 for i, _ in change.direction)
        assert all(type(c) is float and abs(c) <= 1e6 for _, c in change.direction)
        assert type(change.alpha) is float and abs(change.alpha) <= MAX_ALPHA
    assert len(recipe.names) <= MAX_NAMES
    for named in recipe.names:
        assert parse_layers(named.layers, MAX_LAYERS)
        assert 1 <= len(named.direction) <= MAX_TERMS
        assert 1 <= len(named.name) <= MAX_NAME and not set(named.name) & set('<>&"*_[]`:~\0\n')
        assert named.sign in (1, -1)
    assert Recipe.from_query(recipe.to_query()) == (recipe, [])  # and it can be sent on


def assert_read(query):
    recipe, notices = Recipe.from_query(query)
    assert_sane(recipe)
    assert all(is_one_sentence(notice) for notice in notices)
    return recipe, notices


# ------------------------------------------------------------------------------------ round trips


@given(recipes)
def test_a_recipe_reads_back_exactly_as_it_was_written(recipe):
    query = recipe.to_query()
    assert Recipe.from_query(query) == (recipe, [])
    assert Recipe.from_query("?" + query) == (recipe, [])
    assert query.isascii() and not set(query) & set(" <>\"'#?\n")


class QueryParams(Mapping):
    """Decoded values by key, as web frameworks hand them over."""

    def __init__(self, values):
        self._values = values

    def __getitem__(self, key):
        return self._values[key]

    def __iter__(self):
        return iter(self._values)

    def __len__(self):
        return len(self._values)


@given(recipes)
def test_a_mapping_of_decoded_values_reads_alike(recipe):
    values = editing.query_values(recipe.to_query(), [])
    assert Recipe.from_query(QueryParams(values)) == (recipe, [])


def test_the_longest_recipe_fits_into_a_link():
    terms = tuple((65535, -123456.78901234567 / (i + 1)) for i in range(MAX_TERMS))
    few = terms[: MAX_ALL_TERMS // MAX_EDITS]
    layers = format_layers(range(0, MAX_LAYERS, 2))
    longest = Recipe(
        "n" * 200,
        MAX_SEED - MAX_SAMPLES,
        MAX_SAMPLES,
        1 / 3,
        MAX_LAYERS,
        10**6,
        layers,
        "eigenvalue",
        MAX_SEMANTICS,
        tuple(Edit(layers, few, -99.123456789012345) for _ in range(MAX_EDITS)),
        tuple(
            Named(layers, ((60000 + i, terms[0][1]), *few[1:]), "𐐀" * MAX_NAME, -1)
            for i in range(MAX_NAMES)
        ),
        Mix(MAX_SEED, layers),
        MAX_SEED,
    )
    assert Recipe.from_query(longest.to_query()) == (longest, [])
    assert len(longest.to_query()) < editing.MAX_QUERY
    most = MAX_ALL_TERMS // MAX_TERMS
    edits = tuple(Edit("all", terms, 1.0) for _ in range(most + 1))
    recipe, notices = Recipe.from_query(Recipe(edits=edits).to_query())
    assert recipe.edits == edits[:most]
    assert notices == [f"From the link, only the first {most} edits were taken."]


def test_nothing_said_is_the_default():
    assert Recipe.from_query("") == (Recipe(), [])
    assert Recipe.from_query({}) == (Recipe(), [])
    assert Recipe.from_query(Recipe().to_query()) == (Recipe(), [])


def test_sample_i_is_seed_plus_i():
    assert Recipe(seed=7, num_samples=3).seeds() == [7, 8, 9]


# -------------------------------------------------------------------------------- links for ever

# This text is in the wild: whatever changes, it must read as this recipe.
PINNED = (
    "v=1&model=user/repo/file.pkl@0123abc&seed=4294967280&n=5&psi=0.7&cutoff=8&class=3&layers=0-1,4"
    "&k=7&edits=0-1:0:2.5~all:3*0.6%2B7*-0.8:-1~2:12:1e-05"
)
PINNED_RECIPE = Recipe(
    model="user/repo/file.pkl@0123abc",
    seed=4294967280,
    num_samples=5,
    truncation_psi=0.7,
    truncation_cutoff=8,
    class_index=3,
    layers="0-1,4",
    num_semantics=7,
    edits=(
        Edit("0-1", ((0, 1.0),), 2.5),
        Edit("all", ((3, 0.6), (7, -0.8)), -1.0),
        Edit("2", ((12, 1.0),), 0.00001),
    ),
)


def test_a_link_of_version_1_reads_the_same_for_ever():
    assert Recipe.from_query(PINNED) == (PINNED_RECIPE, [])
    assert PINNED_RECIPE.to_query() == PINNED
    assert PINNED_RECIPE.edits[0] == Edit.along("0-1", 0, 2.5)


# So must this one, which has names in it.
PINNED_NAMES = PINNED + (
    "&names=0-1:0:Long+hair,+blond~all:3*0.6%2B7*-0.8:-Gr%C3%B6%C3%9Fe+%28all%29~2:12:Left/right"
)
NAMES = (
    Named("0-1", ((0, 1.0),), "Long hair, blond"),
    Named("all", ((3, 0.6), (7, -0.8)), "Größe (all)", -1),
    Named("2", ((12, 1.0),), "Left/right"),
)


def test_a_link_with_names_reads_the_same_for_ever():
    named = replace(PINNED_RECIPE, names=NAMES)
    assert Recipe.from_query(PINNED_NAMES) == (named, [])
    assert named.to_query() == PINNED_NAMES
    assert named.originals() == PINNED_RECIPE.originals()
    # A bare "+" in a query is a space, in a direction as in a name.
    assert Recipe.from_query(PINNED_NAMES.replace("%2B", "+")) == (named, [])


def test_names_in_the_documentation_read_as_they_look():
    line = next(line for line in editing.__doc__.splitlines() if line.strip().startswith("names="))
    recipe, notices = Recipe.from_query(line.strip())
    assert notices == [] and recipe.edits == ()
    smile, mouth = recipe.names
    assert smile == Named("0-1", ((3, 1.0),), "Smile")
    assert mouth == Named("all", ((3, 0.6), (7, 0.8)), "Open mouth", -1)


# And this one, whose samples are mixed and have noise of their own.
PINNED_MIX = PINNED.replace("&layers=", "&mix=4294967295:0-2,5&noise=0&layers=")


def test_a_link_with_a_mix_and_noise_reads_the_same_for_ever():
    mixed = replace(PINNED_RECIPE, mix=Mix(MAX_SEED, "0-2,5"), noise_seed=0)
    assert Recipe.from_query(PINNED_MIX) == (mixed, [])
    assert mixed.to_query() == PINNED_MIX
    # They belong to the unedited samples.
    assert (mixed.originals().mix, mixed.originals().noise_seed) == (mixed.mix, 0)
    assert replace(mixed.originals(), mix=None, noise_seed=None) == PINNED_RECIPE.originals()


def test_a_mix_and_noise_in_the_documentation_read_as_they_look():
    line = next(line for line in editing.__doc__.splitlines() if line.strip().startswith("mix="))
    assert Recipe.from_query(line.strip()) == (Recipe(mix=Mix(7, "4-9"), noise_seed=3), [])


def test_of_two_names_for_a_direction_the_first_counts():
    recipe, notices = assert_read("names=0:1*2%2B0:One~1:1*2%2B0:Other~0:0%2B1*2:Two")
    assert [named.name for named in recipe.names] == ["One", "Other"]
    assert len(notices) == 1 and "'Two'" in notices[0]


def test_the_link_in_the_documentation_reads_as_it_looks():
    line = next(line for line in editing.__doc__.splitlines() if line.strip().startswith("v=1&"))
    recipe, notices = Recipe.from_query(line.strip())
    assert notices == []
    assert recipe == Recipe(
        truncation_cutoff=8,
        layers="0-1",
        edits=(Edit.along("0-1", 0, 2.5), Edit("all", ((3, 0.6), (7, 0.8)), -1.0)),
    )


@pytest.mark.parametrize(
    "query, expected",
    [
        ("seed=3", Recipe(seed=3)),  # no version: read as the first
        ("v=1&utm_source=mail&__theme=dark&seed=3", Recipe(seed=3)),  # unknown keys: not ours
        ("seed=1&seed=2", Recipe(seed=1)),  # repeated: the first counts
        ("edits=~~", Recipe()),
        ("psi=1", Recipe(truncation_psi=1.0)),
        ("psi=-0.0", Recipe(truncation_psi=0.0)),
        ("layers=4,1,0", Recipe(layers="0-1,4")),
        ("layers=ALL", Recipe(layers="all")),
        ("edits=all:0:1:", Recipe()),
        ("cutoff=0", Recipe(truncation_cutoff=0)),
        ("mix=3:ALL", Recipe(mix=Mix(3, "all"))),
        ("mix=03:5,4,0", Recipe(mix=Mix(3, "0,4-5"))),
        ("mix=0%3A1&noise=0", Recipe(mix=Mix(0, "1"), noise_seed=0)),
        (f"mix={MAX_SEED}:0&noise={MAX_SEED}", Recipe(mix=Mix(MAX_SEED, "0"), noise_seed=MAX_SEED)),
    ],
)
def test_stale_and_partial_links(query, expected):
    recipe, notices = assert_read(query)
    assert recipe == expected
    assert bool(notices) == (query == "edits=all:0:1:")


@pytest.mark.parametrize("version", ["2", "0", "", "1.0", "latest", "9" * 5000])
def test_another_version_is_read_as_far_as_possible_with_a_notice(version):
    recipe, notices = assert_read(f"v={version}&seed=5&future=x")
    assert recipe == Recipe(seed=5)
    assert len(notices) == 1 and "version" in notices[0]


BAD_VALUES = {
    "model": ["", " ", "a b", "a\0", "<script>alert(1)</script>", "x" * 201, "a?b", "a:b", "%"],
    "seed": ["", "nan", "inf", "-1", "1.0", "1e3", "4294967296", "9" * 5000, "\0", "x", "0x10"],
    "n": ["", "0", "-1", "17", "1000000000", "2.5", "NaN", "1,2"],
    "psi": ["", "nan", "inf", "-inf", "-0.1", "2.01", "1e9", "0,7", "x", "1e999", "--1"],
    "cutoff": ["", "-1", "65", "None", "1.5", "inf"],
    "class": ["", "-1", "1000001", "cat", "1.5"],
"mix": [
        "", ":", "7", "7:", ":0", "-1:0", "4294967296:0", "1.0:0", "1e3:0", "nan:0", "x:0", "0x1:0",
        "7:64", "7:2-1", "7:-1", "7:0:1", "7:0~8:1", "7:named", "7:groups", "7:<b>", "7:" + "0," * 300,
        "9" * 5000 + ":0", "7:" + "x" * 9000, "\0", "7:\0", "None",
    ],
    "noise": ["", "nan", "inf", "-1", "1.0", "1e3", "4294967296", "9" * 5000, "\0", "x", "1:2", "None"],
    "layers": ["", "0-64", "5-2", "-1", "1e9", "²", "x" * 9000, "0," * 300, "<b>", "\0"],
    "order": ["", "x", "Effect", "named"],
    "k": ["", "0", "21", "-5", "1e1"],
    "edits": [
        "x", "0:0", "0:0:1:2", "all::1", "all:0:", "all:0:nan", "all:0:inf", "all:0:100.1",
        "all:-1:1", "all:1.5:1", "all:65536:1", ":0:1", "99:0:1", "all:0*nan:1", "all:0*1e7:1",
        "all:0*:1:", "all:0++1:1", "all:" + "0+" * MAX_TERMS + "0:1", "all:0:<script>", "\0",
        "all:9" + "9" * 5000 + ":1", "~".join(["all:0:1"] * 65),
    ],
    "names": [
        "x", "0:0", "0:0:A:B", "all::A", "all:0:", "all:0:-", "all:0:--A", "all:0: A", "all:0:<b>",
        "all:-1:A", "all:65536:A", ":0:A", "99:0:A", "all:0*nan:A", "all:" + "0+" * MAX_TERMS + "0:A",
        "all:0:*A*", "all:0:A_b", "all:0:A\nb", "all:0:A\0", "all:0:A&amp;", "all:0:\u202eA", "\0",
        "all:0:" + "A" * 65, "all:0:A~all:0:B", "~".join(f"all:{i}:A" for i in range(65)),
    ],
}  # fmt: skip


@pytest.mark.parametrize("key", BAD_VALUES)
def test_a_bad_value_is_left_out_with_a_notice(key):
    for value in BAD_VALUES[key]:
        for query in (urlencode({key: value}), {key: value}):
            recipe, notices = assert_read(query)
            if "~" not in value:  # lists of which something is good
                assert recipe == Recipe(), value
            assert len(notices) == 1, value
            assert key.removesuffix("s") in notices[0], notices


def test_one_bad_part_takes_nothing_else_along():
    recipe, notices = assert_read(
        "seed=nan&n=2&psi=7&layers=0-1&k=99&edits=0:1:2~junk~1:2:3~0:0:1e9&names=0:1:A~junk~0:2:B"
    )
    assert recipe == Recipe(
        num_samples=2,
        layers="0-1",
        edits=(Edit.along("0", 1, 2.0), Edit.along("1", 2, 3.0)),
        names=(Named("0", ((1, 1.0),), "A"), Named("0", ((2, 1.0),), "B")),
    )
    assert len(notices) == 6  # seed, psi, k, two edits and a name


def test_the_last_sample_needs_a_seed_too():
    recipe, notices = assert_read(f"seed={MAX_SEED}&n=4")
    assert recipe == Recipe(seed=MAX_SEED - 3, num_samples=4)
    assert len(notices) == 1 and str(MAX_SEED - 3) in notices[0]


@pytest.mark.parametrize(
    "query",
    ["&&&===", "%", "%zz=%", "seed=%ff", "seed", "=", "?", "a=1;seed=2", "\0", "seed=\ud800"],
)
def test_broken_queries(query):
    assert_read(query)


def test_a_query_of_a_megabyte_is_refused_at_once():
    for query in ("edits=" + "all:0:1~" * 130_000, "&" * 10**6, "x=1&" * 250_000):
        recipe, notices = assert_read(query)
        assert recipe == Recipe() and len(notices) == 1
    values = {"edits": "all:0:1~" * 130_000, "names": "all:0:A~" * 130_000, "seed": "1" * 10**6}
    recipe, notices = assert_read(values)
    assert recipe == Recipe() and len(notices) == 3


@pytest.mark.parametrize(
    "value",
    [None, True, 3.5, float("nan"), float("inf"), 10**5000, -(10**5000), b"1", [1], {"a": 1}],
    ids=range(10),
)
def test_values_that_are_no_text(value):
    values = {"seed": value, "psi": [], "edits": {}, "names": value, "layers": None, "v": 1}
    values |= {"mix": value, "noise": value}
    recipe, notices = assert_read(values)
    assert recipe == Recipe()
    assert len(notices) == 7
    assert assert_read({"seed": 3, "psi": 0.5})[0] == Recipe(seed=3, truncation_psi=0.5)


@given(st.text())
def test_any_text_gives_a_sane_recipe(query):
    assert_read(query)


@given(st.dictionaries(st.sampled_from([*BAD_VALUES, "v"]), st.text(max_size=40)))
def test_any_values_give_a_sane_recipe(values):
    assert_read(values)
    assert_read(urlencode(values))


@settings(max_examples=150)
@given(recipes, st.integers(), st.text(min_size=4, max_size=4))
def test_any_mutation_of_a_link_gives_a_sane_recipe(recipe, seed, spice):
    rng = random.Random(seed)
    query = list(recipe.to_query())
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(query))
        character = rng.choice("0123456789-+.*:~,&=%eE" + spice)
        query[at : at + rng.randint(0, 2)] = [character] * rng.randint(0, 2)
        query = query or ["&"]
    assert_read("".join(query))


# ------------------------------------------------------------------------------------------- fit


def test_a_recipe_that_fits_is_left_alone():
    recipe = Recipe(layers="0-5", class_index=2, edits=(Edit.along("all", 11, 1.0),))
    assert fit(recipe, num_ws=6, w_dim=12, label_dim=3) == (recipe, [])


def test_what_a_model_cannot_do_is_left_out_with_a_notice_each():
    good = Edit.along("5", 11, 1.0)
    recipe = Recipe(
        layers="4-6",
        class_index=3,
        edits=(
            Edit.along("6", 0, 1.0),  # no such layer
            good,
            Edit.along("all", 12, 2.0),  # no such direction
            Edit("0", ((0, 0.6), (40, 0.8)), 3.0),  # half of a direction is another direction
        ),
        names=(
            Named("0", ((0, 0.6), (40, 0.8)), "Nose"),
            Named("5", ((11, 1.0),), "Ear"),
            Named("6", ((0, 1.0),), "Chin"),
        ),
    )
    fitted, notices = fit(recipe, num_ws=6, w_dim=12, label_dim=3)
    assert fitted == Recipe(layers="all", class_index=0, edits=(good,), names=recipe.names[1:2])
    assert len(notices) == 7
    assert all(is_one_sentence(notice) and notice[0].isupper() for notice in notices)
    text = " ".join(notices)
    assert "layers are 0 to 5" in text and "0 to 11" in text and "classes are 0 to 2" in text
    for left_out in recipe.edits[:1] + recipe.edits[2:]:
        assert left_out.to_text() in text
    assert "'Nose'" in text and "'Chin'" in text and "'Ear'" not in text


def test_a_class_of_a_model_without_classes():
    fitted, notices = fit(Recipe(class_index=1), num_ws=6, w_dim=12, label_dim=0)
    assert fitted.class_index == 0
    assert notices == ["This model has no class 1; it has no classes."]


def test_a_mix_needs_its_layers_and_more_than_one():
    mixed = Recipe(mix=Mix(7, "4-5"))
    assert fit(mixed, num_ws=6, w_dim=12, label_dim=0) == (mixed, [])
    fitted, notices = fit(mixed, num_ws=5, w_dim=12, label_dim=0)
    assert fitted == Recipe()
    assert notices == ["The mix 7:4-5 was left out: This model has no layer 5; layers are 0 to 4."]
    for layers in ("all", "0", "4-5"):
        fitted, notices = fit(Recipe(mix=Mix(7, layers)), num_ws=1, w_dim=12, label_dim=0)
        assert fitted == Recipe()
        assert notices == [
            f"The mix 7:{layers} was left out: this model has one layer, and a mix takes two."
        ]
    assert all(is_one_sentence(notice) for notice in notices)


@pytest.mark.parametrize("seed", [0, 7])
def test_a_noise_seed_of_a_model_without_noise(seed):
    noisy = Recipe(noise_seed=seed)
    assert fit(noisy, 6, 12, 0, has_noise=True) == fit(noisy, 6, 12, 0) == (noisy, [])
    fitted, notices = fit(noisy, 6, 12, 0, has_noise=False)
    assert fitted == Recipe()
    assert notices == [f"The noise seed {seed} was left out: this model has no noise."]
    assert fit(Recipe(), 6, 12, 0, has_noise=False) == (Recipe(), [])


def test_a_model_of_few_directions_shows_them_all():
    fitted, notices = fit(Recipe(num_semantics=20), num_ws=1, w_dim=8, label_dim=0)
    assert fitted.num_semantics == 8 and notices == []


# -------------------------------------------------------------------------------------- one edit


@given(edits)
def test_an_edit_reads_back_exactly(change):
    assert Edit.from_text(change.to_text()) == change


@given(names)
def test_a_name_reads_back_exactly(named):
    assert Named.from_text(named.to_text()) == named


@given(mixes)
def test_a_mix_reads_back_exactly(mixed):
    assert Mix.from_text(mixed.to_text()) == mixed


@given(directions)
def test_a_direction_reads_back_exactly(direction):
    assert editing.parse_direction(editing.format_direction(direction)) == direction


def test_a_combination_is_the_sum_of_its_terms():
    vectors = torch.eye(4, dtype=torch.float64)[[2, 0, 3, 1]]
    assert combine(vectors, ((0, 1.0),)).tolist() == [0, 0, 1, 0]
    assert combine(vectors, ((3, 0.6), (0, -0.8))).tolist() == [0, 0.6, -0.8, 0]
    with pytest.raises(UserError, match="no semantic 4; semantics are 0 to 3"):
        combine(vectors, ((0, 1.0), (4, 1.0)))


# ------------------------------------------------------------------------------------ mixing w


def test_a_mix_has_these_layers_of_the_other():
    w, other = torch.randn(3, 5, 4), torch.randn(3, 5, 4)
    before = w.clone()
    mixed = mix(w, other, [0, 3])
    assert torch.equal(mixed[:, [0, 3]], other[:, [0, 3]])
    assert torch.equal(mixed[:, [1, 2, 4]], w[:, [1, 2, 4]])
    assert torch.equal(w, before) and mixed.data_ptr() != w.data_ptr()
    assert torch.equal(mix(w, w, "1-3"), w)
    assert torch.equal(mix(w, other, "all"), other)
    assert torch.equal(mix(w, other, "0,3"), mixed)
    # and back: the other way round it is the other layers
    assert torch.equal(mix(other, w, [1, 2, 4]), mixed)
    assert torch.equal(mix(mixed, w, [0, 3]), w)


def test_one_sample_is_mixed_into_all():
    w, other = torch.randn(3, 5, 4), torch.randn(1, 5, 4, dtype=torch.float64)
    mixed = mix(w, other, "2")
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, mix(w, other.float().repeat(3, 1, 1), "2"))
    assert torch.equal(mixed[:, 2], other[:, 2].float().expand(3, -1))


@pytest.mark.parametrize(
    "w, other, layers",
    [
        ((3, 5, 4), (2, 5, 4), "all"),
        ((3, 5, 4), (0, 5, 4), "all"),
        ((3, 5, 4), (3, 6, 4), "all"),
        ((3, 5, 4), (3, 5, 3), "all"),
        ((3, 5, 4), (5, 4), "all"),
        ((5, 4), (5, 4), "all"),
        ((3, 5, 4), (3, 5, 4), "5"),
        ((3, 5, 4), (3, 5, 4), [-1]),
        ((3, 5, 4), (3, 5, 4), []),
        ((3, 5, 4), (3, 5, 4), ""),
    ],
)
def test_what_cannot_be_mixed(w, other, layers):
    with pytest.raises(UserError) as error:
        mix(torch.zeros(w), torch.zeros(other), layers)
    assert is_one_sentence(str(error.value))


@pytest.mark.parametrize("text", ["", "all", "all:0", "all:x:1", "all:0:x", "9:8:7:6"])
def test_a_text_that_is_no_edit(text):
    with pytest.raises(UserError) as error:
        Edit.from_text(text)
    assert is_one_sentence(str(error.value))
