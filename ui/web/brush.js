// The brush: a grid of cells over the chosen image of the gallery.
const page = (window.sefa ??= {sequence: 0, dragging: false});
const SIDE = 32;
const brushButton = element.querySelector('.brush');
const findButton = element.querySelector('.find');
const clearButton = element.querySelector('.clear');
const canvas = document.createElement('canvas');
canvas.width = canvas.height = SIDE;
canvas.setAttribute('role', 'application');
canvas.setAttribute('aria-label', 'The brushed region: arrow keys move, space paints');
canvas.tabIndex = 0;
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
  const figure = document.querySelectorAll('#gallery .frames figure')[page.sample ?? 0];
  if (page.brushing && figure) { if (canvas.parentNode !== figure) figure.append(canvas); }
  else canvas.remove();
}
window.addEventListener('sefa:select', event => {
  if (page.brushing && event.detail.other) clearCells();       // it was of another image
  putCanvas();
});

function dab(x, y, radius) {
  for (let j = 0; j < SIDE; j++) for (let i = 0; i < SIDE; i++) {
    if (Math.hypot(i + .5 - x, j + .5 - y) <= radius) cells[j * SIDE + i] = 1;
  }
  paintCells();
}

function stroke(event) {
  const box = canvas.getBoundingClientRect();
  dab((event.clientX - box.left) / box.width * SIDE,
      (event.clientY - box.top) / box.height * SIDE,
      event.pointerType === 'touch' ? 2 : 1.5);
}

// By keyboard: a cursor that paints while space is held, as it was in the image's middle.
let cursor = [SIDE / 2, SIDE / 2], painting = false;
const STEPS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
function showCursor() {
  paintCells();
  const ink = canvas.getContext('2d');
  ink.fillStyle = '#fff';
  ink.fillRect(Math.floor(cursor[0]), Math.floor(cursor[1]), 1, 1);
}
canvas.addEventListener('keydown', event => {
  const step = STEPS[event.key];
  if (step) cursor = cursor.map((at, k) => Math.min(SIDE - .5, Math.max(.5, at + step[k])));
  else if (event.key !== ' ') return;
  event.preventDefault();
  if (event.key === ' ') painting = true;
  if (painting) dab(...cursor, 1.5);
  showCursor();
});
canvas.addEventListener('keyup', event => { if (event.key === ' ') painting = false; });
canvas.addEventListener('focus', () => { if (canvas.matches(':focus-visible')) showCursor(); });
canvas.addEventListener('blur', () => { painting = false; paintCells(); });

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
  element.querySelector('.how').hidden = !page.brushing;
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
window.addEventListener('sefa:problem', looked);
