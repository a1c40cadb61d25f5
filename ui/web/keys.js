// Keys: R other samples, 0 all sliders to 0, B held shows the originals, L one sample large,
// Ctrl+Z and Ctrl+Shift+Z or Ctrl+Y. Not while somebody types.
const TYPED = 'input:not([type=range], [type=checkbox], [type=radio]), textarea, select, ' +
  '[contenteditable=true]';
document.addEventListener('keydown', event => {
  if (event.defaultPrevented || event.target.closest?.(TYPED)) return;
  const key = event.key.toLowerCase(), control = event.ctrlKey || event.metaKey;
  if (control && !event.altKey && (key === 'z' || key === 'y')) {
    event.preventDefault();
    if (key === 'y' || event.shiftKey) page.redo();
    else page.undo();
    return;
  }
  if (control || event.altKey || event.repeat) return;
  if (key === 'b') page.hold(true);
  else if (key === 'l') page.one();
  else if (key === 'r') document.querySelector('#do-random')?.click();
  else if (key === '0') document.querySelector('#do-reset')?.click();
});
document.addEventListener('keyup', event => {
  if (event.key.toLowerCase() === 'b') page.hold(false);
});
window.addEventListener('blur', () => page.hold(false));
