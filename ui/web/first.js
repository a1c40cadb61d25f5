// Last, when everything is defined: the first frame. A link's own edit is drawn by the server: do
// not flash the default before it.
element.querySelector('.full').hidden = !root.dataset.embed;
const initial = props.value;
if (!new URLSearchParams(window.location.search).has('v')) paint(initial);
else setTimeout(() => { if (shown < 0) paint(initial); }, 8000);   // ... unless none comes
watch('value', () => paint(props.value));
