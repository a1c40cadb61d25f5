// Undo and redo: the addresses of what was shown, a moment after it came to rest.
const undo = tools.querySelector('.undo'), redo = tools.querySelector('.redo');
const past = [];                               // queries
const MOST = 200;
let place = -1, since = Infinity, resting = 0;

function remember(frame) {
  if (page.dragging || page.scrubbing) { rest(frame); return; }
  if (past[place] !== frame.query) {
    past.splice(place + 1, Infinity, frame.query);
    if (past.length > MOST) past.shift();
    place = past.length - 1;
  }
  offer();
}
function rest(frame) {
  clearTimeout(resting);
  resting = setTimeout(() => remember(page.frame ?? frame), 350);
}
function offer() {
  undo.disabled = place <= 0;
  redo.disabled = place >= past.length - 1;
  undo.dataset.place = place;                  // says how much is remembered, for who watches
}
function go(by) {
  if (!(place + by >= 0 && place + by < past.length)) return;
  clearTimeout(resting);
  if (by < 0 && page.frame && past[place] !== page.frame.query && since === Infinity) {
    past.splice(place + 1, Infinity, page.frame.query);         // what had not come to rest yet
    place += 1;
  }
  place += by;
  since = page.sequence;
  offer();
  page.restore(past[place]);
}
// Opens a recipe on the page, without its leaving it.
page.restore = query => {
  page.restoring = {query};
  document.querySelector('#do-restore')?.click();
};
page.undo = () => go(-1);
page.redo = () => go(1);
undo.addEventListener('click', page.undo);
redo.addEventListener('click', page.redo);
window.addEventListener('sefa:frame', event => {
  if (event.detail.sequence > since) {         // what was asked for; a model may have corrected it
    past[place] = event.detail.query;
    since = Infinity;
  }
  rest(event.detail);
});
