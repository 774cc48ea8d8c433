// Models that come into the models folder by the server's own hand.
import { $, fieldError } from './dom.js';
import { get, submit } from './api.js';
import { LAYOUTS, PRECISIONS } from './convert.js';
import { add } from './jobs.js';

// Submits a job of a form; what is wrong stands beside the field that caused it, by the names of the API. first: the
// field that has what is nobody's.
async function order(kind, params, go, fields, first) {
  for (const id of new Set(Object.values(fields))) fieldError(id);
  go.disabled = true;
  try {
    add(await submit(kind, params));
    return true;
  } catch (error) {
    const id = fields[error.field] ?? first;
    fieldError(id, error.message);
    $(`#${id}`).focus();
    return false;
  } finally { go.disabled = false; }
}

async function importPath(event) {
  event.preventDefault();
  const field = $('#import-path'), source = field.value.trim().replace(/(?<=.)\/+$/, '');
  if (!source) {
    fieldError('import-path', 'Enter the path of a file or folder.');
    field.focus();
    return;
  }
  const done = await order('import', { source, mode: $('#import-mode').value }, $('#import-go'),
    { source: 'import-path', mode: 'import-path' }, 'import-path');
  if (done) field.value = '';
}

/* ---- from a hub ---- */

const TURBO = 'Tongyi-MAI/Z-Image-Turbo', FETCHED = 32.9; // GB
const STAYS = { bf16: 20.6, fp16: 20.6, q8: 14.9, q4: 11.9 }; // GB of it as an MLX folder
let layouts = [];

// What it takes, as far as that is known.
function hint() {
  const to = $('#fetch-to').value, stays = to === 'mlx' && STAYS[$('#fetch-precision').value];
  const sizes = $('#fetch-repo').value.trim() !== TURBO ? '' : `${FETCHED} GB download${stays ? `, ${stays} GB on disk` : ''}. `;
  $('#fetch-note').textContent = `${sizes}Interrupted downloads can be resumed.`;
}

function offerPrecisions() {
  const field = $('#fetch-precision'), before = field.value, same = $('#fetch-to').value === 'same';
  const names = same ? ['original'] : layouts.find(({ name }) => name === $('#fetch-to').value).precisions;
  field.replaceChildren(...names.map((name) => new Option(PRECISIONS[name] ?? name, name)));
  field.value = names.includes(before) ? before : names[0];
  hint();
}

async function offer() {
  layouts = (await get('/api/config').catch(() => ({}))).layouts ?? [];
  $('#fetch-to').append(...layouts.map(({ name }) => new Option(LAYOUTS[name] ?? name, name)));
}

function download(event) {
  event.preventDefault();
  order('download', { repo: $('#fetch-repo').value.trim() || TURBO, to: $('#fetch-to').value, precision: $('#fetch-precision').value }, $('#fetch-go'),
    { repo: 'fetch-repo', to: 'fetch-to', precision: 'fetch-to' }, 'fetch-repo');
}

export function start() {
  offer();
  hint();
  $('#fetch-form').addEventListener('submit', download);
  $('#fetch-to').addEventListener('change', offerPrecisions);
  for (const id of ['repo', 'precision']) $(`#fetch-${id}`).addEventListener('input', hint);
  $('#import-form').addEventListener('submit', importPath);
}
