// The right side of Generate: the picture as it comes about, its progress, and the latest pictures.
import { $, announce, bar, button, el, icon, plural, seconds, setBar, size } from './dom.js';
import { cancel, get, pictureUrl, question, thumbnailUrl } from './api.js';
import { on } from './events.js';
import { job as jobById, open, waiting } from './jobs.js';
import { actions, downloads, recipeFacts, title } from './picture.js';

const STRIP = 24;
const EXAMPLES = {
  demo: ['a red circle on a blue background', 'a large yellow star on a purple background', 'a small green triangle on a white background'],
  other: ['a harbour at dawn, oil on canvas', 'a fox asleep in fresh snow, soft morning light', 'a lighthouse in a storm, woodcut in two colours'],
};

const frame = $('#frame'), run = $('#run'), result = $('#result'), strip = $('#strip');
const images = new Map(); // the latest pictures by id, the latest first
const asked = question();
let shown = { job: null, image: null, pinned: false }; // a job that is followed, or a picture; pinned: by hand
let shape = { width: 1024, height: 1024 };
let examples = 'other';

/* ---- the frame ---- */

function setFrame(width, height) {
  frame.style.setProperty('--w', width);
  frame.style.setProperty('--h', height);
}

function emptyFrame() {
  if (frame.dataset.mode === 'empty') {
    $('.frame-size', frame).textContent = size(shape);
  } else {
    frame.dataset.mode = 'empty';
    frame.replaceChildren(el('div.invitation', {}, icon('picture'), el('span.frame-size.numbers', {}, size(shape))));
  }
  setFrame(shape.width, shape.height);
}

function showPreview(entry) {
  const { width, height } = entry.params;
  setFrame(width ?? shape.width, height ?? shape.height);
  if (frame.dataset.mode !== `job ${entry.id}`) {
    frame.dataset.mode = `job ${entry.id}`;
    frame.replaceChildren(el('div.skeleton.waiting'), el('img.preview', { alt: 'Preview', hidden: true }));
  }
  const picture = $('img', frame);
  if (entry.preview) picture.src = `data:${entry.preview.mime};base64,${entry.preview.data}`;
  picture.hidden = !entry.preview;
}

function showPicture(image) {
  if (frame.dataset.mode === `image ${image.id}`) return;
  setFrame(image.width, image.height);
  frame.dataset.mode = `image ${image.id}`;
  const picture = el('img.picture', { src: pictureUrl(image.id), alt: title(image), width: image.width, height: image.height });
  const before = $('img:not([hidden])', frame); // stays until the picture is there
  before?.removeAttribute('alt');
  frame.replaceChildren(...(before ? [before] : []), picture);
  picture.decode().catch(() => {}).then(() => before?.remove());
}

/* ---- the line below it ---- */

const ordinal = (position) => (position === 1 ? 'next' : `number ${position}`);

function progressText({ state, position, progress, params }) {
  if (state === 'queued') return position ? `Queued, ${ordinal(position)} in the queue` : 'Queued';
  if (!progress) return 'Starting';
  const many = progress.pictures > 1 ? `Image ${progress.picture || 1} of ${progress.pictures}, ` : '';
  const what = {
    load: 'loading the model', encode: 'encoding the prompt', decode: 'decoding the image', save: 'saving the image',
    step: `step ${Math.min(progress.step + 1, progress.steps)} of ${progress.steps || params.steps || '?'}`,
  }[progress.stage] ?? progress.stage;
  return many ? many + what : what[0].toUpperCase() + what.slice(1);
}

function line(mode, build) {
  if (run.dataset.mode === mode) return;
  run.dataset.mode = mode;
  const had = run.contains(document.activeElement);
  run.replaceChildren(...build());
  if (had) $('button, a', run)?.focus();
}

function showProgress(entry) {
  line(`job ${entry.id}`, () => [
    el('div.run-text', {}, el('strong.run-what'), el('span.run-left.numbers.note')),
    button('.small', 'stop', 'Cancel', (event) => {
      event.currentTarget.disabled = true;
      cancel(entry.id).catch(() => {});
    }, { id: 'cancel' }),
    bar('Generation progress'),
  ]);
  const left = entry.progress?.seconds_left;
  $('.run-what', run).textContent = progressText(entry);
  $('.run-left', run).textContent = left == null ? '' : left < 0.5 ? 'almost done' : `${seconds(left)} left`;
  setBar($('.bar', run), entry.state === 'running' ? entry.progress?.fraction ?? null : 0);
  $('.bar', run).setAttribute('aria-valuetext', progressText(entry));
}

const showActions = (image) => line(`image ${image.id}`, () => [
  el('div.run-text', {}, el('strong', {}, image.seconds ? `Generated in ${seconds(image.seconds)}` : 'Generated'), el('span.note.numbers', {}, `seed ${image.seed}`)),
  el('div.row.wrap.end.run-actions', {}, downloads(image), ...actions(image)),
]);

const showMessage = (mode, text, bad) => line(mode, () => [
  el(bad ? 'p.error' : 'p.note', bad ? { role: 'alert' } : {}, text),
]);

function invite(text) {
  const prompt = $('#prompt');
  prompt.value = text;
  for (const name of ['input', 'change']) prompt.dispatchEvent(new Event(name, { bubbles: true }));
  $('#generate').focus();
}

const showInvitation = () => line(`empty ${examples}`, () => [
  el('div.examples', {}, el('span.note', {}, 'Example prompts'), ...EXAMPLES[examples].map((text) =>
    el('button.chip', { type: 'button', onclick: () => invite(text) }, text))),
]);

/* ---- all of it ---- */

function show() {
  const entry = shown.job && jobById(shown.job);
  const image = shown.image && images.get(shown.image);
  if (entry && open(entry)) {
    if (image && !entry.preview) showPicture(image); // the one before, until there is something to see of the next
    else showPreview(entry);
    showProgress(entry);
  } else if (image) {
    showPicture(image);
    showActions(image);
  } else {
    emptyFrame();
    if (entry?.state === 'failed') showMessage(`failed ${entry.id}`, entry.error.message, true);
    else if (entry?.state === 'cancelled') showMessage(`cancelled ${entry.id}`, 'Cancelled.');
    else showInvitation();
  }
  result.replaceChildren(...(image && !(entry && open(entry)) ? [recipeFacts(image)] : []));
  showStrip();
}

function tile(key, label, current, onclick, ...content) {
  return el('li', {}, el('button.tile', { type: 'button', 'aria-label': label, 'aria-current': current ? 'true' : null, 'data-key': key, onclick }, ...content));
}

function showStrip() {
  const focused = document.activeElement?.dataset?.key;
  const jobs = waiting().filter((entry) => entry.kind === 'generate').map((entry) =>
    tile(entry.id, `${entry.state === 'running' ? 'Running' : 'Queued'}: ${entry.params.prompt ?? ''}`, shown.job === entry.id,
      () => { shown = { job: entry.id, image: null }; show(); },
      el(`span.ring${entry.state === 'running' ? '.running' : ''}`, {}, entry.state === 'running' ? '' : String(entry.position ?? ''))));
  const pictures = [...images.values()].slice(0, STRIP).map((image) =>
    tile(image.id, title(image), shown.image === image.id && !shown.job,
      () => { shown = { job: null, image: image.id, pinned: true }; show(); },
      el('img', { src: thumbnailUrl(image.id), alt: '', width: 72, height: 72, loading: 'lazy' })));
  const key = [...jobs, ...pictures].map((item) => item.firstChild.dataset.key + item.firstChild.getAttribute('aria-current') + item.textContent).join();
  if (strip.dataset.key === key) return;
  strip.dataset.key = key;
  const blanks = Array.from({ length: Math.max(0, 8 - jobs.length - pictures.length) }, () => el('li.blank', { 'aria-hidden': 'true' }));
  strip.replaceChildren(...jobs, ...pictures, ...blanks);
  if (focused) $(`[data-key="${focused}"]`, strip)?.focus();
}

async function loadImages() {
  const list = await asked.ask(`/api/images?limit=${STRIP}`).catch(() => null);
  if (!list) return;
  strip.removeAttribute('aria-busy');
  images.clear();
  for (const image of list.images) images.set(image.id, image);
  show();
}

export const latest = () => [...images.values()];

/* ---- what happens ---- */

const MESSAGES = {
  started: () => 'Generation started.',
  done: (entry) => `${plural(entry.images.length, 'image')} generated.`,
  cancelled: () => 'Cancelled.',
};

async function jobChanged({ job: entry, reason }) {
  if (entry.kind !== 'generate') return;
  const current = shown.job && jobById(shown.job);
  if (entry.state === 'running' && (!current || !open(current)) && !shown.pinned && shown.job !== entry.id) shown = { job: entry.id, image: null };
  if (shown.job === entry.id && MESSAGES[reason]) announce(MESSAGES[reason](entry));
  if (shown.job === entry.id && ['done', 'cancelled', 'failed'].includes(reason)) await finished(entry);
  show();
}

// A finished job gives way to its last picture, if it has one.
async function finished(entry) {
  const last = entry.images.at(-1);
  if (!last) return;
  if (!images.has(last)) {
    const image = await get(`/api/images/${last}`).catch(() => null);
    if (image) remember(image);
  }
  if (images.has(last) && shown.job === entry.id) shown = { job: null, image: last };
}

function remember(image) {
  const rest = [...images.values()].filter((other) => other.id !== image.id);
  images.clear();
  for (const one of [image, ...rest].slice(0, 2 * STRIP)) images.set(one.id, one);
}

// After a reload or a broken connection: what runs is shown, and what was followed may have ended meanwhile.
async function caughtUp() {
  await loadImages();
  const followed = shown.job && jobById(shown.job);
  if (followed && !open(followed)) await finished(followed);
  const running = waiting().find((entry) => entry.kind === 'generate');
  if (running && !(followed && open(followed))) shown = { job: running.id, image: null };
  show();
}

export function start() {
  on('size', (next) => { shape = next; if (frame.dataset.mode === 'empty') emptyFrame(); });
  on('submitted', async (entry) => {
    shown = { job: entry.id, image: null };
    const now = jobById(entry.id); // it may have ended before this answer came
    if (!open(now)) await finished(now);
    show();
    if ($('#stage').getBoundingClientRect().top > innerHeight / 2) $('.easel').scrollIntoView(); // below the form, on phones
  });
  on('job', jobChanged);
  on('jobs', caughtUp);
  on('image', ({ job: id, image }) => {
    asked.outdate();
    remember(image);
    if (shown.job === id) shown.image = image.id;
    show();
  });
  on('deleted', ({ image }) => {
    asked.outdate();
    images.delete(image);
    if (shown.image === image) shown.image = null;
    show();
  });
  on('model', (model) => { examples = model?.shelf === 'demo' ? 'demo' : 'other'; show(); });
  show();
}
