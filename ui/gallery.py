"""The gallery: one HTML component that paints frames in place, ahead of which nothing old gets.

The server sends JSON: {"sequence", "query", "base", "after": [uri], "before": [uri] or null,
"seeds": [int], "tiny": bool, "strips": [key of each row's strip], "live": bool}. The page numbers every request for a frame when it is sent; a frame
that arrives after a newer one is dropped, so the last value always wins. "before" comes only when
the originals ("base") may have changed. The pixels of "tiny" images are shown as squares.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import gradio as gr

from sefa.editing import Recipe
from ui.engine import TINY


def frame(
    recipe: Recipe,
    after: list[str],
    before: list[str] | None,
    pixels: int,
    strips: Sequence[str] = (),
    live: bool = True,
    sequence: int = 0,
) -> dict[str, Any]:
    """The JSON of one frame; `pixels` is the size of an image, `sequence` the request's number.

    live: whether frames are drawn while a slider moves; else a strip's stand in for them.
    """
    base = recipe.originals().to_query()
    return {
        "sequence": sequence,
        "query": recipe.to_query(),
        "base": hashlib.sha256(base.encode()).hexdigest()[:16],
        "after": after,
        "before": before,
        "seeds": recipe.seeds(),
        "tiny": pixels < TINY,
        "strips": list(strips),
        "live": live,
    }


def gallery(first: dict[str, Any] | None) -> gr.HTML:
    """The component, painting `first` before any request."""
    return gr.HTML(
        first,
        html_template=TEMPLATE,
        css_template=CSS,
        js_on_load=SCRIPT,
        apply_default_css=False,
        elem_id="gallery",
        first=first and first["query"],  # a page as it opens needs no long address
    )


# Run by the page before a request for a frame leaves: fills in its number and whether a slider
# is being dragged, the last two inputs of the request.
STAMP = """(...inputs) => {
    const page = (window.sefa ??= {sequence: 0, dragging: false});
    inputs[inputs.length - 2] = ++page.sequence;
    inputs[inputs.length - 1] = page.dragging;
    return inputs;
}"""


def sends(name: str, otherwise: str = "{}", first: str = "") -> str:
    """The script run before a request leaves whose last input is `window.sefa[name]`, as JSON.

    otherwise: what is sent where there is none; first: a statement to run before.
    """
    return f"""(...inputs) => {{
    {first}
    inputs[inputs.length - 1] = JSON.stringify(window.sefa.{name} ?? {otherwise});
    return inputs;
}}"""


TEMPLATE = """
<div class="frames" data-view="after" role="group" aria-label="Samples"></div>
<div class="bar">
  <div class="views" role="group" aria-label="Show">
    <button type="button" data-view="after" aria-pressed="true">Edited</button>
    <button type="button" data-view="both" aria-pressed="false">Before / after</button>
    <button type="button" data-view="before" aria-pressed="false">Original</button>
  </div>
  <div class="link">
    <input type="text" readonly aria-label="Link to this edit">
    <button type="button" class="copy">Copy link</button>
  </div>
</div>
<div class="brushbar">
  <button type="button" class="brush" aria-pressed="false">Brush a region</button>
  <button type="button" class="find" hidden disabled>Find what moves it</button>
  <button type="button" class="clear" hidden>Clear</button>
  <span class="hint">and get the directions that move it and little else</span>
</div>
"""

CSS = """
.frames { display: grid; gap: 8px; grid-template-columns: repeat(var(--columns, 2), 1fr);
  max-width: min(100%, 68vh); margin: 0 auto; }
.frames figure { margin: 0; display: flex; gap: 2px; border-radius: 10px; overflow: hidden;
  position: relative; cursor: pointer; background: var(--background-fill-secondary); }
.frames figure.chosen { box-shadow: 0 0 0 2px var(--color-accent); }
.frames img.map { position: absolute; right: 0; top: 0; height: 100%; width: auto;
  pointer-events: none; }
.frames img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; min-width: 0; }
/* Enlarged ten times, smooth pixels would pass for an image out of focus. */
.frames[data-tiny=true] img { image-rendering: pixelated; }
.frames[data-view=after] .before, .frames[data-view=before] .after { display: none; }
.frames[data-view=both] { max-width: 100%; }
.bar { display: flex; flex-wrap: wrap; gap: 8px; justify-content: space-between;
  max-width: min(100%, 68vh); margin: 10px auto 0; }
.frames[data-view=both] ~ .bar, .frames[data-view=both] ~ .brushbar { max-width: 100%; }
.brushbar { display: flex; flex-wrap: wrap; align-items: center; gap: 8px; font-size: 14px;
  max-width: min(100%, 68vh); margin: 8px auto 0; color: var(--body-text-color-subdued); }
.brushbar button { font: inherit; line-height: 20px; padding: 5px 10px; cursor: pointer; margin: 0;
  color: var(--body-text-color); background: var(--background-fill-primary); border-radius: 8px;
  border: 1px solid var(--border-color-primary); white-space: nowrap; }
.brushbar button[hidden], .brushbar .hint[hidden] { display: none; }
.brushbar button:disabled { opacity: .5; cursor: default; }
.brushbar button[aria-pressed=true], .brushbar .find:not(:disabled) { color: #fff;
  background: var(--color-accent); border-color: var(--color-accent); }
.frames canvas { position: absolute; right: 0; top: 0; height: 100%; aspect-ratio: 1;
  cursor: crosshair; touch-action: none; image-rendering: pixelated; }
.views { display: inline-flex; }
.link { display: inline-flex; flex: 1 1 200px; min-width: 0; }
.bar button, .bar input { font: inherit; font-size: 14px; line-height: 20px; padding: 5px 10px;
  color: var(--body-text-color); background: var(--background-fill-primary);
  border: 1px solid var(--border-color-primary); margin: 0; min-width: 0; }
.bar button { cursor: pointer; white-space: nowrap; }
.bar button:hover { background: var(--background-fill-secondary); }
.bar button[aria-pressed=true] { background: var(--color-accent); border-color: var(--color-accent);
  color: #fff; }
.views button:not(:first-child), .link button { border-left: 0; }
.views button:first-child, .link input { border-radius: 8px 0 0 8px; }
.views button:last-child, .link button { border-radius: 0 8px 8px 0; }
.link input { flex: 1; width: 60px; color: var(--body-text-color-subdued); }
@media (max-width: 640px) {
  .frames { max-width: min(100%, 40vh); }
  .bar { max-width: none; margin: 10px -12px 0; gap: 4px; flex-wrap: nowrap; }
  .bar button { padding: 4px 5px; font-size: min(13px, 3.4vw); }
  .link { flex: none; }
  .brushbar { max-width: none; margin: 6px -12px 0; gap: 6px; font-size: 13px; }
  .brushbar button { padding: 4px 8px; }
  .brushbar .hint { display: none; }
  .link input { position: absolute; opacity: 0; pointer-events: none; }  /* no room; for copying */
  .link button { border-left: 1px solid var(--border-color-primary); border-radius: 8px; }
}
"""

SCRIPT = """
const page = (window.sefa ??= {sequence: 0, dragging: false});
const frames = element.querySelector('.frames');
const link = element.querySelector('.link input');
const copy = element.querySelector('.copy');
let shown = -1, base = null, address = 0;

function picture(className, uri, seed, what) {
  const image = document.createElement('img');
  image.className = className;
  image.draggable = false;
  image.alt = `Sample of seed ${seed}, ${what}`;
  if (uri) image.src = uri;
  return image;
}

function paint(frame) {
  if (!frame || !frame.after) return;
  if (frame.sequence < shown) {               // a newer frame is on the page already
    if (frame.before && frame.base === base) setBefore(frame.before);
    return;
  }
  shown = frame.sequence;
  const n = frame.after.length;
  if (frames.children.length !== n) {
    frames.replaceChildren(...frame.after.map((uri, i) => {
      const figure = document.createElement('figure');
      figure.append(picture('before', uri, frame.seeds[i], 'before the edit'),
                    picture('after', uri, frame.seeds[i], 'edited'));
      return figure;
    }));
    frames.style.setProperty('--columns', n === 1 ? 1 : n <= 4 ? 2 : n <= 9 ? 3 : 4);
  }
  [...frames.children].forEach((figure, i) => {
    figure.querySelector('.after').src = frame.after[i];
    figure.querySelector('.after').alt = `Sample of seed ${frame.seeds[i]}, edited`;
    figure.firstChild.alt = `Sample of seed ${frame.seeds[i]}, before the edit`;
  });
  if (frame.before) setBefore(frame.before);
  frames.dataset.scrub = false;
  base = frame.base;
  frames.dataset.sequence = frame.sequence;   // says what is shown, for scripts that watch
  frames.dataset.query = frame.query;
  frames.dataset.tiny = frame.tiny;
  page.frame = frame;
  select(page.sample);
  window.dispatchEvent(new CustomEvent('sefa:frame', {detail: frame}));
  const url = new URL(window.location.href);
  const others = [...url.searchParams].filter(([key]) => key.startsWith('__'));
  url.search = frame.query;
  link.value = url.href;                      // without a theme, or the Hub's token in __sign
  url.search = [...others.map(([k, v]) => `${k}=${encodeURIComponent(v)}`), frame.query].join('&');
  const opened = window.location.search === '' && frame.query === props.first;
  if (frame.sequence > 0 && !opened) {         // browsers refuse too many of these in a row
    clearTimeout(address);
    address = setTimeout(() => {
      try { window.history.replaceState(null, '', url); } catch {}
    }, 300);
  }
}

// One of the images is the one that strips are of, and that a brush is on.
page.sample ??= 0;
function select(i) {
  const n = frames.children.length;
  page.sample = Math.max(0, Math.min(i, n - 1));
  [...frames.children].forEach((figure, j) => {
    const chosen = j === page.sample;
    figure.classList.toggle('chosen', chosen && n > 1);
    if (n > 1) figure.setAttribute('aria-current', chosen);
  });
  putCanvas();
}

frames.addEventListener('click', event => {
  const figure = event.target.closest('figure');
  if (!figure || event.target === canvas) return;
  if (page.brushing) clearCells();             // it was of another image
  select([...frames.children].indexOf(figure));
  window.dispatchEvent(new CustomEvent('sefa:sample'));
});

// A frame of a strip stands in for one image while it is scrubbed; null takes it back.
let exact = null;
page.preview = (i, uri) => {
  const image = frames.children[i ?? page.sample]?.querySelector('.after');
  if (!image) return;
  if (uri && frames.dataset.scrub !== 'true') exact = image.src;
  frames.dataset.scrub = Boolean(uri);
  image.src = uri ?? exact;
};

page.overlay = (i, uri, name) => {
  frames.querySelectorAll('img.map').forEach(image => image.remove());
  const figure = frames.children[i];
  if (!uri || !figure) return;
  const image = picture('map', uri, '', '');
  image.alt = `Where ${name} acts`;
  figure.append(image);
};

// --- the brush: a grid of cells over the chosen image ---
const SIDE = 32;
const brushButton = element.querySelector('.brush');
const findButton = element.querySelector('.find');
const clearButton = element.querySelector('.clear');
const canvas = document.createElement('canvas');
canvas.width = canvas.height = SIDE;
canvas.setAttribute('role', 'img');
canvas.setAttribute('aria-label', 'The brushed region');
let cells = new Uint8Array(SIDE * SIDE);

function paintCells() {
  const ink = canvas.getContext('2d');
  ink.clearRect(0, 0, SIDE, SIDE);
  ink.fillStyle = 'rgba(255, 64, 129, .55)';
  cells.forEach((on, k) => { if (on) ink.fillRect(k % SIDE, Math.floor(k / SIDE), 1, 1); });
  findButton.disabled = !cells.includes(1);
}

function clearCells() { cells.fill(0); paintCells(); }

function putCanvas() {
  const figure = frames.children[page.sample];
  if (page.brushing && figure) figure.append(canvas);
  else canvas.remove();
}

function stroke(event) {
  const box = canvas.getBoundingClientRect();
  const x = (event.clientX - box.left) / box.width * SIDE;
  const y = (event.clientY - box.top) / box.height * SIDE;
  const radius = event.pointerType === 'touch' ? 2 : 1.5;
  for (let j = 0; j < SIDE; j++) for (let i = 0; i < SIDE; i++) {
    if (Math.hypot(i + .5 - x, j + .5 - y) <= radius) cells[j * SIDE + i] = 1;
  }
  paintCells();
}

canvas.addEventListener('pointerdown', event => {
  canvas.setPointerCapture(event.pointerId);
  event.preventDefault();
  stroke(event);
});
canvas.addEventListener('pointermove', event => {
  if (!event.buttons) return;
  for (const part of event.getCoalescedEvents?.() ?? [event]) stroke(part);
  stroke(event);
});
clearButton.addEventListener('click', clearCells);
brushButton.addEventListener('click', () => {
  page.brushing = !page.brushing;
  brushButton.setAttribute('aria-pressed', page.brushing);
  findButton.hidden = clearButton.hidden = !page.brushing;
  element.querySelector('.hint').hidden = page.brushing;
  clearCells();
  putCanvas();
});
findButton.addEventListener('click', () => {
  const bytes = [];
  for (let k = 0; k < cells.length; k += 8) {
    let byte = 0;
    for (let bit = 0; bit < 8; bit++) byte = byte * 2 + cells[k + bit];
    bytes.push(byte.toString(16).padStart(2, '0'));
  }
  page.region = {sample: page.sample, mask: bytes.join('')};
  findButton.textContent = 'Looking …';
  findButton.disabled = true;
  document.querySelector('#find-region')?.click();
  setTimeout(looked, 120000);
});
function looked() {
  findButton.textContent = 'Find what moves it';
  findButton.disabled = !cells.includes(1);
}
window.addEventListener('sefa:frame', looked);

function setBefore(uris) {
  [...frames.children].forEach((figure, i) => { if (uris[i]) figure.firstChild.src = uris[i]; });
}

element.querySelectorAll('.views button').forEach(button => button.addEventListener('click', () => {
  frames.dataset.view = button.dataset.view;
  element.querySelectorAll('.views button').forEach(
    other => other.setAttribute('aria-pressed', other === button));
}));

copy.addEventListener('click', async () => {
  try { await navigator.clipboard.writeText(link.value); }
  catch { link.select(); document.execCommand('copy'); }  // in an iframe without permission
  copy.textContent = 'Copied';
  setTimeout(() => { copy.textContent = 'Copy link'; }, 1500);
});

// A drag is from pressing on a slider to letting go anywhere, also outside it or of the window.
window.addEventListener('pointerdown', event => {
  page.dragging = event.target.matches?.('input[type=range]') ?? false;
}, true);
for (const type of ['pointerup', 'pointercancel', 'blur']) {
  window.addEventListener(type, event => {
    if (!page.dragging) return;
    page.dragging = false;
    document.querySelector('#settle')?.click();                // draws the last value in any case
  }, true);
}

// A link's own edit is drawn by the server: do not flash the default before it.
const initial = props.value;
if (!new URLSearchParams(window.location.search).has('v')) paint(initial);
else setTimeout(() => { if (shown < 0) paint(initial); }, 8000);   // ... unless none comes
watch('value', () => paint(props.value));
"""
