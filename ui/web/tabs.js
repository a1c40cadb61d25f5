// What is one step away. Gradio's own tabs take a hidden panel's components off the page, and the
// sliders are in two of them: here a panel is only hidden, by page.css, which is told by data-tab.
const page = (window.sefa ??= {sequence: 0, dragging: false});
const root = document.documentElement;
const tabs = [...element.querySelectorAll('[role=tab]')];
const nameOf = tab => tab.id.slice('tab-'.length);
const PANELS = {edit: ['panel-sliders', 'panel-edit'], explore: ['panel-explore', 'panel-sliders']};

page.show = name => {
  root.dataset.tab = name;
  for (const tab of tabs) {
    const selected = nameOf(tab) === name;
    tab.setAttribute('aria-selected', selected);
    tab.tabIndex = selected ? 0 : -1;
  }
  const panel = document.querySelector('#panel-sliders');
  panel?.setAttribute('aria-labelledby', `tab-${name === 'explore' ? name : 'edit'}`);
  if (name === 'about') document.querySelector('#do-check')?.click();      // what is so by now
  window.dispatchEvent(new CustomEvent('sefa:tab', {detail: name}));
};
for (const tab of tabs) {
  const panels = PANELS[nameOf(tab)] ?? [`panel-${nameOf(tab)}`];
  tab.setAttribute('aria-controls', panels.join(' '));
  for (const id of panels) {
    const panel = document.querySelector(`#${id}`);
    panel?.setAttribute('role', 'tabpanel');
    panel?.setAttribute('aria-labelledby', tab.id);
  }
  tab.addEventListener('click', () => page.show(nameOf(tab)));
}
element.addEventListener('keydown', event => {
  const at = tabs.indexOf(document.activeElement), n = tabs.length;
  const to = {ArrowRight: (at + 1) % n, ArrowLeft: (at + n - 1) % n, Home: 0, End: n - 1}[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  tabs[to].focus();
  page.show(nameOf(tabs[to]));
});
const wanted = tabs.find(tab => nameOf(tab) === window.location.hash.slice(1));
page.show(wanted ? nameOf(wanted) : 'edit');
