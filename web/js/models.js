// The models folder: what is in it, and what can be done with it.
import { $, bar, button, bytes, dialog, el, fieldError, icon, seconds, setBar, toast } from './dom.js';
import { cancel, get, submit } from './api.js';
import { on } from './events.js';
import { add, all, open } from './jobs.js';
import { chooseModel } from './settings.js';
import { shelf as known } from './shelf.js';
import { dropZone } from './recipe.js';
import { convert } from './convert.js';
import { upload } from './upload.js';
import * as arrivals from './arrivals.js';

const SHELVES = [
  ['mlx', 'MLX', 'models/mlx'],
  ['pytorch', 'PyTorch', 'models/pytorch'],
  ['comfyui', 'ComfyUI and GGUF', 'models/comfyui'],
  ['prompt_enhancer', 'Language models', 'models/prompt_enhancer'],
  ['hub', 'Hugging Face cache', null],
  ['named', 'From the command line', null],
  ['demo', 'Built-in', null],
];
const KINDS = { convert: 'Converting', quantize: 'Quantizing', import: 'Importing', download: 'Downloading', verify: 'Verifying' };
const body = $('#models'), list = $('#model-jobs');
let visible = false, stale = true;

const shortName = (name) => name.split('/').pop();

/* ---- the list ---- */

function state(model) {
  if (model.health === null) return el('span.chip', {}, 'Not inspected yet');
  if (model.health === 'damaged') return el('span.chip.bad', {}, 'Damaged');
  if (model.health === 'unsupported') return el('span.chip.bad', {}, 'Not supported');
  if (model.loaded) return el('span.chip.good', {}, icon('check'), 'Loaded');
  if (model.kind === 'language') return el('span.chip.good', {}, 'Prompt enhancer');
  return model.usable ? el('span.chip.good', {}, 'Usable') : el('span.chip.warn', {}, 'Incomplete');
}

function card(model) {
  const named = { 'data-model': model.name };
  const action = (name, text, what) => button('.small', name, text, what, { 'aria-label': `${text}: ${shortName(model.name)}`, 'data-action': text, ...named });
  const drawing = model.kind === 'image';
  return el('li.panel.model', named,
    el('div.model-head', {}, el('h3', {}, shortName(model.name)), state(model)),
    el('p.row.wrap', {}, model.layout && el('span.chip', {}, model.layout), model.precision && el('span.chip', {}, model.precision),
      el('span.chip', {}, bytes(model.bytes)), model.native_size && el('span.chip', {}, `${model.native_size} × ${model.native_size}`)),
    ...model.problems.map((text) => el('p.error', {}, text)),
    model.missing.length > 0 && drawing && el('p.note', {}, `Missing: ${model.missing.join(', ')}.`),
    el('div.row.wrap', {},
      drawing && model.usable && action('brush', 'Use', () => { chooseModel(model.name); location.hash = '#generate'; }),
      action('read', 'Inspect', () => inspect(model)),
      drawing && model.usable && action('check', 'Verify', () => begin('verify', { model: model.name })),
      drawing && action('turn', 'Convert', () => convert(model, known().models))));
}

function shelf([name, title, folder]) {
  const inside = known().models.filter((model) => model.shelf === name);
  return el('section.shelf', {},
    el('h2', {}, title, folder && el('span.note.mono', {}, folder)),
    inside.length ? el('ul.model-list', {}, ...inside.map(card)) : el('p.note.shelf-empty', {}, 'No models.'));
}

function show() {
  if (!known()) return;
  stale = false;
  const { models, error } = known();
  if (error) {
    body.replaceChildren(el('p.error', { role: 'alert' }, error));
    return;
  }
  const { model, action } = document.activeElement?.dataset ?? {};
  body.removeAttribute('aria-busy');
  const filled = ([name]) => models.some((one) => one.shelf === name);
  const there = SHELVES.filter((one) => one[2] || filled(one)); // folders are there, empty or not
  body.replaceChildren(...there.toSorted((a, b) => filled(b) - filled(a)).map(shelf)); // what is empty comes last
  if (action) $(`[data-model="${CSS.escape(model)}"][data-action="${action}"]`, body)?.focus();
}

/* ---- inspection ---- */

const words = (key) => key.replaceAll('_', ' ');
const plain = (key, value) => (key === 'bytes' ? bytes(value) : typeof value === 'number' ? value.toLocaleString('en') : value === true ? 'yes' : value === false ? 'no' : String(value));

// JSON as nested lists of terms.
function tree(value) {
  return el('dl.facts', {}, ...Object.entries(value).flatMap(([key, inner]) => {
    if (inner === null || (Array.isArray(inner) && !inner.length)) return [el('dt', {}, words(key)), el('dd', {}, 'none')];
    if (Array.isArray(inner)) return [el('dt', {}, words(key)), el('dd', {}, inner.map((one) => (typeof one === 'object' ? JSON.stringify(one) : one)).join(', '))];
    if (typeof inner === 'object') return [el('dt.wide', {}, words(key)), el('dd.nested', {}, tree(inner))];
    return [el('dt', {}, words(key)), el('dd', {}, plain(key, inner))];
  }));
}

async function inspect(model) {
  const box = dialog(shortName(model.name), '', el('div.skeleton.inspect-blank'));
  try {
    const detail = await get(`/api/models/${model.name}`);
    $('.dialog-body', box).replaceChildren(tree(detail.inspect));
  } catch (error) {
    $('.dialog-body', box).replaceChildren(el('p.error', { role: 'alert' }, error.message));
  }
}

/* ---- jobs ---- */

async function begin(kind, params) {
  try {
    add(await submit(kind, params));
  } catch (error) {
    toast(error.message);
  }
}

// Whether this download was asked for again.
const goesOn = (entry) => all().some((other) => other.kind === 'download' && other.created > entry.created && JSON.stringify(other.params) === JSON.stringify(entry.params));

function outcome(entry) {
  const resume = () => entry.kind === 'download' && !goesOn(entry) && button('.small', 'turn', 'Resume', () => begin('download', entry.params), { 'aria-label': `Resume: ${jobTitle(entry)}` });
  if (entry.state === 'failed') return el('div.side-form', {}, el('p.error', { role: 'alert' }, entry.error.message), resume());
  if (entry.state === 'cancelled' && entry.kind === 'download') return el('div.side-form', {}, el('p.note', {}, 'Cancelled. The partial download is kept.'), resume());
  if (entry.state === 'cancelled') return el('p.note', {}, 'Cancelled.');
  if (entry.state !== 'done') return null;
  if (entry.kind !== 'verify') return el('p.note', {}, `Done: ${entry.result?.model ?? entry.params.destination}`);
  return el('ul.checks', {}, ...entry.result.checks.map((check) =>
    el('li', {}, el(`span.chip.${check.passed ? 'good' : 'bad'}`, {}, check.passed ? 'passed' : 'failed'), el('span', {}, el('strong', {}, words(check.name)), ' ', check.says ?? ''))));
}

function jobTitle(entry) {
  const what = shortName(entry.params.source ?? entry.params.repo ?? entry.params.model ?? 'the default model');
  const whole = entry.state === 'done' ? { convert: 'Converted', quantize: 'Quantized', import: 'Imported', download: 'Downloaded', verify: entry.result?.passed ? 'Verified' : 'Verification failed:' }[entry.kind] : KINDS[entry.kind];
  return `${whole} ${what}`;
}

// What is known of a job that is open.
function soFar(entry) {
  const { seconds_left: left, bytes: all, bytes_done: done, file } = entry.progress ?? {};
  if (entry.state === 'queued') return 'Queued';
  const time = left == null ? null : `${seconds(left)} left`;
  return [all && `${bytes(done)} of ${bytes(all)}`, time, file && shortName(file)].filter(Boolean).join(' · ') || 'Running';
}

function jobItem(entry) {
  const item = el('li.model-job', { 'data-job': entry.id, 'data-state': entry.state });
  item.append(el('div.row', {}, el('strong.job-title', {}, jobTitle(entry)),
    open(entry) && button('.small.quiet', 'stop', 'Cancel', () => cancel(entry.id).catch((error) => toast(error.message)), { 'aria-label': `Cancel: ${jobTitle(entry)}` })));
  if (open(entry)) {
    const progress = bar(jobTitle(entry));
    setBar(progress, entry.state === 'running' ? entry.progress?.fraction ?? null : 0);
    item.append(progress, el('p.note.numbers', {}, soFar(entry)));
  } else {
    item.append(outcome(entry));
  }
  return item;
}

const ours = (entry) => KINDS[entry.kind];

function showJobs() {
  const entries = all().filter(ours).sort((a, b) => open(b) - open(a) || b.created - a.created).slice(0, 6);
  list.replaceChildren(...(entries.length ? entries.map(jobItem) : [el('li.note', {}, 'No jobs. Downloads, imports, conversions and verifications appear here.')]));
}

// Progress changes an item in place, so that its button keeps the focus.
function jobChanged({ job: entry, reason }) {
  if (!ours(entry)) return;
  const item = $(`[data-job="${entry.id}"]`, list);
  if (reason !== 'progress' || item?.dataset.state !== 'running') { showJobs(); return; }
  setBar($('.bar', item), entry.progress.fraction);
  $('.note', item).textContent = soFar(entry);
}

/* ---- */

export function enter() {
  visible = true;
  if (stale) show();
}
export const leave = () => { visible = false; };

async function bring(file) {
  if (!file) return;
  fieldError('import');
  try {
    const model = await upload(file, $('#import-progress'));
    toast(`Imported ${shortName(model.name)}.`);
  } catch (error) {
    fieldError('import', error.message);
  }
}

export function start() {
  body.replaceChildren(...[1, 2, 3].map(() => el('div.skeleton.model-blank')));
  showJobs();
  on('shelf', () => { if (visible) show(); else stale = true; });
  on('job', jobChanged);
  on('jobs', showJobs);
  arrivals.start();
  dropZone($('#view-models'), bring);
  $('#import-file').addEventListener('change', ({ target }) => {
    bring(target.files[0]);
    target.value = '';
  });
}
