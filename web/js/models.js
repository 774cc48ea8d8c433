// The Models view: the list of models, the actions on them, and the jobs that work on models.
import { $, addDropTarget, button, el, formatBytes, formatDuration, icon, openDialog, progressBar, setFieldError, setProgress, showToast } from './dom.js';
import { cancelJob, getJson, submitJob } from './api.js';
import { on } from './events.js';
import { addJob, allJobs, isActive } from './jobs.js';
import { showView } from './navigation.js';
import { selectModel } from './settings.js';
import { modelList } from './registry.js';
import { openConvertDialog } from './convert.js';
import { uploadModel } from './upload.js';
import * as downloads from './downloads.js';

// The sections of the list: by model.shelf, with the folder that is shown even if it is empty.
const SECTIONS = [
  { shelf: 'mlx', title: 'MLX', folder: 'models/mlx' },
  { shelf: 'pytorch', title: 'PyTorch', folder: 'models/pytorch' },
  { shelf: 'comfyui', title: 'ComfyUI and GGUF', folder: 'models/comfyui' },
  { shelf: 'diffusion_models', title: 'ComfyUI: diffusion models' },
  { shelf: 'unet', title: 'ComfyUI: unet' },
  { shelf: 'checkpoints', title: 'ComfyUI: checkpoints' },
  { shelf: 'prompt_enhancer', title: 'Language models', folder: 'models/prompt_enhancer' },
  { shelf: 'text_encoders', title: 'ComfyUI: text encoders' },
  { shelf: 'clip', title: 'ComfyUI: clip' },
  { shelf: 'vae', title: 'ComfyUI: VAE' },
  { shelf: 'loras', title: 'ComfyUI: LoRAs' },
  { shelf: 'upscale_models', title: 'ComfyUI: upscalers' },
  { shelf: 'controlnet', title: 'ComfyUI: ControlNets' },
  { shelf: 'hub', title: 'Hugging Face cache' },
  { shelf: 'named', title: 'From the command line' },
  { shelf: 'demo', title: 'Built-in' },
];
// Kinds that are components of image models, or are added to these.
const PART_KINDS = {
  text_encoder: 'Text encoder', vae: 'VAE', lora: 'LoRA', upscaler: 'Upscaler', control_net: 'ControlNet',
};
const MAX_JOBS = 6; // shown, the latest first
const body = $('#models'), jobList = $('#model-jobs');
let isShown = false, isStale = true; // whether the view is visible; whether the list must be rendered again

const shortName = (name) => name.split('/').pop();

/* ---- the list ---- */

function stateChip(model) {
  if (model.health === null) return el('span.chip', {}, 'Not inspected yet');
  if (model.health === 'damaged') return el('span.chip.bad', {}, 'Damaged');
  if (model.health === 'unsupported') return el('span.chip.bad', {}, 'Not supported');
  if (model.loaded) return el('span.chip.good', {}, icon('check'), 'Loaded');
  if (model.kind === 'language') return el('span.chip.good', {}, 'Prompt enhancer');
  if (PART_KINDS[model.kind]) return el('span.chip.good', {}, PART_KINDS[model.kind]);
  return model.usable ? el('span.chip.good', {}, 'Usable') : el('span.chip.warn', {}, 'Incomplete');
}

function useModel(model) {
  selectModel(model.name);
  showView('generate');
}

function modelActions(model) {
  const action = (iconName, text, onclick) => button('.small', iconName, text, onclick,
    { 'aria-label': `${text}: ${shortName(model.name)}`, 'data-action': text, 'data-model': model.name });
  const isImageModel = model.kind === 'image', isUsable = isImageModel && model.usable;
  return el('div.row.wrap', {},
    isUsable && action('brush', 'Use', () => useModel(model)),
    action('document', 'Inspect', () => openInspectDialog(model)),
    isUsable && action('check', 'Verify', () => startJob('verify', { model: model.name })),
    isImageModel && action('rotate', 'Convert', () => openConvertDialog(model, modelList().models)));
}

// Other components than the transformer can come from another model: parts are those that the server uses by itself.
function missingText({ missing, usable, parts }) {
  const used = [parts.text_encoder, parts.vae, parts.tokenizer && 'a tokenizer that was found'].filter(Boolean);
  if (usable) return `With ${used.join(', ') || "components that options of the server name (--vae, --text-encoder, --reference)"}.`;
  const names = missing.map((name) => name.replaceAll('_', ' ')).join(', ');
  return `Missing: ${names}.${missing.includes('transformer') ? '' : ' Convert can take that from another model.'}`;
}

function createModelCard(model) {
  const size = model.native_size, isIncomplete = model.kind === 'image' && model.missing.length > 0;
  const chips = [model.layout, model.precision, formatBytes(model.bytes), size && `${size} × ${size}`];
  return el('li.panel.model', { 'data-model': model.name },
    el('div.model-head', {}, el('h3', {}, shortName(model.name)), stateChip(model)),
    el('p.row.wrap', {}, ...chips.map((text) => text && el('span.chip', {}, text))),
    ...model.problems.map((text) => el('p.error', {}, text)),
    isIncomplete && el('p.note', {}, missingText(model)),
    modelActions(model));
}

function createSection({ title, folder, models }) {
  return el('section.model-section', {},
    el('h2', {}, title, folder && el('span.note.mono', {}, folder)),
    models.length
      ? el('ul.model-list', {}, ...models.map(createModelCard))
      : el('p.note.model-section-empty', {}, 'No models.'));
}

// The sections to show, with their models; empty ones come last.
function sectionsOf(models) {
  return SECTIONS
    .map((section) => ({ ...section, models: models.filter((model) => model.shelf === section.shelf) }))
    .filter((section) => section.folder || section.models.length)
    .sort((a, b) => (b.models.length > 0) - (a.models.length > 0));
}

// Keeps the focus on the button that has it.
function render() {
  if (!modelList()) return;
  isStale = false;
  const { models, error } = modelList();
  if (error) {
    body.replaceChildren(el('p.error', { role: 'alert' }, error));
    return;
  }
  const { model, action } = document.activeElement?.dataset ?? {};
  body.removeAttribute('aria-busy');
  body.replaceChildren(...sectionsOf(models).map(createSection));
  if (action) $(`[data-model="${CSS.escape(model)}"][data-action="${action}"]`, body)?.focus();
}

/* ---- inspection ---- */

const keyText = (key) => key.replaceAll('_', ' ');

function valueText(key, value) {
  if (key === 'bytes') return formatBytes(value);
  if (typeof value === 'number') return value.toLocaleString('en');
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  return String(value);
}

const listText = (values) =>
  values.map((value) => (typeof value === 'object' ? JSON.stringify(value) : value)).join(', ');

// A JSON object as nested definition lists.
function createTree(object) {
  return el('dl.properties', {}, ...Object.entries(object).flatMap(([key, value]) => {
    const name = keyText(key);
    if (value === null || (Array.isArray(value) && !value.length)) return [el('dt', {}, name), el('dd', {}, 'none')];
    if (Array.isArray(value)) return [el('dt', {}, name), el('dd', {}, listText(value))];
    if (typeof value === 'object') return [el('dt.wide', {}, name), el('dd.nested', {}, createTree(value))];
    return [el('dt', {}, name), el('dd', {}, valueText(key, value))];
  }));
}

async function openInspectDialog(model) {
  const dialog = openDialog(shortName(model.name), '', el('div.skeleton.inspect-skeleton'));
  const content = $('.dialog-body', dialog);
  try {
    const { inspect } = await getJson(`/api/models/${model.name}`);
    content.replaceChildren(createTree(inspect));
  } catch (error) {
    content.replaceChildren(el('p.error', { role: 'alert' }, error.message));
  }
}

/* ---- jobs ---- */

const ACTIVE_TITLES = {
  convert: 'Converting', quantize: 'Quantizing', import: 'Importing', download: 'Downloading', verify: 'Verifying',
};
const DONE_TITLES = {
  convert: 'Converted', quantize: 'Quantized', import: 'Imported', download: 'Downloaded', verify: 'Verified',
};

const isModelJob = (job) => job.kind in ACTIVE_TITLES;

async function startJob(kind, params) {
  try {
    addJob(await submitJob(kind, params));
  } catch (error) {
    showToast(error.message);
  }
}

function jobTitle(job) {
  const model = shortName(job.params.source ?? job.params.repo ?? job.params.model ?? 'the default model');
  if (job.state !== 'done') return `${ACTIVE_TITLES[job.kind]} ${model}`;
  if (job.kind === 'verify' && !job.result?.passed) return `Verification failed: ${model}`;
  return `${DONE_TITLES[job.kind]} ${model}`;
}

// Whether the same download was submitted again later.
function isResumed(job) {
  const params = JSON.stringify(job.params);
  return allJobs().some((other) =>
    other.kind === 'download' && other.created > job.created && JSON.stringify(other.params) === params);
}

function resumeButton(job) {
  if (job.kind !== 'download' || isResumed(job)) return null;
  return button('.small', 'rotate', 'Resume', () => startJob('download', job.params),
    { 'aria-label': `Resume: ${jobTitle(job)}` });
}

function checkItem({ name, passed, says }) {
  return el('li', {},
    el(`span.chip.${passed ? 'good' : 'bad'}`, {}, passed ? 'passed' : 'failed'),
    el('span', {}, el('strong', {}, keyText(name)), ' ', says ?? ''));
}

// What is shown of a job that has ended.
function jobResult(job) {
  if (job.state === 'failed') {
    return el('div.side-form', {}, el('p.error', { role: 'alert' }, job.error.message), resumeButton(job));
  }
  if (job.state === 'cancelled') {
    const note = job.kind === 'download' ? 'Cancelled. The partial download is kept.' : 'Cancelled.';
    return el('div.side-form', {}, el('p.note', {}, note), resumeButton(job));
  }
  if (job.kind === 'verify') return el('ul.checks', {}, ...job.result.checks.map(checkItem));
  return el('p.note', {}, `Done: ${job.result?.model ?? job.params.destination}`);
}

function progressText(job) {
  if (job.state === 'queued') return 'Queued';
  const { seconds_left: timeLeft, bytes, bytes_done: bytesDone, file } = job.progress ?? {};
  return [
    bytes && `${formatBytes(bytesDone)} of ${formatBytes(bytes)}`,
    timeLeft != null && `${formatDuration(timeLeft)} left`,
    file && shortName(file),
  ].filter(Boolean).join(' · ') || 'Running';
}

function createCancelButton(job) {
  return button('.small.quiet', 'stop', 'Cancel',
    () => cancelJob(job.id).catch((error) => showToast(error.message)), { 'aria-label': `Cancel: ${jobTitle(job)}` });
}

function createJobItem(job) {
  const item = el('li.model-job', { 'data-job': job.id, 'data-state': job.state },
    el('div.row', {}, el('strong.job-title', {}, jobTitle(job)), isActive(job) && createCancelButton(job)));
  if (!isActive(job)) {
    item.append(jobResult(job));
    return item;
  }
  const bar = progressBar(jobTitle(job));
  setProgress(bar, job.state === 'running' ? job.progress?.fraction ?? null : 0);
  item.append(bar, el('p.note.tabular-nums', {}, progressText(job)));
  return item;
}

function renderJobs() {
  const jobs = allJobs().filter(isModelJob)
    .sort((a, b) => isActive(b) - isActive(a) || b.created - a.created)
    .slice(0, MAX_JOBS);
  const empty = el('li.note', {}, 'No jobs. Downloads, imports, conversions and verifications appear here.');
  jobList.replaceChildren(...(jobs.length ? jobs.map(createJobItem) : [empty]));
}

// Progress updates the item in place, so that its Cancel button keeps the focus.
function jobChanged({ job, reason }) {
  if (!isModelJob(job)) return;
  const item = $(`[data-job="${job.id}"]`, jobList);
  if (reason !== 'progress' || item?.dataset.state !== 'running') {
    renderJobs();
    return;
  }
  setProgress($('.progress-bar', item), job.progress.fraction);
  $('.note', item).textContent = progressText(job);
}

/* ---- the view ---- */

// file: a File; undefined if the user chose none.
async function importFile(file) {
  if (!file) return;
  setFieldError('import');
  try {
    const model = await uploadModel(file, $('#import-progress'));
    showToast(`Imported ${shortName(model.name)}.`);
  } catch (error) {
    setFieldError('import', error.message);
  }
}

export function onShow() {
  isShown = true;
  if (isStale) render();
}

export function onHide() {
  isShown = false;
}

export function init() {
  body.replaceChildren(...[1, 2, 3].map(() => el('div.skeleton.model-skeleton')));
  renderJobs();
  on('modelList', () => {
    if (isShown) render();
    else isStale = true;
  });
  on('jobChanged', jobChanged);
  on('jobsReset', renderJobs);
  downloads.init();
  addDropTarget($('#view-models'), importFile);
  $('#import-file').addEventListener('change', ({ target }) => {
    importFile(target.files[0]);
    target.value = ''; // so that the same file can be chosen again
  });
}
