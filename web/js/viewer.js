// The right side of the Generate view: a frame with the preview or the image, a line with progress, actions or a
// message, and a strip with queued jobs and the latest images.
import { $, announce, button, el, formatDuration, formatSize, icon, plural, progressBar, setProgress, showToast } from './dom.js';
import { cancelJob, getJson, imageUrl, latestRequest, thumbnailUrl } from './api.js';
import { on } from './events.js';
import { activeJobs, findJob, isActive } from './jobs.js';
import { downloadLinks, imageActions, imageProperties, imageTitle } from './image.js';

const STRIP_IMAGES = 24; // at most
const STRIP_TILES = 8; // at least, with empty ones
const EXAMPLE_PROMPTS = {
  demo: [
    'a red circle on a blue background',
    'a large yellow star on a purple background',
    'a small green triangle on a white background',
  ],
  other: [
    'a harbour at dawn, oil on canvas',
    'a fox asleep in fresh snow, soft morning light',
    'a lighthouse in a storm, woodcut in two colours',
  ],
};

const frame = $('#frame'), run = $('#run'), result = $('#result'), strip = $('#strip');
const images = new Map(); // the latest images by id, the newest first
const request = latestRequest();
// What is shown: the job with this id, or the image; the image before, until the job has a preview. pinned: the user
// chose the image, so that a job that another client starts does not replace it.
let shown = { job: null, image: null, pinned: false };
let formSize = { width: 1024, height: 1024 }; // the size in the form
let examples = 'other'; // key of EXAMPLE_PROMPTS

const isGenerateJob = (job) => job.kind === 'generate';
const showJob = (id) => { shown = { job: id, image: null }; };

/* ---- the frame ---- */

// Gives the frame the aspect ratio of an image.
function setFrameSize(width, height) {
  frame.style.setProperty('--w', width);
  frame.style.setProperty('--h', height);
}

function renderPlaceholder() {
  if (frame.dataset.mode !== 'empty') {
    frame.dataset.mode = 'empty';
    frame.replaceChildren(el('div.placeholder', {}, icon('image'), el('span.frame-size.tabular-nums')));
  }
  $('.frame-size', frame).textContent = formatSize(formSize);
  setFrameSize(formSize.width, formSize.height);
}

function renderPreview(job) {
  const { width, height } = job.params;
  setFrameSize(width ?? formSize.width, height ?? formSize.height);
  if (frame.dataset.mode !== `job ${job.id}`) {
    frame.dataset.mode = `job ${job.id}`;
    frame.replaceChildren(el('div.skeleton'), el('img.preview', { alt: 'Preview', hidden: true }));
  }
  const preview = $('img', frame);
  if (job.preview) preview.src = `data:${job.preview.mime};base64,${job.preview.data}`;
  preview.hidden = !job.preview;
}

// Keeps the preview, or the image before, in the frame until the image has loaded.
function renderImage(image) {
  if (frame.dataset.mode === `image ${image.id}`) return;
  setFrameSize(image.width, image.height);
  frame.dataset.mode = `image ${image.id}`;
  const { width, height } = image;
  const img = el('img.image', { src: imageUrl(image.id), alt: imageTitle(image), width, height });
  const previous = $('img:not([hidden])', frame);
  previous?.removeAttribute('alt');
  frame.replaceChildren(...(previous ? [previous] : []), img);
  img.decode().catch(() => {}).then(() => previous?.remove());
}

/* ---- the line below the frame ---- */

// Builds the content of the line unless it has that mode already. A focus inside the line goes to its first control.
function setRunLine(mode, createContent) {
  if (run.dataset.mode === mode) return;
  run.dataset.mode = mode;
  const hadFocus = run.contains(document.activeElement);
  run.replaceChildren(...createContent());
  if (hadFocus) $('button, a', run)?.focus();
}

function stageText({ stage, step, steps }, params) {
  switch (stage) {
    case 'load': return 'loading the model';
    case 'encode': return 'encoding the prompt';
    case 'step': return `step ${Math.min(step + 1, steps)} of ${steps || params.steps || '?'}`;
    case 'decode': return 'decoding the image';
    case 'save': return 'saving the image';
    default: return stage;
  }
}

function progressText({ state, position, progress, params }) {
  if (state === 'queued') {
    if (!position) return 'Queued';
    return position === 1 ? 'Queued, next in the queue' : `Queued, number ${position} in the queue`;
  }
  if (!progress) return 'Starting';
  const stage = stageText(progress, params);
  if (progress.pictures > 1) return `Image ${progress.picture || 1} of ${progress.pictures}, ${stage}`;
  return stage[0].toUpperCase() + stage.slice(1);
}

function timeLeftText(seconds) {
  if (seconds == null) return '';
  return seconds < 0.5 ? 'almost done' : `${formatDuration(seconds)} left`;
}

function createCancelButton(job) {
  return button('.small', 'stop', 'Cancel', (event) => {
    event.currentTarget.disabled = true;
    cancelJob(job.id).catch(() => {}); // fails if the job has ended
  }, { id: 'cancel' });
}

function renderProgress(job) {
  setRunLine(`job ${job.id}`, () => [
    el('div.run-text', {}, el('strong.run-stage'), el('span.run-time-left.tabular-nums.note')),
    createCancelButton(job),
    progressBar('Generation progress'),
  ]);
  const text = progressText(job), bar = $('.progress-bar', run);
  $('.run-stage', run).textContent = text;
  $('.run-time-left', run).textContent = timeLeftText(job.progress?.seconds_left);
  setProgress(bar, job.state === 'running' ? job.progress?.fraction ?? null : 0);
  bar.setAttribute('aria-valuetext', text);
}

function renderActions(image) {
  const text = image.seconds ? `Generated in ${formatDuration(image.seconds)}` : 'Generated';
  setRunLine(`image ${image.id}`, () => [
    el('div.run-text', {}, el('strong', {}, text), el('span.note.tabular-nums', {}, `seed ${image.seed}`)),
    el('div.row.wrap.end.run-actions', {}, downloadLinks(image), ...imageActions(image)),
  ]);
}

function useExamplePrompt(text) {
  const prompt = $('#prompt');
  prompt.value = text;
  for (const name of ['input', 'change']) prompt.dispatchEvent(new Event(name, { bubbles: true }));
  $('#generate').focus();
}

function createExampleButton(text) {
  return el('button.chip', { type: 'button', onclick: () => useExamplePrompt(text) }, text);
}

// The line when there is no image: what became of the job, if any, or example prompts.
function renderMessage(job) {
  if (job?.state === 'failed') {
    setRunLine(`failed ${job.id}`, () => [el('p.error', { role: 'alert' }, job.error.message)]);
  } else if (job?.state === 'cancelled') {
    const text = job.stopped ? 'The server is being stopped. The image was not finished.' : 'Cancelled.';
    setRunLine(`cancelled ${job.id}`, () => [el('p.note', {}, text)]);
  } else {
    setRunLine(`empty ${examples}`, () => [el('div.examples', {},
      el('span.note', {}, 'Examples'), ...EXAMPLE_PROMPTS[examples].map(createExampleButton))]);
  }
}

/* ---- the strip ---- */

function createTile(key, label, isCurrent, onclick, content) {
  const current = isCurrent ? 'true' : null;
  const attributes = { type: 'button', 'aria-label': label, 'aria-current': current, 'data-key': key, onclick };
  return el('li', {}, el('button.tile', attributes, content));
}

function createJobTile(job) {
  const isRunning = job.state === 'running';
  const label = `${isRunning ? 'Running' : 'Queued'}: ${job.params.prompt ?? ''}`;
  const select = () => {
    showJob(job.id);
    render();
  };
  return createTile(job.id, label, shown.job === job.id, select,
    el(`span.ring${isRunning ? '.running' : ''}`, {}, isRunning ? '' : String(job.position ?? '')));
}

function createImageTile(image) {
  const select = () => {
    shown = { job: null, image: image.id, pinned: true };
    render();
  };
  return createTile(image.id, imageTitle(image), shown.image === image.id && !shown.job, select,
    el('img', { src: thumbnailUrl(image.id), alt: '', width: 72, height: 72, loading: 'lazy' }));
}

// Keeps the focus on the tile that has it. Does nothing if the tiles would be the same as before.
function renderStrip() {
  const focusedKey = document.activeElement?.dataset?.key;
  const tiles = [
    ...activeJobs().filter(isGenerateJob).map(createJobTile),
    ...[...images.values()].slice(0, STRIP_IMAGES).map(createImageTile),
  ];
  const state = tiles.map(({ firstChild: tile, textContent }) =>
    tile.dataset.key + tile.getAttribute('aria-current') + textContent).join();
  if (strip.dataset.state === state) return;
  strip.dataset.state = state;
  const emptyTiles = Array.from({ length: Math.max(0, STRIP_TILES - tiles.length) },
    () => el('li.blank', { 'aria-hidden': 'true' }));
  strip.replaceChildren(...tiles, ...emptyTiles);
  if (focusedKey) $(`[data-key="${focusedKey}"]`, strip)?.focus();
}

/* ---- all of it ---- */

function render() {
  const job = shown.job && findJob(shown.job), image = shown.image && images.get(shown.image);
  const isRunning = job && isActive(job);
  if (isRunning) {
    if (image && !job.preview) renderImage(image);
    else renderPreview(job);
    renderProgress(job);
  } else if (image) {
    renderImage(image);
    renderActions(image);
  } else {
    renderPlaceholder();
    renderMessage(job);
  }
  result.replaceChildren(...(image && !isRunning ? [imageProperties(image)] : []));
  renderStrip();
}

async function loadImages() {
  const response = await request.get(`/api/images?limit=${STRIP_IMAGES}`).catch(() => null);
  if (!response) return;
  strip.removeAttribute('aria-busy');
  images.clear();
  for (const image of response.images) images.set(image.id, image);
  render();
}

// Puts an image in front of the latest ones.
function addImage(image) {
  const others = [...images.values()].filter(({ id }) => id !== image.id);
  images.clear();
  for (const each of [image, ...others].slice(0, 2 * STRIP_IMAGES)) images.set(each.id, each);
}

/* ---- events ---- */

// If the job that is shown has images, shows its last one instead.
async function showLastImage(job) {
  const id = job.images.at(-1);
  if (!id) return;
  if (!images.has(id)) {
    const image = await getJson(`/api/images/${id}`).catch(() => null);
    if (image) addImage(image);
  }
  if (images.has(id) && shown.job === job.id) shown = { job: null, image: id };
}

function announceJob(job, reason) {
  if (reason === 'started') announce('Generation started.');
  if (reason === 'done') announce(`${plural(job.images.length, 'image')} generated.`);
  if (reason === 'cancelled') announce('Cancelled.');
}

async function jobChanged({ job, reason }) {
  if (!isGenerateJob(job)) return;
  const shownJob = shown.job && findJob(shown.job);
  const isShowingActiveJob = shownJob && isActive(shownJob);
  if (job.state === 'running' && !isShowingActiveJob && !shown.pinned && shown.job !== job.id) showJob(job.id);
  if (shown.job === job.id) {
    announceJob(job, reason);
    if (['done', 'cancelled', 'failed'].includes(reason)) await showLastImage(job);
  }
  render();
}

// After a reload or a reconnect: the job that was shown may have ended meanwhile, and others may run.
async function jobsReset() {
  await loadImages();
  const shownJob = shown.job && findJob(shown.job);
  if (shownJob && !isActive(shownJob)) await showLastImage(shownJob);
  const running = activeJobs().find(isGenerateJob);
  if (running && !(shownJob && isActive(shownJob))) showJob(running.id);
  render();
}

// A running job stays visible while others are queued: its preview is worth more than "Queued".
async function jobSubmitted({ id }) {
  const job = findJob(id), running = activeJobs().find((other) => isGenerateJob(other) && other.state === 'running');
  const isBehind = job.state === 'queued' && running && running.id !== id;
  if (!isBehind) showJob(id);
  else if (shown.job !== running.id) showJob(running.id);
  if (isBehind) showToast(`${progressText(job)}.`);
  if (!isActive(job)) await showLastImage(job); // it ended before the response to its submission arrived
  render();
  // On phones the viewer is below the form.
  if ($('#stage').getBoundingClientRect().top > innerHeight / 2) $('.viewer').scrollIntoView();
}

function imageGenerated({ job, image }) {
  request.invalidate();
  addImage(image);
  if (shown.job === job) shown.image = image.id;
  render();
}

function imageDeleted({ image: id }) {
  request.invalidate();
  images.delete(id);
  if (shown.image === id) shown.image = null;
  render();
}

export function init() {
  on('sizeChanged', (size) => {
    formSize = size;
    if (frame.dataset.mode === 'empty') renderPlaceholder();
  });
  on('modelSelected', (model) => {
    examples = model?.shelf === 'demo' ? 'demo' : 'other';
    render();
  });
  on('submitted', jobSubmitted);
  on('jobChanged', jobChanged);
  on('jobsReset', jobsReset);
  on('image', imageGenerated);
  on('deleted', imageDeleted);
  on('storage', loadImages); // images were saved, or are lost
  render();
}
