"""Arrays -> files a visitor takes away: the HTML pages of the command line.

Nothing here knows of models: images come in as uint8 numpy arrays, text as plain strings. A page is
one file that asks the network for nothing: its images are data URIs, its style and script inline,
and its Content-Security-Policy lets the browser hold it to that.

    images [S, H, W, C] -> encode_images -> TraversalGrid -> page_chunks -> write_pages
    a TraversalGrid for each method -> MethodComparison -> methods_chunks -> write_methods_page
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from sefa.files import write_atomically

IMAGE_FORMATS = ("jpeg", "png")
ORDERS = ("sample_first", "semantic_first")

# Not "optimize": Pillow then gives up on large images full of noise, such as an untrained model's.
# 4:4:4 at 92 keeps thin coloured strokes, and a page of 5 x 5 x 11 images of 256 px at a few MB.
_SAVE_OPTIONS = {
    "jpeg": {"format": "JPEG", "quality": 92, "subsampling": 0},
    "png": {"format": "PNG"},
}


@dataclass(frozen=True)
class TraversalGrid:
    """What one run shows: N samples, each moved along K semantics in S steps.

    model        name for the heading, any text
    layers       layers that were decomposed and edited, as text ("all", "0-1,4")
    samples      N labels ("seed 7")
    eigenvalues  K numbers, none for directions that have none
    distances    S numbers, in units of the unit direction
    images       [N][K][S] data URIs, as `encode_images` gives them
    image_size   (width, height) of every image, in pixels
    names        K texts that people gave to the semantics ("Smile →"), "" for none; may be left out
    facts        more (term, text) pairs for the heading, in the order shown
    command      the command line that makes these pages again
    value_name   what an eigenvalue is called ("variance")

    Raises ValueError where the numbers of labels, eigenvalues, names, distances and images disagree.
    """

    model: str
    layers: str
    samples: Sequence[str]
    eigenvalues: Sequence[float]
    distances: Sequence[float]
    images: Sequence[Sequence[Sequence[str]]]
    image_size: tuple[int, int]
    names: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    command: str = ""
    value_name: str = "eigenvalue"

    @property
    def num_semantics(self) -> int:
        """K."""
        return len(self.eigenvalues) or max(map(len, self.images), default=0)

    def __post_init__(self):
        n, k, s = len(self.samples), self.num_semantics, len(self.distances)
        fits = len(self.images) == n and all(
            len(sample) == k and all(len(strip) == s for strip in sample) for sample in self.images
        )
        if not fits:
            raise ValueError(f"images must be nested as {n} samples x {k} semantics x {s} steps")
        if self.names and len(self.names) != k:
            raise ValueError(f"{k} semantics have {len(self.names)} names")


@dataclass(frozen=True)
class MethodComparison:
    """M methods side by side on the same samples, at equal change of the images.

    methods   M names ("SeFa")
    grids     M grids of the same samples, layers, distances and K; their names, facts,
              eigenvalues and command are not shown. `distances` are in units of change, the same for all.
    notes     [M][K] lists of texts, shown one under another with the method's name
    main_facts, facts     (term, text) pairs for the heading, in the order shown; `facts` and the
              command unfold on a click
    command   the command line that makes this page again

    Raises ValueError where these disagree.
    """

    methods: Sequence[str]
    grids: Sequence[TraversalGrid]
    notes: Sequence[Sequence[Sequence[str]]]
    main_facts: Sequence[tuple[str, str]] = ()
    facts: Sequence[tuple[str, str]] = ()
    command: str = ""

    def __post_init__(self):
        shown = {
            (grid.model, grid.layers, *grid.samples, grid.num_semantics, *grid.distances)
            for grid in self.grids
        }
        if len(shown) != 1 or len(self.methods) != len(self.grids):
            raise ValueError("every method must show the same samples, directions and distances")
        if [len(notes) for notes in self.notes] != [grid.num_semantics for grid in self.grids]:
            raise ValueError("every direction of every method must have its notes")


# ----------------------------------------------------------------------------- images


def fitted_size(width: int, height: int, size: int) -> tuple[int, int]:
    """The (width, height) at which the longer side is `size` pixels and the shape is kept."""
    scale = size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def resize_images(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 [N, H, W, C] -> uint8 [N, h, w, C] with max(h, w) == size; C is 1 or 3.

    Images that already fit come back untouched. Shrinking averages (Lanczos); small models are
    enlarged with bicubic, whose pixels do not pass for detail as nearest's squares do.
    """
    height, width, channels = images.shape[1:]
    target = fitted_size(width, height, size)
    if target == (width, height):
        return images
    method = Image.Resampling.LANCZOS if size < max(width, height) else Image.Resampling.BICUBIC
    resized = [np.asarray(to_pil(image).resize(target, method)) for image in images]
    return np.stack(resized).reshape(len(images), target[1], target[0], channels)


def encode_images(images: np.ndarray, image_format: str = "jpeg") -> list[str]:
    """uint8 [N, H, W, C], C 1, 3 or 4 (RGB and alpha, "png" only) -> N data URIs.

    "png" is lossless; "jpeg" is a third to a quarter of its size.
    """
    return [_data_uri(to_pil(image), image_format) for image in images]


def to_pil(image: np.ndarray) -> Image.Image:
    """uint8 [H, W, C], C 1 (grey), 3 (RGB) or 4 (RGB and alpha) -> Pillow's image; else ValueError."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise ValueError(
            f"expected uint8 [H, W, 1, 3 or 4], found {image.dtype} {list(image.shape)}"
        )
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def _data_uri(image: Image.Image, image_format: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, **_SAVE_OPTIONS[image_format])
    return f"data:image/{image_format};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


# ----------------------------------------------------------------------------- pages


def visualisation_page(grid: TraversalGrid, order: str) -> str:
    """One page as text; `order` is "sample_first" or "semantic_first". See `page_chunks`."""
    return "".join(page_chunks(grid, order))


def page_chunks(grid: TraversalGrid, order: str) -> Iterator[str]:
    """The page in pieces, a row at a time: joined they may be hundreds of megabytes.

    sample_first    rows: each sample with all its semantics, then the next sample
    semantic_first  rows: each semantic on all samples, then the next semantic

    Both have one row a (sample, semantic) pair and one image column a distance, and start with the
    column they are grouped by. Raises ValueError for another order.
    """
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, found {order!r}")
    by = "by sample" if order == "sample_first" else "by semantic"
    yield from head(f"{grid.model}: semantics {by}", _STYLE, _SCRIPT)
    yield from _heading(grid, order)
    yield "<main>\n<table>\n" + _column_headers(grid, order) + "<tbody>\n"
    group = None
    for sample, semantic in _pairs(grid, order):
        starts_group, group = (
            group != _leading(sample, semantic, order),
            _leading(sample, semantic, order),
        )
        yield _row(grid, sample, semantic, order, starts_group)
    yield _END


def methods_chunks(comparison: MethodComparison) -> Iterator[str]:
    """The page of several methods in pieces, a row at a time.

    Rows: each sample with all its directions, of each direction a row for every method. One image
    column a distance; a narrow screen shows some of them.
    """
    first = comparison.grids[0]
    title = f"{first.model}: {_listed(comparison.methods)}"
    yield from head(title, _STYLE + _METHODS_STYLE, _SCRIPT)
    yield from _methods_heading(comparison)
    steps, width = len(first.distances), first.image_size[0]
    full, least = (f"calc(20.5rem + {steps * size}px)" for size in (width + 8, 56))
    yield f'<main>\n<table style="--full: {full}; --least: {least}">\n'
    yield _methods_column_headers(first) + "<tbody>\n"
    for sample in range(len(first.samples)):
        for direction in range(first.num_semantics):
            for method in range(len(comparison.methods)):
                yield _methods_row(comparison, sample, direction, method)
    yield _END


def format_distance(distance: float) -> str:
    """A distance as a column shows it: "-3", "0.6"; four significant digits."""
    return f"{distance:.4g}"


def _leading(sample: int, semantic: int, order: str) -> int:
    return sample if order == "sample_first" else semantic


def _pairs(grid: TraversalGrid, order: str) -> Iterator[tuple[int, int]]:
    """(sample, semantic) of every row, in the order of the page."""
    samples, semantics = range(len(grid.samples)), range(grid.num_semantics)
    if order == "sample_first":
        return ((sample, semantic) for sample in samples for semantic in semantics)
    return ((sample, semantic) for semantic in semantics for sample in samples)


def head(title: str, style: str, script: str) -> Iterator[str]:
    """A self-contained page up to <body>, whose policy allows `script`, data URIs and nothing else.

    `script` must be the whole of the page's one <script>.
    """
    # A hash, not 'unsafe-inline': even if some text slipped past escape(), it could not run.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    yield f"<title>{escape(title)}</title>\n"
    yield f'<link rel="icon" href="data:,">\n<style>{style}</style>\n</head>\n<body>\n'


def _heading(grid: TraversalGrid, order: str) -> Iterator[str]:
    yield f"<header>\n<h1>{escape(grid.model)}</h1>\n"
    if order == "sample_first":
        yield "<p>Every sample along all its semantics, sample by sample. "
    else:
        yield "<p>Every semantic on all samples, semantic by semantic. "
    yield "Click Sample or Semantic to sort.</p>\n"
    facts = [("Layers", grid.layers), *grid.facts]
    if grid.eigenvalues:
        numbers = ", ".join(f"{i}: {value:.4g}" for i, value in enumerate(grid.eigenvalues))
        facts.insert(1, (f"{grid.value_name.capitalize()}s", numbers))
    yield from _facts(facts, grid.command)
    yield "</header>\n"


def _facts(facts: Iterable[tuple[str, str]], command: str) -> Iterator[str]:
    yield "<dl>\n"
    for term, text in facts:
        yield f"<div><dt>{escape(term)}</dt><dd>{escape(text)}</dd></div>\n"
    if command:
        yield f"<div><dt>Command</dt><dd><code>{escape(command)}</code></dd></div>\n"
    yield "</dl>\n"


def _column_headers(grid: TraversalGrid, order: str) -> str:
    names = ["Sample", "Semantic"] if order == "sample_first" else ["Semantic", "Sample"]
    first, second = (f'<button type="button">{name}</button>' for name in names)
    distances = "".join(f'<th scope="col">{format_distance(d)}</th>' for d in grid.distances)
    return (
        f'<thead>\n<tr><th scope="col" aria-sort="ascending">{first}</th>'
        f'<th scope="col">{second}</th>{distances}</tr>\n</thead>\n'
    )


def _row(grid: TraversalGrid, sample: int, semantic: int, order: str, starts_group: bool) -> str:
    # data-value is what the script sorts by; the text beside it is for people.
    name = grid.names[semantic] if grid.names else ""
    value = f"{grid.value_name} {grid.eigenvalues[semantic]:.4g}" if grid.eigenvalues else ""
    cells = [
        _row_header(sample, f"Sample {sample:03d}", grid.samples[sample]),
        _row_header(semantic, f"Semantic {semantic:03d}", *filter(None, [name, value])),
    ]
    if order == "semantic_first":
        cells.reverse()
    cells += _image_cells(grid, sample, semantic, f"sample {sample}, semantic {semantic}")
    return ('<tr class="group">' if starts_group else "<tr>") + "".join(cells) + "</tr>\n"


def _image_cells(
    grid: TraversalGrid,
    sample: int,
    semantic: int,
    what: str,
    between: Iterable[int] = (),
) -> Iterator[str]:
    """A cell a distance; `between`: the steps that a narrow screen leaves out."""
    width, height = grid.image_size
    for step, uri in enumerate(grid.images[sample][semantic]):
        alt = f"{what}, distance {format_distance(grid.distances[step])}"
        yield (
            f'<td{" class=between" if step in between else ""}><img src="{escape(uri)}" '
            f'alt="{escape(alt)}" width="{width}" height="{height}" decoding="async"></td>'
        )


def _row_header(value: int, name: str, *notes: str) -> str:
    below = "".join(f"<small>{escape(note)}</small>" for note in notes)
    return f'<th scope="row" data-value="{value}">{name}{below}</th>'


def _methods_heading(comparison: MethodComparison) -> Iterator[str]:
    first = comparison.grids[0]
    steps, shown = len(first.distances), len(first.distances) - len(_between(first))
    yield f"<header>\n<h1>{escape(first.model)}</h1>\n"
    yield (
        f"<p>{escape(_listed(comparison.methods))} directions on the same samples, each as far as "
        "it takes for the same change of the images. The better a method disentangles, the more of "
        "its strips change one thing and leave the rest. Directions of the same number have only "
        "that in common. Click a heading to sort.</p>\n"
    )
    yield from _facts([("Layers", first.layers), *comparison.main_facts], "")
    yield "<details><summary>How this was made</summary>\n"
    yield from _facts(comparison.facts, comparison.command)
    yield "</details>\n"
    yield '<p class="wide"><label><input type="checkbox" id="full"> Images at full size</label></p>'
    if shown < steps:
        yield f'\n<p class="narrow">This narrow screen shows {shown} of the {steps} steps.</p>'
    yield "\n</header>\n"


def _methods_column_headers(grid: TraversalGrid) -> str:
    buttons = [f'<button type="button">{name}</button>' for name in _METHODS_COLUMNS]
    between = _between(grid)
    distances = "".join(
        f'<th scope="col"{" class=between" if step in between else ""}>{format_distance(d)}</th>'
        for step, d in enumerate(grid.distances)
    )
    first, *others = buttons
    rest = "".join(f'<th scope="col">{button}</th>' for button in others)
    return (
        f'<thead>\n<tr><th scope="col" aria-sort="ascending">{first}</th>{rest}{distances}</tr>\n'
        "</thead>\n"
    )


def _methods_row(comparison: MethodComparison, sample: int, direction: int, method: int) -> str:
    grid, title = comparison.grids[method], comparison.methods[method]
    notes = comparison.notes[method][direction]
    what = f"sample {sample}, {title} {direction}"
    cells = [
        _row_header(sample, f"{sample:03d}", grid.samples[sample]),
        _row_header(direction, f"{direction:03d}"),
        _row_header(method, escape(title), *notes),
        *_image_cells(grid, sample, direction, what, _between(grid)),
    ]
    group = "group " if direction == method == 0 else ""
    return f'<tr class="{group}m{method}">' + "".join(cells) + "</tr>\n"


def _between(grid: TraversalGrid) -> list[int]:
    """The steps that a narrow screen leaves out: all but the ends and some evenly in between."""
    steps = len(grid.distances)
    kept = np.linspace(0, steps - 1, min(steps, _NARROW)).round().astype(int).tolist()
    return [step for step in range(steps) if step not in kept]


def _listed(names: Sequence[str]) -> str:
    """ "SeFa, PCA and Random"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


_NARROW = 5  # steps on a narrow screen
_METHODS_COLUMNS = ("Sample", "Direction", "Method")

_STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1b1b1f; --soft: #5c5c66; --line: #d8d8de; }
@media (prefers-color-scheme: dark) {
  :root { --back: #17171b; --ink: #ececf0; --soft: #a3a3ae; --line: #3a3a42; }
}
body { margin: 0; background: var(--back); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; }
/* The page scrolls sideways with the table; its heading stays in view. */
header { position: sticky; left: 0; box-sizing: border-box; width: 100vw; max-width: 60rem;
  padding: 1rem; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.5rem; }
header p { margin: .25rem 0 .75rem; color: var(--soft); }
dl { margin: 0; }
dl div { display: flex; flex-wrap: wrap; gap: 0 .75rem; }
dt { min-width: 7rem; color: var(--soft); }
dd { margin: 0; flex: 1 1 16rem; }
code { font: 13px/1.45 ui-monospace, monospace; }
table { border-collapse: separate; border-spacing: 0; }
th, td { padding: 4px; text-align: left; vertical-align: middle; }
thead th { position: sticky; top: 0; z-index: 1; background: var(--back); padding: 6px 4px;
  border-bottom: 1px solid var(--line); font-weight: 600; text-align: center;
  font-variant-numeric: tabular-nums; }
tbody th { padding: 4px 12px; background: var(--back); font-weight: 600; white-space: nowrap; }
/* Where there is room, the names of a row stay in view too. */
@media (min-width: 45rem) {
  tr > :nth-child(-n+2) { box-sizing: border-box; width: 9rem; min-width: 9rem; }
  tr > :nth-child(-n+2) { position: sticky; left: 0; }
  tr > :nth-child(2) { left: 9rem; }
  thead tr > :nth-child(-n+2) { z-index: 2; }
}
tr.group:not(:first-child) > * { border-top: 2px solid var(--line); }
small { display: block; max-width: 9rem; white-space: normal; color: var(--soft);
  font-weight: 400; }
img { display: block; }
button { width: 100%; padding: 2px 8px; border: 1px solid var(--line); border-radius: 6px;
  background: none; color: inherit; font: inherit; cursor: pointer; white-space: nowrap; }
button:hover { border-color: currentColor; }
button:focus-visible { outline: 3px solid #4a7dff; outline-offset: 1px; }
button::after { content: " \\2195"; color: var(--soft); }
[aria-sort=ascending] button::after { content: " \\2191"; color: inherit; }
[aria-sort=descending] button::after { content: " \\2193"; color: inherit; }
"""

_SCRIPT = """
"use strict";
const body = document.querySelector("tbody");
const headers = [...document.querySelectorAll("thead th")];

function compare(a, b) {
  const x = Number(a), y = Number(b);
  return isNaN(x) || isNaN(y) ? a.localeCompare(b, undefined, { numeric: true }) : x - y;
}

// Array.sort is stable, so rows that tie keep the order of the sort before.
function sortBy(column) {
  const ascending = headers[column].getAttribute("aria-sort") !== "ascending";
  const value = row => row.cells[column].dataset.value;
  const rows = [...body.rows].sort((a, b) => (ascending ? 1 : -1) * compare(value(a), value(b)));
  rows.forEach((row, i) => {
    row.classList.toggle("group", i === 0 || value(row) !== value(rows[i - 1]));
    body.append(row);
  });
  headers.forEach(th => th.removeAttribute("aria-sort"));
  headers[column].setAttribute("aria-sort", ascending ? "ascending" : "descending");
}

headers.forEach((th, column) => {
  const button = th.querySelector("button");
  if (button) button.addEventListener("click", () => sortBy(column));
});
"""

# Strips fit the window, so that all methods are seen at once; on a phone the names stand above them.
_METHODS_STYLE = """
table { width: min(100%, var(--full)); }
img { max-width: 100%; height: auto; }
tbody th:nth-child(3) { box-shadow: inset 4px 0 var(--mark); }
.m0 { --mark: #6366f1; } .m1 { --mark: #e08a00; } .m2 { --mark: #8b8b96; }
.m2 + .m0 > * { padding-top: 14px; }
summary { margin-top: .5rem; color: var(--soft); cursor: pointer; }
header .wide, header .narrow { margin: .5rem 0 0; }
.narrow { display: none; }
@media (min-width: 45rem) {
  table { table-layout: fixed; min-width: var(--least); }
  tr > :nth-child(-n+3) { position: sticky; left: 0; width: 6.5rem; min-width: 6.5rem; }
  tr > :nth-child(2) { left: 6.5rem; width: 7rem; min-width: 7rem; }
  tr > :nth-child(3) { left: 13.5rem; width: 7rem; min-width: 7rem; box-sizing: border-box; }
  thead tr > :nth-child(-n+3) { z-index: 2; }
  :root:has(#full:checked) table { width: max-content; table-layout: auto; }
  :root:has(#full:checked) img { max-width: none; }
}
@media (max-width: 45rem) {
  .wide, .between { display: none; }
  .narrow { display: block; }
  table, thead, tbody { display: block; width: 100%; }
  thead { position: sticky; top: 0; z-index: 1; background: var(--back); }
  tr { display: flex; flex-wrap: wrap; }
  tr > * { box-sizing: border-box; flex: 1 1 0; min-width: 0; padding: 1px 2px; }
  thead th { position: static; }
  tr > :nth-child(-n+3) { flex-basis: 33.3%; padding: 4px 8px; }
  .m2 + .m0 > :nth-child(n+4) { padding-top: 1px; }
}
"""

_END = f"</tbody>\n</table>\n</main>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"


# ----------------------------------------------------------------------------- files


def write_pages(folder: str | os.PathLike, prefix: str, grid: TraversalGrid) -> list[Path]:
    """Writes `{prefix}_sample_first.html` and `{prefix}_semantic_first.html`; returns their paths.

    The folder must exist. Either page is complete or what was there before is left as it was.
    Raises OSError where the folder cannot be written.
    """
    paths = [Path(folder) / f"{prefix}_{order}.html" for order in ORDERS]
    for path, order in zip(paths, ORDERS, strict=True):
        write_atomically(path, page_chunks(grid, order))
    return paths


def write_methods_page(
    folder: str | os.PathLike, prefix: str, comparison: MethodComparison
) -> Path:
    """Writes `{prefix}_methods.html` as `write_pages` does, and returns its path."""
    path = Path(folder) / f"{prefix}_methods.html"
    write_atomically(path, methods_chunks(comparison))
    return path
