// Jobs that this browser submitted and that ended with the server: after a restart, the page says which they were and
// offers to submit them again. All tabs share the lists, in local storage.
import { $, announce, button, el, plural, showToast, storage } from './dom.js';
import { submitJob } from './api.js';
import { emit, on } from './events.js';
import { addJob, findJob, isActive } from './jobs.js';

const MAX_LOST = 20; // the latest ones
const ACTIONS = { generate: 'Generate again' }; // others: 'Start again'
const NOUNS = {
  generate: 'Image', convert: 'Conversion', quantize: 'Conversion', import: 'Import', download: 'Download',
  verify: 'Verification',
};
const section = $('#lost');
let began = null; // when the server that this page is connected to was started

// Jobs by id: { kind, params, images: how many are finished, began: of their server }
const pendingJobs = () => storage.get('pending') ?? {};
// The same. By id, so that tabs which find them at the same time list them once.
const lostJobs = () => storage.get('lost') ?? {};

function changePending(change) {
  const jobs = pendingJobs();
  change(jobs);
  storage.set('pending', jobs);
}

function setLost(jobs) {
  storage.set('lost', jobs);
  render();
}

/* ---- what is lost ---- */

// A job that has ended before the response to its submission arrived is not remembered.
function jobAdded(job) {
  if (!NOUNS[job.kind] || !isActive(job)) return;
  const { id, kind, params, images } = job;
  changePending((jobs) => { jobs[id] = { kind, params, images: images.length, began }; });
}

function jobChanged({ job, reason }) {
  if (reason !== 'image' && isActive(job) || !pendingJobs()[job.id]) return;
  if (reason === 'image') changePending((jobs) => { jobs[job.id].images = job.images.length; });
  if (!isActive(job) && !job.stopped) changePending((jobs) => { delete jobs[job.id]; });
}

// A job that a server does not know, though it was not restarted, ended long ago.
function jobsReset({ began: beganNow }) {
  began = beganNow;
  const jobs = Object.entries(pendingJobs());
  const lost = jobs.filter(([id, job]) => !findJob(id) && job.began !== began);
  const active = jobs.filter(([id]) => findJob(id) && isActive(findJob(id)));
  if (jobs.length) storage.set('pending', Object.fromEntries(active.map(([id, job]) => [id, { ...job, began }])));
  if (!lost.length) return;
  const all = Object.entries({ ...lostJobs(), ...Object.fromEntries(lost) });
  setLost(Object.fromEntries(all.slice(-MAX_LOST)));
  announce($('p', section).textContent);
}

/* ---- submitting them again ---- */

// The parameters for the rest of a job; each image has the next seed.
function remainingParams({ kind, params, images }) {
  if (kind !== 'generate' || !images) return params;
  const seed = BigInt.asUintN(64, BigInt(params.seed) + BigInt(images));
  return { ...params, seed: String(seed), count: params.count - images };
}

async function submitAgain(id, submit) {
  submit.disabled = true;
  try {
    const lost = lostJobs();
    const job = await submitJob(lost[id].kind, remainingParams(lost[id]));
    delete lost[id];
    setLost(lost);
    addJob(job);
    if (job.kind === 'generate') emit('submitted', job);
  } catch (error) {
    submit.disabled = false;
    showToast(error.message);
  }
}

/* ---- what is shown ---- */

function titleOf({ kind, params, images }) {
  const subject = params.prompt ?? params.source ?? params.repo ?? params.model ?? 'default model';
  const done = images ? `, ${images} of ${params.count} finished` : '';
  const noun = params.count > 1 ? plural(params.count, 'image') : NOUNS[kind];
  return `${noun}${done}: ${subject}`;
}

function createItem([id, lost]) {
  const title = titleOf(lost), action = ACTIONS[lost.kind] ?? 'Start again';
  const submit = button('.small', 'rotate', action, () => submitAgain(id, submit), { 'aria-label': `${action}: ${title}` });
  return el('li.row', {}, el('span.grow', {}, title), submit);
}

function render() {
  const jobs = Object.entries(lostJobs());
  const hadFocus = section.contains(document.activeElement);
  section.replaceChildren(...(jobs.length ? [
    el('p', {}, `The server was restarted. ${plural(jobs.length, 'job')} of this browser had not ended:`),
    el('ul', {}, ...jobs.map(createItem)),
    button('.small', 'close', 'Dismiss', () => setLost({})),
  ] : []));
  if (hadFocus) ($('button', section) ?? $('#main')).focus();
}

export function init() {
  on('jobAdded', jobAdded);
  on('jobChanged', jobChanged);
  on('jobsReset', jobsReset);
  storage.changed('lost', render);
  render();
}
