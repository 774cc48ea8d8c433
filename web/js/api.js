// HTTP requests to the server's API. Failed requests throw an ApiError.
import { $, button, el, openDialog, setFieldError } from './dom.js';

export class ApiError extends Error {
  // field: the request parameter that is at fault, without the path before it; null when there is none.
  // status: the HTTP status; 0 when there was no response.
  constructor(message, field = null, status = 0) {
    super(message);
    this.field = field && field.split('.').pop();
    this.status = status;
  }
}

async function errorFromResponse(response) {
  const { error } = await response.json().catch(() => ({}));
  const message = error?.message ?? `The server sent an error without a message (HTTP ${response.status}).`;
  return new ApiError(message, error?.field, response.status);
}

const MAX_WAIT = 30000; // milliseconds until the server answers
const MAX_WAIT_FOR_FILE = 300000; // the same with a file to upload

export const noAnswer = (milliseconds) => new ApiError(
  `The server did not answer within ${milliseconds / 1000} seconds. It may be overloaded or stopped; try again.`);

/**
 * Sends a request. On HTTP 401 it asks for the API key and sends the request again.
 * @param body a Blob, or a value that is sent as JSON; undefined for none
 * @param read reads the response while the time limit still counts; default: it returns the Response
 * @returns what `read` makes of the Response, whose status is a success
 * @throws ApiError, or the AbortError of `signal`
 */
export async function send(method, path, body, { signal } = {}, read = (response) => response) {
  const timeout = new AbortController();
  const limit = body instanceof Blob ? MAX_WAIT_FOR_FILE : MAX_WAIT;
  const timer = setTimeout(() => timeout.abort(), limit);
  const stop = () => timeout.abort();
  signal?.addEventListener('abort', stop);
  if (signal?.aborted) stop();
  try {
    return await read(await request(method, path, body, timeout.signal));
  } catch (error) {
    if (error.name === 'AbortError' && !signal?.aborted) throw noAnswer(limit);
    if (error instanceof ApiError && error.status === 401 && path !== '/api/login') {
      clearTimeout(timer);
      await askForApiKey();
      return send(method, path, body, { signal }, read);
    }
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

// As send(), but without time limit and login.
async function request(method, path, body, signal) {
  const isBlob = body instanceof Blob;
  const options = { method, signal };
  if (body !== undefined) {
    options.body = isBlob ? body : JSON.stringify(body);
    options.headers = { 'Content-Type': isBlob ? body.type || 'application/octet-stream' : 'application/json' };
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError('Cannot reach the server. Is zimage serve running?');
  }
  if (response.ok) return response;
  throw await errorFromResponse(response);
}

async function readJson(response) {
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError('The connection to the server was lost. Try again.');
  }
}

// As send(), but returns the JSON of the response; null for HTTP 204.
export const sendJson = (method, path, body, options) =>
  send(method, path, body, options, readJson);

export const getJson = (path) => sendJson('GET', path);

/**
 * Makes requests for a list that server events keep changing. Only the response to the latest get() counts: earlier
 * calls that are still pending resolve to null.
 */
export function latestRequest() {
  let latest = 0, outdated = false;
  return {
    // Call this when an event changed the list: the response to a pending request may predate it, so that the request
    // is repeated.
    invalidate() { outdated = true; },
    async get(path) {
      const number = ++latest;
      try {
        let result;
        do {
          outdated = false;
          result = await getJson(path);
        } while (outdated && number === latest);
        return number === latest ? result : null;
      } catch (error) {
        if (number === latest) throw error;
        return null;
      }
    },
  };
}

// Queues a job and returns it. kind: "generate", "convert", ...; params: as in the OpenAPI description.
export const submitJob = (kind, params) => sendJson('POST', '/api/jobs', { kind, params });
export const cancelJob = (id) => sendJson('DELETE', `/api/jobs/${id}`);

export const imageUrl = (id) => `/api/images/${id}/file`;
export const thumbnailUrl = (id) => `/api/images/${id}/thumbnail`;
// format: "png", "jpeg" or "webp".
export const downloadUrl = (id, format) => `/api/images/${id}/file?format=${format}&download=1`;

let login = null; // the promise of the open dialog, which all requests that got HTTP 401 share

// Resolves when the server has accepted a key. The dialog cannot be dismissed.
function askForApiKey() {
  login ??= new Promise(showLoginDialog).finally(() => { login = null; });
  return login;
}

function showLoginDialog(onAccepted) {
  const key = el('input.input',
    { id: 'key', type: 'password', autocomplete: 'current-password', 'aria-describedby': 'key-error' });
  const form = el('form.field', { novalidate: true },
    el('label', { for: 'key' }, 'API key (set with zimage serve --api-key)'),
    key,
    el('p.error', { id: 'key-error', role: 'alert' }),
    el('div.row.end', {}, button('.primary', null, 'Sign in', null, { type: 'submit' })));
  const box = openDialog('API key required', '.lasting', form);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    try {
      await sendJson('POST', '/api/login', { key: key.value });
      box.close('done');
      onAccepted();
    } catch (error) {
      setFieldError('key', error.message);
      key.focus();
    }
  });
}
