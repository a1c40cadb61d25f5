// What the page's scripts share:
//   sequence    the number of the last request for a frame
//   dragging    whether a slider is held
//   sample      which image strips and the brush are of
//   frame       the frame that is shown
//   only        which sample alone is in sight, a function; null where all are
//   preview, overlay, hold, one, link, say: see below
const page = (window.sefa ??= {sequence: 0, dragging: false});
const root = document.documentElement;
const frames = element.querySelector('.frames');
const problem = element.querySelector('.problem'), note = element.querySelector('.note');
const waiting = element.querySelector('.waiting');
const tools = element.querySelector('.tools');
const said = element.querySelector('.said');
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
  if (!frame) return;
  if (frame.waiting !== undefined) {          // others come first
    if (frame.sequence >= shown) wait(frame.waiting);
    return;
  }
  if (frame.problem) {                        // nothing was drawn, and what is shown stays
    if (frame.sequence >= shown) {
      complain(frame.problem);
      wait('');
      if (Number(frames.dataset.sketch)) showAfter(page.frame?.after ?? []);
      if (frame.again) askAgain(frame.sequence, frame.again);
    }
    window.dispatchEvent(new CustomEvent('sefa:problem'));
    return;
  }
  if (frame.preview) {                        // small images, until the slider is let go
    if (frame.sequence > shown) sketch(frame);
    return;
  }
  if (!frame.after) return;
  if (frame.sequence < shown) {               // a newer frame is on the page already
    if (frame.before && frame.base === base) setBefore(frame.before);
    return;
  }
  shown = frame.sequence;
  complain('');
  wait('');
  if (note.textContent !== (frame.note ?? '')) note.textContent = frame.note ?? '';
  const n = frame.seeds.length;
  if (frames.children.length !== n) {
    frames.replaceChildren(...frame.after.map((uri, i) => {
      const figure = document.createElement('figure');
      figure.append(picture('before', uri, frame.seeds[i], 'before the edit'),
                    picture('after', uri, frame.seeds[i], 'edited'));
      return figure;
    }));
    frames.style.setProperty('--columns', n === 1 ? 1 : n <= 4 ? 2 : n <= 9 ? 3 : 4);
  }
  showAfter(frame.after);
  [...frames.children].forEach((figure, i) => {
    if (frame.after[i]) {                      // else it is drawn when it comes into sight
      figure.dataset.of = frame.query;
      figure.classList.remove('stale');
    }
    figure.querySelector('.after').alt = `Sample of seed ${frame.seeds[i]}, edited`;
    figure.firstChild.alt = `Sample of seed ${frame.seeds[i]}, before the edit`;
  });
  if (frame.before) setBefore(frame.before);
  frames.dataset.scrub = frames.dataset.sketch = false;
  base = frame.base;
  frames.dataset.sequence = frame.sequence;   // says what is shown, for scripts that watch
  frames.dataset.query = frame.query;
  frames.dataset.tiny = frame.tiny;
  page.frame = frame;
  select(page.sample);
  window.dispatchEvent(new CustomEvent('sefa:frame', {detail: frame}));
  element.querySelector('.full').href = page.link();
  const url = new URL(window.location.href);
  const others = [...url.searchParams].filter(([key]) => key.startsWith('__') || key === 'embed');
  url.search = [...others.map(([k, v]) => `${k}=${encodeURIComponent(v)}`), frame.query].join('&');
  const opened = window.location.search === '' && frame.query === props.first;
  if (frame.sequence > 0 && !opened) {         // browsers refuse too many of these in a row
    clearTimeout(address);
    address = setTimeout(() => {
      try { window.history.replaceState(window.history.state, '', url); } catch {}
    }, 300);
  }
}

// Draws what has come into sight and is of something else than what is set.
function catchUp() {
  if (!page.frame) return;
  const stale = [...frames.children].filter(
    (figure, i) => (page.only() ?? i) === i && figure.dataset.of !== page.frame.query);
  stale.forEach(figure => figure.classList.add('stale'));
  if (stale.length) document.querySelector('#settle')?.click();
}

function complain(text) {
  problem.textContent = text;
  problem.hidden = !text;
}

function wait(text) {
  if (waiting.textContent !== text) waiting.textContent = text;
}

// Of who was refused because too many were there, unless something newer was asked for since.
let again = 0;
function askAgain(sequence, seconds) {
  clearTimeout(again);
  again = setTimeout(() => {
    if (page.sequence === sequence) document.querySelector('#settle')?.click();
  }, seconds * (800 + 400 * Math.random()));  // not all at once
}

// What is seen at once and has to be said to who does not see it.
let quiet = 0;
page.say = text => {
  said.textContent = text;
  clearTimeout(quiet);
  quiet = setTimeout(() => { said.textContent = ''; }, 4000);
};

// The address of what is shown: without a theme, or the Hub's token in __sign.
page.link = (more = '') => {
  const url = new URL(window.location.href);
  url.search = more + (page.frame?.query ?? '');
  url.hash = '';
  return url.href;
};

// To the neighbours of the one that is shown large.
const walking = document.createElement('div');
walking.className = 'walking';

// One of the images is the one that strips are of, and that a brush is on.
page.sample ??= 0;
function select(i) {
  const n = frames.children.length, other = i !== page.sample;
  page.sample = Math.max(0, Math.min(i, n - 1));
  [...frames.children].forEach((figure, j) => {
    const chosen = j === page.sample;
    figure.classList.toggle('chosen', chosen && n > 1 || frames.dataset.one === 'true' && chosen);
    figure.setAttribute('aria-label', `Sample ${j + 1} of ${n}`);
    if (n < 2) figure.removeAttribute('tabindex');
    else {                                     // one stop for Tab; arrows go on from there
      figure.tabIndex = chosen ? 0 : -1;
      figure.setAttribute('aria-current', chosen);
    }
  });
  const figure = frames.children[page.sample];
  if (frames.dataset.one === 'true' && n > 1) {
    if (walking.parentNode !== figure) {
      const focused = walking.contains(document.activeElement) ? document.activeElement : null;
      figure.append(walking);
      focused?.focus();
    }
  } else walking.remove();
  window.dispatchEvent(new CustomEvent('sefa:select', {detail: {other}}));
}

function choose(i) {
  select(i);
  catchUp();
  window.dispatchEvent(new CustomEvent('sefa:sample'));
}

page.one = on => {
  frames.dataset.one = on ?? frames.dataset.one !== 'true';
  tools.querySelector('.one').setAttribute('aria-pressed', frames.dataset.one);
  select(page.sample);
  catchUp();
};
page.only = () => frames.dataset.one === 'true' && frames.children.length > 1 ? page.sample : null;
tools.querySelector('.one').addEventListener('click', () => page.one());
const walk = by => choose((page.sample + by + frames.children.length) % frames.children.length);
for (const [name, by] of [['previous', -1], ['next', 1]]) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = name;
  button.title = `${name[0].toUpperCase()}${name.slice(1)} sample`;
  button.setAttribute('aria-label', button.title);
  button.innerHTML = `<svg viewBox="0 0 24 24"><path d="${by < 0 ? 'M15 5l-7 7 7 7' : 'M9 5l7 7-7 7'}"/></svg>`;
  button.addEventListener('click', () => walk(by));
  walking.append(button);
}

frames.addEventListener('keydown', event => {
  const by = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
  if (!by || event.target.tagName !== 'FIGURE' || event.ctrlKey || event.altKey || event.metaKey) {
    return;
  }
  event.preventDefault();
  walk(by);
  frames.children[page.sample].focus();
});

// --- before and after: views, the split, and what is held ---
element.querySelectorAll('.views button').forEach(button => button.addEventListener('click', () => {
  frames.dataset.view = button.dataset.view;
  element.querySelector('.splitter').hidden = button.dataset.view !== 'split';
  element.querySelectorAll('.views button').forEach(
    other => other.setAttribute('aria-pressed', other === button));
}));

const splitter = element.querySelector('.splitter input');
const splitAt = percent => {
  splitter.value = percent;
  frames.style.setProperty('--split', splitter.value);
};
splitter.addEventListener('input', event => { event.stopPropagation(); splitAt(splitter.value); });

page.hold = on => { frames.dataset.hold = on; };
let press = 0, held = false;
frames.addEventListener('pointerdown', event => {
  const figure = event.target.closest('figure');
  if (!figure || event.target.closest('canvas, button') || event.button) return;
  held = false;
  if (frames.dataset.view === 'split') {
    const box = figure.getBoundingClientRect();
    const move = e => splitAt((e.clientX - box.left) / box.width * 100);
    move(event);
    figure.setPointerCapture(event.pointerId);
    figure.addEventListener('pointermove', move);
    const end = () => figure.removeEventListener('pointermove', move);
    figure.addEventListener('pointerup', end, {once: true});
    figure.addEventListener('pointercancel', end, {once: true});
    return;
  }
  clearTimeout(press);
  press = setTimeout(() => { held = true; page.hold(true); }, 300);
});
for (const type of ['pointerup', 'pointercancel', 'blur']) {
  window.addEventListener(type, () => { clearTimeout(press); if (held) page.hold(false); });
}
frames.addEventListener('contextmenu', event => { if (held) event.preventDefault(); });

frames.addEventListener('click', event => {
  const figure = event.target.closest('figure');
  if (!figure || event.target.closest('canvas, button') || held) return;
  choose([...frames.children].indexOf(figure));
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

// Stands in for all images while a slider is dragged; a strip, which is exact, has its own.
function sketch({sequence, preview}) {
  if (!page.dragging || frames.children.length !== preview.length) return;
  shown = sequence;
  frames.dataset.sketch = sequence;
  showAfter(preview.map((uri, i) => frames.dataset.scrub === 'true' && i === page.sample ? null : uri));
}

function showAfter(uris) {
  [...frames.children].forEach((figure, i) => {
    if (uris[i]) figure.querySelector('.after').src = uris[i];
  });
}

function setBefore(uris) {
  [...frames.children].forEach((figure, i) => { if (uris[i]) figure.firstChild.src = uris[i]; });
}

// --- tools ---
page.copy = async (text, field) => {
  try { await navigator.clipboard.writeText(text); }
  catch {                                      // in an iframe without permission
    const area = field ?? document.body.appendChild(document.createElement('textarea'));
    area.value = text;
    area.select();
    document.execCommand('copy');
    if (!field) area.remove();
  }
};
const copy = tools.querySelector('.copy');
copy.addEventListener('click', async () => {
  await page.copy(page.link(root.dataset.embed ? 'embed=1&' : ''));
  copy.classList.add('done');
  page.say('The link is copied.');
  setTimeout(() => copy.classList.remove('done'), 1500);
});
for (const name of ['reset', 'random']) {
  tools.querySelector(`.${name}`).addEventListener(
    'click', () => document.querySelector(`#do-${name}`)?.click());
}

// A drag is from pressing on a slider to letting go anywhere, also outside it or of the window.
window.addEventListener('pointerdown', event => {
  page.dragging = event.target.matches?.('[id^=semantic-] input[type=range]') ?? false;
}, true);
for (const type of ['pointerup', 'pointercancel', 'blur']) {
  window.addEventListener(type, event => {
    if (!page.dragging) return;
    page.dragging = false;
    document.querySelector('#settle')?.click();                // draws the last value in any case
  }, true);
}
