// The history of pictures.
import { $, ago, announce, button, dialog, el, icon, plural, size, toast } from './dom.js';
import { call, get, pictureUrl, question, thumbnailUrl } from './api.js';
import { on } from './events.js';
import { actions, downloads, recipeFacts, title } from './picture.js';

const PAGE = 60;
const body = $('#gallery'), search = $('#search'), count = $('#gallery-count');
const asked = question();
let images = [], next = null, total = 0, visible = false, stale = true;
let grid = null, box = null;

function card(image) {
  return el('li.card', {}, el('button', { type: 'button', 'data-id': image.id, onclick: () => open(image) },
    el('img', { src: thumbnailUrl(image.id), alt: '', width: 256, height: 256, loading: 'lazy' }),
    el('span.card-title', {}, title(image)),
    el('span.note.numbers', {}, `${size(image)}, ${ago(image.created)}`)));
}

function showCount() {
  count.textContent = search.value.trim() ? `${plural(total, 'image')} found` : plural(total, 'image');
}

function empty() {
  const found = search.value.trim();
  return el('div.empty', {}, icon(found ? 'search' : 'picture'),
    el('h2', {}, found ? 'No matching images' : 'No images yet'),
    el('p', {}, found ? 'Each search word must occur in the prompt, the model name or the seed.' : 'Generated images are saved here with their generation parameters.'),
    found ? button('', 'close', 'Clear search', () => { search.value = ''; load(); search.focus(); })
      : el('a.button.primary', { href: '#generate' }, icon('brush'), 'Generate an image'));
}

const placeOf = (id) => images.findIndex((image) => image.id === id);

// What has the focus within the list, as { id, at }: a picture and its place; null: nothing has it.
function focused() {
  if (!body.contains(document.activeElement)) return null;
  const { id } = document.activeElement.dataset;
  return { id, at: placeOf(id) };
}

// Puts the focus on that picture, on the one in its place when it is gone, or on the title when there is none.
function focus({ id, at }) {
  const image = images[placeOf(id)] ?? images[Math.min(at, images.length - 1)];
  (image ? $(`[data-id="${image.id}"]`, grid) : $('#title-gallery')).focus();
}

function show() {
  showCount();
  if (!images.length) { grid = null; body.replaceChildren(empty()); return; }
  grid = el('ul.grid', {}, ...images.map(card));
  const more = button('', null, 'Show more', () => loadMore());
  more.hidden = !next;
  body.replaceChildren(grid, el('div.more-row', {}, more));
  if (next) watcher.observe(more);
}

const watcher = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && loadMore(), { rootMargin: '400px' });

const query = (cursor) => `/api/images?${new URLSearchParams({
  limit: PAGE, ...(search.value.trim() && { q: search.value.trim() }), ...(cursor && { cursor }),
})}`;

async function load() {
  stale = false;
  try {
    const list = await asked.ask(query());
    if (!list) return;
    const held = focused();
    ({ images, next, total } = list);
    show();
    if (held) focus(held);
    if (search.value.trim()) announce(count.textContent);
  } catch (error) {
    images = [];
    grid = next = null;
    body.replaceChildren(el('div.empty', {}, el('p.error', { role: 'alert' }, error.message), button('', null, 'Try again', load)));
  }
}

async function loadMore() {
  if (!next) return;
  const before = grid, cursor = next;
  next = null;
  const list = await get(query(cursor)).catch(() => null);
  if (grid !== before) return; // all of it was asked for again
  if (!list) { next = cursor; return; }
  images.push(...list.images);
  next = list.next;
  grid.append(...list.images.map(card));
  $('.more-row button', body).hidden = !next;
}

/* ---- one picture ---- */

function neighbour(image, step) {
  const other = images[placeOf(image.id) + step];
  if (!other) return;
  fill(other);
}

// Deleting takes a second press of another button in the same place.
function deleting(image) {
  const place = el('div.row.deleting');
  const ask = () => {
    place.replaceChildren(
      button('.small.danger', 'trash', 'Delete permanently', () => remove(image)),
      button('.small', null, 'Cancel', idle));
    $('.danger + button', place).focus();
  };
  const idle = () => {
    const had = place.contains(document.activeElement);
    place.replaceChildren(button('.small.danger', 'trash', 'Delete', ask));
    if (had) $('button', place).focus();
  };
  idle();
  return place;
}

async function remove(image) {
  try {
    await call('DELETE', `/api/images/${image.id}`);
  } catch (error) {
    if (error.status !== 404) { toast(error.message); return; }
  }
  if (box.dataset.image === image.id) box.close();
  forget(image.id);
  toast('Image deleted.');
}

// Also told by an event, which may come before the answer to who deleted it.
function forget(id) {
  if (placeOf(id) < 0) return;
  const held = focused();
  images = images.filter((image) => image.id !== id);
  total--;
  $(`[data-id="${id}"]`, body)?.parentNode.remove();
  if (images.length) showCount();
  else load();
  if (held?.id === id) focus(held);
}

// A new picture comes first; the others stay where they are, and how far one has scrolled.
function arrived(image) {
  if (placeOf(image.id) >= 0) return;
  images.unshift(image);
  total++;
  grid.prepend(card(image));
  showCount();
}

function fill(image) {
  const close = () => box.close();
  const picture = el('img', { src: pictureUrl(image.id), alt: title(image), width: image.width, height: image.height });
  $('.dialog-body', box).replaceChildren(
    el('figure.detail-picture', {}, picture),
    el('div.detail-text', {}, recipeFacts(image), downloads(image), el('div.row.wrap', {}, ...actions(image, close)), deleting(image)));
  Object.assign(box.dataset, { image: image.id, at: placeOf(image.id) });
}

function open(image) {
  box = dialog('Image', '.wide.detail');
  fill(image);
  const opened = box;
  opened.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const now = images.find((one) => one.id === opened.dataset.image);
    if (step && now) neighbour(now, step);
  });
  // The card that opened it may be gone, or made anew.
  opened.addEventListener('close', () => {
    if (document.activeElement === document.body) focus({ id: opened.dataset.image, at: Number(opened.dataset.at) });
  });
}

export function enter() {
  visible = true;
  if (stale) load();
}
export const leave = () => { visible = false; };

export function start() {
  body.replaceChildren(el('ul.grid', { 'aria-hidden': 'true' }, ...Array.from({ length: 12 }, () =>
    el('li.card', {}, el('div.card-blank', {}, el('div.skeleton.square'), el('div.skeleton.line'), el('div.skeleton.line.short'))))));
  let timer = 0;
  search.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(load, 180); });
  const changed = () => { if (visible) load(); else stale = true; };
  on('image', ({ image }) => {
    asked.outdate();
    if (visible && grid && !search.value.trim()) arrived(image);
    else changed();
  });
  on('snapshot', changed);
  on('deleted', ({ image }) => {
    asked.outdate();
    forget(image);
  });
}
