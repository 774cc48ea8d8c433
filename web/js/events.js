// The server's event stream (GET /api/events), and the events of the page itself.
//
// EventSource reconnects by itself and sends Last-Event-ID. It gives up after a response that is not an event stream,
// and it may not notice that a connection broke while the tab was suspended: connect() is called again in these cases.
import { send } from './api.js';

const SERVER_EVENTS = ['snapshot', 'queued', 'started', 'encoded', 'step', 'preview', 'progress', 'text', 'image',
  'done', 'failed', 'cancelled', 'log', 'deleted', 'models'];
const MAX_SILENCE = 20000; // milliseconds without an event, after which a tab that becomes visible reconnects
const MAX_RETRY_DELAY = 10000; // milliseconds

const bus = new EventTarget();
// Names are SERVER_EVENTS, and: connection, jobChanged, jobsReset, modelList, modelSelected, sizeChanged, submitted.
export const on = (name, listener) => bus.addEventListener(name, (event) => listener(event.detail));
export const emit = (name, detail) => bus.dispatchEvent(new CustomEvent(name, { detail }));

let source = null, lastEventId = '', lastEventTime = 0, retryDelay = 0, retryTimer = 0;

// Opens the stream, in place of the one that is open. Continues after the last event that was received.
export function connect() {
  clearTimeout(retryTimer);
  source?.close();
  source = new EventSource(`/api/events${lastEventId && `?last_event_id=${lastEventId}`}`);
  source.onopen = () => {
    lastEventTime = Date.now();
    retryDelay = 0;
    emit('connection', 'open');
  };
  source.onerror = () => {
    emit('connection', 'lost');
    if (source.readyState === EventSource.CLOSED) retry();
  };
  for (const name of SERVER_EVENTS) {
    source.addEventListener(name, (event) => {
      if (event.lastEventId) lastEventId = event.lastEventId;
      lastEventTime = Date.now();
      emit(name, JSON.parse(event.data));
    });
  }
}

function retry() {
  clearTimeout(retryTimer);
  retryTimer = setTimeout(async () => {
    try {
      await send('GET', '/api/config'); // asks for the API key if the server requires one
      connect();
    } catch { retry(); }
  }, retryDelay);
  retryDelay = Math.min(retryDelay * 2 + 500, MAX_RETRY_DELAY);
}

document.addEventListener('visibilitychange', () => {
  const visible = document.visibilityState === 'visible';
  if (visible && source && Date.now() - lastEventTime > MAX_SILENCE) connect();
});
addEventListener('online', () => source && connect());
addEventListener('pageshow', (event) => event.persisted && source && connect());
