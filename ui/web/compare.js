const page = (window.sefa ??= {sequence: 0, dragging: false});
const go = element.querySelector('.go'), rows = element.querySelector('.rows');
const problem = element.querySelector('.problem');
element.querySelector('.split').addEventListener('click', () => {
  document.querySelector('#gallery button[data-view=split]')?.click();
});
go.addEventListener('click', () => {
  go.disabled = true;
  problem.textContent = '';
  page.comparing = {sample: page.sample};
  document.querySelector('#do-compare')?.click();
});
watch('value', () => {
  go.disabled = false;
  const answer = props.value;
  problem.textContent = answer?.problem ?? '';
  if (!answer?.rows) return;
  rows.replaceChildren(...answer.rows.map((row, k) => {
    const line = document.createElement('div');
    line.className = k > 0 && row.direction !== answer.rows[k - 1].direction ? 'row first' : 'row';
    const name = document.createElement('div'), note = document.createElement('small');
    name.textContent = `${row.method} ${String(row.direction).padStart(3, '0')}`;
    note.textContent = row.note;
    name.append(note);
    const film = document.createElement('div');
    film.className = 'film';
    film.append(...row.frames.map((uri, i) => {
      const image = document.createElement('img');
      image.src = uri;
      image.alt = `${row.method} ${row.direction}, step ${i + 1} of ${row.frames.length}`;
      return image;
    }));
    line.append(name, film);
    return line;
  }));
  page.say?.('The methods are compared: a row for each direction of each method.');
});
