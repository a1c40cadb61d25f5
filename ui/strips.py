"""Filmstrips: beside each slider, what it makes of one of the visitor's own images.

The page asks for the strips of the rows in sight that it does not have (`Strip.key` says what a strip
is of), and the server answers with as many as it can draw in a moment, at least one; then the page
asks for the rest. So a slow model shows its first strip as soon as that is there, a gallery never
waits for more than one image, and what nobody looks at any more is not drawn. On a GPU all are one
batch. Scrubbing switches among frames that are in the browser already and asks for nothing.
"""

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
import numpy as np
import torch

from sefa.editing import MAX_ALPHA, MAX_SAMPLES, MAX_SEMANTICS, Edit, Recipe, edit, integer, real
from sefa.errors import UserError
from sefa.export import encode_images, resize_images
from sefa.regions import change_map
from sefa.rendering import take_rows
from ui import engine
from ui.gallery import sends
from ui.renderer import STRIP

FRAMES = 9  # of a strip, 0 in the middle
FEW_FRAMES = 5  # of a model that takes its time
SLOW_SECONDS = 0.25  # for an image
MOMENT = 0.4  # seconds; what one answer may take if it has a strip
SIZE = 256  # pixels of a frame at most: it stands in for the image while it is scrubbed
MAP_SIZE = 64  # pixels of a change map at most
ACCENT = (255, 64, 129)  # the colour of what moves
MAX_WANTED = 4096  # characters


@dataclass(frozen=True)
class Wanted:
    """Strips that a page asks for: of which of its samples, and (row, units to either end).

    number: of the request, which the answer repeats, so that no two answers are the same.
    """

    sample: int
    rows: tuple[tuple[int, float], ...]
    number: int = 0

    @classmethod
    def parse(cls, text: Any) -> "Wanted":
        """Reads {"sample": i, "rows": [[row, limit], ...], "number": n}. Raises `UserError`."""
        try:
            data = json.loads(str(text)[:MAX_WANTED])
            sample, rows = data["sample"], [(i, limit) for i, limit in data["rows"]]
            number = data["number"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise UserError("This is no list of strips.") from None
        return cls(
            integer(sample, "The sample", 0, MAX_SAMPLES - 1),
            tuple(
                (integer(i, "A row", 0, MAX_SEMANTICS - 1), real(x, "A limit", 0.001, 1e5))
                for i, x in rows[:MAX_SEMANTICS]
            ),
            integer(number, "The request's number", 0, 2**53),
        )


def own_recipe(recipe: Recipe, step: Edit) -> Recipe:
    """The recipe of everything that a row's strip depends on, but for the sample and the step."""
    others = [e for e in recipe.edits if (e.layers, e.direction) != (step.layers, step.direction)]
    bare = replace(recipe.originals(), num_samples=1)
    return replace(bare, edits=tuple(sorted(others, key=Edit.to_text)))


def strip_key(recipe: Recipe, step: Edit) -> str:
    """What the strip of a row is of: the same for the same frames."""
    text = f"{own_recipe(recipe, step).to_query()} {step.to_text()}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def positions(limit: float, count: int) -> list[float]:
    """Where the frames of a strip are, in units of its slider: from -limit to limit."""
    inner = [round(x, 1) for x in np.linspace(-limit, limit, count).tolist()[1:-1]]
    return [-limit, *inner, limit]  # on a slider's own steps


def strips(
    model: engine.OpenModel, recipe: Recipe, steps: Sequence[Edit], wanted: Wanted
) -> list[dict[str, Any]]:
    """The first of the strips that are wanted, as many as there is time for; see `draw_strips`."""
    if wanted.sample >= recipe.num_samples:
        raise UserError(f"There is no sample {wanted.sample}.")
    rows = [(i, limit) for i, limit in wanted.rows if i < len(steps)]
    count = FEW_FRAMES if engine.seconds_per_image(model) > SLOW_SECONDS else FRAMES
    if rows and engine.on_gpu(model):  # one call, whatever it takes: calls are counted
        try:
            return draw_strips(model, recipe, steps, wanted.sample, rows, count)
        except engine.NoGpu:  # the gallery says so
            if not engine.cpu_will_do(model):
                return []
    start, found = time.monotonic(), []
    for row in rows:
        found += draw_strips(model, recipe, steps, wanted.sample, [row], count, ask_gpu=False)
        if time.monotonic() - start > MOMENT:
            break
    return found


def draw_strips(
    model: engine.OpenModel,
    recipe: Recipe,
    steps: Sequence[Edit],
    sample: int,
    rows: Sequence[tuple[int, float]],
    count: int,
    ask_gpu: bool = True,
) -> list[dict[str, Any]]:
    """The strips of these (row, limit), in one batch: as the page wants them.

    row, key, sample, limit; positions: `count` numbers, in units; frames: data URIs, one each; map:
    the data URI of an image that covers what moves.
    """
    one = replace(recipe, seed=recipe.seed + sample, num_samples=1)
    middle, owns = count // 2, [own_recipe(one, steps[row]) for row, _ in rows]
    parts, beside = [], {}
    still = {own: _unmoved.get((model, own)) for own in owns}
    new = {own for own, frame in still.items() if frame is None}  # else 0 is drawn already
    order = []  # of the frames that are drawn: (row's place, frame)
    for i, ((row, limit), own) in enumerate(zip(rows, owns, strict=True)):
        step = steps[row]
        w, beside = model.loaded.inputs(own)
        vector, layers = model.loaded.vector(step)
        for j, units in enumerate(positions(limit, count)):
            if j != middle or own in new:
                alpha = max(-MAX_ALPHA, min(units * step.alpha, MAX_ALPHA))
                parts.append(edit(w, vector, alpha, layers))
                order.append((i, j))
        new.discard(own)
    w = torch.cat(parts)
    images = engine.draw_ws(model, w, take_rows(beside, [0] * len(w)), STRIP, ask_gpu)
    if images.shape[1] > SIZE:
        images = resize_images(images, SIZE)
    frames_of = dict(zip(order, images, strict=True))
    for i, own in enumerate(owns):
        if (i, middle) in frames_of:
            still[own] = frames_of[i, middle]
            keep_unmoved((model, own), still[own])
        frames_of[i, middle] = still[own]
    found = []
    for i, (row, limit) in enumerate(rows):
        frames = np.stack([frames_of[i, j] for j in range(count)])
        found.append(
            {
                "row": row,
                "key": strip_key(recipe, steps[row]),
                "sample": sample,
                "limit": limit,
                "positions": positions(limit, count),
                "frames": engine.encode(frames),
                "map": map_image(frames),
            }
        )
    return found


# The frame at 0 of a recipe of one sample, which is the same for every slider that is at 0.
_unmoved: OrderedDict[tuple[engine.OpenModel, Recipe], np.ndarray] = OrderedDict()
_keeping = threading.Lock()
MAX_UNMOVED = 256  # of 200 kB at most


def keep_unmoved(key: tuple[engine.OpenModel, Recipe], frame: np.ndarray) -> None:
    with _keeping:
        _unmoved[key] = frame
        if len(_unmoved) > MAX_UNMOVED:
            _unmoved.popitem(last=False)


def map_image(frames: np.ndarray) -> str:
    """Frames uint8 [S, H, W, C] of a strip -> a data URI: the accent colour over what moves."""
    middle = len(frames) // 2
    ends = torch.from_numpy(frames[[middle + 1, middle - 1]]).float().permute(0, 3, 1, 2)
    change = torch.nn.functional.adaptive_avg_pool2d(
        (ends[0] - ends[1])[None], min(MAP_SIZE, frames.shape[1])
    )
    strength = (change_map(change) * 200).to(torch.uint8).numpy()
    colour = np.broadcast_to(np.array(ACCENT, np.uint8), (*strength.shape, 3))
    return encode_images(np.concatenate([colour, strength[..., None]], 2)[None], "png")[0]


# --- the page's side ------------------------------------------------------------------------------


def component() -> gr.HTML:
    """Takes the strips that come, puts them beside the sliders, and asks for those still missing."""
    return gr.HTML(
        None,
        html_template="<div></div>",
        js_on_load=SCRIPT,
        apply_default_css=False,
        elem_id="strips",
    )


# Run before a request for strips leaves, which it notes.
ASK = sends("wanted", "{sample: 0, rows: [], number: 0}", "window.sefa.asked.left = true;")

CSS = """
#strips { display: none; }
.strip { display: flex; gap: 6px; align-items: stretch; margin-top: 4px; }
.strip .film { display: flex; flex: 1; min-width: 0; cursor: ew-resize; touch-action: pan-y;
  border-radius: 6px; overflow: hidden; background: var(--background-fill-secondary);
  transition: opacity .2s; user-select: none; -webkit-user-select: none; }
.strip .film:empty { aspect-ratio: 9; }  /* so that nothing moves when the frames come */
.strip .film img { flex: 1; min-width: 0; width: 0; max-height: 72px; aspect-ratio: 1;
  object-fit: cover; pointer-events: none; }
.strip .film img.here { outline: 2px solid var(--color-accent); outline-offset: -2px; }
.strip .film[hidden] { display: none; }
.strip.stale .film { opacity: .45; }
.strip input.name { flex: 1; min-width: 0; padding: 4px 10px; font: inherit; font-size: 14px;
  color: var(--body-text-color); background: var(--background-fill-primary);
  border: 1px solid var(--color-accent); border-radius: 6px; margin: 0; }
.strip button { flex: none; width: 30px; border-radius: 6px; cursor: pointer; padding: 0;
  border: 1px solid var(--border-color-primary); color: var(--body-text-color-subdued);
  background: var(--background-fill-primary); font-size: 16px; line-height: 1; }
.strip button[aria-pressed=true] { background: #ff4081; border-color: #ff4081; color: #fff; }
"""

SCRIPT = """
const page = (window.sefa ??= {sequence: 0, dragging: false});
page.sample ??= 0;
const cache = new Map();                       // key -> strip, the newest last
const MOST = 400;
let keys = [], map = null, number = 0;
page.asked = null;                             // the request under way

const sliderOf = i => document.querySelector(`#semantic-${i} input[type=range]`);
const nameOf = i => document.querySelector(`#semantic-${i} label span`)?.textContent.trim() ?? '';
const idOf = (key, sample, limit) => `${key}@${sample}@${limit}`;
const stripOf = i => {
  const slider = sliderOf(i);
  return slider && keys[i] ? cache.get(idOf(keys[i], page.sample, Number(slider.max))) : null;
};

function setSlider(i, value) {                 // as a hand would
  const slider = sliderOf(i);
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(slider, value);
  slider.dispatchEvent(new Event('input', {bubbles: true}));
}

// The element of a row's strip, made where it is missing: Gradio may have drawn the slider anew.
function place(i) {
  const block = document.querySelector(`#semantic-${i}`);
  if (!block) return null;
  let strip = block.querySelector('.strip');
  if (strip) return strip;
  strip = document.createElement('div');
  strip.className = 'strip';
  const film = document.createElement('div');
  film.className = 'film';
  film.setAttribute('aria-hidden', 'true');    // the slider above says the same, by keyboard too
  const where = document.createElement('button');
  where.type = 'button';
  where.className = 'where';
  where.textContent = '\\u25ce';
  where.title = 'Show where it acts';
  where.setAttribute('aria-pressed', map === i);
  where.addEventListener('click', () => { map = map === i ? null : i; showMap(); });
  const pencil = document.createElement('button');
  pencil.type = 'button';
  pencil.className = 'pencil';
  pencil.textContent = '\\u270e';
  pencil.title = 'Name this direction';
  pencil.addEventListener('click', () => { askName(strip, film, i); });
  strip.append(film, where, pencil);
  block.append(strip);
  scrub(film, i);
  return strip;
}

function askName(strip, film, i) {
  if (strip.querySelector('input.name')) return;
  const input = document.createElement('input');
  input.className = 'name';
  input.maxLength = 64;
  input.placeholder = 'More of what, to the right?';
  input.setAttribute('aria-label', 'Name of this direction: what there is more of to the right');
  const leave = () => { input.remove(); film.hidden = false; };
  input.addEventListener('keydown', event => {
    event.stopPropagation();
    if (event.key === 'Escape') leave();
    if (event.key !== 'Enter') return;
    page.naming = {row: i, name: input.value};
    leave();
    document.querySelector('#name-it')?.click();
  });
  input.addEventListener('blur', () => setTimeout(leave));
  film.hidden = true;
  strip.prepend(input);
  input.focus();
}

function scrub(film, i) {
  let held = null, frame = -1;
  const at = event => {
    const box = film.getBoundingClientRect();
    const n = held.frames.length;
    return Math.min(n - 1, Math.max(0, Math.floor((event.clientX - box.left) / box.width * n)));
  };
  const show = event => {
    const next = at(event);
    if (next === frame) return;
    frame = next;
    mark(film, frame);
    page.preview?.(held.sample, held.frames[frame]);
  };
  film.addEventListener('pointerdown', event => {
    held = film.strip ?? null;
    if (!held || event.button) return;
    film.setPointerCapture(event.pointerId);
    event.preventDefault();
    frame = -1;
    page.scrubbing = true;
    show(event);
  });
  film.addEventListener('pointermove', event => { if (held) show(event); });
  film.addEventListener('pointerup', () => {
    if (!held) return;
    const value = held.positions[frame];
    held = null;
    page.scrubbing = false;
    setSlider(i, value);                       // and the exact images arrive
  });
  film.addEventListener('pointercancel', () => {
    if (!held) return;
    held = null;
    page.scrubbing = false;
    page.preview?.(null);
    draw(i);
  });
}

function mark(film, frame) {
  [...film.children].forEach((image, j) => image.classList.toggle('here', j === frame));
}

function nearest(strip, value) {
  const distances = strip.positions.map(position => Math.abs(position - value));
  return distances.indexOf(Math.min(...distances));
}

function draw(i) {
  const element = place(i);
  if (!element) return;
  const film = element.querySelector('.film'), strip = stripOf(i);
  element.querySelector('.where').setAttribute('aria-label', `Show where ${nameOf(i)} acts`);
  element.querySelector('.pencil').setAttribute('aria-label', `Name ${nameOf(i)}`);
  element.classList.toggle('stale', !strip && film.children.length > 0);
  element.dataset.strip = strip ? `${strip.key}@${strip.sample}` : '';
  if (!strip) { film.strip = null; return; }
  if (film.strip !== strip) {
    film.strip = strip;
    if (film.children.length !== strip.frames.length) {
      film.replaceChildren(...strip.frames.map(() => {
        const image = document.createElement('img');
        image.alt = '';
        image.draggable = false;
        return image;
      }));
    }
    [...film.children].forEach((image, j) => { image.src = strip.frames[j]; });
  }
  if (!page.scrubbing) mark(film, nearest(strip, Number(sliderOf(i).value)));
}

function drawAll() {
  keys.forEach((_, i) => draw(i));
  if (map !== null) showMap();
}

function showMap() {
  if (map !== null && map >= keys.length) map = null;
  document.querySelectorAll('.strip button.where').forEach(button => {
    const row = Number(button.closest('[id^=semantic-]').id.slice('semantic-'.length));
    button.setAttribute('aria-pressed', row === map);
  });
  const strip = map === null ? null : stripOf(map);
  page.overlay?.(page.sample, strip?.map ?? null, map === null ? '' : nameOf(map));
}

function inSight(i) {
  const box = document.querySelector(`#semantic-${i}`)?.getBoundingClientRect();
  return box && box.height > 0 && box.bottom > -200 && box.top < window.innerHeight + 200;
}

// Asks for what is in sight and not here, one request at a time.
function ask() {
  if (page.dragging || page.scrubbing) return;
  // A click before Gradio listens is lost: what has not left by then is asked again.
  const patience = page.asked?.left ? 120000 : 500;
  if (page.asked && performance.now() - page.asked.at < patience) return;
  const rows = keys.map((_, i) => i).filter(i => sliderOf(i) && inSight(i) && !stripOf(i));
  if (rows.length === 0) return;
  page.asked = {at: performance.now(), left: false};
  setTimeout(soon, 600);
  page.wanted = {
    sample: page.sample,
    rows: rows.map(i => [i, Number(sliderOf(i).max)]),
    number: ++number,
  };
  document.querySelector('#ask-strips')?.click();
}

let later = 0;
const soon = () => { clearTimeout(later); later = setTimeout(() => { drawAll(); ask(); }, 30); };

window.addEventListener('sefa:frame', event => {
  keys = event.detail.strips ?? [];
  soon();
});
window.addEventListener('sefa:sample', soon);
window.addEventListener('scroll', soon, {passive: true, capture: true});
window.addEventListener('resize', soon);
window.addEventListener('pointerup', soon);
document.addEventListener('input', event => {   // the frame that is nearest to the thumb
  const row = event.target.closest?.('[id^=semantic-]');
  if (!row || event.target.type !== 'range') return;
  const i = Number(row.id.slice('semantic-'.length)), strip = stripOf(i);
  draw(i);
  if (page.dragging && strip && !page.frame?.live) {
    page.preview?.(strip.sample, strip.frames[nearest(strip, Number(event.target.value))]);
  }
});
// Gradio draws its sliders anew when there are others; their strips have to be put back.
new MutationObserver(soon).observe(
  document.querySelector('#sliders') ?? document.body, {childList: true, subtree: false});

watch('value', () => {
  const answer = props.value;
  page.asked = null;
  if (!answer?.strips) return;
  for (const strip of answer.strips) {
    cache.set(idOf(strip.key, strip.sample, strip.limit), strip);
    if (cache.size > MOST) cache.delete(cache.keys().next().value);
  }
  drawAll();
  if (answer.strips.length) ask();
});
if (page.frame) { keys = page.frame.strips ?? []; soon(); }    // the gallery was there first
"""
