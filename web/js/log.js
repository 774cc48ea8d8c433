// The Log view: the server's log, kept up to date by its 'log' events.
import { $, el, icon, showToast } from './dom.js';
import { latestRequest } from './api.js';
import { on } from './events.js';

const MAX_LINES = 500;
const log = $('#log');
const request = latestRequest();
let loaded = false;
let lines = []; // { time, level, text }, the oldest first; time in seconds since the epoch

const clockTime = (time) => new Date(time * 1000).toTimeString().slice(0, 8);

const lineElement = ({ time, level, text }) => el(`div.log-line.${level}`, {},
  el('time', { datetime: new Date(time * 1000).toISOString() }, clockTime(time)),
  el('span.log-level', {}, level),
  el('span.log-text', {}, text));

const isScrolledToEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
const scrollToEnd = () => { log.scrollTop = log.scrollHeight; };

function render() {
  const empty = el('div.empty', {}, icon('list'), el('p', {}, 'The log is empty.'));
  log.replaceChildren(...(lines.length ? lines.map(lineElement) : [empty]));
  scrollToEnd();
}

async function load() {
  const response = await request.get('/api/log').catch(() => null);
  if (!response) return;
  ({ lines } = response);
  loaded = true;
  render();
}

// Scrolls to the new line only if the end was visible before.
function addLine(line) {
  request.invalidate();
  const isKnown = lines.some(({ time, text }) => time === line.time && text === line.text);
  if (!loaded || isKnown) return;
  const follow = isScrolledToEnd();
  lines.push(line);
  if (lines.length === 1) { render(); return; }
  log.append(lineElement(line));
  while (lines.length > MAX_LINES) { lines.shift(); log.firstChild.remove(); }
  if (follow) scrollToEnd();
}

async function copyLog() {
  try {
    const texts = lines.map(({ time, level, text }) => `${clockTime(time)} ${level} ${text}`);
    await navigator.clipboard.writeText(texts.join('\n'));
    showToast('Log copied to the clipboard.');
  } catch {
    showToast('Cannot copy: the browser denied access to the clipboard. Select the lines and copy them.');
  }
}

export function onShow() {
  if (loaded) scrollToEnd();
  else load();
}

export function init() {
  on('log', addLine);
  on('snapshot', () => { if (loaded) load(); });
  $('#log-copy').addEventListener('click', copyLog);
}
