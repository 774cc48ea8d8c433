// Models that come into the models folder by the server's own hand.
import { $, fieldError } from './dom.js';
import { submit } from './api.js';
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
    fieldError('import-path', 'Which file or folder?');
    field.focus();
    return;
  }
  const done = await order('import', { source, mode: $('#import-mode').value }, $('#import-go'),
    { source: 'import-path', mode: 'import-path' }, 'import-path');
  if (done) field.value = '';
}

export function start() {
  $('#import-form').addEventListener('submit', importPath);
}
