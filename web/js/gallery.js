// The Gallery view: the history of generated images, search, and the dialog that shows one image.
import { $, announce, button, el, formatAge, formatSize, icon, openDialog, plural, showToast } from './dom.js';
import { getJson, imageUrl, latestRequest, sendJson, thumbnailUrl } from './api.js';
import { on } from './events.js';
import { downloadLinks, imageActions, imageProperties, imageTitle } from './image.js';

const PAGE_SIZE = 60;
const SEARCH_DELAY = 180; // milliseconds after the last key
const body = $('#gallery'), search = $('#search'), count = $('#gallery-count');
const request = latestRequest();
let images = []; // those that are loaded, the newest first
let nextCursor = null; // of the next page; null at the end
let total = 0; // images that match the search, loaded or not
let isShown = false, isStale = true; // whether the view is visible; whether the list must be loaded again
let grid = null; // the list element; null while there is none
let imageDialog = null; // the last one that was opened

const searchText = () => search.value.trim();
const indexOf = (id) => images.findIndex((image) => image.id === id);

/* ---- the list ---- */

function createCard(image) {
  return el('li.card', {}, el('button', { type: 'button', 'data-id': image.id, onclick: () => openImage(image) },
    el('img', { src: thumbnailUrl(image.id), alt: '', width: 256, height: 256, loading: 'lazy' }),
    el('span.card-title', {}, imageTitle(image)),
    el('span.note.tabular-nums', {}, `${formatSize(image)}, ${formatAge(image.created)}`),
    image.unsaved && el('span.chip.warn', {}, 'Not saved')));
}

function createSkeletonCard() {
  return el('li.card', {}, el('div.card-skeleton', {},
    el('div.skeleton.square'), el('div.skeleton.line'), el('div.skeleton.line.short')));
}

function noImages() {
  return el('div.empty', {}, icon('image'),
    el('h2', {}, 'No images yet'),
    el('p', {}, 'Generated images are saved here with their generation parameters.'),
    el('a.button.primary', { href: '#/generate' }, icon('brush'), 'Generate an image'));
}

function noSearchResults() {
  const clear = () => {
    search.value = '';
    load();
    search.focus();
  };
  return el('div.empty', {}, icon('search'),
    el('h2', {}, 'No matching images'),
    el('p', {}, 'Each search word must occur in the prompt, the model name or the seed.'),
    button('', 'close', 'Clear search', clear));
}

function showCount() {
  count.textContent = `${plural(total, 'image')}${searchText() ? ' found' : ''}`;
}

function render() {
  showCount();
  if (!images.length) {
    grid = null;
    body.replaceChildren(searchText() ? noSearchResults() : noImages());
    return;
  }
  grid = el('ul.grid', {}, ...images.map(createCard));
  const more = button('', null, 'Show more', loadMore);
  more.hidden = !nextCursor;
  body.replaceChildren(grid, el('div.more-row', {}, more));
  if (nextCursor) scrollObserver.observe(more);
}

function renderError(error) {
  images = [];
  grid = nextCursor = null;
  body.replaceChildren(el('div.empty', {},
    el('p.error', { role: 'alert' }, error.message), button('', null, 'Try again', load)));
}

/* ---- loading ---- */

// Loads the next page before the end of the list is visible.
const scrollObserver = new IntersectionObserver(
  (entries) => entries.some((entry) => entry.isIntersecting) && loadMore(), { rootMargin: '400px' });

// cursor: null for the first page
function listUrl(cursor) {
  const query = new URLSearchParams({ limit: PAGE_SIZE });
  if (searchText()) query.set('q', searchText());
  if (cursor) query.set('cursor', cursor);
  return `/api/images?${query}`;
}

// Loads the first page of the images that match the search.
async function load() {
  isStale = false;
  try {
    const response = await request.get(listUrl(null));
    if (!response) return; // a newer request is pending
    const focus = focusedCard();
    ({ images, next: nextCursor, total } = response);
    render();
    if (focus) focusCard(focus);
    if (searchText()) announce(count.textContent);
  } catch (error) {
    renderError(error);
  }
}

async function loadMore() {
  if (!nextCursor) return;
  const gridBefore = grid, cursor = nextCursor;
  nextCursor = null;
  const response = await getJson(listUrl(cursor)).catch(() => null);
  if (grid !== gridBefore) return; // the list was loaded again meanwhile
  if (!response) { nextCursor = cursor; return; }
  images.push(...response.images);
  nextCursor = response.next;
  grid.append(...response.images.map(createCard));
  $('.more-row button', body).hidden = !nextCursor;
}

/* ---- focus ---- */

// The card that has the focus, as { id, index }: its image's id, if it is a card at all, and index in the list. null if
// the focus is outside of the list.
function focusedCard() {
  if (!body.contains(document.activeElement)) return null;
  const { id } = document.activeElement.dataset;
  return { id, index: indexOf(id) };
}

// Focuses the card of that image; if it is gone, the card that is now at its index; if there is none, the heading.
function focusCard({ id, index }) {
  const image = images[indexOf(id)] ?? images[Math.min(index, images.length - 1)];
  (image ? $(`[data-id="${image.id}"]`, grid) : $('#title-gallery')).focus();
}

/* ---- changes of the list ---- */

// Puts a new image in front of the list without rendering the others again, so that the scroll position stays.
function addImage(image) {
  if (indexOf(image.id) >= 0) return;
  images.unshift(image);
  total++;
  grid.prepend(createCard(image));
  showCount();
}

// Called for the response to a DELETE request and for the event, in either order.
function removeImage(id) {
  if (indexOf(id) < 0) return;
  const focus = focusedCard();
  images = images.filter((image) => image.id !== id);
  total--;
  $(`[data-id="${id}"]`, body)?.parentNode.remove();
  if (images.length) showCount();
  else load();
  if (focus?.id === id) focusCard(focus);
}

async function deleteImage(image) {
  try {
    await sendJson('DELETE', `/api/images/${image.id}`);
  } catch (error) {
    if (error.status !== 404) { showToast(error.message); return; } // 404: already deleted
  }
  if (imageDialog.dataset.image === image.id) imageDialog.close();
  removeImage(image.id);
  showToast('Image deleted.');
}

/* ---- the dialog of an image ---- */

// A Delete button, which is replaced by "Delete permanently" and "Cancel" when pressed.
function createDeleteButtons(image) {
  const buttons = el('div.row.delete-confirm');
  const confirm = () => {
    buttons.replaceChildren(
      button('.small.danger', 'trash', 'Delete permanently', () => deleteImage(image)),
      button('.small', null, 'Cancel', reset));
    $('.danger + button', buttons).focus();
  };
  const reset = () => {
    const hadFocus = buttons.contains(document.activeElement);
    buttons.replaceChildren(button('.small.danger', 'trash', 'Delete', confirm));
    if (hadFocus) $('button', buttons).focus();
  };
  reset();
  return buttons;
}

function showInDialog(image) {
  const dialog = imageDialog;
  $('.dialog-body', dialog).replaceChildren(
    el('figure.detail-image', {},
      el('img', { src: imageUrl(image.id), alt: imageTitle(image), width: image.width, height: image.height })),
    el('div.detail-text', {},
      imageProperties(image),
      downloadLinks(image),
      el('div.row.wrap', {}, ...imageActions(image, () => dialog.close())),
      createDeleteButtons(image)));
  Object.assign(dialog.dataset, { image: image.id, index: indexOf(image.id) });
}

function openImage(image) {
  const dialog = imageDialog = openDialog('Image', '.wide.detail');
  showInDialog(image);
  dialog.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const index = indexOf(dialog.dataset.image);
    if (step && index >= 0 && images[index + step]) showInDialog(images[index + step]);
  });
  dialog.addEventListener('close', () => {
    // The card that opened the dialog, which would get the focus, may be gone.
    if (document.activeElement === document.body) {
      focusCard({ id: dialog.dataset.image, index: Number(dialog.dataset.index) });
    }
  });
}

/* ---- the view ---- */

export function onShow() {
  isShown = true;
  if (isStale) load();
}

export function onHide() {
  isShown = false;
}

function listChanged() {
  if (isShown) load();
  else isStale = true;
}

export function init() {
  body.replaceChildren(el('ul.grid', { 'aria-hidden': 'true' }, ...Array.from({ length: 12 }, createSkeletonCard)));
  let searchTimer = 0;
  search.addEventListener('input', () => {
    clearTimeout(searchTimer);
    searchTimer = setTimeout(load, SEARCH_DELAY);
  });
  on('image', ({ image }) => {
    request.invalidate();
    if (isShown && grid && !searchText()) addImage(image);
    else listChanged();
  });
  on('snapshot', listChanged);
  on('storage', listChanged); // images were saved, or are lost
  on('deleted', ({ image: id }) => {
    request.invalidate();
    removeImage(id);
  });
}
