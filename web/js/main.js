// Entry point: switches between the views by the URL's fragment, and shows the server's state in the header.
import { $, $$, plural } from './dom.js';
import { connect, on } from './events.js';
import { viewInUrl } from './navigation.js';
import { activeJobs } from './jobs.js';
import * as theme from './theme.js';
import * as settings from './settings.js';
import * as viewer from './viewer.js';
import * as infotext from './infotext.js';
import * as gallery from './gallery.js';
import * as models from './models.js';
import * as log from './log.js';
import * as lost from './lost.js';
import * as saving from './saving.js';

const TITLES = { generate: 'Generate', gallery: 'Gallery', models: 'Models', log: 'Log' };
const LAZY_VIEWS = { gallery, models, log }; // initialized when they are first shown
const initialized = new Set();
let currentView = null;

function showLazyView(name) {
  const view = LAZY_VIEWS[name];
  if (!view) return;
  if (!initialized.has(name)) view.init();
  initialized.add(name);
  view.onShow();
}

function markCurrentTab(name) {
  for (const link of $$('.tabs a')) {
    if (link.hash === `#/${name}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

// Shows the view that the fragment names. event: null when the page is loaded, which leaves focus and scrolling alone.
function route(event = null) {
  const name = TITLES[viewInUrl()] ? viewInUrl() : 'generate';
  if (name === currentView) return;
  LAZY_VIEWS[currentView]?.onHide?.();
  currentView = name;
  for (const view of $$('.view')) view.hidden = view.id !== `view-${name}`;
  markCurrentTab(name);
  document.title = name === 'generate' ? 'zimage' : `${TITLES[name]}, zimage`;
  showLazyView(name);
  if (event) {
    scrollTo(0, 0);
    $(`#title-${name}`).focus({ preventScroll: true });
  }
}

/* ---- the status in the header ---- */

// The server runs one download and one other job at a time.
function jobsText(jobs) {
  const hasDownload = jobs.some(({ kind }) => kind === 'download');
  const hasOther = jobs.some(({ kind }) => kind !== 'download');
  const queued = jobs.length - hasDownload - hasOther;
  const running = !hasDownload ? 'Running' : hasOther ? 'Running and downloading' : 'Downloading';
  return queued ? `${running}, ${plural(queued, 'job')} queued` : running;
}

let connected = null; // null before the first connection

function statusOf(jobs) {
  if (connected === null) return ['', 'Connecting'];
  if (!connected) return ['offline', 'Disconnected, reconnecting'];
  return jobs.length ? ['busy', jobsText(jobs)] : ['ready', 'Ready'];
}

function showStatus() {
  const status = $('#status'), [state, text] = statusOf(activeJobs());
  status.dataset.state = state;
  if (status.textContent !== text) status.textContent = text; // screen readers announce each change
}

for (const part of [theme, settings, viewer, infotext, lost, saving]) part.init();
$('.skip-link').addEventListener('click', (event) => {
  event.preventDefault(); // its fragment would replace that of the view
  $('#main').focus();
});
on('connection', (state) => {
  connected = state === 'open';
  showStatus();
});
on('jobChanged', showStatus);
on('jobsReset', showStatus);
addEventListener('hashchange', route);
// Browsers are content if a part of an element is visible, or the text cursor. The margins in base.css count here, too.
addEventListener('focusin', ({ target }) => {
  if (target.matches('.view :is(input, textarea, button):focus-visible')) {
    target.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }
});
// A file that is dropped beside a drop target must not replace the page.
for (const name of ['dragover', 'drop']) addEventListener(name, (event) => event.preventDefault());
route();
connect();
