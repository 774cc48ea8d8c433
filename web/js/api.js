// Requests to the server. Errors have a text, and the field that caused them when one did.
import { $, dialog, el, fieldError, button } from './dom.js';

export class ApiError extends Error {
  constructor(message, field = null, status = 0) {
    super(message);
    this.field = field && field.split('.').pop();
    this.status = status;
  }
}

async function failure(response) {
  const { error } = await response.json().catch(() => ({}));
  return new ApiError(error?.message ?? `The server returned HTTP ${response.status}.`, error?.field, response.status);
}

// The answer, a Response that went well. Asks for the key when the server wants one.
export async function send(method, path, body, { signal } = {}) {
  const raw = body instanceof Blob;
  const options = { method, signal };
  if (body !== undefined) {
    options.body = raw ? body : JSON.stringify(body);
    options.headers = { 'Content-Type': raw ? body.type || 'application/octet-stream' : 'application/json' };
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError('Cannot reach the server. Is zimage serve running?');
  }
  if (response.ok) return response;
  if (response.status === 401 && path !== '/api/login') {
    await login();
    return send(method, path, body, { signal });
  }
  throw await failure(response);
}

export async function call(method, path, body, options) {
  const response = await send(method, path, body, options);
  return response.status === 204 ? null : response.json();
}

export const get = (path) => call('GET', path);

// What is asked again and again while events change the answer. Of questions that overtake each other only the last one
// is answered: those before get null.
export function question() {
  let last = 0, old = false;
  return {
    // Something happened that an answer on its way may not know of: it is asked for again.
    outdate() { old = true; },
    async ask(path) {
      const turn = ++last;
      try {
        let answer;
        do {
          old = false;
          answer = await get(path);
        } while (old && turn === last);
        return turn === last ? answer : null;
      } catch (error) {
        if (turn === last) throw error;
        return null;
      }
    },
  };
}

export const submit = (kind, params) => call('POST', '/api/jobs', { kind, params });
export const cancel = (id) => call('DELETE', `/api/jobs/${id}`);
export const fileUrl = (id, format, download) =>
  `/api/images/${id}/file?format=${format}${download ? '&download=1' : ''}`;
export const pictureUrl = (id) => `/api/images/${id}/file`;
export const thumbnailUrl = (id) => `/api/images/${id}/thumbnail`;

let asking = null; // one dialog for all requests that wait for the key
function login() {
  asking ??= new Promise((resolve) => {
    const key = el('input.input', { id: 'key', type: 'password', autocomplete: 'current-password', 'aria-describedby': 'key-error' });
    const form = el('form.field', { novalidate: true },
      el('label', { for: 'key' }, 'API key (set with zimage serve --api-key)'),
      key,
      el('p.error', { id: 'key-error', role: 'alert' }),
      el('div.row.end', {}, button('.primary', null, 'Sign in', null, { type: 'submit' })));
    const box = dialog('API key required', '', form);
    box.addEventListener('cancel', (event) => event.preventDefault());
    $('[aria-label="Close"]', box).remove();
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      try {
        await call('POST', '/api/login', { key: key.value });
        box.close();
        resolve();
      } catch (error) {
        fieldError('key', error.message);
        key.focus();
      }
    });
  }).finally(() => { asking = null; });
  return asking;
}
