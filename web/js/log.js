// What the server has to say.
import { $, el, icon, toast } from './dom.js';
import { question } from './api.js';
import { on } from './events.js';

const LINES = 500;
const log = $('#log');
const asked = question();
let loaded = false, lines = [];

const clock = (time) => new Date(time * 1000).toTimeString().slice(0, 8);
const line = ({ time, level, text }) => el(`div.log-line.${level}`, {}, el('time', { datetime: new Date(time * 1000).toISOString() }, clock(time)),
  el('span.log-level', {}, level), el('span.log-text', {}, text));

const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
const toEnd = () => { log.scrollTop = log.scrollHeight; };

function show() {
  log.replaceChildren(...(lines.length ? lines.map(line) : [el('div.empty', {}, icon('list'), el('p', {}, 'The log is empty.'))]));
  toEnd();
}

async function load() {
  const list = await asked.ask('/api/log').catch(() => null);
  if (!list) return;
  ({ lines } = list);
  loaded = true;
  show();
}

const same = (one, other) => one.time === other.time && one.text === other.text;

function add(entry) {
  asked.outdate();
  if (!loaded || lines.some((other) => same(entry, other))) return;
  const follow = atEnd();
  lines.push(entry);
  if (lines.length === 1) { show(); return; }
  log.append(line(entry));
  while (lines.length > LINES) { lines.shift(); log.firstChild.remove(); }
  if (follow) toEnd();
}

export function enter() {
  if (loaded) toEnd();
  else load();
}

export function start() {
  on('log', add);
  on('snapshot', () => { if (loaded) load(); });
  $('#log-copy').addEventListener('click', async () => {
    await navigator.clipboard.writeText(lines.map(({ time, level, text }) => `${clock(time)} ${level} ${text}`).join('\n'))
      .then(() => toast('Log copied to the clipboard.'), () => toast('Cannot copy: the browser denied access to the clipboard.'));
  });
}
