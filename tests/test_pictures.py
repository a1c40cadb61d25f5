"""PNGs that carry their recipe: pixels and recipes come back, and no file does harm."""

import io
import struct
import time
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sefa import Edit, Recipe, UserError, pictures
from sefa.editing import MAX_QUERY
from sefa.pictures import SIGNATURE, columns, grid, one_of, png_bytes, recipe_of_png
from tests.helpers import is_one_sentence
from tests.test_recipe import recipes

RECIPE = Recipe(seed=7, edits=(Edit("0-1", ((3, 0.6), (7, 0.8)), -2.5),))


def noise(*shape, seed=0):
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


def pixels(content):
    found = np.asarray(Image.open(io.BytesIO(content)))
    return found[..., None] if found.ndim == 2 else found


def chunk(kind, data, checksum=None):
    checksum = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def png(*parts):
    """A file of these chunks, between a header and an end."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return SIGNATURE + header + b"".join(parts) + chunk(b"IEND", b"")


def entry(query, kind=b"tEXt", between=b""):
    return chunk(kind, b"sefa_recipe\0" + between + query)


# --- what is written comes back -------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(16, 16, 3), (5, 9, 1), (1, 1, 3)])
def test_pixels_and_recipe_come_back_exactly(shape):
    image = noise(*shape)
    content = png_bytes(image, RECIPE)
    np.testing.assert_array_equal(pixels(content), image)
    assert recipe_of_png(content) == (RECIPE, [])
    said = Image.open(io.BytesIO(content)).text
    assert said == {"sefa_recipe": RECIPE.to_query(), "Software": "SeFa"}


@given(recipe=recipes)
def test_every_recipe_comes_back(recipe):
    assert recipe_of_png(png_bytes(np.zeros((1, 1, 1), np.uint8), recipe)) == (recipe, [])


def test_other_programs_forms_of_the_entry_are_read():
    query = RECIPE.to_query().encode()
    assert recipe_of_png(png(entry(query)))[0] == RECIPE
    international = entry(query, b"iTXt", between=b"\0\0en\0Rezept\0")
    assert recipe_of_png(png(international))[0] == RECIPE
    # Pillow's own, written again by somebody's editor, after the pixels as before.
    entries = PngInfo()
    entries.add_itxt("sefa_recipe", RECIPE.to_query())
    entries.add_text("Comment", "sefa_recipe")
    buffer = io.BytesIO()
    Image.new("L", (3, 3)).save(buffer, "PNG", pnginfo=entries)
    assert recipe_of_png(buffer.getvalue())[0] == RECIPE
    assert recipe_of_png(png(chunk(b"IDAT", b"xyz"), entry(query)))[0] == RECIPE


def test_of_two_entries_the_first_counts():
    two = [entry(replace(RECIPE, seed=seed).to_query().encode()) for seed in (1, 2)]
    assert recipe_of_png(png(*two))[0].seed == 1


def test_what_is_wrong_in_a_recipe_is_said_and_the_rest_taken():
    recipe, notices = recipe_of_png(png(entry(b"v=1&seed=5&psi=nan&n=2")))
    assert recipe == Recipe(seed=5, num_samples=2)
    assert len(notices) == 1 and "psi" in notices[0]
    assert recipe_of_png(png(entry(b"seed=5&model=\xff\xfe")))[0] == Recipe(seed=5)


# --- hostile files --------------------------------------------------------------------------------

QUERY = RECIPE.to_query().encode()
BOMB = zlib.compress(b"0" * 10_000_000)
HOSTILE = {
    "nothing": b"",
    "a text": b"seed=3",
    "a JPEG": b"\xff\xd8\xff\xe0" + bytes(100),
    "a signature alone": SIGNATURE,
    "no entry": png(),
    "another entry": png(chunk(b"tEXt", b"sefa_recipe_2\0seed=3"), chunk(b"tEXt", b"sefa_recipe")),
    "a zTXt bomb": png(entry(BOMB, b"zTXt", b"\0")),
    "an iTXt bomb": png(entry(BOMB, b"iTXt", b"\1\0\0\0")),
    "a text that is too long": png(entry(b"seed=1&x=" + b"y" * (MAX_QUERY + 300))),
    "a wrong checksum": png(chunk(b"tEXt", b"sefa_recipe\0seed=3", checksum=1)),
    "a huge chunk": SIGNATURE + struct.pack(">I", 2**32 - 1) + b"tEXtsefa_recipe\0seed=3",
    "very many chunks": png(chunk(b"teSt", b"") * 70_000, entry(QUERY)),
    "no end": png(entry(QUERY))[:-12],
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused_in_one_sentence(content):
    started = time.process_time()
    with pytest.raises(UserError) as error:
        recipe_of_png(content)
    assert is_one_sentence(str(error.value)), str(error.value)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("name", ["a zTXt bomb", "an iTXt bomb", "a huge chunk"])
def test_hostile_files_take_no_memory(name):
    tracemalloc.start()
    with pytest.raises(UserError):
        recipe_of_png(HOSTILE[name])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500_000


def test_a_file_cut_anywhere_is_refused():
    content = png_bytes(noise(4, 4, 3), RECIPE)
    for length in range(len(content)):
        with pytest.raises(UserError) as error:
            recipe_of_png(content[:length])
        assert is_one_sentence(str(error.value))


def test_a_file_that_is_too_large_is_not_looked_at(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PNG", 100)
    with pytest.raises(UserError, match="larger"):
        recipe_of_png(png_bytes(noise(8, 8, 3), RECIPE))


def test_an_image_too_large_to_decode_still_gives_its_recipe():
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0))
    content = SIGNATURE + header + entry(QUERY) + chunk(b"IDAT", BOMB) + chunk(b"IEND", b"")
    assert recipe_of_png(content) == (RECIPE, [])


@given(content=st.binary(max_size=300), tail=st.binary(max_size=100))
def test_any_bytes_give_a_recipe_or_one_sentence(content, tail):
    good = png_bytes(np.zeros((1, 1, 1), np.uint8), RECIPE)
    for some in (content, SIGNATURE + content, good[:-12] + tail, png(entry(content))):
        try:
            recipe, _ = recipe_of_png(some)
        except UserError as error:
            assert is_one_sentence(str(error))
        else:
            assert type(recipe) is Recipe


# --- samples and grids ----------------------------------------------------------------------------


def test_one_of_many_has_its_seed():
    assert one_of(RECIPE, 2) == replace(RECIPE, seed=9, num_samples=1)
    for i in (-1, 4):
        with pytest.raises(UserError, match="samples are 0 to 3"):
            one_of(RECIPE, i)


def test_a_grid_has_the_columns_of_the_page():
    expected = [1, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4]
    assert [columns(n) for n in range(1, 17)] == expected


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 16])
@pytest.mark.parametrize("gap", [0, 5])
def test_every_image_of_a_grid_is_in_its_place_to_the_pixel(n, gap):
    images = noise(n, 6, 9, 3)
    sheet = grid(images, gap)
    across = columns(n)
    assert sheet.shape == (-(-n // across) * (6 + gap) - gap, across * (9 + gap) - gap, 3)
    white = np.ones(sheet.shape[:2], bool)
    for i in range(n):
        y, x = i // across * (6 + gap), i % across * (9 + gap)
        np.testing.assert_array_equal(sheet[y : y + 6, x : x + 9], images[i])
        white[y : y + 6, x : x + 9] = False
    assert (sheet[white] == 255).all() and sheet.dtype == np.uint8


def test_a_grid_of_one_is_the_image():
    image = noise(1, 4, 4, 1)
    np.testing.assert_array_equal(grid(image), image[0])
