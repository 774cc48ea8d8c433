// The server's event stream (GET /api/events), one for several listeners: the tabs of worker.js, or the page itself.
//
// EventSource reconnects by itself and sends Last-Event-ID. It gives up after a response that is not an event stream,
// and it may not notice that a connection broke while the computer was suspended.

const SERVER_EVENTS = ['snapshot', 'queued', 'started', 'encoded', 'step', 'preview', 'progress', 'text', 'image',
  'done', 'failed', 'cancelled', 'log', 'deleted', 'models', 'storage',
  'stopping'];
const MAX_SILENCE = 20000; // milliseconds without an event, after which a tab that becomes visible reconnects
const MAX_CONNECTING = 30000; // milliseconds without an answer, after which it connects again
const HIDDEN_DELAY = 5000; // milliseconds from when the last tab was hidden until the stream is closed

/**
 * Returns { join }. join(deliver) adds a listener and returns { setVisible, reconnect, leave }. deliver(name, detail)
 * is called for server events, the first of which is 'snapshot', and for 'connection': 'open'; 'lost'; 'refused', after
 * which somebody must call reconnect(false).
 */
export function createHub() {
  const listeners = new Set(); // { deliver, visible, cursor: id of the last event that it has; null: it has none }
  let source = null, lastEventId = '', lastEventTime = 0, state = null, closeTimer = 0, connectTimer = 0;
  let snapshotSource = null; // open until it has a snapshot for the listeners that joined later than the others

  const isWaiting = (listener) => listener.cursor === null;
  const setState = (value) => {
    state = value;
    for (const { deliver } of listeners) deliver('connection', value);
  };

  // A snapshot replaces all state, also when its id is lower than those before, after the server's clock was set back.
  function deliver(listener, name, data, id) {
    if (name !== 'snapshot' && (isWaiting(listener) || id <= listener.cursor)) return;
    listener.cursor = id;
    listener.deliver(name, data);
  }

  function receive(name, event) {
    if (event.lastEventId) lastEventId = event.lastEventId;
    lastEventTime = Date.now();
    const data = JSON.parse(event.data);
    for (const listener of listeners) deliver(listener, name, data, Number(lastEventId));
  }

  function close() {
    clearTimeout(connectTimer);
    source?.close();
    snapshotSource?.close();
    source = snapshotSource = null;
  }

  // Opens the stream, in place of the one that is open. Continues after the last event that was received.
  function open() {
    clearTimeout(connectTimer);
    source?.close();
    source = new EventSource(`/api/events${lastEventId && `?last_event_id=${lastEventId}`}`);
    source.onopen = () => {
      clearTimeout(connectTimer);
      lastEventTime = Date.now();
      setState('open');
    };
    source.onerror = () => setState(source.readyState === EventSource.CLOSED ? 'refused' : 'lost');
    connectTimer = setTimeout(() => {
      setState('lost');
      open();
    }, MAX_CONNECTING);
    for (const name of SERVER_EVENTS) source.addEventListener(name, (event) => receive(name, event));
    catchUp();
  }

  // Gets a snapshot for listeners that wait for one, unless the stream itself begins with one.
  function catchUp() {
    if (!lastEventId || snapshotSource || ![...listeners].some(isWaiting)) return;
    const own = snapshotSource = new EventSource('/api/events');
    const end = () => {
      own.close();
      if (snapshotSource === own) snapshotSource = null;
    };
    own.addEventListener('snapshot', (event) => {
      const data = JSON.parse(event.data), waiting = [...listeners].filter(isWaiting);
      end();
      for (const listener of waiting) {
        if (state) listener.deliver('connection', state);
        deliver(listener, 'snapshot', data, Number(event.lastEventId));
      }
    });
    own.onerror = () => {
      if (own.readyState === EventSource.CLOSED) end(); // so does the other stream, or will: see reconnect()
    };
  }

  function visibilityChanged() {
    clearTimeout(closeTimer);
    if (!listeners.size) {
      close();
      lastEventId = '';
    } else if (![...listeners].some(({ visible }) => visible)) {
      closeTimer = setTimeout(close, HIDDEN_DELAY);
    }
  }

  // always: also if the stream is open
  function reconnect(always) {
    if (always || !source || source.readyState === EventSource.CLOSED) open();
    else catchUp();
  }

  function join(deliverEvent) {
    const listener = { deliver: deliverEvent, visible: true, cursor: null };
    listeners.add(listener);
    reconnect(false);
    return {
      setVisible(visible) {
        listener.visible = visible;
        visibilityChanged();
        if (visible) reconnect(Date.now() - lastEventTime > MAX_SILENCE && state === 'open');
      },
      reconnect,
      leave() {
        listeners.delete(listener);
        visibilityChanged();
      },
    };
  }

  return { join };
}
