"""The model card's pictures of directions: heat map of the re-scoring matrix, strips of edits."""

from itertools import pairwise

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import sefa
from sefa.rendering import render

INK, PAPER = (40, 40, 48), (255, 255, 255)
NEGATIVE, ZERO, POSITIVE = (38, 92, 170), (247, 247, 247), (196, 78, 32)
SCALE = 2  # pixels for each unit of length below: crisp on fine screens
MARGIN, GAP = 12, 8
CELL_WIDTH, CELL_HEIGHT = 36, 22
FULL = 0.5  # change that has the full colour
SHOWN = 0.05  # smaller changes are left to their colour


def font(size):
    return ImageFont.load_default(size * SCALE)


def width_of(texts, size):
    """Of the longest text, in units."""
    return int(max((font(size).getlength(text) for text in texts), default=0) / SCALE) + 1


def blank(width, height):
    return Image.new("RGB", (width * SCALE, height * SCALE), PAPER)


def write(image, x, y, text, size=12, anchor="lm", color=INK):
    """Text at (x, y) in units; the anchor is Pillow's."""
    ImageDraw.Draw(image).text((x * SCALE, y * SCALE), text, color, font(size), anchor)


def diverging(value):
    """Colour of a number in [-1, 1], clipped: blue, white, orange."""
    end = NEGATIVE if value < 0 else POSITIVE
    share = min(abs(value), 1.0)
    return tuple(round(z + (e - z) * share) for z, e in zip(ZERO, end))


def heat_map(changes, directions, factors):
    """Changes [K, factors] in standard deviations -> a picture, full colour at FULL and beyond.

    directions: K pairs (layers, index), those of a group next to each other; factors: names.
    """
    left = MARGIN + width_of([f"{layers}   {i}" for layers, i in directions], 12) + GAP
    top = MARGIN + width_of(factors, 12) + GAP
    breaks = sum(a[0] != b[0] for a, b in pairwise(directions))
    width = left + CELL_WIDTH * len(factors) + MARGIN
    height = top + CELL_HEIGHT * len(directions) + GAP * breaks + MARGIN
    image = blank(width, height)

    # Names of factors run upwards: written on a lying strip that is turned.
    lying = blank(top - GAP, CELL_WIDTH * len(factors))
    for column, name in enumerate(factors):
        write(lying, 0, (column + 0.5) * CELL_WIDTH, name)
    image.paste(lying.transpose(Image.Transpose.ROTATE_90), (left * SCALE, 0))

    draw, y, previous = ImageDraw.Draw(image), top, None
    for (layers, index), row in zip(directions, changes.tolist()):
        if previous not in (None, layers):
            y += GAP
        if previous != layers:
            write(image, MARGIN, y + CELL_HEIGHT / 2, layers)
        write(image, left - GAP, y + CELL_HEIGHT / 2, str(index), anchor="rm")
        for column, value in enumerate(row):
            x = left + column * CELL_WIDTH
            corners = (x, y, x + CELL_WIDTH - 1, y + CELL_HEIGHT - 1)
            draw.rectangle([c * SCALE for c in corners], fill=diverging(value / FULL))
            if abs(value) >= SHOWN:
                color = PAPER if abs(value) > 0.6 * FULL else INK
                middle = (x + CELL_WIDTH / 2, y + CELL_HEIGHT / 2)
                write(image, *middle, f"{value:.2f}", 10, "mm", color)
        y, previous = y + CELL_HEIGHT, layers
    return image


def strip(generator, layers, index, seeds, alphas, truncation_psi=0.7):
    """One direction of `factorize` at work: a row for each seed, a column for each alpha.

    Returns uint8 [seeds, alphas, r, r, C].
    """
    directions = sefa.factorize(generator, layers)
    vector = directions.vectors[index]
    with torch.inference_mode():
        z = generator.sample_z(seeds).to(generator.device)
        w = generator.map(z, truncation_psi=truncation_psi)
    edits = [sefa.edit(w, vector, alpha, directions.layers) for alpha in alphas]
    images = [render(generator, edited) for edited in edits]  # [alphas][seeds, r, r, C]
    return np.stack(images, 1)


def strips(generator, labels, seeds, reach, steps=7):
    """A picture with one strip for each named direction, the name at its left.

    labels: (name, layers, index, sign) each; alpha runs from -reach to reach, times the sign.
    """
    r = generator.resolution
    columns = min(len(seeds), max(1, 1000 // (steps * r)))  # samples beside each other
    rows = -(-len(seeds) // columns)
    left = MARGIN + width_of([name for name, *_ in labels], 14) + GAP
    width = left + columns * (steps * r + GAP) - GAP + MARGIN
    height = MARGIN + len(labels) * (rows * r + GAP) - GAP + MARGIN
    image = blank(width, height)
    for number, (name, layers, index, sign) in enumerate(labels):
        alphas = [sign * reach * (2 * i / (steps - 1) - 1) for i in range(steps)]
        y = MARGIN + number * (rows * r + GAP)
        write(image, MARGIN, y + rows * r / 2, name, 14)
        for i, frames in enumerate(strip(generator, layers, index, seeds, alphas)):
            row = Image.fromarray(np.concatenate(frames, 1))  # [r, steps * r, 3]
            row = row.resize((row.width * SCALE, row.height * SCALE), Image.Resampling.BICUBIC)
            x = left + i % columns * (steps * r + GAP)
            image.paste(row, (x * SCALE, (y + i // columns * r) * SCALE))
    return image
