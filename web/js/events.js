// The server's events. EventSource reconnects by itself and says where it was (Last-Event-ID); what it does not do is
// to try again after an answer that is no stream, and to notice that it died while the tab slept.
import { send } from './api.js';

const NAMES = ['snapshot', 'queued', 'started', 'encoded', 'step', 'preview', 'progress', 'text', 'image', 'done', 'failed',
  'cancelled', 'log', 'deleted', 'models'];
const SILENCE = 20000; // after which a stream that was out of sight is not trusted

export const bus = new EventTarget();
export const on = (name, listener) => bus.addEventListener(name, (event) => listener(event.detail));
export const emit = (name, detail) => bus.dispatchEvent(new CustomEvent(name, { detail }));

let source = null, last = '', heard = 0, delay = 0, timer = 0;

export function connect() {
  clearTimeout(timer);
  source?.close();
  source = new EventSource(`/api/events${last && `?last_event_id=${last}`}`);
  source.onopen = () => { heard = Date.now(); delay = 0; emit('connection', 'open'); };
  source.onerror = () => {
    emit('connection', 'lost');
    if (source.readyState === EventSource.CLOSED) retry();
  };
  for (const name of NAMES) {
    source.addEventListener(name, (event) => {
      if (event.lastEventId) last = event.lastEventId;
      heard = Date.now();
      emit(name, JSON.parse(event.data));
    });
  }
}

async function retry() {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    try {
      await send('GET', '/api/config'); // asks for the key, if that is what is missing
      connect();
    } catch { retry(); }
  }, delay);
  delay = Math.min(delay * 2 + 500, 10000);
}

function wake() {
  if (document.visibilityState === 'visible' && source && Date.now() - heard > SILENCE) connect();
}
document.addEventListener('visibilitychange', wake);
addEventListener('online', () => source && connect());
addEventListener('pageshow', (event) => event.persisted && source && connect());
