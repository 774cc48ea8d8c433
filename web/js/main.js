// The page begins here: which view is shown, and what the server is up to.
import { $, $$, plural } from './dom.js';
import { connect, on } from './events.js';
import { waiting } from './jobs.js';
import * as theme from './theme.js';
import * as settings from './settings.js';
import * as easel from './easel.js';
import * as recipe from './recipe.js';
import * as gallery from './gallery.js';
import * as models from './models.js';
import * as log from './log.js';

const TITLES = { generate: 'Generate', gallery: 'Gallery', models: 'Models', log: 'Log' };
const LATER = { gallery, models, log }; // views that begin when they are first opened
const begun = new Set();
let current = null;

function enter(name) {
  const view = LATER[name];
  if (!view) return;
  if (!begun.has(name)) view.start();
  begun.add(name);
  view.enter();
}

function route(event) {
  const name = TITLES[location.hash.slice(1)] ? location.hash.slice(1) : 'generate';
  if (location.hash === '#main') { $('#main').focus(); return; }
  if (name === current) return;
  LATER[current]?.leave?.();
  current = name;
  for (const view of $$('.view')) view.hidden = view.id !== `view-${name}`;
  for (const link of $$('.tabs a')) {
    if (link.hash === `#${name}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  document.title = name === 'generate' ? 'zimage' : `${TITLES[name]}, zimage`;
  enter(name);
  if (event) {
    scrollTo(0, 0);
    $(`#title-${name}`).focus({ preventScroll: true });
  }
}

// Downloads go on beside all else, one of each at a time.
function activity(jobs) {
  const fetches = jobs.some(({ kind }) => kind === 'download'), others = jobs.some(({ kind }) => kind !== 'download');
  const queued = jobs.length - fetches - others;
  const what = !fetches ? 'Running' : others ? 'Running and downloading' : 'Downloading';
  return queued ? `${what}, ${plural(queued, 'job')} queued` : what;
}

let connected = null;
function showStatus() {
  const status = $('#status');
  const jobs = waiting();
  const [state, text] = connected === false ? ['away', 'Disconnected, reconnecting']
    : connected === null ? ['', 'Connecting']
      : !jobs.length ? ['ready', 'Ready']
        : ['busy', activity(jobs)];
  status.dataset.state = state;
  if (status.textContent !== text) status.textContent = text;
}

for (const part of [theme, settings, easel, recipe]) part.start();
on('connection', (state) => { connected = state === 'open'; showStatus(); });
on('job', showStatus);
on('jobs', showStatus);
addEventListener('hashchange', route);
for (const name of ['dragover', 'drop']) addEventListener(name, (event) => event.preventDefault()); // a missed drop leaves the page alone
route();
connect();
