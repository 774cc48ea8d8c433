// The page begins here: which view is shown, and what the server is up to.
import { $, $$, plural, toast } from './dom.js';
import { connect, on } from './events.js';
import { waiting } from './jobs.js';
import * as theme from './theme.js';
import * as settings from './settings.js';
import * as easel from './easel.js';
import * as recipe from './recipe.js';

const TITLES = { generate: 'Generate', gallery: 'Gallery', models: 'Models', log: 'Log' };
// Views that begin when they are first opened. They are fetched when the page is there, and not before.
const LATER = { gallery: () => import('./gallery.js'), models: () => import('./models.js'), log: () => import('./log.js') };
const views = {}; // of these, what has begun
let current = null;

async function enter(name) {
  if (!LATER[name]) return;
  try {
    const view = await LATER[name]();
    if (!views[name]) view.start();
    views[name] = view;
    if (name === current) view.enter();
  } catch (error) {
    console.error(error);
    toast('This view did not arrive. Load the page again.');
  }
}

function route(event) {
  const name = TITLES[location.hash.slice(1)] ? location.hash.slice(1) : 'generate';
  if (location.hash === '#main') { $('#main').focus(); return; }
  if (name === current) return;
  views[current]?.leave?.();
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
  const what = !fetches ? 'At work' : others ? 'At work and downloading' : 'Downloading';
  return queued ? `${what}, ${plural(queued, 'job')} waiting` : what;
}

let connected = null;
function showStatus() {
  const status = $('#status');
  const jobs = waiting();
  const [state, text] = connected === false ? ['away', 'No connection, trying again']
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
addEventListener('load', () => { for (const fetched of Object.values(LATER)) fetched().catch(() => {}); });
for (const name of ['dragover', 'drop']) addEventListener(name, (event) => event.preventDefault()); // a missed drop leaves the page alone
route();
connect();
