// While somebody edits, the first few sliders and those in use; the rest is one click away, and all
// of it in Explore.
const page = (window.sefa ??= {sequence: 0, dragging: false});
const FEW = 4;                                 // and as many stand in page.css for the first paint
const more = element.querySelector('.more');
const hiding = document.head.appendChild(document.createElement('style'));
document.documentElement.dataset.rows = 'counted';
const used = new Set();
let all = false, names = '';

function count() {
  const rows = [...document.querySelectorAll('[id^=semantic-]')].filter(
    row => /^semantic-\d+$/.test(row.id) && row.querySelector('input[type=range]'));
  const text = rows.map(row => row.querySelector('label span')?.textContent).join();
  if (text !== names) { used.clear(); names = text; }
  const rest = rows.filter(row => {
    const i = Number(row.id.slice('semantic-'.length));
    if (Number(row.querySelector('input[type=range]').value) !== 0) used.add(i);
    return i >= FEW && !used.has(i);
  });
  const hide = !all && document.documentElement.dataset.tab !== 'explore';
  const rules = hide && rest.length
    ? `${rest.map(row => `#${row.id}`).join(', ')} { display: none !important; }` : '';
  if (hiding.textContent !== rules) hiding.textContent = rules;
  more.hidden = rest.length === 0 || document.documentElement.dataset.tab === 'explore';
  more.textContent = all ? 'Show fewer' : `Show all ${rows.length} directions`;
  more.setAttribute('aria-expanded', all);
}
more.addEventListener('click', () => {
  all = !all;
  count();
  window.dispatchEvent(new Event('resize'));   // strips have come into sight
});
let later = 0;
const soon = () => { clearTimeout(later); later = setTimeout(count, 50); };
window.addEventListener('sefa:frame', soon);
window.addEventListener('sefa:tab', () => { count(); window.dispatchEvent(new Event('resize')); });
new MutationObserver(soon).observe(
  document.querySelector('#sliders') ?? document.body, {childList: true, subtree: false});
count();
