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
  where.textContent = '\u25ce';
  where.title = 'Show where it acts';
  where.setAttribute('aria-pressed', map === i);
  where.addEventListener('click', () => { map = map === i ? null : i; showMap(); });
  const pencil = document.createElement('button');
  pencil.type = 'button';
  pencil.className = 'pencil';
  pencil.textContent = '\u270e';
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
