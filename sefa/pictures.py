"""PNGs that carry their recipe: an image taken away can be opened again where it was made.

    images, recipe -> grid -> png_bytes -> a file anybody can look at -> recipe_of_png -> recipe

The recipe is one uncompressed text entry of the PNG (`tEXt`, keyword `sefa_recipe`; PNG
specification, third edition, 11.3.3), its value what `Recipe.to_query` writes. Reading it decodes
no pixels and unpacks nothing, so a file from anybody may be read.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL.PngImagePlugin import PngInfo

from sefa.editing import MAX_QUERY, Recipe
from sefa.errors import UserError
from sefa.export import to_pil

KEYWORD = "sefa_recipe"
GAP = 8  # pixels between the images of a grid
MAX_PNG = 256 * 1024 * 1024  # bytes: sixteen images of 2048 px, full of noise, are fewer
MAX_CHUNKS = 65536  # MAX_PNG in the small pieces (4 kB) that some programs write

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def one_of(recipe: Recipe, i: int) -> Recipe:
    """The recipe of sample i alone, 0 <= i < num_samples: its seed, one sample, all else the same.

    Raises `UserError` for a sample that the recipe does not have.
    """
    if not 0 <= i < recipe.num_samples:
        raise UserError(f"There is no sample {i}; samples are 0 to {recipe.num_samples - 1}.")
    return replace(recipe, seed=recipe.seed + i, num_samples=1)


def columns(n: int) -> int:
    """How many of n images stand side by side: as on the page, 1, 2 (to 4), 3 (to 9), 4."""
    return 1 if n == 1 else 2 if n <= 4 else 3 if n <= 9 else 4


def grid(images: np.ndarray, gap: int = GAP) -> np.ndarray:
    """uint8 [N, H, W, C], N >= 1 -> one uint8 image [rows (H + gap) - gap, ..., C], row by row.

    `columns(N)` side by side, white between them and where the last row is not full; the pixels of
    the images stay as they are.
    """
    n, height, width, channels = images.shape
    across = columns(n)
    rows = -(-n // across)
    size = rows * (height + gap) - gap, across * (width + gap) - gap, channels
    sheet = np.full(size, 255, np.uint8)
    for i, image in enumerate(images):
        y, x = i // across * (height + gap), i % across * (width + gap)
        sheet[y : y + height, x : x + width] = image
    return sheet


def png_bytes(image: np.ndarray, recipe: Recipe) -> bytes:
    """A PNG of an image uint8 [H, W, C], C 1 (grey) or 3 (RGB), with the recipe it was made by.

    Lossless. What it says beside the pixels: `sefa_recipe`, the recipe's query, and `Software`.
    Raises ValueError for an array of another kind.
    """
    entries = PngInfo()
    entries.add_text("Software", "SeFa")
    entries.add_text(KEYWORD, recipe.to_query())
    buffer = io.BytesIO()
    to_pil(image).save(buffer, "PNG", pnginfo=entries)
    return buffer.getvalue()


def recipe_of_png(content: bytes) -> tuple[Recipe, list[str]]:
    """The recipe in a PNG, and one sentence for every part of it that was not taken over.

    See `Recipe.from_query`; of several entries the first counts. Raises `UserError` with one
    sentence for anything but a whole PNG, of at most MAX_PNG bytes, that has such an entry.
    """
    if len(content) > MAX_PNG:
        raise UserError(f"A PNG is read up to {MAX_PNG // 2**20} MB; this file is larger.")
    if not content.startswith(SIGNATURE):
        raise UserError("This file is no PNG; images saved from here carry their recipe as PNGs.")
    queries = [text for chunk in chunks(content) if (text := text_of_chunk(*chunk)) is not None]
    if not queries:
        raise UserError(
            "This PNG carries no recipe: it was not saved from here, or a program took it out."
        )
    return Recipe.from_query(queries[0])


def chunks(content: bytes) -> Iterator[tuple[bytes, memoryview, int]]:
    """(type, data, checksum) of each chunk after the signature, up to IEND; no data is copied.

    Raises `UserError` where the file breaks off, or has more than MAX_CHUNKS.
    """
    view, at = memoryview(content), len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        size, kind = int.from_bytes(view[at : at + 4]), bytes(view[at + 4 : at + 8])
        end = at + 12 + size  # length, type, data, checksum
        if len(view) < at + 12 or end > len(view):
            raise UserError("This PNG is damaged: it breaks off before its end.")
        if kind == b"IEND":
            return
        yield kind, view[at + 8 : end - 4], int.from_bytes(view[end - 4 : end])
        at = end
    raise UserError("This PNG is in too many pieces to be read.")


def text_of_chunk(kind: bytes, data: memoryview, checksum: int) -> str | None:
    """The query in a chunk that is the recipe's entry; None for every other chunk.

    `tEXt` is keyword, 0, text; `iTXt`, which some programs make of it, is keyword, 0, whether and
    how it is compressed, language, 0, translated keyword, 0, text. Raises `UserError` for an entry
    that is damaged, compressed, or longer than any recipe.
    """
    start = KEYWORD.encode() + b"\0"
    if kind not in (b"tEXt", b"iTXt", b"zTXt") or data[: len(start)] != start:
        return None
    if len(data) > len(start) + MAX_QUERY + 256:
        raise UserError("The recipe in this PNG is too long to be one.")
    if zlib.crc32(data, zlib.crc32(kind)) != checksum:
        raise UserError("The recipe in this PNG is damaged.")
    text = bytes(data[len(start) :])
    if kind == b"zTXt" or (kind == b"iTXt" and text[:1] != b"\0"):
        raise UserError("The recipe in this PNG is compressed; it is read as plain text only.")
    if kind == b"iTXt":
        text = text[2:].split(b"\0", 2)[-1]
    return text.decode("ascii", "replace")  # a query is ASCII; no other is let through
