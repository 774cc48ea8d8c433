// The forms of the Models view that add models: download from Hugging Face, and import from a path on the server.
import { $, setFieldError } from './dom.js';
import { getJson, submitJob } from './api.js';
import { LAYOUT_LABELS, PRECISION_LABELS } from './convert.js';
import { addJob } from './jobs.js';

/**
 * Submits a job with the values of a form.
 * @param button disabled meanwhile
 * @param fields ids of the form's fields by job parameter: an error is shown beside the field that caused it
 * @param defaultField id of the field for other errors
 * @returns whether the job was accepted
 */
async function submitForm(kind, params, button, fields, defaultField) {
  for (const id of new Set(Object.values(fields))) setFieldError(id);
  button.disabled = true;
  try {
    addJob(await submitJob(kind, params));
    return true;
  } catch (error) {
    const id = fields[error.field] ?? defaultField;
    setFieldError(id, error.message);
    $(`#${id}`).focus();
    return false;
  } finally { button.disabled = false; }
}

/* ---- import ---- */

async function importFromPath(event) {
  event.preventDefault();
  const field = $('#import-path'), source = field.value.trim().replace(/(?<=.)\/+$/, ''); // no slash at the end
  if (!source) {
    setFieldError('import-path', 'Enter the path of a file or folder.');
    field.focus();
    return;
  }
  const accepted = await submitForm('import', { source, mode: $('#import-mode').value }, $('#import-submit'),
    { source: 'import-path', mode: 'import-path' }, 'import-path');
  if (accepted) field.value = '';
}

/* ---- download ---- */

const DEFAULT_REPO = 'Tongyi-MAI/Z-Image-Turbo';
const DEFAULT_REPO_SIZE = 32.9; // GB
const CONVERTED_SIZES = { bf16: 20.6, fp16: 20.6, q8: 14.9, q4: 11.9 }; // GB as an MLX folder, by precision
let layouts = []; // { name, precisions } of GET /api/config

// Sizes are known for the default repository only.
function sizesText() {
  if ($('#download-repo').value.trim() !== DEFAULT_REPO) return '';
  const onDisk = $('#download-to').value === 'mlx' && CONVERTED_SIZES[$('#download-precision').value];
  return `${DEFAULT_REPO_SIZE} GB download${onDisk ? `, ${onDisk} GB on disk` : ''}. `;
}

function showNote() {
  $('#download-note').textContent = `${sizesText()}Interrupted downloads can be resumed.`;
}

// Lists the precisions that the chosen layout supports.
function listPrecisions() {
  const select = $('#download-precision'), previous = select.value, layout = $('#download-to').value;
  const names = layout === 'same' ? ['original'] : layouts.find(({ name }) => name === layout).precisions;
  select.replaceChildren(...names.map((name) => new Option(PRECISION_LABELS[name] ?? name, name)));
  select.value = names.includes(previous) ? previous : names[0];
  showNote();
}

async function loadLayouts() {
  layouts = (await getJson('/api/config').catch(() => ({}))).layouts ?? [];
  $('#download-to').append(...layouts.map(({ name }) => new Option(LAYOUT_LABELS[name] ?? name, name)));
}

function download(event) {
  event.preventDefault();
  const params = {
    repo: $('#download-repo').value.trim() || DEFAULT_REPO,
    to: $('#download-to').value,
    precision: $('#download-precision').value,
  };
  submitForm('download', params, $('#download-submit'),
    { repo: 'download-repo', to: 'download-to', precision: 'download-to' }, 'download-repo');
}

export function init() {
  loadLayouts();
  showNote();
  $('#download-form').addEventListener('submit', download);
  $('#download-to').addEventListener('change', listPrecisions);
  for (const id of ['repo', 'precision']) $(`#download-${id}`).addEventListener('input', showNote);
  $('#import-form').addEventListener('submit', importFromPath);
}
