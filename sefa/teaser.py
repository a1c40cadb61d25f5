"""The teaser: one HTML file for a project page, whose sliders scrub through images drawn before.

    recipe, moves -> draw_strips -> strips of frames -> teaser_page -> one file

It needs no server, no network and no GPU.

Each slider has frames of one direction alone, so moving one puts the others back to 0. All frames
are decoded before they are shown, and drawn on a canvas: nothing flickers.
"""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import urlsplit

import numpy as np

from sefa.animation import draw_frames, moved
from sefa.editing import Edit, Recipe
from sefa.errors import UserError
from sefa.export import head, resize_images, to_pil
from sefa.pictures import one_of

MAX_BYTES = 3_000_000  # of the whole file
MAX_STRIPS = 6
STEPS = 25  # frames of a strip, unless more or fewer are asked for
MAX_FRAMES = 65
MAX_DECODED = 40_000_000  # pixels of all frames together: 160 MB where they are shown
ENLARGED = 256  # pixels that smaller images get, more smoothly than a browser does it
SMALLEST = 64  # pixels: below this there is nothing to see
LOSSLESS = 100  # in place of a quality
QUALITIES = (LOSSLESS, 95, 90, 85, 80, 75, 70)  # WebP's; below, fewer pixels look better
SMALLER = 0.87  # of a side, when no quality fits
TRIED = 8  # frames that a quality is tried on

PAPER = "https://arxiv.org/abs/2007.06600"


@dataclass(frozen=True)
class Strip:
    """One direction, as a slider shows it.

    name        what there is more of to the right, any text
    positions   S numbers, ascending, 2 to MAX_FRAMES; the one nearest to 0 is where it starts
    frames      uint8 [S, H, W, C], C 1 or 3: the image at each position

    Raises ValueError where these disagree.
    """

    name: str
    positions: Sequence[float]
    frames: np.ndarray

    def __post_init__(self):
        shape = self.frames.shape
        if self.frames.dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3):
            raise ValueError(
                f"expected uint8 [S, H, W, 1 or 3], found {self.frames.dtype} {list(shape)}"
            )
        steps = list(self.positions)
        ascending = all(a < b for a, b in itertools.pairwise(steps))
        if len(steps) != shape[0] or not 2 <= len(steps) <= MAX_FRAMES or not ascending:
            raise ValueError(f"{shape[0]} frames need 2 to {MAX_FRAMES} ascending positions")
        if not all(map(math.isfinite, steps)):
            raise ValueError("positions must be finite")

    @property
    def start(self) -> int:
        """The frame whose position is nearest to 0."""
        return min(range(len(self.positions)), key=lambda i: abs(self.positions[i]))


def draw_strips(
    recipe: Recipe,
    moves: Sequence[Edit],
    called: Sequence[tuple[str, int]],
    images: Callable[[Recipe], np.ndarray],
    steps: int = STEPS,
    progress: Callable[[int, int], None] | None = None,
) -> list[Strip]:
    """A strip for each of `moves`, of a recipe's first sample.

    moves: directions, from -alpha to alpha; at 0 none of them acts, whatever the recipe says, and
    its other edits stay. called: for each (what there is more of, 1 or -1: the sign of the alphas
    that bring it), which is to the right. images: recipe -> uint8 [1, h, w, C], such as
    `LoadedModel.images`; `progress(done, total)` is called after each image. steps: odd, 3 to
    MAX_FRAMES. Raises `UserError` for another number of steps, no or too many moves, or one of
    alpha 0.
    """
    recipes, positions = strip_recipes(recipe, moves, [sign for _, sign in called], steps)

    def small(recipe: Recipe) -> np.ndarray:
        drawn = images(recipe)
        height, width = drawn.shape[1:3]
        return resize_images(drawn, min(max(height, width), largest(len(recipes), height, width)))

    frames = draw_frames(recipes, small, progress=progress)
    return [
        Strip(name, places, frames[i * steps : (i + 1) * steps])
        for i, ((name, _), places) in enumerate(zip(called, positions, strict=True))
    ]


def strip_recipes(
    recipe: Recipe, moves: Sequence[Edit], signs: Sequence[int], steps: int = STEPS
) -> tuple[list[Recipe], list[list[float]]]:
    """(the recipe of every frame, strip by strip, and where each strip's frames are): `draw_strips`."""
    check_strips(len(moves), steps)
    base = one_of(recipe, 0)
    for move in moves:
        base = moved(base, move, 0.0)
    half = steps // 2
    positions = [[abs(move.alpha) * i / half for i in range(-half, half + 1)] for move in moves]
    if not all(len(set(places)) == steps for places in positions):
        raise UserError("A slider of a teaser needs an alpha that is not 0.")
    recipes = [
        moved(base, move, sign * position)
        for move, sign, places in zip(moves, signs, positions, strict=True)
        for position in places
    ]
    return recipes, positions


def check_strips(strips: int, steps: int) -> None:
    """Raises `UserError` for numbers of strips, or of their steps, that no teaser has."""
    if not 1 <= strips <= MAX_STRIPS:
        raise UserError(f"A teaser has 1 to {MAX_STRIPS} directions, not {strips}.")
    if steps % 2 == 0 or not 3 <= steps <= MAX_FRAMES:
        raise UserError(
            f"A slider of a teaser has an odd number of frames, 3 to {MAX_FRAMES}, not {steps}: "
            "one is at 0."
        )


def teaser_page(
    title: str, strips: Sequence[Strip], link: str = "", budget: int = MAX_BYTES
) -> str:
    """The page as text, ASCII, of at most `budget` bytes.

    title: any text; strips: 1 to MAX_STRIPS, with frames of one size; the first one's frame at 0 is
    shown first. link: an http(s) address where the model can be tried, "" for none.

    Frames become WebP: lossless where that fits, else of the best quality that does, else as many
    pixels as do; those of small models are enlarged. Equal frames are stored once. Raises `UserError` for another number of strips, a
    link of another kind, or a budget too small for images of SMALLEST pixels; ValueError for frames
    of different sizes.
    """
    if not 1 <= len(strips) <= MAX_STRIPS:
        raise UserError(f"A teaser has 1 to {MAX_STRIPS} directions, not {len(strips)}.")
    if len({strip.frames.shape[1:] for strip in strips}) != 1:
        raise ValueError("the frames of all strips must have one size")
    check_link(link)
    frames, places = distinct(strips)
    around = "".join(_page(title, strips, link, places, ["" for _ in frames], (9999, 9999)))
    images, size = fitted(frames, budget - len(around))
    return "".join(_page(title, strips, link, places, images, size))


def check_link(link: str) -> None:
    """Raises `UserError` for a link that is neither "" nor an http(s) address."""
    try:
        parts = urlsplit(link)
        fine = parts.scheme in ("https", "http") and bool(parts.netloc)
    except ValueError:
        fine = False
    if link and not fine:
        raise UserError("The link of a teaser must be an address that begins with https://.")


# ----------------------------------------------------------------------------- images


def distinct(strips: Sequence[Strip]) -> tuple[np.ndarray, list[list[int]]]:
    """(uint8 [F, H, W, C], of equal frames one; for each strip which of these its frames are)."""
    found: dict[bytes, int] = {}
    frames, places = [], []
    for strip in strips:
        places.append([])
        for frame in strip.frames:
            key = hashlib.sha256(np.ascontiguousarray(frame)).digest()
            if key not in found:
                found[key] = len(frames)
                frames.append(frame)
            places[-1].append(found[key])
    return np.stack(frames), places


def fitted(frames: np.ndarray, room: int) -> tuple[list[str], tuple[int, int]]:
    """(a base64 WebP for each of frames uint8 [F, H, W, C], their (width, height)).

    Together at most `room` characters: see `teaser_page`. Raises `UserError` where even small ones
    do not fit.
    """
    some = frames[np.linspace(0, len(frames) - 1, min(len(frames), TRIED)).astype(int)]
    each = room / len(frames)
    for size, quality in _choices(len(frames), *frames.shape[1:3]):
        if _encode(resize_images(some, size), quality, each * len(some)) is None:
            continue
        smaller = resize_images(frames, size)
        images = _encode(smaller, quality, room)
        if images is not None:
            return images, (smaller.shape[2], smaller.shape[1])
    raise UserError(
        f"{len(frames)} images do not fit into a teaser of this size: choose fewer directions or "
        "frames."
    )


def largest(count: int, height: int, width: int) -> int:
    """The longer side, in pixels, at which `count` images of this shape have MAX_DECODED."""
    area = MAX_DECODED / count
    return math.isqrt(int(area * max(height, width) / min(height, width)))


def _choices(count: int, height: int, width: int) -> Iterator[tuple[int, int]]:
    """(longer side in pixels, quality) of images, best first."""
    size = min(max(height, width, ENLARGED), largest(count, height, width))
    for quality in QUALITIES:
        yield size, quality
    while size > SMALLEST:
        size = max(SMALLEST, int(size * SMALLER))
        yield size, QUALITIES[-1]


def _encode(images: np.ndarray, quality: int, room: float) -> list[str] | None:
    """A base64 WebP each; None as soon as they are more than `room` characters."""
    texts = []
    for image in images:
        texts.append(base64.b64encode(_webp(image, quality)).decode("ascii"))
        room -= len(texts[-1])
        if room < 0:
            return None
    return texts


def _webp(image: np.ndarray, quality: int) -> bytes:
    buffer = io.BytesIO()
    options = {"lossless": True} if quality == LOSSLESS else {"quality": quality}
    to_pil(image).convert("RGB").save(buffer, "WEBP", method=4, **options)
    return buffer.getvalue()


# ----------------------------------------------------------------------------- the page


def _page(
    title: str,
    strips: Sequence[Strip],
    link: str,
    places: Sequence[Sequence[int]],
    images: Sequence[str],
    size: tuple[int, int],
) -> Iterator[str]:
    for text in _texts(title, strips, link, places, images, size):
        yield text.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _texts(title, strips, link, places, images, size) -> Iterator[str]:
    width, height = size
    first = places[0][strips[0].start]
    yield from head(title, _STYLE, _SCRIPT)
    yield f"<main>\n<h1>{escape(title)}</h1>\n<figure>\n"
    # The first frame is there before the script has run, and without it.
    yield f'<img src="data:image/webp;base64,{images[first]}" alt="{escape(title)}" '
    yield f'width="{width}" height="{height}">\n'
    yield f'<canvas role="img" width="{width}" height="{height}" hidden></canvas>\n</figure>\n'
    yield '<form autocomplete="off">\n'
    for i, strip in enumerate(strips):
        yield _slider(i, strip)
    yield "</form>\n"
    yield (
        "<p>Directions that SeFa finds in a GAN’s weights, in closed form, without training or "
        f'labels: <a href="{PAPER}" target="_blank" rel="noopener">Shen &amp; Zhou, CVPR 2021</a>. '
        "Each slider moves the same image along one of them."
    )
    if link:
        yield f' <a href="{escape(link)}" target="_blank" rel="noopener">Try it live</a>.'
    yield "</p>\n</main>\n"
    yield f'<script type="application/json" id="frames">{_data(strips, places, images)}</script>\n'
    yield f"<script>{_SCRIPT}</script>\n</body>\n</html>\n"


def _slider(i: int, strip: Strip) -> str:
    last = len(strip.positions) - 1
    # A value is the number of a frame; what people see and hear is its position.
    return (
        f'<div class="row"><label for="s{i}">{escape(strip.name)}</label>'
        f'<span class="value" aria-hidden="true">{_signed(strip.positions[strip.start])}</span>'
        f'<input type="range" id="s{i}" min="0" max="{last}" step="1" value="{strip.start}" '
        f'aria-valuetext="{_signed(strip.positions[strip.start])}" '
        f'style="--zero: {strip.start / last:.4f}"></div>\n'
    )


def _signed(position: float) -> str:
    """ "+1.5", "0", "−2": as the page shows a position."""
    text = f"{abs(position):.3g}"
    return text if float(text) == 0 else f"{'+' if position > 0 else '−'}{text}"


def _data(strips: Sequence[Strip], places: Sequence[Sequence[int]], images: Sequence[str]) -> str:
    data = {
        "strips": [
            {
                "name": strip.name,
                "texts": [_signed(position) for position in strip.positions],
                "start": strip.start,
                "frames": list(where),
            }
            for strip, where in zip(strips, places, strict=True)
        ],
        "images": list(images),
    }
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


_STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1b1b1f; --soft: #5c5c66; --line: #d8d8de;
  --mark: #4f46e5; }
@media (prefers-color-scheme: dark) {
  :root { --back: #17171b; --ink: #ececf0; --soft: #a3a3ae; --line: #3a3a42; --mark: #8b8dfa; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
main { display: grid; gap: 1rem 2rem; max-width: 58rem; margin: 0 auto; padding: 1rem; }
h1 { margin: 0; font-size: 1.4rem; line-height: 1.25; text-wrap: balance; overflow-wrap: anywhere; }
figure { margin: 0; }
img, canvas { display: block; width: 100%; height: auto; border-radius: 12px; }
[hidden] { display: none; }
form { display: grid; gap: .75rem; align-content: start; }
.row { display: grid; grid-template-columns: 1fr auto; gap: 0 1rem; align-items: baseline; }
label { min-width: 0; font-weight: 600; overflow-wrap: anywhere; }
.value { color: var(--soft); font-variant-numeric: tabular-nums; }
.row.moved .value { color: var(--mark); font-weight: 600; }
/* The track: a line with a notch at 0. */
input { grid-column: 1 / -1; width: 100%; height: 28px; margin: 0; appearance: none;
  background: none; cursor: pointer; touch-action: pan-y; --thumb: 22px;
  --notch: calc((100% + 2px - var(--thumb)) * var(--zero) + var(--thumb) / 2 - 1px); }
input:focus-visible { outline: none; }
input::-webkit-slider-runnable-track { height: 28px; background:
  linear-gradient(var(--soft) 0 0) var(--notch) 50% / 2px 14px no-repeat,
  linear-gradient(var(--line) 0 0) 50% 50% / 100% 4px no-repeat; }
input::-moz-range-track { height: 28px; background:
  linear-gradient(var(--soft) 0 0) var(--notch) 50% / 2px 14px no-repeat,
  linear-gradient(var(--line) 0 0) 50% 50% / 100% 4px no-repeat; }
input::-webkit-slider-thumb { appearance: none; width: var(--thumb); height: var(--thumb);
  margin-top: 3px; border: 3px solid var(--back); border-radius: 50%; background: var(--mark); }
input::-moz-range-thumb { width: var(--thumb); height: var(--thumb);
  border: 3px solid var(--back); border-radius: 50%; background: var(--mark); }
input:focus-visible::-webkit-slider-thumb { box-shadow: 0 0 0 3px var(--mark); }
input:focus-visible::-moz-range-thumb { box-shadow: 0 0 0 3px var(--mark); }
p { margin: 0; color: var(--soft); font-size: .875rem; }
a { color: inherit; text-underline-offset: 2px; }
a:hover { color: var(--mark); }
a:focus-visible { outline: 3px solid var(--mark); outline-offset: 2px; border-radius: 2px; }
/* Beside each other where there is room; a text under the sliders, the image over all rows. */
@media (min-width: 44rem) {
  main { grid-template-columns: minmax(0, 30rem) minmax(16rem, 1fr); grid-template-rows: auto 1fr;
    padding: 1.5rem; }
  figure { grid-row: 1 / span 3; }
  h1 { font-size: 1.6rem; }
  p { align-self: end; }
}
@media (max-width: 44rem) { figure { max-width: 30rem; } }
/* On a phone the image stays in view while the last slider is moved. */
@media (max-width: 30rem) and (min-height: 36rem) {
  figure { position: sticky; top: 0; z-index: 1; padding: .5rem 0; background: var(--back); }
}
"""

_SCRIPT = """
"use strict";
const { strips, images } = JSON.parse(document.querySelector("#frames").textContent);
const sliders = [...document.querySelectorAll("input[type=range]")];
const still = document.querySelector("img"), canvas = document.querySelector("canvas");
const context = canvas.getContext("2d", { alpha: false });
const title = document.querySelector("h1").textContent;
const bitmaps = new Array(images.length).fill(null);
let here = { strip: 0, frame: strips[0].start };    // what is wanted
let shown = -1;                                     // the image that is drawn

// The frame that is wanted or, until it is decoded, the one of its strip that is nearest to it.
function draw() {
  const { frames } = strips[here.strip];
  let best = -1;
  frames.forEach((image, i) => {
    if (!bitmaps[image]) return;
    if (best < 0 || Math.abs(i - here.frame) < Math.abs(best - here.frame)) best = i;
  });
  if (best < 0 || frames[best] === shown) return;
  shown = frames[best];
  context.drawImage(bitmaps[shown], 0, 0, canvas.width, canvas.height);
  canvas.dataset.image = shown;
  canvas.hidden = false;
  still.hidden = true;
}

function say(i) {
  const strip = strips[i], text = strip.texts[Number(sliders[i].value)];
  const row = sliders[i].closest(".row");
  row.querySelector(".value").textContent = text;
  row.classList.toggle("moved", Number(sliders[i].value) !== strip.start);
  sliders[i].setAttribute("aria-valuetext", text);
  return text;
}

function move(i) {
  here = { strip: i, frame: Number(sliders[i].value) };
  sliders.forEach((slider, j) => {                  // frames are of one direction at a time
    if (j === i || Number(slider.value) === strips[j].start) return;
    slider.value = strips[j].start;
    say(j);
  });
  canvas.setAttribute("aria-label", `${title}: ${strips[i].name} ${say(i)}`);
  draw();
}

sliders.forEach((slider, i) => {
  slider.addEventListener("input", () => move(i));
  slider.addEventListener("dblclick", () => { slider.value = strips[i].start; move(i); });
});
document.querySelector("form").addEventListener("submit", event => event.preventDefault());

// All frames are decoded and stay so: those around the middle of every slider first.
async function decode(image) {
  const bytes = Uint8Array.from(atob(images[image]), letter => letter.charCodeAt(0));
  bitmaps[image] = await createImageBitmap(new Blob([bytes], { type: "image/webp" }));
  images[image] = "";
  draw();
}
async function decodeAll() {
  const from = strip => strip.frames.map((image, i) => [Math.abs(i - strip.start), image]);
  const order = strips.flatMap(from).sort((a, b) => a[0] - b[0]).map(pair => pair[1]);
  for (const image of new Set(order)) await decode(image);
  document.documentElement.dataset.ready = "";
}
move(0);
decodeAll();
"""
