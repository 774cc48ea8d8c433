// The server's events and those of the page itself. Server events come from a worker that all tabs share or, where the
// browser has none, from a stream of this tab.
import { send } from './api.js';
import { createHub } from './stream.js';

// The version of the messages between tabs and worker. Pages with another one get a worker of their own.
const WORKER_VERSION = 2;
const MAX_RETRY_DELAY = 10000; // milliseconds

const bus = new EventTarget();
// Names are those in stream.js, and: jobChanged, jobsReset, jobAdded, modelList, modelSelected, sizeChanged, submitted.
export const on = (name, listener) => bus.addEventListener(name, (event) => listener(event.detail));
export const emit = (name, detail) => bus.dispatchEvent(new CustomEvent(name, { detail }));

let tell = null; // tell(name, argument): calls setVisible, reconnect or leave of stream.js, or 'join'
let retryDelay = 0, retryTimer = 0;

function receive(name, detail) {
  if (name === 'connection' && detail === 'refused') retry();
  if (name === 'connection' && detail === 'open') retryDelay = 0;
  emit(name, name === 'connection' && detail !== 'open' ? 'lost' : detail);
}

function useOwnStream() {
  const hub = createHub();
  let listener = hub.join(receive);
  tell = (name, argument) => {
    if (name === 'join') listener = hub.join(receive);
    else listener[name](argument);
  };
}

function useSharedStream() {
  const worker = new SharedWorker('/js/worker.js', { name: `zimage ${WORKER_VERSION}` });
  worker.onerror = () => { // it could not be loaded
    worker.port.close();
    useOwnStream();
    showVisibility();
  };
  worker.port.onmessage = ({ data: [name, detail] }) => receive(name, detail);
  tell = (...message) => worker.port.postMessage(message);
}

const showVisibility = () => tell('setVisible', document.visibilityState === 'visible');

export function connect() {
  if (window.SharedWorker) useSharedStream();
  else useOwnStream();
  if (document.visibilityState !== 'visible') showVisibility();
  document.addEventListener('visibilitychange', showVisibility);
  addEventListener('online', () => tell('reconnect', true));
  addEventListener('pagehide', () => tell('leave'));
  addEventListener('pageshow', (event) => event.persisted && tell('join'));
}

function retry() {
  clearTimeout(retryTimer);
  retryTimer = setTimeout(async () => {
    try {
      await send('GET', '/api/config'); // asks for the API key if the server requires one
      tell('reconnect', false);
    } catch { retry(); }
  }, retryDelay);
  retryDelay = Math.min(retryDelay * 2 + 500, MAX_RETRY_DELAY);
}
