// What Gradio's own controls leave out for those who hear the page: of its buttons, which slider
// one resets and which direction one takes away; and the notice, that there is a new one.
const CALLED = {
  '.reset-button': button =>
    `Reset ${button.closest('.block')?.querySelector('label span')?.textContent.trim()}`,
  '.token-remove:not(.remove-all)': button =>
    `Remove ${button.parentElement.querySelector('span')?.textContent.trim()}`,
  '.token-remove.remove-all': () => 'Remove all',
};
function nameAll() {
  for (const [which, name] of Object.entries(CALLED)) {
    for (const button of document.querySelectorAll(which)) {
      if (button.getAttribute('aria-label') !== name(button)) {
        button.setAttribute('aria-label', name(button));
        if (button.title) button.title = name(button);
      }
    }
  }
}
// A long notice scrolls, which keys can do only where they can get to it.
function reachNotice() {
  const notice = document.querySelector('#notice');
  if (!notice) return;
  const scrolls = notice.scrollHeight > notice.clientHeight;
  if (scrolls) {
    notice.tabIndex = 0;
    notice.setAttribute('role', 'group');
    notice.setAttribute('aria-label', 'Notice');
  } else if (notice.tabIndex >= 0) ['tabindex', 'role', 'aria-label'].forEach(
    name => notice.removeAttribute(name));
}
window.addEventListener('resize', reachNotice);
let naming = 0;
const soonNamed = () => { clearTimeout(naming); naming = setTimeout(() => { nameAll(); reachNotice(); }, 50); };
const directions = new MutationObserver(soonNamed);
window.addEventListener('sefa:frame', () => {
  const picked = document.querySelector('#animate-moves');     // changes without a frame
  if (picked) directions.observe(picked, {childList: true, subtree: true});
  soonNamed();
});

// An open list that scrolls is a stop of its own for Tab in some browsers, where it closes and the
// focus is nowhere.
document.addEventListener('keydown', event => {
  if (event.key !== 'Tab' || event.target.getAttribute?.('role') !== 'combobox') return;
  const list = document.getElementById(event.target.getAttribute('aria-controls'));
  if (list) list.tabIndex = -1;
}, true);

// A region that comes together with its text is not read out: this one is always there.
const noticed = () => document.querySelector('#notice')?.innerText.trim() ?? '';
let notice = noticed();
window.addEventListener('sefa:frame', () => {
  if (noticed() === notice) return;
  notice = noticed();
  if (notice) page.say(notice);
});
