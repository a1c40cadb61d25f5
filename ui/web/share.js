// What takes an edit elsewhere: link, snippets, and PNGs that bring one back.
const page = (window.sefa ??= {sequence: 0, dragging: false});
const problem = element.querySelector('.problem');
const field = kind => element.querySelector(`[data-kind=${kind}] :is(input, textarea)`);
const theme = element.querySelector('select');

function escape(text) {
  return text.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;');
}

function fill() {
  const frame = page.frame;
  if (!frame) return;
  field('link').value = page.link();
  const more = `embed=1&${theme.value ? `__theme=${theme.value}&` : ''}`;
  field('embed').value =
    `<iframe src="${escape(page.link(more))}" title="SeFa: directions of a GAN, to drag" ` +
    'width="100%" height="720" style="border: 0" loading="lazy" allow="clipboard-write"></iframe>';
  field('command').value = frame.share?.command ?? '';
  field('python').value = frame.share?.python ?? '';
}
window.addEventListener('sefa:frame', fill);
theme.addEventListener('change', fill);
fill();

element.querySelectorAll('.field button').forEach(button => {
  const words = button.textContent;
  button.addEventListener('click', async () => {
    const text = field(button.closest('.field').dataset.kind);
    await page.copy(text.value, text);
    button.textContent = 'Copied';
    button.classList.add('done');
    page.say?.('Copied.');
    setTimeout(() => { button.textContent = words; button.classList.remove('done'); }, 1500);
  });
});

// --- a PNG that carries its recipe ---
const MOST = 256 * 2 ** 20;                    // bytes of a file that is looked into

function complain(text) {
  problem.textContent = text;
  problem.hidden = !text;
  if (text) page.show?.('export');
}

// The text of the entry sefa_recipe of a PNG (tEXt, or iTXt that is not compressed), or null.
async function recipeOf(file) {
  const bytes = async (from, to) => new DataView(await file.slice(from, to).arrayBuffer());
  const latin = (view, from, to) => {
    let text = '';
    for (let i = from; i < to; i++) text += String.fromCharCode(view.getUint8(i));
    return text;
  };
  const head = await bytes(0, 8);
  if (head.byteLength < 8 || head.getUint32(0) !== 0x89504e47) return null;
  for (let at = 8, chunks = 0; at + 12 <= file.size && chunks < 10000; chunks++) {
    const view = await bytes(at, at + 8), size = view.getUint32(0), kind = latin(view, 4, 8);
    if (kind === 'IEND') break;
    if ((kind === 'tEXt' || kind === 'iTXt') && size < 300000) {
      const body = await bytes(at + 8, at + 8 + size), text = latin(body, 0, body.byteLength);
      if (text.startsWith('sefa_recipe\0')) {
        // keyword, 0; of iTXt also: compressed or not, how, language, 0, keyword, 0
        if (kind === 'tEXt') return text.slice(12);
        if (text.charCodeAt(12) === 0) return text.slice(14).split('\0').slice(2).join('\0');
      }
    }
    at += 12 + size;
  }
  return null;
}

async function open(file) {
  complain('');
  if (file.size > MOST) return complain(`${file.name} is too large to be looked into.`);
  let query = null;
  try { query = await recipeOf(file); } catch { /* it can be read no more: as if it had none */ }
  if (query === null) {
    return complain(`${file.name} carries no recipe: only PNGs that were saved here, and not ` +
                    'changed since, do.');
  }
  page.restore(query);
}
element.querySelector('input[type=file]').addEventListener('change', event => {
  const file = event.target.files[0];
  event.target.value = '';                     // so that the same can be opened again
  if (file) open(file);
});
const hasFiles = event => [...(event.dataTransfer?.types ?? [])].includes('Files');
window.addEventListener('dragover', event => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  document.documentElement.dataset.drop = 'true';
});
for (const type of ['dragleave', 'drop']) {
  window.addEventListener(type, event => {
    if (type === 'drop' || !event.relatedTarget) delete document.documentElement.dataset.drop;
  });
}
window.addEventListener('drop', event => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  const file = event.dataTransfer.files[0];
  if (file) open(file);
});
